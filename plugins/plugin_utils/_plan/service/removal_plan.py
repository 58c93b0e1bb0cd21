# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which machines of a service are to go, from what every host has of it; and what became of that."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ....module_utils._names import HOST_LABEL_RULE, is_host_label, is_name
from ..placement.numbering import Numbers, candidates, known_numbers
from .drift import in_short
from .report import one_line
from .scaled import with_counts
from .start_order import stages
from .status_text import size
from .user_options import empty_mistakes, flag, flag_mistakes, foreign_mistakes

FORMAT = 1
SURPLUS = "surplus"
_PARTS = ("role", "machines", "remove")

Looks = Mapping[str, Mapping[str, t.Any]]
# A machine of the plan, or of a report, and what became of those that were powered off, by host.
Entry = Mapping[str, t.Any]
PoweredOff = Mapping[str, Sequence[Mapping[str, t.Any]]]


def removal_plan(
    looks: Looks,
    request: Mapping[str, t.Any],
    manifest: Mapping[str, t.Any] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    skip_bad_hosts: bool = True,
) -> dict[str, t.Any]:
    """
    :param looks: ``{host: {"removal": host_removal's in check mode}}``, or ``{"msg": why it could not be asked}``. Empty to see
        whether the request can be meant.
    :param request: ``service``, ``tenant``, ``role``, ``machines``, ``remove``, ``keep_disks``, as the user gave them, ``stop``
        to power off only, and ``given``, the names of those that were given at all.
    :param groups: of the inventory.
    :returns: ``{"format", "service", "tenant", "whole", "hosts": {host: names, or None for all}, "machines": [{"machine", "host",
        "group", "running", "disks", "bytes", "problem"}], "stops": [{host: names}] powered off one after another, "after": {role:
        roles that start before it} where machines are only powered off, "elsewhere": {host: names that
        are not its own}, "kept": [names], "absent": [names], "unknown": {host: why}, "problems": [...], "text": [...]}``.
    """
    problems = list(_mistakes(request, manifest))
    plan: dict[str, t.Any] = {
        "format": FORMAT,
        "service": request.get("service") or (manifest or {}).get("service"),
        "tenant": request.get("tenant") or (manifest or {}).get("tenant") or "default",
        "whole": not any(request.get(key) for key in _PARTS),
        "hosts": {},
        "machines": [],
        "elsewhere": {},
        "stops": [],
        "after": {},
        "kept": [],
        "absent": [],
        "unknown": {},
        "problems": problems,
    }
    if problems or not looks:
        return {**plan, "text": []}
    seen = {host: look["removal"] for host, look in looks.items() if look.get("removal")}
    plan["unknown"] = {host: one_line(look.get("msg")) for host, look in looks.items() if not look.get("removal")}
    if plan["unknown"] and not skip_bad_hosts:
        problems += [f"{host}: {why}" for host, why in plan["unknown"].items()]
    problems += [
        f"{host}: {plan['service']} is being deployed by the run {', '.join(found['jobs'])}; wait until that has ended, or end it"
        f" (basecast.fleet.stop -e run={found['jobs'][0]})"
        for host, found in seen.items()
        if found["jobs"]
    ]
    plan["elsewhere"], plan["kept"] = _elsewhere(seen, plan["unknown"])
    seen = {
        host: {**found, "machines": [one for one in found["machines"] if one["machine"] not in plan["elsewhere"].get(host, ())]}
        for host, found in seen.items()
    }
    wanted = _wanted(plan, request, manifest, groups or {}, seen)
    for host, found in seen.items():
        names = [one["machine"] for one in found["machines"] if wanted is None or (host, one["machine"]) in wanted]
        if names or (wanted is None and found["recorded"]):
            plan["hosts"][host] = None if wanted is None else names
        plan["machines"] += [_entry(host, one) for one in found["machines"] if one["machine"] in names]
    if wanted is None:
        # Its record would go from hosts that have none of its machines, and with it where those are that stay.
        problems += dict.fromkeys(str(one["problem"]) for found in seen.values() for one in found["machines"] if one.get("moving"))
    after = _after(seen, manifest)
    plan["stops"] = _stops(plan["machines"], seen, after, bool(request.get("stop")))
    if request.get("stop"):
        plan["after"] = after
    there = {entry["machine"] for entry in plan["machines"]}
    plan["absent"] = [name for name in names_of(request.get("machines")) if name not in there]
    return {**plan, "text": list(_plan_text(plan, request, seen))}


