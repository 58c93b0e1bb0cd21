# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the store needs of a file system: safe opening, durable publishing, clones, holes, attributes, identity."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import socket
import stat
import struct
import typing as t

from .._untrusted import MAX_BYTES, Malformed, Value, parse
from .errors import NoSpace, StorageFailed, UnsafePath

DIRECTORY_MODE = 0o711
BASE_MODE = 0o444
COPY_BYTES = 1024 * 1024
HOLE_BYTES = 64 * 1024

_FICLONE = 0x40049409
_LONG = struct.calcsize("l")
_GETFLAGS = 0x80006601 | (_LONG << 16)
_SETFLAGS = 0x40006602 | (_LONG << 16)
_IMMUTABLE = 0x10

#: Errors by which a file system says that it has no such operation, as opposed to a failure.
_UNSUPPORTED = (
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EINVAL,
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.ENOSYS,
    errno.ETXTBSY,
)

#: Errors by which a name, or a directory on the way to it, stands for nothing that the store has made.
NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

#: File systems that one kernel alone works on. Any other may be mounted elsewhere too, however it is called.
_LOCAL_TYPES = frozenset(
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "bcachefs", "f2fs", "jfs", "reiserfs", "nilfs2", "udf", "tmpfs", "ramfs", "rootfs"]
    + ["overlay", "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "fuse.ntfs-3g", "fuse.fuse-overlayfs", "unknown"]
)


class Mount(t.NamedTuple):
    type: str
    source: str
    point: str


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file: the last component is not followed when it is a symbolic link."""
    place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mode = os.fstat(place).st_mode
        if stat.S_ISLNK(mode):
            raise UnsafePath(f"{path} is a symbolic link where a file of the store is expected; remove it.", path=path)
        if not stat.S_ISREG(mode):
            raise UnsafePath(f"{path} is not a regular file.", path=path)
        return reopen(place, flags)
    finally:
        os.close(place)


def reopen(place: int, flags: int = os.O_RDONLY) -> int:
    """Open what an O_PATH descriptor stands for, once it is known to be a regular file.

    To open anything else may do something: a watchdog begins to count, a tape is wound, the writer of a pipe goes on.
    """
    return os.open(f"/proc/self/fd/{place}", flags | os.O_CLOEXEC | os.O_NONBLOCK)


def ensure_directory(path: str, mode: int = DIRECTORY_MODE) -> bool:
    """Make the directory, parents not included; True when it was made. A symbolic link in its place is refused."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise UnsafePath(f"{path} is a symbolic link or a file where a directory of the store is expected; remove it.", path=path)
        return False
    os.chmod(path, mode)
    return True


def names_in(path: str) -> list[str]:
    """What is in a directory of the store; nothing where none is, or where something else has its name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return []
        raise
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    descriptor = open_regular(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str, data: bytes | t.Iterable[bytes], mode: int) -> None:
    """A new file with these bytes, in one piece or several, on disk when this returns. The name must be free."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            for part in (data,) if isinstance(data, bytes) else data:
                file.write(part)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unique() -> str:
    """A part of a temporary file's name that no other process on any host uses."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()[:40])
    return f"{host}.{os.getpid()}.{secrets.token_hex(4)}"


def replace_file(path: str, data: bytes | t.Iterable[bytes], mode: int) -> None:
    """Put these bytes under the name at once: readers see the old or the new file, also after a crash."""
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)[:150]}.{unique()}.tmp")
    try:
        write_file(temporary, data, mode)
        os.rename(temporary, path)
    except BaseException:  # an interrupt must not leave the temporary file either
        remove_file(temporary)
        raise
    sync_directory(os.path.dirname(path))


def read_file(path: str, limit: int = 1 << 30) -> bytes:
    """The whole file. Malformed when it is longer than ``limit``."""
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise Malformed(path, f"it has {size} bytes; at most {limit} are accepted")
        # read() allocates what it is asked for: never more than there is.
        return file.read(min(limit, size + 1))


def read_json(path: str, limit: int = MAX_BYTES) -> t.Any:
    """What a JSON file says. Malformed, which is a ValueError too, when it holds anything else."""
    return parse(read_file(path, limit), path, limit)


def read_value(path: str, limit: int = MAX_BYTES) -> Value:
    """The same, to be read field by field."""
    return Value(read_json(path, limit), path)


def json_bytes(value: t.Any) -> bytes:
    """One spelling for equal values, so that equal files have equal bytes."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def remove_file(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return False
        raise
    return True


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
        _set_immutable(descriptor, False)
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


