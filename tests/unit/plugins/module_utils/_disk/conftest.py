# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import struct
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import ChunkHasher
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees, references
from ansible_collections.basecast.fleet.plugins.module_utils._disk.base import FORMAT, Base
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import CHUNK_BYTES, Store

FIXTURES = os.path.join(os.path.dirname(__file__), "fixtures")


def fixture(name: str) -> str:
    with open(os.path.join(FIXTURES, name), encoding="utf-8") as file:
        return file.read()


def qcow2(
    size: int = 1 << 20,
    version: int = 3,
    backing: str | None = None,
    backing_format: str | None = None,
    data_file: str | None = None,
    features: int = 0,
    crypt: int = 0,
    snapshots: int = 0,
    cluster_bits: int = 16,
) -> bytes:
    """The header cluster of a qcow2 image, as qemu-img lays it out."""
    extensions = b""
    for kind, text in ((0xE2792ACA, backing_format), (0x44415441, data_file)):
        if text is not None:
            data = text.encode()
            extensions += struct.pack(">II", kind, len(data)) + data.ljust((len(data) + 7) & ~7, b"\0")
    extensions += struct.pack(">II", 0, 0)
    header_bytes = 72 if version == 2 else 104
    name = (backing or "").encode()
    backing_at = header_bytes + len(extensions) if backing is not None else 0
    header = b"QFI\xfb" + struct.pack(
        ">IQIIQIIQQIIQ", version, backing_at, len(name), cluster_bits, size, crypt, 1, 1 << 17, 1 << 16, 1, snapshots, 0
    )
    if version == 3:
        header += struct.pack(">QQQII", features, 0, 0, 4, 104)
    return (header + extensions + name).ljust(1 << 16, b"\0")


class FakeQemu:
    """A runner that answers as qemu-img does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.check_answer: tuple[int, str, str] = (0, '{"check-errors": 0, "format": "qcow2"}', "")
        self.fail: tuple[str, int, str] | None = None

    def __call__(self, arguments: list[str]) -> tuple[int, str, str]:
        arguments = arguments[arguments.index("--") + 1 :] if "--" in arguments else arguments
        arguments = arguments[1:]
        self.calls.append(arguments)
        command = arguments[0]
        if self.fail is not None and self.fail[0] == command:
            return self.fail[1], "", self.fail[2]
        if command == "check":
            return self.check_answer
        if command == "measure":
            return 0, '{"required": 327680, "fully-allocated": 1310720}', ""
        if command == "convert":
            with open(arguments[-1], "wb") as file:
                file.write(qcow2() + b"converted".ljust(4096, b"\0"))
        if command == "create":
            backing = arguments[arguments.index("-b") + 1] if "-b" in arguments else None
            image_format = arguments[arguments.index("-F") + 1] if "-F" in arguments else None
            path, size = (arguments[-2], int(arguments[-1]))
            with open(path, "wb") as file:
                file.write(qcow2(size, backing=backing, backing_format=image_format))
        if command == "rebase":
            backing, image_format = arguments[arguments.index("-b") + 1], arguments[arguments.index("-F") + 1]
            with open(arguments[-1], "r+b") as file:
                file.write(qcow2(backing=backing, backing_format=image_format))
        if command == "resize":
            with open(arguments[-2], "r+b") as file:
                file.seek(24)
                file.write(struct.pack(">Q", int(arguments[-1])))
        if command == "info":
            return 0, json.dumps({"format": "qcow2", "virtual-size": 1}), ""
        return 0, "", ""

    def commands(self) -> list[str]:
        return [call[0] for call in self.calls]


@pytest.fixture
def qemu_runner(monkeypatch: pytest.MonkeyPatch) -> FakeQemu:
    from ansible_collections.basecast.fleet.plugins.module_utils._disk import qemu_img

    monkeypatch.setattr(qemu_img, "require_program", lambda name, package: "/usr/bin/qemu-img")
    return FakeQemu()


@pytest.fixture
def pools(tmp_path: t.Any) -> t.Iterator[dict[str, Store]]:
    """Two pools; immutable files in them are no obstacle to the clean-up."""
    stores = {}
    for name in ("one", "two"):
        path = tmp_path / name
        path.mkdir()
        stores[name] = Store(str(path), pool=name)
    yield stores
    for store in stores.values():
        file_trees.remove_tree(store.pool_path)


@pytest.fixture
def store(pools: dict[str, Store]) -> Store:
    return pools["one"]


def metadata_of(data: bytes, image_format: str = "raw", parent: str | None = None, **other: t.Any) -> dict[str, t.Any]:
    hasher = ChunkHasher()
    hasher.update(data)
    sha256, chunks = hasher.finish()
    return {
        "format": FORMAT,
        "sha256": sha256,
        "source_sha256": sha256,
        "size_bytes": len(data),
        "virtual_size_bytes": len(data) if image_format == "raw" else 1 << 20,
        "image_format": image_format,
        "parent": parent,
        "chunk_bytes": CHUNK_BYTES,
        "chunks_sha256": chunks.sha256,
        "imported_at": "2026-01-01T00:00:00Z",
        "imported_from": {"kind": "path", "name": "x", "image_format": image_format},
        "signatures": [],
        **other,
    }


def chunks_of(data: bytes) -> bytes:
    hasher = ChunkHasher()
    hasher.update(data)
    return hasher.finish()[1].to_bytes()


def put_base(
    store: Store,
    data: bytes = b"base".ljust(4096, b"\0"),
    image_format: str = "raw",
    parent: str | None = None,
    refer: t.Sequence[references.Reference] = (),
    **other: t.Any,
) -> Base:
    if parent is not None or (image_format == "qcow2" and not data.startswith(b"QFI")):
        image_format = "qcow2"
        below = store.find(parent) if parent is not None else None
        backing_format = "raw" if below is None else below.image_format
        data = qcow2(backing=f"../{parent}/disk" if parent else None, backing_format=backing_format if parent else None) + data
    metadata = metadata_of(data, image_format, parent, **other)
    store.refer(metadata["sha256"], refer)
    partial = store.partial(metadata["sha256"])
    with open(partial.disk, "wb") as file:
        file.write(data)
    return partial.publish(metadata, chunks_of(data))
