# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""In which order the roles of a service start, who waits for whom, and what came of a role that others wait for."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.health import network_checks
from ..placement import Observed
from ..types import Manifest
from .addresses import VERSIONS
from .networks import networks_of
from .report import THERE, one_line

After = Mapping[str, Sequence[str]]

READY, FAILED = "ready", "failed"
# A machine of the plan that this run brings up, or finds and checks.
_OF_THIS_RUN = ("exists", "create")


def circle(after: After) -> list[str]:
    """Roles that wait for each other, each for the next and the last for the first; none if the order can be kept."""
    left = {role: [other for other in before if other in after] for role, before in after.items()}
    while free := [role for role, before in left.items() if not any(other in left for other in before)]:
        for role in free:
            del left[role]
    if not left:
        return []
    way = [next(iter(left))]
    while True:
        following = next(other for other in left[way[-1]] if other in left)
        if following in way:
            return way[way.index(following) :]
        way.append(following)


def stages(after: After) -> list[list[str]]:
    """Roles that start together, in the order of the stages; each waits for roles of earlier ones only.

    :param after: by role those that it waits for, without a circle. Roles that are not in it themselves count as started.
    """
    depth: dict[str, int] = {}
    while len(depth) < len(after):
        before = len(depth)
        for role, earlier in after.items():
            known = [other for other in earlier if other in after]
            if role not in depth and all(other in depth for other in known):
                depth[role] = 1 + max((depth[other] for other in known), default=-1)
        if len(depth) == before:  # a circle, which a manifest cannot have: what is in it goes last
            depth.update({role: len(after) for role in after if role not in depth})
    return [found for level in range(len(after) + 1) if (found := [role for role in after if depth[role] == level])]


def after_mistakes(groups: Sequence[Mapping[str, t.Any]]) -> Iterator[tuple[int, int, str]]:
    """What a manifest's order can be wrong about, beside its form: index of the group and of the entry, and a sentence."""
    names = [group["name"] for group in groups]
    sound = True
    for at, group in enumerate(groups):
        for number, other in enumerate(group.get("after") or ()):
            problem = ""
            if other == group["name"]:
                problem = f"{other!r} cannot start after itself; leave it out"
            elif other not in names:
                problem = f"{other!r} is not a group of machines; the groups of this manifest are: {', '.join(names)}"
            elif other in group["after"][:number]:
                problem = f"{other!r} stands twice"
            if problem:
                sound = False
                yield at, number, problem
    way = circle({group["name"]: group.get("after") or () for group in groups}) if sound else []
    if way:
        at = names.index(way[0])
        number = list(groups[at]["after"]).index(way[1 % len(way)])
        waits = ", which waits for ".join([*way[1:], way[0]])
        yield at, number, f"{way[0]} would wait for {waits}; leave one of them out"


def order_of(manifest: Manifest) -> dict[str, t.Any]:
    """``{"after": {role: [roles]}, "stages": [[roles]], "longest": as longest_of has it, "on_failure": keep | roll_back}``; stages only
    where an order is asked for."""
    after = {group["name"]: list(group.get("after") or ()) for group in manifest["machines"]}
    return {
        "after": {role: before for role, before in after.items() if before},
        "stages": stages(after) if any(after.values()) else [],
        "longest": longest_of(manifest["machines"]),
        "on_failure": manifest.get("on_failure") or "keep",
    }


def longest_of(groups: Sequence[Mapping[str, t.Any]]) -> dict[str, int]:
    """What machines may take from their start until all are healthy, as one bound for every way through the order.

    :returns: ``{"boots": how often the time for a boot, "seconds": what the manifest's own times add to that}``.
    """
    known = {group["name"]: group for group in groups}
    boots: dict[str, int] = {}
    seconds: dict[str, int] = {}
    for stage in stages({name: list(group.get("after") or ()) for name, group in known.items()}):
        for name in stage:
            health = known[name].get("health") or {}
            own_s = health.get("timeout_s") or 0
            # Its guest reports, and what its health has no time for may take as long again.
            before = [other for other in known[name].get("after") or () if other in boots]
            boots[name] = max((boots[other] for other in before), default=0) + (2 if health and not own_s else 1)
            seconds[name] = max((seconds[other] for other in before), default=0) + own_s
    return {"boots": max(boots.values(), default=1), "seconds": max(seconds.values(), default=0)}


