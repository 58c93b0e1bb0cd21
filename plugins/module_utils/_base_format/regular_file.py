# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Opening files where others may have put something else: a link leads elsewhere, a pipe keeps its reader waiting for ever."""

from __future__ import annotations

import errno
import os
import stat


def open_regular(path: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A descriptor of a regular file. Nothing else is opened, nor made of a link's target.

    :param flags: with O_CREAT it is made where nothing is.
    :raises OSError: also if it is something else.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
        return os.open(path, flags | os.O_EXCL, mode)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, f"{path} is not a regular file")
        # Not by its name, which may stand for something else by now. To open a device may do something.
        return os.open(f"/proc/self/fd/{place}", flags & ~(os.O_NOFOLLOW | os.O_CREAT) | os.O_NONBLOCK)
    finally:
        os.close(place)
