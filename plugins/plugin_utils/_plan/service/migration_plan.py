# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which machines move where, and what has to be there before; and what to do with migrations that were interrupted.

To its target a machine is a new machine whose disks are based on the same bases: so place, bases, room, networks and claims are
what a deployment of it would find, by the same code.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.owner import Owner
from ....module_utils._names import HOST_LABEL_RULE, is_host_label, is_name
from ..placement import Observed, Settings, answers
from ..placement.one_more import place_one_more
from ..types import Manifest
from .manifest import parse_manifest
from .migration_steps import FINISHED, HANDED_OVER, REMOVED, key_of
from .removal_plan import names_of
from .report import one_line
from .service_plan import service_plan
from .user_options import flag, flag_mistakes

FORMAT = 1

Looks = Mapping[str, Mapping[str, t.Any]]
Request = Mapping[str, t.Any]
Machine = Mapping[str, t.Any]


class Context(t.NamedTuple):
    """What is known beside the machines.

    :param observed: what a survey of each host has seen.
    :param manifest: as parse_manifest returns it, for the rules of its placement; None where none was given.
    :param groups: of the inventory.
    """

    observed: Observed
    manifest: Mapping[str, t.Any] | None = None
    groups: Mapping[str, Sequence[str]] = {}
    quotas: Mapping[str, t.Any] = {}


# --- the request -------------------------------------------------------------------------------


def mistakes(request: Request, manifest: Mapping[str, t.Any] | None, hosts: Sequence[str]) -> list[str]:
    """What the request alone is wrong about."""
    return list(_mistakes(request, manifest, hosts))


def _mistakes(request: Request, manifest: Mapping[str, t.Any] | None, hosts: Sequence[str]) -> Iterator[str]:
    for option in ("service", "tenant", "to_pool"):
        value = request.get(option)
        if value and not (isinstance(value, str) and is_name(value)):
            yield f"{option}: invalid value {value!r}; expected a name"
    for option in ("to", "host"):
        value = request.get(option)
        if value and value not in hosts:
            yield f"{option}: {value!r} is not a host of this run; expected one of {', '.join(hosts)}"
    yield from flag_mistakes(request, ("live",))
    yield from _mistakes_of_host(request) if request.get("evacuate") else _mistakes_of_names(request, manifest)


def _mistakes_of_host(request: Request) -> Iterator[str]:
    if not request.get("host"):
        yield "host: none given; expected the host that is to be evacuated (-e host=NAME)"
    elif request.get("to") == request["host"]:
        yield f"to: {request['host']} is the host that is to be evacuated; expected another one, or nothing"
    for option in ("machine", "service"):
        if request.get(option):
            yield f"{option}: given together with host; expected one of them (the playbook migrate moves single machines)"


def _mistakes_of_names(request: Request, manifest: Mapping[str, t.Any] | None) -> Iterator[str]:
    service = request.get("service")
    if manifest is None and not service:
        yield "service: none given; expected the name of a service (-e service=NAME), or its manifest (-e manifest=FILE)"
    if manifest is not None and service and service != manifest["service"]:
        yield f"service: {service!r} is not the service of the manifest, {manifest['service']!r}; give one of the two"
    names = names_of(request.get("machine"))
    if not names:
        yield "machine: none given; expected the name of a machine (-e machine=NAME)"
    for name in names:
        if not is_host_label(name):
            yield f"machine: invalid value {name!r}; a machine's name has {HOST_LABEL_RULE}"


def seen_of(looks: Looks) -> dict[str, Mapping[str, t.Any]]:
    return {host: look["migration"] for host, look in looks.items() if look.get("migration")}


def unknown_of(looks: Looks) -> dict[str, str]:
    return {host: one_line(look.get("msg")) for host, look in looks.items() if not look.get("migration")}


def records_of(looks: Looks) -> list[dict[str, t.Any]]:
    """For each service its newest assignments, and the hosts that have a record."""
    found: dict[tuple[str, str], dict[str, t.Any]] = {}
    for host, look in seen_of(looks).items():
        for service in look["services"]:
            key = (service["tenant"], service["service"])
            record = found.setdefault(key, {"tenant": key[0], "service": key[1], "generation": -1, "assignments": {}, "hosts": []})
            record["hosts"].append(host)
            if service["generation"] > record["generation"]:
                record.update(generation=service["generation"], assignments=service["assignments"])
    return list(found.values())


