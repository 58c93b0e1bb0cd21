# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Places for files that the controller sends to a host, one for each file and run: <pool>/bases/.incoming/<random>/<name>.

Nobody but root can look into them, and nobody can know their names beforehand: no other run takes one's file away, and no
link can have been planted there.
"""

from __future__ import annotations

import os
import secrets
import typing as t

from .._errors import InvalidOption
from . import file_io, file_trees
from .sources import UPLOADS
from .store import Store

_OLD_S = 2 * 86400


def make(store: Store, name: str, size: int = 0) -> str:
    """The path at which a file of this name may be put. What runs that were killed have left goes.

    :param size: of the file; nobody else counts on its room as long as the place is there.
    :raises NoSpace: there is none.
    """
    check_file_name(name)
    store.prepare()
    parent = os.path.join(store.directory, UPLOADS)
    file_io.ensure_directory(parent, 0o700)
    os.chmod(parent, 0o700)
    directory = os.path.join(parent, secrets.token_hex(16))
    os.mkdir(directory, 0o700)
    _sweep(parent, os.lstat(directory).st_mtime)
    path = os.path.join(directory, name)
    try:
        store.room.keep(size, f"The upload of {name}", path)
    except BaseException:  # an interrupt must not leave the place either
        os.rmdir(directory)
        raise
    return path


def remove(store: Store, path: str) -> bool:
    """Give the place back, with what was put there; True when it was there."""
    directory, name = os.path.split(path)
    parent = os.path.join(store.directory, UPLOADS)
    if os.path.dirname(directory) != parent or not name:
        raise InvalidOption("path", path, f"a path that was given for an upload lies below {parent}")
    if not os.path.lexists(directory):
        return False
    file_trees.remove_tree_or_file(directory)
    return True


def places(store: Store) -> list[dict[str, t.Any]]:
    """``[{"path", "bytes", "changed_at"}]`` of what was uploaded and not taken yet, or never."""
    parent = os.path.join(store.directory, UPLOADS)
    return [file_trees.tree_about(os.path.join(parent, name)) for name in file_io.names_in(parent)]


def leave(path: str) -> None:
    """Remove the directory of a file that has been taken out of its place."""
    directory = os.path.dirname(path)
    if os.path.basename(os.path.dirname(directory)) == UPLOADS:
        try:
            os.rmdir(directory)
        except OSError:
            pass  # something else is there; it is swept later


def check_file_name(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > 200:
        raise InvalidOption("file_name", name, "a file name has no slash and at most 200 bytes")
    return name


def _sweep(parent: str, now: float) -> None:
    """Remove places in which nothing has changed for long.

    :param now: by the clock of the storage, which other hosts share with this one, or not.
    """
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if now - file_trees.tree_about(path)["changed_at"] > _OLD_S:
            file_trees.remove_tree_or_file(path)