def protect(path: str) -> None:
    """Nobody writes the file any more, as far as the file system can see to it; on disk when this returns.

    Where root may not give a file to itself (NFS with root_squash), its owner is whoever the server makes of root: the mode
    still keeps others from writing it, so that is accepted.
    """
    descriptor = open_regular(path)
    try:
        if os.geteuid() == 0:
            try:
                os.fchown(descriptor, 0, 0)
            except PermissionError:
                pass
        try:
            os.fchmod(descriptor, BASE_MODE)
        except PermissionError:
            if os.fstat(descriptor).st_mode & 0o222:
                raise
        os.fsync(descriptor)
        _set_immutable(descriptor, True)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_immutable(path: str) -> bool:
    try:
        descriptor = open_regular(path)
    except OSError:
        return False
    try:
        return bool(_flags(descriptor) & _IMMUTABLE)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def set_immutable(path: str, wanted: bool) -> bool:
    """True when the file has the attribute as wanted now; False where file system or privileges do not allow it."""
    descriptor = open_regular(path)
    try:
        return _set_immutable(descriptor, wanted)
    finally:
        os.close(descriptor)


def _flags(descriptor: int) -> int:
    return t.cast(int, struct.unpack("l", fcntl.ioctl(descriptor, _GETFLAGS, b"\0" * _LONG))[0])


def _set_immutable(descriptor: int, wanted: bool) -> bool:
    try:
        flags = _flags(descriptor)
        if bool(flags & _IMMUTABLE) != wanted:
            changed = flags | _IMMUTABLE if wanted else flags & ~_IMMUTABLE
            fcntl.ioctl(descriptor, _SETFLAGS, struct.pack("l", changed))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def clone(source: int, destination: int) -> bool:
    """Make the open destination a reflink of the open source; False where the file system cannot."""
    try:
        fcntl.ioctl(destination, _FICLONE, source)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def data_ranges(descriptor: int, size: int) -> t.Iterator[tuple[int, int]]:
    """(start, end) of what is not a hole; the whole file where holes are not known."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            yield position, size
            return
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        if start >= size:
            return
        yield start, end
        position = end


def read_all(descriptor: int, size: int, consume: t.Callable[[memoryview], t.Any]) -> None:
    """Hand every byte to ``consume`` in order, holes as zeros that were never read from the disk."""
    zeros = memoryview(bytes(COPY_BYTES))
    buffer = memoryview(bytearray(COPY_BYTES))
    position = 0

    def skip_to(end: int) -> None:
        nonlocal position
        while position < end:
            step = min(end - position, COPY_BYTES)
            consume(zeros[:step])
            position += step

    for start, end in data_ranges(descriptor, size):
        skip_to(start)
        while position < end:
            count = os.preadv(descriptor, [buffer[: min(end - position, COPY_BYTES)]], position)
            if count == 0:
                raise OSError(errno.EIO, "file became shorter while it was read")
            consume(buffer[:count])
            position += count
    skip_to(size)
    if os.fstat(descriptor).st_size < size:  # what was cut off looks like a hole
        raise OSError(errno.EIO, "file became shorter while it was read")


def copy_sparse(
    source: int,
    destination: int,
    size: int,
    consume: t.Callable[[memoryview], t.Any] | None = None,
    written: t.Callable[[int], t.Any] | None = None,
) -> None:
    """Copy open files; holes and runs of zeros become holes.

    :param consume: sees all bytes in order.
    :param written: told up to where the destination is complete, whenever that has grown.
    """
    zeros = bytes(HOLE_BYTES)
    position = 0

    def write(data: memoryview) -> None:
        nonlocal position
        if consume is not None:
            consume(data)
        for offset in range(0, len(data), HOLE_BYTES):
            piece = data[offset : offset + HOLE_BYTES]
            if piece.tobytes() != zeros[: len(piece)]:
                write_at(destination, piece, position + offset)
        position += len(data)
        if written is not None:
            written(position)

    os.ftruncate(destination, size)
    read_all(source, size, write)


def write_at(descriptor: int, data: memoryview | bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view = view[count:]
        offset += count


def allocated_bytes(path: str) -> int:
    return os.lstat(path).st_blocks * 512


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


def no_space(error: OSError, attempt: str, path: str) -> NoSpace | None:
    """The named failure when the error says that the disk or quota is full."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return NoSpace(f"{attempt}: no space left in {path}; nothing incomplete was kept.", path=path)


