# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A block below what others print, in a real pseudo terminal."""

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._progress.screen import Screen
from ansible_collections.basecast.fleet.tests.terminal import Terminal


class Setup:
    def __init__(self, columns: int = 20, rows: int = 8) -> None:
        self.terminal = Terminal(columns, rows)
        self.out = os.fdopen(os.dup(self.terminal.slave), "w", buffering=1, encoding="utf-8")
        self.err = os.fdopen(os.dup(self.terminal.slave), "w", buffering=1, encoding="utf-8")
        self.screen = Screen([self.out, self.err])

    def draw(self, *lines: str) -> str:
        self.screen.draw(lines)
        return self.shown()

    def print(self, text: str, end: str = "\n", err: bool = False) -> str:
        stream = self.err if err else self.out
        stream.write(text + end)
        stream.flush()
        return self.shown()

    def shown(self) -> str:
        self.terminal.read()
        return self.terminal.text

    def close(self) -> None:
        self.screen.close()
        for stream in (self.out, self.err):
            stream.close()
        os.close(self.terminal.slave)
        self.terminal.close()


@pytest.fixture
def setup() -> t.Iterator[Setup]:
    setup = Setup()
    yield setup
    setup.close()


def test_the_block_is_drawn_in_place_below_what_is_printed(setup: Setup) -> None:
    assert setup.print("TASK") == "TASK"
    assert setup.draw("kvm2 10%", "total 10%") == "TASK\nkvm2 10%\ntotal 10%"
    assert setup.draw("kvm2 20%", "\x1b[1mtotal 20%\x1b[0m") == "TASK\nkvm2 20%\ntotal 20%"
    assert setup.print("ok: kvm1") == "TASK\nok: kvm1"
    assert setup.draw("kvm2 30%", "total") == "TASK\nok: kvm1\nkvm2 30%\ntotal"
    assert setup.print("a warning", err=True) == "TASK\nok: kvm1\na warning"
    assert setup.draw("kvm2 40%") == "TASK\nok: kvm1\na warning\nkvm2 40%"
    setup.screen.clear()
    assert setup.shown() == "TASK\nok: kvm1\na warning"
    assert (setup.terminal.x, setup.terminal.y) == (0, 3)


def test_a_block_that_shrinks_leaves_nothing_and_scrolls_with_the_rest(setup: Setup) -> None:
    setup.print("\n".join("abcdef"))
    setup.draw("1", "2", "3")
    assert setup.draw("one") == "a\nb\nc\nd\ne\nf\none"
    assert setup.print("g") == "a\nb\nc\nd\ne\nf\ng"
    for number in range(20):
        setup.print(f"line {number}")
        setup.draw("kvm2", "total")
    assert setup.shown().endswith("line 18\nline 19\nkvm2\ntotal")
    assert setup.shown().count("kvm2") == 1


def test_the_same_again_costs_nothing(setup: Setup) -> None:
    setup.draw("kvm2", "total")
    before = len(setup.terminal.bytes)
    setup.draw("kvm2", "total")
    assert len(setup.terminal.bytes) == before
    setup.print("TASK")
    assert setup.draw("kvm2", "total") == "TASK\nkvm2\ntotal"


def test_a_prompt_is_not_drawn_over(setup: Setup) -> None:
    setup.draw("kvm2")
    assert setup.print("Continue? ", end="") == "Continue?"
    assert setup.draw("kvm2", "total") == "Continue?"
    assert setup.print("yes") == "Continue? yes"
    assert setup.draw("kvm2") == "Continue? yes\nkvm2"


@pytest.mark.parametrize("columns", [7, 10, 40])
def test_a_terminal_that_changes_its_width_is_left_clean(setup: Setup, columns: int) -> None:
    setup.print("TASK")
    setup.draw("kvm2 ━━━━━━━━━━━━━━", "total ━━━━━━━━━━━━━")
    setup.terminal.resize(columns, 8)
    assert setup.draw("kvm2", "total") == "TASK\nkvm2\ntotal"
    assert setup.print("ok") == "TASK\nok"


def test_the_room_leaves_the_last_column_and_a_line(setup: Setup) -> None:
    assert setup.screen.room == (19, 6)
    setup.draw(*("x" * 19 for _number in range(6)))
    assert setup.print("TASK") == "TASK"


def test_nothing_is_left_behind_at_the_end(setup: Setup) -> None:
    writes = [setup.out.buffer.write, setup.err.buffer.write]
    setup.draw("kvm2")
    setup.screen.close()
    assert setup.shown() == ""
    assert setup.out.buffer.write is not writes[0]
    assert setup.err.buffer.write is not writes[1]
    assert setup.print("TASK") == "TASK"
    assert b"?25l" not in setup.terminal.bytes, "the cursor is never hidden"


def test_a_child_process_writes_as_if_there_were_no_block(setup: Setup) -> None:
    setup.draw("kvm2")
    child = os.fork()
    if child == 0:
        os.write(setup.out.fileno(), b"")
        setup.out.write("child\n")
        setup.out.flush()
        os._exit(0)
    os.waitpid(child, 0)
    assert setup.shown() == "kvm2\nchild"
