# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What guests have written: their reports and the end of their consoles. Untrusted, so bounded and checked."""

from __future__ import annotations

import json
import re
import typing as t

from .files import read_tail
from .report_script import PREFIX

# A guest can write as much as it likes; a report is among the last of it.
_TAIL_BYTES = 4 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_CONSOLE_BYTES = 16 * 1024

_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[@-Z\\-_])")


def find_report(content: bytes, token: str) -> dict[str, t.Any] | None:
    """The last complete report with this token: hostname, instance_id, status, addresses, errors."""
    found = None
    for line in content.split(b"\n")[:-1]:
        _junk, prefix, text = line.partition(PREFIX.encode())
        if prefix and len(text) <= _LONGEST_LINE:
            found = _checked(text, token) or found
    return found


def read_report(path: str, token: str) -> dict[str, t.Any] | None:
    return find_report(read_tail(path, _TAIL_BYTES), token)


def console_tail(path: str, lines: int = 20) -> list[str]:
    """The last lines that say something, without control characters."""
    text = _ESCAPE.sub("", read_tail(path, _CONSOLE_BYTES).decode("utf-8", "replace"))
    cleaned = ("".join(c for c in line if c.isprintable()).rstrip() for line in re.split(r"[\r\n]+", text))
    return [line[:200] for line in cleaned if line][-lines:]


def _checked(text: bytes, token: str) -> dict[str, t.Any] | None:
    data = _parsed(text)
    if data is None:
        # The last part is a file of the guest's, copied as it was.
        data = _parsed(text.partition(b',"result":')[0] + b"}")
    if not isinstance(data, dict) or data.get("token") != token:
        return None
    addresses = data.get("addresses")
    return {
        "hostname": str(data.get("hostname", "")),
        "instance_id": str(data.get("instance_id", "")),
        "status": str(data.get("status", "")),
        "addresses": [str(address) for address in addresses] if isinstance(addresses, list) else [],
        "errors": _errors(data.get("result")),
    }


def _parsed(text: bytes) -> t.Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _errors(result: t.Any) -> list[str]:
    """The errors in cloud-init's result.json."""
    try:
        return [str(error)[:500] for error in result["v1"]["errors"]][:20]
    except (KeyError, TypeError):
        return []
