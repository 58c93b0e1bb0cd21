# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What each host has to give: limits with their over-commitment, what is promised already, and its pools.

What a host does not tell is no limit: its ratings say so.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..json_data import number
from .observed import Observed, answers
from .storage import storage_of

UNLIMITED = 1 << 40
MIB = 1 << 20

# How much more than there is may be promised, unless the host's variables say otherwise. Memory that runs out stops machines,
# processors only slow them down; thin disks seldom grow to their full size together.
OVERCOMMIT = {"cpus": 16.0, "memory": 1.0, "pools": 4.0}


class Pool(t.NamedTuple):
    """One pool as a host sees it. Two hosts' pools of the same ``storage`` are one."""

    name: str
    storage: str
    free: int  # MiB
    promised: int  # MiB
    overcommit: int  # per cent
    labels: frozenset[str]
    held: frozenset[str]  # digests
    closed: bool = False  # the user that QEMU runs as cannot enter it


@dataclass
class HostFacts:
    """One host."""

    name: str
    why_not: str  # why it takes no new machine at all; empty if it does
    maintenance: bool
    site: str
    labels: frozenset[str]
    cpus: int
    cpu_limit: int
    cpu_used: int
    memory: int  # MiB
    memory_limit: int
    memory_used: int
    load: float  # of the last minute, by processor
    pools: dict[str, Pool] = field(default_factory=dict)
    hugepages: Mapping[str, int] | None = None  # MiB that are left, by the size of the page; None where it does not tell
    members: Mapping[str, int] = field(default_factory=dict)  # machines of others that count for a named set


def label_texts(labels: Iterable[object] | None) -> frozenset[str]:
    """Labels as texts: a mapping's as ``key=value``."""
    if isinstance(labels, Mapping):
        return frozenset(f"{key}={value}" for key, value in labels.items())
    return frozenset(str(label) for label in ([labels] if isinstance(labels, str) else labels or ()))


