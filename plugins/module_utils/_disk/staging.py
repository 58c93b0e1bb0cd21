# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A place in the pool for files on their way into the store: one writer, gone when it ends, however it ends."""

from __future__ import annotations

import hashlib
import os
import time
import typing as t

from . import file_io, file_trees, lock
from .errors import LockLost, StoreBusy
from .lock import Lock
from .store import Store

_PREFIX = ".import-"
_DOOMED = ".discarded-"


class Staging:
    """``<pool>/bases/.partial/.import-<key>/`` under its lock; use it as a context.

    :param key: what is being brought in: runs with equal keys wait for each other.
    """

    def __init__(self, store: Store, key: str, subject: str, wait_s: float) -> None:
        store.prepare()
        self._parent = os.path.join(store.directory, ".partial")
        self._subject = subject
        name = _PREFIX + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self.directory = os.path.join(self._parent, name)
        self._wait_s = wait_s

    def __enter__(self) -> Staging:
        _sweep(self._parent)
        deadline = time.monotonic() + self._wait_s
        while True:
            file_io.ensure_directory(self.directory, 0o700)
            try:
                left = max(0.0, deadline - time.monotonic())
                self._lock = lock.take(os.path.join(self.directory, "lock"), self._subject, left)
            except FileNotFoundError:
                continue  # its last owner removed it between the two steps
            break
        for name in os.listdir(self.directory):
            if name not in ("lock", "lock.lease"):
                file_trees.remove_tree_or_file(os.path.join(self.directory, name))
        return self

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def __exit__(self, *_details: object) -> None:
        _discard(self._parent, self.directory, self._lock)


def places(store: Store) -> list[dict[str, t.Any]]:
    """``[{"path", "bytes", "changed_at"}]`` of imports that no process is at work on, and of what was being deleted."""
    parent = os.path.join(store.directory, ".partial")
    names = file_io.names_in(parent)
    left = [name for name in names if name.startswith(_DOOMED)]
    left += [name for name in names if name.startswith(_PREFIX) and not lock.is_held(os.path.join(parent, name, "lock"))]
    return [file_trees.tree_about(os.path.join(parent, name)) for name in left]


def sweep(store: Store) -> None:
    """Remove what imports that were killed have left."""
    parent = os.path.join(store.directory, ".partial")
    _sweep(parent)


def _discard(parent: str, directory: str, held: Lock) -> None:
    """With its lock, which is given up in between: network storage keeps what is open, and the directory with it."""
    doomed = os.path.join(parent, f"{_DOOMED}{file_io.unique()}")
    with held:
        try:
            held.check()
        except LockLost:
            return  # it is another host's now
        os.rename(directory, doomed)
    file_trees.remove_tree_or_file(doomed)


def _sweep(parent: str) -> None:
    """Remove what runs that were killed have left."""
    for name in file_io.names_in(parent):
        directory = os.path.join(parent, name)
        if name.startswith(_DOOMED):
            file_trees.remove_tree_or_file(directory)
        elif name.startswith(_PREFIX):
            try:
                _discard(parent, directory, lock.take(os.path.join(directory, "lock"), "a finished import"))
            except (StoreBusy, FileNotFoundError):
                continue
