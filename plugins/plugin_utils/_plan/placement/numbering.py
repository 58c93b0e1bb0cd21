# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Which numbers the machines of a group have, and which of them keep their host.

A number once given stays with its machine: numbers come from the machines that exist, then from the records that every
host of the service keeps (so that those of an unreachable host are not given away), and only then from the lowest free.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .observed import Observed, answers

Known = Mapping[int, tuple[str, bool]]  # {number: (host, whether it exists)}

# So many hosts keep a service's numbers even if they have none of its machines.
WITNESSES = 9


def known_numbers(service: str, hosts: Observed) -> dict[str, dict[int, tuple[str, bool]]]:
    """``{group: {number: (host, exists)}}`` from records, overruled by what other runs are about to make, and by what exists."""
    known: dict[str, dict[int, tuple[str, bool]]] = {}
    newest: Mapping[str, t.Any] = {}
    for facts in hosts.values():
        record = facts.get("record") or {}
        if record.get("service") == service and (record.get("generation") or 0) > (newest.get("generation") or 0):
            newest = record
    for entry in (newest.get("assignments") or {}).values():
        known.setdefault(entry["group"], {})[int(entry["number"])] = (entry["host"], False)
    for place in claimed_places(hosts).values():
        known.setdefault(place["group"], {})[int(place["number"])] = (place["host"], False)
    for host, facts in hosts.items():
        for machine in facts.get("machines") or []:
            if machine.get("group") is not None and machine.get("number") is not None:
                known.setdefault(machine["group"], {})[int(machine["number"])] = (host, True)
        for group, number in facts.get("made_anew") or ():
            known.setdefault(group, {})[number] = (host, False)
    return known


def claimed_places(hosts: Observed) -> dict[str, Mapping[str, t.Any]]:
    """Where other runs of the service are about to make machines, by name."""
    claims = (claim for facts in hosts.values() for claim in facts.get("own_claims") or [])
    return {name: place for claim in claims for name, place in claim["places"].items()}


def _reasons(hosts: Observed) -> str:
    """Why hosts cannot be asked, as the end of a sentence: equal reasons once, the first ones only."""
    by_reason: dict[str, list[str]] = {}
    for host, facts in hosts.items():
        by_reason.setdefault(str(facts.get("msg") or facts.get("reason") or "it cannot be asked"), []).append(host)
    told = [f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}: {why}" for why, names in by_reason.items()]
    return "".join(f"; {one}" for one in told[:3])


