# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which damaged base disks come again from which hosts, and whom the damage concerns.

To the relay a damaged base is one that a host lacks. A host that has a sound copy in another pool mends it by itself, before.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ..placement import Observed
from ..relay.needs import base_metadata, relays_of
from .report import one_line

FORMAT = 1


class _Damage(t.NamedTuple):
    host: str
    pool: str
    sha256: str
    what: str
    users: Sequence[str]


def repair_plan(looks: Mapping[str, Mapping[str, t.Any]], repair: bool) -> dict[str, t.Any]:
    """
    :param looks: ``{host: {"pools": as base_disk_info returns them with verify}}``, read after the host has mended what it can.
    :param repair: whether anything is to be brought.
    :returns: ``{"format", "relays", "relay_hosts", "resumable": {host: {pool: [sha256]}}, "lost": [sentence], "text": [line]}``;
        ``lost`` are damaged bases of which no host has a sound copy.
    """
    damages = list(_damages(looks))
    holders = _holders(looks)
    relays: list[dict[str, t.Any]] = []
    if repair:
        wanted = {sha256: _wanted(sha256, holders) for sha256 in dict.fromkeys(one.sha256 for one in damages) if sha256 in holders}
        work: dict[str, dict[str, t.Any]] = {host: {"fetch": [], "disks": []} for host in looks}
        for one in damages:
            # A second pool of the host gets its copy from the first, when that has come.
            if one.sha256 in wanted and one.sha256 not in [fetch["base"] for fetch in work[one.host]["fetch"]]:
                work[one.host]["fetch"].append({"base": one.sha256, "pool": one.pool})
        relays = _parents_first(relays_of(wanted, work, _observed(looks)))
    coming = {(relay["sha256"], host): pool for relay in relays for host, pool in relay["targets"].items()}
    resumable: dict[str, dict[str, list[str]]] = {}
    for (sha256, host), pool in coming.items():
        resumable.setdefault(host, {}).setdefault(pool, []).append(sha256)
    return {
        "format": FORMAT,
        "relays": relays,
        "relay_hosts": [host for host in looks if any(host in relay["sources"] or host in relay["targets"] for relay in relays)],
        "resumable": resumable,
        "lost": [f"{_said(one)}; no host of this run has a sound copy" for one in damages if one.sha256 not in holders],
        "text": list(_text(damages, holders, coming)),
    }


def _damages(looks: Mapping[str, Mapping[str, t.Any]]) -> Iterator[_Damage]:
    for host, look in looks.items():
        for pool, content in look["pools"].items():
            for one in content["damaged"]:
                yield _Damage(host, pool, one["sha256"], one_line(one["damage"]), one["users"])


def _holders(looks: Mapping[str, Mapping[str, t.Any]]) -> dict[str, list[tuple[str, str, Mapping[str, t.Any]]]]:
    """``{sha256: [(host, pool, base)]}`` of what was read and is right."""
    found: dict[str, list[tuple[str, str, Mapping[str, t.Any]]]] = {}
    for host, look in looks.items():
        for pool, base in _sound(look):
            found.setdefault(base["sha256"], []).append((host, pool, base))
    return found


def _sound(look: Mapping[str, t.Any]) -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    for pool, content in look["pools"].items():
        bad = {one["sha256"] for one in content["damaged"]}
        for base in content["bases"]:
            if not base["damaged"] and not bad & {base["sha256"], *base["chain"]}:
                yield pool, base


def _wanted(sha256: str, holders: Mapping[str, Sequence[tuple[str, str, Mapping[str, t.Any]]]]) -> dict[str, t.Any]:
    """The base as a deployment's plan describes one that a host lacks."""
    base = holders[sha256][0][2]
    return {
        "title": _title(sha256, holders),
        "sha256": sha256,
        "holders": {host: pool for host, pool, _base in holders[sha256]},
        "import_on": None,
        "import_pool": None,
        "metadata": base_metadata(base),
        "source_bytes": None,
    }


def _title(sha256: str, holders: Mapping[str, Sequence[tuple[str, str, Mapping[str, t.Any]]]]) -> str:
    names = [name for _host, _pool, base in holders.get(sha256, ()) for name in base["names"]]
    return f"{names[0]['name']} {names[0]['version']}" if names else sha256[:12]


def _observed(looks: Mapping[str, Mapping[str, t.Any]]) -> Observed:
    """Hosts with nothing but what is sound."""
    found: dict[str, dict[str, t.Any]] = {}
    for host, look in looks.items():
        bases: dict[str, list[Mapping[str, t.Any]]] = {pool: [] for pool in look["pools"]}
        for pool, base in _sound(look):
            bases[pool].append(base)
        found[host] = {"reachable": True, "pools": {pool: {**look["pools"][pool], "bases": held} for pool, held in bases.items()}}
    return found


def _parents_first(relays: Sequence[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    waiting, found = list(relays), []
    while waiting:
        digests = {relay["sha256"] for relay in waiting}
        ready = [relay for relay in waiting if (relay["metadata"] or {}).get("parent") not in digests] or waiting
        found += ready
        waiting = [relay for relay in waiting if relay not in ready]
    return found


def _said(one: _Damage) -> str:
    return f"{one.host}: the base disk {one.sha256} in pool {one.pool} is damaged: {one.what}"


def _text(
    damages: Sequence[_Damage],
    holders: Mapping[str, Sequence[tuple[str, str, Mapping[str, t.Any]]]],
    coming: Mapping[tuple[str, str], str],
) -> Iterator[str]:
    for one in damages:
        yield f"{_said(one)}."
        if (one.sha256, one.host) in coming:
            sources = ", ".join(dict.fromkeys(host for host, _pool, _base in holders[one.sha256]))
            yield f"  What is wrong of it comes from {sources} ({_title(one.sha256, holders)})."
        elif one.sha256 in holders:
            yield f"  Sound on {', '.join(dict.fromkeys(host for host, _pool, _base in holders[one.sha256]))}."
        else:
            yield "  No host of this run has a sound copy: restore its source, and deploy again."
        if one.users:
            yield f"  Disks on it, whose machines may have read wrong bytes (restart them afterwards): {', '.join(one.users)}"