# --- what was interrupted ----------------------------------------------------------------------


class _Journaled(t.NamedTuple):
    """What both hosts say of one machine that is on its way."""

    key: tuple[str, ...]
    source: str
    target: str
    source_says: Mapping[str, t.Any] | None
    target_says: Mapping[str, t.Any] | None


def migration_recovery(looks: Looks, request: Request | None = None) -> dict[str, t.Any]:
    """How migrations are ended that an earlier run has begun.

    :returns: a plan as migration_plan's, whose moves begin at a later step (``from_step``) or are undone (``undo``); ``problems``
        name what cannot be known.
    """
    seen, unknown = seen_of(looks), unknown_of(looks)
    moves: list[dict[str, t.Any]] = []
    problems: list[str] = []
    for found in _journaled(seen):
        if request is not None and not _is_meant(found, request):
            continue
        move, problem = _decision(found, seen, unknown)
        moves += [move] if move else []
        problems += [problem] if problem else []
    return {
        "format": FORMAT,
        "moves": moves,
        "records": records_of(looks),
        "addresses": {},
        "stays": [],
        "problems": problems,
        "text": list(_recovery_text(moves)),
    }


def _is_meant(found: _Journaled, request: Request) -> bool:
    if request.get("host"):
        return request["host"] in (found.source, found.target)
    return found.key[2] in names_of(request.get("machine"))


def _journaled(seen: Mapping[str, Mapping[str, t.Any]]) -> Iterator[_Journaled]:
    ends: dict[tuple[tuple[str, ...], str, str], dict[str, t.Any]] = {}
    for host, look in seen.items():
        for entry in look["journal"]:
            source, target = (host, entry["peer"]) if entry["side"] == "source" else (entry["peer"], host)
            ends.setdefault((key_of(entry), source, target), {})[entry["side"]] = entry
    for (key, source, target), sides in ends.items():
        yield _Journaled(key, source, target, sides.get("source"), sides.get("target"))


def _decision(
    found: _Journaled, seen: Mapping[str, Mapping[str, t.Any]], unknown: Mapping[str, str]
) -> tuple[dict[str, t.Any] | None, str | None]:
    """What ends it, or why that cannot be known."""
    name, source, target = found.key[2], found.source, found.target
    begun = f"{name}: its migration from {source} to {target} has not ended"
    for host, says in ((source, found.source_says), (target, found.target_says)):
        if says is not None and says.get("process") is not None:
            return None, f"{begun}: process {says['process']} of {host} is still at work on it; run again when that has ended"
    says = found.source_says or found.target_says or {}
    move = {
        **dict(zip(("tenant", "service", "machine"), found.key, strict=True)),
        "source": source,
        "target": target,
        "live": says["live"],
        "group": None,
        "number": None,
        "begun_by": {"source": (found.source_says or says)["run"], "target": (found.target_says or says)["run"]},
    }
    undo = {**move, "undo": True}
    file = f"migrations/{'/'.join(found.key)}.json in basecast_state_dir"
    for host, other in ((source, target), (target, source)):
        if host not in seen:
            if host == target and _is_surely_here(found, seen):
                return {**undo, "target_lost": True}, None
            why = unknown.get(host, "it is not a host of this run")
            return None, (
                f"{begun}, and {host} cannot be asked ({why}); run again when it answers. Start {name} on neither host before."
                f" If {host} is gone for good, {other} keeps what it has once you remove {file} there"
            )
    here, there = _state(seen[source], found.key), _state(seen[target], found.key)
    states = f"it is {here} on {source} and {there} on {target}"
    by_hand = f"{begun}: {states}; see on which host it works, stop it on the other (virsh destroy), and run again"
    if here == there == "absent":
        by_hand = f"{begun}: neither has its domain; define it again (virsh define), or give it up: remove {file} on both hosts"
    if found.source_says is None:
        # The source's file is the first to be written and the last to go, but for the room that was made before, and for what is
        # left on a target that was lost. The machine may have moved on since.
        elsewhere = any(_state(look, found.key) != "absent" for host, look in seen.items() if host != target)
        return (undo, None) if elsewhere and there != "running" else (None, by_hand)
    if found.source_says["phase"] != "leaving":
        if found.target_says is None:
            return ({**move, "from_step": REMOVED}, None) if there != "absent" else (None, by_hand)
        return ({**move, "from_step": FINISHED}, None) if there != "absent" and here in ("off", "absent") else (None, by_hand)
    if here == "absent":
        return None, by_hand
    if not found.source_says["live"]:
        return (undo, None) if there != "running" else (None, by_hand)
    if here == "running":
        return (undo, None) if there != "running" else (None, by_hand)
    if here == "off" and found.target_says is not None:
        # libvirt ends the source when the target has the machine, and defines it there before.
        return (
            ({**move, "from_step": HANDED_OVER}, None)
            if there in ("running", "off")
            else (undo, None)
            if there == "absent"
            else (None, by_hand)
        )
    return None, by_hand


