# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the pools of this host hold, as base_disk_info returns it and planning takes it."""

from __future__ import annotations

import os
import typing as t

from .._errors import FleetError
from .._text import clean
from . import disk_records, filesystem, import_record, transfer, users
from .base import Base
from .glance import Glance
from .listing import listable, listing_problem
from .store import Store


def survey(
    stores: t.Mapping[str, Store],
    only: t.Sequence[str] = (),
    verify: bool = False,
    tenant: str | None = None,
    remember: bool = False,
) -> dict[str, t.Any]:
    """{"pools": {name: …}}; nothing is hashed unless ``verify``. A pool that cannot be listed is told of as such.

    :param only: digests of the bases to tell of, their own or their sources'; empty for all.
    :param tenant: tell only of this tenant's names, references and disks. Bases that only other tenants need are told of if
        they are among ``only``, or parents of its own; transfers if they are known to be the tenant's.
    :param remember: with ``verify``: note in the stores which bases are right.
    """
    listed = listable(stores)
    in_use = users.users_of_bases(listed, users.scan(listed))
    return {
        "pools": {
            pool: pool_contents(store, only, verify, in_use, tenant, remember) if pool in listed else _unknown(store)
            for pool, store in stores.items()
        }
    }


def _unknown(store: Store) -> dict[str, t.Any]:
    return {
        "path": store.pool_path,
        "exists": True,
        "writable": False,
        "known": False,
        "reason": listing_problem(store),
        "filesystem": None,
        "bases": [],
        "partials": [],
        "damaged": [],
    }


def tell(stores: t.Mapping[str, Store], bases: t.Sequence[Base], tenant: str) -> list[dict[str, t.Any]]:
    """Bases as a module returns them to a tenant."""
    in_use = users.users_of_bases(stores, users.scan(stores))
    return [_told(base, in_use, "", tenant) for base in bases]


def _told(base: Base, in_use: t.Mapping[tuple[str, str], list[str]], damage: str, tenant: str | None) -> dict[str, t.Any]:
    paths = users.of_tenant(in_use.get((base.pool, base.sha256), ()), tenant)
    elsewhere = (disk_records.title(one) for one in base.references if one.kind == "disk" and tenant in (None, one.tenant))
    return base.as_dict(sorted({*paths, *elsewhere}), damage, tenant)


class _Secrets:
    """What a pool keeps from a tenant: bases that only others need, and transfers that are not known to be its own.

    A base that nobody needs is nobody's secret; the parents of what the tenant is told of are told of as well.
    """

    def __init__(self, store: Store, tenant: str | None, named: t.Collection[str]) -> None:
        self._store = store
        self._tenant = tenant
        self._named = named
        self._parents: set[str] = set()
        if tenant is not None:
            for sha256 in store.ids():
                if not self._is_kept(sha256):
                    self._parents.update(self._chain(sha256))

    def has(self, sha256: str) -> bool:
        return self._tenant is not None and sha256 not in self._parents and self._is_kept(sha256)

    def has_partial(self, sha256: str) -> bool:
        """References may come after the transfer, so one without any may be anybody's."""
        if self._tenant is None or sha256 in self._named or sha256 in self._parents:
            return False
        return all(one.tenant != self._tenant for one in self._store.references(sha256))

    def _is_kept(self, sha256: str) -> bool:
        if sha256 in self._named or not self._store.is_foreign(sha256, self._tenant):
            return False
        base = self._base(sha256)
        return base is None or base.metadata["source_sha256"] not in self._named

    def _chain(self, sha256: str) -> t.Sequence[str]:
        base = self._base(sha256)
        return () if base is None else base.chain

    def _base(self, sha256: str) -> Base | None:
        try:
            return self._store.find(sha256)
        except (OSError, FleetError):
            return None


def _descendants(sha256: str, families: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Digests of its children, and of theirs."""
    found: list[str] = []
    waiting = [sha256]
    while waiting:
        new = [child for child in families.get(waiting.pop(), ()) if child not in found]
        found += new
        waiting += new
    return found


def _own_damage(store: Store, sha256: str, problem: str, parent: str, remember: bool) -> tuple[str, str | None]:
    """Whether the base itself is damaged besides a parent of it; what is told of it then."""
    base = store.find(sha256, changed=True, alone=True)
    damage = transfer.verify(base, store if remember else None) if base is not None else ""
    return (damage, None) if damage else (problem, parent)


def pool_contents(
    store: Store,
    only: t.Sequence[str],
    verify: bool,
    in_use: t.Mapping[tuple[str, str], list[str]],
    tenant: str | None,
    remember: bool = False,
    wanted: t.Sequence[str] = (),
) -> dict[str, t.Any]:
    """
    :param wanted: digests that the tenant names itself: such bases are reported whichever tenant needs them.
    """
    if not verify:  # to hash takes long enough for others to change something
        store = Glance(store)
    bases, damaged = [], []
    families: dict[str, list[str]] | None = None  # read once, and only where something is damaged
    secrets = _Secrets(store, tenant, {*only, *wanted})
    sources = import_record.sources_of(store)
    for sha256 in store.ids():
        if secrets.has(sha256):
            continue
        base, place, parent = None, store.base_directory(sha256), None
        try:
            base = store.find(sha256, changed=verify)
            problem, parent = store.trouble(sha256, changed=verify) if base is None else ("", None)
            if verify and parent is not None:
                problem, parent = _own_damage(store, sha256, problem, parent, remember)
            if base is not None and (not only or {sha256, base.metadata["source_sha256"]} & set(only)):
                damage = transfer.verify(base, store if remember else None) if verify else ""
                further = [] if base.is_foreign(tenant) else sources.get(sha256, [])
                bases.append({**_told(base, in_use, damage, tenant), "sources": further})
                place, problem = base.path, damage
        except FileNotFoundError:
            continue  # removed at this moment
        except (OSError, FleetError) as error:
            problem = f"it cannot be read: {clean(error, 300)}"
        if problem and (base is not None or not only or sha256 in only):
            families = store.families() if families is None else families
            based = [path for one in (sha256, *_descendants(sha256, families)) for path in in_use.get((store.pool, one), ())]
            needed = sorted(users.of_tenant(based, tenant))
            damaged.append({"sha256": sha256, "path": place, "damage": problem, "parent": parent, "users": needed})
    return {
        "path": store.pool_path,
        "exists": os.path.isdir(store.pool_path),
        "writable": filesystem.is_writable(store.pool_path),
        "known": True,
        "reason": None,
        "filesystem": filesystem.describe(store.pool_path)._asdict(),
        "bases": bases,
        "partials": [partial for partial in store.partials() if not secrets.has_partial(partial["sha256"])],
        "damaged": damaged,
    }
