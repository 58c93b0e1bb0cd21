# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store's modules with real images, real file systems and qemu's own tools."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes file systems and immutable files")

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20
CALL = (
    "import importlib, json, sys\n"
    "from ansible.module_utils.testing import patch_module_args\n"
    "module = importlib.import_module('ansible_collections.basecast.fleet.plugins.modules.' + sys.argv[1])\n"
    "with patch_module_args(json.loads(sys.argv[2])):\n"
    "    module.main()\n"
)

Pools = dict[str, str]


def start(module: str, **options: t.Any) -> subprocess.Popen[str]:
    if module == "base_disk_import":
        options = {"source_dirs": ["/"], "source_hosts": ["127.0.0.1"], **options}
    return subprocess.Popen(
        [sys.executable, "-c", CALL, module, json.dumps(options)],
        env={**os.environ, "PYTHONPATH": str(ROOT / ".collections")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, t.Any]:
    output, errors = process.communicate(timeout=120)
    assert output, errors
    return t.cast("dict[str, t.Any]", json.loads(output))


def call(module: str, **options: t.Any) -> dict[str, t.Any]:
    """The result of a module in a process of its own; a failure is a result too."""
    return finish(start(module, **options))


def good(module: str, **options: t.Any) -> dict[str, t.Any]:
    result = call(module, **options)
    assert not result.get("failed"), result["msg"]
    return result


def qemu(*arguments: t.Any) -> str:
    return subprocess.run(
        ["qemu-img", *map(str, arguments)], check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ).stdout


def content(path: str, image_format: str, tmp_path: pathlib.Path) -> bytes:
    """What a machine would read."""
    raw = tmp_path / "content"
    qemu("convert", "-f", image_format, "-O", "raw", path, raw)
    data = raw.read_bytes()
    raw.unlink()
    return data


def digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def settle(path: pathlib.Path) -> pathlib.Path:
    """As if it had been written long ago."""
    os.utime(path, (1000000000, 1000000000))
    return path


def remains(pool: str) -> list[str]:
    store = Store(pool)
    partial = os.path.join(store.directory, ".partial")
    return [*store.ids(), *store.referred_ids(), *(os.listdir(partial) if os.path.isdir(partial) else [])]


@pytest.fixture
def pools(tmp_path: pathlib.Path) -> t.Iterator[Pools]:
    paths = {name: str(tmp_path / name) for name in ("one", "two")}
    for path in paths.values():
        os.mkdir(path)
    yield paths
    for path in paths.values():
        file_trees.remove_tree(path)


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    """A raw disk of 32 MiB, of which 2 MiB and a sector are used."""
    path = tmp_path / "source.raw"
    with open(path, "wb") as file:
        file.write(random.Random(1).randbytes(2 * MIB))
        file.seek(20 * MIB)
        file.write(b"far".ljust(512, b"."))
        file.truncate(32 * MIB)
    return settle(path)


@contextlib.contextmanager
def mounted(tmp_path: pathlib.Path, kind: str, size_mib: int) -> t.Iterator[str]:
    image, point = tmp_path / f"{kind}.fs", tmp_path / f"{kind}.mnt"
    with open(image, "wb") as file:
        file.truncate(size_mib * MIB)
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    point.mkdir()
    subprocess.run(["mount", "-o", "loop", image, point], check=True)
    try:
        yield str(point)
    finally:
        subprocess.run(["umount", point], check=True)


# -- import


@pytest.mark.parametrize(
    ("extension", "image_format", "options", "kept"),
    [
        ("raw", "raw", [], True),
        ("qcow2", "qcow2", [], True),
        ("qcow2", "qcow2", ["-c"], True),
        ("qcow2", "qcow2", ["-o", "compat=0.10"], True),
        ("qcow2", "qcow2", ["-o", "extended_l2=on"], True),
        ("vmdk", "vmdk", [], False),
        ("vmdk", "vmdk", ["-o", "subformat=streamOptimized"], False),
        ("vhd", "vpc", ["-o", "force_size=on"], False),
        ("vhd", "vpc", ["-o", "subformat=fixed,force_size=on"], False),
        ("vhdx", "vhdx", [], False),
    ],
)
def test_each_format_becomes_a_base_with_the_same_content(
    pools: Pools,
    source: pathlib.Path,
    tmp_path: pathlib.Path,
    extension: str,
    image_format: str,
    options: list[str],
    kept: bool,
) -> None:
    image = tmp_path / f"image.{extension}"
    qemu("convert", "-f", "raw", "-O", image_format, *options, source, image)
    result = good("base_disk_import", pools=pools, pool="one", src=str(image), sha256=digest(image))
    base = result["base"]
    assert base["source_sha256"] == digest(image)
    assert (base["sha256"] == digest(image)) is kept
    assert digest(pathlib.Path(base["path"])) == base["sha256"]
    assert content(base["path"], base["image_format"], tmp_path) == source.read_bytes()
    assert base["virtual_size_bytes"] == 32 * MIB
    assert base["allocated_bytes"] < 4 * MIB
    assert good("base_disk_info", pools=pools, verify=True)["pools"]["one"]["damaged"] == []
    again = good("base_disk_import", pools=pools, pool="one", src=str(image), sha256=digest(image))
    # Verifying has noted when; the rest is as it was.
    told = [{key: value for key, value in one.items() if key != "verified_at"} for one in (again["base"], base)]
    assert (again["changed"], told[0]) == (False, told[1])


def test_internal_snapshots_are_left_behind(pools: Pools, source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    image = tmp_path / "image.qcow2"
    qemu("convert", "-f", "raw", "-O", "qcow2", source, image)
    qemu("snapshot", "-c", "before", image)
    result = good("base_disk_import", pools=pools, pool="one", src=str(image))
    assert "snapshots" in str(result["warnings"])
    assert "snapshots" not in json.loads(qemu("info", "--output=json", result["base"]["path"]))
    assert content(result["base"]["path"], "qcow2", tmp_path) == source.read_bytes()


def _backing(path: pathlib.Path, secret: pathlib.Path) -> None:
    qemu("create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", path)


def _json_backing(path: pathlib.Path, secret: pathlib.Path) -> None:
    name = "json:" + json.dumps({"driver": "raw", "file": {"driver": "file", "filename": str(secret)}})
    qemu("create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", "raw", path, MIB)


def _network_backing(path: pathlib.Path, secret: pathlib.Path) -> None:
    qemu("create", "-q", "-u", "-f", "qcow2", "-b", "nbd:127.0.0.1:1", "-F", "raw", path, MIB)


def _old_backing(path: pathlib.Path, secret: pathlib.Path) -> None:
    qemu("create", "-q", "-u", "-f", "qcow2", "-o", "compat=0.10", "-b", secret, "-F", "raw", path, MIB)


def _data_file(path: pathlib.Path, secret: pathlib.Path) -> None:
    copy = path.with_suffix(".data")
    shutil.copy(secret, copy)
    qemu("create", "-q", "-f", "qcow2", "-o", f"data_file={copy},data_file_raw=on", path, MIB)


def _encrypted(path: pathlib.Path, secret: pathlib.Path) -> None:
    options = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    for attempts_left in reversed(range(100)):
        try:
            qemu("create", "-q", "--object", "secret,id=s,data=x", "-f", "qcow2", "-o", options, path, MIB)
            return
        except subprocess.CalledProcessError as error:
            # qemu-img times its key derivation first, and gives up where the clock of the thread did not tick meanwhile.
            if not attempts_left or "accurate CPU usage" not in str(error.stdout) + str(error.stderr):
                raise


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (_backing, "unsafe_image"),
        (_json_backing, "unsafe_image"),
        (_network_backing, "unsafe_image"),
        (_old_backing, "unsafe_image"),
        (_data_file, "unsafe_image"),
        (_encrypted, "unsupported_image"),
    ],
)
@pytest.mark.parametrize("how", ["path", "url"])
def test_images_that_reach_for_other_files_are_refused(
    pools: Pools, tmp_path: pathlib.Path, make: t.Callable[[pathlib.Path, pathlib.Path], None], kind: str, how: str
) -> None:
    secret, image = tmp_path / "secret", tmp_path / "image.qcow2"
    secret.write_bytes(b"secret".ljust(MIB, b"."))
    make(image, secret)
    where = {"src": str(image)} if how == "path" else {"url": f"file://{image}"}
    result = call("base_disk_import", pools=pools, pool="one", **where)
    assert result["failure"]["kind"] == kind, result["msg"]
    assert remains(pools["one"]) == []


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse"])
def test_vmdk_of_several_files_is_refused(pools: Pools, source: pathlib.Path, tmp_path: pathlib.Path, subformat: str) -> None:
    image = tmp_path / "image.vmdk"
    qemu("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}", source, image)
    assert call("base_disk_import", pools=pools, pool="one", src=str(image))["failure"]["kind"] == "unsafe_image"


