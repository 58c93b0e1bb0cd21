# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""The messages of the protocol, each read field by field: whatever a peer writes is a message or a ProtocolError."""

from __future__ import annotations

import contextlib
import typing as t

from ..._text import clean
from ..._untrusted import Malformed, Value, read
from ..errors import ProtocolError
from ..states import FAILED, FETCHING, FOREIGN, HOLDING, LOST, MAX_PATH, MAX_PATHS, PENDING, ROOTED, WAITING
from . import protocol

MAX_NAME = 255
MAX_MSG = 500
MAX_CODECS = 8
MAX_DEPTH = 8
MAX_VALUES = protocol.MAX_MESSAGE_BYTES

# Of a probe: a round lies in a series, a gibibyte takes long enough, and nobody is faster than that.
_MAX_ROUND = 1 << 48
_MAX_PROBE_BYTES = 1 << 30
_MAX_PROBE_S = 3600.0
_MAX_MBPS = 1e8


class Open(t.NamedTuple):
    """Asks for a base. :param codecs: names of compressions that the child knows."""

    base: str
    chunks_sha256: str | None
    codecs: tuple[str, ...]


class State(t.NamedTuple):
    """What a parent has of a base. Its names and its message come from the peer."""

    state: str
    feed: str
    paths: tuple[tuple[str, ...], ...]
    msg: str
    turn: bool
    codec: str | None


class Bye(t.NamedTuple):
    msg: str
    foreign: bool


class Probe(t.NamedTuple):
    round: int
    payload_bytes: int
    max_s: float
    knock: bool


class ProbeResult(t.NamedTuple):
    """:param round: in the answer to a knock; the others in the answer to a measurement."""

    mbps: float
    latency_s: float
    round: int | None


@contextlib.contextmanager
def reading(peer: str) -> t.Iterator[None]:
    """What cannot be read inside of this is a fault of the peer."""
    try:
        yield
    except Malformed as error:
        raise ProtocolError(f"{peer} sent something that cannot be read: {error.message}", peer=peer) from error


def fields_of(payload: t.Any, place: str, *keys: str) -> Value:
    """A message with no other keys than these. :raises Malformed:"""
    value = read(payload, place, protocol.MAX_MESSAGE_BYTES, MAX_DEPTH, MAX_VALUES)
    for key in value.mapping():
        if key not in keys:
            raise Malformed(place, f"the key {clean(key, 40)} is not known; known are {', '.join(keys)}")
    return value


def read_open(payload: t.Any, peer: str) -> Open:
    with reading(peer):
        value = fields_of(payload, "open", "base", "chunks_sha256", "codecs")
        chunks, codecs = value.get("chunks_sha256"), value.get("codecs")
        names = () if codecs is None else tuple(one.text(MAX_NAME) for one in codecs.items(MAX_CODECS))
        return Open(value["base"].digest(), None if chunks is None else chunks.digest(), names)


def read_state(payload: t.Any, peer: str) -> State:
    with reading(peer):
        value = fields_of(payload, "state", "state", "feed", "paths", "msg", "turn", "codec")
        msg, turn, codec = value.get("msg"), value.get("turn"), value.get("codec")
        return State(
            value["state"].choice(WAITING, FETCHING, HOLDING, FAILED, FOREIGN),
            value["feed"].choice(ROOTED, PENDING, LOST),
            tuple(tuple(name.text(MAX_NAME) for name in path.items(MAX_PATH + 1)) for path in value["paths"].items(MAX_PATHS)),
            "" if msg is None else msg.cleaned(MAX_MSG),
            turn is None or turn.flag(),
            None if codec is None else codec.text(MAX_NAME),
        )


def read_bye(payload: t.Any, peer: str) -> Bye:
    with reading(peer):
        value = fields_of(payload, "bye", "msg", "foreign")
        foreign = value.get("foreign")
        return Bye(value["msg"].cleaned(MAX_MSG), foreign is not None and foreign.flag())


def read_probe(payload: t.Any, peer: str) -> Probe:
    with reading(peer):
        value = fields_of(payload, "probe", "round", "payload_bytes", "max_s", "knock")
        size, seconds, knock = value.get("payload_bytes"), value.get("max_s"), value.get("knock")
        return Probe(
            value["round"].integer(0, _MAX_ROUND),
            0 if size is None else size.integer(0, _MAX_PROBE_BYTES),
            0.0 if seconds is None else seconds.number(0.0, _MAX_PROBE_S),
            knock is not None and knock.flag(),
        )


def read_probe_result(payload: t.Any, peer: str) -> ProbeResult:
    with reading(peer):
        value = fields_of(payload, "probe result", "mbps", "latency_s", "round")
        mbps, latency, number = value.get("mbps"), value.get("latency_s"), value.get("round")
        return ProbeResult(
            0.0 if mbps is None else mbps.number(0.0, _MAX_MBPS),
            0.0 if latency is None else latency.number(0.0, _MAX_PROBE_S),
            None if number is None else number.integer(-1, _MAX_ROUND),
        )


def read_reason(payload: t.Any) -> str:
    """Why a chunk cannot be read."""
    return clean(payload, MAX_MSG)
