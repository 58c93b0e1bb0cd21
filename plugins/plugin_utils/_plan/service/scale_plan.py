# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a call of the playbook scale means: how many machines each group is to have, and which of them go."""

from __future__ import annotations

import difflib
import json
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ..placement import Observed, answers
from ..placement.numbering import Known, Numbers, candidates, known_numbers, silent_witnesses
from . import scaled as scaled_
from .drift import in_short
from .scale_decision import DOWN, KEEP, UNKNOWN, UP, Decision, State, decide
from .user_options import empty_mistakes

FORMAT = 1
_MOST = 10_000
_LARGEST = 1e18

Request = Mapping[str, t.Any]
Group = Mapping[str, t.Any]
Plan = Mapping[str, t.Any]
Drains = dict[str, list[dict[str, t.Any]]]


class Fleet(t.NamedTuple):
    """
    :param hosts: as the survey tells them.
    :param groups: of the inventory.
    :param names: of all hosts that may have machines of the service, whether this run sees them or not.
    """

    hosts: Observed
    groups: Mapping[str, Sequence[str]]
    names: Sequence[str]


def scale_plan(manifest: scaled_.Manifest, fleet: Fleet, request: Request, now: float) -> dict[str, t.Any]:
    """
    :param request: ``role``, ``count`` and ``readings`` as the user gave them, and ``given``, the names of those that were given at all.
    :param now: seconds since 1970.
    :returns: ``{"format", "service", "tenant", "decisions": [{"group", "action", "before", "count", "present", "reasons", "leaving":
        [{"machine", "host"}]}], "expected": generation of what hosts remember, "scaled": what they are to remember or None,
        "drains": {host: [{"machines", "command", "timeout_s"}]}, "keepers": [hosts that have a record], "problems": [...],
        "text": [...]}``. While there is a problem, nothing may be changed.
    """
    plan: dict[str, t.Any] = {
        "format": FORMAT,
        "service": manifest["service"],
        "tenant": manifest["tenant"],
        "decisions": [],
        "expected": 0,
        "scaled": None,
        "drains": {},
        "keepers": [host for host, facts in fleet.hosts.items() if answers(facts) and facts.get("record")],
        "problems": [],
    }
    if isinstance(request.get("count"), (int, float)):  # as JSON has it; 0 is a number that was given
        request = {**request, "count": str(request["count"])}
    readings, mistakes = _readings(request)
    meant = _meant(manifest, request)
    plan["problems"] = [*mistakes, *_mistakes(manifest, request, meant, readings)]
    if plan["problems"]:
        return {**plan, "text": []}
    before = scaled_.remembered(manifest["service"], fleet.hosts)
    plan["expected"] = before.get("generation") or 0
    known = known_numbers(manifest["service"], fleet.hosts)
    changes: dict[str, t.Any] = {}
    for group in meant:
        entry = scaled_.in_force(group, before)
        decision, state = _decision(group, entry, request, readings, known, fleet, now)
        leaving: list[dict[str, str]] = []
        if decision.action == DOWN:
            decision = _within_reach(decision, state, _leaving({**group, "count": decision.count}, known, fleet))
        if decision.action == UNKNOWN:
            plan["problems"].append(f"{group['name']}: no decision, since {', and '.join(decision.reasons)}; nothing was changed")
        elif decision.action == DOWN or entry is not None or request.get("count"):
            leaving = _leaving({**group, "count": decision.count}, known, fleet)
        _add_drains(plan["drains"], group, leaving)
        if decision.count != state.count:
            changes[group["name"]] = {"count": decision.count, "of": group["count"], "at": int(now)}
        plan["decisions"].append(
            {
                "group": group["name"],
                "action": decision.action,
                "before": state.count,
                "count": decision.count,
                "present": state.present,
                "reasons": decision.reasons,
                "leaving": leaving,
            }
        )
    goes = any(one["leaving"] for one in plan["decisions"]) and plan["keepers"]
    if changes or goes:
        # Who removes takes a generation as well: another run may have decided meanwhile that these machines stay.
        plan["scaled"] = {"generation": plan["expected"] + 1, "groups": {**(before.get("groups") or {}), **changes}}
        if not plan["keepers"]:
            plan["problems"].append(f"{manifest['service']}: no host has a record of it; deploy it first (basecast.fleet.deploy)")
    return {**plan, "text": list(_text(plan))}


