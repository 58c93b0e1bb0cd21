# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks from a registry of containers: a real one, small, with TLS, tokens and redirects."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import pathlib
import tarfile
import types
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import oci, sources
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import NoSpace
from ansible_collections.basecast.fleet.plugins.module_utils._disk.importer import Importer, Request, Result
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._disk.server_access import Access, Credential
from ansible_collections.basecast.fleet.plugins.module_utils._disk.sources import Rules
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._disk.unpack import Undecodable
from ansible_collections.basecast.fleet.plugins.module_utils._disk.web import DownloadFailed
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import FakeQemu, qcow2
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.web_server import File, Server, authority

IMAGE = qcow2() + b"data".ljust(300_000, b"\0") + os.urandom(70_000)
NEWER = qcow2() + b"newer".ljust(3000, b"\0")
TOKEN, BASIC = "a.token", "Basic " + base64.b64encode(b"alice:sesame").decode()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar(*files: tuple[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


class Registry(Server):
    """:param guarded: blobs and manifests are for who has a token; tokens are for alice. :param away: where blobs really are."""

    def __init__(self, certificate: pathlib.Path, guarded: bool = False, away: Server | None = None) -> None:
        super().__init__(certificate=certificate)
        self.guarded, self.away = guarded, away
        self.token = json.dumps({"token": TOKEN}).encode()
        self.challenge = f'Bearer realm="{self.url}/token",service="registry",scope="repository:team/vm:pull"'

    @property
    def name(self) -> str:
        return f"oci://{self.url.partition('//')[2]}/team/vm"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        given = request.headers.get("Authorization")
        if self.guarded and request.path.startswith("/v2/") and given != f"Bearer {TOKEN}":
            self.asked.append(types.SimpleNamespace(path=request.path, headers=dict(request.headers), method=request.command))  # type: ignore[arg-type]
            self._short(request, 401, **{"WWW-Authenticate": self.challenge})
        elif self.guarded and request.path.startswith("/token?") and given != BASIC:
            self._short(request, 401)
        elif self.guarded and request.path.startswith("/token?"):
            self.files[request.path] = File(self.token)
            super().answer(request)
        else:
            super().answer(request)

    def blob(self, content: bytes) -> str:
        path = f"/v2/team/vm/blobs/{digest(content)}"
        if self.away is not None:
            self.away.files["/stored" + path] = File(content)
            self.files[path] = f"{self.away.url}/stored{path}"
        else:
            self.files[path] = File(content)
        return digest(content)

    def manifest(self, document: t.Any, tag: str = "latest") -> str:
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        for name in (tag, digest(text)):
            self.files[f"/v2/team/vm/manifests/{name}"] = File(text)
        return digest(text)

    def image(self, *layers: bytes, kind: str = "tar", tag: str = "latest") -> str:
        listed = [{"mediaType": f"application/vnd.oci.image.layer.v1.{kind}", "digest": self.blob(one), "size": len(one)} for one in layers]
        return self.manifest({"schemaVersion": 2, "layers": listed}, tag)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: t.Any) -> tuple[pathlib.Path, pathlib.Path]:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def registry(pem: tuple[pathlib.Path, pathlib.Path]) -> t.Iterator[Registry]:
    with Registry(pem[1]) as running:
        yield running


Run = t.Callable[..., Result]


@pytest.fixture
def run(pools: dict[str, Store], qemu_runner: FakeQemu, pem: tuple[pathlib.Path, pathlib.Path]) -> Run:
    def import_(check_mode: bool = False, credentials: tuple[Credential, ...] = (), **request: t.Any) -> Result:
        access = Access(credentials, str(pem[0]))
        importer = Importer(pools, "one", QemuImg(qemu_runner), check_mode, Rules(("/",), ("127.0.0.1",)), access)
        return importer.run(Request(**{"tenant": "default", **request}))

    return import_


def large(name: str, content: bytes) -> bytes:
    """As a file of 8 GiB and more: its header has no place for that, so its size stands before it."""
    entry = tarfile.TarInfo(name)
    entry.pax_headers = {"size": str(len(content))}
    return entry.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


LONG = "disk/" + "a" * 200 + ".qcow2"
LAYERS: dict[str, tuple[bytes, str]] = {
    "plain": (tar(("disk/x.qcow2", IMAGE)), "tar"),
    "gzip": (gzip.compress(tar(("disk/x.qcow2", IMAGE))), "tar+gzip"),
    "among others": (tar(("etc/passwd", b"x" * 1000), ("./disk/x.qcow2", IMAGE), ("disk/sub/y", b"y")), "tar"),
    "absolute": (tar(("/disk/x.qcow2", IMAGE)), "tar"),
    "long name": (tar((LONG, IMAGE)), "tar"),
    "long name, pax": (tar((LONG, IMAGE), form=tarfile.PAX_FORMAT), "tar"),
    "odd name, pax": (tar(("disk/ö ü.qcow2", IMAGE), form=tarfile.PAX_FORMAT), "tar"),
    "large, pax": (large("etc/x", b"x" * 700) + large("disk/x.qcow2", IMAGE) + large("etc/y", b"") + bytes(1024), "tar"),
    "no end": (tar(("disk/x.qcow2", IMAGE))[: 512 + -(-len(IMAGE) // 512) * 512], "tar"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_disk_in_a_layer(run: Run, registry: Registry, name: str) -> None:
    layer, kind = LAYERS[name]
    found = registry.image(layer, kind=kind)
    base = run(url=f"{registry.name}:latest", name="vm", version="1").base
    assert base is not None and f"sha256:{base.sha256}" == digest(IMAGE)
    origin = base.metadata["imported_from"]
    assert (origin["name"], origin["checksum"]) == (f"{registry.name}:latest@{found}", found)


def test_the_topmost_layer_with_a_disk_counts(run: Run, registry: Registry) -> None:
    registry.image(tar(("disk/x.qcow2", NEWER)), tar(("disk/x.qcow2", IMAGE)), tar(("etc/x", b"")), tag="v1")
    assert digest(IMAGE) == f"sha256:{t.cast(t.Any, run(url=f'{registry.name}:v1').base).sha256}"


def test_by_digest_and_by_platform(
    run: Run, registry: Registry, pem: tuple[pathlib.Path, pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = registry.image(tar(("disk/x.qcow2", NEWER)))
    amd = registry.image(tar(("disk/x.qcow2", IMAGE)))
    listed = [{"digest": one, "platform": {"architecture": name, "os": "linux"}} for one, name in ((arm, "arm64"), (amd, "amd64"))]
    index = registry.manifest({"manifests": listed}, "all")
    wanted = f"{registry.name}:all@{index}"
    monkeypatch.setattr(oci.platform, "machine", lambda: "x86_64")
    assert f"sha256:{t.cast(t.Any, run(url=wanted).base).sha256}" == digest(IMAGE)
    asked = len(registry.asked)
    assert not run(url=wanted).changed
    assert len(registry.asked) == asked, "what a digest stands for is known from then on"
    monkeypatch.setattr(oci.platform, "machine", lambda: "aarch64")
    assert f"sha256:{t.cast(t.Any, run(url=f'{registry.name}:all', sha256=digest(NEWER)[7:]).base).sha256}" == digest(NEWER)
    monkeypatch.setattr(oci.platform, "machine", lambda: "riscv64")
    with pytest.raises(Undecodable, match="none of its images is for linux/riscv64, they are for linux/arm64, linux/amd64"):
        oci.look_up(oci.parse_reference(wanted), oci.Terms(Rules(("/",), ("127.0.0.1",)), Access(ca_file=str(pem[0]))))


def test_a_tag_stays_what_it_was_at_its_first_use(run: Run, registry: Registry) -> None:
    first = registry.image(tar(("disk/x.qcow2", IMAGE)))
    wanted = {"url": f"{registry.name}:latest", "name": "vm"}
    assert run(**wanted, version="1").changed
    assert run(**wanted, version="1").warnings == []
    newer = registry.image(tar(("disk/x.qcow2", NEWER)))
    for check_mode in (True, False):
        again = run(check_mode, **wanted, version="1")
        assert not again.changed and f"{newer}; vm 1 was imported from {first} and stays" in again.warnings[0]
    assert run(**wanted, version="2").changed


def test_tokens(run: Run, pem: tuple[pathlib.Path, pathlib.Path]) -> None:
    """The password goes to who gives out tokens, the token to the registry, and nothing to where the blobs are."""
    alice = Credential("127.0.0.1", "alice", "sesame")
    with Server() as store, Registry(pem[1], guarded=True, away=store) as registry:
        registry.image(tar(("disk/x.qcow2", IMAGE)))
        assert run(url=f"{registry.name}:latest", credentials=(alice,)).changed
        assert [asked.headers.get("Authorization") for asked in store.asked] == [None]
        sent = {(asked.path.split("?")[0].split("/")[1], asked.headers.get("Authorization")) for asked in registry.asked}
        assert sent == {("v2", None), ("token", BASIC), ("v2", f"Bearer {TOKEN}")}
        for credentials in ((), (alice._replace(password="wrong"),)):
            with pytest.raises(DownloadFailed, match=r"40[14]") as raised:
                run(url=f"{registry.name}:latest", credentials=credentials, sha256="0" * 64)
            assert "wrong" not in raised.value.message
        for realm in ('realm="http://127.0.0.1:1/token"', 'realm="https://[x"', 'realm="file:///etc/shadow"', "realm=", ""):
            registry.challenge = f"Bearer {realm}"
            with pytest.raises(DownloadFailed, match=r"an https URL is expected|answers 401"):
                run(url=f"{registry.name}:latest", credentials=(alice,), sha256="0" * 64)
        registry.challenge = 'Bearer realm="https://169.254.169.254/token"'
        with pytest.raises(FleetError, match="link-local"):
            run(url=f"{registry.name}:latest", credentials=(alice,), sha256="0" * 64)


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"token": ""}', '{"token": "a\u00e4"}'.encode(), b'{"token": "a\\nb"}'])
def test_an_answer_without_a_token(run: Run, pem: tuple[pathlib.Path, pathlib.Path], answer: bytes) -> None:
    with Registry(pem[1], guarded=True) as registry:
        registry.image(tar(("disk/x.qcow2", IMAGE)))
        registry.token = answer
        with pytest.raises(DownloadFailed, match="token service gives no token; check the credentials for it"):
            run(url=f"{registry.name}:latest", credentials=(Credential("127.0.0.1", "alice", "sesame"),))


def test_credentials_get_no_token_for_strangers(run: Run, pem: tuple[pathlib.Path, pathlib.Path]) -> None:
    """A registry names the token service of another one, as realm or behind a redirect; what is got there would be shown to it."""
    with Registry(pem[1], guarded=True) as own, Registry(pem[1], guarded=True) as stranger:
        alice = Credential(own.url.partition("//")[2], "alice", "sesame")
        stranger.challenge = own.challenge
        with pytest.raises(DownloadFailed, match="401"):
            run(url=f"{stranger.name}:latest", credentials=(alice,))
        assert {asked.headers.get("Authorization") for asked in (*own.asked, *stranger.asked)} == {None}
    with Registry(pem[1]) as own, Registry(pem[1], guarded=True) as stranger:
        alice = Credential(own.url.partition("//")[2], "alice", "sesame")
        own.files["/v2/team/vm/manifests/latest"] = f"{stranger.url}/v2/team/vm/manifests/latest"
        with pytest.raises(DownloadFailed, match="401"):
            run(url=f"{own.name}:latest", credentials=(alice,))
        assert stranger.asked and {asked.headers.get("Authorization") for asked in stranger.asked} == {None}


def test_a_token_service_is_no_way_into_the_network(registry: Registry, monkeypatch: pytest.MonkeyPatch, pem: t.Any) -> None:
    """The manifest names the registry; who that names is reached like what a redirect leads to."""
    monkeypatch.setattr(sources, "kind_of", lambda _address: "private")
    registry.guarded = True
    registry.challenge = f'Bearer realm="{registry.url.replace("127.0.0.1", "localhost")}/token"'
    reference, access = oci.parse_reference(f"{registry.name}:latest"), Access(ca_file=str(pem[0]))
    with pytest.raises(sources.SourceRefused, match="localhost has the private address"):
        oci.look_up(reference, oci.Terms(Rules(), access))
    with pytest.raises(DownloadFailed, match="localhost"):  # reached, with a certificate for another name
        oci.look_up(reference, oci.Terms(Rules(), access._replace(credentials=(Credential("127.0.0.1", "alice", "sesame"),))))


def entry(name: str, kind: bytes) -> bytes:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, "/etc/shadow"
    return made.tobuf() + bytes(1024)


WRONG: dict[str, tuple[bytes, str, str]] = {
    "no disk": (tar(("etc/x", b"y")), "tar", "none of its 1 layers has a file in /disk"),
    "deeper": (tar(("disk/sub/x", b"y"), ("x/disk/y", b"z")), "tar", "none of its 1 layers"),
    "two": (tar(("disk/a", IMAGE), ("disk/b", b"y")), "tar", "a layer cannot be used: /disk has several files, a and b; one is expected"),
    "a link": (entry("disk/x", tarfile.SYMTYPE), "tar", "a link or a device"),
    "a hard link": (entry("disk/x", tarfile.LNKTYPE), "tar", "a link or a device"),
    "a device": (entry("disk/x", tarfile.BLKTYPE), "tar", "a link or a device"),
    "no tar": (b"x" * 2000, "tar", "it is not a tar archive"),
    "no gzip": (tar(("disk/x", IMAGE)), "tar+gzip", "cannot be unpacked as gzip"),
    "cut off": (tar(("disk/x", IMAGE))[:50_000], "tar", "it ends early"),
    "cut off, gzip": (gzip.compress(tar(("disk/x", IMAGE)))[:-50], "tar+gzip", "it ends early"),
    "a header cut off": (tar(("disk/x", b""))[:300], "tar", "it ends early"),
}


@pytest.mark.parametrize("name", WRONG)
def test_layers_that_cannot_be_read(run: Run, registry: Registry, store: Store, name: str) -> None:
    layer, kind, reason = WRONG[name]
    registry.image(layer, kind=kind)
    with pytest.raises(Undecodable, match=reason):
        run(url=f"{registry.name}:latest", image_format="raw")
    assert (store.bases(), os.listdir(os.path.join(store.directory, ".partial"))) == ([], [])


MANIFESTS: dict[str, tuple[t.Any, str]] = {
    "no JSON": (b"<html>", "its manifest"),
    "deep": (b"[" * 5000, "its manifest"),
    "a list": ([], "not one of an image"),
    "no layers": ({}, "not one of an image"),
    "layers of nothing": ({"layers": []}, "none of its 0 layers"),
    "a path": ({"layers": [{"mediaType": "tar", "digest": "sha256:../../x", "size": 1}]}, "sha256 digest"),
    "another digest": ({"layers": [{"mediaType": "tar", "digest": "md5:" + "a" * 32, "size": 1}]}, "sha256 digest"),
    "a number": ({"layers": [{"mediaType": 5, "digest": "sha256:" + "a" * 64, "size": 1}]}, "mediaType"),
    "an index of nothing": ({"manifests": []}, "they are for none"),
    "an index of paths": ({"manifests": [{"digest": "../x"}]}, "sha256 digest"),
    "too many": ({"layers": [{}] * 1000}, "not one of an image"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_that_cannot_be_used(run: Run, registry: Registry, name: str) -> None:
    document, reason = MANIFESTS[name]
    registry.manifest(document)
    with pytest.raises(Undecodable, match=reason):
        run(url=f"{registry.name}:latest")


def test_a_registry_that_gives_something_else(run: Run, registry: Registry) -> None:
    layer = tar(("disk/x.qcow2", IMAGE))
    found = registry.image(layer)
    registry.files[f"/v2/team/vm/blobs/{digest(layer)}"] = File(tar(("disk/x.qcow2", NEWER)))
    with pytest.raises(DownloadFailed, match="came with the digest"):
        run(url=f"{registry.name}:latest")
    registry.files[f"/v2/team/vm/manifests/{found}"] = File(b"{}")
    with pytest.raises(DownloadFailed, match="a manifest with the digest"):
        run(url=f"{registry.name}@{found}")
    with pytest.raises(DownloadFailed, match="404"):
        run(url=f"{registry.name}:none")


def test_a_bomb_beside_the_disk(run: Run, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.image(gzip.compress(tar(("etc/x", bytes(16 << 20)), ("disk/x", IMAGE))), kind="tar+gzip")
    monkeypatch.setattr(os, "statvfs", lambda _path: types.SimpleNamespace(f_bavail=2000, f_blocks=0, f_frsize=4096, f_flag=0))
    with pytest.raises(NoSpace, match="more than the 8192000 bytes"):
        run(url=f"{registry.name}:latest")


def test_files_of_nothing_beside_the_disk_have_a_limit(run: Run, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes time to read, and unpacks to nothing; the limit is one for all layers."""
    layers = tar(*((f"etc/{n}", b"") for n in range(60))), tar(*((f"usr/{n}", b"") for n in range(60)))
    registry.image(tar(("disk/x.qcow2", IMAGE)), *layers, tag="v1")
    monkeypatch.setattr(oci, "_MOST_FILES", 121)
    assert run(url=f"{registry.name}:v1").base is not None
    registry.image(tar(("disk/x.qcow2", NEWER)), *layers, tag="v2")
    monkeypatch.setattr(oci, "_MOST_FILES", 100)
    with pytest.raises(Undecodable, match="the layers have more than 100 files"):
        run(url=f"{registry.name}:v2", name="vm", version="2")


REFERENCES = {
    "oci://quay.io/a/b": ("quay.io", "a/b", "latest", ""),
    "oci://quay.io:5000/a/b-c_d.e:v1.2_3-x": ("quay.io:5000", "a/b-c_d.e", "v1.2_3-x", ""),
    f"oci://h/a@sha256:{'ab' * 32}": ("h", "a", "", f"sha256:{'ab' * 32}"),
    f"oci://h/a:t@sha256:{'ab' * 32}": ("h", "a", "t", f"sha256:{'ab' * 32}"),
}


@pytest.mark.parametrize("url", REFERENCES)
def test_references(url: str) -> None:
    found = oci.parse_reference(url)
    assert found == REFERENCES[url]
    assert str(found) in (url, f"{url}:latest")


@pytest.mark.parametrize(
    "url",
    ["oci://", "oci://h", "oci://h/", "oci://h/A", "oci://h/../x", "oci://h/a:", "oci://h/a:-x", "oci://h/a@md5:x", "oci://h/a@sha256:x"]
    + ["oci://u:sesame@h/a", "oci://h:port/a", "oci://h/a?x=y", "oci://h/a#x", "oci://h/a b", "oci://[x/a", "oci://h/a:" + "t" * 200],
)
def test_refused_references(run: Run, url: str) -> None:
    with pytest.raises(InvalidOption, match="oci://registry/repository:tag"):
        run(url=url)


@pytest.mark.parametrize("more", [{"mirrors": ("https://h/x",)}, {"checksum": "a" * 64}, {"secret": True}, {"compression": "gzip"}])
def test_what_a_reference_goes_without(run: Run, more: dict[str, t.Any]) -> None:
    with pytest.raises(InvalidOption, match="goes without"):
        run(url="oci://h/a", **more)


def test_docker_hub() -> None:
    assert oci.parse_reference("oci://docker.io/library/x:1").address == "https://registry-1.docker.io/v2/library/x"
