# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nodes of a small fleet in one process: real TLS over loopback, pools in temporary directories."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import shutil
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import ChunkHasher, ChunkList, Listed
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.file_digest import FileDigest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.download.parent_selection import Patience, route_of
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints import Endpoint
from ansible_collections.basecast.fleet.plugins.module_utils._relay.endpoints.files import boot_identity
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PartialInUse, WrongDigest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.base_store import BaseRequest, Held
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.node import Identity, Node
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.settings import Settings
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.shared_partial import Place
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.socket_stream import listen
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.tls import contexts
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.transport import Address
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._relay.ends import Child, Parent

CHUNK = 16 * 1024
# Each worker has ports of its own, below those that the kernel gives: that of a killed node stays free.
FIRST_PORT = 20000 + 3000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
QUICK = Settings(ttl_s=60, linger_s=30, silence_s=0.9, patience=Patience(pending=3.0, lost=0.5, alone=3.0))


class DirectoryClaim:
    def __init__(self, directory: Path, published: Path) -> None:
        self._directory = directory
        self._published = published
        self.disk = str(directory / "disk")
        self.map = str(directory / "map")

    def promise(self, size_bytes: int) -> None: ...

    def digest(self) -> FileDigest:
        Path(self.disk).touch()
        self._digest = FileDigest(self.disk)
        return self._digest

    def publish(self, metadata: dict[str, t.Any], chunks: Listed) -> Held:
        found = self._digest.finish()
        if found != metadata["sha256"]:
            raise WrongDigest(f"{self.disk} has {found}", found=found)
        (self._directory / "chunks").write_bytes(chunks[:])
        os.unlink(self.map)
        os.rename(self._directory, self._published)
        self.close()
        return Held(str(self._published / "disk"), str(self._published / "chunks"))

    def discard(self) -> None:
        shutil.rmtree(self._directory)
        self.close()

    def close(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._published.parent / f"{self._published.name}.lock")


