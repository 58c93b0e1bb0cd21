# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A file or URL on the host becomes a base disk: inspected, converted once where needed, hashed, published."""

from __future__ import annotations

import errno
import os
import time
import typing as t

from .._base_format.chunk_list import CHUNK_BYTES, ChunkHasher, ChunkList
from .._base_format.file_digest import FileChanging, FileDigest
from .._errors import FleetError, InvalidOption
from .._text import clean
from . import download, filesystem, holds, image_header, import_record, in_use, references, sources, transfer, uploads
from .base import FORMAT, METADATA_KEYS, Base
from .errors import BaseMissing, DamagedImage, DigestMismatch, LockLost, NameTaken, UnsafePath
from .inspection import Inspection, inspect
from .qemu_img import QemuImg
from .sources import Rules
from .staging import Staging
from .store import Store

METHODS = ("auto", "copy", "reflink", "hard_link")


class Request(t.NamedTuple):
    """What is to become a base disk. Exactly one of ``src`` and ``url`` is set; digests are lower-case hexadecimal.

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


class _Source(t.NamedTuple):
    """An open file to import: ``path`` where it really lies, ``name`` as the user knows it."""

    descriptor: int
    path: str
    name: str
    status: os.stat_result

    @property
    def for_qemu(self) -> str:
        """A path that means this open file, whatever is put in its place meanwhile."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"


class _Digested(t.NamedTuple):
    """A file in the staging place that is complete, with what was learnt when its bytes went by."""

    path: str
    sha256: str
    chunks: ChunkList
    digest: FileDigest


