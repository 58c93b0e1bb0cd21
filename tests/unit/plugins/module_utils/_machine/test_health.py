# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import socket
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine import health
from ansible_collections.basecast.fleet.plugins.module_utils._machine.health import Check, Unhealthy, attempt, checks_of, usable
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError

HERE = ["127.0.0.1"]


@pytest.mark.parametrize(
    ("asked", "texts"),
    [
        (None, []),
        ({"ports": [80, 443], "http": None, "command": None, "timeout_s": 5}, ["port 80", "port 443"]),
        ({"http": {}}, ["http :80/"]),
        ({"http": {"tls": True, "path": "/up", "status": 204, "port": None}}, ["https :443/up with status 204"]),
        ({"command": ["pg_isready", "-q\x1b[2J"], "ports": [1]}, ["port 1", "command pg_isready -q\\x1b[2J"]),
    ],
)
def test_checks_are_told_as_texts(asked: t.Any, texts: list[str]) -> None:
    assert [check.text for check in checks_of(asked)] == texts


def test_addresses_that_lead_nowhere_are_left_out() -> None:
    to_the_host = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:7f00:2/128", "::ffff:169.254.169.254", "::ffff:0.0.0.0"]
    assert usable([*to_the_host, "fe80::1", "192.0.2.7/24", "::ffff:192.0.2.7", "no address", "2001:db8::1", "0.0.0.0"]) == [
        "192.0.2.7",
        "2001:db8::1",
    ]


class Server:
    """Answers each connection with the same bytes."""

    def __init__(self, answer: bytes, hold: bool = False) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked = b""
        self._answer, self._hold, self._held = answer, hold, []  # type: ignore[var-annotated]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _serve(self) -> None:
        try:
            while True:
                connection, _address = self.socket.accept()
                self.asked = connection.recv(4096)
                connection.sendall(self._answer)
                if self._hold:
                    self._held.append(connection)
                else:
                    connection.close()
        except OSError:
            pass


@pytest.mark.parametrize(
    ("answer", "status", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", None, ""),
        (b"HTTP/1.0 301 Moved\r\n", None, ""),
        (b"HTTP/1.1 204 No Content\r\n", 204, ""),
        (b"HTTP/1.1 200 OK\r\n", 204, "127.0.0.1: it answers with status 200"),
        (b"HTTP/1.1 503 Busy\r\n", None, "127.0.0.1: it answers with status 503"),
        (b"SSH-2.0-x\r\n", None, "127.0.0.1: it does not answer with HTTP"),
        (b"x" * 100_000, None, "127.0.0.1: it does not answer with HTTP"),
        (b"", None, "127.0.0.1: it ends the connection without an answer"),
    ],
)
def test_an_http_answer_is_judged_by_its_first_line(answer: bytes, status: int | None, problem: str) -> None:
    server = Server(answer)
    check = Check("http", server.port, "/healthy?x=1", status)
    if problem:
        with pytest.raises(Unhealthy) as caught:
            attempt(check, HERE)
        assert caught.value.message == problem
    else:
        attempt(check, HERE)
        assert server.asked.startswith(b"GET /healthy?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    server.close()


def test_a_server_that_says_nothing_does_not_hold_the_question() -> None:
    server = Server(b"HTTP/1.1", hold=True)
    with pytest.raises(Unhealthy, match="no answer"):
        attempt(Check("http", server.port, "/"), HERE, answer_s=0.2)
    server.close()


def test_one_address_that_answers_suffices() -> None:
    server = Server(b"")
    attempt(Check("port", server.port), ["127.0.0.9", "127.0.0.1"])
    server.close()
    with pytest.raises(Unhealthy, match=r"127\.0\.0\.9: Connection refused; 127\.0\.0\.1: Connection refused"):
        attempt(Check("port", server.port), ["127.0.0.9", "127.0.0.1"])
    with pytest.raises(Unhealthy, match="no address of it is known"):
        attempt(Check("port", server.port), [])


class Agent:
    """A guest agent that gives these answers one after another."""

    def __init__(self, *answers: t.Any) -> None:
        self._answers = list(answers)
        self.asked: list[t.Any] = []

    def agent_command(self, command: str, timeout_s: int) -> str:
        self.asked.append(json.loads(command))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else json.dumps({"return": answer})


def said(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([{"pid": 7}, {"exited": False}, {"exited": True, "exitcode": 0}], ""),
        ([{"pid": 7}, {"exited": True, "exitcode": 2, "err-data": said(b"no\x1b[2J server\n")}], "it ends with 2: no\\x1b[2J server"),
        ([{"pid": 7}, {"exited": True, "exitcode": 1}], "it ends with 1"),
        ([{"pid": 7}, {"exited": True, "signal": 9}], "it was ended by a signal"),
        ([LibvirtError("libvirt could not ask the guest agent of x: it is not connected")], "libvirt could not ask the guest agent of x"),
        (["[" * 500], "the answer of the guest agent"),
        ([{"pid": "7"}], "the answer of the guest agent"),
    ],
)
def test_a_command_of_the_guest_is_judged_by_its_end(monkeypatch: pytest.MonkeyPatch, answers: list[t.Any], problem: str) -> None:
    monkeypatch.setattr(health.time, "sleep", lambda seconds: None)
    agent = Agent(*answers)
    check = Check("command", command=("pg_isready", "-q"))
    if problem:
        with pytest.raises(Unhealthy) as caught:
            attempt(check, [], agent)
        assert caught.value.message.startswith(problem), caught.value.message
    else:
        attempt(check, [], agent)
    assert agent.asked[0] == {
        "execute": "guest-exec",
        "arguments": {"path": "pg_isready", "arg": ["-q"], "capture-output": True},
    }


