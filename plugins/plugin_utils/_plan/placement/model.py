# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What is placed, where it may go, and what bounds it: the problem that all methods of this room work on.

Integers only (MiB, bytes, seconds, percent), so that the same input gives the same answer everywhere. Names are kept for
what is told to the user; all references are positions in the problem's lists.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

# What can stand in the way of a machine, by the name that is told.
LIMITS = ("memory", "cpu", "pool", "labels", "maintenance", "anti_affinity", "spread", "affinity", "bring")


class Host(t.NamedTuple):
    """What a host has to give and what is promised of it. Limits include the over-commitment."""

    name: str
    cpu_limit: int
    cpu_used: int
    memory_limit: int  # MiB
    memory_used: int  # MiB
    level: int = 0  # MiB that it would have in use if every host were used to the same share


class Storage(t.NamedTuple):
    """A pool, one that several hosts share is one storage; or the huge pages of a host."""

    name: str
    hosts: tuple[int, ...]
    free: int  # MiB
    promised: int  # MiB that thin disks there may still grow by
    overcommit: int  # per cent of the free space that may be promised
    pages: str = ""  # of a host's huge pages, which are taken as a pool of their own: their size


class Copy(t.NamedTuple):
    """One layer of a base that one storage lacks; it is brought once for all machines there."""

    base: int
    storage: int
    seconds: int
    size: int  # bytes that cross the network
    mib: int  # what it takes on the storage


class Part(t.NamedTuple):
    """What one machine takes of one storage."""

    storage: int
    fixed: int  # MiB written now
    thin: int  # MiB that its differencing disks may grow by
    copies: tuple[int, ...]  # the layers that the storage lacks before this run


class Option(t.NamedTuple):
    """A host, with a pool for each disk."""

    host: int
    parts: tuple[int, ...]  # positions in Problem.parts
    pools: tuple[str, ...]  # the host's names of the disks' pools, in the disks' order
    second: bool = False  # a pool that disks go to only where the usual one has no room


class Rule(t.NamedTuple):
    """At most ``limit`` of a group of machines in each domain (a host, a site, …)."""

    kind: str  # anti_affinity or spread
    name: str
    limit: int
    domain: tuple[int, ...]  # by host
    there: tuple[int, ...]  # members that exist already, by domain
    by: str  # what a domain is, in the user's words


class Bond(t.NamedTuple):
    """A group of machines that has to stay in one domain."""

    name: str
    domain: tuple[int, ...]  # by host
    there: int  # the domain of members that exist already, or -1
    by: str


@dataclass
class Role:
    """Machines that are alike."""

    name: str
    count: int
    cpus: int
    memory: int  # MiB
    options: list[Option] = field(default_factory=list)  # in the hosts' order
    rules: tuple[int, ...] = ()
    bonds: tuple[int, ...] = ()


@dataclass
class Problem:
    """Everything that a decision depends on."""

    hosts: list[Host]
    storages: list[Storage]
    roles: list[Role]
    bases: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    bonds: list[Bond] = field(default_factory=list)

    @property
    def machines(self) -> list[int]:
        """The role of each machine."""
        return [index for index, role in enumerate(self.roles) for _unused in range(role.count)]


class Vector(t.NamedTuple):
    """How good an assignment is: compared in this order, less is better."""

    unplaced: int
    finish: int  # seconds until the last storage has all that is brought to it
    size: int  # bytes that are brought
    over: int  # MiB above the level line


Assignment = list[int]  # by machine: the option's position in its role's options, or -1
