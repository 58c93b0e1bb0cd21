# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Writes the files of new disks, under temporary names.

Differencing disks with equal backing name, format and size are byte for byte the same file when they are new, so
qemu-img makes one of each kind and the rest are copies of it.
"""

from __future__ import annotations

import os
import typing as t
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from .._errors import FleetError
from . import file_io, filesystem, layout, sparse_copy, transfer
from .base import Base
from .disk_decisions import DISK_MODE, Decision
from .qemu_img import QemuImg
from .store import Store

ORIGIN_FORMAT = 1
_PIECE = 4096
_COPIES_AT_ONCE = 4

Find = t.Callable[[str, str], t.Optional[Base]]


class NewDisks:
    """
    :param find: the base of a digest in a pool, if it is there.
    """

    def __init__(self, stores: t.Mapping[str, Store], qemu: QemuImg, find: Find) -> None:
        self._stores = stores
        self._qemu = qemu
        self._find = find

    def write(self, items: t.Sequence[Decision], temporary: t.Mapping[str, str]) -> None:
        """Write all of them to disk.

        :param temporary: under which name, by path.
        """
        self._create_overlays([item for item in items if item.is_overlay], temporary)
        self._create_others([item for item in items if not item.is_overlay], temporary)
        _sync(list(temporary.values()))

    def _create_overlays(self, items: t.Sequence[Decision], temporary: t.Mapping[str, str]) -> None:
        templates: dict[tuple[str, str, int], list[tuple[int, bytes]]] = {}
        for item in items:
            backing = t.cast(str, item.backing)
            image_format = t.cast(Base, item.base).image_format
            kind = (backing, image_format, item.size_bytes)
            path = temporary[item.path]
            if kind not in templates:
                self._qemu.create_overlay(path, backing, image_format, item.size_bytes)
                os.chmod(path, DISK_MODE)
                templates[kind] = _pieces(path)
            else:
                _write_pieces(path, templates[kind])

    def _create_others(self, items: t.Sequence[Decision], temporary: t.Mapping[str, str]) -> None:
        """Side by side, as copies take long. After a failure those that have begun are waited for, since all is cleaned up."""
        if not items:
            return
        with ThreadPoolExecutor(max_workers=min(len(items), _COPIES_AT_ONCE)) as workers:
            futures = [workers.submit(self._create_other, item, temporary[item.path]) for item in items]
            if any(future.exception() is not None for future in wait(futures, return_when=FIRST_EXCEPTION).done):
                for future in futures:
                    future.cancel()
        for future in futures:
            if not future.cancelled():
                future.result()

    def _create_other(self, item: Decision, path: str) -> None:
        """An empty disk, a copy or a clone; what it was made from is written down before it appears."""
        wish, base = item.wish, item.base
        if base is None:
            self._qemu.create(path, item.size_bytes)
        elif wish.differencing:
            self._clone(item, base, path)
        elif base.parent is not None:
            self._qemu.flatten(base.path, base.image_format, path, "qcow2", self._stores[item.pool].room)
        else:
            self._copy(item, base, path)
        os.chmod(path, DISK_MODE)
        if base is not None and item.size_bytes > base.virtual_size_bytes:
            self._qemu.resize(path, item.image_format, item.size_bytes)
        origin = {
            "format": ORIGIN_FORMAT,
            "base": wish.base,
            "differencing": wish.differencing,
            "backend": wish.backend,
        }
        record = layout.origin_path(item.directory, t.cast(str, wish.name))
        file_io.replace_file(record, file_io.json_bytes(origin), 0o644)

    def _clone(self, item: Decision, base: Base, path: str) -> None:
        if self._copy(item, base, path) != "reflink":
            kind = filesystem.describe(self._stores[item.pool].pool_path).type
            raise FleetError(
                f"{item.wish.title}: the base disk in pool {base.pool} cannot be reflinked into pool {item.pool} (file system "
                f"{kind}); use XFS or Btrfs for both, or backend qcow2.",
                kind="no_reflink",
                filesystem=kind,
                pool=item.pool,
            )
        if item.backing is not None and base.parent is not None:
            parent = self._find(base.pool, base.parent)
            self._qemu.set_backing(path, item.backing, t.cast(Base, parent).image_format)

    def _copy(self, item: Decision, base: Base, path: str) -> str:
        descriptor = file_io.open_regular(base.path)
        try:
            return transfer.copy_file(descriptor, path, base.size_bytes, self._stores[item.pool].room)
        finally:
            os.close(descriptor)


def _pieces(path: str) -> list[tuple[int, bytes]]:
    """A file as the pieces of it that are not zero; the last one, empty, stands at its end."""
    data = file_io.read_file(path)
    zeros = bytes(_PIECE)
    pieces = []
    for offset in range(0, len(data), _PIECE):
        piece = data[offset : offset + _PIECE]
        if piece != zeros[: len(piece)]:
            pieces.append((offset, piece))
    return [*pieces, (len(data), b"")]


def _write_pieces(path: str, pieces: t.Sequence[tuple[int, bytes]]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, DISK_MODE)
    try:
        os.fchmod(descriptor, DISK_MODE)
        for offset, piece in pieces:
            if piece:
                sparse_copy.write_at(descriptor, piece, offset)
            else:
                os.ftruncate(descriptor, offset)
    finally:
        os.close(descriptor)


def _sync(paths: t.Sequence[str]) -> None:
    """All files on disk. Writing is begun for all of them first: the first wait then covers most of the rest."""
    for waited_for in (False, True):
        for path in paths:
            descriptor = file_io.open_regular(path)
            try:
                if waited_for:
                    os.fsync(descriptor)
                else:
                    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