def _elsewhere(seen: Looks, unknown: Mapping[str, str]) -> tuple[dict[str, list[str]], list[str]]:
    """Machines of which a host has files in a pool, and another host the domain, or may have it as it cannot be asked: by host, and
    the names of those that nobody who was asked has."""
    having = {one["machine"] for look in seen.values() for one in look["machines"] if one.get("domain", True)}
    files = {host: [one["machine"] for one in look["machines"] if not one.get("domain", True)] for host, look in seen.items()}
    found = {host: [name for name in names if name in having or unknown] for host, names in files.items()}
    kept = sorted({name for names in found.values() for name in names} - having)
    return {host: names for host, names in found.items() if names}, kept


def _mistakes(request: Mapping[str, t.Any], manifest: Mapping[str, t.Any] | None) -> Iterator[str]:
    service, remove = request.get("service"), request.get("remove")
    if manifest is None and not service:
        yield "service: none given; expected the name of a service (-e service=NAME), or its manifest (-e manifest=FILE)"
    for option in ("service", "tenant", "role"):
        value = request.get(option)
        if value and not (isinstance(value, str) and is_name(value)):
            yield f"{option}: invalid value {value!r}; expected a name"
    if manifest is not None and service and service != manifest["service"]:
        yield f"service: {service!r} is not the service of the manifest, {manifest['service']!r}; give one of the two"
    if remove not in (None, "", SURPLUS):
        yield f"remove: invalid value {remove!r}; expected {SURPLUS}, or nothing"
    if remove == SURPLUS and manifest is None:
        yield f"remove: {SURPLUS} needs the manifest that says what is wanted; give it with -e manifest=FILE"
    yield from flag_mistakes(request, ("keep_disks",))
    yield from foreign_mistakes(request)
    yield from empty_mistakes(request, _PARTS, "the whole service would be removed")
    given = [option for option in _PARTS if request.get(option)]
    if len(given) > 1:
        yield f"{given[0]}: given together with {', '.join(given[1:])}; expected one of them"
    for name in names_of(request.get("machines")):
        if not is_host_label(name):
            yield f"machines: invalid value {name!r}; a machine's name has {HOST_LABEL_RULE}"


def names_of(machines: object) -> list[str]:
    """Names as a user may give them: a list, or a text with commas, with or without the brackets and quotes of a list."""
    if not machines:
        return []
    if isinstance(machines, str):
        text = machines.strip()
        inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        given: Iterable[t.Any] = [name.strip().strip("\"'") for name in inner.split(",")]
    else:
        given = machines if isinstance(machines, Sequence) else [machines]
    return list(dict.fromkeys(str(name).strip() for name in given))


def _wanted(
    plan: dict[str, t.Any],
    request: Mapping[str, t.Any],
    manifest: Mapping[str, t.Any] | None,
    groups: Mapping[str, Sequence[str]],
    seen: Looks,
) -> set[tuple[str, str]] | None:
    """Host and name of each machine that is meant; None for all."""
    if plan["whole"]:
        return None
    found = {(host, one["machine"]): one for host, look in seen.items() for one in look["machines"]}
    if request.get("remove") and manifest is not None:
        extra, mistakes = surplus(manifest, seen, groups)
        # A record that cannot be read may have a number of machines that is above the manifest's.
        unread = [f"{host}: {look['problem']}" for host, look in seen.items() if look.get("problem")]
        plan["problems"].extend([*unread, *mistakes])
        return {(host, name) for host, name in found if (name, host) in extra}
    if request.get("role"):
        return {key for key, one in found.items() if one["group"] == request["role"]}
    names = names_of(request.get("machines"))
    return {(host, name) for host, name in found if name in names}


