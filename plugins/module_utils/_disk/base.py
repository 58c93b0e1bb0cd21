# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A base disk and the record of it, base.json: the same on every holder."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from .._base_format.chunk_list import MAX_CHUNK_BYTES, MIN_CHUNK_BYTES
from .._text import clean
from .._untrusted import Malformed, Value
from . import file_io, image_header
from .references import Reference

FORMAT = 1
_MAX_VIRTUAL_BYTES = 1 << 60

#: Keys of base.json; identical on every holder.
METADATA_KEYS = (
    "format",
    "sha256",
    "source_sha256",
    "size_bytes",
    "virtual_size_bytes",
    "image_format",
    "parent",
    "chunk_bytes",
    "chunks_sha256",
    "imported_at",
    "imported_from",
    "signatures",
)


@dataclasses.dataclass(frozen=True)
class Base:
    """A base disk that is whole as far as its metadata and size tell."""

    metadata: dict[str, t.Any]
    pool: str
    directory: str
    chain: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    verified_at: str | None = None

    @property
    def sha256(self) -> str:
        return t.cast(str, self.metadata["sha256"])

    @property
    def path(self) -> str:
        """The file that differencing disks are based on."""
        return os.path.join(self.directory, "disk")

    @property
    def chunks_path(self) -> str:
        return os.path.join(self.directory, "chunks")

    @property
    def image_format(self) -> str:
        return t.cast(str, self.metadata["image_format"])

    @property
    def virtual_size_bytes(self) -> int:
        return t.cast(int, self.metadata["virtual_size_bytes"])

    @property
    def size_bytes(self) -> int:
        return t.cast(int, self.metadata["size_bytes"])

    @property
    def parent(self) -> str | None:
        return t.cast("str | None", self.metadata.get("parent"))

    def names(self) -> list[dict[str, str]]:
        return [
            {"tenant": reference.tenant, "name": reference.name, "version": reference.version}
            for reference in self.references
            if reference.kind == "name"
        ]

    def tenants(self) -> list[str]:
        """Tenants that need the base: by a reference or by a name."""
        return sorted({reference.tenant for reference in self.references if reference.kind in ("name", "tenant")})

    def is_foreign(self, tenant: str | None) -> bool:
        return only_of_others(self.references, tenant)

    def pins(self) -> list[str]:
        return sorted(reference.name for reference in self.references if reference.kind == "pin")

    def as_dict(self, users: t.Sequence[str] = (), damage: str = "", tenant: str | None = None) -> dict[str, t.Any]:
        """What modules return.

        :param users: paths of differencing disks.
        :param tenant: tell only of this tenant's names and reference, and where the base came from only if it has one
            and no other tenant has imported the base.
        """
        origin = self.metadata["imported_from"]
        if self.is_foreign(tenant) or (tenant is not None and origin.get("tenant", tenant) != tenant):
            origin = {"kind": "hidden", "name": "", "image_format": origin["image_format"]}
        return {
            **self.metadata,
            "imported_from": origin,
            "chain": list(self.chain),
            "names": [item for item in self.names() if tenant in (None, item["tenant"])],
            "tenants": [item for item in self.tenants() if tenant in (None, item)],
            "pins": self.pins(),
            "users": sorted(users),
            "allocated_bytes": file_io.allocated_bytes(self.path),
            "pool": self.pool,
            "path": self.path,
            "verified_at": self.verified_at,
            "damaged": bool(damage),
            "damage": damage,
        }


def only_of_others(held: t.Sequence[Reference], tenant: str | None) -> bool:
    """Whether only other tenants need it. What nobody needs is nobody's secret. No tenant asks for all of them."""
    needed_by = {one.tenant for one in held if one.kind != "pin"}
    return tenant is not None and bool(needed_by) and tenant not in needed_by


def metadata_problem(metadata: t.Any, sha256: str) -> str:
    """Why this is not the metadata of the base; empty when it is."""
    try:
        _check_metadata(Value(metadata, "base.json"), sha256)
    except Malformed as error:
        return error.message
    return ""


def _check_metadata(metadata: Value, sha256: str) -> None:
    """Every field, since all of them are returned to others as they are."""
    if metadata["format"].integer() != FORMAT:
        raise metadata["format"].wrong(f"{FORMAT}, which this version knows,")
    if metadata["sha256"].digest() != sha256:
        raise metadata["sha256"].wrong("the name of its directory")
    metadata["size_bytes"].integer()
    metadata["virtual_size_bytes"].integer(0, _MAX_VIRTUAL_BYTES)
    metadata["chunk_bytes"].integer(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
    metadata["image_format"].choice("qcow2", "raw")
    for key in ("source_sha256", "chunks_sha256"):
        metadata[key].digest()
    parent = metadata.get("parent")
    if parent is not None:
        parent.digest()
    metadata["imported_at"].text(64)
    origin = metadata["imported_from"]
    for key in ("kind", "name", "image_format"):
        origin[key].cleaned()
    for key in ("etag", "last_modified", "checksum", "tenant"):
        if origin.get(key) is not None:
            origin[key].cleaned()
    if origin.get("size_bytes") is not None:
        origin["size_bytes"].integer()
    metadata["signatures"].items(64)


def record_problem(path: str, metadata: t.Mapping[str, t.Any], parent_format: str | None = None) -> str:
    """Where a record contradicts the bytes that it describes, empty where it does not. A machine would get another disk than
    was meant, or another file of the host as its parent.

    :param parent_format: of the base that is the parent. Read as qcow2, a raw one may itself name any file of the host.
    """
    size, parent = metadata["virtual_size_bytes"], metadata.get("parent")
    if metadata["image_format"] == "raw":
        found, backing, backing_format = os.lstat(path).st_size, None, None
    else:
        try:
            header = image_header.read_qcow2(path)
        except image_header.HeaderError as error:
            return f"image_format qcow2, but the file is none: {error}"
        if header.external_data:
            return "nothing of the other file in which the image keeps its data"
        found, backing, backing_format = header.virtual_size_bytes, header.backing, header.backing_format
    if size != found:
        return f"virtual_size_bytes {size}, but the disk has {found}"
    if backing != (f"../{parent}/disk" if parent else None):
        return f"parent {parent or 'none'}, but the file names {clean(backing or 'none', 300)}"
    if parent and backing_format != parent_format:
        return f"parent {parent}, which is {parent_format}, but the file names the format {clean(backing_format or 'none', 300)} for it"
    return ""
