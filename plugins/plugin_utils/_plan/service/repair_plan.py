# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which damaged base disks come again from which hosts, whom the damage concerns, and what else of a fleet does not belong together.

To the relay a damaged base is one that a host lacks. A host that has a sound copy in another pool mends it by itself, before.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._untrusted import Malformed
from ..placement import Observed
from ..relay.needs import base_metadata, record_conflicts, relays_of
from .consistency import STALE_REFERENCE, Finding, MissingBase, consistency
from .observation import checked_verification
from .report import one_line

FORMAT = 1


class _Damage(t.NamedTuple):
    """A base that a pool of a host needs and cannot use.

    :param because: the sentence on what is wrong.
    :param users: disks on it.
    """

    host: str
    pool: str
    sha256: str
    because: str
    users: Sequence[str]


Holders = Mapping[str, Sequence[tuple[str, str, Mapping[str, t.Any]]]]


def repair_plan(
    looks: Mapping[str, Mapping[str, t.Any]],
    repair: bool,
    statuses: Mapping[str, Mapping[str, t.Any]] | None = None,
    upkeep: Mapping[str, Sequence[Mapping[str, t.Any]]] | None = None,
) -> dict[str, t.Any]:
    """
    :param looks: ``{host: {"pools": as base_disk_info returns them with verify}}``, read after the host has mended what it can.
    :param repair: whether anything is to be brought.
    :param statuses: as ``fleet_status`` takes its looks, of all tenants. None: only base disks are looked at.
    :param upkeep: by host, what pool_upkeep has found, and mended.
    :returns: ``{"format", "relays", "relay_hosts", "resumable": {host: {pool: [sha256]}}, "lost": [sentence], "wrong": {host: [sentence]},
        "findings": [Finding], "stale_references": flag, "text": [line]}``; ``lost`` are damaged bases of which no host has a
        sound copy, ``wrong`` is all because of which a host is not as it should be.
    """
    seen, findings = _checked(looks)
    told, missing = consistency(statuses) if statuses is not None else ([], [])
    findings += told
    findings += [_beside(host, fault) for host, faults in (upkeep or {}).items() for fault in faults]
    damages = _with_missing(_damages(seen), missing)
    holders = _holders(seen)
    conflicts = _conflicts(holders, damages, seen)
    relays = _relays(damages, {sha256: held for sha256, held in holders.items() if sha256 not in conflicts}, seen) if repair else []
    coming = {(relay["sha256"], host): pool for relay in relays for host, pool in relay["targets"].items()}
    resumable: dict[str, dict[str, list[str]]] = {}
    for (sha256, host), pool in coming.items():
        resumable.setdefault(host, {}).setdefault(pool, []).append(sha256)
    wrong: dict[str, list[str]] = {}
    for host, sentence in [(one.host, one.because) for one in damages] + [
        (one.host, f"{one.found} (to mend it: {one.repair})") for one in findings if one.is_wrong and not one.mended
    ]:
        wrong.setdefault(host, []).append(sentence)
    return {
        "format": FORMAT,
        "relays": relays,
        "relay_hosts": [host for host in seen if any(host in relay["sources"] or host in relay["targets"] for relay in relays)],
        "resumable": resumable,
        "lost": [f"{one.because}; no host of this run has a sound copy" for one in damages if one.sha256 not in holders],
        "wrong": wrong,
        "findings": [one._asdict() for one in findings],
        "stale_references": any(one.kind == STALE_REFERENCE for one in findings),
        "text": [*_text(damages, holders, coming, conflicts), *_told(findings, repair)],
    }


def _beside(host: str, fault: Mapping[str, t.Any]) -> Finding:
    kind, place, found, repair = (one_line(fault[key]) for key in ("kind", "place", "found", "repair"))
    return Finding(host, kind, place, found, repair, fault["is_wrong"], fault["mends"], fault["mended"])


def _checked(looks: Mapping[str, Mapping[str, t.Any]]) -> tuple[dict[str, Mapping[str, t.Any]], list[Finding]]:
    """What can be planned with. A host that tells nonsense, and a pool that cannot be listed, are a finding of their own."""
    seen: dict[str, Mapping[str, t.Any]] = {}
    findings = []
    for host, look in looks.items():
        try:
            seen[host] = checked_verification(look, host)
        except Malformed as error:
            found = f"its base disks cannot be known: {error.message}"
            findings.append(Finding(host, "unknown", host, found, "find out who changed what the host answers", True))
            continue
        for name, pool in seen[host]["pools"].items():
            if pool.get("known") is False:
                found = f"the pool {name} cannot be known: {one_line(pool.get('reason'))}"
                findings.append(Finding(host, "unknown", name, found, "make it readable, and repeat the command", True))
    return seen, findings


