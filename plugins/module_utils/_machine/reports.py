# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What guests have written: their reports and the end of their consoles. Untrusted, so bounded and checked."""

from __future__ import annotations

import re
import typing as t

from .._text import clean
from .._untrusted import Malformed, Value, read
from .files import read_tail
from .report_script import PREFIX

# A guest can write as much as it likes; a report is among the last of it.
_TAIL_BYTES = 4 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_CONSOLE_BYTES = 16 * 1024
_MOST_ERRORS = 20
_TOKEN_WITHIN = 1024

_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[@-Z\\-_])")


def find_report(content: bytes, token: str) -> dict[str, t.Any] | None:
    """The last complete report with this token: hostname, instance_id, status, addresses, errors.

    :raises Malformed: lines with this token are all that there is, and none of them is a report.
    """
    found, problem = None, None
    for line in content.split(b"\n")[:-1]:
        _junk, prefix, text = line.partition(PREFIX.encode())
        if not prefix:
            continue
        try:
            found = _checked(text, token) or found
        except Malformed as error:
            # A guest may print anything; only what proves to be this machine's says something about it.
            if f'"{token}"'.encode() in text[:_TOKEN_WITHIN]:
                problem = error
    if found is None and problem is not None:
        raise problem
    return found


def read_report(path: str, token: str) -> dict[str, t.Any] | None:
    return find_report(read_tail(path, _TAIL_BYTES), token)


def console_tail(path: str, lines: int = 20) -> list[str]:
    """The last lines that say something, as they may be shown."""
    text = _ESCAPE.sub("", read_tail(path, _CONSOLE_BYTES).decode("utf-8", "replace"))
    cleaned = ("".join(c for c in line if c.isprintable()).rstrip() for line in re.split(r"[\r\n]+", text))
    return [clean(line[:200], 200) for line in cleaned if line][-lines:]


def _checked(text: bytes, token: str) -> dict[str, t.Any] | None:
    """None for another machine's report."""
    try:
        report = _parsed(text)
    except Malformed:
        # The last parts are files of the guest's, copied as they were.
        report = _parsed(text.partition(b',"result":')[0] + b"}")
    if report["token"].text() != token:
        return None
    return {
        "hostname": report["hostname"].cleaned(253),
        "instance_id": report["instance_id"].cleaned(200),
        "status": report["status"].choice("done", "degraded", "error"),
        "addresses": [address.text(64, "[0-9A-Fa-f.:]+", "an address") for address in report["addresses"].items(64)],
        "errors": [*_errors(report), *_recoverable(report)][:_MOST_ERRORS],
    }


def _parsed(text: bytes) -> Value:
    return read(text, "the report", max_bytes=_LONGEST_LINE)


def _errors(report: Value) -> list[str]:
    """The errors in cloud-init's result.json."""
    try:
        return [error.cleaned(500) for error in report["result"]["v1"]["errors"].items(1000)]
    except Malformed:
        return []


def _recoverable(report: Value) -> list[str]:
    """What cloud-init's status.json calls recoverable errors: the reasons of "degraded"."""
    found: list[str] = []
    try:
        stages = report["stages"]["v1"].entries(50)
    except Malformed:
        return found
    for stage in stages.values():
        try:
            for level, messages in stage["recoverable_errors"].entries(20).items():
                found += [f"{clean(level, 20)}: {message.cleaned(500)}" for message in messages.items(1000)]
        except Malformed:
            continue
    return list(dict.fromkeys(found))