def _is_surely_here(found: _Journaled, seen: Mapping[str, Mapping[str, t.Any]]) -> bool:
    """Whether the source has the machine whatever the target says: it was not handed over, and if it moved live, it still runs here."""
    if found.source not in seen or found.source_says is None or found.source_says["phase"] != "leaving":
        return False
    here = _state(seen[found.source], found.key)
    return here == "running" or (here == "off" and not found.source_says["live"])


def _state(look: Mapping[str, t.Any], key: tuple[str, ...]) -> str:
    return next((str(one["state"]) for one in look["machines"] if key_of(one) == key), "absent")


def _recovery_text(moves: Sequence[Mapping[str, t.Any]]) -> Iterator[str]:
    for move in moves:
        what = "is undone" if move.get("undo") else "is finished"
        if move.get("target_lost"):
            what += f", on {move['source']} alone since {move['target']} cannot be asked; what has come there goes when it can"
        yield f"An earlier migration of {move['machine']} from {move['source']} to {move['target']} had not ended; it {what}."


# --- the plan ----------------------------------------------------------------------------------


def migration_plan(looks: Looks, request: Request, context: Context, ended: Sequence[Sequence[str]] = ()) -> dict[str, t.Any]:
    """
    :param looks: ``{host: {"migration": migration_info's}}``, or ``{"msg": why it could not be asked}``.
    :param request: ``service``, ``tenant``, ``machine`` (names), ``to``, ``to_pool``, ``live``, as the user gave them; ``host`` for
        all machines of a host.
    :param ended: keys of machines whose earlier migration was finished just now: these have moved.
    :returns: ``{"format", "moves": […], "records", "relays", "relay_hosts", "claims", "references": {host: [{"tenant",
        "references"}]}, "addresses", "hosts", "stays", "problems", "text"}``.
    """
    seen = seen_of(looks)
    problems: list[str] = []
    found = _wanted(request, context, looks, problems, {tuple(key) for key in ended})
    there = [one for source, one in found if source == request.get("to")]
    problems += [
        f"to_pool: {one['machine']} is on {request['to']} already; its disks do not move to another pool of the same host"
        for one in (there if request.get("to_pool") else ())
    ]
    wanted = [(source, one) for source, one in found if source != request.get("to")]
    moves = [_move(source, machine, request, seen, problems) for source, machine in wanted]
    plan: dict[str, t.Any] = {
        "format": FORMAT,
        "service": moves[0]["service"] if moves else _service(request, context),
        "tenant": moves[0]["tenant"] if moves else _tenant(request, context),
        "moves": moves,
        "records": records_of(looks),
        "relays": [],
        "relay_hosts": [],
        "claims": {},
        "references": {},
        "addresses": {},
        "hosts": {},
        "stays": [*_stays(request, seen), *(f"{one['machine']} on {request['to']}, where it is to be" for one in there)],
        "problems": problems,
    }
    if moves and not problems:
        _place(plan, wanted, request, context, looks)
    return {**plan, "text": list(_plan_text(plan))}