def surplus(manifest: Mapping[str, t.Any], seen: Looks, groups: Mapping[str, Sequence[str]]) -> tuple[set[tuple[str, str]], list[str]]:
    """Name and host of machines that exist and are no longer asked for, as a deployment would report them; and what is wrong
    with the manifest's hosts: a misspelt one must not make its machines surplus."""
    hosts = {
        host: {
            "reachable": True,
            "known": True,
            "machines": [{"machine": one["machine"], "group": one["group"], "number": one["number"]} for one in look["machines"]],
            "record": {"service": manifest["service"], "scaled": look.get("scaled")},
        }
        for host, look in seen.items()
    }
    manifest, _notes = with_counts(manifest, hosts)
    known = known_numbers(manifest["service"], hosts)
    extra: set[tuple[str, str]] = set()
    mistakes: list[str] = []
    for group in manifest["machines"]:
        usable, wrong = candidates(group, hosts, groups)
        mistakes += wrong
        numbers = Numbers.of(group, usable, known.pop(group["name"], {}), hosts)
        extra.update((f"{group['name']}-{number}", numbers.known[number][0]) for number in numbers.surplus)
    for name, numbered in known.items():
        extra.update((f"{name}-{number}", host) for number, (host, _exists) in numbered.items())
    return extra, mistakes


def _after(seen: Looks, manifest: Mapping[str, t.Any] | None) -> dict[str, list[str]]:
    """By role those that start before it: as the manifest says, where one is given, or else what the hosts have kept of it."""
    if manifest is not None:
        return {role["name"]: list(role.get("after") or ()) for role in manifest["machines"]}
    after: dict[str, list[str]] = {}
    for look in seen.values():
        for role, before in (look.get("after") or {}).items():
            after.setdefault(role, []).extend(before)
    return after


def _stops(machines: Sequence[Entry], seen: Looks, after: Mapping[str, Sequence[str]], also_at_once: bool) -> list[dict[str, list[str]]]:
    """Running machines by host, those that start last first.

    :param also_at_once: one step where they may all stop at once, instead of none.
    """
    if not any(after.values()) and not also_at_once:
        return []
    roles = {one["machine"]: one["group"] for look in seen.values() for one in look["machines"]}
    found = []
    for stage in reversed(stages({**dict.fromkeys(roles.values(), ()), **after})):
        step: dict[str, list[str]] = {}
        for entry in machines:
            if entry["running"] and not entry["problem"] and roles[entry["machine"]] in stage:
                step.setdefault(entry["host"], []).append(entry["machine"])
        if step:
            found.append(step)
    return found if len(found) > 1 or also_at_once else []


def _entry(host: str, one: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        "machine": one["machine"],
        "host": host,
        "group": one["group"],
        "running": one["running"],
        "disks": len(one["disks"]),
        "bytes": sum(disk["allocated_bytes"] for disk in one["disks"]),
        "left": one["left"],
        "problem": one["problem"],
    }


