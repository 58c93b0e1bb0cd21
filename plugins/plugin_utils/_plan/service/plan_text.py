# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a deployment would do, as text: group by group, before the relay's own tables."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence

from ....module_utils._machine.hardware import cards
from ..types import PlannedMachine, ServicePlan
from . import addresses
from .drift import drift_text, in_short
from .wrapped_text import wrapped

_GIB = 1024**3
_MOST_ADDRESSES = 20

_STATES = {
    "create": "to be made",
    "update": "to be updated",
    "exists": "there already",
    "unreachable": "out of reach",
    "outside": "outside this run",
    "unfit": "not to be made",
    "unknown": "there or not, which cannot be known",
}


def plan_text(plan: ServicePlan, updated: Collection[str] = ()) -> list[str]:
    """Lines for people, of at most 100 columns where names allow it.

    :param updated: machines that are made anew, or grow, because the manifest has changed.
    """
    machines = [_as_shown(machine, updated) for machine in plan["machines"]]
    plan = t.cast("ServicePlan", {**plan, "machines": machines})
    lines = [f"Service {plan['service']} (tenant {plan['tenant']}): {_counts(plan['machines'])}"]
    for problem in plan["problems"]:
        lines += _wrapped("problem: ", problem)
    for note in plan.get("notes") or []:
        lines += _wrapped("note: ", note)
    for name in dict.fromkeys(machine["group"] for machine in plan["machines"]):
        lines += _group(name, [machine for machine in plan["machines"] if machine["group"] == name], plan)
    lines += _unplaced(plan)
    order = plan.get("order") or {}
    if order.get("stages"):
        lines += _wrapped("start order: ", "; then ".join(", ".join(stage) for stage in order["stages"]))
    if order.get("on_failure") == "roll_back":
        lines += _wrapped("", "if a machine fails, what the run made is removed again; bases and what was there before stay")
    for base in plan["bases"].values():
        lines += _base(base, plan)
    lines += _parents(plan)
    for text in drift_text([machine for machine in machines if machine["machine"] not in updated]):
        lines += _wrapped("", f"{text}; nothing would be rebuilt")
    for surplus in plan["surplus"]:
        lines += _wrapped("surplus: ", f"{surplus['machine']} on {surplus['host']} is no longer asked for; it would be left alone")
    return lines


def _as_shown(machine: PlannedMachine, updated: Collection[str]) -> PlannedMachine:
    if machine["machine"] not in updated or machine["state"] not in ("create", "exists"):
        return machine
    return t.cast("PlannedMachine", {**machine, "state": "update"})


def _counts(machines: Sequence[PlannedMachine]) -> str:
    noun = "machine" if len(machines) == 1 else "machines"
    states = [f"{count} {word}" for state, word in _STATES.items() if (count := sum(m["state"] == state for m in machines))]
    return f"{len(machines)} {noun}" + (f", {', '.join(states)}" if states else "")


def _group(name: str, machines: Sequence[PlannedMachine], plan: ServicePlan) -> list[str]:
    lines = [f"  {name}: {_hardware(machines[0]['spec'])}"]
    for disk_name, disk in machines[0]["spec"]["disks"].items():
        lines.append(f"    disk {disk_name}: {_disk(disk)}")
    told = [f"{machine['machine']} {', '.join(found)}" for machine in machines if (found := _addresses(machine["spec"]))]
    if told:
        more = f"; and {len(told) - _MOST_ADDRESSES} more" if len(told) > _MOST_ADDRESSES else ""
        lines += _wrapped("  addresses: ", "; ".join(told[:_MOST_ADDRESSES]) + more)
    for state, word in _STATES.items():
        by_reason: dict[tuple[str, str], list[str]] = {}
        for machine in machines:
            if machine["state"] == state:
                by_reason.setdefault((machine["host"], machine["reason"]), []).append(machine["machine"])
        for (host, reason), names in by_reason.items():
            lines += _wrapped("  ", f"{in_short(names)} on {host}: {word}" + (f" ({reason})" if reason else ""))
    return [*lines, *_reasons(machines, plan)]


def _addresses(spec: Mapping[str, t.Any]) -> list[str]:
    """Those that the manifest gives it."""
    return [card[key] for card in spec["networks"] for key, _gateway in addresses.VERSIONS.values() if card.get(key)]


