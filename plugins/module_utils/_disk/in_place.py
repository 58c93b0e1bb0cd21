# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A damaged base disk that running machines have open is put right under them: with another file in its place they would go on
reading the wrong bytes until they are started again.
"""

from __future__ import annotations

import os
import typing as t

from .._base_format.chunk_list import CHUNK_BYTES
from .._base_format.file_digest import FileDigest
from .._errors import FleetError
from . import attributes, file_io, file_trees, in_use, sparse_copy, verification
from .errors import DiskBusy


def put_right(directory: str, sha256: str, sound: str, record: str, digest_of: t.Callable[[str], FileDigest]) -> bool:
    """Overwrite the wrong chunks of an unusable base's disk, and write its record and chunk list again.

    :param directory: that of the base.
    :param sound: a directory with ``disk``, ``base.json`` and ``chunks`` of the same base, which are known to be right.
    :param record: where to note that the disk was compared with its digest.
    :returns: False if no process has the disk open: nothing was done, and the file can be replaced.
    :raises DiskBusy: the disk is open and has another size or another name, or is open for writing; FleetError: OSError:
    """
    path = os.path.join(directory, "disk")
    source = file_io.open_regular(os.path.join(sound, "disk"))
    try:
        size = os.fstat(source).st_size
        if not _is_read(path, size):
            return False
        file_trees.remove_tree_or_file(os.path.join(directory, "chunks"))  # unusable until all of it is right
        attributes.set_immutable(path, False)
        target = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _write_differences(source, target, size)
            os.fsync(target)
        finally:
            os.close(target)
    finally:
        os.close(source)
    attributes.protect(path)
    digest = digest_of(path)
    try:
        found = digest.finish()
    finally:
        digest.close()
    if found != sha256:
        raise FleetError(f"{path} has the digest {found} after its wrong bytes were written again; look at the host's storage.", path=path)
    verification.remember(record, path)
    for name in ("base.json", "chunks"):
        place = os.path.join(directory, name)
        file_trees.remove_tree_or_file(place)
        file_io.replace_file(place, file_io.read_file(os.path.join(sound, name)), attributes.BASE_MODE)
    file_io.sync_directory(directory)
    return True


def _is_read(path: str, size: int) -> bool:
    """Whether the disk is open for reading only. Not for one that no process has open."""
    descriptor = file_io.open_regular(path)
    try:
        if in_use.look(descriptor) is None:
            return False
        status = os.fstat(descriptor)
        if status.st_nlink > 1:  # under its other name it is somebody's own file, who may have changed it on purpose
            raise DiskBusy(
                f"{path} is open and has {status.st_nlink} names (hard links), so its bytes are not written again. Stop the machines on "
                "it, and repeat the command: it is exchanged then, and the other file stays as it is.",
                path=path,
            )
        in_use.refuse_open(descriptor, path, "replaced", readers=status.st_size != size)
        return True
    finally:
        os.close(descriptor)


def _write_differences(source: int, target: int, size: int) -> None:
    for offset in range(0, size, CHUNK_BYTES):
        right = os.pread(source, min(CHUNK_BYTES, size - offset), offset)
        try:
            wrong = os.pread(target, len(right), offset) != right
        except OSError:  # a bad sector, which writing may bring back
            wrong = True
        if wrong:
            sparse_copy.write_at(target, right, offset)
