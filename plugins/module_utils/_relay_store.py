# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The base store, as the relay node wants to see pools."""

from __future__ import annotations

import os
import typing as t

from ._base_format.chunk_list import Listed
from ._base_format.file_digest import FileDigest
from ._disk.errors import StoreBusy, WrongDigest
from ._disk.room import RESERVE_PERCENT
from ._disk.store import Partial, Store
from ._errors import FleetError
from ._relay.errors import PartialInUse, RelayError, StorageFailed
from ._relay.errors import WrongDigest as BytesDiffer
from ._relay.node.base_store import Held
from ._relay.upload.shared_partial import Place

# How long to wait for the lock of a partial that is to be deleted.
LOCK_S = 5.0


class StoreShelf:
    """The pools of this host.

    :param reserve_percent: so much of their file systems stays free.
    :param pools: paths of all of them.
    """

    def __init__(self, reserve_percent: float = RESERVE_PERCENT, pools: t.Sequence[str] = ()) -> None:
        self._reserve_percent, self._pools = reserve_percent, pools

    def held(self, pool_path: str, sha256: str) -> Held | None:
        base = Store(pool_path).find(sha256)
        return None if base is None else Held(base.path, base.chunks_path)

    def place(self, pool_path: str, sha256: str) -> Place:
        directory = Store(pool_path).partial_directory(sha256)
        return Place(*(os.path.join(directory, name) for name in ("disk", "map", "chunks")))

    def claim(self, pool_path: str, sha256: str) -> StoreClaim:
        try:
            return StoreClaim(Store(pool_path, None, "", self._reserve_percent, self._pools).partial(sha256))
        except FleetError as error:
            raise _as_relay_error(error, pool_path) from error


class StoreClaim:
    """A partial of the store, whose failures the relay node understands."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self.disk = partial.disk
        self.map = partial.map

    def promise(self, size_bytes: int) -> None:
        try:
            self._partial.promise(size_bytes)
        except FleetError as error:
            raise _as_relay_error(error) from error

    def digest(self) -> FileDigest:
        return self._partial.digest()

    def publish(self, metadata: dict[str, t.Any], chunks: Listed) -> Held:
        try:
            base = self._partial.publish(metadata, chunks)
        except FleetError as error:
            raise _as_relay_error(error) from error
        return Held(base.path, base.chunks_path)

    def discard(self) -> None:
        self._partial.discard()

    def close(self) -> None:
        self._partial.close()


def _as_relay_error(error: FleetError, pool_path: str = "") -> RelayError:
    if isinstance(error, StoreBusy):
        who = f" (process {error.fields['pid']})" if error.fields["pid"] else ""
        return PartialInUse(f"Another run{who} fetches this base into {pool_path}; this one waits for it.")
    if isinstance(error, WrongDigest):
        return BytesDiffer(error.message, found=error.fields["found"])
    return StorageFailed(error.message)


def discarded(base: t.Mapping[str, t.Any]) -> bool:
    """Delete what is there of a base that is not complete; whether there was anything. Another run's is left alone."""
    store = Store(base["pool_path"])
    if not any(one["sha256"] == base["metadata"]["sha256"] for one in store.partials()):
        return False
    try:
        # Of a process that has just been ended a thread may still be in a write, and have the lock.
        store.partial(base["metadata"]["sha256"], LOCK_S).discard()
    except StoreBusy:
        return False
    return True