def test_a_guest_that_writes_a_header_into_its_raw_disk_gains_nothing(pools: Pools, tmp_path: pathlib.Path) -> None:
    secret, image = tmp_path / "secret", tmp_path / "disk.raw"
    secret.write_bytes(b"secret".ljust(MIB, b"."))
    _backing(image, secret)
    with open(image, "r+b") as file:
        file.truncate(MIB)
    assert call("base_disk_import", pools=pools, pool="one", src=str(image))["failure"]["kind"] == "format_unclear"
    base = good("base_disk_import", pools=pools, pool="one", src=str(image), format="raw")["base"]
    assert base["image_format"] == "raw"
    wishes = [
        {"machine": "m", "name": name, "pool": "one", "base": base["sha256"], "differencing": differencing}
        for name, differencing in (("overlay", True), ("copy", False))
    ]
    for disk in good("diff_disk", pools=pools, service="s", disks=wishes)["disks"]:
        data = content(disk["path"], disk["image_format"], tmp_path)
        assert data == image.read_bytes()
        assert b"secret" not in data[4096:]


@pytest.mark.parametrize(("extension", "image_format"), [("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vhd", "vpc"), ("vhdx", "vhdx")])
def test_truncated_images_are_refused(
    pools: Pools, source: pathlib.Path, tmp_path: pathlib.Path, extension: str, image_format: str
) -> None:
    image = tmp_path / f"image.{extension}"
    qemu("convert", "-f", "raw", "-O", image_format, source, image)
    os.truncate(image, image.stat().st_size - MIB)
    for check_mode in (True, False):
        result = call("base_disk_import", pools=pools, pool="one", src=str(image), _ansible_check_mode=check_mode)
        assert result["failure"]["kind"] == "damaged_image", result["msg"]
    assert remains(pools["one"]) == []


