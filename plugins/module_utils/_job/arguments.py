# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The file in which Ansible leaves a module's arguments while the module runs."""

from __future__ import annotations

import os

_BEGIN = "AnsiballZ_"


def forget(module_name: str, command_line: str = "/proc/self/cmdline") -> bool:
    """Delete the file that this process was started from, which holds the arguments; whether there was one.

    By then it has been read. Left alone, it would stay for as long as the module runs, and for good if the host stops before.
    With pipelining there is none; with ``async`` there always is.
    """
    try:
        with open(command_line, "rb") as file:
            words = [os.fsdecode(word) for word in file.read().split(b"\0")]
    except OSError:
        return False
    for path in words[1:]:
        if os.path.isabs(path) and os.path.basename(path).startswith(f"{_BEGIN}{module_name}"):
            try:
                os.unlink(path)
            except OSError:
                return False
            return True
    return False
