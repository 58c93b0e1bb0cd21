# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Which pools of which hosts are one storage. Relay, placement and claims all ask ``storage_of``.

What hosts tell of a file system are hints: they say which pools are worth a probe. Only marks that hosts have seen of each other
prove anything. Where nothing is proved, each pool is a storage of its own: that costs a copy, and never a disk.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from .observed import Observed

MIB = 1 << 20
# Clients of a file server may round its size to their own blocks.
NEAR_BYTES = 8 * MIB

Pool = tuple[str, str]  # host, name
Told = Mapping[str, t.Any]  # of a host or a pool, see observed
Probes = Mapping[str, Mapping[str, t.Any]]


def likely_storage_of(host: str, pool: str, content: Told) -> str:
    """The same without a proof, where a wrong guess costs nothing: two file systems may look equal."""
    return str(content.get("storage") or (content.get("filesystem") or {}).get("identity") or f"{host}:{pool}")


class _Seen(t.NamedTuple):
    """What a host tells of the file system of one pool."""

    pool: Pool
    identity: str
    networked: bool
    total_bytes: int


def storage_of(host: str, pool: str, content: Told) -> str:
    """What the pools of several hosts have in common if they are one storage; else the pool's own name."""
    return str(content.get("storage") or f"{host}:{pool}")


def storage_candidates(hosts: Observed) -> dict[str, dict[str, int]]:
    """``{host: {pool: how many pools, itself included, may be the same}}`` for pools that may be another host's too.

    Two pools may be one if one kernel calls them the same directory, or if one of them lies on a file system that other hosts can
    mount, and both are equally large.
    """
    seen = list(_seen(hosts))
    groups = _Groups(one.pool for one in seen)
    first: dict[str, Pool] = {}
    for one in seen:
        groups.join(one.pool, first.setdefault(one.identity, one.pool))
    sized = sorted((one for one in seen if one.total_bytes), key=lambda one: one.total_bytes)
    for cluster in _clusters(sized):
        networked = next((one for one in cluster if one.networked), None)
        for one in cluster if networked else ():
            groups.join(one.pool, t.cast(_Seen, networked).pool)
    found: dict[str, dict[str, int]] = {}
    for members in groups.all():
        if len({host for host, _pool in members}) > 1:
            for host, pool in members:
                found.setdefault(host, {})[pool] = len(members)
    return found


def shared_storage(hosts: Observed, probes: Probes) -> dict[str, dict[str, t.Any]]:
    """The hosts, with ``storage`` in each pool that is proved to be another host's too: the name of the first of them.

    :param probes: by host: ``marks``, the mark that the host left in each pool, and ``seen``, all that it found there.
    """
    marks = {
        (host, pool): nonce
        for host, facts in hosts.items()
        for pool, nonce in _mapping(_mapping(probes.get(host)).get("marks")).items()
        if isinstance(nonce, str) and pool in (facts.get("pools") or {})
    }
    saw = {pool: _texts(_mapping(_mapping(probes[pool[0]]).get("seen")).get(pool[1])) for pool in marks}
    left_by: dict[str, list[Pool]] = {}
    for pool, nonce in marks.items():
        left_by.setdefault(nonce, []).append(pool)
    groups = _Groups(marks)
    for pool, nonces in saw.items():
        for nonce in nonces:
            # A mark that two hosts say they have left is nobody's: one of them only repeats what it has seen.
            for other in left_by[nonce] if len(left_by.get(nonce, ())) == 1 else ():
                if marks[pool] in saw[other] and len(left_by[marks[pool]]) == 1:
                    groups.join(pool, other)
    names = {pool: ":".join(members[0]) for members in groups.all() if len(members) > 1 for pool in members}
    return {host: _named(host, facts, names) for host, facts in hosts.items()}


def _mapping(value: object) -> Mapping[str, t.Any]:
    """What a host tells, as far as it is what is asked for: its root may tell anything."""
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> set[str]:
    return {one for one in value if isinstance(one, str)} if isinstance(value, (list, tuple)) else set()


def _named(host: str, facts: Told, names: Mapping[Pool, str]) -> dict[str, t.Any]:
    """A host's own word on its storage does not count, as it may say anything."""
    pools = facts.get("pools") or {}
    told = {
        pool: {**{key: value for key, value in content.items() if key != "storage"}, **_storage(names.get((host, pool)))}
        for pool, content in pools.items()
    }
    return {**facts, "pools": told} if pools else dict(facts)


def _storage(name: str | None) -> dict[str, str]:
    return {} if name is None else {"storage": name}


def _seen(hosts: Observed) -> Iterator[_Seen]:
    for host, facts in hosts.items():
        space = (facts.get("capacity") or {}).get("pools") or {}
        for pool, content in (facts.get("pools") or {}).items():
            told = content.get("filesystem") or {}
            if facts.get("reachable") and told.get("identity"):
                size = int((space.get(pool) or {}).get("total_bytes") or 0)
                yield _Seen((host, pool), str(told["identity"]), bool(told.get("shared")), size)


def _clusters(seen: Sequence[_Seen]) -> Iterator[list[_Seen]]:
    """Runs of nearly equal sizes, of sorted ones."""
    cluster: list[_Seen] = []
    for one in seen:
        if cluster and one.total_bytes - cluster[-1].total_bytes > NEAR_BYTES:
            yield cluster
            cluster = []
        cluster.append(one)
    if cluster:
        yield cluster


class _Groups:
    """Sets of pools that are joined step by step, in the order of the inventory."""

    def __init__(self, pools: t.Iterable[Pool]) -> None:
        self._above = {pool: pool for pool in pools}
        self._order = {pool: place for place, pool in enumerate(self._above)}

    def join(self, one: Pool, other: Pool) -> None:
        first, second = sorted((self._top(one), self._top(other)), key=self._order.__getitem__)
        self._above[second] = first

    def _top(self, pool: Pool) -> Pool:
        while self._above[pool] != pool:
            self._above[pool] = pool = self._above[self._above[pool]]
        return pool

    def all(self) -> list[list[Pool]]:
        found: dict[Pool, list[Pool]] = {}
        for pool in self._above:
            found.setdefault(self._top(pool), []).append(pool)
        return list(found.values())
