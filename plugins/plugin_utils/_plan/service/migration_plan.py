# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which machines move where, and what has to be there before.

To its target a machine is a new machine whose disks are based on the same bases: so place, bases, room, networks and claims are
what a deployment of it would find, by the same code.
"""

from __future__ import annotations

import typing as t
from collections.abc import Container, Iterator, Mapping, Sequence

from ....module_utils._machine.owner import Owner
from ....module_utils._names import HOST_LABEL_RULE, is_host_label, is_name
from ..placement import Observed, Settings, answers, storage_of
from ..placement.fleet import usable_bytes
from ..placement.one_more import place_one_more
from ..types import Manifest
from . import dns_entries
from .manifest import parse_manifest
from .migration_looks import FORMAT, Looks, Request, records_of, seen_of, unknown_of
from .migration_steps import key_of
from .removal_plan import names_of
from .service_plan import service_plan
from .status_text import size
from .user_options import flag, flag_mistakes

Machine = Mapping[str, t.Any]
Plan = Mapping[str, t.Any]
Facts = Mapping[str, t.Any]
Seen = Mapping[str, Mapping[str, t.Any]]


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


# --- the plan ----------------------------------------------------------------------------------


def migration_plan(looks: Looks, request: Request, context: Context, ended: Sequence[Sequence[str]] = ()) -> dict[str, t.Any]:
    """
    :param looks: ``{host: {"migration": migration_info's}}``, or ``{"msg": why it could not be asked}``.
    :param request: ``service``, ``tenant``, ``machine`` (names), ``to``, ``to_pool``, ``live``, as the user gave them; ``host`` for
        all machines of a host.
    :param ended: keys of machines whose earlier migration was finished just now: these have moved.
    :returns: ``{"format", "moves": […], "records", "relays", "relay_hosts", "claims", "references": {host: [{"tenant",
        "references"}]}, "addresses", "hosts", "stays", "problems", "text"}``; a move to another pool of its host has that pool as
        ``within``.
    """
    seen = seen_of(looks)
    problems: list[str] = []
    found = _wanted(request, context, looks, problems, {tuple(key) for key in ended})
    there = [one for source, one in found if source == request.get("to")]
    within = [_within(one, request, context, looks, problems) for one in there if not _is_there(one, request)]
    wanted = [(source, one) for source, one in found if source != request.get("to")]
    moves = [_move(source, machine, request, seen, problems) for source, machine in wanted]
    plan: dict[str, t.Any] = {
        "format": FORMAT,
        "service": next((move["service"] for move in moves), _service(request, context)),
        "tenant": next((move["tenant"] for move in moves), _tenant(request, context)),
        "moves": moves,
        "records": records_of(looks),
        "relays": [],
        "relay_hosts": [],
        "claims": {},
        "references": {},
        "addresses": {},
        "hosts": {},
        "stays": [*_stays(request, seen), *(_where(one, request) for one in there if _is_there(one, request))],
        "problems": problems,
    }
    if moves and not problems:
        _place(plan, wanted, request, context, looks)
    plan["moves"] = [*plan["moves"], *within]
    problems += _full_places(within, context)
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


def _is_live(machine: Machine, request: Request) -> bool:
    return machine["state"] == "running" and flag(request.get("live")) is not False


def _move(source: str, machine: Machine, request: Request, seen: Seen, problems: list[str], within: bool = False) -> dict[str, t.Any]:
    name, live = machine["machine"], _is_live(machine, request)
    bound = [*(machine.get("bound") or ()), *(() if live else machine.get("bound_off") or ())]
    for problem in [*machine["problems"], *(() if within else bound)]:
        problems.append(f"{name} on {source}: {problem}")
    if machine["state"] == "paused":
        problems.append(f"{name} on {source}: it is paused; let it go on (virsh resume), or stop it")
    if flag(request.get("live")) and machine["state"] == "off":
        problems.append(f"live: {name} is off; it can only move with live=false, or without live")
    for disk in machine["disks"] if live else ():
        if disk.get("snapshots") and not (within and disk["pool"] == request["to_pool"]):
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


# --- to another pool of the same host ------------------------------------------------------------


def _is_there(machine: Machine, request: Request) -> bool:
    """Whether a machine of the target has nothing that moves. What a guest that runs has open beside its disks does not."""
    pool = request.get("to_pool")
    home = machine["home"] if not _is_live(machine, request) else None
    return not pool or all(place in (None, pool) for place in (home, *(disk["pool"] for disk in machine["disks"])))


def _where(machine: Machine, request: Request) -> str:
    pool, home = request.get("to_pool"), machine["home"]
    text = f"{machine['machine']} on {request['to']}{f' in the pool {pool}' if pool else ''}, where it is to be"
    rest = f"; its seed and logs are in {home}, and follow it while it is off (live=false)"
    return text + (rest if pool and home not in (None, pool) else "")


def _within(machine: Machine, request: Request, context: Context, looks: Looks, problems: list[str]) -> dict[str, t.Any]:
    host, pool = request["to"], request["to_pool"]
    move = _move(host, machine, request, seen_of(looks), problems, within=True)
    facts = context.observed.get(host) or {}
    pools = (facts.get("capacity") or {}).get("pools") or {}
    usable = [name for name, about in pools.items() if about.get("exists") and about.get("writable")]
    if pool not in usable:
        problems.append(f"{machine['machine']}: {host}: it has no usable pool {pool!r}; it has: {', '.join(usable) or 'none'}")
    going = [disk for disk in machine["disks"] if disk["pool"] != pool]
    titles = _titles(looks)
    return {
        **move,
        "target": host,
        "within": pool,
        "from": list(dict.fromkeys(disk["pool"] for disk in going)) or [machine["home"]],
        "bytes": sum(disk["allocated_bytes"] for disk in going),
        "bases": [{**base, "title": titles.get(base["sha256"], base["sha256"][:16])} for base in _missing(going, facts, pool)],
    }


def _missing(disks: Sequence[Machine], facts: Facts, pool: str) -> list[dict[str, t.Any]]:
    """Bases of the disks, with their parents, that the pool lacks and another one of the host has."""
    pools = facts.get("pools") or {}
    known = {base["sha256"]: base for content in pools.values() for base in content.get("bases") or []}
    there = {base["sha256"] for base in (pools.get(pool) or {}).get("bases") or []}
    chains = [(known.get(disk["base"]) or {}).get("chain") or [disk["base"]] for disk in disks if disk["base"]]
    missing = dict.fromkeys(sha256 for chain in chains for sha256 in chain if sha256 not in there)
    return [{"sha256": sha256, "size_bytes": (known.get(sha256) or {}).get("size_bytes") or 0} for sha256 in missing]


def _full_places(moves: Sequence[Plan], context: Context) -> Iterator[str]:
    """All that moves to a pool has to fit there, each base once."""
    needed: dict[tuple[str, str], dict[str, int]] = {}
    for number, move in enumerate(moves):
        mine = needed.setdefault((move["target"], move["within"]), {})
        mine[f"disks of {number}"] = move["bytes"]
        mine.update({base["sha256"]: base["size_bytes"] for base in move["bases"]})
    for (host, pool), sizes in needed.items():
        free = _free_bytes(context, host, pool)
        if free is not None and sum(sizes.values()) > free:
            yield (
                f"{host}: the pool {pool!r} has {free / 2**30:.3f} GiB free; the disks that move there, with bases that it lacks, have"
                f" {sum(sizes.values()) / 2**30:.3f} GiB"
            )


def _free_bytes(context: Context, host: str, pool: str) -> int | None:
    capacity = (context.observed.get(host) or {}).get("capacity") or {}
    return usable_bytes((capacity.get("pools") or {}).get(pool) or {})


def _stays(request: Request, seen: Seen) -> list[str]:
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
            t.cast(Manifest, manifest), _as_empty(context.observed, wanted), context.groups, quotas={}, fleet=list(context.observed)
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
        _take(plan, found, wanted, looks, context, request.get("to_pool"))
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


def _as_empty(observed: Observed, wanted: Sequence[tuple[str, Machine]]) -> dict[str, dict[str, t.Any]]:
    """The hosts without numbers that are taken: their domains still take room. Other machines may be on their way.

    What disks on shared storage may grow by is promised there already, and would count twice.
    """
    promised: dict[str, int] = {}
    for source, one in wanted:
        for disk in one["disks"]:
            storage = _storage(observed, source, disk["pool"])
            promised[storage] = promised.get(storage, 0) + max(0, disk["size_bytes"] - disk["allocated_bytes"])
    return {
        host: {**facts, "machines": [], "record": None, "moves": [], **_less_promised(observed, host, facts, promised)}
        for host, facts in observed.items()
    }


def _less_promised(observed: Observed, host: str, facts: Facts, promised: Mapping[str, int]) -> dict[str, t.Any]:
    capacity = facts.get("capacity") or {}
    pools = {
        name: {**pool, "promised_bytes": max(0, (pool.get("promised_bytes") or 0) - promised.get(_storage(observed, host, name), 0))}
        for name, pool in (capacity.get("pools") or {}).items()
    }
    return {"capacity": {**capacity, "pools": pools}} if pools else {}


def _slug(index: int) -> str:
    return f"moving-{index}"


def _base_name(sha256: str) -> str:
    return f"base-{sha256[:16]}"


def _manifest(
    plan: Plan, wanted: Sequence[tuple[str, Machine]], targets: Sequence[Sequence[str]], request: Request, context: Context
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
        # Its addresses are its guest's, and no matter of the plan; what its host needs for its names is.
        known = {entry["network"] for entry in one.get("dns") or ()}
        group["networks"] = [{**card, **({"dns_entry": True} if card.get("network") in known else {})} for card in group["networks"]]
    return parsed


def _wanted_disk(disk: Machine, targets: Sequence[str], request: Request, context: Context) -> dict[str, t.Any]:
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
    plan: dict[str, t.Any], found: Plan, wanted: Sequence[tuple[str, Machine]], looks: Looks, context: Context, to_pool: str | None
) -> None:
    """What the deployment's planner has found, as a migration needs it."""
    placed = {machine["machine"]: machine for machine in found["machines"]}
    seen = seen_of(looks)
    for index, (source, one) in enumerate(wanted):
        entry, move = placed[f"{_slug(index)}-1"], plan["moves"][index]
        host = entry["host"]
        move["target"] = host
        pools = {name: disk["pool"] for name, disk in entry["spec"]["disks"].items()}
        homes = _same_pools(context.observed, source, one["home"], host)
        home = one["home"] if one["home"] in homes and not to_pool else next(iter(pools.values()), one["home"])
        kept = {disk["pool"] for disk in one["disks"] if pools[disk["name"]] in _same_pools(context.observed, source, disk["pool"], host)}
        kept |= {one["home"]} if home in homes else set()
        move["shared"] = sorted(kept)
        theirs = {one["home"], *(disk["pool"] for disk in one["disks"])}
        move["arrival"] = {
            "shared": sorted({there for pool in theirs for there in _same_pools(context.observed, source, pool, host)}),
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
                    "shared": disk["pool"] in kept,
                }
                for disk in one["disks"]
            ],
        }
        move["bytes"] = sum(disk["allocated_bytes"] for disk in one["disks"] if disk["pool"] not in kept)
        plan["problems"] += _apart(one, source, host, kept)
        plan["problems"] += _conflicts(one, host, seen, context)
        plan["problems"] += dns_entries.conflicts(dns_entries.told(one), one["machine"], host, context.observed)
    plan["problems"] += _full_pools(plan, wanted, context)
    _note_bases(plan, found, wanted, looks)
    plan["addresses"] = {move["target"]: context.observed[move["target"]].get("address") for move in plan["moves"]}


