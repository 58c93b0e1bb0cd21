# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Removing a base disk: only when nothing needs it."""

from __future__ import annotations

import typing as t

from . import disk_records, in_use, users
from .errors import BaseInUse
from .store import Store


def needed_by(
    stores: t.Mapping[str, Store], pool: str, sha256: str, going: t.Collection[str] = (), tenant: str | None = None
) -> dict[str, list[str]]:
    """Who needs the base, as lists by what they are; empty when nobody does.

    :param going: digests of bases that are removed along with it, and do not count as its children.
    :param tenant: to whom it is told: of others only how many references and disks there are. None for all.
    """
    store = stores[pool]
    disks = users.users_of_bases(stores, users.scan(stores)).get((pool, sha256), [])
    held = [one for one in disk_records.in_force(store, sha256) if one.kind != "disk" or disk_records.title(one) not in disks]
    own = [one for one in held if tenant in (None, one.tenant)]
    mine = users.of_tenant(disks, tenant)
    children = [child for child in store.children(sha256) if child not in going]
    shown = [child for child in children if not store.is_foreign(child, tenant)]
    foreign = len(disks) - len(mine) + len(children) - len(shown) + sum(one.kind != "pin" and one not in own for one in held)
    reasons = {
        "differencing disks": [*sorted(mine), *(disk_records.title(one) for one in own if one.kind == "disk")],
        "base disks based on it": shown,
        "names": [f"{one.name} {one.version} of tenant {one.tenant}" for one in own if one.kind == "name"],
        "tenants": [one.tenant for one in own if one.kind == "tenant"],
        "pins": [one.name for one in held if one.kind == "pin"],
        "other tenants": [f"{foreign} references and disks"] if foreign else [],
    }
    return {what: names for what, names in reasons.items() if names}


def remove_bases(
    stores: t.Mapping[str, Store], pool: str, bases: t.Sequence[str], check_mode: bool, tenant: str | None = None
) -> list[str]:
    """Remove all of these bases, or none; those that were there, children before their parents.

    :raises BaseInUse: something else needs one of them; names what.
    """
    store = stores[pool]
    if not _there(store, bases):
        return []
    if check_mode:
        return _checked(stores, pool, bases, tenant)
    with store.changing() as held:
        going = _checked(stores, pool, bases, tenant)
        store.sweep()
        for sha256 in going:
            held.check()
            store.remove(sha256)
    return going


def _there(store: Store, bases: t.Sequence[str]) -> list[str]:
    ids = store.ids()
    return [sha256 for sha256 in bases if sha256 in ids]


def _checked(stores: t.Mapping[str, Store], pool: str, bases: t.Sequence[str], tenant: str | None) -> list[str]:
    store = stores[pool]
    there = _there(store, bases)
    for sha256 in there:
        reasons = needed_by(stores, pool, sha256, there, tenant)
        if reasons:
            raise BaseInUse(sha256, pool, reasons)
        in_use.refuse_entry(store.base_directory(sha256), "removed")
    depth = {}
    for sha256 in there:
        base = store.find(sha256)
        depth[sha256] = len(base.chain) if base is not None else 0
    return sorted(there, key=lambda sha256: -depth[sha256])
