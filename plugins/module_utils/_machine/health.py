# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Health of a machine beyond the report of its guest: TCP ports, an HTTP answer, a command by the guest agent.

One vocabulary for manifests, jobs and updates. Everything that answers is untrusted: read in bounds, shown cleaned.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import socket
import ssl
import time
import typing as t

from .._errors import FleetError
from .._text import clean
from .._untrusted import Malformed, read
from .hardware.key import argument, given

_PORT = {"type": "integer", "minimum": 1, "maximum": 65535, "description": "a TCP port is a whole number from 1 to 65535"}

SCHEMA: dict[str, t.Any] = {
    "type": "object",
    "description": "health is a mapping of ports, http, command and timeout_s",
    "examples": ["{ports: [80]}"],
    "properties": {
        "ports": {
            "type": "array",
            "minItems": 1,
            "maxItems": 64,
            "items": _PORT,
            "description": "ports are a list of TCP ports that have to answer",
            "examples": ["[80]"],
        },
        "http": {
            "type": "object",
            "description": "http is a mapping of port, path, status and tls",
            "examples": ["{port: 80, path: /healthy}"],
            "properties": {
                "port": _PORT,
                "path": {
                    "type": "string",
                    "pattern": r"^/[!-~]{0,1000}$(?!\n)",
                    "description": "a path begins with / and has no spaces",
                },
                "status": {
                    "type": "integer",
                    "minimum": 100,
                    "maximum": 599,
                    "description": "a status is a number from 100 to 599; without it, 200 to 399 are healthy",
                },
                "tls": {"type": "boolean", "description": "true (https, whoever has signed the certificate) or false is expected"},
            },
            "additionalProperties": False,
        },
        "command": {
            "type": "array",
            "minItems": 1,
            "maxItems": 64,
            "items": {"type": "string", "minLength": 1, "description": "a part of a command is a text that is not empty"},
            "description": "a command is a list of a program of the guest and its arguments; it is healthy when it ends with 0",
            "examples": ["[pg_isready, -q]"],
        },
        "timeout_s": {
            "type": "integer",
            "minimum": 1,
            "maximum": 86400,
            "description": "seconds until a machine counts as unhealthy are a whole number from 1 to 86400",
        },
    },
    "anyOf": [{"required": ["ports"]}, {"required": ["http"]}, {"required": ["command"]}],
    "additionalProperties": False,
}

ANSWER_S = 5.0  # for one attempt
PAUSE_S = 1.0
_AGENT_S = 5
_MOST_ADDRESSES = 8
_LINE_BYTES = 4096
_ANSWER_BYTES = 1 << 20
_SHOWN = 300
# As QEMU's agent says it of a process that it does not know, before and since its version 8.
_UNKNOWN_PROCESS = re.compile(r"Invalid parameter 'pid'|PID -?\d+ does not exist")


def health_argument() -> dict[str, t.Any]:
    """The same as an option of a module, with the addresses that the machine was given."""
    spec = argument(SCHEMA)
    spec["options"]["addresses"] = {"type": "list", "elements": "str"}
    return spec


class Check(t.NamedTuple):
    """One thing that has to be so.

    :param kind: port, http or command.
    """

    kind: str
    port: int = 0
    path: str = ""
    status: int | None = None
    tls: bool = False
    command: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As a report names it."""
        if self.kind == "port":
            return f"port {self.port}"
        if self.kind == "http":
            wanted = f" with status {self.status}" if self.status else ""
            return f"{'https' if self.tls else 'http'} :{self.port}{self.path}{wanted}"
        return f"command {clean(' '.join(self.command), 100)}"


def checks_of(health: t.Mapping[str, t.Any] | None) -> list[Check]:
    """What is to be checked, in the order in which it is told.

    :param health: as ``SCHEMA`` has it, or as the option of a module; None for nothing.
    """
    asked = given(health or {})
    found = [Check("port", port) for port in asked.get("ports") or ()]
    http = asked.get("http")
    if http is not None:
        tls = bool(http.get("tls"))
        found.append(Check("http", http.get("port") or (443 if tls else 80), http.get("path") or "/", http.get("status"), tls))
    if asked.get("command"):
        found.append(Check("command", command=tuple(asked["command"])))
    return found


def network_checks(health: t.Mapping[str, t.Any] | None) -> list[Check]:
    """Those that another host can make as well."""
    return [check for check in checks_of(health) if check.kind != "command"]


class Unhealthy(FleetError):
    """Why a check has not succeeded so far."""

    kind = "unhealthy"


class Guest(t.Protocol):
    """What is asked of a guest's agent."""

    def agent_command(self, command: str, timeout_s: int) -> str:
        """The agent's answer. :raises FleetError: there is none."""


def usable(addresses: t.Iterable[str]) -> list[str]:
    """Addresses that lead from the host to the guest, each once, without their prefix."""
    found = []
    for text in addresses:
        try:
            address = ipaddress.ip_address(text.partition("/")[0])
        except ValueError:  # a guest says what it likes
            continue
        # ::ffff:127.0.0.1 leads to the host itself as well.
        address = getattr(address, "ipv4_mapped", None) or address
        if not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast):
            found.append(str(address))
    return list(dict.fromkeys(found))[:_MOST_ADDRESSES]


