# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.yaml_text import YamlMistake, foreign_values, read
from hypothesis import given, settings
from hypothesis import strategies as st

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12))
CHAIN = "- &a0 [x]\n" + "".join(f"- &a{k} [*a{k - 1}]\n" for k in range(1, 600))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (BOMB, 6, "all aliases written out"),
        (CHAIN, 50, "levels stand inside"),
        ("a: &a\n  b: *a\n", 1, "contains itself"),
        ("a: &a [1, *a]\n", 1, "contains itself"),
        ("x: 1\na: " + "[" * 60_000, 2, "levels stand inside"),
        ("x: 1\na: " + "{b: " * 60_000, 2, "levels stand inside"),
        ("a: 1\nb: !!binary aGVsbG8=\n", 2, "b: binary data"),
        ("a: !!set {x, y}\n", 1, "a: a set"),
        ("a:\n  - v: 2026-11-01\n", 2, "a[0].v: a date or time; put it in quotes"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "the tag !!python/object/apply:os.system is not accepted"),
        ("a: !vault x\n", 1, 'the tag !vault is not accepted; leave it out: write "x" for a string'),
        ("a: !foo\n", 1, "the tag !foo is not accepted; leave it out"),
        ("a: !foo [x]\n", 1, "the tag !foo is not accepted; leave it out: a list needs none"),
        ("a: !foo {b: x}\n", 1, "the tag !foo is not accepted; leave it out: a mapping needs none"),
        ("a: .nan\n", 1, "a: the number is not finite"),
        ("a: -.inf\n", 1, "a: the number is not finite"),
        ("a: 123456789012345678901234567890\n", 1, "more than 64 bits"),
        ("a: 1\nb: {c: -" + "9" * 5000 + "}\n", 2, "b.c: the number has more than 64 bits"),
        ("a: 0x" + "f" * 9000 + "\n", 1, "a: the number has more than 64 bits"),
        ("memory_mib: 0100\n", 1, "memory_mib: YAML reads 0100 as octal; write it without the leading zero"),
        ("a: [1, -017]\n", 1, "a[1]: YAML reads -017 as octal"),
        ("mac: 52:54:00:12:34:56\n", 1, "mac: YAML reads 52:54:00:12:34:56 as a number in base 60; put it in quotes"),
        ("a: 1:30\n", 1, "a: YAML reads 1:30 as a number in base 60"),
        ("a: 1:30.5\n", 1, "a: YAML reads 1:30.5 as a number in base 60"),
        ("cloud_init: {user_data: {mac: 52:54:00:12:34:56}}\n", 1, "cloud_init.user_data.mac: YAML reads"),
        ("a: 1\n1: x\n", 2, "1: the key is not a string"),
        ("a: {true: x}\n", 1, "a.true: the key is not a string"),
        ("? [a, b]\n: x\n", 1, "a list: the key is not a string; write a string, such as name: value"),
        ("c: {? {a: b} : x}\n", 1, "c.a mapping: the key is not a string"),
        ("a: 1\nb: 2\na: 3\n", 3, "a: the key stands twice, first in line 1"),
        ("a: 1\nb: x\x1b[2J\n", 2, "U+001B"),
        ("a: 1\nb: x\x00\n", 2, "U+0000"),
        ("a: 1\nb: \udce4\n", 2, "not UTF-8"),
        ("a: [1\nb: 2\n", 2, "not YAML"),
        ("a: *b\n", 1, "not YAML"),
        ("\tx: 1\n", 1, "not YAML"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("a: '" + "x" * 5_000_000 + "'", None, "characters; at most"),
    ],
)
def test_each_mistake_is_one_line_with_file_and_line(text: str, line: int | None, words: str) -> None:
    begun = time.monotonic()
    with pytest.raises(YamlMistake) as caught:
        document, lines = read(text, "shop.yml")
        raise YamlMistake([f"shop.yml:{lines[path]}: {'.'.join(map(str, path))}: {what}" for path, what in foreign_values(document)])
    assert time.monotonic() - begun < 5
    (sentence,) = caught.value.mistakes
    assert "\n" not in sentence
    assert words in sentence
    assert sentence.startswith(f"shop.yml:{line}: " if line else "shop.yml: ")


def test_a_byte_order_mark_and_merges_are_accepted() -> None:
    document, lines = read("\ufeffa: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n", "shop.yml")
    assert document == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}
    assert lines["b", "y"] == 4


def test_an_empty_text_is_nothing() -> None:
    assert read("# only a comment\n", "shop.yml") == (None, {})


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!<'\"#|>? \n\t1.0%@`,"), max_size=200))
@settings(max_examples=400, deadline=None)
def test_any_text_is_data_for_json_or_a_mistake(text: str) -> None:
    try:
        document, _lines = read(text, "x")
    except YamlMistake as mistake:
        assert all(line.startswith("x") for line in mistake.mistakes)
        return
    if not [*foreign_values(document)]:
        assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_permissions_in_cloud_config_are_octal() -> None:
    document, _lines = read("cloud_init: {user_data: {write_files: [{permissions: 0644}]}}\na: 0\nb: 0.5\nc: 0x10\n", "shop.yml")
    assert document["cloud_init"]["user_data"]["write_files"] == [{"permissions": 0o644}]
    assert (document["a"], document["b"], document["c"]) == (0, 0.5, 16)