def _service(request: Request, context: Context) -> str | None:
    return request.get("service") or (context.manifest or {}).get("service")


def _tenant(request: Request, context: Context) -> str:
    return request.get("tenant") or (context.manifest or {}).get("tenant") or "default"


def _wanted(
    request: Request, context: Context, looks: Looks, problems: list[str], ended: set[tuple[str, ...]]
) -> list[tuple[str, Machine]]:
    """Each machine that is meant, with its host."""
    seen, unknown = seen_of(looks), unknown_of(looks)
    if request.get("host"):
        host = request["host"]
        if host in unknown:
            problems.append(f"{host}: {unknown[host]}")
            return []
        tenant = request.get("tenant")
        return [(host, one) for one in seen[host]["machines"] if tenant in (None, "", one["tenant"])]
    service, tenant = _service(request, context), _tenant(request, context)
    found: list[tuple[str, Machine]] = []
    for name in names_of(request.get("machine")):
        where = [(host, one) for host, look in seen.items() for one in look["machines"] if key_of(one) == (tenant, service, name)]
        if (tenant, service, name) in ended:
            continue
        if len(where) > 1:
            problems.append(f"machine: {name} exists on {' and '.join(host for host, _one in where)}; remove all but one of them first")
        elif not where:
            silent = f"; not asked: {', '.join(f'{host} ({why})' for host, why in unknown.items())}" if unknown else ""
            others = sorted(one["machine"] for look in seen.values() for one in look["machines"] if key_of(one)[:2] == (tenant, service))
            known = f"; machines of {service}: {', '.join(others)}" if others else ""
            problems.append(f"machine: {name} of service {service} (tenant {tenant}) is on no host that was asked{known}{silent}")
        else:
            found += where
    return found


def _move(
    source: str, machine: Machine, request: Request, seen: Mapping[str, Mapping[str, t.Any]], problems: list[str]
) -> dict[str, t.Any]:
    name = machine["machine"]
    for problem in machine["problems"]:
        problems.append(f"{name} on {source}: {problem}")
    if machine["state"] == "paused":
        problems.append(f"{name} on {source}: it is paused; let it go on (virsh resume), or stop it")
    if flag(request.get("live")) and machine["state"] == "off":
        problems.append(f"live: {name} is off; it can only move with live=false, or without live")
    live = machine["state"] == "running" and flag(request.get("live")) is not False
    for disk in machine["disks"] if live else ():
        if disk.get("snapshots"):
            problems.append(
                f"{name} on {source}: its disk {disk['path']} has {disk['snapshots']} snapshots inside, which would be lost while it runs;"
                " move it off (live=false), or delete them (qemu-img snapshot -d)"
            )
    jobs = [
        run
        for service in seen[source]["services"]
        if (service["tenant"], service["service"]) == (machine["tenant"], machine["service"])
        for run in service["jobs"]
    ]
    if jobs:
        problems.append(
            f"{source}: {machine['service']} is being deployed by the run {', '.join(jobs)}; wait until that has ended, or end it"
            f" (basecast.fleet.stop -e run={jobs[0]})"
        )
    return {
        **{key: machine[key] for key in ("tenant", "service", "machine", "group", "number")},
        "source": source,
        "target": None,
        "live": live,
        "arrival": {},
    }


def _stays(request: Request, seen: Mapping[str, Mapping[str, t.Any]]) -> list[str]:
    """Domains of a host that is evacuated, and that are not ours."""
    host = str(request.get("host") or "")
    others = seen[host]["others"] if host in seen else []
    return [f"{name} on {host}, which this collection has not made" for name in others]


# --- where to ----------------------------------------------------------------------------------


