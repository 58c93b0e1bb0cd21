# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a peer writes is a message or a ProtocolError that names it, and never anything else."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import ProtocolError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.status import table
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import messages, protocol
from hypothesis import given
from hypothesis import strategies as st

SHA = "5" * 64
OPEN = {"base": SHA, "chunks_sha256": SHA, "codecs": ["zstd"]}
STATE = {"state": "holding", "feed": "rooted", "paths": [["S"]], "msg": "", "turn": True, "codec": "zstd"}
BYE = {"msg": "no", "foreign": True}
PROBE = {"round": 7, "payload_bytes": 1000, "max_s": 0.2, "knock": False}
RESULT = {"mbps": 941.2, "latency_s": 0.001, "round": 3}
NEWS = {"hosts": {"A": [0.5, 1, 2, 1, 0, {SHA: ["failed", 1, 2, 0, 1.5, None, ["S"], "gone"]}]}, "again": 1, "own": 0}

DOORS: dict[str, tuple[t.Callable[[t.Any, str], t.Any], dict[str, t.Any]]] = {
    "open": (messages.read_open, OPEN),
    "state": (messages.read_state, STATE),
    "bye": (messages.read_bye, BYE),
    "probe": (messages.read_probe, PROBE),
    "probe result": (messages.read_probe_result, RESULT),
    "news": (table.decode, NEWS),
}

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from([2**63, -1, 10**400])
VALUES = st.recursive(LEAVES, lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=8), one, max_size=4))


def refused(door: t.Callable[[t.Any, str], t.Any], payload: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        door(payload, "kvm9")
    assert "kvm9" in caught.value.message
    assert not any(character < " " or character == "\x1b" for character in caught.value.message)
    assert len(caught.value.message) < 2000
    return caught.value.message


@pytest.mark.parametrize("name", DOORS)
def test_what_is_right_is_read(name: str) -> None:
    door, whole = DOORS[name]
    door(json.dumps(whole).encode(), "kvm9")
    assert f"{name}: the key more is not known" in refused(door, json.dumps({**whole, "more": 1}).encode())


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"[]", b"7", b"null", b"\xff\xfe", b"{" * 60000, b"[" * 60000, b'{"a":' * 9 + b"1" + b"}" * 9,
        b'{"base":"' + b"x" * 70000 + b'"}', b'{"round":NaN}', b'{"round":Infinity}', b'{"round":' + b"9" * 5000 + b"}",
        b'{"msg":"a","msg":"b"}', b'{"\x1b[2J":1}', b'{"msg":"\\ud800"}', b'{"round":1e999}', b"{'a':1}", b'{"msg":1}{}',
    ],
    ids=lambda payload: str(payload[:12]),
)  # fmt: skip
@pytest.mark.parametrize("name", DOORS)
def test_what_is_no_message_is_refused(name: str, payload: bytes) -> None:
    refused(DOORS[name][0], payload)


WRONG: list[tuple[str, dict[str, t.Any]]] = [
    ("open", {"base": "5" * 63}), ("open", {"base": "A" * 64}), ("open", {"base": 7}), ("open", {"base": None}),
    ("open", {"chunks_sha256": "../x"}), ("open", {"codecs": "zstd"}), ("open", {"codecs": ["x"] * 9}), ("open", {"codecs": [1]}),
    ("state", {"state": "idle"}), ("state", {"state": ["holding"]}), ("state", {"feed": {}}), ("state", {"paths": None}),
    ("state", {"paths": [["S"]] * 5}), ("state", {"paths": [["S"] * 130]}), ("state", {"paths": [["\x1b[2J"]]}),
    ("state", {"paths": [[["S"]]]}), ("state", {"paths": [["S" * 256]]}), ("state", {"turn": 1}), ("state", {"turn": "false"}),
    ("state", {"codec": []}), ("state", {"msg": {}}), ("bye", {"msg": None}), ("bye", {"foreign": "yes"}),
    ("probe", {"round": -1}), ("probe", {"round": True}), ("probe", {"round": 1.0}), ("probe", {"round": 2**63}),
    ("probe", {"payload_bytes": -5}), ("probe", {"payload_bytes": 2**40}), ("probe", {"max_s": -0.1}), ("probe", {"max_s": True}),
    ("probe", {"knock": 1}), ("probe result", {"mbps": -1}), ("probe result", {"mbps": "fast"}), ("probe result", {"mbps": 1e300}),
    ("probe result", {"latency_s": [1]}), ("probe result", {"round": "3"}), ("probe result", {"round": False}),
    ("news", {"again": 2}), ("news", {"again": True}), ("news", {"own": "x"}), ("news", {"hosts": []}),
    ("news", {"hosts": {"\x1b]0;x\x07": [0, 1, 1, 1, 1, {}]}}), ("news", {"hosts": {"A": [0, True, 1, 1, 1, {}]}}),
    ("news", {"hosts": {"A": [0, 1, 1, 1, 1, {}, 0, 0]}}), ("news", {"hosts": {"A": {"0": 1}}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change"), WRONG, ids=[f"{name} {str(change)[:40]}" for name, change in WRONG])
def test_a_field_that_cannot_be_is_named(name: str, change: dict[str, t.Any]) -> None:
    door, whole = DOORS[name]
    told = refused(door, json.dumps({**whole, **change}).encode())
    assert f"{name}: {next(iter(change))}" in told


@given(name=st.sampled_from(list(DOORS)), payload=st.binary(max_size=300))
def test_any_bytes(name: str, payload: bytes) -> None:
    try:
        DOORS[name][0](payload, "kvm9")
    except ProtocolError as error:
        assert error.fields["peer"] == "kvm9"


@given(name=st.sampled_from(list(DOORS)), data=st.data())
def test_any_value_in_any_field(name: str, data: st.DataObject) -> None:
    door, whole = DOORS[name]
    message = {**whole, data.draw(st.sampled_from([*whole, "more"])): data.draw(VALUES)}
    try:
        door(json.dumps(message).encode(), "kvm9")
    except ProtocolError as error:
        assert error.message.isprintable()


def test_texts_of_peers_are_fit_for_a_terminal() -> None:
    said = messages.read_bye(json.dumps({"msg": "\x1b]0;x\x07gone\x1b[2J\u202e" + "x" * 9000}).encode(), "kvm9").msg
    assert said.isprintable()
    assert said.startswith("\\x1b]0;x\\x07gone\\x1b[2J\\u202exxx")
    assert len(said) < 600
    assert messages.read_reason(b"\x1b[1A\xff" * 100).isprintable()


def test_what_this_host_says_can_be_read() -> None:
    frame = protocol.encode_message(protocol.STATE, {**STATE, "paths": (("S", "A"),) * messages.MAX_PATHS, "codec": None})
    assert messages.read_state(frame[protocol.HEADER_BYTES :], "kvm9").paths == (("S", "A"),) * 4
