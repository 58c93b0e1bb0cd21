# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""One host's part of a deployment: from a module's options to what the steps take, all checked before anything is changed."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._disk.disk_decisions import Wish as DiskWish
from .._disk.disk_options import checked_disk
from .._disk.ownership import Wish as ReferenceWish
from .._disk.reference_options import checked_reference
from .._errors import InvalidOption
from .._machine.owner import Owner
from .._machine.seed import SeedWish
from .._machine.seed_options import checked_seeds
from .._machine.template import unpacked_variables
from .._machine.wishes import checked_directories
from .._module import pool_path
from .._names import check_name, check_sha256
from .turns import Wishes, checked_turns


class Copy(t.NamedTuple):
    """A base that is to be copied into a further pool of the host."""

    pool: str
    sha256: str


@dataclass(frozen=True)
class MachineWork:
    """One machine and all that it needs.

    :param options: as the module machine takes them, without disks and seed.
    :param variables: of its firmware, where it has none yet: the firmware's name and what its file has.
    """

    owner: Owner
    directory: str
    options: t.Mapping[str, t.Any]
    disks: tuple[DiskWish, ...] = ()
    seed: SeedWish | None = None
    variables: tuple[str, bytes] | None = None

    @property
    def role(self) -> str:
        return str(self.options.get("group") or "")

    @property
    def health(self) -> t.Mapping[str, t.Any] | None:
        """What is checked once it has come up, as ``health_argument`` has it."""
        return self.options.get("health")

    @property
    def name(self) -> str:
        return self.owner.machine

    @property
    def bases(self) -> set[str]:
        return {disk.base for disk in self.disks if disk.base is not None}

    @property
    def copies(self) -> bool:
        """Whether some of its disks take as long as copying a base does."""
        return any(disk.base is not None and not disk.differencing for disk in self.disks)

    def needs(self, copies: t.Collection[Copy]) -> list[Copy]:
        """Copies without which its disks cannot be made."""
        own = {Copy(str(disk.pool), disk.base) for disk in self.disks if disk.base is not None and disk.base_pool is None}
        return [copy for copy in copies if copy in own]


@dataclass(frozen=True)
class HostWork:
    """Everything that one host has to do for one service."""

    tenant: str
    service: str
    pools: t.Mapping[str, str]
    machines: tuple[MachineWork, ...] = ()
    copies: tuple[Copy, ...] = ()
    references: tuple[ReferenceWish, ...] = ()
    record: t.Mapping[str, t.Any] | None = None
    turns: Wishes = field(default_factory=Wishes)

    @property
    def bases(self) -> list[str]:
        """Digests that have to be on this host, each once, in the order in which they are needed."""
        wanted = [sha256 for machine in self.machines for sha256 in sorted(machine.bases)]
        return list(dict.fromkeys([*wanted, *(copy.sha256 for copy in self.copies)]))


class Secrets(t.NamedTuple):
    """Options that are declared no_log."""

    seeds: t.Sequence[t.Mapping[str, t.Any]]
    record: t.Mapping[str, t.Any] | None


def checked_work(params: t.Mapping[str, t.Any], pools: t.Mapping[str, str], secrets: Secrets) -> HostWork:
    """:raises InvalidOption: the first thing that cannot be meant."""
    tenant, service = check_name("tenant", params["tenant"]), check_name("service", params["service"])
    directories = checked_directories(params["machines"], tenant, service, pools)
    disks = _by_machine("disks", [checked_disk(entry, pools) for entry in params["disks"]], params["machines"])
    seeds = {wish.owner.machine: wish for wish in checked_seeds(secrets.seeds, tenant, service, pools)}
    _refuse_strangers("seeds", seeds, params["machines"])
    for name, wish in seeds.items():
        directory = next(path for owner, path in directories.items() if owner.machine == name)
        if wish.owner.directory(wish.pool_path) != directory:
            raise InvalidOption("seeds", name, "a seed lies in the pool of its machine")
    variables = _variables(params.get("variables") or (), params["machines"])
    machines = tuple(
        MachineWork(owner, directory, options, tuple(disks.get(owner.machine, ())), seeds.get(owner.machine), variables.get(owner.machine))
        for options, (owner, directory) in zip(params["machines"], directories.items())
    )
    copies = [
        Copy(_pool(pools, entry["pool"]), check_sha256("clones[].bases", sha256)) for entry in params["clones"] for sha256 in entry["bases"]
    ]
    references = tuple(_reference(entry, pools) for entry in params["references"])
    turns = checked_turns(params.get("turns"), params["machines"])
    return HostWork(tenant, service, pools, machines, tuple(dict.fromkeys(copies)), references, secrets.record, turns)


def _variables(given: t.Sequence[t.Mapping[str, t.Any]], machines: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, tuple[str, bytes]]:
    """Firmware variables by new machine; 64 MiB on aarch64, so machines share them."""
    of_group: dict[str, tuple[str, bytes]] = {}
    for one in given:
        unpacked = (one["firmware"], unpacked_variables(one["content"]))
        for group in one["groups"]:
            if group in of_group:
                raise InvalidOption("variables[].groups", group, "a group has the variables of one template")
            of_group[group] = unpacked
    return {one["machine"]: of_group[str(one.get("group"))] for one in machines if one.get("new") and str(one.get("group")) in of_group}


def _pool(pools: t.Mapping[str, str], name: str) -> str:
    pool_path(pools, name, "clones[].pool")
    return name


def _reference(entry: t.Mapping[str, t.Any], pools: t.Mapping[str, str]) -> ReferenceWish:
    wish = checked_reference(entry, pools)
    if wish.sha256 is None or wish.pool is None:
        raise InvalidOption("references", dict(entry), "each needs sha256 and pool")
    return wish


def _by_machine(option: str, wishes: t.Sequence[DiskWish], machines: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, list[DiskWish]]:
    found: dict[str, list[DiskWish]] = {}
    for wish in wishes:
        found.setdefault(wish.machine, []).append(wish)
    _refuse_strangers(option, found, machines)
    return found


def _refuse_strangers(option: str, names: t.Iterable[str], machines: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    known = {machine["machine"] for machine in machines}
    for name in names:
        if name not in known:
            raise InvalidOption(f"{option}[].machine", name, "it has to be one of the option machines")
