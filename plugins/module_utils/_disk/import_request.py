# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What an import is asked for, what it works on, and what it tells."""

from __future__ import annotations

import os
import typing as t

from .._base_format.chunk_list import ChunkList
from .._base_format.file_digest import FileChanging, FileDigest
from .._errors import InvalidOption
from . import references
from .base import Base
from .errors import DamagedImage, DigestMismatch

METHODS = ("auto", "copy", "reflink", "hard_link")


class Request(t.NamedTuple):
    """What is to become a base disk. Exactly one of ``src`` and ``url`` is set; digests are lower-case hexadecimal.

    :param sha256: of the image as it was before any conversion; of one that comes compressed, of what it is unpacked to.
    :param checksum: of the file at the URL as it is downloaded, or the URL of a list that tells it.
    :param mirrors: further URLs of the same file, tried in this order after ``url``.
    :param secret: the paths of URLs are not shown, as their queries are not.
    :param origin: the machine's disk that it was, where it is captured; see ``run_own``.
    """

    tenant: str
    src: str | None = None
    url: str | None = None
    name: str | None = None
    version: str | None = None
    image_format: str | None = None
    sha256: str | None = None
    parent: str | None = None
    method: str = "auto"
    adopt: bool = False
    consume: bool = False
    metadata: t.Mapping[str, t.Any] | None = None
    timeout_s: float = 3600.0
    run: str | None = None
    hold_s: float = 3600.0
    origin: str | None = None
    mirrors: tuple[str, ...] = ()
    checksum: str | None = None
    compression: str = "auto"
    secret: bool = False

    def references(self) -> list[references.Reference]:
        wanted = [references.tenant_of(self.tenant)]
        if self.name is not None:
            wanted.append(references.name_of(self.tenant, self.name, self.version or ""))
        return wanted


class Result(t.NamedTuple):
    """``base`` is None only in check mode, where its digest cannot be known, and for adoption without a match."""

    base: Base | None
    changed: bool
    actions: list[str]
    warnings: list[str]
    before: dict[str, t.Any]
    after: dict[str, t.Any]


class Source(t.NamedTuple):
    """An open file to import: ``path`` where it really lies, ``name`` as the user knows it."""

    descriptor: int
    path: str
    name: str
    status: os.stat_result

    @property
    def for_qemu(self) -> str:
        """A path that means this open file, whatever is put in its place meanwhile."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"


class Outcome:
    """What an import tells when it has ended, as it comes to be."""

    def __init__(self) -> None:
        self.actions: list[str] = []
        self.warnings: list[str] = []
        self.before: dict[str, t.Any] = {}
        self.after: dict[str, t.Any] = {}

    def result(self, base: Base | None) -> Result:
        return Result(base, bool(self.actions), self.actions, self.warnings, self.before, self.after)


class Digested(t.NamedTuple):
    """A file in the staging place that is complete, with what was learnt when its bytes went by."""

    path: str
    sha256: str
    chunks: ChunkList
    digest: FileDigest


def finished(path: str, digest: FileDigest) -> Digested:
    """A file in the staging place that nobody writes any more."""
    try:
        return Digested(path, digest.finish(), digest.chunks, digest)
    except FileChanging as error:
        raise DamagedImage(str(error), path=path) from error


def check_alone(request: Request) -> None:
    """:raises InvalidOption: of an image in a registry, what its reference says itself."""
    if request.mirrors or request.checksum is not None or request.secret or request.compression != "auto":
        raise InvalidOption(
            "url", request.url, "an oci:// URL goes without mirrors, checksum, compression and secret; its digest is @sha256:… at its end"
        )


def check_digest(request: Request, name: str, found: str, packed: str = "") -> None:
    """:param packed: digest of the file from which it was unpacked."""
    if packed and request.sha256 == packed:
        raise InvalidOption("sha256", packed, f"this is {name} before it is unpacked: give it as checksum; unpacked it is {found}")
    if request.sha256 is not None and found != request.sha256:
        raise DigestMismatch(name, request.sha256, found)


def texts_of(items: t.Iterable[references.Reference]) -> list[str]:
    return sorted(" ".join(filter(None, item)) for item in items)


def was_changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)


def is_private(status: os.stat_result) -> bool:
    """Only root, or who runs this, can write the file."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