def test_a_chain_of_four_reads_right_and_flattens(pools: Pools, source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    base = good("base_disk_import", pools=pools, pool="one", src=str(source))["base"]
    expected = bytearray(source.read_bytes())
    for number in (1, 2):
        child = tmp_path / f"child{number}.qcow2"
        qemu("create", "-q", "-f", "qcow2", "-b", base["path"], "-F", base["image_format"], child)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {number} {number}M 64k", child], check=True, stdout=subprocess.DEVNULL)
        expected[number * MIB : number * MIB + 65536] = bytes([number]) * 65536
        base = good("base_disk_import", pools=pools, pool="one", src=str(child), parent=base["sha256"])["base"]
    assert len(base["chain"]) == 3
    copied = good("base_disk", pools=pools, pool="two", bases=[base["sha256"]])
    assert copied["bases"][0]["chain"] == base["chain"]
    wishes = [
        {"machine": "a", "name": "overlay", "pool": "one", "base": base["sha256"]},
        {"machine": "a", "name": "copy", "pool": "one", "base": base["sha256"], "differencing": False},
        {"machine": "a", "name": "other-pool", "pool": "two", "base": base["sha256"]},
        {"machine": "a", "name": "across", "pool": "two", "base": base["sha256"], "base_pool": "one"},
    ]
    for disk in good("diff_disk", pools=pools, service="s", disks=wishes)["disks"]:
        assert content(disk["path"], "qcow2", tmp_path) == expected, disk["name"]
    refused = call("base_disk", pools=pools, pool="one", bases=[base["chain"][0]], state="absent")
    assert set(refused["failure"]["needed_by"]) == {"base disks based on it", "tenants"}
    # A pool that is mounted elsewhere keeps working: all names within it are relative.
    moved = tmp_path / "moved"
    os.rename(pools["one"], moved)
    assert content(str(moved / "machines/s/a/overlay.qcow2"), "qcow2", tmp_path) == expected
    os.rename(moved, pools["one"])


def test_a_full_pool_is_left_as_it_was(source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    big = tmp_path / "big.raw"
    big.write_bytes(random.Random(2).randbytes(48 * MIB))
    image = tmp_path / "big.vhdx"
    qemu("convert", "-f", "raw", "-O", "vhdx", big, image)
    with mounted(tmp_path, "ext4", 32) as pool:
        for where in ({"src": str(big)}, {"src": str(image)}, {"url": f"file://{big}"}):
            result = call("base_disk_import", pools={"small": pool}, pool="small", name="a", version="1", **where)
            assert result["failure"]["kind"] == "no_space", result["msg"]
            assert remains(pool) == []
        small = good("base_disk_import", pools={"small": pool}, pool="small", src=str(source))["base"]
        wish = {"machine": "m", "name": "d", "pool": "small", "base": small["sha256"]}
        assert good("diff_disk", pools={"small": pool}, service="s", disks=[wish])["changed"]


def test_imports_at_once_leave_the_reserve(tmp_path: pathlib.Path) -> None:
    images = []
    for number in range(4):
        raw, image = tmp_path / f"{number}.raw", tmp_path / f"{number}.qcow2"
        raw.write_bytes(random.Random(number).randbytes(12 * MIB) + bytes(100 * MIB))
        qemu("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, image.with_suffix(".vmdk"))
        images.append(image.with_suffix(".vmdk"))

    with mounted(tmp_path, "ext4", 48) as pool, concurrent.futures.ThreadPoolExecutor(len(images)) as workers:

        def one(image: pathlib.Path) -> dict[str, t.Any]:
            return call("base_disk_import", pools={"small": pool}, pool="small", src=str(image), reserve_percent=20)

        results = list(workers.map(one, images))
        space = os.statvfs(pool)
        assert space.f_bavail >= space.f_blocks * 0.2
        refused = [result for result in results if "failure" in result]
        assert {result["failure"]["kind"] for result in refused} == {"no_space"}
        assert 1 <= len(refused) <= 3
        assert len(good("base_disk_info", pools={"small": pool})["pools"]["small"]["bases"]) == len(images) - len(refused)


class Library(http.server.ThreadingHTTPServer):
    """Serves one file; holds its end back until it is let go."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(("127.0.0.1", 0), LibraryHandler)
        self.data = path.read_bytes()
        self.requests = 0
        self.half_sent, self.go_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/image.raw"


class LibraryHandler(http.server.BaseHTTPRequestHandler):
    server: Library

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.data)))
        self.end_headers()
        half = len(self.server.data) // 2
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.server.data[:half])
            self.server.half_sent.set()
            self.server.go_on.wait(60)
            self.wfile.write(self.server.data[half:])

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def library(source: pathlib.Path) -> t.Iterator[Library]:
    with Library(source) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.go_on.set()
        running.shutdown()
        thread.join()


def test_two_imports_at_once_transport_it_once(pools: Pools, source: pathlib.Path, library: Library) -> None:
    options = {"pools": pools, "pool": "one", "url": library.url, "sha256": digest(source), "name": "a", "version": "1"}
    first = start("base_disk_import", **options)
    assert library.half_sent.wait(30)
    second = start("base_disk_import", **options)
    store = Store(pools["one"])
    lock = os.path.join(store.directory, ".partial")
    deadline = time.monotonic() + 30
    while not _waits(second.pid, lock):
        assert time.monotonic() < deadline, "the second import does not wait"
        time.sleep(0.05)
    library.go_on.set()
    results = [finish(first), finish(second)]
    assert [result["changed"] for result in results] == [True, False]
    assert library.requests == 1


def _waits(pid: int, place: str) -> bool:
    """Whether the process has opened the lock that the first one holds."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith(place):
                    return True
    return False


def test_a_killed_import_can_be_run_again(pools: Pools, source: pathlib.Path, library: Library) -> None:
    process = start("base_disk_import", pools=pools, pool="one", url=library.url)
    assert library.half_sent.wait(30)
    process.kill()
    process.communicate()
    assert Store(pools["one"]).ids() == []
    assert good("base_disk_info", pools=pools)["pools"]["one"]["partials"] == []
    library.go_on.set()
    assert good("base_disk_import", pools=pools, pool="one", url=library.url)["base"]["sha256"] == digest(source)
    assert os.listdir(os.path.join(pools["one"], "bases", ".partial")) == []


# -- disks


@pytest.mark.timeout(240)
def test_two_hundred_disks_cost_no_more_than_bare_qemu_img(pools: Pools, source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    image = tmp_path / "image.qcow2"
    qemu("convert", "-f", "raw", "-O", "qcow2", source, image)
    base = good("base_disk_import", pools=pools, pool="one", src=str(image))["base"]
    size = 20 << 30
    ratios = []
    for attempt in range(3):
        bare = pathlib.Path(pools["one"]) / "machines" / f"bare{attempt}" / "m"
        bare.mkdir(parents=True)
        backing = f"../../../bases/{base['sha256']}/disk"
        begin = time.monotonic()
        for number in range(200):
            qemu("create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", bare / f"{number}.qcow2", size)
        middle = time.monotonic()
        wishes = [
            {"machine": f"m-{number}", "name": "root", "pool": "one", "base": base["sha256"], "size_bytes": size} for number in range(200)
        ]
        disks = good("diff_disk", pools=pools, service=f"fast{attempt}", disks=wishes)["disks"]
        ratios.append((time.monotonic() - middle) / (middle - begin))
        expected = (bare / "0.qcow2").read_bytes()
        assert all(pathlib.Path(disk["path"]).read_bytes() == expected for disk in disks)
        if ratios[-1] <= 1.2:
            break
    print(f"200 differencing disks cost {min(ratios):.2f} times what 200 qemu-img create cost")
    assert min(ratios) <= 1.2


def test_two_runs_at_once_make_each_disk_once(pools: Pools, source: pathlib.Path) -> None:
    base = good("base_disk_import", pools=pools, pool="one", src=str(source))["base"]
    wishes = [{"machine": f"m-{number}", "name": "d", "pool": "one", "base": base["sha256"]} for number in range(50)]
    runs = [start("diff_disk", pools=pools, service="s", disks=wishes) for _run in range(2)]
    actions = [[disk["action"] for disk in finish(run)["disks"]] for run in runs]
    assert sorted(actions) == [["created"] * 50, ["none"] * 50]


@contextlib.contextmanager
def opened(path: str) -> t.Iterator[None]:
    """A disk opened for writing by qemu's block layer, as a running machine has it."""
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("length\n")
        process.stdin.flush()
        while "MiB" not in process.stdout.readline():
            assert process.poll() is None
        try:
            yield
        finally:
            process.stdin.close()
            process.wait(30)


def test_a_disk_in_use_is_neither_grown_nor_removed(pools: Pools, source: pathlib.Path) -> None:
    base = good("base_disk_import", pools=pools, pool="one", src=str(source))["base"]
    wish = {"machine": "m", "name": "d", "pool": "one", "base": base["sha256"]}
    (disk,) = good("diff_disk", pools=pools, service="s", disks=[wish])["disks"]
    with opened(disk["path"]):
        for check_mode in (True, False):
            for changed in ({"disks": [wish], "state": "absent"}, {"disks": [{**wish, "size_bytes": 64 * MIB}]}):
                result = call("diff_disk", pools=pools, service="s", _ansible_check_mode=check_mode, **changed)
                assert result["failure"]["kind"] == "disk_busy", result["msg"]
        assert good("diff_disk", pools=pools, service="s", disks=[wish])["changed"] is False
    (grown,) = good("diff_disk", pools=pools, service="s", disks=[{**wish, "size_bytes": 64 * MIB}])["disks"]
    assert (grown["action"], grown["virtual_size_bytes"]) == ("resized", 64 * MIB)
    assert json.loads(qemu("info", "--output=json", grown["path"]))["virtual-size"] == 64 * MIB


@contextlib.contextmanager
def domain(name: str, disk: str) -> t.Iterator[None]:
    """A machine that has the disk open, as libvirt starts it, halted before its first instruction."""
    ready = f"{disk}.monitor"
    process = subprocess.Popen(
        [
            *("qemu-system-x86_64", "-name", f"guest={name},debug-threads=on", "-S", "-nodefaults", "-display", "none", "-m", "16"),
            *("-machine", "accel=tcg", "-blockdev", f"driver=file,filename={disk},node-name=f"),
            *(
                "-blockdev",
                f"driver={'qcow2' if disk.endswith('qcow2') else 'raw'},file=f,node-name=d",
                "-device",
                "virtio-blk-pci,drive=d",
            ),
            *("-qmp", f"unix:{ready},server=on,wait=off"),
        ]
    )
    deadline = time.monotonic() + 30
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(30)
        while monitor.connect_ex(ready) != 0:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        assert monitor.recv(4096)  # its greeting comes once everything is open
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"method": "hard_link"}, {"method": "copy"}, {"consume": True}, {"format": "raw", "consume": True}]
)
def test_a_running_machines_disk_is_no_source(pools: Pools, source: pathlib.Path, linked: bool, options: t.Any) -> None:
    known = good("base_disk_import", pools=pools, pool="one", src=str(source))["base"]["sha256"]
    disk = pathlib.Path(pools["one"]) / "running.raw"
    shutil.copyfile(source, disk)
    settle(disk)
    src = disk.with_name("other-name.raw") if linked else disk
    if linked:
        os.link(disk, src)
    with domain("web-1", str(disk)):
        for sha256 in (None, known) if options.get("consume") else (None,):
            for check_mode in (True, False):
                result = call(
                    "base_disk_import", pools=pools, pool="two", src=str(src), sha256=sha256, _ansible_check_mode=check_mode, **options
                )
                assert result["failure"]["kind"] == "disk_busy", result["msg"]
                assert "domain web-1" in result["msg"]
    assert src.exists() and os.lstat(src).st_mode & 0o222
    assert good("base_disk_import", pools=pools, pool="two", src=str(src), **options)["base"]["sha256"] == known


def test_a_base_under_a_running_machine_stays(pools: Pools, source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The machine's disk lies outside of the pools, so only QEMU's own lock tells."""
    base = good("base_disk_import", pools=pools, pool="one", src=str(source))["base"]
    overlay = tmp_path / "elsewhere.qcow2"
    qemu("create", "-q", "-f", "qcow2", "-b", base["path"], "-F", "raw", overlay)
    good("base_disk_reference", pools=pools, references=[{"sha256": base["sha256"]}], state="absent")
    with domain("db-1", str(overlay)):
        result = call("base_disk", pools=pools, pool="one", bases=[base["sha256"]], state="absent")
        assert (result["failure"]["kind"], "domain db-1" in result["msg"]) == ("disk_busy", True)
        # Reading what nobody writes is allowed.
        assert good("base_disk", pools=pools, pool="two", bases=[base["sha256"]])["changed"]
    assert good("base_disk", pools=pools, pool="one", bases=[base["sha256"]], state="absent")["changed"]


def test_no_machine_starts_on_a_disk_being_imported(tmp_path: pathlib.Path, source: pathlib.Path) -> None:
    from ansible_collections.basecast.fleet.plugins.module_utils._disk import in_use

    with open(source, "rb") as file, in_use.reading(file.fileno(), str(source), "imported"):
        tried = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 512", source], check=False, capture_output=True, text=True)
        assert "lock" in tried.stderr
        qemu("info", source)
    subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 512", source], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ext4"])
def test_file_systems(source: pathlib.Path, tmp_path: pathlib.Path, kind: str) -> None:
    with mounted(tmp_path, kind, 400) as pool:
        pools = {"p": pool}
        seen = good("base_disk_info", pools=pools)["pools"]["p"]["filesystem"]
        assert (seen["type"], seen["immutable"], seen["shared"]) == (kind, True, False)
        assert seen["reflink"] is (kind != "ext4")
        inside = pathlib.Path(pool) / "upload.raw"
        shutil.copyfile(source, inside)
        method = {"method": "reflink"} if seen["reflink"] else {}
        base = good("base_disk_import", pools=pools, pool="p", src="upload.raw", **method)["base"]
        with pytest.raises(PermissionError), open(base["path"], "r+b"):
            pass
        with pytest.raises(PermissionError):
            os.unlink(base["path"])
        wish = {"machine": "m", "name": "d", "pool": "p", "base": base["sha256"], "backend": "reflink", "size_bytes": 64 * MIB}
        result = call("diff_disk", pools=pools, service="s", disks=[wish])
        if not seen["reflink"]:
            assert result["failure"]["kind"] == "no_reflink"
            assert kind in result["msg"]
            assert call("base_disk_import", pools=pools, pool="p", src="upload.raw", method="reflink", sha256=None)["changed"] is False
        else:
            (disk,) = result["disks"]
            data = pathlib.Path(disk["path"]).read_bytes()
            assert (len(data), data[: 32 * MIB]) == (64 * MIB, source.read_bytes())
            assert b"shared" in subprocess.run(["filefrag", "-v", disk["path"]], check=True, stdout=subprocess.PIPE).stdout
            assert good("diff_disk", pools=pools, service="s", disks=[wish])["changed"] is False
            assert good("diff_disk", pools=pools, service="s", disks=[wish], state="absent")["changed"]
        good("base_disk_reference", pools=pools, references=[{"sha256": base["sha256"]}], state="absent")
        assert good("base_disk", pools=pools, pool="p", bases=[base["sha256"]], state="absent")["changed"]
        assert Store(pool).ids() == []


PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - basecast.fleet.base_disk_import: {pools: "{{ pools }}", pool: one, src: "{{ src }}", source_dirs: [/], name: debian, version: "12"}
    - basecast.fleet.base_disk: {pools: "{{ pools }}", pool: two, bases: ["{{ sha256 }}"]}
    - basecast.fleet.base_disk_reference: {pools: "{{ pools }}", tenant: blue, references: [{sha256: "{{ sha256 }}"}]}
    - basecast.fleet.diff_disk:
        pools: "{{ pools }}"
        service: shop
        disks: [{machine: web-1, name: root, pool: two, base: "{{ sha256 }}"}]
"""


@pytest.mark.timeout(240)
def test_through_ansible_check_real_check_real(pools: Pools, source: pathlib.Path, tmp_path: pathlib.Path) -> None:
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAYBOOK, encoding="utf-8")
    variables = {"pools": pools, "src": str(source), "sha256": digest(source), "ansible_python_interpreter": "/usr/bin/python3"}
    found = []
    for mode in (["--check"], [], ["--check"], []):
        done = subprocess.run(
            [
                *(pathlib.Path(sys.executable).parent / "ansible-playbook", playbook, "-i", "localhost,", "-c", "local"),
                *("--diff", "-e", json.dumps(variables), *mode),
            ],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local")},
            check=False,
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found.append([line.split(":")[0] for line in done.stdout.splitlines() if line.startswith(("ok:", "changed:"))])
    assert found == [["changed"] * 4, ["changed"] * 4, ["ok"] * 4, ["ok"] * 4]
    assert os.path.exists(f"{pools['two']}/machines/shop/web-1/root.qcow2")