# --- what was asked ------------------------------------------------------------------------------


def _readings(request: Request) -> tuple[dict[str, float | None], list[str]]:
    """By metric, None where the reading is not known; and what is wrong with them."""
    given = request.get("readings")
    if not given:
        return {}, []
    wrong = ['readings: expected a mapping of metrics and their numbers, such as {"readings": {"requests": 120}}']
    if isinstance(given, str):  # as a survey has it
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return {}, wrong
    if not isinstance(given, Mapping):
        return {}, wrong
    found: dict[str, float | None] = {}
    mistakes = []
    for name, value in given.items():
        try:
            found[str(name)] = None if value is None or value == "" else _number(value)
        except ValueError:
            mistakes.append(f"readings: invalid value {value!r} of {name}; expected a number of at least 0, or null where it is not known")
    return found, mistakes


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(value)
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        raise ValueError(value) from None
    if not 0 <= number <= _LARGEST:
        raise ValueError(value)
    return number


def _meant(manifest: scaled_.Manifest, request: Request) -> list[Group]:
    groups: Sequence[Group] = manifest["machines"]
    if request.get("role"):
        return [group for group in groups if group["name"] == request["role"]]
    if request.get("count"):
        return [group for group in groups if group.get("count")]
    return [group for group in groups if group.get("scale")]


