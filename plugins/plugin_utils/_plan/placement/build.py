# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""From a manifest and a fleet to the problem: limits, rules, and for each role the hosts and pools that come into question."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .fleet import MIB, UNLIMITED, HostFacts, Pool, pages_of, size_of_pages
from .layers import Layer, Layers
from .model import Bond, Copy, Host, Option, Part, Problem, Role, Rule, Storage
from .pool_choices import Chosen, is_second, pools_for

Group = Mapping[str, t.Any]


class Wish(t.NamedTuple):
    """New machines of one group."""

    group: Group
    hosts: tuple[str, ...]  # that the manifest lets it use
    number: int


class Standing(t.NamedTuple):
    """A machine that has its host already: it exists, was recorded, or the manifest names its host."""

    group: str
    host: str
    counted: bool  # whether what it takes is in the host's figures already
    pools: tuple[str, ...] = ()  # those of its disks, in their order, where it is not counted


@dataclass
class Built:
    """The problem, and why hosts are out of the question for a role."""

    problem: Problem
    wishes: list[Wish]
    out: list[dict[str, str]] = field(default_factory=list)  # by role: {host: why}
    layers: dict[str, int] = field(default_factory=dict)  # how many layers the bases of a group have
    holders: dict[str, set[int]] = field(default_factory=dict)  # by group: hosts that have all of them now
    parents: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by layer and host: from whom it would come


def build(
    manifest: Mapping[str, t.Any],
    fleet: Sequence[HostFacts],
    layers: Layers,
    wishes: Sequence[Wish],
    standing: Sequence[Standing] = (),
    dropped: str = "",
) -> Built:
    """The problem of placing the wishes beside what stands.

    :param dropped: the name of a limit that is left out, to see whether it is what binds.
    """
    return _Builder(manifest, fleet, layers, dropped).build(wishes, standing)


def placement_of(manifest: Mapping[str, t.Any], group: Group) -> Mapping[str, t.Any]:
    """A group's rules, over those of the service."""
    return {**(manifest.get("placement") or {}), **(group.get("placement") or {})}


def _pages_name(host: HostFacts, size: str) -> str:
    return f"huge pages of {size} on {host.name}"


