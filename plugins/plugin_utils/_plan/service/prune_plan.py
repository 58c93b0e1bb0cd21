# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which bases are to go by a policy, from what every host needs; and what became of that."""

from __future__ import annotations

import re
import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._untrusted import Malformed
from .observation import checked_prune
from .report import one_line
from .status_text import size
from .wrapped_text import NARROW, wrapped

FORMAT = 1
#: The kind of what is left of a base that is not there.
REFERENCE = "reference"

Told = Mapping[str, t.Any]
Looks = Mapping[str, Told]
Entry = dict[str, t.Any]

_DAY = 86400.0


class Policy(t.TypedDict):
    """
    :param unused_days: a base that nothing has used for longer goes.
    :param keep_versions: so many of the newest versions of each name stay.
    :param free_percent: where less of a storage is free, bases that were used longest ago go until as much is free.
    :param grace_s: a base that was used in this time stays, however little is free.
    :param left_hours: what transfers and uploads have left goes when nothing has changed in it for longer.
    """

    unused_days: float
    keep_versions: int
    free_percent: float
    grace_s: float
    left_hours: float


def prune_plan(looks: Looks, policy: Policy, fleet: Sequence[str], now: float | None = None, only: Sequence[str] | None = None) -> Entry:
    """
    :param looks: ``{host: {"prune": base_disk_prune's in check mode}}``, or ``{"msg": why it could not be asked}``.
    :param fleet: all hosts that may see a storage, whether this run asks them or not.
    :param now: seconds since 1970 by the controller's clock.
    :param only: kinds of leftovers; no base goes then, and no other leftover.
    :returns: ``{"format", "hosts": {host: what base_disk_prune takes}, "bases": [{"sha256", "title", "host", "pool", "hosts", "bytes",
        "unused_s", "goes", "reasons"}], "left": […], "unknown": {host: why}, "outside": [hosts], "text"}``.
    """
    seen, unknown = _sorted_out(looks)
    unknown.update({host: "is outside this run" for host in fleet if host not in looks})
    bases: list[Entry] = []
    left: list[Entry] = []
    hosts: dict[str, Entry] = {}
    for storage in _storages(seen):
        if only is None:
            bases += _decide(storage, policy, unknown, time.time() if now is None else now)
        left += [one for one in _left(storage, policy, unknown) if only is None or one["kind"] in only]
    for kind, entries, key in (("bases", bases, "sha256"), ("left", left, "what")):
        for entry in entries:
            if entry["goes"]:
                mine = hosts.setdefault(entry["host"], {"bases": {}, "left": {}, "used_at": {}})
                mine[kind].setdefault(entry["pool"], []).append(entry[key])
                if kind == "bases":
                    mine["used_at"][entry["sha256"]] = max(entry["used_at"], mine["used_at"].get(entry["sha256"], 0.0))
    plan = {
        "format": FORMAT,
        "hosts": hosts,
        "bases": bases,
        "left": left,
        # Of a storage that only hosts outside this run see, nothing is said.
        "unknown": {host: why for host, why in unknown.items() if host in looks},
        "outside": [host for host in fleet if host not in looks],
    }
    return {**plan, "text": list(_plan_text(plan))}


def _sorted_out(looks: Looks) -> tuple[dict[str, Told], dict[str, str]]:
    """What hosts have told, and for those of which not everything is known, why. A host may be in both."""
    seen: dict[str, Told] = {}
    unknown: dict[str, str] = {}
    for host, look in looks.items():
        if not look.get("prune"):
            unknown[host] = one_line(look.get("msg"))
            continue
        try:
            seen[host] = checked_prune(look["prune"], host)
        except Malformed as error:
            unknown[host] = error.message
            continue
        if seen[host]["unknown"]:
            unknown[host] = one_line(seen[host]["unknown"][0])
    return seen, unknown


class _Storage(t.NamedTuple):
    """One store of bases, and every host that sees it: ``(host, pool, what the host has told of it)``."""

    identity: str
    shared: bool
    views: list[tuple[str, str, Told]]
    elsewhere: Looks