def _hardware(spec: Mapping[str, t.Any]) -> str:
    cpus = f"{spec['cpus']} CPU" + ("s" if spec["cpus"] != 1 else "")
    kinds = [(cards.kind_of(card), card) for card in spec["networks"]]
    connected = ", ".join(f"{kind.word} {card[kind.name]}" for kind, card in kinds if kind)
    seed = f", {spec.get('customize', 'cloud-init')}" if spec["seed"] else ""
    return f"{cpus}, {spec['memory_mib']} MiB, {connected or 'no network'}{seed}"


def _disk(disk: Mapping[str, t.Any]) -> str:
    size = f"{disk['size_bytes'] / _GIB:g} GiB" if disk["size_bytes"] else "of its base's size"
    if not disk["base"]:
        kind = "empty"
    elif disk["differencing"]:
        kind = f"{'differencing disk' if disk['backend'] == 'qcow2' else 'reflink clone'} of {disk['base']}"
    else:
        kind = f"whole copy of {disk['base']}"
    return f"{size}, {kind}, pool {disk['pool']}"


# Of the hosts for one machine, so many are listed.
_LISTED = 8


def _reasons(machines: Sequence[PlannedMachine], plan: ServicePlan) -> Iterator[str]:
    """The hosts for one new machine of a group, best first: why that one, and what the others lost by."""
    new = [machine["machine"] for machine in machines if machine["state"] == "create"]
    rated = [(name, plan["ratings"][name]) for name in new if name in plan["ratings"]]
    named = [ratings[0]["host"] for _name, ratings in rated if ratings[0]["reasons"] == ["the manifest names this host"]]
    if named:
        yield from _wrapped("  ", f"the manifest names {', '.join(dict.fromkeys(named))}")
    for name, ratings in rated:
        if ratings[0]["host"] not in named:
            yield from _order(name, ratings)


def _order(name: str, ratings: Sequence[Mapping[str, t.Any]]) -> Iterator[str]:
    fitting = [rating for rating in ratings if rating["fits"]]
    yield from _wrapped("  ", f"hosts for {name}, best first:")
    for place, rating in enumerate(fitting[:_LISTED], 1):
        shown = rating["reasons"]
        if place > 1:
            # Only what is not as it is on the best host.
            shown = [f"lost by: {rating['lost_by']}", *(text for text in shown if text not in fitting[0]["reasons"])]
        yield from _wrapped("    ", f"{place}. {rating['host']}: {'; '.join(shown)}")
    more = [rating["host"] for rating in fitting[_LISTED:]]
    if more:
        yield from _wrapped("    ", f"then {_few(more)}")
    others: dict[str, list[str]] = {}
    for rating in ratings:
        if not rating["fits"]:
            others.setdefault("; ".join(rating["reasons"]), []).append(rating["host"])
    for reason, hosts in others.items():
        yield from _wrapped("    ", f"not {_few(hosts)}: {reason}")


def one_more_text(places: Mapping[str, Mapping[str, t.Any]]) -> list[str]:
    """Where one more machine of each group would go, as place_one_more returns it."""
    lines: list[str] = []
    for name, place in places.items():
        if place["host"] is None:
            lines += _wrapped("", f"{name}: no host has room for one more machine: {' '.join(place['problems']) or 'none can be asked'}")
            continue
        pools = ", ".join(dict.fromkeys(place["pools"].values()))
        lines += _wrapped("", f"{name}: one more machine ({place['machine']}), or a clone, would go to {place['host']}, pool {pools}")
        lines += _order(place["machine"], place["ratings"])
        moves: dict[tuple[str, str | None], list[str]] = {}
        for move in place["moves"]:
            moves.setdefault((move["from"], move["to"]), []).append(move["machine"])
        for (host, to), names in moves.items():
            way = f"would move to {to}" if to else "could not move: no other host has room"
            lines += _wrapped("  ", f"{in_short(names)} on {host} {way}")
    return lines


def _few(hosts: Sequence[str]) -> str:
    return ", ".join(hosts[:_LISTED]) + (f" and {len(hosts) - _LISTED} more" if len(hosts) > _LISTED else "")


def _unplaced(plan: ServicePlan) -> Iterator[str]:
    """Machines without a place, where the manifest lets the others go on; else they are problems."""
    by_reason: dict[str, list[str]] = {}
    for machine in plan.get("unplaced") or []:
        by_reason.setdefault(" ".join(machine["reasons"]), []).append(machine["machine"])
    for reason, names in by_reason.items():
        if not any(reason in problem for problem in plan["problems"]):
            yield from _wrapped("not placed: ", f"{in_short(names)}: {reason}")


