# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What to measure (probe rounds), and the matrix that follows from what was measured."""

from __future__ import annotations

import math
import statistics
import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import InvalidOption
from . import matrix as mx

Rounds = list[list[list[str]]]


def _tournament(items: Sequence[str]) -> list[list[tuple[str, str]]]:
    """Every unordered pair once, in rounds of disjoint pairs (circle method)."""
    ring = list(range(len(items)))
    if len(ring) % 2:
        ring.append(-1)
    n, rounds = len(ring), []
    for _unused in range(max(n - 1, 0)):
        pairs = [(ring[k], ring[n - 1 - k]) for k in range(n // 2)]
        rounds.append([(items[min(a, b)], items[max(a, b)]) for a, b in pairs if a >= 0 and b >= 0])
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return [r for r in rounds if r]


def _spread(rounds: list[list[tuple[str, str]]], count: int) -> list[list[tuple[str, str]]]:
    """``count`` of the rounds, evenly spread."""
    if len(rounds) <= count:
        return rounds
    return [rounds[k * len(rounds) // count] for k in range(count)]


def probe_rounds(
    hosts: object,
    sites: object = None,
    full_up_to: object = 64,
    sample_rounds: object = 12,
    known: object = None,
    max_age_s: object = None,
) -> Rounds:
    """Rounds of disjoint pairs ``[a, b]``; a pair is measured both ways within its round.

    All pairs up to ``full_up_to`` hosts. Beyond, ``sample_rounds`` rounds: with ``sites`` ({host: site}) inside
    each site, followed by one round per pair of sites in a tournament of sites, by changing representatives.
    Pairs of which both directions are ``known`` (rows as deployment_matrix takes them), and no older than
    ``max_age_s`` where that is given, are left out.
    """
    rounds = _all_rounds(hosts, sites, full_up_to, sample_rounds)
    if known is None:
        return rounds
    oldest = mx.INF if max_age_s is None else mx.number("max_age_s", max_age_s)
    fresh = {(row["from"], row["to"]) for row in _flatten(mx.plain(known))[0] if age_of(row) <= oldest}
    left = [[[a, b] for a, b in r if not {(a, b), (b, a)} <= fresh] for r in rounds]
    return [r for r in left if r]


def age_of(row: Mapping[str, t.Any]) -> float:
    """Seconds since a link was measured; a row that does not say counts as new."""
    return mx.number("age_s", row.get("age_s") or 0)


def _all_rounds(hosts: object, sites: object, full_up_to: object, sample_rounds: object) -> Rounds:
    listed = mx.names("hosts", mx.plain(hosts))
    full = int(mx.number("full_up_to", full_up_to, integer=True))
    sample = int(mx.number("sample_rounds", sample_rounds, zero=False, integer=True))
    if sites is not None and not isinstance(sites, Mapping):
        raise InvalidOption("sites", mx.shown(sites), "{host: site} is wanted")
    if len(listed) <= full:
        return [[list(pair) for pair in r] for r in _tournament(listed)]
    if not sites:
        return [[list(pair) for pair in r] for r in _spread(_tournament(listed), sample)]
    members: dict[str, list[str]] = {}
    for host in listed:
        members.setdefault(str(sites.get(host, "")), []).append(host)
    inside = [_spread(_tournament(group), sample) for group in members.values()]
    rounds: Rounds = []
    for k in range(max(map(len, inside))):
        rounds.append([list(pair) for r in inside if k < len(r) for pair in r[k]])
    for k, r in enumerate(_tournament(list(members))):
        rounds.append([[members[a][k % len(members[a])], members[b][k % len(members[b])]] for a, b in r])
    return [r for r in rounds if r]


def _flatten(probes: object) -> tuple[list[Mapping[str, t.Any]], dict[str, Mapping[str, t.Any]]]:
    """Rows of links, and facts by host, from any of the accepted forms."""
    accepted = 'a list of {"from", "to", "mbps" or "seconds"}, or {host: such a list or {"links": [...]}} is wanted'
    rows: list[Mapping[str, t.Any]] = []
    facts: dict[str, Mapping[str, t.Any]] = {}
    if isinstance(probes, Mapping) and "links" in probes and isinstance(probes["links"], list):
        rows.extend(probes["links"])
    elif isinstance(probes, Mapping):
        for host, entry in probes.items():
            if isinstance(entry, Mapping):
                facts[host] = entry
                entry = entry.get("links") or []
            if not isinstance(entry, (list, tuple)):
                raise InvalidOption(f"probes.{host}", mx.shown(entry), accepted)
            rows.extend(entry)
    elif isinstance(probes, (list, tuple)):
        for entry in probes:
            if isinstance(entry, Mapping) and "links" in entry:
                rows.extend(entry["links"] or [])
                if isinstance(entry.get("host"), str):
                    facts[entry["host"]] = entry
            else:
                rows.append(entry)
    else:
        raise InvalidOption("probes", mx.shown(probes), accepted)
    for row in rows:
        if not isinstance(row, Mapping) or not isinstance(row.get("from"), str) or not isinstance(row.get("to"), str):
            raise InvalidOption("probes", mx.shown(row), accepted)
    return rows, facts


# A disk that was measured a minute ago was measured under the load of now.
SAME_LOAD_S = 60.0


def _disk_rates(option: str, facts: Mapping[str, t.Any], size_bytes: int) -> tuple[float, float]:
    """(read, write) of a host's disk in mbps; inf if not measured.

    Load: rates that are older than the load take a busy host's processors as shared evenly. Memory: an image that does
    not fit into what is free has to be read back while it is being written, to be passed on, so both share the disk.
    """
    rates = []
    for key in ("disk_read_mbps", "disk_write_mbps"):
        rates.append(mx.INF if facts.get(key) is None else mx.number(f"{option}.{key}", facts[key], zero=False))
    read, write = rates
    cpus, load = facts.get("cpus"), facts.get("load_1m")
    if cpus and load and load > cpus and not facts.get("disks_age_s", mx.INF) <= SAME_LOAD_S:
        read, write = read * cpus / load, write * cpus / load
    memory = facts.get("memory_available_mib")
    if memory and mx.number(f"{option}.memory_available_mib", memory) * 2**20 < size_bytes and read < mx.INF:
        write = 1 / (1 / write + 1 / read)
    return read, write


def _row_seconds(row: Mapping[str, t.Any], size_bytes: int, slowest_mbps: float) -> float:
    """Seconds for the whole image by one row; inf where the row says that there is no link."""
    where = f"probes[{row['from']}, {row['to']}]"
    latency = row.get("latency_s")
    wait = 0.0 if latency is None else mx.number(f"{where}.latency_s", latency)
    if row.get("mbps") is not None:
        mbps = mx.number(f"{where}.mbps", row["mbps"])
    elif row.get("seconds") is not None and row.get("bytes"):
        spent = mx.number(f"{where}.seconds", row["seconds"], zero=False)
        mbps = mx.number(f"{where}.bytes", row["bytes"], zero=False) * 8e-6 / spent
    elif row.get("seconds") is not None:
        least = mx.mbps_seconds(size_bytes, slowest_mbps) if slowest_mbps < mx.INF else 0.0
        return max(mx.number(f"{where}.seconds", row["seconds"]), least)
    else:
        return mx.INF
    if mbps == 0:
        return mx.INF
    return wait + mx.mbps_seconds(size_bytes, min(mbps, slowest_mbps))


class Options(t.TypedDict, total=False):
    """Of a matrix. ``measured_at`` is kept with it."""

    measured_at: object
    hierarchical: object
    estimate: object
    max_age_s: object
    shared_pools: object


def deployment_matrix(
    probes: object,
    size_bytes: object,
    hosts: object = None,
    limits: object = None,
    sites: Mapping[str, str] | None = None,
    previous: object = None,
    **options: t.Unpack[Options],
) -> dict[str, t.Any]:
    """The matrix for an image of ``size_bytes`` from measured links.

    A row has ``mbps`` (or ``seconds`` with ``bytes``: of the probe, or ``seconds`` alone: of the whole image) and
    may have ``latency_s``. A row without any of them, or with 0 mbps, says that there is no link. Of several rows
    for a link the last counts. With ``sites`` ({host: site}) links that nobody measured are estimated by the
    median of their pair of sites and listed as uncertain; from 257 hosts on (or ``hierarchical``) the result then
    has the hierarchical form, which lists what was ``measured`` instead.
    ``previous`` fills what was not measured this time. With ``estimate`` and without sites,
    a link that nobody measured is taken for as slow as the slower of what usually leaves the one and reaches the other
    end, and is uncertain; so are rows older than ``max_age_s``. ``shared_pools``: groups of hosts, kept with the matrix.
    """
    known_options = Options.__annotations__
    for key in options:
        if key not in known_options:
            raise InvalidOption("option", key, f"one of {', '.join(known_options)} is wanted")
    max_age_s, measured_at, hierarchical = options.get("max_age_s"), options.get("measured_at"), options.get("hierarchical")
    size = int(mx.number("size_bytes", size_bytes, zero=False, integer=True))
    rows, facts = _flatten(mx.read_input("probes", probes))
    before = None if previous is None else mx.parse(previous, "previous")
    if hosts is None:
        seen = dict.fromkeys([*facts, *(before.hosts if before else []), *(h for r in rows for h in (r["from"], r["to"]))])
        listed = sorted(seen)
    else:
        listed = mx.names("hosts", mx.plain(hosts))
    matrix = mx.Matrix(listed)
    matrix.set_sites(None if sites is None else mx.plain(sites))
    matrix.limits.add(mx.plain(limits), matrix.index)
    matrix.set_shared_pools(mx.plain(options.get("shared_pools") or []))
    disks = {h: _disk_rates(f"probes.{h}", f, size) for h, f in facts.items()}
    unknown = (mx.INF, mx.INF)
    known: dict[tuple[int, int], float] = {}
    old: set[tuple[int, int]] = set()
    oldest = mx.INF if max_age_s is None else mx.number("max_age_s", max_age_s)
    for row in rows:
        a, b = matrix.index.get(row["from"]), matrix.index.get(row["to"])
        if a is None or b is None or a == b:
            continue
        slowest = min(disks.get(row["from"], unknown)[0], disks.get(row["to"], unknown)[1])
        known[a, b] = _row_seconds(row, size, slowest)
        if age_of(row) > oldest:
            old.add((a, b))
        else:
            old.discard((a, b))
    more: dict[str, t.Any] = {"size_bytes": size}
    if matrix.limits:
        more["limits"] = matrix.limits.as_dict()
    if matrix.shared_pools:
        more["shared_pools"] = matrix.shared_pools
    if any(matrix.site):
        more["sites"] = {h: name for h, name in zip(listed, matrix.site, strict=True) if name}
    if measured_at is not None:
        more["measured_at"] = mx.plain(measured_at)
    if before is not None:
        old |= _fill_from(before, matrix, known, size)
    if sites is None:
        dense = [[mx.INF] * len(listed) for _unused in listed]
        for (i, j), seconds in known.items():
            dense[i][j] = seconds
        uncertain = _guess(dense, set(known)) if options.get("estimate") else []
        return mx.as_dict(listed, dense, uncertain=[[listed[i], listed[j]] for i, j in sorted({*uncertain, *old})], **more)
    flat = len(listed) <= 256 if hierarchical is None else not hierarchical
    return _estimated(listed, known, old, sites, flat, more)


def _guess(dense: list[list[float]], known: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Fill in links that nobody measured; which they are."""
    n = len(dense)
    links = {(i, j): dense[i][j] for i, j in known if dense[i][j] < mx.INF}
    leaving: list[list[float]] = [[] for _unused in range(n)]
    reaching: list[list[float]] = [[] for _unused in range(n)]
    for (i, j), seconds in links.items():
        leaving[i].append(seconds)
        reaching[j].append(seconds)
    usual = statistics.median(links.values()) if links else mx.INF
    out = [statistics.median(row) if row else usual for row in leaving]
    into = [statistics.median(row) if row else usual for row in reaching]
    guessed = [(i, j) for i in range(n) for j in range(n) if i != j and (i, j) not in known and usual < mx.INF]
    for i, j in guessed:
        dense[i][j] = max(out[i], into[j])
    return guessed


def _fill_from(before: mx.Matrix, matrix: mx.Matrix, known: dict[tuple[int, int], float], size: int) -> set[tuple[int, int]]:
    """Fill in what was known before; which of it was estimated."""
    estimated = set()
    scale = size / before.size_bytes if before.size_bytes else 1.0
    for a, host in enumerate(before.hosts):
        i = matrix.index.get(host)
        for b, other in enumerate(before.hosts):
            j = matrix.index.get(other)
            if i is not None and j is not None and i != j and (i, j) not in known:
                known[i, j] = before.seconds(a, b) * scale
                if before.is_estimated(a, b):
                    estimated.add((i, j))
    return estimated


def _estimated(
    listed: list[str], known: dict[tuple[int, int], float], old: set[tuple[int, int]], sites: Mapping[str, t.Any],
    flat: bool, more: dict[str, t.Any],
) -> dict[str, t.Any]:  # fmt: skip
    labels = [str(sites.get(h, "")) for h in listed]
    classes = sorted(set(labels))
    at = {label: c for c, label in enumerate(classes)}
    class_of = [at[label] for label in labels]
    samples: dict[tuple[int, int], list[float]] = {}
    for (i, j), seconds in known.items():
        samples.setdefault((class_of[i], class_of[j]), []).append(seconds)
    table = [[mx.INF] * len(classes) for _unused in classes]
    for (c, d), values in samples.items():
        finite = [v for v in values if v < mx.INF]
        # The median over all, but a link is assumed where any pair of the two classes has one.
        table[c][d] = statistics.median(finite) if finite else mx.INF
    if flat:
        dense = [[known.get((i, j), table[c][d]) for j, d in enumerate(class_of)] for i, c in enumerate(class_of)]
        uncertain = [
            [listed[i], listed[j]]
            for i, row in enumerate(dense)
            for j, seconds in enumerate(row)
            if i != j and seconds < mx.INF and ((i, j) not in known or (i, j) in old)
        ]
        return mx.as_dict(listed, dense, uncertain=uncertain, **more)
    other = {pair: s for pair, s in sorted(known.items()) if not math.isclose(s, table[class_of[pair[0]]][class_of[pair[1]]], rel_tol=0.1)}
    return {
        "format": mx.FORMAT,
        "hosts": listed,
        "class_of": class_of,
        "class_seconds": [[None if x == mx.INF else x for x in row] for row in table],
        "classes": classes,
        "exceptions": [[listed[i], listed[j], None if seconds == mx.INF else seconds] for (i, j), seconds in other.items()],
        "uncertain": [[listed[i], listed[j]] for i, j in sorted(old)],
        "measured": [[listed[i], listed[j]] for i, j in sorted(known) if (i, j) not in other and (i, j) not in old],
        **more,
    }
