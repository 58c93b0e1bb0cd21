# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a plan is asked for, checked; and the planners' view of it."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import InvalidOption
from ..network import matrix as mx
from ..network.limits import SiteLoads, mbps_seconds, site_loads
from ..network.shortest_paths import shortest
from ..staged.schedule import ONE, Streams

CHUNK_BYTES = 256 * 1024
MODES = ("cut_through", "staged")
STRATEGIES = ("best", "preferred_paths")
CONTENTIONS = ("port", "independent")
# Named options, their defaults, and whether a new plan for the same run takes over the old one's.
OPTIONS: dict[str, tuple[t.Any, bool]] = {
    "mode": ("staged", True),
    "strategy": ("best", True),
    "contention": ("port", True),
    "streams": (1, True),
    "relay_risk": (0.0001, True),
    "recovery_s": (5.0, True),
    "limits": (None, True),
    "sites": (None, True),
    "size_bytes": (None, True),
    "chunk_bytes": (None, True),
    "effort": (1.0, False),
    "certify": (False, False),
    "copies": (None, False),
}


class Request(t.NamedTuple):
    """Checked options of one plan, host numbers being those of the matrix."""

    matrix: mx.Matrix
    sources: list[str]
    targets: list[str]
    mode: str
    strategy: str
    contention: str
    streams: int
    relay_risk: float
    recovery_s: float
    size_bytes: int | None
    chunk_bytes: int
    effort: float
    certify: bool
    copies: t.Any

    def described(self) -> dict[str, t.Any]:
        """The options as a plan keeps them."""
        kept = ("mode", "strategy", "contention", "streams", "relay_risk", "recovery_s", "size_bytes", "chunk_bytes")
        limits = self.matrix.limits
        return {**{key: getattr(self, key) for key in kept}, "limits": limits.as_dict() if limits else None}


class Problem(t.NamedTuple):
    """What a planner sees: holders and reachable targets only, in an order that does not depend on names.

    ``rows`` are seconds for the whole base, inf where there is no link. ``ready``: when each holder can send.
    ``site``: a number for each host; ``sites``: those with limits.
    """

    hosts: list[str]
    rows: list[list[float]]
    ready: dict[int, float]
    streams: Streams
    site: list[int]
    sites: SiteLoads


def check(matrix: object, sources: object, targets: object = None, **options: object) -> Request:
    """All options checked, or InvalidOption."""
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise InvalidOption("option", unknown[0], f"one of {', '.join(OPTIONS)} is wanted")
    given = {key: default if options.get(key) is None else options[key] for key, (default, _kept) in OPTIONS.items()}
    parsed = mx.parse(matrix)
    held = mx.names("sources", mx.plain(sources), parsed.index)
    if not held:
        raise InvalidOption("sources", [], "at least one host that holds the base is wanted")
    wanted = parsed.hosts if targets is None else mx.names("targets", mx.plain(targets), parsed.index)
    holders = set(held)
    parsed.set_sites(mx.plain(given["sites"]))
    parsed.limits.add(mx.plain(given["limits"]), parsed.index)
    parsed.check_sites()
    size = parsed.size_bytes
    if given["size_bytes"] is not None:
        size = int(mx.number("size_bytes", given["size_bytes"], zero=False, integer=True))
    chunk = CHUNK_BYTES
    if given["chunk_bytes"] is not None:
        chunk = int(mx.number("chunk_bytes", given["chunk_bytes"], zero=False, integer=True))
    if parsed.limits and size is None:
        raise InvalidOption("size_bytes", None, "with limits the base's size is needed, in bytes")
    risk = mx.number("relay_risk", given["relay_risk"])
    if risk > 1:
        raise InvalidOption("relay_risk", risk, "a probability of at most 1 is wanted")
    if not isinstance(given["certify"], bool):
        raise InvalidOption("certify", mx.shown(given["certify"]), "true or false is wanted")
    return Request(
        parsed,
        held,
        [h for h in wanted if h not in holders],
        mx.choice("mode", given["mode"], MODES),
        mx.choice("strategy", given["strategy"], STRATEGIES),
        mx.choice("contention", given["contention"], CONTENTIONS),
        int(mx.number("streams", given["streams"], zero=False, integer=True)),
        risk,
        mx.number("recovery_s", given["recovery_s"]),
        size,
        chunk,
        mx.number("effort", given["effort"], zero=False),
        bool(given["certify"]),
        given["copies"],
    )


def canonical(rows: Sequence[Sequence[float]], ready: Mapping[int, float], seconds: Sequence[float]) -> list[int]:
    """Host numbers in an order that follows from the matrix alone (exact sums, so no order of addition matters).

    Hosts that look the same stay in their given order.
    """
    finite = [[x for x in row if x < mx.INF] for row in rows]
    columns = [[x for x in column if x < mx.INF] for column in zip(*rows, strict=True)]
    keys = [(v not in ready, ready.get(v, 0.0), seconds[v], math.fsum(finite[v]), math.fsum(columns[v]), v) for v in range(len(rows))]
    return sorted(range(len(rows)), key=keys.__getitem__)


def numbered(names: Sequence[str]) -> list[int]:
    """A number for each name, by first appearance."""
    seen: dict[str, int] = {}
    return [seen.setdefault(name, len(seen)) for name in names]


def streams_of(request: Request, hosts: Sequence[str]) -> Streams:
    """How many receivers each sender may serve at a time: several only where its port's limit is known."""
    limits, size = request.matrix.limits, request.size_bytes
    up, limit = limits.up, [limits.streams.get(h, 0) for h in hosts] if limits.streams else []
    if request.streams == 1 or size is None or request.contention != "port" or not any(h in up for h in hosts):
        return ONE._replace(limit=limit)
    # One number of streams serves all searches: a host with a smaller limit serves one at a time.
    open_ = [h in up and limits.streams.get(h, request.streams) >= request.streams for h in hosts]
    rates = [1.0 / mbps_seconds(size, up[h]) if free else 0.0 for h, free in zip(hosts, open_, strict=True)]
    return Streams(request.streams, rates, limit)


def problem(
    request: Request, ready: Mapping[str, float], wanted: Sequence[str], left: Mapping[str, float] | None = None
) -> tuple[Problem, list[str]]:
    """The planners' view, and the targets that no path leads to.

    :param ready: when each holder can send.
    :param left: the share of the base that a host still misses, for hosts with a partial copy.
    """
    inside = {*ready, *wanted}
    chosen = [i for i, h in enumerate(request.matrix.hosts) if h in inside]
    hosts = [request.matrix.hosts[i] for i in chosen]
    rows = request.matrix.sub(chosen, request.size_bytes)
    if left:
        share = [left.get(h, 1.0) for h in hosts]
        rows = [[x if x == mx.INF else x * share[j] for j, x in enumerate(row)] for row in rows]
    at = {k: ready[h] for k, h in enumerate(hosts) if h in ready}
    seconds = shortest(rows, at).seconds
    order = [v for v in canonical(rows, at, seconds) if seconds[v] < mx.INF]
    unreachable = [h for k, h in enumerate(hosts) if seconds[k] == mx.INF]
    new = [[rows[i][j] for j in order] for i in order]
    names = [hosts[v] for v in order]
    site = [request.matrix.site[chosen[v]] for v in order]
    view = Problem(
        names,
        new,
        {k: at[v] for k, v in enumerate(order) if v in at},
        streams_of(request, names),
        numbered(site),
        site_loads(request.matrix.limits, site, request.size_bytes),
    )
    return view, unreachable
