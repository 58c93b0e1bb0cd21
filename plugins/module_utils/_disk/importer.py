# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A file or URL on the host becomes a base disk: inspected, converted once where needed, hashed, published."""

from __future__ import annotations

import errno
import os
import typing as t

from .._base_format.chunk_list import ChunkHasher
from .._errors import FleetError, InvalidOption
from .._urls import check_url, compression_of, file_name
from . import (
    checksum,
    download,
    errors,
    fetching,
    file_io,
    filesystem,
    import_record,
    in_use,
    oci,
    server_access,
    sources,
    transfer,
    unpack,
    uploads,
)
from .base import Base
from .checksum import Checksum
from .download import Terms
from .errors import BaseMissing, DamagedImage, DigestMismatch, UnsafePath
from .fetching import Arrived
from .import_request import (
    METHODS,
    Digested,
    Outcome,
    Request,
    Result,
    Source,
    check_alone,
    check_digest,
    finished,
    is_private,
    texts_of,
    was_changed,
)
from .inspection import Inspection, inspect
from .publisher import Publisher
from .qemu_img import QemuImg
from .server_access import Access
from .sources import Rules
from .staging import Staging
from .store import Store


class Importer:
    """Imports into one pool of the host; the other pools are asked first.

    :param stores: all pools of the host by name.
    :param pool: the name of the pool that is to hold the base.
    :param rules: from where images may be taken.
    :param access: with what servers are asked for them.
    """

    def __init__(
        self,
        stores: t.Mapping[str, Store],
        pool: str,
        qemu: QemuImg,
        check_mode: bool = False,
        rules: Rules = Rules(),  # noqa: B008 - immutable
        access: Access = server_access.NONE,
    ) -> None:
        self._stores = stores
        self._rules = rules
        self._access = access
        self._target = stores[pool]
        self._qemu = qemu
        self._check_mode = check_mode
        self._reading: int | None = None
        self._outcome = Outcome()
        self._publisher = Publisher(stores, self._target, qemu, check_mode, self._outcome)

    def run(self, request: Request) -> Result:
        """Make sure that the base is there. Nothing incomplete is left behind when this raises."""
        if request.parent is not None and self._target.find(request.parent) is None:
            raise BaseMissing(request.parent, [self._target.pool])
        if request.url is not None:
            for number, url in enumerate([request.url, *request.mirrors]):
                if oci.is_reference(url):
                    check_alone(request)
                    continue
                option = "url" if number == 0 else f"mirrors[{number - 1}]"
                check_url(url, option, secret=request.secret, **({} if number == 0 else {"schemes": ("http", "https")}))
            if request.url.strip().lower().startswith("file:"):
                if request.mirrors or request.checksum:
                    raise InvalidOption("url", request.url, "mirrors and checksum belong to http and https; of a file give sha256")
                request = request._replace(src=sources.file_of_url(request.url, self._rules), url=None)
        try:
            if request.sha256 is not None:
                found = self._known(request, request.sha256)
                if found is not None:
                    return self._have(request, found)
            if request.src is not None:
                return self._import_path(request, self.resolve(request.src))
            return self._import_image(request) if oci.is_reference(t.cast(str, request.url)) else self._import_url(request)
        except OSError as error:
            raise errors.storage_failed(error, "Importing the base disk", self._target.pool_path) or error

    def run_own(self, request: Request, path: str) -> Result:
        """Make sure that a machine's disk, or a copy that was made of it, is a base. The caller knows that it may be read."""
        if request.parent is not None and self._target.find(request.parent) is None:
            raise BaseMissing(request.parent, [self._target.pool])
        try:
            descriptor = file_io.open_regular(path)
            try:
                with in_use.reading(descriptor, path, "captured"):
                    return self._import_source(request, Source(descriptor, path, path, os.fstat(descriptor)))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise errors.storage_failed(error, "Importing the base disk", self._target.pool_path) or error

    def resolve(self, src: str) -> str:
        """An absolute path; a relative one is resolved against the pool, and cannot leave it."""
        if os.path.isabs(src):
            return os.path.normpath(src)
        path = os.path.normpath(os.path.join(self._target.pool_path, src))
        pool = os.path.realpath(self._target.pool_path)
        if not os.path.realpath(path).startswith(pool + os.sep):
            raise InvalidOption("src", src, "a relative path is resolved against the pool and cannot leave it")
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
        self._publisher.check_name(request, found.sha256)
        wanted = request.references()
        base: Base | None = found
        self._publisher.show(found.sha256, wanted, request.tenant)
        if found.pool != self._target.pool:
            self._outcome.actions.append(f"clone base disk {found.sha256} from pool {found.pool} to pool {self._target.pool}")
            if not self._check_mode:
                base = transfer.clone_base(found, self._stores[found.pool], self._target, wanted, request.timeout_s)
        else:
            self._publisher.refer(found.sha256, wanted, request)
            if not self._check_mode:
                base = self._target.find(found.sha256)
        self._consume(request)
        return self._outcome.result(base)

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
                self._outcome.warnings.append(f"{path} is a symbolic link; it was left, and so was what it points to.")
                return
            raise
        try:
            # Its own descriptor has the locks under which it was read.
            same = self._reading is not None and os.path.sameopenfile(self._reading, descriptor)
            in_use.refuse_open(self._reading if same and self._reading is not None else descriptor, path, "removed")
        finally:
            os.close(descriptor)
        self._outcome.actions.append(f"remove {path}")
        if not self._check_mode:
            file_io.remove_file(true)
            uploads.leave(true)

    # -- from a path

    def _import_path(self, request: Request, path: str) -> Result:
        try:
            descriptor, true = sources.open_source(path, self._stores, self._rules)
        except (FileNotFoundError, NotADirectoryError):
            if request.adopt:
                return self._outcome.result(None)
            raise FleetError(f"src: {path} does not exist on this host.", kind="source_missing", path=path)
        try:
            status = os.fstat(descriptor)
            taken = request.consume or request.method == "hard_link"
            with in_use.reading(descriptor, path, "imported"):
                if taken:
                    in_use.refuse_open(descriptor, path, "taken into the store")
                self._reading = descriptor
                return self._import_source(request, Source(descriptor, true, path, status))
        finally:
            self._reading = None
            os.close(descriptor)

    def _import_source(self, request: Request, source: Source) -> Result:
        found = self._by_stat(request, source)
        if found is not None:
            return self._have(request, found)
        packed = compression_of(source.name, request.compression) if not request.adopt and request.origin is None else "none"
        if packed != "none":
            return self._import_packed(request, source, packed)
        seen = inspect(source.name, source.descriptor, request.image_format, request.parent)
        if request.adopt and not seen.keep:
            return self._outcome.result(None)  # converting may give other bytes than those that were asked for
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
                base = self._publisher.publish(request, seen, digested, source_sha256, origin)
            except BaseException as error:  # an interrupt must not leave what was made either
                if os.path.lexists(disk) and not os.path.lexists(source.path):
                    os.rename(disk, source.path)  # moved here, not accepted: it is not taken away
                if request.adopt and isinstance(error, DigestMismatch):
                    return self._outcome.result(None)
                raise
            self._consume(request)
            return self._outcome.result(base)

    def _by_stat(self, request: Request, source: Source) -> Base | None:
        path = source.path
        for store in self._stores.values():
            sha256 = import_record.file_digest(store, path, source.status)
            if sha256 is not None:
                check_digest(request, source.name, sha256)
                return self._known(request, sha256)
        return None

    def _remember(self, source: Source, sha256: str) -> None:
        import_record.remember_file(self._target, source.path, _unchanged(source), sha256)

    def _waited_for(self, request: Request, source: Source, seen: Inspection) -> tuple[Base | None, str]:
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

    def _predict(self, request: Request, source: Source, seen: Inspection) -> Result:
        """What a real run would do; the source is read for it, because everything depends on its digest."""
        sha256, chunks = transfer.hash_open(source.descriptor)
        try:
            check_digest(request, source.name, sha256)
        except DigestMismatch:
            if request.adopt:
                return self._outcome.result(None)
            raise
        found = self._known(request, sha256)
        if found is not None:
            return self._have(request, found)
        self._publisher.check_sound(source.for_qemu, source.name, seen)
        if not seen.keep:
            self._publisher.check_name(request, f"what {source.name} (digest {sha256}) is converted to")
            self._outcome.after = {"source_sha256": sha256, "references": texts_of(request.references())}
            self._outcome.actions.append(f"convert {source.name} from {seen.image_format} to a base disk")
        else:
            self._publisher.show(sha256, request.references(), request.tenant)
            self._publisher.check_name(request, sha256)
            self._publisher.check_metadata(request, sha256, chunks)
            self._outcome.actions.append(f"import {source.name} as base disk {sha256}")
        self._consume(request)
        return self._outcome.result(None)

    def _stage(self, request: Request, source: Source, path: str) -> Digested:
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
        digested = finished(path, digest)
        check_digest(request, source.name, digested.sha256)
        return digested

    def _link(self, source: Source, path: str) -> None:
        try:
            os.link(source.path, path, follow_symlinks=False)
        except OSError as error:
            raise FleetError(
                f"method: {source.name} cannot be hard linked into pool {self._target.pool} ({error.strerror}); "
                "that needs one file system. Set method to auto.",
                kind="no_hard_link",
            )

    def _move(self, source: Source, path: str) -> bool:
        """Take the file itself when the source is to go anyway and lies on the same file system."""
        if os.path.islink(source.name):
            return False  # the link is what the user named, and would be left without its file
        try:
            os.rename(source.path, path)
        except OSError:
            return False
        return True

    def _convert(self, request: Request, source: Source, seen: Inspection, staging: Staging, sha256: str = "") -> tuple[str, Digested]:
        """Digest of the source (given where it was taken already), and a file of the store's own making."""
        path = source.for_qemu
        if seen.backing is not None or not is_private(source.status):
            # It is changed below, or somebody could change what it says between looking and converting.
            path = staging.path("source")
            hasher = ChunkHasher()
            transfer.copy_file(source.descriptor, path, source.status.st_size, self._target.room, hasher.update)
            sha256 = hasher.finish()[0]
            descriptor = file_io.open_regular(path)
            try:
                seen = inspect(source.name, descriptor, seen.image_format, request.parent)
            finally:
                os.close(descriptor)
        elif not sha256:
            sha256 = transfer.hash_open(source.descriptor)[0]
        check_digest(request, source.name, sha256)
        if seen.backing is not None and request.parent is not None:
            disk = path
            parent = self._target.find(request.parent)
            if parent is None:
                raise BaseMissing(request.parent, [self._target.pool])
            self._qemu.set_backing(disk, f"../{parent.sha256}/disk", parent.image_format, source.name)
            self._publisher.check_sound(disk, source.name, seen)
        else:
            self._publisher.check_sound(path, source.name, seen)
            disk = staging.path("disk")
            self._qemu.convert(path, seen.image_format, disk, "qcow2", self._target.room, source.name)
        return sha256, finished(disk, self._target.file_digest(disk, chunk_list=True))

    # -- what has to be fetched or unpacked

    def _import_packed(self, request: Request, source: Source, kind: str) -> Result:
        """A compressed file of the host: what it is unpacked to is what an image that lies there would be."""
        unpack.check_unpacker(kind, source.name)
        for store in self._stores.values():
            earlier = import_record.packed_digest(store, kind, source.path, source.status)
            known = self._known(request, earlier) if earlier is not None else None
            if known is not None:
                check_digest(request, source.name, t.cast(str, earlier))
                return self._have(request, known)
        if self._check_mode:
            self._outcome.warnings.append(f"{source.name} is not unpacked in check mode; its image's digest and format are not known.")
            self._outcome.actions.append(f"unpack {source.name} and import it as a base disk")
            self._consume(request)
            return self._outcome.result(None)
        key = f"sha256:{request.sha256}" if request.sha256 else f"file:{source.path}"
        with Staging(self._target, key, f"The import of {source.name}", request.timeout_s) as staging:
            found = self._known(request, request.sha256) if request.sha256 is not None else None
            if found is not None:
                return self._have(request, found)
            arrived = fetching.unpack_file(self._target, staging.path("download"), source.descriptor, source.name, kind, request)
            _unchanged(source)
            image = fetching.inner_name(source.name, kind)
            base = self._take(request, staging, arrived, image, ("path", source.name))
            sha256 = arrived.digested.sha256
            import_record.remember_packed(self._target, kind, source.path, source.status, sha256)
            if base is None:
                return self._have(request, t.cast(Base, self._known(request, sha256)))
            self._consume(request)
            return self._outcome.result(base)

    def _take(self, request: Request, staging: Staging, arrived: Arrived, name: str, origin: tuple[str, str]) -> Base | None:
        """Make a file that has arrived a base disk; None where this host has it already.

        :param name: of the image, whose suffix promises its format.
        :param origin: the kind and the name of where it came from.
        """
        digested, sha256 = arrived.digested, arrived.digested.sha256
        if self._known(request, sha256) is not None:
            return None
        descriptor = file_io.open_regular(digested.path)
        try:
            seen = inspect(name, descriptor, request.image_format, request.parent)
            if not seen.keep:
                source = Source(descriptor, digested.path, name, os.fstat(descriptor))
                _sha256, digested = self._convert(request, source, seen, staging, sha256)
        finally:
            os.close(descriptor)
        return self._publisher.publish(request, seen, digested, sha256, fetching.origin_of(arrived, seen.image_format, *origin))

    def _import_url(self, request: Request) -> Result:
        url = t.cast(str, request.url)
        terms = Terms(self._rules, self._access, secret=request.secret)
        public = terms.public(url)
        kind = compression_of(file_name(url), request.compression)
        unpack.check_unpacker(kind, public)
        wanted = checksum.parse(request.checksum, request.secret) if request.checksum is not None else checksum.Wanted()
        place = terms.public(wanted.url)
        pinned = self._pinned(request, place, lambda: self._listed(request, wanted, terms)) if wanted.url else None
        if pinned is not None:
            return self._have(request, pinned)
        if self._check_mode:
            self._outcome.warnings.append(f"{public} is not fetched in check mode; its digest and format are not known.")
            self._outcome.actions.append(f"fetch {public} and import it as a base disk")
            return self._outcome.result(None)
        expected = wanted.checksum or (self._listed(request, wanted, terms) if wanted.url else None)
        found = self._fetched_before(request, expected, kind)
        if found is not None:
            return self._have(request, found)
        key = f"sha256:{request.sha256}" if request.sha256 else f"checksum:{expected}" if expected else f"url:{url}"
        with Staging(self._target, key, f"The import of {public}", request.timeout_s) as staging:
            # Another run may have brought it.
            found = self._known(request, request.sha256) if request.sha256 is not None else self._fetched_before(request, expected, kind)
            if found is not None:
                return self._have(request, found)
            earlier = import_record.url_digest(self._target, url, kind)
            known = self._known(request, earlier[0]) if earlier is not None and expected is None else None
            validators = earlier[1] if earlier is not None and known is not None else None
            arrived = fetching.fetch_first(
                self._target,
                request,
                terms._replace(pinned=expected is not None or request.sha256 is not None),
                fetching.Wanted(staging.path("download"), kind, expected, validators),
                self._outcome.warnings.append,
            )
            if arrived is None:
                return self._have(request, t.cast(Base, known))
            sha256 = arrived.digested.sha256
            name = fetching.image_name(arrived.url, kind, request.secret) or public
            base = self._take(request, staging, arrived, name, ("url", terms.public(arrived.url)))
            if arrived.validators is not None:
                import_record.remember_url(self._target, arrived.url, arrived.validators, sha256, kind)
            if expected is not None:
                import_record.remember_checksum(self._target, str(expected), kind, sha256)
            if base is None:
                return self._have(request, t.cast(Base, self._known(request, sha256)))
            return self._outcome.result(base)

    def _listed(self, request: Request, wanted: checksum.Wanted, terms: Terms) -> Checksum:
        """What a list of checksums tells of the file now."""
        text = download.read_text(wanted.url, terms, checksum.LARGEST_LIST)
        return checksum.find(text, file_name(t.cast(str, request.url)), terms.public(wanted.url), wanted.algorithm)

    def _fetched_before(self, request: Request, expected: Checksum | None, kind: str) -> Base | None:
        if expected is None:
            return None
        if kind == "none" and expected.algorithm == "sha256":
            return self._known(request, expected.digest)
        for store in self._stores.values():
            sha256 = import_record.checksum_digest(store, str(expected), kind)
            found = self._known(request, sha256) if sha256 is not None else None
            if found is not None and request.sha256 in (None, sha256):
                return found
        return None

    def _pinned(self, request: Request, place: str, ask: t.Callable[[], Checksum]) -> Base | None:
        """The base that has the name already: what a list or a registry told at its first use stays, whatever it tells now.

        :param ask: for the checksum that ``place`` tells now.
        """
        if request.name is None or request.sha256 is not None:
            return None
        version = request.version or ""
        candidates = (store.find_by_name(request.tenant, request.name, version) for store in [self._target, *self._stores.values()])
        found = next((base for base in candidates if base is not None), None)
        if found is None:
            return None
        title = f"{request.name} {version}"
        then = found.metadata["imported_from"].get("checksum") or f"sha256:{found.metadata['source_sha256']}"
        try:
            now = str(ask())
        except FleetError as error:
            self._outcome.warnings.append(f"{title} stays what it is; whether {place} tells the same still is not known: {error.message}")
            return found
        if now != then:
            self._outcome.warnings.append(
                f"{place} tells another checksum now, {now}; {title} was imported from {then} and stays what it is. To take the new "
                "file, give it a version of its own."
            )
        return found

    def _import_image(self, request: Request) -> Result:
        """The disk of an image in a registry of containers; its manifest's digest is the checksum."""
        reference = oci.parse_reference(t.cast(str, request.url))
        terms = Terms(self._rules, self._access)
        expected = Checksum("sha256", reference.digest.partition(":")[2]) if reference.digest else None
        pinned = None if expected else self._pinned(request, str(reference), lambda: oci.look_up(reference, terms).checksum)
        found = pinned or self._fetched_before(request, expected, oci.SCHEME)
        if found is not None:
            return self._have(request, found)
        if self._check_mode:
            self._outcome.warnings.append(f"{reference} is not fetched in check mode; its digest and format are not known.")
            self._outcome.actions.append(f"fetch {reference} and import it as a base disk")
            return self._outcome.result(None)
        key = f"sha256:{request.sha256}" if request.sha256 else f"url:{reference}"
        with Staging(self._target, key, f"The import of {reference}", request.timeout_s) as staging:
            image = oci.look_up(reference, terms)
            found = self._fetched_before(request, image.checksum, oci.SCHEME)
            if found is not None:
                return self._have(request, found)
            arrived, name = fetching.fetch_disk(self._target, staging.path("download"), request, reference, image)
            sha256 = arrived.digested.sha256
            base = self._take(request, staging, arrived, name, ("url", str(reference._replace(digest=f"sha256:{image.checksum.digest}"))))
            import_record.remember_checksum(self._target, str(image.checksum), oci.SCHEME, sha256)
            if base is None:
                return self._have(request, t.cast(Base, self._known(request, sha256)))
            return self._outcome.result(base)


__all__ = ["METHODS", "Importer", "Request", "Result"]


def _unchanged(source: Source) -> os.stat_result:
    """What the system tells of a source that was read to its end.

    :raises DamagedImage: a program wrote it meanwhile.
    """
    status = os.fstat(source.descriptor)
    if was_changed(source.status, status):
        raise DamagedImage(f"{source.name} changed while it was read; import it when no program writes it.", name=source.name)
    return status