def _plan_text(plan: Mapping[str, t.Any], request: Mapping[str, t.Any], seen: Looks) -> Iterator[str]:
    what = "all of it" if plan["whole"] else _count(len(plan["machines"]), "machine")
    yield f"Service {plan['service']} (tenant {plan['tenant']}): {what} to be {'powered off' if request.get('stop') else 'removed'}"
    width = max((len(entry["machine"]) for entry in plan["machines"]), default=0)
    for entry in plan["machines"]:
        state = "running" if entry["running"] else "off"
        keeps = "kept" if flag(request.get("keep_disks")) else f"with {size(entry['bytes'])}"
        yield f"  {entry['machine']:<{width}}  {entry['host']}  {state}, {_count(entry['disks'], 'disk')} {keeps}"
        if entry["problem"]:
            yield f"    stays: {entry['problem']}"
        yield from (f"    not the machine's own, stays: {path}" for path in entry["left"])
    if len(plan["stops"]) > 1:
        yield f"  stop order: {'; then '.join(in_short([name for names in step.values() for name in names]) for step in plan['stops'])}"
    yield from (f"  {name} stays: no host that was asked has its domain, and its files may be another's" for name in plan["kept"])
    yield from (f"  {name} is on no host that was asked" for name in plan["absent"])
    if not plan["hosts"]:
        others = sorted({one["group"] for look in seen.values() for one in look["machines"]})
        where = "on the hosts that were asked" if plan["unknown"] else "there"
        yield f"  nothing of it is {where}{'; roles of the service: ' + ', '.join(others) if others else ''}"
    yield from (f"  {host} could not be asked: {why}" for host, why in plan["unknown"].items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# --- what became of it -------------------------------------------------------------------------------


def removal_report(plan: Mapping[str, t.Any], outcomes: Looks, predicted: bool = False) -> dict[str, t.Any]:
    """
    :param plan: as removal_plan returns it.
    :param outcomes: ``{host: {"removal": host_removal's}}`` and ``{"msg": why it failed}``.
    :returns: ``{"format", "service", "tenant", "predicted", "ok", "machines": [{"machine", "host", "state", "actions", "disks",
        "left", "reason"}], "failures": [...], "text": [...]}``; states are removed, failed and unknown.
    """
    machines: list[dict[str, t.Any]] = []
    of_hosts: list[str] = []
    for host in plan["hosts"]:
        outcome = outcomes.get(host) or {"msg": "the run ended before this host's turn"}
        removal = outcome.get("removal") or {}
        told = {one["machine"]: one for one in removal.get("machines") or () if one["wanted"]}
        for entry in plan["machines"]:
            if entry["host"] == host:
                machines.append(_outcome(entry, told.get(entry["machine"]), outcome))
        if not removal:
            of_hosts.append(f"{host}: {one_line(outcome.get('msg'))}")
        elif removal.get("problem"):
            of_hosts.append(f"{host}: {removal['problem']}")
    of_hosts += [f"{host} could not be asked: {why}" for host, why in plan["unknown"].items()]
    failures = [*of_hosts, *(f"{one['machine']} on {one['host']}: {one['reason']}" for one in machines if one["state"] == "failed")]
    report = {
        "format": FORMAT,
        "service": plan["service"],
        "tenant": plan["tenant"],
        "predicted": predicted,
        "ok": not failures,
        "machines": machines,
        "absent": list(plan["absent"]),
        "failures": failures,
    }
    return {**report, "text": list(_report_text(report, of_hosts))}


def power_off_report(plan: Mapping[str, t.Any], outcomes: PoweredOff, predicted: bool = False) -> dict[str, t.Any]:
    """
    :param plan: as removal_plan returns it, of a request with ``stop``.
    :param outcomes: by host ``[{"machines": [names], "msg": why they may run still, "told": what the host said of each, "held": whether
        they were not asked}]``. Those of steps that are still to come are missing.
    :returns: ``{"format", "service", "tenant", "predicted", "ok", "machines": [{"machine", "host", "state", "reason"}], "held": [{"host",
        "machines", "msg", "held"}], "failures", "text"}``; states are off, off_before, failed, unknown where the host did not say, and
        left, for machines that are left alone. ``held`` are outcomes for those that have to stay on.
    """
    machines = []
    for entry in plan["machines"]:
        state, reason = _power(entry, outcomes, predicted)
        machines.append({"machine": entry["machine"], "host": entry["host"], "state": state, "reason": reason})
    unknown = [f"{host} could not be asked: {why}" for host, why in plan["unknown"].items()]
    bad = [one for one in machines if one["state"] not in ("off", "off_before")]
    off = sum(one["state"] == "off" for one in machines)
    verb = "would be powered off" if predicted else "are powered off"
    words = {"off": verb.split(" ", 1)[1] if not predicted else verb, "off_before": "was off"}
    loud = {"unknown": "NOT KNOWN TO BE OFF"}
    text = [f"Service {plan['service']}: {off} of {len(machines)} machines {verb}."]
    for one in machines:
        told = words.get(one["state"]) or f"{loud.get(one['state'], 'NOT OFF')}: {one['reason']}"
        text.append(f"  {one['machine']}  {one['host']}  {told}")
    text += [f"  {name} is on no host that was asked" for name in plan["absent"]]
    failures = [*unknown, *(f"{one['machine']} on {one['host']}: {one['reason']}" for one in bad)]
    return {
        "format": FORMAT,
        "service": plan["service"],
        "tenant": plan["tenant"],
        "predicted": predicted,
        "ok": not failures,
        "machines": machines,
        "held": list(_held(plan, machines)),
        "failures": failures,
        "text": [*text, *(f"  {line}" for line in unknown)],
    }


_NOT_YET = "the run ended before this host's turn"
_NOT_TOLD = "the host did not say whether it is off"


def _power(entry: Entry, outcomes: PoweredOff, predicted: bool) -> tuple[str, str]:
    """What is known of a machine that was to be powered off: its state, and why it is not off."""
    name = entry["machine"]
    if entry["problem"]:
        return "left", one_line(entry["problem"])
    if not entry["running"]:
        return "off_before", ""
    outcome = next((one for one in reversed(outcomes.get(entry["host"]) or ()) if name in one["machines"]), None)
    if outcome is None:
        return ("off", "") if predicted else ("unknown", _NOT_YET)
    why = one_line(outcome["msg"]) if outcome.get("msg") else ""
    if outcome.get("held"):
        return "left", why
    told = next((one for one in outcome.get("told") or () if one.get("machine") == name), None)
    if told is None:
        return "unknown", why or _NOT_TOLD
    if told.get("problem") or told.get("running"):
        return "failed", one_line(told.get("problem") or why or "it runs still")
    return ("off", "") if told.get("running") is False else ("unknown", why or _NOT_TOLD)


def _held(plan: Mapping[str, t.Any], machines: Sequence[Entry]) -> Iterator[dict[str, t.Any]]:
    """Machines that others rely on which are not off, so that they stay on as well."""
    after: Mapping[str, Sequence[str]] = plan.get("after") or {}
    why: dict[str, str] = {}
    for entry, one in zip(plan["machines"], machines, strict=True):
        if one["state"] in ("off", "off_before") or not entry["running"] or one["reason"] == _NOT_YET:
            continue
        known = "is not off" if one["state"] != "unknown" else "is not known to be off"
        for role in _relied_on(after, entry.get("group")):
            why.setdefault(role, f"it stays on, as {one['machine']} on {one['host']}, which starts after it, {known}")
    for entry, one in zip(plan["machines"], machines, strict=True):
        if entry.get("group") in why and entry["running"] and one["reason"] == _NOT_YET:
            yield {"host": entry["host"], "machines": [entry["machine"]], "msg": why[entry["group"]], "held": True}


def _relied_on(after: Mapping[str, Sequence[str]], role: str | None) -> list[str]:
    """Roles that start before one, also those that only others of them wait for."""
    found: list[str] = []
    left = list(after.get(role or "") or ())
    while left:
        other = left.pop()
        if other not in found:
            found.append(other)
            left += after.get(other) or ()
    return [other for other in found if other != role]


def _outcome(entry: Entry, told: Mapping[str, t.Any] | None, outcome: Mapping[str, t.Any]) -> dict[str, t.Any]:
    state, reason = "removed", ""
    if told is None and not outcome.get("removal"):
        state, reason = "unknown", one_line(outcome.get("msg"))
    elif told is not None and told["problem"]:
        state, reason = "failed", told["problem"]
    found = told or {}
    return {
        "machine": entry["machine"],
        "host": entry["host"],
        "state": state,
        "actions": list(found.get("actions") or ()),
        "disks": [disk["path"] for disk in found.get("disks") or () if disk["state"] == "absent"],
        "bytes": sum(disk["allocated_bytes"] for disk in found.get("disks") or () if disk["state"] == "absent"),
        "left": list(found.get("left") or ()),
        "reason": reason,
    }


def _report_text(report: Mapping[str, t.Any], of_hosts: Sequence[str]) -> Iterator[str]:
    machines = report["machines"]
    gone = [one for one in machines if one["state"] == "removed"]
    verb = "would be removed" if report["predicted"] else "are removed"
    freed = size(sum(one["bytes"] for one in gone))
    yield f"Service {report['service']}: {len(gone)} of {len(machines)} machines {verb}, {freed} of disks."
    width = max((len(one["machine"]) for one in machines), default=0)
    for one in machines:
        text = _removed_text(one, report["predicted"]) if one["state"] == "removed" else f"STILL THERE: {one['reason']}"
        yield f"  {one['machine']:<{width}}  {one['host']}  {text}"
        yield from (f"    not the machine's own, left: {path}" for path in one["left"])
    yield from (f"  {name} was on no host that was asked" for name in report["absent"])
    yield from (f"  {failure}" for failure in of_hosts)


def _removed_text(one: Mapping[str, t.Any], predicted: bool) -> str:
    if not one["actions"]:
        return "had gone before"
    would = "would be " if predicted else ""
    return f"{would}removed{', power was cut' if 'forced' in one['actions'] else ''}"
