# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed, Value, decimal, parse, read
from hypothesis import given
from hypothesis import strategies as st

REFUSED = {
    "brackets": (b"[" * 100_000, "nested 100000 deep"),
    "closed brackets": (b"[" * 60_000 + b"]" * 60_000, "nested 60000 deep"),
    "objects": (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested 5000 deep"),
    "brackets after a string": (b'["\\\\",' + b"[" * 5000, "nested 500. deep"),
    "brackets after a quote in a string": (b'["\\"",' + b"[" * 5000, "nested 500. deep"),
    "brackets after a stray backslash": (b'\\"' + b"[" * 5000, "nested 5000 deep"),
    "33 deep": (b"[" * 33 + b"]" * 33, "nested 33 deep; at most 32"),
    "bytes": (b" " * (4 << 20) + b" ", "4194305 bytes; at most 4194304"),
    "values": (b"[" + b"1," * 200_001 + b"1]", "has 200002 values"),
    "empty lists": (b"[" + b"[]," * 300_000 + b"[]]", "values; at most 200000"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "byte 0 is not UTF-8"),
    "Latin-1": ('{"ö": 1}'.encode("latin-1"), "byte 2 is not UTF-8"),
    "overlong": (b'"\xc0\xaf"', "byte 1 is not UTF-8"),
    "encoded surrogate": (b'"\xed\xa0\x80"', "byte 1 is not UTF-8"),
    "lone surrogate": (b'["\\ud800"]', "half of a character"),
    "lone low surrogate": (b'{"a": {"\\uDC00": 1}}', "half of a character"),
    "byte order mark": (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
    "NaN": (b"[NaN]", "NaN is not a number"),
    "Infinity": (b"-Infinity", "-Infinity is not a number"),
    "1e999": (b'{"a": 1e999}', "1e999 is too large"),
    "-1e999": (b"-1e999", "-1e999 is too large"),
    "long number": (b"[" + b"9" * 5000 + b"]", "64 digits or more"),
    "long fraction": (b"0." + b"3" * 3_000_000, "64 digits or more"),
    "key twice": (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice"),
    "key twice, below": (b'[{"x": {"k": 1, "k": 1}}]', "the key 'k' is there twice"),
    "key twice, spelt otherwise": (b'{"a": 1, "\\u0061": 2}', "the key 'a' is there twice"),
    "nothing": (b"", "not JSON"),
    "two values": (b"{} {}", "Extra data"),
    "half a value": (b'{"a": ', "not JSON"),
    "NUL": (b'"\x00"', "not JSON"),
    "raw newline": (b'"a\nb"', "not JSON"),
    "HTML": (b"<!DOCTYPE html>", "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    data, reason = REFUSED[name]
    start = time.monotonic()
    with pytest.raises(Malformed, match=reason) as raised:
        parse(data, "base.json")
    assert raised.value.message.startswith("base.json: ")
    assert len(raised.value.message) < 400
    assert time.monotonic() - start < 5


ACCEPTED = [
    ('{"a": [1, 2.5, true, null, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]}', None),
    ('["\\"[[", "\\\\", "]]", {"ö": "\\ud83d\\ude00"}]', ['"[[', "\\", "]]", {"ö": "😀"}]),
    ("[" * 32 + "]" * 32, None),
    ("1e300", 1e300),
    ("-0.00012345678901234567", -0.00012345678901234567),
    ("12345678901234567890123456789", 12345678901234567890123456789),
    ('"' + "\\\\" * 1000 + '"', "\\" * 1000),
]


@pytest.mark.parametrize(("text", "value"), ACCEPTED)
def test_what_is_accepted(text: str, value: t.Any) -> None:
    assert parse(text, "x") == (json.loads(text) if value is None else value)


def test_limits_are_the_callers() -> None:
    parse(b"[[1]]", "x", max_bytes=5, max_depth=2, max_values=3)
    for limits in ({"max_bytes": 4}, {"max_depth": 1}, {"max_values": 1}):
        with pytest.raises(Malformed):
            parse(b"[[1]]", "x", **limits)


def test_a_malformed_text_is_a_value_error_too() -> None:
    with pytest.raises(ValueError):
        parse(b"", "x")


def test_a_place_is_fit_for_a_terminal() -> None:
    with pytest.raises(Malformed) as raised:
        read(b"{}", "peer \x1b]0;x\x07\nok")["\x1b[2J"].integer()
    assert raised.value.message.isprintable()


FIELDS: list[tuple[str, t.Callable[[Value], t.Any], str]] = [
    ("integer", lambda v: v.integer(), "true"),
    ("integer", lambda v: v.integer(), "1.0"),
    ("integer", lambda v: v.integer(), '"1"'),
    ("integer", lambda v: v.integer(), "-1"),
    ("integer", lambda v: v.integer(), "9223372036854775808"),
    ("integer", lambda v: v.integer(), "1" * 60),
    ("integer", lambda v: v.integer(1, 10), "11"),
    ("integer", lambda v: v.integer(), "null"),
    ("number", lambda v: v.number(), "false"),
    ("number", lambda v: v.number(), '"1"'),
    ("number", lambda v: v.number(), "-0.1"),
    ("number", lambda v: v.number(), "1e19"),
    ("number", lambda v: v.number(), "[1]"),
    ("flag", lambda v: v.flag(), "1"),
    ("flag", lambda v: v.flag(), '"true"'),
    ("text", lambda v: v.text(), "1"),
    ("text", lambda v: v.text(3), '"abcd"'),
    ("text", lambda v: v.text(), '"a\\nb"'),
    ("text", lambda v: v.text(), '"\\u001b[2J"'),
    ("text", lambda v: v.text(), '"\\u0000"'),
    ("text", lambda v: v.text(), '"\\u009b"'),
    ("text", lambda v: v.text(pattern="[a-z]+"), '"a1"'),
    ("text", lambda v: v.text(pattern="[a-z]+"), '"a "'),
    ("cleaned", lambda v: v.cleaned(), "[]"),
    ("choice", lambda v: v.choice("a", "b"), '"c"'),
    ("choice", lambda v: v.choice("a", "b"), '["a"]'),
    ("digest", lambda v: v.digest(), '"' + "A" * 64 + '"'),
    ("digest", lambda v: v.digest(), '"' + "a" * 63 + '"'),
    ("digest", lambda v: v.digest(), "null"),
    ("mapping", lambda v: v.mapping(), "[]"),
    ("mapping", lambda v: v.mapping(1), '{"a": 1, "b": 2}'),
    ("entries", lambda v: v.entries(5), '{"a\\nb": 1}'),
    ("items", lambda v: v.items(5), '"abc"'),
    ("items", lambda v: v.items(2), "[1, 2, 3]"),
    ("key of no mapping", lambda v: v["x"], "[]"),
    ("key that is missing", lambda v: v["x"].text(), "{}"),
    ("get of no mapping", lambda v: v.get("x"), "7"),
]


@pytest.mark.parametrize(("name", "take", "text"), FIELDS)
def test_a_field_of_the_wrong_kind(name: str, take: t.Callable[[Value], t.Any], text: str) -> None:
    with pytest.raises(Malformed, match=r"^x: y.*; (expected|at most) .*$") as raised:
        take(read(f'{{"y": {text}}}', "x")["y"])
    assert raised.value.message.isprintable()


def test_fields_as_they_should_be() -> None:
    value = read('{"a": 1, "b": [true, 2, 2.5], "c": {"k": "v\\u001b"}, "d": null, "e": "ö"}', "x")
    assert value["a"].integer() == 1
    assert [value["b"].items(3)[0].flag(), value["b"].items(3)[1].number(), value["b"].items(3)[2].number()] == [True, 2.0, 2.5]
    assert value["c"].entries(1)["k"].cleaned() == "v\\x1b"
    assert value.get("d") is None
    assert value.get("f") is None
    assert value["e"].text(1, pattern="[ö]") == "ö"
    assert value["b"].items(3)[2].place == "x: b[2]"


@pytest.mark.parametrize("text", ["-5", "+5", "unknown", "1e3", "5, 5", " 5", "5 ", "٥", "0x10", "1_000", "", None, 5, "9" * 25])
def test_decimals_that_are_none(text: t.Any) -> None:
    with pytest.raises(Malformed, match="a whole number from 0"):
        decimal(text, "Content-Length")


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9223372036854775807", 2**63 - 1)])
def test_decimals(text: str, number: int) -> None:
    assert decimal(text, "Content-Length") == number


JSONISH = st.text(alphabet=st.sampled_from('[]{}",:\\u0d8e+-.1aNtrueflsn \x00\x1bö'), max_size=200)


@given(st.one_of(st.binary(max_size=300), JSONISH.map(lambda text: text.encode())))
def test_no_bytes_bring_another_exception(data: bytes) -> None:
    try:
        parse(data, "x", max_depth=5)
    except Malformed as error:
        assert error.message.isprintable()
    else:
        json.loads(data)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=12,
)


@given(VALUES)
def test_every_sane_structure_comes_back(value: t.Any) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, UnicodeEncodeError):
        with pytest.raises(Malformed):
            parse(json.dumps(value), "x")
    else:
        assert parse(text, "x") == json.loads(text)
        assert parse(json.dumps(value), "x") == json.loads(text)


METHODS: list[t.Callable[[Value], t.Any]] = [
    lambda v: v.integer(),
    lambda v: v.number(),
    lambda v: v.flag(),
    lambda v: v.text(),
    lambda v: v.cleaned(),
    lambda v: v.choice("a"),
    lambda v: v.digest(),
    lambda v: v.mapping(),
    lambda v: v.entries(3),
    lambda v: v.items(3),
    lambda v: v["k"].text(),
    lambda v: v.get("k"),
]


@given(VALUES, st.sampled_from(METHODS))
def test_no_value_brings_another_exception(value: t.Any, take: t.Callable[[Value], t.Any]) -> None:
    try:
        take(Value(value, "x"))
    except Malformed as error:
        assert error.message.isprintable()
