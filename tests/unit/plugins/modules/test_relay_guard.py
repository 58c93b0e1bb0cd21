# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node import control_socket
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Value
from ansible_collections.basecast.fleet.plugins.modules import relay_guard


@pytest.fixture
def node(tmp_path: Path) -> t.Iterator[tuple[str, list[str]]]:
    """A control socket, and what was asked there."""
    asked: list[str] = []
    stop = threading.Event()
    path = str(tmp_path / "node.sock")
    server: socket.socket = control_socket.listen(path)

    def answer(message: Value) -> dict[str, t.Any]:
        asked.append(message["command"].text(64))
        return {}

    thread = threading.Thread(target=control_socket.serve, args=(server, answer, stop))
    thread.start()
    yield path, asked
    stop.set()
    thread.join()
    server.close()


def test_it_guards_as_long_as_it_is_connected(node: tuple[str, list[str]]) -> None:
    path, asked = node
    left = iter([True] * 3 + [False])
    relay_guard.guard(path, lambda: next(left), 0.05)
    assert asked == ["guard"] * 3


def test_without_a_node_there_is_nothing_to_guard(tmp_path: Path) -> None:
    relay_guard.guard(str(tmp_path / "none"), lambda: True, 0.01)


def test_a_node_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_guard, "MOST_MISSED", 2)
    path = tmp_path / "node.sock"
    server = control_socket.listen(str(path))
    server.close()
    relay_guard.guard(str(path), lambda: True, 0.01)
