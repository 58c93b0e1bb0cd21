# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The chunk list of a base while it comes: one connection at a time brings it."""

from __future__ import annotations

import threading
import typing as t

from ..._base_format.chunk_list import FileBytes, digest_of, list_bytes
from ..errors import BadChunkList, storage_failure
from ..states import ROOTED
from ..upload.offer import Path
from .transfer import Transfer

# The chunk list is asked for from another parent when nothing of it came for so long.
LIST_STALL_S = 2.0


class Bringer(t.Protocol):
    """A connection, as far as the list matters."""

    parent: str
    state: str
    paths: list[Path]


class ChunkListFetch:
    """Thread-safe.

    :param scratch: directory for the list while it comes.
    """

    def __init__(self, transfer: Transfer, scratch: str | None) -> None:
        self._transfer = transfer
        self._scratch = scratch
        self._lock = threading.Lock()
        self._bringer: Bringer | None = None
        self._heard_at = 0.0
        # The list, once its digest has been found right.
        self.brought: FileBytes | None = None
        # The host that sent it, and the holder that this host was told it comes from.
        self.source = ""

    def claim(self, bringer: Bringer) -> FileBytes | None:
        """A place for the list, if this connection is to bring it."""
        now = self._transfer.clock()
        with self._lock:
            if self._transfer.chunks.listed is not None or self.brought is not None:
                return None
            other = self._bringer
            better = other is None or (bringer.state == ROOTED and other.state != ROOTED)
            if not better and now - self._heard_at < LIST_STALL_S:
                return None
            self._bringer, self._heard_at = bringer, now
        try:
            return FileBytes.temporary(self._scratch, list_bytes(self._transfer.base.size_bytes, self._transfer.base.chunk_bytes))
        except OSError as error:
            self._transfer.fail(storage_failure(error))
            return None

    def leave(self, bringer: Bringer) -> None:
        """This connection has ended."""
        with self._lock:
            if self._bringer is bringer:
                self._bringer = None

    def part(self, bringer: Bringer, place: FileBytes, offset: int, payload: memoryview) -> None:
        try:
            place.write(offset, payload)
        except OSError as error:
            self._transfer.fail(storage_failure(error))
        if self._bringer is bringer:
            self._heard_at = self._transfer.clock()

    def bring(self, bringer: Bringer, data: FileBytes) -> None:
        """:raises BadChunkList: nothing of it is believed unless its digest is the run's."""
        found, expected = digest_of(data), self._transfer.base.chunks_sha256
        if found != expected:
            raise BadChunkList(f"{bringer.parent} sent a chunk list with digest {found}, not {expected}.", peer=bringer.parent)
        with self._lock:
            if self.brought is None:
                self.brought = data
                path = min(bringer.paths, key=len, default=())
                self.source = " over ".join(dict.fromkeys([*path[-1:], bringer.parent]))
        self._transfer.changed.set()
