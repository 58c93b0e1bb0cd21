# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which bases of a store runs are about to read: for a time nothing else may tell of it, since no disk is based on them yet.

    <pool>/bases/.held/<run>.json

A hold lies in the store, so that all hosts of a shared pool see it. It is written under the store's shared lock, by which the
writer also sees that the base is there; who removes bases has that lock alone. It ends when its run gives it back, or after
its time to live by the clock of the storage.
"""

from __future__ import annotations

import os
import time
import typing as t

from .._errors import FleetError
from .._names import check_name, is_name
from . import file_io, layout
from .store import Store

FORMAT = 1
_DIRECTORY = ".held"
_LARGEST = 16 * 1024 * 1024
_SUFFIX = ".json"


class Hold(t.NamedTuple):
    run: str
    bases: tuple[str, ...]


def take(store: Store, run: str, bases: t.Iterable[str], ttl_s: float) -> None:
    """The caller holds the store's ``changing(shared=True)`` and has seen that the bases are there."""
    directory = os.path.join(store.directory, _DIRECTORY)
    layout.refuse_links(store.pool_path, "bases")
    file_io.ensure_directory(directory, 0o700)
    told = {"format": FORMAT, "bases": sorted(bases), "ttl_s": ttl_s}
    file_io.replace_file(os.path.join(directory, check_name("run", run) + _SUFFIX), file_io.json_bytes(told), 0o600)


def add(store: Store, run: str, bases: t.Sequence[str], ttl_s: float) -> None:
    """Hold these besides what the run holds already, under the same condition as ``take``, or before they appear."""
    held = [sha256 for one in standing(store) if one.run == run for sha256 in one.bases]
    take(store, run, {*held, *bases}, ttl_s)


def hold(stores: t.Sequence[Store], run: str, bases: t.Sequence[str], ttl_s: float) -> list[str]:
    """Hold bases in every pool that has them; those that no pool has."""
    missing = set(bases)
    for store in stores:
        there = [sha256 for sha256 in bases if store.find(sha256) is not None]
        if not there:
            continue
        with store.changing(shared=True):
            # Again, as one may have been removed while the lock was waited for.
            there = [sha256 for sha256 in there if store.find(sha256) is not None]
            if there:
                take(store, run, there, ttl_s)
        missing.difference_update(there)
    return sorted(missing)


def release(store: Store, run: str) -> bool:
    """Whether there was one."""
    layout.refuse_links(store.pool_path, "bases", _DIRECTORY)
    return file_io.remove_file(os.path.join(store.directory, _DIRECTORY, check_name("run", run) + _SUFFIX))


def standing(store: Store, sweep: bool = False) -> list[Hold]:
    """The holds that have not ended.

    :param sweep: forget the others.
    :raises FleetError: one cannot be understood, so what it holds is not known. :raises OSError:
    """
    directory = os.path.join(store.directory, _DIRECTORY)
    layout.refuse_links(store.pool_path, "bases", _DIRECTORY)
    try:
        names = sorted(name[: -len(_SUFFIX)] for name in os.listdir(directory) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return []
    now = _storage_time(directory) if names and sweep else time.time()
    found = []
    for run in names:
        path = os.path.join(directory, run + _SUFFIX)
        try:
            told, changed = file_io.read_value(path, _LARGEST), os.lstat(path).st_mtime
        except FileNotFoundError:
            continue  # given back just now
        if not is_name(run):
            raise FleetError(f"{path} is not a hold of a run; remove it.", path=path)
        bases = tuple(one.digest() for one in told["bases"].items(100_000))
        if now - changed <= told["ttl_s"].number():
            found.append(Hold(run, bases))
        elif sweep:
            file_io.remove_file(path)
    return found


def _storage_time(directory: str) -> float:
    """What the storage would stamp a file with now; hosts of a shared pool need not agree about the time."""
    path = os.path.join(directory, f".{file_io.unique()}.tmp")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, b"x")
        os.fsync(descriptor)
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        file_io.remove_file(path)
