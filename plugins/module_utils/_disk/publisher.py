# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A finished file becomes a base disk: sound, under its digest, with the references and names that were asked for."""

from __future__ import annotations

import os
import time
import typing as t

from .._base_format.chunk_list import CHUNK_BYTES, ChunkList
from .._errors import FleetError, InvalidOption
from . import attributes, file_io, holds, image_header, import_record, references
from .base import FORMAT, METADATA_KEYS, Base
from .errors import DamagedImage, DigestMismatch, LockLost
from .import_request import Digested, Outcome, Request, texts_of
from .inspection import Inspection, inspect
from .qemu_img import QemuImg
from .store import Store


class Publisher:
    """Brings finished files into one pool of the host, under names that mean the same in all of its pools.

    :param stores: all pools of the host by name.
    """

    def __init__(self, stores: t.Mapping[str, Store], target: Store, qemu: QemuImg, check_mode: bool, outcome: Outcome) -> None:
        self._stores = stores
        self._target = target
        self._qemu = qemu
        self._check_mode = check_mode
        self._outcome = outcome

    def _hold(self, sha256: str, request: Request) -> None:
        """For the run, until it makes disks from the base or relays it. The caller has the store's lock."""
        if request.run is not None:
            holds.add(self._target, request.run, [sha256], request.hold_s)

    def refer(self, sha256: str, wanted: t.Iterable[references.Reference], request: Request) -> None:
        have = self._target.references(sha256)
        missing = [item for item in wanted if item not in have]
        for item in missing:
            what = f"name {item.name} {item.version}" if item.kind == "name" else "reference"
            self._outcome.actions.append(f"add {what} of tenant {item.tenant} to base disk {sha256}")
        if (missing or request.run) and not self._check_mode:
            with self._target.changing():
                if self._target.find(sha256) is None:
                    raise FleetError(f"The base disk {sha256} was removed while it was looked at; run the import again.", sha256=sha256)
                self._target.refer(sha256, missing)
                self._hold(sha256, request)

    def check_name(self, request: Request, sha256: str) -> None:
        if request.name is None:
            return
        for store in self._stores.values():
            store.check_name_free(request.tenant, request.name, request.version or "", sha256)

    def show(self, sha256: str, wanted: t.Iterable[references.Reference], tenant: str) -> None:
        """Before and after for a diff. That other tenants have the base is theirs to know."""
        have = [one for one in self._target.references(sha256) if one.tenant == tenant]
        if self._target.find(sha256) is not None:
            self._outcome.before = {"sha256": sha256, "references": texts_of(have)}
        self._outcome.after = {"sha256": sha256, "references": texts_of({*have, *wanted})}

    def check_sound(self, path: str, name: str, seen: Inspection) -> None:
        result = self._qemu.check(path, seen.image_format, name)
        if result.problem:
            raise DamagedImage(
                f"{name} is damaged or cut off: qemu-img check finds {result.problem}. Get it again, or repair the original"
                " (qemu-img check -r all).",
                name=name,
                detail=result.problem,
            )

    def publish(self, request: Request, seen: Inspection, digested: Digested, source_sha256: str, origin: t.Mapping[str, t.Any]) -> Base:
        name = str(origin["name"])
        image_format = "raw" if seen.image_format == "raw" else "qcow2"
        virtual_size = digested.chunks.size_bytes
        if image_format == "qcow2":
            header = image_header.read_qcow2(digested.path)
            virtual_size = header.virtual_size_bytes
        if seen.keep:
            # Inspected again now that nobody else can write it.
            descriptor = file_io.open_regular(digested.path)
            try:
                inspect(name, descriptor, image_format, request.parent)
            finally:
                os.close(descriptor)
            self.check_sound(digested.path, name, seen)
        self.check_name(request, digested.sha256)
        self.check_metadata(request, digested.sha256, digested.chunks)
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
            "imported_from": {**origin, "tenant": request.tenant},
            "signatures": [],
        }
        if request.metadata is not None:
            metadata = {key: request.metadata[key] for key in METADATA_KEYS}
        self._outcome.warnings.extend(seen.notes)
        base = self._enter(request, digested, metadata)
        if base.metadata["source_sha256"] != source_sha256:
            import_record.remember_source(self._target, source_sha256, base.sha256)
        return base

    def check_metadata(self, request: Request, sha256: str, chunks: ChunkList) -> None:
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

    def _enter(self, request: Request, digested: Digested, metadata: t.Mapping[str, t.Any]) -> Base:
        target, sha256 = self._target, digested.sha256
        there = target.find(sha256) is not None
        self.show(sha256, request.references(), request.tenant)
        with target.changing():
            self.check_name(request, sha256)
            written = target.refer(sha256, request.references())
            self._hold(sha256, request)
        try:
            with target.partial(sha256, request.timeout_s) as partial:
                try:
                    file_io.remove_file(partial.map)
                    os.rename(digested.path, partial.disk)
                    base = partial.publish(metadata, digested.chunks.to_bytes(), digested.digest)
                except LockLost:
                    raise  # what is there now is another host's
                except BaseException:  # an interrupt must not take the user's file away either
                    if os.path.lexists(partial.disk):
                        attributes.set_immutable(partial.disk, False)
                        os.rename(partial.disk, digested.path)
                    partial.discard()
                    raise
        except BaseException:  # an interrupt must not leave references to nothing either
            if not there:
                target.unrefer(sha256, written)
            raise
        if not there or written:
            self._outcome.actions.append(f"import {metadata['imported_from']['name']} as base disk {sha256}")
        return base