class HangingGuest:
    """A guest whose command runs until it is killed, if it can be."""

    def __init__(self, *killers: str) -> None:
        self.killers = killers
        self.running: set[int] = set()
        self.started: list[list[str]] = []
        self.known = True

    def agent_command(self, command: str, timeout_s: int) -> str:
        asked = json.loads(command)
        given = asked["arguments"]
        if asked["execute"] == "guest-exec-status":
            if not self.known:
                raise LibvirtError("libvirt could not ask the guest agent of x: internal error: PID 1 does not exist")
            return json.dumps({"return": {"exited": given["pid"] not in self.running, "signal": 9}})
        if given["path"] != "hang" and given["path"] not in self.killers:
            raise LibvirtError("libvirt could not ask the guest agent of x: Failed to execute child process (No such file or directory)")
        self.started.append([given["path"], *given["arg"]])
        pid = len(self.started)
        if given["path"] == "hang":
            self.running.add(pid)
        else:
            self.running.discard(int(given["arg"][-1]))
        return json.dumps({"return": {"pid": pid}})


@pytest.mark.parametrize(
    ("killers", "started"),
    [
        (["kill"], [["hang"], ["kill", "-KILL", "1"], ["hang"], ["kill", "-KILL", "3"]]),
        (["taskkill"], [["hang"], ["taskkill", "/F", "/T", "/PID", "1"], ["hang"], ["taskkill", "/F", "/T", "/PID", "3"]]),
        ([], [["hang"]]),
    ],
)
def test_a_command_that_hangs_is_ended_or_waited_for(killers: list[str], started: list[list[str]]) -> None:
    guest = HangingGuest(*killers)
    begun: dict[Check, int] = {}
    for _attempt in range(2):
        with pytest.raises(Unhealthy, match="it has not ended within 0 s"):
            attempt(Check("command", command=("hang",)), [], guest, 0.0, begun)
        assert len(guest.running) <= 1
    assert guest.started == started


def test_a_command_is_asked_again_once_the_guest_has_started_anew() -> None:
    guest = HangingGuest()
    check = Check("command", command=("hang",))
    guest.known = False
    with pytest.raises(Unhealthy, match="does not exist"):
        attempt(check, [], guest, 0.0, {check: 41})
    assert guest.started == [["hang"]]