def _conflicts(machine: Machine, host: str, seen: Seen, context: Context) -> Iterator[str]:
    """A domain of the target that has the machine's name or UUID."""
    owner = Owner(machine["tenant"], machine["service"], machine["machine"])
    for domain in context.observed[host].get("domains") or []:
        if domain.get("domain") == owner.domain or domain.get("uuid") == owner.domain_uuid:
            yield f"{machine['machine']}: {host} has a domain {owner.domain} or one with its UUID already; undefine or rename it"
            return
    if owner.domain in [str(name).partition(" (")[0] for name in seen.get(host, {}).get("others") or []]:
        yield f"{machine['machine']}: {host} has a domain {owner.domain} already, which this collection has not made; rename it"


def _full_pools(plan: Plan, wanted: Sequence[tuple[str, Machine]], context: Context) -> Iterator[str]:
    """Disks have to fit as they are; what they may grow by is the placement's business."""
    needed: dict[tuple[str, str], int] = {}
    for move, (_source, one) in zip(plan["moves"], wanted, strict=True):
        for disk, there in zip(one["disks"], move["arrival"]["disks"], strict=True):
            if there["shared"]:
                continue
            place = (move["target"], there["pool"])
            needed[place] = needed.get(place, 0) + disk["allocated_bytes"]
    for (host, pool), bytes_ in needed.items():
        free = _free_bytes(context, host, pool)
        if free is not None and bytes_ > free:
            yield f"{host}: the pool {pool!r} has {free / 2**30:.3f} GiB free; the disks that move there have {bytes_ / 2**30:.3f} GiB"