def _damages(looks: Mapping[str, Mapping[str, t.Any]]) -> Iterator[_Damage]:
    """A base that waits for its parent is right itself, so the parent is what has to come, whether it is damaged or gone."""
    for host, look in looks.items():
        for pool, content in look["pools"].items():
            gone: dict[str, _Damage] = {}
            own = {one["sha256"] for one in content["damaged"] if not one.get("parent")}
            for one in content["damaged"]:
                because = f"{host}: the base disk {one['sha256']} in pool {pool} is damaged: {one_line(one['damage'])}"
                parent = one.get("parent")
                if not parent:
                    yield _Damage(host, pool, one["sha256"], because, one["users"])
                elif parent not in own:
                    first = gone.setdefault(parent, _Damage(host, pool, parent, because, ()))
                    gone[parent] = first._replace(users=list(dict.fromkeys([*first.users, *one["users"]])))
            yield from gone.values()


def _with_missing(damages: Iterator[_Damage], missing: Sequence[MissingBase]) -> list[_Damage]:
    """One that is gone may have been told by a child that waits for it, which does not know the disks on the parent itself."""
    found = {(one.host, one.pool, one.sha256): one for one in damages}
    for one in missing:
        because = f"{one.host}: the base disk {one.sha256} is missing in pool {one.pool}"
        told = found.setdefault((one.host, one.pool, one.sha256), _Damage(one.host, one.pool, one.sha256, because, ()))
        found[(one.host, one.pool, one.sha256)] = told._replace(users=list(dict.fromkeys([*told.users, *one.users])))
    return list(found.values())


def _conflicts(holders: Holders, damages: Sequence[_Damage], looks: Mapping[str, Mapping[str, t.Any]]) -> dict[str, str]:
    """Bases of which holders' records differ, though each says that it has read its own: one of them lies, so nothing is brought."""
    found = {}
    for sha256 in dict.fromkeys(one.sha256 for one in damages):
        if sha256 in holders:
            said = record_conflicts([{"sha256": sha256, "place": _title(sha256, holders)}], _observed(looks))
            if said:
                found[sha256] = "; ".join(said)
    return found


def _relays(damages: Sequence[_Damage], holders: Holders, looks: Mapping[str, Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    wanted = {sha256: _wanted(sha256, holders) for sha256 in dict.fromkeys(one.sha256 for one in damages) if sha256 in holders}
    work: dict[str, dict[str, t.Any]] = {host: {"fetch": [], "disks": []} for host in looks}
    for one in damages:
        # A second pool of the host gets its copy from the first, when that has come.
        if one.host in work and one.sha256 in wanted and one.sha256 not in [fetch["base"] for fetch in work[one.host]["fetch"]]:
            work[one.host]["fetch"].append({"base": one.sha256, "pool": one.pool})
    return _parents_first(relays_of(wanted, work, _observed(looks)))


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


def _wanted(sha256: str, holders: Holders) -> dict[str, t.Any]:
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


def _title(sha256: str, holders: Holders) -> str:
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


def _text(
    damages: Sequence[_Damage], holders: Holders, coming: Mapping[tuple[str, str], str], conflicts: Mapping[str, str]
) -> Iterator[str]:
    for one in damages:
        yield f"{one.because}."
        sources = ", ".join(dict.fromkeys(host for host, _pool, _base in holders.get(one.sha256, ())))
        if (one.sha256, one.host) in coming:
            yield f"  What is wrong of it comes from {sources} ({_title(one.sha256, holders)})."
        elif one.sha256 in conflicts:
            yield f"  It is not brought: {conflicts[one.sha256]}."
        elif one.sha256 in holders:
            yield f"  Sound on {sources}. With -e basecast_repair=true it comes from there."
        else:
            yield (
                "  No host of this run has a sound copy: run this for hosts that may have one as well (without --limit), or restore "
                "its source and deploy again."
            )
        if one.users:
            yield f"  Disks on it, whose machines may have read wrong bytes (restart them afterwards): {', '.join(one.users)}"


def _told(findings: Sequence[Finding], repair: bool) -> Iterator[str]:
    for one in sorted(findings, key=lambda one: (not one.is_wrong, one.mended)):
        yield f"{one.host}: {one.found}."
        if one.mended:
            yield f"  Mended: {one.repair}."
        elif one.mends:
            lead = "This run does" if repair else "With -e basecast_repair=true this does"
            yield f"  {lead}: {one.repair}."
        else:
            yield f"  {'To mend it' if one.is_wrong else 'Nothing fails because of it'}: {one.repair}."