class Importer:
    """Imports into one pool of the host; the other pools are asked first.

    :param stores: all pools of the host by name.
    :param pool: the name of the pool that is to hold the base.
    :param rules: from where images may be taken.
    """

    def __init__(
        self,
        stores: t.Mapping[str, Store],
        pool: str,
        qemu: QemuImg,
        check_mode: bool = False,
        rules: Rules = Rules(),  # noqa: B008 - immutable
    ) -> None:
        self._stores = stores
        self._rules = rules
        self._target = stores[pool]
        self._qemu = qemu
        self._check_mode = check_mode
        self._reading: int | None = None
        self._actions: list[str] = []
        self._warnings: list[str] = []
        self._before: dict[str, t.Any] = {}
        self._after: dict[str, t.Any] = {}

    def run(self, request: Request) -> Result:
        """Make sure that the base is there. Nothing incomplete is left behind when this raises."""
        if request.parent is not None and self._target.find(request.parent) is None:
            raise BaseMissing(request.parent, [self._target.pool])
        if request.url is not None:
            download.check_url(request.url)
            if request.url.strip().lower().startswith("file:"):
                request = request._replace(src=sources.file_of_url(request.url, self._rules), url=None)
        try:
            if request.sha256 is not None:
                found = self._known(request, request.sha256)
                if found is not None:
                    return self._have(request, found)
            if request.src is not None:
                return self._import_path(request, self.resolve(request.src))
            return self._import_url(request)
        except OSError as error:
            full = filesystem.no_space(error, "Importing the base disk", self._target.pool_path)
            raise full or error

    def run_own(self, request: Request, path: str) -> Result:
        """Make sure that a machine's disk, or a copy that was made of it, is a base. The caller knows that it may be read."""
        if request.parent is not None and self._target.find(request.parent) is None:
            raise BaseMissing(request.parent, [self._target.pool])
        try:
            descriptor = filesystem.open_regular(path)
            try:
                with in_use.reading(descriptor, path, "captured"):
                    return self._import_source(request, _Source(descriptor, path, path, os.fstat(descriptor)))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise filesystem.no_space(error, "Importing the base disk", self._target.pool_path) or error

    def resolve(self, src: str) -> str:
        """An absolute path; a relative one is meant from the pool, and cannot leave it."""
        if os.path.isabs(src):
            return os.path.normpath(src)
        path = os.path.normpath(os.path.join(self._target.pool_path, src))
        pool = os.path.realpath(self._target.pool_path)
        if not os.path.realpath(path).startswith(pool + os.sep):
            raise InvalidOption("src", src, "a relative path is meant from the pool and cannot leave it")
        return path

    # -- finding

    def _known(self, request: Request, sha256: str) -> Base | None:
        """A base of that digest, its own or its source's: of the target pool first, then of any other."""
        for store in [self._target, *self._stores.values()]:
            found = store.find_by_source(sha256)
            if found is None:
                other = import_record.base_of_source(store, sha256)
                found = store.find(other) if other is not None else None
            if found is not None and request.parent in (None, found.parent):
                return found
        return None

    def _have(self, request: Request, found: Base) -> Result:
        """The base exists on this host: bring it into the pool where it is only in another, and refer to it."""
        self._check_name(request, found.sha256)
        wanted = request.references()
        base: Base | None = found
        self._show(found.sha256, wanted)
        if found.pool != self._target.pool:
            self._actions.append(f"clone base disk {found.sha256} from pool {found.pool} to pool {self._target.pool}")
            if not self._check_mode:
                base = transfer.clone_base(found, self._stores[found.pool], self._target, wanted, request.timeout_s)
        else:
            self._refer(found.sha256, wanted, request)
            if not self._check_mode:
                base = self._target.find(found.sha256)
        self._consume(request)
        return self._result(base)

    def _hold(self, sha256: str, request: Request) -> None:
        """For the run, until it makes disks from the base or relays it. The caller has the store's lock."""
        if request.run is not None:
            holds.add(self._target, request.run, [sha256], request.hold_s)

    def _refer(self, sha256: str, wanted: t.Iterable[references.Reference], request: Request) -> None:
        have = self._target.references(sha256)
        missing = [item for item in wanted if item not in have]
        for item in missing:
            what = f"name {item.name} {item.version}" if item.kind == "name" else "reference"
            self._actions.append(f"add {what} of tenant {item.tenant} to base disk {sha256}")
        if (missing or request.run) and not self._check_mode:
            with self._target.changing():
                if self._target.find(sha256) is None:
                    raise FleetError(f"The base disk {sha256} was removed while it was looked at; run the import again.", sha256=sha256)
                self._target.refer(sha256, missing)
                self._hold(sha256, request)

    def _check_name(self, request: Request, sha256: str) -> None:
        if request.name is None:
            return
        for store in self._stores.values():
            store.check_name_free(request.tenant, request.name, request.version or "", sha256)

    def _show(self, sha256: str, wanted: t.Iterable[references.Reference]) -> None:
        """Before and after for a diff."""
        have = self._target.references(sha256) if self._target.find(sha256) is not None else None
        if have is not None:
            self._before = {"sha256": sha256, "references": _texts(have)}
        self._after = {"sha256": sha256, "references": _texts({*(have or []), *wanted})}

    def _consume(self, request: Request) -> None:
        """Remove the source. It is looked at like one that is imported: a digest that is known opens no other way."""
        if not request.consume or request.src is None:
            return
        path = self.resolve(request.src)
        try:
            descriptor, true = sources.open_source(path, self._stores, self._rules, follow=False)
        except FileNotFoundError:
            if not self._check_mode:
                uploads.leave(path)  # moved into the store, not copied
            return
        except OSError as error:
            if error.errno == errno.ELOOP:
                self._warnings.append(f"{path} is a symbolic link; it was left, and so was what it points to.")
                return
            raise
        try:
            # Its own descriptor has the locks under which it was read.
            same = self._reading is not None and os.path.sameopenfile(self._reading, descriptor)
            in_use.refuse_open(self._reading if same and self._reading is not None else descriptor, path, "removed")
        finally:
            os.close(descriptor)
        self._actions.append(f"remove {path}")
        if not self._check_mode:
            filesystem.remove_file(true)
            uploads.leave(true)

    def _result(self, base: Base | None) -> Result:
        return Result(base, bool(self._actions), self._actions, self._warnings, self._before, self._after)

    # -- from a path

    def _import_path(self, request: Request, path: str) -> Result:
        try:
            descriptor, true = sources.open_source(path, self._stores, self._rules)
        except (FileNotFoundError, NotADirectoryError):
            if request.adopt:
                return self._result(None)
            raise FleetError(f"src: {path} does not exist on this host.", kind="source_missing", path=path)
        try:
            status = os.fstat(descriptor)
            taken = request.consume or request.method == "hard_link"
            with in_use.reading(descriptor, path, "imported"):
                if taken:
                    in_use.refuse_open(descriptor, path, "taken into the store")
                self._reading = descriptor
                return self._import_source(request, _Source(descriptor, true, path, status))
        finally:
            self._reading = None
            os.close(descriptor)

    def _import_source(self, request: Request, source: _Source) -> Result:
        found = self._by_stat(request, source)
        if found is not None:
            return self._have(request, found)
        seen = inspect(source.name, source.descriptor, request.image_format, request.parent)
        if request.adopt and not seen.keep:
            return self._result(None)  # converting may give other bytes than those that were asked for
        if self._check_mode:
            return self._predict(request, source, seen)
        subject = f"The import of {source.name}"
        key = f"sha256:{request.sha256}" if request.sha256 else f"file:{source.path}"
        with Staging(self._target, key, subject, request.timeout_s) as staging:
            found, known_sha256 = self._waited_for(request, source, seen)
            if found is not None:
                return self._have(request, found)
            disk = staging.path("disk")
            try:
                if seen.keep:
                    digested = self._stage(request, source, disk)
                    source_sha256 = digested.sha256
                else:
                    source_sha256, digested = self._convert(request, source, seen, staging, known_sha256)
                self._remember(source, source_sha256)
                origin = {
                    "kind": "path" if request.origin is None else "machine",
                    "name": request.origin or source.name,
                    "image_format": seen.image_format,
                    "size_bytes": source.status.st_size,
                }
                base = self._publish(request, seen, digested, source_sha256, origin)
            except BaseException as error:  # an interrupt must not leave what was made either
                if os.path.lexists(disk) and not os.path.lexists(source.path):
                    os.rename(disk, source.path)  # moved here, not accepted: it is not taken away
                if request.adopt and isinstance(error, DigestMismatch):
                    return self._result(None)
                raise
            self._consume(request)
            return self._result(base)

    def _by_stat(self, request: Request, source: _Source) -> Base | None:
        path = source.path
        for store in self._stores.values():
            sha256 = import_record.file_digest(store, path, source.status)
            if sha256 is not None:
                _check_digest(request, source.name, sha256)
                return self._known(request, sha256)
        return None

    def _remember(self, source: _Source, sha256: str) -> None:
        status = os.fstat(source.descriptor)
        if _changed(source.status, status):
            raise DamagedImage(f"{source.name} changed while it was read; import it when nobody writes it.", name=source.name)
        import_record.remember_file(self._target, source.path, status, sha256)

    def _waited_for(self, request: Request, source: _Source, seen: Inspection) -> tuple[Base | None, str]:
        """The base that this or another run has made of an equal source, and the source's digest if it was taken.

        Reading a file is cheaper than converting it, or copying it in vain; so it is hashed first where it is to be
        converted or the store holds a candidate.
        """
        if request.sha256 is not None:
            return self._known(request, request.sha256), ""
        candidates = [
            base
            for store in self._stores.values()
            for base in store.bases()
            if base.size_bytes == seen.size_bytes or base.metadata["imported_from"].get("name") == source.name
        ]
        if seen.keep and not candidates:
            return None, ""
        sha256, _chunks = transfer.hash_open(source.descriptor)
        found = self._known(request, sha256)
        if found is not None:
            self._remember(source, sha256)
        return found, sha256

    def _predict(self, request: Request, source: _Source, seen: Inspection) -> Result:
        """What a real run would do; the source is read for it, because everything depends on its digest."""
        sha256, chunks = transfer.hash_open(source.descriptor)
        try:
            _check_digest(request, source.name, sha256)
        except DigestMismatch:
            if request.adopt:
                return self._result(None)
            raise
        found = self._known(request, sha256)
        if found is not None:
            return self._have(request, found)
        self._check_sound(source.for_qemu, source.name, seen)
        if not seen.keep:
            self._check_name(request, f"what {source.name} (digest {sha256}) is converted to")
            self._after = {"source_sha256": sha256, "references": _texts(request.references())}
            self._actions.append(f"convert {source.name} from {seen.image_format} to a base disk")
        else:
            self._show(sha256, request.references())
            self._check_name(request, sha256)
            self._check_metadata(request, sha256, chunks)
            self._actions.append(f"import {source.name} as base disk {sha256}")
        self._consume(request)
        return self._result(None)

    def _stage(self, request: Request, source: _Source, path: str) -> _Digested:
        """Bring the source's bytes to a place where nobody else can write them, and hash them on the way."""
        how = ""
        if request.method == "hard_link":
            self._link(source, path)
            how = "hard link"
        elif request.consume and source.status.st_nlink == 1 and self._move(source, path):
            how = "moved"
        if how:
            if os.lstat(path).st_ino != source.status.st_ino:
                raise UnsafePath(f"{source.name} was replaced while it was imported.", path=source.name)
            digest = self._target.file_digest(path, chunk_list=True)
        else:
            try_clone = request.method != "copy"
            how, digest = transfer.copy_digested(self._target, source.descriptor, path, source.status.st_size, try_clone)
            if how == "copy" and request.method == "reflink":
                kind = filesystem.describe(self._target.pool_path).type
                raise FleetError(
                    f"method: {source.name} cannot be reflinked into pool {self._target.pool} (file system {kind}); "
                    "set method to auto or copy, or use XFS or Btrfs for source and pool.",
                    kind="no_reflink",
                    filesystem=kind,
                )
        digested = _finished(path, digest)
        _check_digest(request, source.name, digested.sha256)
        return digested

    def _link(self, source: _Source, path: str) -> None:
        try:
            os.link(source.path, path, follow_symlinks=False)
        except OSError as error:
            raise FleetError(
                f"method: {source.name} cannot be hard linked into pool {self._target.pool} ({error.strerror}); "
                "that needs one file system. Set method to auto.",
                kind="no_hard_link",
            )

    def _move(self, source: _Source, path: str) -> bool:
        """Take the file itself when the source is to go anyway and lies on the same file system."""
        if os.path.islink(source.name):
            return False  # the link is what the user named, and would be left without its file
        try:
            os.rename(source.path, path)
        except OSError:
            return False
        return True

    def _convert(self, request: Request, source: _Source, seen: Inspection, staging: Staging, sha256: str = "") -> tuple[str, _Digested]:
        """Digest of the source (given where it was taken already), and a file of the store's own making."""
        path = source.for_qemu
        if seen.backing is not None or not _is_private(source.status):
            # It is changed below, or somebody could change what it says between looking and converting.
            path = staging.path("source")
            hasher = ChunkHasher()
            transfer.copy_file(source.descriptor, path, source.status.st_size, hasher.update)
            sha256 = hasher.finish()[0]
            descriptor = filesystem.open_regular(path)
            try:
                seen = inspect(source.name, descriptor, seen.image_format, request.parent)
            finally:
                os.close(descriptor)
        elif not sha256:
            sha256 = transfer.hash_open(source.descriptor)[0]
        _check_digest(request, source.name, sha256)
        if seen.backing is not None and request.parent is not None:
            disk = path
            parent = self._target.find(request.parent)
            if parent is None:
                raise BaseMissing(request.parent, [self._target.pool])
            self._qemu.set_backing(disk, f"../{parent.sha256}/disk", parent.image_format, source.name)
            self._check_sound(disk, source.name, seen)
        else:
            self._check_sound(path, source.name, seen)
            disk = staging.path("disk")
            self._qemu.convert(path, seen.image_format, disk, "qcow2", source.name)
        return sha256, _finished(disk, self._target.file_digest(disk, chunk_list=True))

    def _check_sound(self, path: str, name: str, seen: Inspection) -> None:
        result = self._qemu.check(path, seen.image_format, name)
        if result.problem:
            raise DamagedImage(f"{name} is damaged or cut off: qemu-img check finds {result.problem}.", name=name, detail=result.problem)

    # -- from a URL

    def _import_url(self, request: Request) -> Result:
        url = t.cast(str, request.url)
        public = download.public_url(url)
        if self._check_mode:
            self._warnings.append(f"{public} is not fetched in check mode; its digest and format are not known.")
            self._actions.append(f"fetch {public} and import it as a base disk")
            return self._result(None)
        key = f"sha256:{request.sha256}" if request.sha256 else f"url:{url}"
        with Staging(self._target, key, f"The import of {public}", request.timeout_s) as staging:
            if request.sha256 is not None:
                found = self._known(request, request.sha256)
                if found is not None:
                    return self._have(request, found)
            path = staging.path("download")
            earlier = import_record.url_digest(self._target, url)
            known = self._known(request, earlier[0]) if earlier is not None else None
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            digest = self._target.file_digest(path, chunk_list=True)
            try:
                try:
                    validators = download.fetch(
                        url,
                        descriptor,
                        digest.advance,
                        earlier[1] if earlier is not None and known is not None else None,
                        rules=self._rules,
                        pinned=request.sha256 is not None,
                    )
                    if validators is None and known is not None:
                        return self._have(request, known)
                finally:
                    reading = filesystem.open_regular(path)
                    with digest.own_close():
                        os.close(descriptor)
                    descriptor = reading
                digested = _finished(path, digest)
                sha256 = digested.sha256
                _check_digest(request, public, sha256)
                found = self._known(request, sha256)
                if found is not None:
                    if validators is not None:
                        import_record.remember_url(self._target, url, validators, sha256)
                    return self._have(request, found)
                name = download.file_name(url) or public
                seen = inspect(name, descriptor, request.image_format, request.parent)
                source = _Source(descriptor, path, name, os.fstat(descriptor))
                if not seen.keep:
                    _sha256, digested = self._convert(request, source, seen, staging, sha256)
                origin = {
                    "kind": "url",
                    "name": public,
                    "image_format": seen.image_format,
                    "size_bytes": source.status.st_size,
                    **_of_server(validators),
                }
                base = self._publish(request, seen, digested, sha256, origin)
                if validators is not None:
                    import_record.remember_url(self._target, url, validators, sha256)
            finally:
                os.close(descriptor)
            return self._result(base)

    # -- into the store

    def _publish(self, request: Request, seen: Inspection, digested: _Digested, source_sha256: str, origin: t.Mapping[str, t.Any]) -> Base:
        name = str(origin["name"])
        image_format = "raw" if seen.image_format == "raw" else "qcow2"
        virtual_size = digested.chunks.size_bytes
        if image_format == "qcow2":
            header = image_header.read_qcow2(digested.path)
            virtual_size = header.virtual_size_bytes
        if seen.keep:
            # Inspected again now that nobody else can write it.
            descriptor = filesystem.open_regular(digested.path)
            try:
                inspect(name, descriptor, image_format, request.parent)
            finally:
                os.close(descriptor)
            self._check_sound(digested.path, name, seen)
        self._check_name(request, digested.sha256)
        self._check_metadata(request, digested.sha256, digested.chunks)
        metadata = {
            "format": FORMAT,
            "sha256": digested.sha256,
            "source_sha256": source_sha256,
            "size_bytes": digested.chunks.size_bytes,
            "virtual_size_bytes": virtual_size,
            "image_format": image_format,
            "parent": request.parent,
            "chunk_bytes": CHUNK_BYTES,
            "chunks_sha256": digested.chunks.sha256,
            "imported_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "imported_from": dict(origin),
            "signatures": [],
        }
        if request.metadata is not None:
            metadata = {key: request.metadata[key] for key in METADATA_KEYS}
        self._warnings.extend(seen.notes)
        base = self._enter(request, digested, metadata)
        if base.metadata["source_sha256"] != source_sha256:
            import_record.remember_source(self._target, source_sha256, base.sha256)
        return base

    def _check_metadata(self, request: Request, sha256: str, chunks: ChunkList) -> None:
        """What other holders say about the base has to fit what was found here."""
        if request.metadata is None:
            return
        missing = [key for key in METADATA_KEYS if key not in request.metadata]
        if missing:
            raise InvalidOption("metadata", dict(request.metadata), f"it lacks {', '.join(missing)}")
        if request.metadata["sha256"] != sha256:
            raise DigestMismatch("The file", str(request.metadata["sha256"]), sha256)
        if request.metadata["chunks_sha256"] != chunks.sha256:
            raise DigestMismatch("The file's chunk list", str(request.metadata["chunks_sha256"]), chunks.sha256)

    def _enter(self, request: Request, digested: _Digested, metadata: t.Mapping[str, t.Any]) -> Base:
        target, sha256 = self._target, digested.sha256
        there = target.find(sha256) is not None
        self._show(sha256, request.references())
        with target.changing():
            self._check_name(request, sha256)
            written = target.refer(sha256, request.references())
            self._hold(sha256, request)
        try:
            with target.partial(sha256, request.timeout_s) as partial:
                try:
                    filesystem.remove_file(partial.map)
                    os.rename(digested.path, partial.disk)
                    base = partial.publish(metadata, digested.chunks.to_bytes(), digested.digest)
                except LockLost:
                    raise  # what is there now is another host's
                except BaseException:  # an interrupt must not take the user's file away either
                    if os.path.lexists(partial.disk):
                        filesystem.set_immutable(partial.disk, False)
                        os.rename(partial.disk, digested.path)
                    partial.discard()
                    raise
        except BaseException:  # an interrupt must not leave references to nothing either
            if not there:
                target.unrefer(sha256, written)
            raise
        if not there or written:
            self._actions.append(f"import {metadata['imported_from']['name']} as base disk {sha256}")
        return base


def _of_server(validators: download.Validators | None) -> dict[str, str]:
    """By what it can be seen later that the file at a URL has changed."""
    told = {} if validators is None else {"etag": validators.etag, "last_modified": validators.last_modified}
    return {key: clean(value, download.MAX_VALIDATOR) for key, value in told.items() if value}


def _finished(path: str, digest: FileDigest) -> _Digested:
    """A file in the staging place that nobody writes any more."""
    try:
        return _Digested(path, digest.finish(), digest.chunks, digest)
    except FileChanging as error:
        raise DamagedImage(str(error), path=path) from error


def _check_digest(request: Request, name: str, found: str) -> None:
    if request.sha256 is not None and found != request.sha256:
        raise DigestMismatch(name, request.sha256, found)


def _texts(items: t.Iterable[references.Reference]) -> list[str]:
    return sorted(" ".join(filter(None, item)) for item in items)


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)


def _is_private(status: os.stat_result) -> bool:
    """Only root, or who runs this, can write the file."""
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


__all__ = ["METHODS", "Importer", "NameTaken", "Request", "Result"]