def _mistakes(manifest: scaled_.Manifest, request: Request, meant: Sequence[Group], readings: Mapping[str, float | None]) -> Iterator[str]:
    names = [group["name"] for group in manifest["machines"]]
    role, count = request.get("role"), request.get("count")
    # Of a single group with a count, machines would go that nobody has named.
    yield from empty_mistakes(request, ("role",), "every role that the call can mean is meant")
    yield from empty_mistakes(request, ("count", "readings"), "nothing is decided")
    if role and role not in names:
        yield f"role: {role!r} is not a role of the manifest; these are: {', '.join(names)}"
        return
    if count and request.get("readings"):
        yield "count: given together with readings; expected one of them"
        return
    if not count and not request.get("readings"):
        yield "count: none given; expected how many machines (-e role=web -e count=8), or readings for the rules of the manifest"
        return
    if count:
        yield from _count_mistakes(count, meant, role)
        return
    if not meant or not all(group.get("scale") for group in meant):
        yield f"readings: {role or manifest['service']} has no scale rule in the manifest; expected one, or count"
        return
    metrics = [group["scale"]["metric"] for group in meant]
    every = {group["scale"]["metric"] for group in manifest["machines"] if group.get("scale")}
    for name in readings:
        if name not in every:
            near = difflib.get_close_matches(name, metrics, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            yield f"readings: {name!r} is the metric of no rule{hint}; these are: {', '.join(dict.fromkeys(metrics))}"


def _count_mistakes(count: object, meant: Sequence[Group], role: object) -> Iterator[str]:
    wanted = _whole(count)
    if wanted is None:
        yield f"count: invalid value {count!r}; expected a whole number from 1 to {_MOST}"
        return
    if len(meant) != 1:
        yield f"role: none given; expected one of {', '.join(group['name'] for group in meant) or 'the roles that have a count'}"
        return
    group = meant[0]
    if not group.get("count"):
        yield f"role: {role!r} has no count in the manifest, but per_host; change that, and deploy"
        return
    rule = group.get("scale")
    if rule and not rule["min"] <= wanted <= rule["max"]:
        yield f"count: {wanted} is outside of the bounds of {group['name']}, {rule['min']} to {rule['max']}; change them in the manifest"


def _whole(count: object) -> int | None:
    """As it is given with -e: a text."""
    text = str(count).strip()
    if isinstance(count, bool) or not (text.isascii() and text.isdigit()):
        return None
    return int(text) if len(text) <= len(str(_MOST)) and 1 <= int(text) <= _MOST else None


# --- what comes of it ----------------------------------------------------------------------------


def _decision(
    group: Group,
    entry: Group | None,
    request: Request,
    readings: Mapping[str, float | None],
    known: Mapping[str, Known],
    fleet: Fleet,
    now: float,
) -> tuple[Decision, State]:
    count = entry["count"] if entry else group["count"]
    state = State(count, _present(group, known, fleet), entry["at"] if entry else None, now)
    if not request.get("count"):
        return decide(group["scale"], state, readings.get(group["scale"]["metric"])), state
    wanted = _whole(request["count"]) or count
    action = UP if wanted > count else DOWN if wanted < count else KEEP
    if state.present is None:
        return Decision(UNKNOWN, count, ["how many machines exist is not known"]), state
    return Decision(action, wanted, ["asked for by hand"]), state


def _present(group: Group, known: Mapping[str, Known], fleet: Fleet) -> int | None:
    """How many machines a group has: those that exist, and those of hosts that cannot be asked. None where too few hosts tell."""
    if silent_witnesses(group, fleet.hosts, fleet.groups):
        return None
    everything = {**group, "count": _MOST}
    usable, _wrong = candidates(group, fleet.hosts, fleet.groups)
    numbers = Numbers.of(everything, usable, known.get(group["name"], {}), fleet.hosts, fleet.names)
    return sum(numbers.exists(number) or not answers(fleet.hosts.get(host, {})) for number, host in numbers.kept.items())


def _leaving(group: Group, known: Mapping[str, Known], fleet: Fleet) -> list[dict[str, str]]:
    """The machines that are not asked for any more: the same that a deployment would report as surplus."""
    usable, _wrong = candidates(group, fleet.hosts, fleet.groups)
    numbers = Numbers.of(group, usable, known.get(group["name"], {}), fleet.hosts, fleet.names)
    return [{"machine": f"{group['name']}-{number}", "host": numbers.known[number][0]} for number in numbers.surplus]


def _within_reach(decision: Decision, state: State, leaving: Sequence[object]) -> Decision:
    """No number is remembered that this run cannot bring about: it would end well, with machines left that are too many."""
    left = (state.present or 0) - len(leaving) - decision.count
    if left <= 0:
        return decision
    return Decision(UNKNOWN, state.count, [f"for {decision.count}, {left} would have to go from hosts that cannot be asked in this run"])


def _add_drains(drains: Drains, group: Group, leaving: Sequence[Mapping[str, str]]) -> None:
    rule = group.get("scale") or {}
    if not rule.get("drain"):
        return
    for host in dict.fromkeys(one["host"] for one in leaving):
        names = [one["machine"] for one in leaving if one["host"] == host]
        drains.setdefault(host, []).append({"machines": names, "command": rule["drain"], "timeout_s": rule["drain_timeout_s"]})


def _text(plan: Plan) -> Iterator[str]:
    yield f"Service {plan['service']} (tenant {plan['tenant']}): scale"
    for one in plan["decisions"]:
        what = {
            UP: f"count from {one['before']} to {one['count']}",
            DOWN: f"count from {one['before']} to {one['count']}",
            KEEP: f"stays at {one['count']}",
            UNKNOWN: "no decision",
        }[one["action"]]
        yield f"  {one['group']}: {what}: {'; '.join(one['reasons'])}"
        for host in dict.fromkeys(leaving["host"] for leaving in one["leaving"]):
            yield f"    goes from {host}: {in_short([leaving['machine'] for leaving in one['leaving'] if leaving['host'] == host])}"