def health_of(group: Mapping[str, t.Any], machine: str) -> dict[str, t.Any] | None:
    """What is asked of a machine once it has come up, with the addresses that the manifest gives it."""
    if not group.get("health"):
        return None
    networks = networks_of(group, machine)
    given = [card[key].partition("/")[0] for card in networks for key, _gateway in VERSIONS.values() if card.get(key)]
    return {**group["health"], **({"addresses": given} if given else {})}


def add_turns(
    work: Mapping[str, dict[str, t.Any]],
    machines: Sequence[Mapping[str, t.Any]],
    manifest: Manifest,
    hosts: Observed,
    unplaced: Sequence[Mapping[str, t.Any]] = (),
) -> list[str]:
    """Note in the work of each host which of its machines wait for which roles, and what of those other hosts have.

    A machine that runs already does not wait.

    :param machines: the plan's.
    :param unplaced: machines for which no host has room: a role that lacks one is not there.
    :returns: roles of which a host has to hear from others, in the order in which they start.
    """
    groups = {group["name"]: group for group in manifest["machines"]}
    heard: set[str] = set()
    for host, mine in work.items():
        running = {one["machine"] for one in (hosts.get(host) or {}).get("machines") or () if one.get("running")}
        after = {
            one["machine"]: list(groups[one["group"]]["after"])
            for one in mine["machines"]
            if groups[one["group"]].get("after") and one["machine"] not in running
        }
        if not after:
            continue
        awaited = {role for roles in after.values() for role in roles}
        elsewhere: dict[str, list[dict[str, t.Any]]] = {}
        for one in machines:
            if one["group"] in awaited and (one["host"] != host or one["state"] not in _OF_THIS_RUN):
                health = health_of(groups[one["group"]], one["machine"]) or {}
                # A command is asked by the machine's own host alone.
                visible = bool(health.get("addresses") and network_checks(health) and not health.get("command"))
                told = {"machine": one["machine"], "host": one["host"], **({"health": health} if visible else {})}
                elsewhere.setdefault(one["group"], []).append(told)
        for one in unplaced:
            if one["group"] in awaited:
                elsewhere.setdefault(one["group"], []).append({"machine": one["machine"], "host": ""})
        mine["turns"] = {"after": after, "elsewhere": elsewhere}
        heard.update(elsewhere)
    ordered = [role for stage in order_of(manifest)["stages"] for role in stage]
    return [role for role in ordered if role in heard]


def turn_of(
    plan: Mapping[str, t.Any],
    role: str,
    answers: Mapping[str, Mapping[str, t.Any]],
    outcomes: Mapping[str, Mapping[str, t.Any]],
) -> dict[str, t.Any]:
    """What the hosts that wait for a role are told.

    :param plan: as service_plan returns it.
    :param answers: ``{host: {"job": host_job_info's}}``, or ``{"msg": why there is none}``.
    :param outcomes: of hosts that are lost, or have failed before their job began.
    :returns: ``{"state": ready | failed, "msg": why, "hosts": those that wait}``.
    """
    problems = []
    for machine in plan["machines"]:
        if machine["group"] != role:
            continue
        host, name = machine["host"], machine["machine"]
        if machine["state"] not in _OF_THIS_RUN:
            problems.append(f"{name} on {host}: {one_line(machine['reason'])}")
            continue
        answer = answers.get(host) or outcomes.get(host) or {"msg": "nothing was heard of it"}
        job = answer.get("job") or {}
        told: Mapping[str, t.Any] = next((one for one in job.get("machines") or () if one.get("machine") == name), {})
        if told.get("state") not in THERE:
            why = told.get("problem") or job.get("msg") or answer.get("msg") or (outcomes.get(host) or {}).get("msg")
            problems.append(f"{name} on {host}: {one_line(why or 'it has not come up in time')}")
    problems += [f"{left['machine']}: no host has room for it" for left in plan.get("unplaced") or () if left.get("group") == role]
    waiting = [host for host, work in plan["hosts"].items() if role in ((work.get("turns") or {}).get("elsewhere") or {})]
    return {"state": FAILED if problems else READY, "msg": "; ".join(problems), "hosts": waiting}
