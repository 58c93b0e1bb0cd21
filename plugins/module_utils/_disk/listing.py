# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.


"""Whether a pool can be listed: one whose server is gone, or whose disk has failed, is neither empty nor absent."""

from __future__ import annotations

import os
import typing as t

from .store import Store

_FOLDERS = ("", "bases", "machines")


def listing_problem(store: Store) -> str:
    """Why what the pool holds cannot be known; empty where it can, and where there is no pool."""
    for folder in _FOLDERS:
        path = os.path.join(store.pool_path, folder).rstrip("/")
        try:
            with os.scandir(path) as entries:
                next(entries, None)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"The pool {store.pool or store.pool_path} cannot be listed: {path}: {error.strerror}."
    return ""


def listable(stores: t.Mapping[str, Store]) -> dict[str, Store]:
    return {pool: store for pool, store in stores.items() if not listing_problem(store)}