def _place(plan: dict[str, t.Any], wanted: Sequence[tuple[str, Machine]], request: Request, context: Context, looks: Looks) -> None:
    """Find a host for each machine, and what has to come there."""
    barred: dict[int, set[str]] = {index: {source} for index, (source, _one) in enumerate(wanted)}
    while True:
        targets = [_targets(index, source, one, request, context, looks, barred[index]) for index, (source, one) in enumerate(wanted)]
        missing = [index for index, hosts in enumerate(targets) if not hosts]
        if missing:
            plan["problems"] += [f"{wanted[index][1]['machine']}: no other host can take it" for index in missing if not plan["problems"]]
            return
        manifest = _manifest(plan, wanted, targets, request, context)
        found = service_plan(
            t.cast(Manifest, manifest), _as_empty(context.observed), context.groups, quotas={}, fleet=list(context.observed)
        )
        bad = {machine["machine"]: machine for machine in found["machines"] if machine["state"] != "create"}
        problems = [*found["problems"], *(one["reason"] for one in bad.values())]
        problems = problems or [f"{one['machine']}: {reason}" for one in found["unplaced"] for reason in one["reasons"]]
        again = False
        for index in range(len(wanted)):
            refused = bad.get(f"{_slug(index)}-1")
            if refused is not None and len(targets[index]) > 1:
                barred[index].add(refused["host"])
                again = True
        if again:
            continue
        if problems:
            plan["problems"] += list(dict.fromkeys(_said(str(problem), wanted) for problem in problems))
            return
        _take(plan, found, wanted, looks, context)
        return


def _targets(index: int, source: str, machine: Machine, request: Request, context: Context, looks: Looks, barred: set[str]) -> list[str]:
    """Hosts that come into question, best first where the manifest's rules say so."""
    if request.get("to"):
        return [request["to"]]
    if context.manifest is not None and not request.get("host"):
        best = _best_by_rules(source, machine, context)
        if best is not None and best not in barred:
            return [best]
    unknown = unknown_of(looks)
    return [host for host, facts in context.observed.items() if host not in barred and host not in unknown and answers(facts)]


def _best_by_rules(source: str, machine: Machine, context: Context) -> str | None:
    """The best other host for a machine of the manifest, by the placement's own order."""
    placed = place_one_more(context.manifest or {}, context.observed, Settings(context.groups, quotas=context.quotas))
    group = placed.get(machine["group"] or "") or {"moves": []}
    return next((move["to"] for move in group["moves"] if (move["machine"], move["from"]) == (machine["machine"], source)), None)


def _as_empty(observed: Observed) -> dict[str, dict[str, t.Any]]:
    """The hosts without numbers that are taken: their domains still take room. Other machines may be on their way."""
    return {host: {**facts, "machines": [], "record": None, "moves": []} for host, facts in observed.items()}


def _slug(index: int) -> str:
    return f"moving-{index}"


def _base_name(sha256: str) -> str:
    return f"base-{sha256[:16]}"


def _manifest(
    plan: Mapping[str, t.Any], wanted: Sequence[tuple[str, Machine]], targets: Sequence[Sequence[str]], request: Request, context: Context
) -> dict[str, t.Any]:
    """The machines as if they were to be deployed anew, each a group of its own."""
    digests = dict.fromkeys(disk["base"] for _source, one in wanted for disk in one["disks"] if disk["base"])
    document = {
        "format": 1,
        "service": plan["service"],
        "tenant": plan["tenant"],
        "bases": [
            {"name": _base_name(sha256), "version": "0", "sha256": sha256, "source": {"host": wanted[0][0], "path": "-"}}
            for sha256 in digests
        ],
        "machines": [
            {
                "name": _slug(index),
                "count": 1,
                "hosts": list(targets[index]),
                "cpus": one["cpus"],
                "memory_mib": one["memory_mib"],
                "disks": [_wanted_disk(disk, targets[index], request, context) for disk in one["disks"]],
                "networks": [dict(card) for card in one["networks"]],
            }
            for index, (_source, one) in enumerate(wanted)
        ],
    }
    parsed = parse_manifest(document, "migration")
    for group, (_source, one) in zip(parsed["machines"], wanted, strict=True):
        for parsed_disk, disk in zip(group["disks"], one["disks"], strict=True):
            parsed_disk["size_bytes"] = disk["size_bytes"]
    return parsed


