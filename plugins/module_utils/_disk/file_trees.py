# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whole directories of the store: removed with what is immutable in them, and measured."""

from __future__ import annotations

import errno
import os
import stat
import typing as t

from .attributes import set_immutable, set_immutable_of
from .errors import UnsafePath
from .file_io import NOTHING_THERE, remove_file


def remove_tree(path: str) -> None:
    """Remove a directory of the store with everything in it, immutable files included.

    No link is followed, the path itself included, also when one is put there meanwhile. On network storage a file that a process
    of this host has open gets another name when it is removed, and is gone with its last user: until then the directory stays.
    """
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafePath(f"{path} is a symbolic link or a file where a directory of the store is expected.", path=path)
        raise
    try:
        emptied = _empty(directory)
    finally:
        os.close(directory)
    if not emptied:
        return
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass


def _empty(directory: int) -> bool:
    """False if the only files left are deleted ones that a process still has open."""
    emptied = True
    for name in os.listdir(directory):
        try:
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                try:
                    inner_emptied = _empty(inner)
                finally:
                    os.close(inner)
                if inner_emptied:
                    os.rmdir(name, dir_fd=directory)
                emptied = emptied and inner_emptied
                continue
            if stat.S_ISREG(mode):
                _make_mutable(name, directory)
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.EBUSY or not _is_removed(name):
                raise
    left = os.listdir(directory)
    return emptied and not (left and all(map(_is_removed, left)))


def _is_removed(name: str) -> bool:
    """Whether a network file system keeps the file until its last user closes it."""
    return name.startswith((".nfs", ".fuse_hidden", ".smb"))


def _make_mutable(name: str, directory: int) -> None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return  # what cannot be opened cannot be immutable by our doing; removing it tells why
    try:
        set_immutable_of(descriptor, False)
    finally:
        os.close(descriptor)


def remove_tree_or_file(path: str) -> None:
    """Remove a directory with its content, or a file or link."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return
        raise
    if stat.S_ISDIR(mode):
        remove_tree(path)
        return
    if stat.S_ISREG(mode):
        set_immutable(path, False)
    remove_file(path)


def own_file_or_none(path: str) -> None:
    """Make sure that what has the name can be written to, or nothing has it: a file that has further names is somebody else's too,
    and anything but a file is nothing of ours. A writer that died may have left it immutable."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        remove_tree_or_file(path)
        return
    set_immutable(path, False)
    if status.st_nlink > 1:
        remove_file(path)


def tree_about(path: str) -> dict[str, t.Any]:
    """``{"path", "bytes", "changed_at"}``: what a file or a directory takes, and when anything in it was changed last."""
    taken, changed_at = 0, 0.0
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            status = os.lstat(here)
            waiting += [entry.path for entry in os.scandir(here)] if stat.S_ISDIR(status.st_mode) else []
        except FileNotFoundError:
            continue
        taken += status.st_blocks * 512
        changed_at = max(changed_at, status.st_mtime)
    return {"path": path, "bytes": taken, "changed_at": round(changed_at, 3)}
