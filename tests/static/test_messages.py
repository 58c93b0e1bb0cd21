# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every error text is read by a test: words of it that hardly any other text has stand in one.

That a text stands in a test does not prove that the test provokes it, so this finds what was forgotten, and no more.
"""

from __future__ import annotations

import collections
import functools
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.static.test_docs import texts

pytestmark = pytest.mark.timeout(180)  # all sources and tests are read
ROOT = Path(__file__).resolve().parents[2]
WORD = re.compile(r"[A-Za-z0-9_.=-]*[A-Za-z0-9]")
TOGETHER = 3  # words in a row tell one text from others
RARE = 2  # texts may have them


def in_a_row(text: str, number: int) -> list[str]:
    """Runs of so many words between values."""
    pieces = [WORD.findall(piece) for piece in text.split("…")]
    return [" ".join(words[at : at + number]) for words in pieces for at in range(len(words) - number + 1)]


@functools.cache
def what_tests_say() -> str:
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path.parent != ROOT / "tests/static" and "output" not in path.parts]
    return "\n".join(" ".join(WORD.findall(path.read_text())) for path in paths)


def unread(known: t.Iterable[str]) -> list[str]:
    shared = collections.Counter(run for text in known for run in set(in_a_row(text, TOGETHER)))
    found = []
    for text in known:
        telling = [run for run in in_a_row(text, TOGETHER) if shared[run] <= RARE] or in_a_row(text, 2) or WORD.findall(text)
        if not any(run in what_tests_say() for run in telling):
            found.append(text)
    return found


def test_every_error_text_is_read_by_a_test() -> None:
    assert unread([one.text for one in texts()]) == []


def test_a_text_that_no_test_reads_is_found() -> None:
    new = "the moon over … is full tonight"
    assert unread([new]) == [new]
    assert unread(["…: the file must hold JSON (…)"]) == []