def _wanted_disk(disk: Mapping[str, t.Any], targets: Sequence[str], request: Request, context: Context) -> dict[str, t.Any]:
    """In the pool that the user names, else in one of the same name where every host has it."""
    wanted: dict[str, t.Any] = {"name": disk["name"], "size_gib": 1}
    if disk["base"]:
        wanted.update(base=_base_name(disk["base"]), differencing=True)
    pools = [((context.observed[host].get("capacity") or {}).get("pools") or {}) for host in targets]
    if request.get("to_pool"):
        wanted["pool"] = request["to_pool"]
    elif all(disk["pool"] in known for known in pools):
        wanted["pool"] = disk["pool"]
    return wanted


def _said(problem: str, wanted: Sequence[tuple[str, Machine]]) -> str:
    """A sentence of the deployment's planner, about the machine that is meant."""
    for index in range(len(wanted) - 1, -1, -1):
        name = wanted[index][1]["machine"]
        problem = problem.replace(f"migration: machines[{index}]", name).replace(f"{_slug(index)}-1", name).replace(_slug(index), name)
        problem = problem.replace(f"1 machine of {name} does not fit. ", "")
    return problem


def _take(
    plan: dict[str, t.Any], found: Mapping[str, t.Any], wanted: Sequence[tuple[str, Machine]], looks: Looks, context: Context
) -> None:
    """What the deployment's planner has found, as a migration needs it."""
    placed = {machine["machine"]: machine for machine in found["machines"]}
    seen = seen_of(looks)
    for index, (source, one) in enumerate(wanted):
        entry, move = placed[f"{_slug(index)}-1"], plan["moves"][index]
        host = entry["host"]
        move["target"] = host
        pools = {name: disk["pool"] for name, disk in entry["spec"]["disks"].items()}
        home = next(iter(pools.values()), one["home"])
        move["arrival"] = {
            "source": source,
            "live": move["live"],
            "running": one["state"] != "off",
            "autostart": one["autostart"],
            "home": home,
            "arch": one["arch"],
            "machine_type": one["machine_type"],
            "domain_type": one["domain_type"],
            "cpu": seen[source]["cpu"],
            "disks": [
                {
                    "name": disk["name"],
                    "pool": pools[disk["name"]],
                    "image_format": disk["image_format"],
                    "size_bytes": disk["size_bytes"],
                    "base": disk["base"],
                }
                for disk in one["disks"]
            ],
        }
        move["bytes"] = sum(disk["allocated_bytes"] for disk in one["disks"])
        plan["problems"] += _conflicts(one, host, seen, context)
    plan["problems"] += _full_pools(plan, wanted, context)
    plan["problems"] += _shared(plan, wanted, context)
    _note_bases(plan, found, wanted, looks)
    plan["addresses"] = {move["target"]: context.observed[move["target"]].get("address") for move in plan["moves"]}


def _conflicts(machine: Machine, host: str, seen: Mapping[str, Mapping[str, t.Any]], context: Context) -> Iterator[str]:
    """A domain of the target that has the machine's name or UUID."""
    owner = Owner(machine["tenant"], machine["service"], machine["machine"])
    for domain in context.observed[host].get("domains") or []:
        if domain.get("domain") == owner.domain or domain.get("uuid") == owner.domain_uuid:
            yield f"{machine['machine']}: {host} has a domain {owner.domain} or one with its UUID already; undefine or rename it"
            return
    if owner.domain in [str(name).partition(" (")[0] for name in seen.get(host, {}).get("others") or []]:
        yield f"{machine['machine']}: {host} has a domain {owner.domain} already, which this collection has not made; rename it"


def _full_pools(plan: Mapping[str, t.Any], wanted: Sequence[tuple[str, Machine]], context: Context) -> Iterator[str]:
    """Disks have to fit as they are; what they may grow by is the placement's business."""
    needed: dict[tuple[str, str], int] = {}
    for move, (_source, one) in zip(plan["moves"], wanted, strict=True):
        for disk, there in zip(one["disks"], move["arrival"]["disks"], strict=True):
            place = (move["target"], there["pool"])
            needed[place] = needed.get(place, 0) + disk["allocated_bytes"]
    for (host, pool), size in needed.items():
        free = (((context.observed[host].get("capacity") or {}).get("pools") or {}).get(pool) or {}).get("free_bytes")
        if free is not None and size > free:
            yield f"{host}: the pool {pool!r} has {free / 2**30:.3f} GiB free; the disks that move there have {size / 2**30:.3f} GiB"


