# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What goes over the wire: encode and decode, no sockets.

Both sides begin with a preface (magic and the one version number). Frames follow: a header of 16 bytes (kind, length
of the payload, one number whose meaning depends on the kind) and the payload. The side that connects asks, the other
one serves.
"""

from __future__ import annotations

import json
import struct
import typing as t

from ..._base_format.chunk_list import MAX_CHUNK_BYTES
from ..._untrusted import Malformed, read
from ..errors import ProtocolError, RelayError, VersionMismatch

VERSION = 3

_PREFACE = struct.Struct(">8sI")
_MAGIC = b"BCRELAY\n"
PREFACE_BYTES = _PREFACE.size

_HEADER = struct.Struct(">B3xIQ")
HEADER_BYTES = _HEADER.size

OPEN = 1  # asks for a base: message {"base", "chunks_sha256", "codecs": names of compressions, if any}
STATE = 2  # what the server has of it: message {"state", "feed", "paths", "msg", "turn"}
LIST = 3  # asks for the chunk list
LIST_PART = 4  # a part of the chunk list; number: its offset
HAVE = 5  # chunks that are there: ranges, perhaps none; from the first one on any chunk can be asked for
WANT = 6  # asks for chunks, now or as soon as they are there: indexes
DATA = 7  # a chunk; number: its index
NOT_HERE = 8  # a chunk that was asked for and cannot be read; number: its index
PING = 9  # still alive
BYE = 10  # the end, and why: message {"msg"}
PROBE = 11  # asks to measure the link: message
PROBE_GO = 12  # the partner is ready
PROBE_DATA = 13  # bytes without meaning
PROBE_END = 14  # no more of them
PROBE_RESULT = 15  # what the receiver measured: message
PROBE_ECHO = 16  # to be answered by the same; number: any
NEWS = 17  # the progress of hosts, both ways: message {"hosts", "again"}
PACKED = 18  # a chunk, compressed; number: its index
PACE = 19  # asks for at most so many bytes per second; number: how many, 0 for any
CANCEL = 20  # chunks that are not wanted any more: indexes

LIST_PART_BYTES = 64 * 1024  # of the list at once: each child that fetches it costs some copies of a part
PROBE_DATA_BYTES = 16 * 1024
MAX_MESSAGE_BYTES = 64 * 1024
REASON_BYTES = 1024
MAX_ITEMS = 4096

_RANGE = struct.Struct(">QQ")
_INDEX = struct.Struct(">Q")

# The most that a peer can make us take in for one frame, whatever it claims.
_LIMITS: dict[int, int] = {
    OPEN: MAX_MESSAGE_BYTES,
    STATE: MAX_MESSAGE_BYTES,
    LIST: 0,
    LIST_PART: LIST_PART_BYTES,
    HAVE: MAX_ITEMS * _RANGE.size,
    WANT: MAX_ITEMS * _INDEX.size,
    DATA: MAX_CHUNK_BYTES,
    NOT_HERE: REASON_BYTES,
    PING: 0,
    BYE: MAX_MESSAGE_BYTES,
    PROBE: MAX_MESSAGE_BYTES,
    PROBE_GO: 0,
    PROBE_DATA: PROBE_DATA_BYTES,
    PROBE_END: 0,
    PROBE_RESULT: MAX_MESSAGE_BYTES,
    PROBE_ECHO: 0,
    PACKED: MAX_CHUNK_BYTES,
    NEWS: MAX_MESSAGE_BYTES,
    PACE: 0,
    CANCEL: MAX_ITEMS * _INDEX.size,
}


# Frames that are taken whole into a buffer that was there before, or are thrown away: what they carry is no control.
CHUNKS = frozenset((DATA, PACKED))
FREIGHT = CHUNKS | {LIST_PART, PROBE_DATA}

# What can be sent in each conversation, and by whom.
TO_BEGIN = frozenset((OPEN, PROBE, NEWS))
FROM_CHILD = frozenset((LIST, WANT, CANCEL, PACE, PING))
FROM_PARENT = frozenset((STATE, LIST_PART, HAVE, DATA, PACKED, NOT_HERE, PING, BYE))
IN_NEWS = frozenset((NEWS, PING, BYE))


class Header(t.NamedTuple):
    kind: int
    length: int
    number: int


def preface(version: int = VERSION) -> bytes:
    return _PREFACE.pack(_MAGIC, version)


def check_preface(data: bytes, peer: str, version: int = VERSION) -> None:
    """:raises VersionMismatch: naming both numbers; ProtocolError: if it is no relay node at all."""
    magic, theirs = _PREFACE.unpack(data)
    if magic != _MAGIC:
        raise ProtocolError(f"{peer} is not a relay node.", peer=peer)
    if theirs != version:
        raise VersionMismatch(
            f"{peer} speaks version {theirs} of the relay's protocol, this host version {version}: "
            "use the same release of the collection for the whole run.",
            peer=peer,
            theirs=theirs,
            ours=version,
        )


def pack_header(buffer: t.Any, kind: int, length: int, number: int = 0) -> None:
    """Write a header to the begin of a buffer that has its payload behind it."""
    _HEADER.pack_into(buffer, 0, kind, length, number)


def encode(kind: int, number: int = 0, payload: bytes = b"") -> bytes:
    """:raises RelayError: it is too long, which is no fault of the peer that was to get it."""
    if len(payload) > _LIMITS[kind]:
        raise RelayError(f"A frame of kind {kind} holds {_LIMITS[kind]} bytes, not {len(payload)}.")
    return _HEADER.pack(kind, len(payload), number) + payload


def decode_header(data: t.Any) -> Header:
    """:raises ProtocolError: such a frame cannot be, whoever sends it."""
    header = Header(*_HEADER.unpack(data))
    limit = _LIMITS.get(header.kind)
    if limit is None:
        raise ProtocolError(f"A frame of unknown kind {header.kind} arrived.")
    if header.length > limit:
        raise ProtocolError(f"A frame of kind {header.kind} holds {limit} bytes, not {header.length}.")
    return header


def encode_message(kind: int, message: t.Mapping[str, t.Any], number: int = 0) -> bytes:
    return encode(kind, number, json.dumps(message, separators=(",", ":")).encode())


def decode_message(payload: t.Any) -> dict[str, t.Any]:
    """A message as it is; messages.py knows the fields of each. :raises ProtocolError:"""
    try:
        return read(payload, "a message", MAX_MESSAGE_BYTES).mapping()
    except Malformed as error:
        raise ProtocolError(error.message) from error


def encode_ranges(indexes: t.Iterable[int]) -> list[bytes]:
    """Payloads of HAVE for indexes in the given order; neighbours become ranges."""
    ranges: list[tuple[int, int]] = []
    for index in indexes:
        if ranges and index == ranges[-1][0] + ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((index, 1))
    packed = [_RANGE.pack(*one) for one in ranges]
    return [b"".join(packed[i : i + MAX_ITEMS]) for i in range(0, len(packed), MAX_ITEMS)]


def encode_whole(count: int) -> bytes:
    """Payload of HAVE for every chunk of a base."""
    return _RANGE.pack(0, count) if count else b""


def decode_ranges(payload: t.Any, count: int) -> list[tuple[int, int]]:
    """(first, number) pairs, all of them inside a base of ``count`` chunks."""
    if len(payload) % _RANGE.size:
        raise ProtocolError("Ranges of chunks have a wrong length.")
    ranges = list(_RANGE.iter_unpack(bytes(payload)))
    for first, number in ranges:
        if not number:
            raise ProtocolError(f"A range of no chunks begins at {first}.")
        if first + number > count:
            raise ProtocolError(f"Chunks {first} to {first + number} of {count} do not exist.")
    return t.cast("list[tuple[int, int]]", ranges)


def encode_indexes(indexes: t.Sequence[int]) -> bytes:
    return struct.pack(f">{len(indexes)}Q", *indexes)


def decode_indexes(payload: t.Any, count: int) -> list[int]:
    if len(payload) % _INDEX.size:
        raise ProtocolError("Indexes of chunks have a wrong length.")
    indexes = [item[0] for item in _INDEX.iter_unpack(bytes(payload))]
    for index in indexes:
        if index >= count:
            raise ProtocolError(f"Chunk {index} of {count} does not exist.")
    return indexes