_OF_STORAGE = (errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EUCLEAN)


def storage_failed(error: OSError, attempt: str, path: str) -> NoSpace | StorageFailed | None:
    """The named failure when the error is one of this host's storage, full or out of order, and not of what was brought."""
    if error.errno in _OF_STORAGE:
        return StorageFailed(f"{attempt}: the storage of {path} is out of order ({error.strerror}); look at the host's storage.", path=path)
    return no_space(error, attempt, path)


# -- identity ---------------------------------------------------------------------------------------------------


def parse_mounts(text: str) -> list[Mount]:
    """Mounts in the order of /proc/self/mountinfo; later ones cover earlier ones at the same point."""
    mounts = []
    for line in text.split("\n"):  # other ends of lines may be in the name of a mount point, which a user may choose
        before, _separator, after = line.partition(" - ")
        fields, details = before.split(" "), after.split(" ")
        if len(fields) > 4 and len(details) > 1:
            mounts.append(Mount(_unescape(details[0]), _unescape(details[1]), _unescape(fields[4])))
    return mounts


def _unescape(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def mount_of(path: str, mounts: t.Sequence[Mount]) -> Mount | None:
    """The mount that a resolved path lies in: the longest mount point above it, the last of equals."""
    best = None
    for mount in mounts:
        prefix = mount.point.rstrip("/") + "/"
        if (path + "/").startswith(prefix) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def is_network_type(kind: str) -> bool:
    return kind not in _LOCAL_TYPES


def is_network(path: str) -> bool:
    """Whether the path lies on network storage, where other hosts write without this one's kernel noticing."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mount = mount_of(os.path.realpath(existing_parent(path)), parse_mounts(file.read()))
    return mount is not None and is_network_type(mount.type)


def existing_parent(path: str) -> str:
    """The path, or the nearest directory above it that exists."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


class FileSystem(t.NamedTuple):
    """The file system under a pool. ``identity`` is a hint only: equal ones may be one directory. None while there is no pool."""

    type: str
    identity: str | None
    shared: bool
    reflink: bool
    immutable: bool


def describe(path: str) -> FileSystem:
    """Probes reflink and the immutable attribute on nameless files, so nothing is left behind."""
    place = existing_parent(path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mount = mount_of(os.path.realpath(place), parse_mounts(file.read()))
    kind = mount.type if mount else "unknown"
    shared = is_network_type(kind)
    identity = None
    if place == path:
        status = os.stat(path)
        if shared and mount:
            identity = f"net:{kind}:{mount.source}:{status.st_ino}"
        else:
            identity = f"local:{boot_id()}:{status.st_dev}:{status.st_ino}"
    reflink, immutable = _probe(place)
    return FileSystem(kind, identity, shared, reflink, immutable)


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _probe(directory: str) -> tuple[bool, bool]:
    descriptors: list[int] = []
    try:
        for _number in range(2):
            descriptors.append(os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
        os.write(descriptors[0], bytes(4096))
        reflink = clone(descriptors[0], descriptors[1])
        immutable = _set_immutable(descriptors[1], True)
        if immutable:
            _set_immutable(descriptors[1], False)
        return reflink, immutable
    except OSError:
        return False, False
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def is_writable(path: str) -> bool:
    try:
        read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError:
        return False
    return not read_only and os.access(path, os.W_OK | os.X_OK)