def _storages(seen: Looks) -> list[_Storage]:
    found: dict[str, _Storage] = {}
    for host, told in seen.items():
        for name, pool in told["pools"].items():
            if pool.get("known"):
                identity = pool.get("identity") or f"{host}:{name}"
                storage = found.setdefault(identity, _Storage(identity, False, [], seen))
                storage.views.append((host, name, pool))
                is_shared = bool(pool.get("shared")) or len({one for one, _pool, _told in storage.views}) > 1
                found[identity] = storage._replace(shared=storage.shared or is_shared)
    return list(found.values())


# --- deciding --------------------------------------------------------------------------------------


def _decide(storage: _Storage, policy: Policy, unknown: Mapping[str, str], now: float) -> list[Entry]:
    first_host, first_pool, told = storage.views[0]
    entries: dict[str, Entry] = {}
    for host, _name, pool in storage.views:
        for base in pool["bases"]:
            names = [f"{one['name']} {one['version']}" for one in base["names"]]
            entry = entries.setdefault(
                base["sha256"],
                {
                    "sha256": base["sha256"],
                    "title": ", ".join(dict.fromkeys(names)) or base["sha256"][:12],
                    "names": base["names"],
                    "host": first_host,
                    "pool": first_pool,
                    "hosts": list(dict.fromkeys(view for view, _pool, _told in storage.views)),
                    "bytes": base["bytes"],
                    "unused_s": base["unused_s"],
                    "used_at": base["used_at"],
                    "children": base["children"],
                    "goes": False,
                    "reasons": [],
                },
            )
            entry["unused_s"] = min(entry["unused_s"], base["unused_s"])
            entry["reasons"] += [f"{host}: {reason}" if len(storage.views) > 1 else reason for reason in base["kept"]]
            ahead = base["used_at"] + base["unused_s"] - now
            if base["unused_s"] > 0 and ahead > _DAY:
                entry["reasons"].append(f"the clock of {host} is {ahead / _DAY:.0f} days ahead, so how long it was unused is not known")
            if not base["usable"]:
                entry["reasons"].append("it is damaged; run basecast.fleet.verify")
    if storage.shared:
        # The same base may be seen through a mount that has another name, as on the server of a share.
        for host, other in storage.elsewhere.items():
            for pool in other["pools"].values():
                if pool.get("known") and pool.get("shared") and not any(pool is view for _host, _name, view in storage.views):
                    for base in pool["bases"]:
                        if base["sha256"] in entries:
                            entries[base["sha256"]]["reasons"] += [f"{host}: {reason}" for reason in base["kept"]]
    for host, why in _concerned(storage, unknown).items():
        for entry in entries.values():
            entry["reasons"].append(f"{host} may need it, which cannot be known: {why}")
    newest = _newest(list(entries.values()), policy["keep_versions"])
    for sha256, reason in newest.items():
        entries[sha256]["reasons"].append(reason)
    free = _Free(told["free_bytes"], told["total_bytes"], policy["free_percent"])
    _choose(entries, policy, free)
    return sorted(entries.values(), key=lambda one: (one["title"], one["sha256"]))


def _concerned(storage: _Storage, unknown: Mapping[str, str]) -> Mapping[str, str]:
    """The hosts that may need something of the storage, of which not everything is known."""
    if storage.shared:
        return unknown
    return {host: why for host, why in unknown.items() if host == storage.views[0][0]}


class _Free:
    """How much is free, and would be."""

    def __init__(self, free_bytes: int, total_bytes: int, percent: float) -> None:
        self.free_bytes = free_bytes
        self.wanted_bytes = int(total_bytes * percent / 100)

    @property
    def short(self) -> bool:
        return self.free_bytes < self.wanted_bytes


