# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the pools of this host hold, as base_disk_info returns it and planning takes it."""

from __future__ import annotations

import os
import typing as t

from . import filesystem, transfer, users
from .store import Store


def survey(stores: t.Mapping[str, Store], only: t.Sequence[str] = (), verify: bool = False) -> dict[str, t.Any]:
    """{"pools": {name: …}}; nothing is hashed unless ``verify``.

    :param only: digests of the bases to tell of, their own or their sources'; empty for all.
    """
    in_use = users.users_of_bases(stores, users.scan(stores))
    return {"pools": {pool: _pool(store, only, verify, in_use) for pool, store in stores.items()}}


def _pool(
    store: Store, only: t.Sequence[str], verify: bool, in_use: t.Mapping[tuple[str, str], list[str]]
) -> dict[str, t.Any]:
    bases, damaged = [], []
    for sha256 in store.ids():
        base = store.find(sha256)
        if base is None:
            problem = store.problem(sha256)
            if problem and (not only or sha256 in only):
                damaged.append({"sha256": sha256, "path": store.base_directory(sha256), "damage": problem})
            continue
        if only and sha256 not in only and base.metadata["source_sha256"] not in only:
            continue
        damage = transfer.verify(base) if verify else ""
        if damage:
            damaged.append({"sha256": sha256, "path": base.path, "damage": damage})
        bases.append(base.as_dict(in_use.get((store.pool, sha256), ()), damage))
    return {
        "path": store.pool_path,
        "exists": os.path.isdir(store.pool_path),
        "writable": filesystem.is_writable(store.pool_path),
        "filesystem": filesystem.describe(store.pool_path)._asdict(),
        "bases": bases,
        "partials": store.partials(),
        "damaged": damaged,
    }
