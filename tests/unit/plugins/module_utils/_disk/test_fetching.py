# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports of what has to be fetched or unpacked, from real servers into real stores."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import download, unpack
from ansible_collections.basecast.fleet.plugins.module_utils._disk.checksum import ChecksumMissing
from ansible_collections.basecast.fleet.plugins.module_utils._disk.download import DownloadFailed
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import DigestMismatch, FormatUnclear, UnsupportedImage
from ansible_collections.basecast.fleet.plugins.module_utils._disk.fetching import ChecksumMismatch
from ansible_collections.basecast.fleet.plugins.module_utils._disk.importer import Importer, Request, Result
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._disk.sources import Rules
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import FakeQemu, qcow2
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.web_server import File, Server

Run = t.Callable[..., Result]
IMAGE = qcow2() + b"data".ljust(300_000, b"\0")
NEWER = qcow2() + b"newer".ljust(300_000, b"\0")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def run(pools: dict[str, Store], qemu_runner: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(download, "_FIRST_WAIT_S", 0.0)

    def import_(check_mode: bool = False, **request: t.Any) -> Result:
        rules = Rules(("/",), ("127.0.0.1",))
        return Importer(pools, "one", QemuImg(qemu_runner), check_mode, rules).run(Request(**{"tenant": "default", **request}))

    return import_


@pytest.fixture
def server() -> t.Iterator[Server]:
    with Server() as running:
        yield running


def leftovers(store: Store) -> list[str]:
    return os.listdir(os.path.join(store.directory, ".partial")) if os.path.isdir(store.directory) else []


PACK: dict[str, t.Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACK)
def test_a_packed_url_becomes_what_it_holds(run: Run, server: Server, suffix: str) -> None:
    packed = PACK[suffix](IMAGE)
    server.files["/x.qcow2" + suffix] = File(packed)
    wanted = {"url": f"{server.url}/x.qcow2{suffix}", "sha256": sha256(IMAGE), "checksum": f"sha256:{sha256(packed)}"}
    base = run(**wanted).base
    assert base is not None
    assert (base.sha256, base.metadata["source_sha256"]) == (sha256(IMAGE), sha256(IMAGE))
    origin = base.metadata["imported_from"]
    assert (origin["checksum"], origin["size_bytes"]) == (f"sha256:{sha256(packed)}", len(packed))
    assert not run(**wanted).changed
    assert not run(**{**wanted, "sha256": None}).changed
    assert len(server.asked) == 1


def test_a_packed_url_is_asked_whether_it_has_changed(run: Run, server: Server) -> None:
    server.files["/x.qcow2.xz"] = File(lzma.compress(IMAGE))
    url = f"{server.url}/x.qcow2.xz"
    assert run(url=url).changed
    assert not run(url=url).changed
    assert server.asked[1].headers["If-None-Match"] == '"1"'
    server.files["/x.qcow2.xz"] = File(lzma.compress(NEWER), etag='"2"')
    assert t.cast(t.Any, run(url=url).base).sha256 == sha256(NEWER)


def test_the_digest_of_the_packed_file_is_told_where_it_belongs(run: Run, server: Server, store: Store, tmp_path: pathlib.Path) -> None:
    packed = lzma.compress(IMAGE)
    server.files["/x.qcow2.xz"] = File(packed)
    (tmp_path / "x.qcow2.xz").write_bytes(packed)
    for source in ({"url": f"{server.url}/x.qcow2.xz"}, {"src": str(tmp_path / "x.qcow2.xz")}):
        with pytest.raises(InvalidOption, match=f"give it as checksum; unpacked it is {sha256(IMAGE)}"):
            run(**source, sha256=sha256(packed))
        with pytest.raises(DigestMismatch):
            run(**source, sha256="0" * 64)
    assert store.bases() == [] and leftovers(store) == []


def test_a_packed_file_of_the_host(run: Run, store: Store, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.raw.gz"
    path.write_bytes(gzip.compress(bytes(4096) + b"x" * 512))
    os.utime(path, (1, 1))
    predicted = run(True, src=str(path))
    assert (predicted.changed, predicted.base, store.bases()) == (True, None, [])
    base = run(src=str(path), name="a", version="1").base
    assert base is not None and base.size_bytes == 4608
    assert base.metadata["imported_from"]["name"] == str(path)
    assert not run(src=str(path), name="a", version="1").changed
    assert not run(True, src=str(path)).changed
    os.utime(path, (2, 2))
    assert not run(src=str(path), name="a", version="1").changed, "the same image again"
    run(src=str(path), consume=True)
    assert not path.exists()
    assert leftovers(store) == []


def test_a_packed_image_that_is_converted(run: Run, server: Server, qemu_runner: FakeQemu) -> None:
    image = b"KDMV" + (1).to_bytes(4, "little") + bytes(1016)
    server.files["/x.vmdk.xz"] = File(lzma.compress(image))
    try:
        base = run(url=f"{server.url}/x.vmdk.xz", sha256=sha256(image)).base
    except FleetError as error:
        assert "vmdk" in error.message
        return
    assert base is not None and base.metadata["source_sha256"] == sha256(image)


def test_what_is_packed_without_saying_so(run: Run, server: Server, store: Store) -> None:
    packed = gzip.compress(IMAGE)
    server.files |= {"/get?id=5": File(packed), "/x.qcow2.gz": File(IMAGE), "/none.gz": File(bytes(512))}
    with pytest.raises((UnsupportedImage, FormatUnclear), match="compression"):
        run(url=f"{server.url}/get?id=5")
    assert t.cast(t.Any, run(url=f"{server.url}/get?id=5", compression="gzip", image_format="qcow2").base).sha256 == sha256(IMAGE)
    with pytest.raises(unpack.Undecodable, match="say so with compression"):
        run(url=f"{server.url}/x.qcow2.gz")
    assert run(url=f"{server.url}/none.gz", compression="none", image_format="raw").changed
    assert leftovers(store) == []


def test_zstd_is_refused_before_anything_is_fetched(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "find_program", lambda _name: None)
    monkeypatch.setattr(unpack, "_zstd_module", lambda: None)
    for check_mode in (True, False):
        with pytest.raises(unpack.UnpackerMissing, match="install the package zstd"):
            run(check_mode, url=f"{server.url}/x.qcow2.zst")
    assert server.asked == []


def test_a_transfer_that_breaks_off_is_unpacked_on(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_WAIT_S", 0.0)
    image = qcow2() + os.urandom(3 << 20)
    server.files["/x.qcow2.xz"] = File(lzma.compress(image), cut=1 << 20)
    assert t.cast(t.Any, run(url=f"{server.url}/x.qcow2.xz").base).sha256 == sha256(image)
    assert len(server.asked) == 4
    server.files["/y.qcow2.xz"] = File(lzma.compress(image + bytes(512)), cut=1 << 20, broken="etag")
    with pytest.raises(DownloadFailed, match="changes while it is fetched"):
        run(url=f"{server.url}/y.qcow2.xz")


# -- mirrors


def test_mirrors_are_tried_in_order(run: Run, server: Server) -> None:
    server.files |= {
        "/gone": File(b"", status=503),
        "/stale/x.qcow2": File(NEWER),
        "/page/x.qcow2": File(b"<html>login</html>"),
        "/good/x.qcow2": File(IMAGE),
    }
    urls = [f"{server.url}{path}" for path in ("/gone", "/stale/x.qcow2", "/missing", "/page/x.qcow2", "/good/x.qcow2", "/never")]
    result = run(url=urls[0], mirrors=tuple(urls[1:]), sha256=sha256(IMAGE))
    base = t.cast(t.Any, result.base)
    assert (base.sha256, base.metadata["imported_from"]["name"]) == (sha256(IMAGE), urls[4])
    assert [asked.path for asked in server.asked] == ["/gone", "/stale/x.qcow2", "/missing", "/page/x.qcow2", "/good/x.qcow2"]
    for word in ("/good/x.qcow2, since", "/gone: the server answers 503", f"/stale/x.qcow2 has the SHA-256 digest {sha256(NEWER)}", "404"):
        assert word in result.warnings[0]


def test_all_mirrors_are_told(run: Run, server: Server, store: Store) -> None:
    urls = [f"{server.url}/a?sig=topsecret", "http://169.254.169.254/b", "http://127.0.0.1:1/c", "https://mirror.invalid/d"]
    with pytest.raises(
        DownloadFailed, match=r"None of the 4 URLs .*\(1\) .*/a: .*404.*\(2\) .*link-local.*\(3\) .*refused.*\(4\) .*/d"
    ) as raised:
        run(url=urls[0], mirrors=tuple(urls[1:]))
    assert "topsecret" not in raised.value.message
    assert leftovers(store) == []


@pytest.mark.parametrize("mirror", ["file:///etc/shadow", "ftp://h/x", "https://u:topsecret@h/x"])
def test_refused_mirrors(run: Run, server: Server, mirror: str) -> None:
    with pytest.raises(InvalidOption, match=r"^mirrors\[1\]: ") as raised:
        run(url=f"{server.url}/x", mirrors=(f"{server.url}/y", mirror))
    assert "topsecret" not in raised.value.message
    assert server.asked == []


# -- checksums


def test_a_checksum_of_another_kind(run: Run, server: Server, store: Store) -> None:
    server.files["/x.qcow2"] = File(IMAGE)
    wanted = {"url": f"{server.url}/x.qcow2", "checksum": f"sha512:{hashlib.sha512(IMAGE).hexdigest()}"}
    assert run(**wanted).changed
    assert not run(**wanted).changed
    assert len(server.asked) == 1, "what a checksum stands for is known from then on"
    with pytest.raises(ChecksumMismatch, match="sha512 checksum of the file as it came"):
        run(url=f"{server.url}/x.qcow2", checksum="sha512:" + "0" * 128)
    assert leftovers(store) == []


def test_a_list_is_asked_once_and_stays(run: Run, server: Server) -> None:
    """The name stands for what it was at its first use, and what the list tells later is told."""
    server.files |= {"/latest/x.qcow2": File(IMAGE), "/latest/SHA256SUMS": File(f"{sha256(IMAGE)} *x.qcow2\n".encode())}
    wanted = {"url": f"{server.url}/latest/x.qcow2", "checksum": f"{server.url}/latest/SHA256SUMS", "name": "x"}
    first = run(**wanted, version="1")
    assert first.changed and first.warnings == []
    again = run(**wanted, version="1")
    assert (again.changed, again.warnings) == (False, [])
    server.files |= {"/latest/x.qcow2": File(NEWER), "/latest/SHA256SUMS": File(f"{sha256(NEWER)} *x.qcow2\n".encode())}
    for check_mode in (True, False):
        pinned = run(check_mode, **wanted, version="1")
        assert (pinned.changed, t.cast(t.Any, pinned.base).sha256) == (False, sha256(IMAGE))
        for word in (f"sha256:{sha256(NEWER)}; x 1 was imported from sha256:{sha256(IMAGE)} and stays", "a version of its own"):
            assert word in pinned.warnings[0]
    assert [asked.path for asked in server.asked].count("/latest/x.qcow2") == 1
    server.files["/latest/SHA256SUMS"] = File(b"", status=404)
    unknown = run(**wanted, version="1")
    assert not unknown.changed and "is not known: " in unknown.warnings[0]
    server.files["/latest/SHA256SUMS"] = File(f"{sha256(NEWER)} *x.qcow2\n".encode())
    renewed = run(**wanted, version="2")
    assert (renewed.changed, t.cast(t.Any, renewed.base).sha256) == (True, sha256(NEWER))


def test_a_file_that_is_not_what_the_list_says(run: Run, server: Server, store: Store) -> None:
    server.files |= {
        "/x.qcow2.xz": File(lzma.compress(NEWER)),
        "/SUMS": File(f"SHA256 (x.qcow2.xz) = {sha256(lzma.compress(IMAGE))}\n".encode()),
    }
    with pytest.raises(ChecksumMismatch, match=sha256(lzma.compress(IMAGE))):
        run(url=f"{server.url}/x.qcow2.xz", checksum=f"{server.url}/SUMS")
    asked = len(server.asked)
    with pytest.raises(ChecksumMissing, match=r"SUMS does not tell a SHA-2 checksum of y\.qcow2"):
        run(url=f"{server.url}/y.qcow2", checksum=f"{server.url}/SUMS")
    assert len(server.asked) == asked + 1, "nothing else is fetched"
    with pytest.raises(DownloadFailed, match="404"):
        run(url=f"{server.url}/y.qcow2", checksum=f"{server.url}/none")
    assert (store.bases(), leftovers(store)) == ([], [])


def test_a_secret_path_is_kept_nowhere(run: Run, server: Server, store: Store) -> None:
    server.files["/0123456789abcdef/x.qcow2"] = File(IMAGE)
    result = run(url=f"{server.url}/0123456789abcdef/x.qcow2", secret=True, name="x", version="1")
    base = t.cast(t.Any, result.base)
    assert base.metadata["imported_from"]["name"] == f"{server.url}/….qcow2"
    assert "0123456789abcdef" not in str((result, base.metadata))
    records = b"".join(path.read_bytes() for path in pathlib.Path(store.directory).rglob("*.json"))
    assert b"0123456789abcdef" not in records
    for path in ("0123456789abcdef/y.qcow2", "0123456789abcdef/x.vmdk"):
        with pytest.raises(FleetError) as raised:
            run(url=f"{server.url}/{path}", secret=True)
        assert "0123456789abcdef" not in raised.value.message + str(raised.value.fields)