def _choose(entries: dict[str, Entry], policy: Policy, free: _Free) -> None:
    """First what is unused for long enough, then, while too little is free, what was used longest ago. A base goes only after
    all that are based on it; so each choice may make room for another."""
    least_s = policy["unused_days"] * _DAY

    def may_go(entry: Entry) -> bool:
        standing = [child for child in entry["children"] if child in entries and not entries[child]["goes"]]
        return not entry["goes"] and not entry["reasons"] and not standing and entry["unused_s"] >= policy["grace_s"]

    while True:
        able = [entry for entry in entries.values() if may_go(entry)]
        ready = [entry for entry in able if entry["unused_s"] > least_s]
        why = f"unused for more than {policy['unused_days']:g} days"
        if not ready and free.short and able:
            ready = [max(able, key=lambda entry: entry["unused_s"])]
            why = f"less than {policy['free_percent']:g} % are free, and nothing that could go was used longer ago"
        if not ready:
            break
        for entry in ready:
            entry["goes"] = True
            entry["reasons"] = [why]
            free.free_bytes += entry["bytes"]
    for entry in entries.values():
        if not entry["goes"]:
            entry["reasons"] += [
                f"the base disk {entries[child]['title']} is based on it"
                for child in entry["children"]
                if child in entries and not entries[child]["goes"]
            ]
        if not entry["goes"] and not entry["reasons"]:
            entry["reasons"] = [f"used {_ago(entry['unused_s'])} ago"]


def _newest(entries: Sequence[Entry], keep: int) -> dict[str, str]:
    """The newest versions of each name stay. The order is that of the versions' numbers, not of their arrival."""
    versions: dict[tuple[str, str], dict[str, list[str]]] = {}
    for entry in entries:
        for one in entry["names"]:
            versions.setdefault((one["tenant"], one["name"]), {}).setdefault(one["version"], []).append(entry["sha256"])
    found: dict[str, str] = {}
    for (_tenant, name), known in versions.items():
        kept = sorted(known, key=version_key, reverse=True)[:keep]
        for version in kept:
            which = "the newest version" if len(kept) == 1 else f"one of the {len(kept)} newest versions"
            for sha256 in known[version]:
                found[sha256] = f"{which} of {name}"
    return found


def version_key(version: str) -> list[tuple[int, int, str]]:
    """1.10 comes after 1.9, and 1.0 after 1.0-rc1."""
    parts = re.findall(r"[0-9]+|[a-zA-Z]+", version)
    return [*((1, int(part), "") if part.isdigit() else (-1, 0, part) for part in parts), (0, 0, "")]


def _left(storage: _Storage, policy: Policy, unknown: Mapping[str, str]) -> list[Entry]:
    host, pool, told = storage.views[0]
    found = []
    for one in told.get("left") or []:
        old = one["age_s"] > policy["left_hours"] * 3600
        reasons = list(one["kept"])
        if one["kind"] == REFERENCE:
            reasons += _needed_by_others(storage, one, unknown)
        if not reasons and not old:
            reasons = [f"something in it was changed {_ago(one['age_s'])} ago"]
        found.append(
            {
                "kind": one["kind"],
                "what": one.get("sha256") or one["path"],
                "title": one.get("title") or _short(one.get("sha256") or one["path"]),
                "host": host,
                "pool": pool,
                "bytes": one["bytes"],
                "goes": not reasons,
                "reasons": reasons,
            }
        )
    return found


def _needed_by_others(storage: _Storage, reference: Told, unknown: Mapping[str, str]) -> Iterator[str]:
    """Why the references of a base that is not there stay for another host than the one that tells of them first."""
    first, sha256 = storage.views[0][0], _last(reference)
    pools = [(host, pool, True) for host, _name, pool in storage.views[1:]]
    if storage.shared:
        # The same store may be seen through a mount that has another name.
        pools += [(host, pool, False) for host, other in storage.elsewhere.items() for pool in other["pools"].values() if host != first]
    for host, pool, is_view in pools:
        same = [one for one in pool.get("left") or [] if one["kind"] == REFERENCE and _last(one) == sha256]
        yield from (f"{host}: {reason}" for one in same for reason in one["kept"])
        if is_view and not same:
            yield f"{host} sees the base, or that it is coming"
    for host, why in _concerned(storage, unknown).items():
        yield f"{host} may need it, which cannot be known: {why}"