def _storage(observed: Observed, host: str, pool: str) -> str:
    """The storage of a pool as marks have proved it: two that only look alike are two."""
    return storage_of(host, pool, (observed[host].get("pools") or {}).get(pool) or {})


def _same_pools(observed: Observed, source: str, pool: str, target: str) -> list[str]:
    """Pools of the target that are the same storage as one of the source."""
    storage = _storage(observed, source, pool)
    return [name for name in observed[target].get("pools") or {} if _storage(observed, target, name) == storage]


def _apart(machine: Machine, source: str, target: str, kept: Container[str]) -> Iterator[str]:
    """A disk on shared storage stays as it is; so its base has to be beside it, where the target finds it as well."""
    for disk in machine["disks"]:
        if disk["pool"] in kept and disk["based"] and not disk.get("beside", True):
            yield (
                f"{machine['machine']}: its disk {disk['name']} is on storage that {source} and {target} share, and its base is in another"
                f" pool of {source}; bring the base beside it (migrate with to={source} and to_pool, to another pool and back), or name a"
                " pool of the target with to_pool"
            )


def _note_bases(plan: dict[str, t.Any], found: Plan, wanted: Sequence[tuple[str, Machine]], looks: Looks) -> None:
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


def _plan_text(plan: Plan) -> Iterator[str]:
    moves = plan["moves"]
    yield f"{len(moves)} machine{'' if len(moves) == 1 else 's'} to move"
    width = max((len(move["machine"]) for move in moves), default=0)
    for move in moves:
        how = "live, while it runs" if move["live"] else "off"
        what = f"disks with {size(move.get('bytes', 0))}"
        if move.get("shared"):
            what += f"; what is in the pool {' and '.join(move['shared'])} stays there, as both hosts have it"
        way = f"{move['source']} > {move['target'] or '?'}"
        if move.get("within"):
            way = f"{move['source']}, from the pool {' and '.join(move['from'])} to {move['within']}"
        yield f"  {move['machine']:<{width}}  {way}  {how}, {what}"
        if move["live"] and move["arrival"].get("domain_type") == "qemu":  # seen with QEMU alone; see docs/migrate.md
            yield f"  {move['machine']} runs without KVM: its kernel can crash on {move['target']}. live=false moves it powered off."
        for base in move.get("bases") or ():
            yield f"  the base {base['title']} is copied first to the pool {move['within']}, {size(base['size_bytes'])}"
    for relay in plan["relays"]:
        bytes_ = f", {size(relay['size_bytes'])}" if relay["size_bytes"] else ""
        yield f"  the base {relay['base']} goes first to {', '.join(relay['targets'])}{bytes_}"
    yield from (f"  stays: {text}" for text in plan["stays"])
