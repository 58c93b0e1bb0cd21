# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Removing a base disk: only when nothing needs it."""

from __future__ import annotations

import typing as t

from . import users
from .errors import BaseInUse
from .store import Store


def needed_by(stores: t.Mapping[str, Store], pool: str, sha256: str) -> dict[str, list[str]]:
    """Who needs the base: {"differencing disks", "base disks", "names", "tenants", "pins": [...]}, empty when nobody."""
    store = stores[pool]
    held = store.references(sha256)
    reasons = {
        "differencing disks": sorted(users.users_of_bases(stores, users.scan(stores)).get((pool, sha256), [])),
        "base disks based on it": store.children(sha256),
        "names": [f"{item.name} {item.version} of tenant {item.tenant}" for item in held if item.kind == "name"],
        "tenants": [item.tenant for item in held if item.kind == "tenant"],
        "pins": [item.name for item in held if item.kind == "pin"],
    }
    return {what: names for what, names in reasons.items() if names}


def remove_base(stores: t.Mapping[str, Store], pool: str, sha256: str, check_mode: bool) -> bool:
    """True when the base was there and has been, or would be, removed.

    :raises BaseInUse: something needs it; names what.
    """
    store = stores[pool]
    if check_mode:
        if not _is_there(store, sha256):
            return False
        _refuse_if_needed(stores, pool, sha256)
        return True
    if not _is_there(store, sha256):
        return False
    with store.changing():
        if not _is_there(store, sha256):
            return False
        _refuse_if_needed(stores, pool, sha256)
        store.sweep()
        store.remove(sha256)
    return True


def _is_there(store: Store, sha256: str) -> bool:
    return sha256 in store.ids()


def _refuse_if_needed(stores: t.Mapping[str, Store], pool: str, sha256: str) -> None:
    reasons = needed_by(stores, pool, sha256)
    if reasons:
        raise BaseInUse(sha256, pool, reasons)