def candidates(group: Mapping[str, t.Any], hosts: Observed, groups: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """The hosts that a group of machines may use, and what is wrong with the names."""
    if group["hosts"] is None:
        # A count alone leaves the choice among the fleet; who cannot be asked is not chosen.
        usable = [host for host, facts in hosts.items() if answers(facts)]
        return usable, [] if usable else [f"{group['place']}: no host of this run can be asked for its machines{_reasons(hosts)}"]
    names: list[str] = []
    problems: list[str] = []
    for name in group["hosts"]:
        if name in hosts or name in groups.get("all", ()):
            members: Sequence[str] = [name]
        elif name in groups:
            members = groups[name]
        else:
            accepted = ", ".join([*hosts, *(g for g in sorted(groups) if g not in ("all", "ungrouped"))])
            problems.append(f"{group['places']['hosts']}: {name!r} is neither a host nor a group of the inventory; these are: {accepted}")
            continue
        names += [member for member in members if member not in names]
    return names, problems


def witnesses(group: Mapping[str, t.Any], hosts: Observed, groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The hosts that keep the numbers of a group.

    A count may be on any host, so a host that is down may have machines of which no other host has a record. New numbers are only
    given while more than half of the witnesses tell what they know: any two such majorities share a host. Numbers of a group with
    ``per_host`` are kept by hosts outside of it too, for a host that is added while all others are down.
    """
    own = _hosts_of(group, hosts, groups)
    others = () if group["count"] else [name for name in hosts if name not in own]
    return [*own, *others][:WITNESSES]


def silent_witnesses(group: Mapping[str, t.Any], hosts: Observed, groups: Mapping[str, Sequence[str]]) -> list[str]:
    """The witnesses that do not tell, where they are too many for new numbers.

    With ``per_host``, machines of hosts that are down are in the record of any other host that had a part in the service. Only
    where no host has one, and more than half of the group's hosts are down, nothing tells a first deployment from a later one.
    """
    if group["count"]:
        asked = witnesses(group, hosts, groups)
        silent = [host for host in asked if not answers(hosts[host]) and not hosts[host].get("record")]
        return silent if 2 * len(silent) >= len(asked) else []
    own = _hosts_of(group, hosts, groups)
    silent = [host for host in own if not answers(hosts[host])]
    known = any(facts.get("record") for facts in hosts.values())
    return silent if 2 * len(silent) > len(own) and not known else []


def _hosts_of(group: Mapping[str, t.Any], hosts: Observed, groups: Mapping[str, Sequence[str]]) -> list[str]:
    names = list(hosts) if group["hosts"] is None else candidates(group, hosts, groups)[0]
    return [name for name in names if name in hosts]


def _leaving(existing: Mapping[int, str], count: int | None) -> set[int]:
    """Which machines of a count are too many: the newest first, from the host that has most of them.

    The choice does not depend on how many have gone already, so that a removal that was interrupted goes on with the same ones.

    :param existing: the host of each number.
    """
    by_host: dict[str, list[int]] = {}
    for number, host in sorted(existing.items()):
        by_host.setdefault(host, []).append(number)
    leaving: set[int] = set()
    while count and len(existing) - len(leaving) > count:
        fullest = max(by_host.values(), key=lambda numbers: (len(numbers), numbers[-1:]))
        leaving.add(fullest.pop())
    return leaving


@dataclass
class Numbers:
    """The machines of one group: which keep their host, which are surplus, and the numbers that are free."""

    group: Mapping[str, t.Any]
    candidates: Sequence[str]
    known: Known
    fleet: Sequence[str] = ()
    kept: dict[int, str] = field(default_factory=dict)
    surplus: list[int] = field(default_factory=list)
    free: Iterator[int] = field(default_factory=lambda: iter(()))

    @classmethod
    def of(cls, group: Mapping[str, t.Any], candidates: Sequence[str], known: Known, hosts: Observed, fleet: Sequence[str] = ()) -> Numbers:
        """From what is known of the group's machines.

        :param fleet: all hosts that may have machines of the service, whether this run sees them or not.
        """
        numbers = cls(group, candidates, known, fleet)
        # One that an update has made room for keeps its place as if it were there.
        anew = {number for facts in hosts.values() for name, number in facts.get("made_anew") or () if name == group["name"]}
        reserved = {
            number: (host, exists or number in anew)
            for number, (host, exists) in known.items()
            # What was only recorded for a host that answers and is no longer wanted was never made.
            if exists or number in anew or host in candidates or not answers(hosts.get(host, {}))
        }
        leaving = _leaving({number: host for number, (host, exists) in reserved.items() if exists}, group["count"])
        # Machines that exist come before those that were only recorded.
        for number, (host, exists) in sorted(reserved.items(), key=lambda item: (not item[1][1], item[0])):
            if number not in leaving and numbers._room(host, exists, hosts):
                numbers.kept[number] = host
            elif exists:
                numbers.surplus.append(number)
        used = set(numbers.kept) | {n for n, (host, exists) in reserved.items() if exists or not answers(hosts.get(host, {}))}
        numbers.free = (number for number in range(1, 10**6) if number not in used)
        return numbers

    def _room(self, host: str, exists: bool, hosts: Observed) -> bool:
        """Whether the manifest still asks for this machine."""
        if self.group["per_host"]:
            return host in self.candidates and self.group["per_host"] > self.on(host)
        return len(self.kept) < (self.group["count"] or 0) and (exists or host in self.candidates or self._may_be(host, hosts))

    def _may_be(self, host: str, hosts: Observed) -> bool:
        """Whether what was recorded for a host that cannot be asked counts as there: it most likely is, and a second one is never made.

        A host that the inventory or the manifest no longer names is given up.
        """
        facts = hosts.get(host, {})
        if answers(facts):
            return False
        return bool(facts.get("reachable")) or (self.group["hosts"] is None and (host in hosts or host in self.fleet))

    def on(self, host: str) -> int:
        """How many of the group a host has by now."""
        return sum(1 for other in self.kept.values() if other == host)

    def give(self, host: str) -> int:
        """The number of a new machine on a host."""
        number = next(self.free)
        self.kept[number] = host
        return number

    def exists(self, number: int) -> bool:
        """Whether the machine of this number is there already."""
        return bool(self.known.get(number, ("", False))[1])