class DirectoryShelf:
    """A store that has no more than the node needs."""

    def held(self, pool_path: str, sha256: str) -> Held | None:
        directory = Path(pool_path) / sha256
        return Held(str(directory / "disk"), str(directory / "chunks")) if directory.exists() else None

    def place(self, pool_path: str, sha256: str) -> Place:
        directory = Path(pool_path) / "partial" / sha256
        return Place(*(str(directory / name) for name in Place._fields))

    def claim(self, pool_path: str, sha256: str) -> DirectoryClaim:
        pool = Path(pool_path)
        try:
            os.close(os.open(pool / f"{sha256}.lock", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise PartialInUse(f"{sha256} is being fetched by another process") from None
        (pool / "partial" / sha256).mkdir(parents=True, exist_ok=True)
        return DirectoryClaim(pool / "partial" / sha256, pool / sha256)


class Content:
    """A base as it should arrive everywhere."""

    def __init__(self, data: bytes, chunk_bytes: int = CHUNK) -> None:
        self.data = data
        hasher = ChunkHasher(chunk_bytes)
        hasher.update(data)
        self.sha256, self.chunks = hasher.finish()
        self.metadata = {
            "format": 1,
            "sha256": self.sha256,
            "size_bytes": len(data),
            "chunk_bytes": chunk_bytes,
            "chunks_sha256": self.chunks.sha256,
            "parent": None,
        }

    @property
    def wire_bytes(self) -> int:
        """What has to cross the network: everything but zero chunks."""
        return sum(self.chunks.length(i) for i in range(self.chunks.count) if not self.chunks.is_zero(i))

    def put(self, pool: Path) -> None:
        directory = pool / self.sha256
        directory.mkdir(parents=True)
        (directory / "disk").write_bytes(self.data)
        (directory / "chunks").write_bytes(self.chunks.to_bytes())

    def put_partial(self, pool: Path, marked: t.Iterable[int], boot: str) -> None:
        directory = pool / "partial" / self.sha256
        directory.mkdir(parents=True)
        (directory / "disk").write_bytes(self.data)
        marks = bytearray(self.chunks.count)
        for index in marked:
            marks[index] = 1
        header = b"BCMAP001" + self.chunks.count.to_bytes(8, "big")
        (directory / "map").write_bytes(header + marks + boot.encode().ljust(36))


class Fleet:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes: dict[str, Node] = {}
        self.logs: dict[str, list[str]] = {}
        self._certificates: dict[str, dict[str, str]] = {}
        self._threads: list[threading.Thread] = []
        self._held: list[socket.socket] = []

    def pool(self, host: str) -> Path:
        path = self.directory / host
        path.mkdir(exist_ok=True)
        return path

    def certify(self, *hosts: str) -> None:
        self._certificates = make_certificates("test", hosts, 3600, datetime.datetime.now(datetime.UTC))

    def credentials(self, host: str) -> dict[str, str]:
        return self._certificates[host]

    def add(
        self,
        host: str,
        settings: Settings = QUICK,
        certificates: dict[str, str] | None = None,
        wrap_endpoint: t.Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint,
        encryption: bool = True,
    ) -> Node:
        pem = certificates or self._certificates[host]
        lines = self.logs.setdefault(host, [])
        node = Node(
            Identity("test", host),
            listen("127.0.0.1", FIRST_PORT, FIRST_PORT + 2999),
            contexts(pem["ca"], pem["certificate"], pem["key"], encryption),
            DirectoryShelf(),
            time.monotonic,
            settings,
            lines.append,
        )
        node.wrap_endpoint = wrap_endpoint
        node.open()
        self.nodes[host] = node
        return node

    def start(self, content: Content, plan: dict[str, list[str]], mode: str = "staged", **limits: t.Any) -> None:
        """Each host of the plan gets its part; their parents are what the plan says."""
        for host, parents in plan.items():
            self.nodes[host].limits.set(**limits)
            self.nodes[host].start([self.request(content, host, parents)], self.peers(), mode)

    def peers(self) -> dict[str, Address]:
        return {host: Address("127.0.0.1", node.port) for host, node in self.nodes.items()}

    def children(self, host: str, content: Content) -> int:
        """How many hosts are asking this one for the base at the moment."""
        offer = self.nodes[host]._offers.get(content.sha256)
        return 0 if offer is None else offer.readers()

    def boot(self) -> str:
        return boot_identity()

    def request(self, content: Content, host: str, parents: list[t.Any], **more: t.Any) -> BaseRequest:
        return BaseRequest(content.metadata, "default", str(self.pool(host)), route_of(parents, **more))

    def kill(self, host: str) -> None:
        """Its connections break, and nobody listens any more: not even a node of another test that runs at the same time."""
        port = self.nodes[host].port
        self.nodes[host].close()
        held = socket.socket()
        self._held.append(held)
        try:
            held.bind(("127.0.0.1", port))
        except OSError:  # its broken connections still have the port
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", port))

    def base(self, host: str, content: Content) -> dict[str, t.Any]:
        return self.nodes[host].progress()["bases"][content.sha256]

    def wait(self, *hosts: str, seconds: float = 15.0) -> None:
        for host in hosts:
            assert self.nodes[host].wait(seconds), (host, self.nodes[host].progress(), self.logs[host])

    def holds(self, host: str, content: Content) -> bool:
        disk = self.pool(host) / content.sha256 / "disk"
        return disk.exists() and hashlib.sha256(disk.read_bytes()).hexdigest() == content.sha256

    def until(self, condition: t.Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition was not reached in time"
            time.sleep(0.005)

    def close(self) -> None:
        for node in self.nodes.values():
            node.stopping.set()
        for node in self.nodes.values():
            node.close()
        for held in self._held:
            held.close()


@pytest.fixture
def fleet(tmp_path: Path) -> t.Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    fleet.certify(*"SABCDEFGH")
    yield fleet
    fleet.close()


@pytest.fixture
def content_of() -> t.Callable[..., Content]:
    return Content


@pytest.fixture
def content() -> Content:
    """40 chunks, of which ten are zero, and a short last one."""
    chunks = [bytes(CHUNK) if number % 4 == 3 else os.urandom(CHUNK) for number in range(40)]
    return Content(b"".join(chunks) + os.urandom(1000))


__all__ = ["ChunkList"]


@pytest.fixture
def parent() -> t.Iterator[Parent]:
    parent = Parent()
    yield parent
    parent.close()


@pytest.fixture
def child_of() -> t.Iterator[t.Callable[..., Child]]:
    children: list[Child] = []

    def make(*parents: str, **options: t.Any) -> Child:
        children.append(Child(*parents, **options))
        return children[-1]

    yield make
    for child in children:
        child.close()
