# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The digest of a file's bytes as they are read back from it, kept up to date behind its writer.

To hash a base when it is complete would read it from a disk that has long dropped it from the cache. So the growing
beginning is hashed while it is still cached. What was hashed may be changed afterwards; nobody sees that from the bytes
behind the reader. The kernel does tell whether another process has written to the file, though: it reports each end of
a write access (inotify), and each change together with the process that made it (fanotify), also one that needs no open
file, as truncate(2) does; and it refuses a lease on a file that is open for writing. If anybody but the writer has written,
or if the kernel cannot tell, the file is read again from its first byte.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib
import os
import signal
import struct
import time
import typing as t

from .chunk_list import ChunkHasher, ChunkList
from .regular_file import open_regular

# What is read at once: it stays in the processor's cache until it is hashed.
READ_BYTES = 1024 * 1024

# How often a file is read that is being changed by somebody, before that is an error.
MAX_READS = 3

# How long somebody else may keep the file open for writing, in seconds.
WRITER_S = 5.0

_IN_CLOSE_WRITE, _IN_UNMOUNT, _IN_OVERFLOW = 0x8, 0x2000, 0x4000
_EVENT = struct.Struct("iIII")

_FAN_MODIFY, _FAN_MARK_ADD, _AT_FDCWD = 0x2, 0x1, -100
_FAN_FLAGS = 0x1 | 0x2 | 0x200  # close on exec, do not block, name the file by its handle: else truncate(2) is not reported
_CHANGE = struct.Struct("=IBBHQii")  # its own length, version, reserved, length of this, what, descriptor, process

# File systems that know no leases answer with one of these.
_NO_LEASES = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EACCES, errno.EPERM)


class FileChanging(Exception):
    """Another process writes to the file. The message is complete."""


class WriteWatch:
    """Tells whether anybody else has changed an open file since the watch began: a process that has ended a write access to it,
    this one included, or another process that has written to it or cut it off.

    :param descriptor: of the file. Where the system cannot watch it for both, ``reliable`` is False: Linux before 5.1
        cannot, and somewhat later ones cannot on overlays and on subvolumes of Btrfs.
    """

    def __init__(self, descriptor: int) -> None:
        self._queue = self._changes = -1
        with contextlib.suppress(ImportError, OSError, AttributeError):
            # Not every Python has it.
            ctypes = importlib.import_module("ctypes")
            library = ctypes.CDLL(None, use_errno=True)
            # By the descriptor, so that it is this file whatever becomes of its name.
            place = f"/proc/self/fd/{descriptor}".encode()
            self._queue = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if self._queue >= 0 and library.inotify_add_watch(self._queue, place, _IN_CLOSE_WRITE) < 0:
                self.close()
            self._changes = library.fanotify_init(_FAN_FLAGS, os.O_RDONLY | os.O_CLOEXEC)
            what = ctypes.c_uint64(_FAN_MODIFY)
            if self._changes >= 0 and library.fanotify_mark(self._changes, _FAN_MARK_ADD, what, _AT_FDCWD, place) < 0:
                os.close(self._changes)
                self._changes = -1

    @property
    def reliable(self) -> bool:
        return self._queue >= 0 and self._changes >= 0

    def noticed(self) -> bool:
        """Whether there was a write access that ended, or a change by another process, since the last call."""
        found = False
        for events in _queued(self._queue):
            offset = 0
            while offset < len(events):
                _watch, mask, _cookie, length = _EVENT.unpack_from(events, offset)
                found = found or bool(mask & (_IN_CLOSE_WRITE | _IN_UNMOUNT | _IN_OVERFLOW))
                offset += _EVENT.size + length
        for events in _queued(self._changes):
            offset = 0
            while offset < len(events):
                length, _version, _reserved, _own, _mask, _descriptor, process = _CHANGE.unpack_from(events, offset)
                # One of a process that this one cannot see has the number 0; so has an overflow of the queue.
                found = found or process != os.getpid()
                offset += max(length, _CHANGE.size)
        return found

    def close(self) -> None:
        for queue in (self._queue, self._changes):
            if queue >= 0:
                os.close(queue)
        self._queue = self._changes = -1


def _queued(queue: int) -> t.Iterator[bytes]:
    """What the kernel has to tell; nothing where it cannot be asked."""
    while queue >= 0:
        try:
            events = os.read(queue, 4096)
        except BlockingIOError:
            return
        yield events