def _base(base: Mapping[str, t.Any], plan: ServicePlan) -> Iterator[str]:
    digest = f" ({base['sha256'][:12]})" if base["sha256"] else ""
    adopters = {
        host: item["path"] for host, items in _adoptions(plan).items() for item in items if (item["base"] or {}).get("name") == base["name"]
    }
    present = {host: pool for host, pool in base["holders"].items() if host not in adopters}
    holders = f"held by {_by_pool(present)}" if present else "held by no host"
    needed = f"needed on {', '.join(base['needed_on'])}" if base["needed_on"] else "no new machine needs it"
    yield from _wrapped("", f"base {base['title']}{digest}: {holders}; {needed}")
    for host, path in adopters.items():
        yield from _wrapped("  ", f"would be adopted from {path} on {host}")
    if base["import_on"]:
        source = base["source"]
        origins = {
            "host": source["path"],
            "url": source["url"],
            "controller": f"{source['path']} of the controller",
            "machine": f"machine {source['machine']} of service {source['service']}",
            "domain": f"the domain {source.get('domain')}",
        }
        origin = origins["domain" if source.get("domain") else source["kind"]]
        yield from _wrapped("  ", f"would be imported on {base['import_on']}, pool {base['import_pool']}, from {origin}")
    stays = [host for host, pool in present.items() if base.get("pool") not in (None, pool)]
    if stays:
        yield from _wrapped("  ", f"stays where it is on {', '.join(stays)}: pool {base['pool']} is for hosts that do not have it yet")
    targets = {
        host: fetch["pool"]
        for host, work in plan["hosts"].items()
        for fetch in work["fetch"]
        if host != base["import_on"] and fetch["base"] == base["name"]
    }
    # By its digest, where that is known by now.
    relays = [one for one in plan["relays"] if (one["sha256"] == base["sha256"] if base["sha256"] else one["base"] == base["title"])]
    yield from _crossing(base, targets, relays)
    for host, work in plan["hosts"].items():
        for clone in work["clones"]:
            if base["sha256"] in clone["bases"]:
                yield from _wrapped("  ", f"would be copied on {host} to pool {clone['pool']}")


def _crossing(base: Mapping[str, t.Any], targets: Mapping[str, str], relays: Sequence[Mapping[str, t.Any]]) -> Iterator[str]:
    """What the network brings to hosts that lack the base, and what comes by a storage that they share."""
    relayed = {host: pool for host, pool in targets.items() if any(host in relay["targets"] for relay in relays)}
    if relayed:
        how = "" if all(relay["size_bytes"] for relay in relays) else "; the order is planned once its size is known"
        yield from _wrapped("  ", f"would be relayed to {_by_pool(relayed)}{how}")
    for group in (group for relay in relays for group in relay["shared_pools"] if relayed.keys() >= set(group)):
        yield from _wrapped("  ", f"one copy for {', '.join(group)}: their pool {relayed[group[0]]} is one storage")
    beside = {host: pool for host, pool in targets.items() if host not in relayed}
    if beside:
        of = base["import_on"] or next(iter(base["holders"]), "a host that holds it")
        yield from _wrapped("  ", f"would be there for {_by_pool(beside)} too: the pool is one storage with that of {of}")


def _by_pool(pools: Mapping[str, str]) -> str:
    """Hosts with the pool of each, each pool once."""
    hosts: dict[str, list[str]] = {}
    for host, pool in pools.items():
        hosts.setdefault(pool, []).append(host)
    return "; ".join(f"{', '.join(names)} (pool {pool})" for pool, names in hosts.items())


def _adoptions(plan: ServicePlan) -> Mapping[str, Sequence[Mapping[str, t.Any]]]:
    found: Mapping[str, Sequence[Mapping[str, t.Any]]] = plan.get("adoptions") or {}
    return found


def _parents(plan: ServicePlan) -> Iterator[str]:
    """Parents of bases that are adopted by themselves."""
    for host, items in _adoptions(plan).items():
        for item in items:
            if item["base"] is None:
                yield from _wrapped("", f"base {item['title']}: would be adopted from {item['path']} on {host}")


def _wrapped(prefix: str, text: str) -> list[str]:
    # Further lines stand deeper than the first.
    return wrapped(text, f"  {prefix}", " " * (len(prefix) + 5 if len(prefix) > 3 and prefix.isspace() else 6))