class _Builder:
    def __init__(self, manifest: Mapping[str, t.Any], fleet: Sequence[HostFacts], layers: Layers, dropped: str) -> None:
        self.manifest, self.fleet, self.layers, self.dropped = manifest, fleet, layers, dropped
        self.index = {host.name: at for at, host in enumerate(fleet)}
        self.groups: dict[str, Group] = {group["name"]: group for group in manifest["machines"]}
        self.base_pools = {base["name"]: base["pool"] for base in manifest["bases"] if base.get("pool")}
        self.storages: dict[str, int] = {}
        self.copies: dict[tuple[str, int], int] = {}
        self.bases: dict[str, int] = {}
        self.parts: dict[tuple[int, int, int, tuple[int, ...]], int] = {}
        self.problem = Problem([], [], [])

    def build(self, wishes: Sequence[Wish], standing: Sequence[Standing]) -> Built:
        built = Built(self.problem, list(wishes))
        self._hosts(wishes, standing)
        self._storages()
        self._stand(standing)
        rules = self._rules(standing)
        bonds = self._bonds(standing)
        self.pinned = {bond: self.problem.bonds[bond].there for bond in set(bonds.values()) if self.problem.bonds[bond].there >= 0}
        for wish in wishes:
            group = wish.group
            role = Role(group["name"], wish.number, group["cpus"], group["memory_mib"])
            role.rules = tuple(rules.get(group["name"], ()))
            mine = bonds.get(group["name"])
            role.bonds = () if mine is None or mine in self.pinned else (mine,)
            out: dict[str, str] = {}
            for name in wish.hosts:
                if name in self.index:
                    self._options(role, group, self.index[name], mine, out)
            role.options.sort(key=lambda option: option.host)
            self.problem.roles.append(role)
            built.out.append(out)
            bases = {disk["base"] for disk in group["disks"] if disk["base"]}
            wanted = {layer.id for base in bases for layer in self.layers.of_base.get(base, [])}
            built.layers[group["name"]] = len(wanted)
            built.holders[group["name"]] = {
                at for at, host in enumerate(self.fleet) if wanted <= {layer for pool in host.pools.values() for layer in pool.held}
            }
        self.problem.bases = list(self.bases)
        built.parents = self.layers.parents
        return built

    def _hosts(self, wishes: Sequence[Wish], standing: Sequence[Standing]) -> None:
        cpu, memory = [host.cpu_used for host in self.fleet], [host.memory_used for host in self.fleet]
        for machine in standing:
            if not machine.counted and machine.host in self.index and machine.group in self.groups:
                at = self.index[machine.host]
                cpu[at] += self.groups[machine.group]["cpus"]
                memory[at] += self.groups[machine.group]["memory_mib"]
        live = [at for at, host in enumerate(self.fleet) if self._takes(host)]
        room = sum(self.fleet[at].memory_limit for at in live)
        want = sum(memory[at] for at in live) + sum(wish.number * wish.group["memory_mib"] for wish in wishes)
        for at, host in enumerate(self.fleet):
            level = want * host.memory_limit // max(1, room) if self._takes(host) else UNLIMITED
            # The level line stays that of the limits, so that dropping one of them changes nothing else.
            self.problem.hosts.append(
                Host(
                    host.name,
                    UNLIMITED if self.dropped == "cpu" else host.cpu_limit,
                    cpu[at],
                    UNLIMITED if self.dropped == "memory" else host.memory_limit,
                    memory[at],
                    level,
                )
            )

    def _takes(self, host: HostFacts) -> bool:
        return not host.why_not and (not host.maintenance or self.dropped == "maintenance")

    def _storages(self) -> None:
        hosts: dict[str, list[int]] = {}
        pools: dict[str, list[Pool]] = {}
        for at, host in enumerate(self.fleet):
            for pool in host.pools.values():
                if not hosts.get(pool.storage) or hosts[pool.storage][-1] != at:
                    hosts.setdefault(pool.storage, []).append(at)
                pools.setdefault(pool.storage, []).append(pool)
        for name, seen in pools.items():
            self.storages[name] = len(self.storages)
            # Of what several hosts say of one storage, the most careful counts.
            free = UNLIMITED if self.dropped == "pool" else min(pool.free for pool in seen)
            overcommit = max(1, min(pool.overcommit for pool in seen))
            self.problem.storages.append(Storage(name, tuple(hosts[name]), free, max(pool.promised for pool in seen), overcommit))
        for at, host in enumerate(self.fleet if any(map(pages_of, self.groups.values())) else ()):
            for size, left in (host.hugepages or {}).items():
                self.storages[_pages_name(host, size)] = len(self.storages)
                free = UNLIMITED if self.dropped == "memory" else left
                self.problem.storages.append(Storage(_pages_name(host, size), (at,), free, 0, 100, size))

    def _stand(self, standing: Sequence[Standing]) -> None:
        """Takes from the storages what machines that have their host, and are still to be made, have on them."""
        for machine in standing:
            if machine.counted or machine.host not in self.index or machine.group not in self.groups:
                continue
            pools = self.fleet[self.index[machine.host]].pools
            for disk, name in zip(self.groups[machine.group]["disks"], machine.pools, strict=False):
                if name in pools:
                    at, (now, later) = self.storages[pools[name].storage], self._takes_of(disk)
                    held = self.problem.storages[at]
                    free = held.free if held.free == UNLIMITED else max(0, held.free - now)
                    self.problem.storages[at] = held._replace(free=free, promised=held.promised + later)

    def _domains(self, by: str) -> tuple[tuple[int, ...], list[str]]:
        """The domain of each host, and the domains' names."""
        if by == "host":
            return tuple(range(len(self.fleet))), [host.name for host in self.fleet]
        texts = [
            host.site if by == "site" else next((label for label in sorted(host.labels) if label.startswith(f"{by}=")), "")
            for host in self.fleet
        ]
        names = list(dict.fromkeys(texts))
        places = {name: at for at, name in enumerate(names)}
        return tuple(places[text] for text in texts), names

    def _rules(self, standing: Sequence[Standing]) -> dict[str, list[int]]:
        """The rules of each group. Groups that name one set share its counter; its smallest limit holds."""
        wanted: dict[tuple[str, str, str], int] = {}
        members: dict[tuple[str, str, str], list[str]] = {}
        for name, kind, of, by, limit in self._asked():
            key = (kind, of, by)
            wanted[key] = min(limit, wanted.get(key, limit))
            members.setdefault(key, []).append(name)
        found: dict[str, list[int]] = {}
        for (kind, of, by), limit in wanted.items():
            if kind == self.dropped:
                continue
            domain, names = self._domains(by)
            there = [0] * len(names)
            for at, host in enumerate(self.fleet):
                there[domain[at]] += host.members.get(of, 0)
            for machine in standing:
                if machine.group in members[kind, of, by] and machine.host in self.index:
                    there[domain[self.index[machine.host]]] += 1
            for name in members[kind, of, by]:
                found.setdefault(name, []).append(len(self.problem.rules))
            self.problem.rules.append(Rule(kind, of, limit, domain, tuple(there), by))
        return found

    def _asked(self) -> Iterator[tuple[str, str, str, str, int]]:
        """Group, kind, set, domain and limit of each rule of the manifest."""
        for name, group in self.groups.items():
            asked = placement_of(self.manifest, group)
            apart = asked.get("anti_affinity")
            if apart:
                yield name, "anti_affinity", name if apart is True else apart, "host", 1
            spread = asked.get("spread")
            if spread:
                yield name, "spread", spread.get("of") or name, spread["by"], spread["at_most"]

    def _bonds(self, standing: Sequence[Standing]) -> dict[str, int]:
        """The bond of each group that has to stay together with others."""
        found: dict[str, int] = {}
        if self.dropped == "affinity":
            return found
        for name, group in self.groups.items():
            together = placement_of(self.manifest, group).get("together_with")
            if not together:
                continue
            members = sorted({name, *together["groups"]})
            known = next((found[member] for member in members if member in found), None)
            if known is None:
                known = len(self.problem.bonds)
                domain, _names = self._domains(together["by"])
                self.problem.bonds.append(Bond("+".join(members), domain, -1, together["by"]))
            for member in members:
                found[member] = known
        for machine in standing:
            bond = found.get(machine.group)
            if bond is not None and machine.host in self.index:
                held = self.problem.bonds[bond]
                if held.there < 0:
                    self.problem.bonds[bond] = held._replace(there=held.domain[self.index[machine.host]])
        return found

    def _options(self, role: Role, group: Group, at: int, bond: int | None, out: dict[str, str]) -> None:
        """The options of a role on a host; or why there are none."""
        host = self.fleet[at]
        why = self._why_not(group, host, at, bond)
        if not why:
            refused, rules = "", placement_of(self.manifest, group)
            for pools in pools_for(group, host, rules):
                parts, refused = self._parts(group, host, pools)
                if not refused:
                    second = is_second(group, host, rules.get("pools"), pools)
                    role.options.append(Option(at, parts, tuple(pool.name for pool in pools), second))
            why = "" if role.options and role.options[-1].host == at else refused or self._no_pool(group, host)
        if why:
            out[host.name] = why

    @staticmethod
    def _no_pool(group: Group, host: HostFacts) -> str:
        wanted = dict.fromkeys(
            repr(disk["pool"]) if disk["pool"] else f"with the labels {', '.join(disk['pool_labels'])}" if disk.get("pool_labels") else ""
            for disk in group["disks"]
        )
        return f"it has no usable pool {', '.join(filter(None, wanted))}".rstrip() + f"; it has: {', '.join(host.pools) or 'none'}"

    def _why_not(self, group: Group, host: HostFacts, at: int, bond: int | None) -> str:
        """Why a host is out of the question, whatever else stands there."""
        asked = placement_of(self.manifest, group)
        lacking = sorted(set(asked.get("labels") or ()) - host.labels)
        avoided = sorted(set(asked.get("avoid") or ()) & (host.labels | {host.name}))
        limits = self.problem.hosts[at]
        if host.why_not:
            return f"it cannot be used: {host.why_not}"
        if host.maintenance and self.dropped != "maintenance":
            return "it is in maintenance"
        if lacking and self.dropped != "labels":
            return f"it lacks the label{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}"
        if avoided and self.dropped != "labels":
            return f"it is to be avoided ({', '.join(avoided)})"
        # All of them: whoever makes room for one of two would only be told of the other.
        short = [
            f"{what}: {max(0, limit - used)} of {limit} {unit} are free, {needed} are needed"
            for what, used, limit, needed, unit in (
                ("cpu", limits.cpu_used, limits.cpu_limit, group["cpus"], "virtual processors"),
                ("memory", limits.memory_used, limits.memory_limit, group["memory_mib"], "MiB"),
            )
            if used + needed > limit
        ]
        if short:
            return "; ".join(short)
        if bond in self.pinned and self.problem.bonds[bond].domain[at] != self.pinned[bond]:
            return f"affinity: the machines that it has to be with are on another {self.problem.bonds[bond].by}"
        return ""

    def _parts(self, group: Group, host: HostFacts, pools: Chosen) -> tuple[tuple[int, ...], str]:
        """What a machine takes of each storage."""
        fixed: dict[int, int] = {}
        thin: dict[int, int] = {}
        copies: dict[int, list[int]] = {}
        homes: dict[str, Pool] = {}
        for disk, pool in zip(group["disks"], pools, strict=True):
            at = self.storages[pool.storage]
            now, later = self._takes_of(disk)
            fixed[at] = fixed.get(at, 0) + now
            thin[at] = thin.get(at, 0) + later
            if not disk["base"]:
                continue
            home = pool if self.layers.beside else homes.setdefault(disk["base"], self._home(disk["base"], host, pool))
            for layer in self.layers.lacking(disk["base"], host.name, home.storage):
                if home.name not in host.pools:
                    return (), f"it has no usable pool {home.name!r} for the base {disk['base']}; it has: {', '.join(host.pools)}"
                at = self.storages[home.storage]
                copy = self._copy(layer, at, home.storage, host.name)
                if copy is None:
                    return (), f"bring: the base {disk['base']} cannot be brought to it"
                fixed.setdefault(at, 0)
                if copy not in copies.setdefault(at, []):
                    copies[at].append(copy)
        pages = pages_of(group)
        if pages is not None and host.hugepages is not None:
            size = size_of_pages(pages, host.hugepages)
            if size not in host.hugepages:
                return (), f"memory: it has reserved no huge pages{'' if size == 'default' else f' of {size}'}"
            fixed[self.storages[_pages_name(host, size)]] = group["memory_mib"]
        return tuple(self._part(at, fixed[at], thin.get(at, 0), tuple(sorted(copies.get(at, ())))) for at in fixed), ""

    def _home(self, base: str, host: HostFacts, first: Pool) -> Pool:
        """The pool of a host that a base would go to: the one that the manifest names for it, else that of the first disk over it."""
        named = self.base_pools.get(base)
        if named is None:
            return first
        return host.pools.get(named) or first._replace(name=named, storage=f"{host.name}:{named}")

    def _takes_of(self, disk: Mapping[str, t.Any]) -> tuple[int, int]:
        """MiB that a disk takes at once, and those that it may grow by."""
        layers = self.layers.of_base.get(disk["base"] or "", [])
        size = -(-max(disk["size_bytes"] or 0, 0) // MIB)
        virtual = -(-layers[-1].virtual // MIB) if layers else 0
        full = max(size, virtual)
        if disk.get("full"):
            return size or virtual, 0
        if not disk["base"] or disk["differencing"] or disk.get("backend") == "reflink":
            return 0, full
        now = -(-layers[-1].size // MIB) if layers else 0
        return now, max(0, full - now)

    def _copy(self, layer: Layer, at: int, storage: str, host: str) -> int | None:
        key = (layer.id, at)
        if key not in self.copies:
            seconds = self.layers.seconds(layer, storage, host)
            if seconds is None:
                if self.dropped != "bring":
                    return None
                seconds = 0
            base = self.bases.setdefault(layer.id, len(self.bases))
            self.copies[key] = len(self.problem.copies)
            self.problem.copies.append(Copy(base, at, seconds, max(1, layer.size), -(-layer.size // MIB)))
        return self.copies[key]

    def _part(self, storage: int, fixed: int, thin: int, copies: tuple[int, ...]) -> int:
        key = (storage, fixed, thin, copies)
        if key not in self.parts:
            self.parts[key] = len(self.problem.parts)
            self.problem.parts.append(Part(storage, fixed, thin, copies))
        return self.parts[key]