def _shared(plan: Mapping[str, t.Any], wanted: Sequence[tuple[str, Machine]], context: Context) -> Iterator[str]:
    """A disk that the target sees in the same place is not copied onto itself."""
    for move, (source, one) in zip(plan["moves"], wanted, strict=True):
        for disk, there in zip(one["disks"], move["arrival"]["disks"], strict=True):
            here = _storage(context.observed[source], disk["pool"])
            if here is not None and here == _storage(context.observed[move["target"]], there["pool"]):
                yield (
                    f"{move['machine']}: its disk {disk['name']} is on storage that {source} and {move['target']} share; "
                    "virsh migrate moves such a machine without its disks, or name a pool of its own with to_pool"
                )


def _storage(facts: Mapping[str, t.Any], pool: str) -> t.Any:
    content = (facts.get("pools") or {}).get(pool) or {}
    return content.get("storage") or (content.get("filesystem") or {}).get("identity")


def _note_bases(plan: dict[str, t.Any], found: Mapping[str, t.Any], wanted: Sequence[tuple[str, Machine]], looks: Looks) -> None:
    """What is relayed, claimed and referred to."""
    names = {f"{_slug(index)}-1": one["machine"] for index, (_source, one) in enumerate(wanted)}
    titles = _titles(looks)
    plan["relays"] = [{**relay, "base": titles.get(relay["sha256"], relay["base"])} for relay in found["relays"]]
    plan["relay_hosts"] = found["relay_hosts"]
    plan["claims"] = {
        host: {**claim, "places": {}, "uses": [{**use, "name": names.get(use["name"], use["name"])} for use in claim["uses"]]}
        for host, claim in found["claims"].items()
        if claim["uses"] or claim["bases"]
    }
    pool_of = {(host, reference["sha256"]): reference["pool"] for host, work in found["hosts"].items() for reference in work["references"]}
    references: dict[str, dict[str, list[dict[str, t.Any]]]] = {}
    for move, (source, one) in zip(plan["moves"], wanted, strict=True):
        for sha256 in dict.fromkeys(disk["base"] for disk in one["disks"] if disk["base"]):
            wish = {"sha256": sha256, "pool": pool_of[move["target"], sha256], **_name_of(looks, source, one, sha256)}
            mine = references.setdefault(move["target"], {}).setdefault(one["tenant"], [])
            if wish not in mine:
                mine.append(wish)
    plan["references"] = {
        host: [{"tenant": tenant, "references": wishes} for tenant, wishes in tenants.items()] for host, tenants in references.items()
    }


def _name_of(looks: Looks, source: str, machine: Machine, sha256: str) -> dict[str, str]:
    """What the service calls the base; nothing where its record does not say."""
    for service in seen_of(looks)[source]["services"]:
        if (service["tenant"], service["service"]) == (machine["tenant"], machine["service"]):
            for base in service["bases"]:
                if base.get("sha256") == sha256:
                    return {"name": base["name"], "version": str(base["version"])}
    return {}


def _titles(looks: Looks) -> dict[str, str]:
    return {
        base["sha256"]: f"{base['name']} {base['version']}"
        for look in seen_of(looks).values()
        for service in look["services"]
        for base in service["bases"]
        if base.get("sha256")
    }


def _plan_text(plan: Mapping[str, t.Any]) -> Iterator[str]:
    moves = plan["moves"]
    yield f"{len(moves)} machine{'' if len(moves) == 1 else 's'} to move"
    width = max((len(move["machine"]) for move in moves), default=0)
    for move in moves:
        how = "live, while it runs" if move["live"] else "off"
        size = move.get("bytes", 0) / 2**20
        yield f"  {move['machine']:<{width}}  {move['source']} > {move['target'] or '?'}  {how}, disks with {size:.1f} MiB"
    for relay in plan["relays"]:
        size = f", {relay['size_bytes'] / 2**20:.1f} MiB" if relay["size_bytes"] else ""
        yield f"  the base {relay['base']} goes first to {', '.join(relay['targets'])}{size}"
    yield from (f"  stays: {text}" for text in plan["stays"])