def _last(reference: Told) -> str:
    return str(reference["path"]).rsplit("/", 1)[-1]


def _ago(seconds: float) -> str:
    for unit, length in (("days", _DAY), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


# --- text ------------------------------------------------------------------------------------------


def _plan_text(plan: Told) -> Iterator[str]:
    going = [one for one in [*plan["bases"], *plan["left"]] if one["goes"]]
    total = size(sum(one["bytes"] for one in going))
    bases = sum(one["goes"] for one in plan["bases"])
    yield f"{bases} of {len(plan['bases'])} bases and {len(going) - bases} of {len(plan['left'])} leftovers would go, {total}"
    for one in plan["bases"]:
        where = f"{', '.join(one['hosts'])} pool {one['pool']}"
        yield from _wrapped(
            f"{'goes ' if one['goes'] else 'stays'}  {one['title']} on {where}, {size(one['bytes'])}: {'; '.join(one['reasons'])}"
        )
    for one in plan["left"]:
        why = "; ".join(one["reasons"]) or "nothing is at work on it"
        what = f"{one['kind']} {one['title']} on {one['host']} pool {one['pool']}, {size(one['bytes'])}"
        yield from _wrapped(f"{'goes ' if one['goes'] else 'stays'}  {what}: {why}")
    for host, why in plan["unknown"].items():
        yield from _wrapped(f"{host} cannot be known: {why}")


def _short(what: str) -> str:
    return what if what.startswith("/") else what[:12]


def _wrapped(text: str) -> list[str]:
    return wrapped(text, "  ", "         ", NARROW, cut=True)


# --- what became of it -------------------------------------------------------------------------------


def prune_report(plan: Told, outcomes: Looks, predicted: bool = False) -> Entry:
    """
    :param plan: as prune_plan returns it.
    :param outcomes: ``{host: {"prune": base_disk_prune's}}`` and ``{"msg": why it failed}``.
    :returns: ``{"format", "predicted", "ok", "removed": [{"host", "pool", "what", "title", "bytes"}], "kept": [...], "failures", "text"}``.
    """
    removed: list[Entry] = []
    kept: list[Entry] = []
    failures = [f"{host} cannot be known: {why}" for host, why in plan["unknown"].items()]
    titles = {one["sha256"]: one["title"] for one in plan["bases"]}
    titles.update({one["what"]: f"{one['kind']} {one['title']}" for one in plan["left"] if one["kind"] == REFERENCE})
    for host in plan["hosts"]:
        outcome = outcomes.get(host) or {"msg": "the run ended before this host's turn"}
        if not outcome.get("prune"):
            failures.append(f"{host}: {one_line(outcome.get('msg'))}")
            continue
        for one in outcome["prune"]["results"]:
            entry = {"host": host, "title": titles.get(one["what"], _short(one["what"])), **one}
            if one["state"] == "removed":
                removed.append(entry)
            elif one["state"] == "kept":
                kept.append(entry)
    report = {"format": FORMAT, "predicted": predicted, "ok": not failures, "removed": removed, "kept": kept, "failures": failures}
    return {**report, "text": list(_report_text(report))}


def _report_text(report: Told) -> Iterator[str]:
    verb = "would be removed" if report["predicted"] else "removed"
    yield f"{len(report['removed'])} {verb}, {size(sum(one['bytes'] for one in report['removed']))}"
    for one in report["removed"]:
        yield from _wrapped(f"{one['title']} on {one['host']} pool {one['pool']}, {size(one['bytes'])}")
    for one in report["kept"]:
        yield from _wrapped(f"kept: {one['title']} on {one['host']} pool {one['pool']}: {one['reason']}")
    for failure in report["failures"]:
        yield from _wrapped(failure)