class FileDigest:
    """SHA-256 of a file, read from its beginning to its end as far as it is there. Used by one thread at a time.

    :param path: a regular file; the last component is not followed if it is a symbolic link.
    :param chunk_list: whether its chunk list is made as well.
    :param local: False for network storage, where other hosts write without this one's kernel noticing.
    :raises OSError: also when it is not a regular file.
    """

    _descriptor = -1

    def __init__(self, path: str, chunk_list: bool = False, local: bool = True) -> None:
        self.path = path
        self.position = 0
        # How many bytes were hashed in all: more than the file has if it had to be read again.
        self.read_bytes = 0
        self._chunk_list = chunk_list
        self._local = local
        self._disturbed = False
        self._buffer = memoryview(bytearray(READ_BYTES))
        # Size and time of change of the file when all of it had been read.
        self._finished: tuple[int, int] | None = None
        self._listed: ChunkList | None = None
        self._descriptor = open_regular(path)
        try:
            self._watch = WriteWatch(self._descriptor)
        except BaseException:  # an interrupt must not leave the descriptor open either
            os.close(self._descriptor)
            self._descriptor = -1  # before __del__ would close it again
            raise
        self.restart()

    def __del__(self) -> None:
        self.close()

    def is_of(self, path: str) -> bool:
        """Whether the file of that name is the one that is hashed here."""
        try:
            return os.path.samestat(os.lstat(path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def advance(self, end: int, reading: t.Callable[[int, int], None] = lambda _offset, _count: None) -> None:
        """Hash what stands between ``position`` and ``end``: the writer has finished there.

        :param reading: called with the offset and length of each part before it is read.
        :raises OSError: it cannot be read, or is shorter.
        """
        while self.position < end:
            view = self._buffer[: min(end - self.position, READ_BYTES)]
            reading(self.position, len(view))
            count = os.preadv(self._descriptor, [view], self.position)
            if count == 0:
                raise OSError(errno.EIO, "the file became shorter while it was read", self.path)
            self._hasher.update(view[:count])
            self.position += count
            self.read_bytes += count

    @contextlib.contextmanager
    def own_close(self) -> t.Iterator[None]:
        """Within this, the caller ends its own write access; that is not taken for another's."""
        self._disturbed = self._watch.noticed() or self._disturbed
        yield
        # Another's that ends in this very moment cannot be told from ours.
        self._watch.noticed()

    def finish(self) -> str:
        """SHA-256 of the whole file, hexadecimal. The caller has ended its own write access.

        Once nobody has the file open for writing, nobody has written since the watch began, and it was read to its end,
        what was hashed is what stands in it. It stays so as long as nobody opens it again for writing: the caller makes
        it immutable before.

        :raises FileChanging: somebody does not stop writing to it. OSError:
        """
        if self._finished is None and not (self._local and self._watch.reliable):
            self._disturbed = True
        for _read in range(MAX_READS):
            self._await_writers()
            before = self._state()
            if self._watch.noticed() or self._disturbed or self._finished not in (None, before):
                self.restart()
            self.advance(before[0])
            if self._state() == before and not self._watch.noticed() and not self._written_elsewhere():
                self._finished = before
                return self._whole()
            self._disturbed = True
        raise FileChanging(f"Another process writes to {self.path}; end it, and try again.")

    @property
    def chunks(self) -> ChunkList:
        """The chunk list of what was hashed by ``finish``."""
        if self._listed is None:
            raise ValueError("There is no chunk list before the file is complete, or none was asked for.")
        return self._listed

    def close(self) -> None:
        if self._descriptor >= 0:
            self._watch.close()
            os.close(self._descriptor)
            self._descriptor = -1

    def restart(self) -> None:
        """Nothing of what was hashed counts any more."""
        self.position = 0
        self._disturbed = False
        self._finished = None
        self._sha256 = ""
        self._listed = None
        self._hasher: t.Any = ChunkHasher() if self._chunk_list else hashlib.sha256()

    def _whole(self) -> str:
        if not self._sha256 and isinstance(self._hasher, ChunkHasher):
            self._sha256, self._listed = self._hasher.finish()
        elif not self._sha256:
            self._sha256 = self._hasher.hexdigest()
        return self._sha256

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns

    def _await_writers(self) -> None:
        deadline = time.monotonic() + WRITER_S
        while self._written_elsewhere():
            if time.monotonic() > deadline:
                raise FileChanging(f"Another process has {self.path} open for writing; end it, and try again.")
            time.sleep(0.05)

    def _written_elsewhere(self) -> bool:
        """A lease for reading is given only if there is none."""
        return self._local and is_open_for_writing(self._descriptor)


def is_open_for_writing(descriptor: int) -> bool:
    """Whether any process of this host, this one included, or a loop device has the file open for writing.

    :param descriptor: opened for reading. On network storage, and where the file system knows no leases, False.
    """
    try:
        # Who opens it for writing while the lease lasts makes the kernel send a signal, by default one that kills.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EBUSY):
            return True
        if error.errno in _NO_LEASES:
            return False
        raise
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
