# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import ProtocolError, VersionMismatch
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from hypothesis import given
from hypothesis import strategies as st


@given(kind=st.sampled_from([protocol.WANT, protocol.DATA, protocol.BYE]), number=st.integers(0, 2**64 - 1))
def test_a_frame_is_header_and_payload(kind: int, number: int) -> None:
    frame = protocol.encode(kind, number, b"12345678")
    assert protocol.decode_header(frame[: protocol.HEADER_BYTES]) == (kind, 8, number)
    assert frame[protocol.HEADER_BYTES :] == b"12345678"


@given(st.binary(min_size=protocol.HEADER_BYTES, max_size=protocol.HEADER_BYTES))
def test_no_header_makes_the_receiver_take_in_more_than_a_chunk(data: bytes) -> None:
    try:
        header = protocol.decode_header(data)
    except ProtocolError:
        return
    assert header.length <= 16 * 1024 * 1024


@given(st.binary(max_size=200))
def test_no_payload_is_more_than_a_protocol_error(data: bytes) -> None:
    for decode in (
        protocol.decode_message,
        lambda payload: protocol.decode_ranges(payload, 10),
        lambda payload: protocol.decode_indexes(payload, 10),
    ):
        try:
            decode(data)
        except ProtocolError:
            continue


@given(st.lists(st.integers(0, 99), max_size=300))
def test_ranges_tell_the_same_chunks(indexes: list[int]) -> None:
    found: list[int] = []
    for payload in protocol.encode_ranges(indexes):
        for first, number in protocol.decode_ranges(payload, 100):
            found += range(first, first + number)
    assert found == indexes


def test_indexes_beyond_the_base_are_refused() -> None:
    payload = protocol.encode_indexes([0, 9])
    assert protocol.decode_indexes(payload, 10) == [0, 9]
    with pytest.raises(ProtocolError, match="Chunk 9 of 9"):
        protocol.decode_indexes(payload, 9)
    with pytest.raises(ProtocolError, match="Chunks 0 to 10 of 9"):
        protocol.decode_ranges(protocol.encode_whole(10), 9)


def test_versions_are_compared_first() -> None:
    protocol.check_preface(protocol.preface(), "kvm1")
    with pytest.raises(VersionMismatch, match=rf"kvm1 speaks version 7 .* this host version {protocol.VERSION}:"):
        protocol.check_preface(protocol.preface(7), "kvm1")
    with pytest.raises(ProtocolError, match="kvm1 is not a relay node"):
        protocol.check_preface(b"HTTP/1.1 200", "kvm1")


def test_messages_are_objects() -> None:
    frame = protocol.encode_message(protocol.BYE, {"msg": "ü"})
    assert protocol.decode_message(frame[protocol.HEADER_BYTES :]) == {"msg": "ü"}
    for data in (b"[]", b"x", b"\xff", json.dumps("s").encode()):
        with pytest.raises(ProtocolError):
            protocol.decode_message(data)
