# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The single seam to other programs on the host: arguments in; exit code, output and errors out."""

from __future__ import annotations

import os
import shutil
import typing as t

from .errors import ToolMissing

#: Modules pass AnsibleModule.run_command; tests pass a function.
Runner = t.Callable[[t.List[str]], t.Tuple[int, str, str]]

MIB = 1024 * 1024


def find_program(name: str) -> str | None:
    """Absolute path of a program; root's search path is used even where the caller's lacks the sbin directories."""
    path = os.environ.get("PATH", "")
    return shutil.which(name, path=os.pathsep.join(filter(None, [path, "/usr/local/sbin", "/usr/sbin", "/sbin"])))


def limited(arguments: t.Sequence[str], address_space_mib: int, cpu_s: int = 0) -> list[str]:
    """The same command under limits, so that a hostile image costs this much and no more.

    Without prlimit (util-linux) the command runs as it is.
    """
    prlimit = find_program("prlimit")
    if prlimit is None:
        return list(arguments)
    command = [prlimit, f"--as={address_space_mib * MIB}", "--core=0"]
    if cpu_s:
        command.append(f"--cpu={cpu_s}")
    return [*command, "--", *arguments]


def require_program(name: str, package: str) -> str:
    found = find_program(name)
    if found is None:
        raise ToolMissing(name, package)
    return found
