# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A file at a URL, or a compressed one of the host, becomes an unpacked file in the staging place, with its digests."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._errors import FleetError
from .._text import clean
from .._urls import shown_name, unpacked_name
from . import download, file_io, oci
from .checksum import Checksum
from .download import DownloadFailed, Terms
from .errors import NoSpace
from .import_request import Digested, Request, check_digest, finished
from .store import Store
from .unpack import FileSink, HashingSink, Sink, UnpackingSink, check_unpacker
from .validators import MAX_VALIDATOR, Validators

_BLOCK_BYTES = 1 << 20


class ChecksumMismatch(FleetError):
    kind = "digest_mismatch"


class Arrived(t.NamedTuple):
    """A complete file in the staging place.

    :param size_bytes: of the file as it came, before it was unpacked.
    :param checksum: of that, where it was taken.
    """

    digested: Digested
    size_bytes: int
    checksum: Checksum | None = None
    url: str = ""
    validators: Validators | None = None


def inner_name(name: str, kind: str) -> str:
    """The name of a file without the suffix of its compression."""
    return unpacked_name(name) if kind != "none" else name


class _Intake:
    """An empty file in the staging place, which is hashed behind its writer, and the way of the bytes into it."""

    def __init__(self, store: Store, path: str, name: str, kind: str, expected: Checksum | None) -> None:
        self._path, self._name, self._packed, self._expected = path, name, kind != "none", expected
        file_io.remove_file(path)
        self.promise = store.room.begin(name, [path])
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._digest = store.file_digest(path, chunk_list=True)
            file = FileSink(self._descriptor, self.promise, self._digest.advance, self._digest.restart)
            target: Sink = UnpackingSink(kind, name, file) if self._packed else file
        except BaseException:  # an interrupt must not leave the descriptor open either
            os.close(self._descriptor)
            raise
        # Without compression, the file's own digest is what the download's would be.
        algorithms = {expected.algorithm} if expected is not None and (self._packed or expected.algorithm != "sha256") else set()
        self._algorithms = {*algorithms, "sha256"} if self._packed else algorithms
        self.sink = HashingSink(target, self._algorithms)

    def complete(self) -> Arrived:
        """:raises ChecksumMismatch: another file came than was expected."""
        with self._digest.own_close():
            os.close(self._descriptor)
        self._descriptor = -1
        digested = finished(self._path, self._digest)
        algorithm = self._expected.algorithm if self._expected is not None else "sha256"
        found = self.sink.digest(algorithm) if algorithm in self._algorithms else digested.sha256
        if self._expected is not None and found != self._expected.digest:
            raise ChecksumMismatch(
                f"{self._name}: the {algorithm} checksum of the file as it came is {found}, but {self._expected.digest} was asked for; "
                "nothing was kept.",
                wanted=self._expected.digest,
                found=found,
            )
        checksum = Checksum(algorithm, found) if self._packed or self._expected is not None else None
        return Arrived(digested, self.sink.size_bytes, checksum)

    def packed_sha256(self) -> str:
        return self.sink.digest("sha256") if self._packed else ""

    def close(self) -> None:
        with contextlib.ExitStack() as ends:
            if self._descriptor >= 0:
                ends.callback(os.close, self._descriptor)
            ends.callback(self.promise.close)
            ends.callback(self.sink.close)


def unpack_file(store: Store, path: str, source: int, name: str, kind: str, request: Request) -> Arrived:
    """Unpack an open file of the host into a new one at ``path``."""
    intake = _Intake(store, path, name, kind, None)
    try:
        offset = 0
        while True:
            block = os.pread(source, _BLOCK_BYTES, offset)
            if not block:
                break
            intake.sink.write(block)
            offset += len(block)
        intake.sink.finish()
        arrived = intake.complete()
        check_digest(request, name, arrived.digested.sha256, intake.packed_sha256())
        return arrived
    finally:
        intake.close()


class Wanted(t.NamedTuple):
    """What is to arrive at ``path``, and how it comes.

    :param kind: its compression.
    :param known: validators of an earlier download from the first URL.
    """

    path: str
    kind: str
    expected: Checksum | None
    known: Validators | None


def fetch_first(store: Store, request: Request, terms: Terms, wanted: Wanted, warn: t.Callable[[str], t.Any]) -> Arrived | None:
    """The file from the first of the URLs that gives it; None when that of an earlier download has not changed.

    :raises DownloadFailed: naming what was wrong with each of several.
    """
    urls = [t.cast(str, request.url), *request.mirrors]
    failures: list[FleetError] = []
    for number, url in enumerate(urls):
        try:
            arrived = _fetch(store, url, request, terms, wanted if number == 0 else wanted._replace(known=None))
        except NoSpace:
            raise  # no mirror would help
        except FleetError as error:
            failures.append(error)
            continue
        if failures:
            said = " ".join(error.message for error in failures)
            warn(f"The image came from {terms.public(url)}, since what stands before it did not give it: {said}")
        return arrived
    if len(urls) == 1:
        raise failures[0]
    listed = " ".join(f"({number}) {error.message}" for number, error in enumerate(failures, 1))
    raise DownloadFailed(f"None of the {len(urls)} URLs gives the image: {listed}", url=terms.public(urls[0]))


def _fetch(store: Store, url: str, request: Request, terms: Terms, wanted: Wanted) -> Arrived | None:
    name = terms.public(url)
    intake = _Intake(store, wanted.path, name, wanted.kind, wanted.expected)
    try:
        validators = download.fetch(url, intake.sink, terms, wanted.known)
        if validators is None:
            return None
        arrived = intake.complete()
        check_digest(request, name, arrived.digested.sha256, intake.packed_sha256())
        return arrived._replace(url=url, validators=validators)
    finally:
        intake.close()


def fetch_disk(store: Store, path: str, request: Request, reference: oci.Reference, image: oci.Image) -> tuple[Arrived, str]:
    """The disk of an image in a registry, and the name of its file."""
    for layer in image.layers:
        check_unpacker(layer.compression, str(reference))
    intake = _Intake(store, path, str(reference), "none", None)
    try:
        name = oci.fetch_disk(reference, image, intake.sink, store.room.free_bytes())
        arrived = intake.complete()
        check_digest(request, str(reference), arrived.digested.sha256)
        return arrived._replace(checksum=image.checksum), name
    finally:
        intake.close()


def origin_of(arrived: Arrived, image_format: str, kind: str, name: str) -> dict[str, t.Any]:
    """What is kept with a base disk of where it came from."""
    told: dict[str, t.Any] = {"kind": kind, "name": name, "image_format": image_format, "size_bytes": arrived.size_bytes}
    if arrived.checksum is not None:
        told["checksum"] = str(arrived.checksum)
    for key in ("etag", "last_modified"):
        value = getattr(arrived.validators, key) if arrived.validators is not None else ""
        if value:
            told[key] = clean(value, MAX_VALIDATOR)
    return told


def image_name(url: str, kind: str, secret: bool) -> str:
    return inner_name(shown_name(url, secret), kind)