def inventory_facts(settings: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What is said of a host rather than seen of it: the part of its facts that the variables of the inventory give."""
    return {
        "site": settings["site"],
        "labels": settings["labels"],
        "maintenance": settings["maintenance"],
        "overcommit": {
            "cpus": settings["cpu_overcommit"],
            "memory": settings["memory_overcommit"],
            "pools": settings["pool_overcommit"],
        },
        "pool_labels": settings["pool_labels"],
        **({"machine_xml": True} if settings.get("machine_xml") else {}),
        **({"grants": settings["grants"]} if settings.get("grants") is not None else {}),
    }


def memory_of(name: str, facts: Mapping[str, t.Any], overcommit: float | None = None) -> tuple[int, int]:
    """MiB that machines of a host may be promised together, and what machines and claims have of it.

    :param overcommit: where the host does not say otherwise.
    """
    memory = _whole(f"hosts[{name}].capacity.memory_mib", (facts.get("capacity") or {}).get("memory_mib"))
    limit = int(memory * _ratio(name, facts, "memory", overcommit) + 1e-9) if memory else UNLIMITED
    taken = [*(facts.get("domains") or []), *(facts.get("claims") or [])]
    return limit, sum(_whole(f"hosts[{name}].domains.memory_mib", item.get("memory_mib")) for item in taken)


def pages_of(group: Mapping[str, t.Any]) -> str | None:
    """The size of the huge pages that machines of a group have their memory in."""
    return ((group.get("hardware") or {}).get("memory") or {}).get("hugepages")


def size_of_pages(wanted: str, reserved: Mapping[str, int]) -> str:
    """The size that is wanted. A host does not tell its default size, so ``default`` is the one of which it has most."""
    return max(reserved, key=lambda size: reserved[size], default=wanted) if wanted == "default" else wanted


def hugepages_of(facts: Mapping[str, t.Any]) -> dict[str, int] | None:
    """MiB of huge pages that no machine, running or not, and no claim has, by the size of the page; None where the host does not tell."""
    reserved = (facts.get("offers") or {}).get("hugepages_mib")
    if reserved is None:
        return None
    left = dict(reserved)
    for domain in facts.get("domains") or []:
        if domain.get("hugepages"):
            size = size_of_pages(str(domain["hugepages"]), reserved)
            left[size] = left.get(size, 0) - _whole("domains.memory_mib", domain.get("memory_mib"))
    for claim in facts.get("claims") or []:
        for wanted, mib in (claim.get("hugepages_mib") or {}).items():
            size = size_of_pages(wanted, reserved)
            left[size] = left.get(size, 0) - _whole("claims.hugepages_mib", mib)
    return {size: max(0, mib) for size, mib in left.items()}


def read_fleet(hosts: Observed, memory_overcommit: float | None = None) -> list[HostFacts]:
    """The hosts in the inventory's order.

    :param memory_overcommit: for hosts that do not say otherwise.
    """
    fleet = [_host(name, facts, memory_overcommit) for name, facts in hosts.items()]
    _count_claims(fleet, hosts)
    return fleet


def _count_claims(fleet: Sequence[HostFacts], hosts: Observed) -> None:
    """Takes what other runs are about to use from each storage: whichever of its hosts they have claimed it on."""
    taken: dict[str, list[int]] = {}
    for host in fleet:
        place = f"hosts[{host.name}].claims.pools"
        for claim in hosts[host.name].get("claims") or []:
            for name, amounts in (claim.get("pools") or {}).items():
                if name in host.pools:
                    sums = taken.setdefault(host.pools[name].storage, [0, 0])
                    sums[0] += _whole(f"{place}.bytes", amounts.get("bytes"))
                    sums[1] += _whole(f"{place}.growth_bytes", amounts.get("growth_bytes"))
    for host in fleet if taken else ():
        for name, pool in host.pools.items():
            written, growth = taken.get(pool.storage, (0, 0))
            free = pool.free if pool.free == UNLIMITED else max(0, pool.free + -written // MIB)
            host.pools[name] = pool._replace(free=free, promised=pool.promised - -growth // MIB)


def _whole(place: str, value: object) -> int:
    """A whole number; 0 where nothing is told."""
    return int(number(place, value or 0))


def _ratio(name: str, facts: Mapping[str, t.Any], what: str, default: float | None = None) -> float:
    given = (facts.get("overcommit") or {}).get(what)
    if given is None:
        return OVERCOMMIT[what] if default is None else default
    return number(f"hosts[{name}].overcommit.{what}", given, zero=False)


def _host(name: str, facts: Mapping[str, t.Any], memory_overcommit: float | None) -> HostFacts:
    capacity = facts.get("capacity") or {}
    taken = [*(facts.get("domains") or []), *(facts.get("claims") or [])]
    cpus, memory = (_whole(f"hosts[{name}].capacity.{key}", capacity.get(key)) for key in ("cpus", "memory_mib"))
    memory_limit, memory_used = memory_of(name, facts, memory_overcommit)
    host = HostFacts(
        name=name,
        why_not="" if answers(facts) else str(facts.get("msg") or facts.get("reason") or "it cannot be asked"),
        maintenance=bool(facts.get("maintenance")),
        site=str(facts.get("site") or ""),
        labels=label_texts(facts.get("labels")),
        cpus=cpus or 0,
        cpu_limit=int(cpus * _ratio(name, facts, "cpus") + 1e-9) if cpus else UNLIMITED,
        cpu_used=sum(_whole(f"hosts[{name}].domains.cpus", item.get("cpus")) for item in taken),
        memory=memory or 0,
        memory_limit=memory_limit,
        memory_used=memory_used,
        load=number(f"hosts[{name}].capacity.load_1m", capacity.get("load_1m") or 0) / (cpus or 1),
        hugepages=hugepages_of(facts),
        members=facts.get("members") or {},
    )
    known = {**dict.fromkeys(capacity.get("pools") or {}), **dict.fromkeys(facts.get("pools") or {})}
    for pool in known:
        found = _pool(name, pool, facts)
        if found is not None:
            host.pools[pool] = found
    return host


def usable_bytes(space: Mapping[str, t.Any]) -> int | None:
    """What is free in a pool beyond the reserve; None where that is not told.

    :param space: of ``capacity.pools``.
    """
    free = space.get("free_bytes")
    return None if free is None else max(0, free - (space.get("reserve_bytes") or 0))


def _pool(host: str, pool: str, facts: Mapping[str, t.Any]) -> Pool | None:
    """A pool; None where it is known not to be usable."""
    space = ((facts.get("capacity") or {}).get("pools") or {}).get(pool) or {}
    content = (facts.get("pools") or {}).get(pool) or {}
    if space.get("exists") is False or space.get("writable") is False:
        return None
    place = f"hosts[{host}].capacity.pools[{pool}]"
    free = None if space.get("free_bytes") is None else _whole(f"{place}.free_bytes", usable_bytes(space))
    ratios = (facts.get("overcommit") or {}).get("pools")
    given = ratios.get(pool) if isinstance(ratios, Mapping) else ratios
    percent = OVERCOMMIT["pools"] if given is None else number(f"hosts[{host}].overcommit.pools", given, zero=False)
    return Pool(
        name=pool,
        storage=storage_of(host, pool, content),
        free=UNLIMITED if free is None else free // MIB,
        promised=-(-_whole(f"{place}.promised_bytes", space.get("promised_bytes")) // MIB),
        overcommit=round(percent * 100),
        labels=label_texts((facts.get("pool_labels") or {}).get(pool)),
        held=frozenset(held["sha256"] for held in content.get("bases") or [] if held.get("sha256")),
        closed=bool(space.get("qemu_problem")),
    )


def claimed_text(facts: Mapping[str, t.Any]) -> str:
    """What others have claimed on a host, as the end of a sentence; empty where nothing is."""
    claims = facts.get("claims") or []
    if not claims:
        return ""
    cpus, memory = (sum(claim.get(key) or 0 for claim in claims) for key in ("cpus", "memory_mib"))
    pools = [amounts for claim in claims for amounts in (claim.get("pools") or {}).values()]
    space = sum((amounts.get("bytes") or 0) + (amounts.get("growth_bytes") or 0) for amounts in pools)
    which = "another deployment" if len(claims) == 1 else f"{len(claims)} other deployments"
    has = "has" if len(claims) == 1 else "have"
    return f"{which} {has} claimed {cpus} virtual processor{'s' if cpus != 1 else ''}, {memory} MiB and {space / 1024**3:.1f} GiB of pools"
