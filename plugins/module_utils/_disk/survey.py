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
from . import filesystem, import_record, transfer, users
from .listing import listable, listing_problem
from .store import Base, Store


def survey(
    stores: t.Mapping[str, Store],
    only: t.Sequence[str] = (),
    verify: bool = False,
    tenant: str | None = None,
    remember: bool = False,
) -> dict[str, t.Any]:
    """{"pools": {name: …}}; nothing is hashed unless ``verify``. A pool that cannot be listed is told of as such.

    :param only: digests of the bases to tell of, their own or their sources'; empty for all.
    :param tenant: tell only of this tenant's names, references and disks.
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
    return base.as_dict(users.of_tenant(in_use.get((base.pool, base.sha256), ()), tenant), damage, tenant)


def pool_contents(
    store: Store,
    only: t.Sequence[str],
    verify: bool,
    in_use: t.Mapping[tuple[str, str], list[str]],
    tenant: str | None,
    remember: bool = False,
) -> dict[str, t.Any]:
    bases, damaged = [], []
    sources = import_record.sources_of(store)
    for sha256 in store.ids():
        base, place = None, store.base_directory(sha256)
        try:
            base = store.find(sha256, changed=verify)
            problem = store.problem(sha256) if base is None else ""
            if base is not None and (not only or {sha256, base.metadata["source_sha256"]} & set(only)):
                damage = transfer.verify(base, store if remember else None) if verify else ""
                bases.append({**_told(base, in_use, damage, tenant), "sources": sources.get(sha256, [])})
                place, problem = base.path, damage
        except FileNotFoundError:
            continue  # removed at this moment
        except (OSError, FleetError) as error:
            problem = f"it cannot be read: {clean(error, 300)}"
        if problem and (base is not None or not only or sha256 in only):
            damaged.append({"sha256": sha256, "path": place, "damage": problem})
    return {
        "path": store.pool_path,
        "exists": os.path.isdir(store.pool_path),
        "writable": filesystem.is_writable(store.pool_path),
        "known": True,
        "reason": None,
        "filesystem": filesystem.describe(store.pool_path)._asdict(),
        "bases": bases,
        "partials": store.partials(),
        "damaged": damaged,
    }
