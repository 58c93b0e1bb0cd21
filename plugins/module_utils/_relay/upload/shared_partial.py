# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A base that another process of this host is fetching: its children get what that one has verified."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..._base_format.chunk_list import ChunkList, chunk_count, parts
from ..._base_format.regular_file import open_regular
from ..clock import Clock
from ..endpoints import Endpoint
from ..endpoints.files import WholeFile, marks_of
from ..errors import BadChunkList
from ..states import PENDING, ROOTED, WAITING
from .offer import NEWS, Offer


class Place(t.NamedTuple):
    """Paths of a partial: the base's bytes, the map of the verified ones, and the chunk list once that is known."""

    disk: str
    map: str
    chunks: str


class SharedPartial:
    """Reads a partial whose lock somebody else holds, and never writes to it.

    The map is believed only in the boot in which it was written: then both processes see the same pages, and a marked
    chunk is there. What was offered stays readable whatever becomes of the names, as the files are kept open.

    :param share: whether children get anything of it; else only its progress is told.
    :param wrap_endpoint: see Node.
    :param patience_s: when nothing has come for so long, children are not told any more that something will.
    """

    def __init__(
        self,
        place: Place,
        metadata: t.Mapping[str, t.Any],
        offer: Offer,
        clock: Clock,
        share: bool,
        patience_s: float,
        wrap_endpoint: t.Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint,
    ) -> None:
        self.bytes = 0
        self._place = place
        self._size_bytes: int = metadata["size_bytes"]
        self._chunk_bytes: int = metadata["chunk_bytes"]
        self._chunks_sha256: str = metadata["chunks_sha256"]
        self._offer = offer
        self._clock = clock
        self._share = share
        self._patience_s = patience_s
        self._wrap_endpoint = wrap_endpoint
        self._map = -1
        self._grown_at = clock()
        # What was announced, a byte for each chunk; None as long as nothing is offered.
        self._announced: bytearray | None = None

    def look(self, msg: str) -> None:
        """Offer what has come since the last look.

        :param msg: whom this host waits for.
        """
        marks = self._marks()
        if marks is not None:
            verified = min(marks.count(1) * self._chunk_bytes, self._size_bytes)
            if verified != self.bytes:
                self.bytes, self._grown_at = verified, self._clock()
            if self._share and (self._announced is not None or self._begin()):
                self._announce(marks)
        growing = self._clock() - self._grown_at <= self._patience_s
        self._offer.set_view(WAITING, ROOTED if growing else PENDING, (), msg)

    def hand_over(self, marks: bytes) -> None:
        """This host goes on with the partial itself: whatever was announced has to be marked there."""
        if self._announced is not None and any(mark < told for mark, told in zip(marks, self._announced)):
            self._retract()

    def close(self) -> None:
        """The offer keeps what it has."""
        if self._map >= 0:
            os.close(self._map)
            self._map = -1

    def _marks(self) -> bytes | None:
        """The map, if there is one that can be believed."""
        try:
            if self._map >= 0 and not self._is_current():
                self._retract()
            if self._map < 0:
                self._map = open_regular(self._place.map)
            return marks_of(self._map, chunk_count(self._size_bytes, self._chunk_bytes))
        except OSError:
            # Not begun yet, or just published.
            return None

    def _is_current(self) -> bool:
        """Whether the map that we have open is the one of that name. :raises OSError: there is none."""
        return os.path.samestat(os.stat(self._place.map), os.fstat(self._map))

    def _begin(self) -> bool:
        try:
            chunks = ChunkList.open(self._place.chunks)
            if chunks.sha256 != self._chunks_sha256:
                raise BadChunkList("It is not the list of this run.")
            file = WholeFile(self._place.disk, False, self._offer.readers)
        except OSError:
            return False
        except BadChunkList:
            # Not ours to mend, and it would take time to look at it again and again.
            self._share = False
            return False
        # The partial may have been replaced while its files were opened, one after the other.
        if file.size_bytes != self._size_bytes or not self._is_current():
            file.close()
            return False
        self._announced = bytearray(chunks.count)
        self._offer.set_parts(chunks, self._wrap_endpoint(file))
        return True

    def _announce(self, marks: bytes) -> None:
        told = self._announced
        if told is None:
            return
        for first in range(0, len(marks), NEWS):
            part = marks[first : first + NEWS]
            if part == told[first : first + NEWS]:
                continue
            fresh = [index for index, mark in enumerate(part, first) if mark > told[index]]
            told[first : first + NEWS] = part
            self._offer.announce(fresh)

    def _retract(self) -> None:
        """Somebody has begun anew: nothing that was announced counts any more."""
        self.close()
        if self._announced is not None:
            self._announced = None
            self._offer.retract()


def keep_list(path: str, chunks: ChunkList) -> None:
    """Put a verified chunk list where followers look for it. :raises OSError:"""
    temporary = path + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)  # of a run that was killed
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "wb") as file:
        file.writelines(parts(chunks.serialised))
    os.replace(temporary, path)
