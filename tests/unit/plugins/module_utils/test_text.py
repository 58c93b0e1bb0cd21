# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._text import clean, clean_data, shown
from hypothesis import given
from hypothesis import strategies as st

LINES = {
    "title": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "erased line": ("failed\x1b[2K\rok", "failed\\x1b[2K ok"),
    "cursor": ("\x1b[1A\x1b[2J", "\\x1b[1A\\x1b[2J"),
    "colour": ("\x1b[1;31mred\x1b[0m", "red"),
    "8-bit CSI": ("\x9b2J", "\\x9b2J"),
    "8-bit OSC": ("\x9d0;x\x9c", "\\x9d0;x\\x9c"),
    "device string": ("\x1bP$q\x1b\\", "\\x1bP$q\\x1b\\"),
    "backspace": ("rm\x08\x08ls", "rm\\x08\\x08ls"),
    "bell and NUL": ("a\x07\x00b", "a\\x07\\x00b"),
    "delete": ("a\x7f", "a\\x7f"),
    "newline": ("one\ntwo\r\nthree", "one two three"),
    "forged task": ("x\nTASK [y] ***\nok: [h]", "x TASK [y] *** ok: [h]"),
    "other line ends": ("a\x85b\u2028c\u2029d\x0be\x0cf", "a b c d e f"),
    "tab": ("a\tb", "a b"),
    "override": ("abc\u202egnp.exe", "abc\\u202egnp.exe"),
    "isolate": ("a\u2066b\u2069", "a\\u2066b\\u2069"),
    "marks of direction": ("\u200e\u200f\u061c", "\\u200e\\u200f\\u061c"),
    "invisible": ("a\u200bb\u2060c\ufeffd\u00ade", "a\\u200bb\\u2060c\\ufeffd\\xade"),
    "tags": ("a\U000e0041", "a\\U000e0041"),
    "surrogate": ("a\ud800b", "a\\ud800b"),
    "surrogate of a file name": (b"\xff".decode("utf-8", "surrogateescape"), "\\udcff"),
    "marks upon marks": ("e" + "\u0301" * 50, "e" + "\u0301" * 4),
    "Thai marks": ("\u0e01" + "\u0e47" * 50, "\u0e01" + "\u0e47" * 4),
    "Arabic marks": ("\u0628" + "\u064b" * 50, "\u0628" + "\u064b" * 4),
    "marks of other planes": ("a" + "\U000e0100" * 50, "a" + "\U000e0100" * 4),
    "marks and joiners": ("e" + "\u0301\u200d" * 50, "e" + "\u0301\u200d" * 2),
    "scripts with many marks": ("ที่นี่ བརྒྱུད שָׁלוֹם क्षत्रिय", "ที่นี่ བརྒྱུད שָׁלוֹם क्षत्रिय"),
    "as it is": ("Grüße, 世界, שלום, نام‌ها 😀", "Grüße, 世界, שלום, نام‌ها 😀"),
}


@pytest.mark.parametrize("name", LINES)
def test_one_line(name: str) -> None:
    text, wanted = LINES[name]
    assert clean(text) == wanted


def test_lines_stay_where_they_are_meant() -> None:
    assert clean("a\r\nb\tc\nd\re\x1b[2J\u2028f", lines=True) == "a\nb\tc\nd\\x0de\\x1b[2J\\u2028f"


def test_a_long_text_says_what_was_left_out() -> None:
    assert clean("x" * 30, limit=10) == "x" * 10 + " … (20 more characters)"
    assert len(clean("\x1b" * 10_000_000, limit=100)) < 500


@pytest.mark.parametrize(
    "text",
    ["\x1b[" * 500_000, "\x1b[" + "1;" * 500_000, "\x1b]" * 500_000, "\u0301" * 1_000_000, "世" * 1_000_000, "。世" * 500_000],
    ids=["CSI", "numbers", "OSC", "accents", "Chinese", "sentences"],
)
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    clean(text, limit=len(text))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("value", "wanted"), [(b"a\xff\x1b", "a\\xff\\x1b"), (None, "None"), (7, "7"), (OSError(2, "no\nfile"), "[Errno 2] no file")]
)
def test_what_is_no_text(value: t.Any, wanted: str) -> None:
    assert clean(value) == wanted


def test_structures() -> None:
    value = {"a\x1b": ["x\ny\x07", {"b": (1, None, True, 2.5, b"\xff")}]}
    assert clean_data(value) == {"a\\x1b": ["x\ny\\x07", {"b": [1, None, True, 2.5, "\\xff"]}]}


def test_a_deep_structure_is_cut() -> None:
    deep: t.Any = "x"
    for _level in range(10_000):
        deep = [deep]
    assert "…" in json.dumps(clean_data(deep), ensure_ascii=False)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("a", "'a'"),
        ("\x1b\u202e", r"'\x1b\u202e'"),
        ("x" * 500, "'" + "x" * 100 + "'…"),
        (True, "true"),
        (None, "null"),
        (10**60, "a number of 200 bits"),
        ([1, 2], "a list of 2"),
        ({"a": 1}, "a mapping of 1"),
        (1.5, "1.5"),
    ],
)
def test_values_in_messages(value: t.Any, wanted: str) -> None:
    assert shown(value) == wanted


def test_errors_are_fit_for_a_terminal() -> None:
    error = FleetError("The server answers 404 \x1b[2J\nok: [kvm1]", url="http://x/\x1b", headers=["a\x9b"])
    assert error.message == str(error) == "The server answers 404 \\x1b[2J ok: [kvm1]"
    assert error.fields == {"kind": "failed", "url": "http://x/\\x1b", "headers": ["a\\x9b"]}


def test_an_option_of_any_length_fits_into_its_error() -> None:
    error = InvalidOption("name", "x" * 100_000 + "\x1b", "a name has 63 letters")
    assert len(error.message) < 1000
    assert error.message.endswith("a name has 63 letters")


@given(st.text())
def test_nothing_a_terminal_obeys_is_left(text: str) -> None:
    for lines in (False, True):
        cleaned = clean(text, lines=lines)
        cleaned.encode("utf-8")
        assert not {chr(code) for code in [*range(32), *range(127, 160)]} & set(cleaned) - ({"\n", "\t"} if lines else set())
        assert clean(cleaned, limit=1 << 20, lines=lines) == cleaned
