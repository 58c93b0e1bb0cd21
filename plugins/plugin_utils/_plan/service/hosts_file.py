# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Machines in a file such as /etc/hosts: a marked block for each service, and nothing else of the file is touched."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import FleetError
from ....module_utils._machine.owner import host_names
from .machine_hosts import machine_hosts

_MARK = re.compile(r"^# (BEGIN|END) basecast\.fleet (\S+)/(\S+)$")

Key = tuple[str, str]  # tenant, service
Lines = dict[str, str]  # line by the machine's name


def hosts_file(status: object, text: str, tenant: str | None = None, service: str | None = None) -> str:
    """The file's new text.

    :param status: as fleet_status makes it.
    :param text: what the file holds now.
    :param tenant: whose services the status tells of; None for all tenants.
    :param service: the only one that it tells of.
    :raises FleetError: the file's marks do not belong together, or it is no such status.
    """
    told = _told(status)
    # What cannot be known stays as it was.
    unknown = bool(status.get("unknown")) if isinstance(status, Mapping) else True
    kept, blocks = _read(text)
    if not blocks and not told:
        return text
    for key, lines in blocks.items():
        if tenant not in (None, key[0]) or service not in (None, "", key[1]):
            told[key] = lines
        elif unknown:
            told[key] = {**lines, **told.get(key, {})}
    while kept and not kept[-1].strip():
        kept.pop()
    new = [line for key in sorted(told) if told[key] for line in _block(key, told[key])]
    end = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
    return "".join([*(f"{line}\n" for line in kept), *(f"{line}{end}" for line in [*([""] if kept and new else []), *new])])


def _told(status: object) -> dict[Key, Lines]:
    found: dict[Key, Lines] = {}
    for host in machine_hosts(status):
        about = host["variables"]
        if about["machine_address"] is not None:
            # Hosts say what services and machines are called: no machine may take a name such as github.com on the controller.
            names = " ".join(host_names(host["name"], about["machine_service"], about["machine_name"]))
            block = found.setdefault((about["machine_tenant"], about["machine_service"]), {})
            block[host["name"]] = f"{about['machine_address']} {names}"
    return found


def _read(text: str) -> tuple[list[str], dict[Key, Lines]]:
    """Lines of others, each as it is, and our blocks."""
    kept: list[str] = []
    blocks: dict[Key, Lines] = {}
    open_: Key | None = None
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a form feed may stand in a line
        mark = _MARK.match(line.rstrip())
        if mark:
            key = (mark[2], mark[3])
            if (open_ is None) != (mark[1] == "BEGIN") or (open_ or key) != key:
                _refuse(f"line {number}: {line.rstrip()}")
            open_ = key if mark[1] == "BEGIN" else None
            blocks.setdefault(key, {})
        elif open_ is None:
            kept.append(line)
        elif len(words := line.split()) > 1:
            blocks[open_][words[1]] = line.rstrip()
    if open_ is not None:
        _refuse(f"# BEGIN basecast.fleet {'/'.join(open_)}")
    return kept, blocks


def _refuse(line: str) -> t.NoReturn:
    raise FleetError(f"basecast_hosts_file: {line} has no counterpart in the file; expected pairs of BEGIN and END; remove the line")


def _block(key: Key, lines: Lines) -> Sequence[str]:
    name = "/".join(key)
    return [f"# BEGIN basecast.fleet {name}", *(lines[one] for one in sorted(lines, key=_by_number)), f"# END basecast.fleet {name}"]


def _by_number(name: str) -> list[t.Any]:
    """web-2 before web-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
