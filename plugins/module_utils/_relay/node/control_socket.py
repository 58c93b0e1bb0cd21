# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The control socket: one JSON object a line, a request and its answer. The directory's mode keeps others out."""

from __future__ import annotations

import json
import os
import socket
import threading
import typing as t

from ..._errors import FleetError
from ..._untrusted import Malformed, Value, read
from ..errors import ControlFailed, RelayError

MAX_LINE_BYTES = 16 * 1024 * 1024

# The progress of a large fleet has many values, a base's record and a plan have few levels.
MAX_VALUES = 4_000_000
MAX_DEPTH = 32

# The longest that a request may wait inside the node: who asks repeats it, so a dead asker costs little.
LONG_POLL_S = 20.0

# sun_path of the Linux kernel.
_MAX_PATH_BYTES = 107

Handler = t.Callable[[Value], t.Dict[str, t.Any]]


def listen(path: str) -> socket.socket:
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise RelayError(f"The path of the control socket is longer than {_MAX_PATH_BYTES} bytes: {path}")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.bind(path)
        server.listen(64)
    except OSError:
        server.close()
        raise
    return server


def serve(server: socket.socket, handler: Handler, stop: threading.Event) -> None:
    """Answer until the node stops; each connection has its thread."""
    server.settimeout(0.5)
    while not stop.is_set():
        try:
            connection, _address = server.accept()
        except socket.timeout:
            continue
        except OSError:
            if stop.wait(0.1):
                return
            continue
        try:
            threading.Thread(target=_answer, args=(connection, handler), name="control", daemon=True).start()
        except RuntimeError:
            connection.close()


def _answer(connection: socket.socket, handler: Handler) -> None:
    with connection:
        try:
            connection.settimeout(10.0)
            message = _read_line(connection)
            try:
                answer = handler(message)
            except FleetError as error:
                answer = {"error": error.message, "failure": error.fields}
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except (OSError, ControlFailed):
            pass  # the asker is gone, or has not asked for anything


def ask(path: str, message: t.Mapping[str, t.Any], timeout: float = 30.0) -> dict[str, t.Any]:
    """Ask the node. :raises ControlFailed: if no node answers there; RelayError: what it answered."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(timeout)
        try:
            connection.connect(path)
            connection.sendall(json.dumps(message).encode() + b"\n")
            answer = _read_line(connection).mapping()
        except OSError as error:
            raise ControlFailed(f"No relay node answers at {path}: {error}") from error
    if "error" in answer:
        failure = answer.get("failure")
        fields = failure if isinstance(failure, dict) else {}
        raise RelayError(str(answer["error"]), **{key: value for key, value in fields.items() if key not in ("kind", "message")})
    return answer


def _read_line(connection: socket.socket) -> Value:
    """:raises ControlFailed: it is no message, or not a whole one."""
    parts: list[bytes] = []
    size = 0
    while True:
        part = connection.recv(65536)
        if not part:
            raise ControlFailed("The connection ended within a message.")
        parts.append(part)
        size += len(part)
        if size > MAX_LINE_BYTES:
            raise ControlFailed("A message is too long.")
        if part.endswith(b"\n"):
            break
    return read_message(b"".join(parts))


def read_message(data: bytes) -> Value:
    """:raises ControlFailed:"""
    try:
        message = read(data, "message", MAX_LINE_BYTES, MAX_DEPTH, MAX_VALUES)
        message.mapping()
    except Malformed as error:
        raise ControlFailed(f"A message cannot be read: {error.message}") from error
    return message
