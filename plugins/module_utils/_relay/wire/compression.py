# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Chunks made smaller for slow links: which ways both ends know, and whether it pays."""

from __future__ import annotations

import importlib
import typing as t
import zlib

from ..errors import ProtocolError


def _first(*names: str) -> t.Any:
    """The first of these modules that this Python has; None without any."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


# Python 3.14 has the first.
_zstd = _first("compression.zstd", "backports.zstd")
_zstandard = _first("zstandard")

# The quickest levels: what they leave over costs less than the time that better ones take.
LEVEL = 1

# A sender of a chunk names no larger window than that of the largest chunk, 16 MiB.
WINDOW_LOG = 24

# A chunk that does not become smaller than this part of itself is sent as it is.
WORTH = 0.95

# While it does not pay, one chunk in so many is made smaller all the same, to see whether it would now.
TRY_EVERY = 64

# Weight of the newest chunk in what is known of the past.
NEWEST = 1 / 16


class Codec(t.Protocol):
    """Used by one thread."""

    def compress(self, view: memoryview) -> bytes: ...

    def decompress(self, data: memoryview, into: memoryview) -> None:
        """Fill the buffer, and never take more memory than that.

        :raises ProtocolError: it is damaged, or not exactly as long.
        """


class Deflate:
    """In every Python."""

    def compress(self, view: memoryview) -> bytes:
        return zlib.compress(view, LEVEL)

    def decompress(self, data: memoryview, into: memoryview) -> None:
        stream = zlib.decompressobj()
        try:
            _fill(into, stream.decompress(data, len(into) + 1), stream.eof)
        except zlib.error as error:
            raise _damaged(error) from error


class Zstd:
    """Of Python itself, from 3.14 on, or its backport."""

    def compress(self, view: memoryview) -> bytes:
        return bytes(_zstd.compress(view, LEVEL))

    def decompress(self, data: memoryview, into: memoryview) -> None:
        stream = _zstd.ZstdDecompressor(options={_zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
        try:
            _fill(into, stream.decompress(data, len(into) + 1), stream.eof)
        except _zstd.ZstdError as error:
            raise _damaged(error) from error


class Zstandard:
    """The library of that name (Debian: python3-zstandard)."""

    def __init__(self) -> None:
        self._compressor = _zstandard.ZstdCompressor(level=LEVEL)
        self._decompressor = _zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)

    def compress(self, view: memoryview) -> bytes:
        return bytes(self._compressor.compress(view))

    def decompress(self, data: memoryview, into: memoryview) -> None:
        try:
            # Not decompress(): it would believe the length that the sender names.
            stream = self._decompressor.stream_reader(data)
            count = 0
            while count < len(into):
                more = stream.readinto(into[count:])
                if not more:
                    break
                count += more
            if count != len(into) or stream.read(1):
                raise ProtocolError("A chunk has another length than it should after decompression.")
        except _zstandard.ZstdError as error:
            raise _damaged(error) from error


def _fill(into: memoryview, found: bytes, ended: bool) -> None:
    if len(found) != len(into) or not ended:
        raise ProtocolError("A chunk has another length than it should after decompression.")
    into[:] = found


def _damaged(error: Exception) -> ProtocolError:
    return ProtocolError(f"A chunk cannot be decompressed: {error}")


def codecs() -> dict[str, t.Callable[[], Codec]]:
    """What this host can do, the best first: name on the wire -> codec."""
    known: dict[str, t.Callable[[], Codec]] = {}
    if _zstd is not None:
        known["zstd"] = Zstd
    elif _zstandard is not None:
        known["zstd"] = Zstandard
    known["deflate"] = Deflate
    return known


class Press:
    """Decides for one connection whether making chunks smaller brings them sooner to the other end.

    With c seconds per byte for compression, s seconds per byte on the link (limits included) and r the part that is
    left, it pays where c + r s < s.
    """

    def __init__(self, codec: Codec, clock: t.Callable[[], float]) -> None:
        self._codec = codec
        self._clock = clock
        self._cost: float | None = None
        self._line: float | None = None
        self._ratio = 1.0
        self._number = 0

    @property
    def pays(self) -> bool:
        if self._cost is None or self._line is None:
            return False
        return self._ratio < WORTH and self._cost + self._ratio * self._line < WORTH * self._line

    def pack(self, view: memoryview) -> bytes | None:
        """The smaller chunk; None if it is to be sent as it is."""
        self._number += 1
        if not self.pays and self._number % TRY_EVERY != 1:
            return None
        begin = self._clock()
        packed = self._codec.compress(view)
        self._cost = _mixed(self._cost, (self._clock() - begin) / len(view))
        self._ratio = _mixed(self._ratio if self._number > 1 else None, len(packed) / len(view))
        return packed if len(packed) < WORTH * len(view) else None

    def sent(self, seconds: float, count: int) -> None:
        """So many bytes took so long to get rid of."""
        self._line = _mixed(self._line, seconds / count)


def _mixed(old: float | None, new: float) -> float:
    return new if old is None else old + NEWEST * (new - old)
