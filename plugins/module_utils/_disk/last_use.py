# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""When a base was last of use: it came, a disk was made from it or removed, somebody referred to it, or a look found it needed.

    <pool>/bases/.used/<sha256>

is an empty file; its time of change counts. What reads a base leaves no trace in it: it is immutable, and file systems are
often mounted without times of access.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._names import check_sha256
from . import attributes, file_io, layout

_DIRECTORY = ".used"


def stamp_path(directory: str, sha256: str) -> str:
    """
    :param directory: of the store.
    """
    return os.path.join(directory, _DIRECTORY, check_sha256("sha256", sha256))


def note(directory: str, bases: t.Iterable[str]) -> None:
    """These bases were of use just now. A stamp that cannot be written keeps nobody from using a base."""
    layout.refuse_links(*os.path.split(directory))
    with contextlib.suppress(OSError):
        file_io.ensure_directory(os.path.join(directory, _DIRECTORY))
        for sha256 in bases:
            path = stamp_path(directory, sha256)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(path, flags, attributes.BASE_MODE)
            try:
                os.utime(descriptor)
            finally:
                os.close(descriptor)


def at(directory: str, sha256: str) -> float:
    """Seconds since 1970. The latest of all signs: a base that was moved here from elsewhere came just now."""
    references = os.path.join(directory, ".refs", check_sha256("sha256", sha256))
    times = [0.0]
    places = [os.path.join(directory, sha256), references, stamp_path(directory, sha256)]
    with contextlib.suppress(OSError):
        places += [os.path.join(references, name) for name in os.listdir(references)]
    for place in places:
        with contextlib.suppress(OSError):
            times.append(_changed_at(place))
    return max(times)


def _changed_at(path: str) -> float:
    """What sets the time of change back is a change itself."""
    try:
        # Opened, since network file systems then ask their server, and tell nothing that they have kept.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        status = os.lstat(path)
    else:
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    return max(status.st_mtime, status.st_ctime)
