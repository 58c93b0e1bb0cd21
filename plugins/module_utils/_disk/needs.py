# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What every disk of the host needs, whoever made it: the whole chain below each image, read from the images' headers.

Other than ``users``, which tells what is there, this says what cannot be read: who removes something on its account must know
that it has seen everything.
"""

from __future__ import annotations

import os
import re
import stat
import typing as t

from .._text import shown
from .._untrusted import Malformed, parse
from . import layout
from .image_header import HEAD_BYTES, QCOW2_MAGIC, HeaderError, parse_qcow2
from .store import Store

#: What libvirt or a guest says of these, they are no images with a parent unless they can be read as such.
_PLAIN = (".raw", ".iso", ".json", ".log", ".tmp")
_QED_MAGIC = b"QED\0"
_LONGEST_CHAIN = 1000
#: Parents behind these names lie elsewhere, and take no file of this host.
_REMOTE = ("http", "https", "ftp", "ftps", "ssh", "rbd", "iscsi", "iser", "gluster", "nfs", "sheepdog", "vxhs")
#: Devices that may stand for any file of this host.
_OPAQUE = ("nbd", "vvfat", "blkverify", "host_device")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):")

Identity = t.Tuple[int, int]


class Unknown(Exception):
    """Something that may need a base cannot be read."""


class Needs:
    """Collects what is needed; ``unknown`` says why that may not be all."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._digests: dict[str, set[str]] = {}
        self._files: dict[Identity, set[str]] = {}
        self._below: dict[str, tuple[str, ...]] = {}

    def of(self, base_disk: str, sha256: str) -> list[str]:
        """Who needs the base in this file. One of the same digest in another pool counts too: paths differ by mounts."""
        found = set(self._digests.get(sha256, ()))
        try:
            status = os.stat(base_disk)
            found |= self._files.get((status.st_dev, status.st_ino), set())
        except OSError:
            pass
        return sorted(found)

    def add(self, path: str, who: str, image_format: str | None = None) -> None:
        """What lies below an image, and the image itself.

        :param image_format: as a domain opens it; raw has nothing below. None if nobody says.
        """
        try:
            layers = [os.path.realpath(path)]
            if image_format != "raw":
                layers += self._chain(layers[0])
        except Unknown as error:
            self.unknown.append(f"{who}: {error}")
            return
        for layer in layers:
            self._note(layer, who)

    def _note(self, path: str, who: str) -> None:
        digest = layout.base_of(path)
        if digest is not None:
            self._digests.setdefault(digest, set()).add(who)
        try:
            status = os.stat(path)
        except OSError:
            return
        self._files.setdefault((status.st_dev, status.st_ino), set()).add(who)

    def _chain(self, path: str) -> list[str]:
        found: list[str] = []
        waiting = list(self._parents(path))
        while waiting:
            layer = waiting.pop()
            if layer in found:
                continue
            found.append(layer)
            if len(found) > _LONGEST_CHAIN:
                raise Unknown(f"the chain under {path} has more than {_LONGEST_CHAIN} layers; flatten it")
            waiting += self._parents(layer)
        return found

    def _parents(self, path: str) -> tuple[str, ...]:
        if path not in self._below:
            self._below[path] = tuple(parents_of(path))
        return self._below[path]

    # -- pools

    def add_pool(self, store: Store, stores: t.Iterable[Store]) -> None:
        """Every file in the pool, wherever it lies and whatever it is called, the stores of bases apart."""
        apart = {os.path.realpath(one.directory) for one in stores}
        seen: set[str] = set()
        waiting = [store.pool_path]
        while waiting:
            directory = os.path.realpath(waiting.pop())
            if directory in apart or directory in seen:
                continue
            seen.add(directory)
            try:
                entries = list(os.scandir(directory))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self.unknown.append(f"{directory} cannot be listed: {error.strerror}")
                continue
            for entry in entries:
                try:
                    if entry.is_dir():
                        waiting.append(entry.path)
                    elif entry.is_file():
                        self.add(entry.path, entry.path)
                except OSError as error:
                    self.unknown.append(f"{entry.path} cannot be looked at: {error.strerror}")


def parents_of(path: str) -> t.Iterator[str]:
    """Resolved paths of the files that an image is based on, or keeps its data in. A file that is not there has none.

    :raises Unknown: it cannot be read, or names something that cannot be followed.
    """
    head = _head(path)
    if head.startswith(_QED_MAGIC):
        raise Unknown(f"{path} is a QED image, whose parent is not known")
    if not head.startswith(QCOW2_MAGIC):
        return
    try:
        header = parse_qcow2(head)
    except HeaderError as error:
        if path.lower().endswith(_PLAIN):
            return  # what a guest wrote to its raw disk
        raise Unknown(f"{path} cannot be read as qcow2: {error}") from error
    for name in (header.backing, header.data_file):
        if name is not None:
            yield from files_of(path, name)


def files_of(path: str, name: str) -> t.Iterator[str]:
    """The files that the name of a parent in the header of ``path`` means, as QEMU reads it."""
    if name.startswith("json:"):
        try:
            told = parse(name[len("json:") :], "the name of a parent")
        except Malformed as error:
            raise Unknown(f"{path} names its parent as {shown(name)}, which cannot be understood") from error
        for one in _file_names(told, path):
            yield from files_of(path, one)
        return
    match = _SCHEME.match(name)
    scheme = match.group(1) if match is not None else ""
    if scheme.split("+")[0] in _REMOTE:
        return
    if scheme and scheme != "file":
        raise Unknown(f"{path} names its parent as {shown(name)}; what is behind that is not known")
    local = name[len("file:") :] if scheme else name
    yield os.path.realpath(os.path.join(os.path.dirname(path), local))


def _file_names(told: t.Any, path: str) -> t.Iterator[str]:
    """All names of files in QEMU's description of a block device, in either of its two forms."""
    waiting = [told]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            for key, value in item.items():
                last = str(key).rpartition(".")[2]
                if last == "driver" and value in _OPAQUE:
                    raise Unknown(f"{path} names its parent by a device of the kind {value}; what is behind that is not known")
                if last == "filename" and isinstance(value, str):
                    yield value
                else:
                    waiting.append(value)
        elif isinstance(item, list):
            waiting += item


def _head(path: str) -> bytes:
    """The beginning of a file or block device; nothing of one that is not there, or is something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise Unknown(f"{path} cannot be read: {error.strerror}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            return b""
        return os.pread(descriptor, HEAD_BYTES, 0)
    except OSError as error:
        raise Unknown(f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