def attempt(
    check: Check,
    addresses: t.Sequence[str],
    guest: Guest | None = None,
    answer_s: float = ANSWER_S,
    begun: dict[Check, int] | None = None,
) -> None:
    """One attempt. It has succeeded if it returns.

    :param addresses: of which one has to answer.
    :param begun: processes of the guest that earlier attempts have left, by check: give the same to all attempts, so that no command
        runs twice at a time. Changed here.
    :raises Unhealthy: why not.
    """
    if check.kind == "command":
        if guest is None:
            raise Unhealthy("the machine does not run")
        try:
            _run(check, guest, answer_s, {} if begun is None else begun)
        except Unhealthy:
            raise
        except FleetError as error:  # no agent, or an answer that makes no sense
            raise Unhealthy(error.message) from error
        return
    if not addresses:
        raise Unhealthy("no address of it is known")
    reasons = []
    for address in addresses:
        try:
            _connect(check, address, answer_s)
            return
        except (OSError, ValueError) as error:
            reasons.append(f"{address}: {_why(error)}")
    raise Unhealthy("; ".join(reasons))


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return clean(getattr(error, "strerror", None) or str(error) or type(error).__name__, _SHOWN)


def _connect(check: Check, address: str, answer_s: float) -> None:
    deadline = time.monotonic() + answer_s
    with socket.create_connection((address, check.port), answer_s) as plain:
        if check.kind == "port":
            return
        connection: socket.socket = plain
        if check.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(plain)
        host = f"[{address}]" if ":" in address else address
        name = host if check.port in (80, 443) else f"{host}:{check.port}"
        request = f"GET {check.path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: basecast.fleet\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("ascii"))
        status = _status(connection, deadline)
    if status != check.status if check.status else not 200 <= status < 400:
        raise ValueError(f"it answers with status {status}")


def _status(connection: socket.socket, deadline: float) -> int:
    """The status of an HTTP answer, of which no more than the first line is read."""
    line = b""
    while b"\n" not in line:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(_LINE_BYTES)
        line += piece
        if not piece or len(line) > _LINE_BYTES:
            break
    found = re.match(rb"HTTP/[0-9.]{1,8} ([1-5][0-9]{2})\b", line)
    if found is None:
        raise ValueError("it does not answer with HTTP" if line else "it ends the connection without an answer")
    return int(found[1])


def _run(check: Check, guest: Guest, answer_s: float, begun: dict[Check, int]) -> None:
    program, *arguments = check.command
    deadline = time.monotonic() + answer_s
    if check in begun and not _has_ended(guest, begun[check]):
        raise Unhealthy(f"it has not ended within {answer_s:g} s, and runs on")
    begun[check] = _start(guest, program, arguments, capture=True)
    while True:
        status = _status_of(guest, begun[check])
        if status["exited"].flag():
            break
        if time.monotonic() >= deadline:
            _end(guest, begun[check])
            raise Unhealthy(f"it has not ended within {answer_s:g} s")
        time.sleep(0.2)
    del begun[check]
    code = status.get("exitcode")
    number = None if code is None else code.integer()
    if number != 0:
        ended = "it was ended by a signal" if number is None else f"it ends with {number}"
        said = _said(status)
        raise Unhealthy(f"{ended}: {said}" if said else ended)


def _start(guest: Guest, program: str, arguments: t.Sequence[str], capture: bool = False) -> int:
    asked = {"path": program, "arg": list(arguments), "capture-output": capture}
    return int(_ask(guest, "guest-exec", asked)["pid"].integer())


def _status_of(guest: Guest, pid: int) -> t.Any:
    return _ask(guest, "guest-exec-status", {"pid": pid})


def _has_ended(guest: Guest, pid: int) -> bool:
    """Whether a process that an earlier attempt has left is gone, so that another may be started.

    The agent counts it as ended once its output is closed: what it has started itself and left behind is waited for as well.
    """
    try:
        return bool(_status_of(guest, pid)["exited"].flag())
    except FleetError as error:
        if _UNKNOWN_PROCESS.search(error.message):  # the guest, or its agent, was started anew
            return True
        raise


def _end(guest: Guest, pid: int) -> None:
    """Ask for a process to be killed. A guest that cannot do that lets it run, and it is waited for."""
    for program, *arguments in (("kill", "-KILL", str(pid)), ("taskkill", "/F", "/T", "/PID", str(pid))):
        try:
            _start(guest, program, arguments)
            return
        except FleetError:  # no such program, as Windows has no kill
            continue


def _ask(guest: Guest, name: str, arguments: t.Mapping[str, t.Any]) -> t.Any:
    answer = guest.agent_command(json.dumps({"execute": name, "arguments": arguments}), _AGENT_S)
    return read(answer, "the answer of the guest agent", max_bytes=_ANSWER_BYTES)["return"]


def _said(status: t.Any) -> str:
    """The last of what a command has written."""
    for key in ("err-data", "out-data"):
        try:
            text = status.get(key)
            said = base64.b64decode(text.text(_ANSWER_BYTES), validate=True) if text is not None else b""
        except (Malformed, binascii.Error):
            continue
        if said.strip():
            return clean(said.strip()[-_SHOWN:], _SHOWN)
    return ""
