# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From where a base disk may be taken: tables of paths and addresses."""

from __future__ import annotations

import ipaddress
import os
import pathlib
import socket
import stat
import subprocess
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import attributes, file_io, sources, uploads
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._disk.sources import DefinitionUnread, Rules, SourceRefused, checked_rules
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption

from .conftest import put_base


def check(path: t.Any, pools: dict[str, Store], *dirs: str) -> str:
    with open(path, "rb") as file:
        return sources.check_path(file.fileno(), str(path), pools, Rules(dirs))


@pytest.fixture
def tree(pools: dict[str, Store], tmp_path: pathlib.Path) -> pathlib.Path:
    """Pools with files of machines and of the store, and a directory beside them."""
    for place in ("one", "one/images", "one/machines/shop/web-1", "two", "listed", "listed/deep", "other"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "x.raw").write_bytes(bytes(512))
    put_base(pools["one"])
    return tmp_path


ALLOWED = [
    ("one/x.raw", ()),
    ("one/images/x.raw", ()),
    ("two/x.raw", ()),
    ("listed/x.raw", ("{}/listed",)),
    ("listed/deep/x.raw", ("{}/listed",)),
    ("one/images/x.raw", ("images",)),
    ("one/x.raw", (".", "{}/listed")),
]
REFUSED = [
    ("other/x.raw", (), "lies outside of the directories"),
    ("other/x.raw", ("{}/listed",), "lies outside of the directories"),
    ("one/x.raw", ("{}/listed",), "lies outside"),
    ("one/x.raw", ("images",), "lies outside"),
    ("listed/x.raw", ("{}/list",), "lies outside"),
    ("one/machines/shop/web-1/x.raw", (), "belongs to a machine"),
    ("one/machines/shop/web-1/x.raw", ("/",), "belongs to a machine"),
    ("one/bases/BASE/disk", (), "file of the base store"),
    ("one/bases/BASE/base.json", ("/",), "file of the base store"),
    ("one/bases/.lock", ("/",), "file of the base store"),
]


@pytest.mark.parametrize(("path", "dirs"), ALLOWED)
def test_paths_that_are_allowed(tree: pathlib.Path, pools: dict[str, Store], path: str, dirs: tuple[str, ...]) -> None:
    assert check(tree / path, pools, *(one.format(tree) for one in dirs)) == str(tree / path)


@pytest.mark.parametrize(
    ("path", "dirs", "reason", "by"),
    [
        (*case, by)
        for case in REFUSED
        for by in ("itself", "link", "link to its directory", "hard link")
        if by != "hard link" or "machines" in case[0]  # by another name only a machine's disk is known
    ],
)
def test_paths_that_are_refused(
    tree: pathlib.Path, pools: dict[str, Store], path: str, dirs: tuple[str, ...], reason: str, by: str
) -> None:
    with pools["one"].changing():
        pass
    path = path.replace("BASE", pools["one"].ids()[0])
    name = tree / path
    if by == "link":
        name = tree / "one" / "innocent.raw"
        name.symlink_to(tree / path)
    elif by == "link to its directory":
        (tree / "two" / "innocent").symlink_to((tree / path).parent)
        name = tree / "two" / "innocent" / name.name
    elif by == "hard link":
        name = tree / "one" / "innocent.raw"
        os.link(tree / path, name)
        reason = "is a disk of a machine"
    with pytest.raises(SourceRefused, match=reason) as raised:
        check(name, pools, *(one.format(tree) for one in dirs))
    assert raised.value.fields["path"] == str(name)


@pytest.mark.parametrize(
    ("place", "file", "reason"),
    [
        ("one/machines", "shop/web-1/x.raw", "is a disk of a machine"),
        ("one/machines/shop/web-1", "x.raw", "is a disk of a machine"),
        ("one/bases", "BASE/disk", "file of the base store"),
        ("one/bases/BASE", "disk", "file of the base store"),
        ("one/bases/BASE", "base.json", "file of the base store"),
        ("one", "machines/shop/web-1/x.raw", "is a disk of a machine"),
    ],
)
def test_a_bind_mount_is_no_way_around(tree: pathlib.Path, pools: dict[str, Store], place: str, file: str, reason: str) -> None:
    place, file = (text.replace("BASE", pools["one"].ids()[0]) for text in (place, file))
    (tree / "listed" / "mounted").mkdir()
    subprocess.run(["mount", "--bind", str(tree / place), str(tree / "listed" / "mounted")], check=True)
    try:
        with pytest.raises(SourceRefused, match=reason):
            check(tree / "listed" / "mounted" / file, pools, str(tree / "listed"))
    finally:
        subprocess.run(["umount", str(tree / "listed" / "mounted")], check=True)


def test_a_source_that_was_hard_linked_stays_a_source(tree: pathlib.Path, pools: dict[str, Store]) -> None:
    disk = os.path.join(pools["one"].base_directory(pools["one"].ids()[0]), "disk")
    attributes.set_immutable(disk, False)
    os.link(disk, tree / "one" / "own.raw")
    assert check(tree / "one" / "own.raw", pools)


def test_a_link_into_a_listed_directory(tree: pathlib.Path, pools: dict[str, Store]) -> None:
    (tree / "one" / "there.raw").symlink_to(tree / "listed" / "x.raw")
    assert check(tree / "one" / "there.raw", pools, str(tree / "listed")) == str(tree / "listed" / "x.raw")


@pytest.mark.parametrize("element", ['<source file="{}"/>', "<source file='{}' index='1'/>", "<source dev='{}'/>"])
def test_disks_of_libvirts_machines(tree: pathlib.Path, pools: dict[str, Store], monkeypatch: pytest.MonkeyPatch, element: str) -> None:
    disk = tree / "one" / "a & b.raw"
    disk.write_bytes(bytes(512))
    (tree / "qemu").mkdir()
    (tree / "qemu" / "db-1.xml").write_text(f"<domain><disk>{element.format(str(disk).replace('&', '&amp;'))}</disk></domain>")
    (tree / "qemu" / "broken.xml").write_bytes(b"\xff" * 100)
    monkeypatch.setattr(sources, "_DEFINITIONS", (str(tree / "qemu"), "/nowhere"))
    assert check(tree / "one" / "x.raw", pools)
    with pytest.raises(SourceRefused, match="a disk of the domain db-1"):
        check(disk, pools)


def test_what_domains_have_is_known_or_nothing_is_taken(
    tree: pathlib.Path, pools: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "qemu" / "db-1.xml").mkdir(parents=True)
    monkeypatch.setattr(sources, "_DEFINITIONS", (str(tree / "qemu"),))
    with pytest.raises(DefinitionUnread, match="A domain's definition cannot be read, so nobody knows what the domain has") as caught:
        check(tree / "one" / "x.raw", pools)
    assert "db-1" not in caught.value.message
    (tree / "qemu" / "db-1.xml").rmdir()
    (tree / "qemu" / "db-2.xml").write_text(f"{' ' * (5 << 20)}<disk><source file='{tree}/one/x.raw'/><source dir='/srv/a &amp; b'/>")
    with pytest.raises(SourceRefused, match="a disk of the domain db-2"):
        check(tree / "one" / "x.raw", pools)
    assert list(sources.libvirt_shares()) == [("db-2", "/srv/a & b")]


def test_an_upload_is_a_source(tree: pathlib.Path, pools: dict[str, Store]) -> None:
    path = uploads.make(pools["one"], "d.raw")
    pathlib.Path(path).write_bytes(bytes(512))
    assert check(path, pools) == path
    uploads.leave(path)
    assert os.path.exists(path)
    os.unlink(path)
    uploads.leave(path)
    assert os.listdir(tree / "one" / "bases" / ".incoming") == []


def test_places_for_uploads(pools: dict[str, Store], tmp_path: pathlib.Path) -> None:
    old_umask = os.umask(0o077)
    try:
        first, second = uploads.make(pools["one"], "a.raw"), uploads.make(pools["one"], "a.raw")
    finally:
        os.umask(old_umask)
    assert first != second
    modes = [
        os.stat(path).st_mode & 0o777 for path in (tmp_path / "one" / "bases", tmp_path / "one/bases/.incoming", os.path.dirname(first))
    ]
    assert modes == [0o711, 0o700, 0o700]
    os.utime(os.path.dirname(first), (1, 1))
    uploads.make(pools["one"], "b.raw")
    assert not os.path.exists(os.path.dirname(first))
    assert uploads.remove(pools["one"], second)
    assert not uploads.remove(pools["one"], second)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0b", "x" * 201])
def test_file_names_that_are_refused(pools: dict[str, Store], name: str) -> None:
    with pytest.raises(InvalidOption, match="file_name"):
        uploads.make(pools["one"], name)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{}/one/x", "{}/one/bases/.incoming", "{}/one/bases/.incoming/x", "{}/one/bases/.refs/x/y"]
)
def test_only_places_are_removed(pools: dict[str, Store], tmp_path: pathlib.Path, path: str) -> None:
    with pytest.raises(InvalidOption, match="path"):
        uploads.remove(pools["one"], path.format(tmp_path))


def test_a_planted_link_is_no_place(pools: dict[str, Store], tmp_path: pathlib.Path) -> None:
    pools["one"].prepare()
    (tmp_path / "one/bases/.incoming").symlink_to(tmp_path)
    with pytest.raises(FleetError, match="symbolic link"):
        uploads.make(pools["one"], "x.raw")


KINDS = {
    "public": ["8.8.8.8", "151.101.2.132", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"],
    "private": ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1", "100.64.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"],
    "loopback": ["127.0.0.1", "127.255.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::1"],
    "link-local": ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254"],
    "multicast": ["224.0.0.1", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "203.0.113.9", "0.1.2.3", "2001:db8::1"]
    + ["fec0::1", "3fff::1", "5f00::1", "64:ff9b:1::a00:1", "192.88.99.1", "192.0.0.170", "100::1", "2001:20::1", "::ffff:0:127.0.0.1"],
    "cloud metadata": ["100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"]
    + ["::ffff:168.63.129.16", "64:ff9b::100.100.100.200", "2002:a83f:8110::1"],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in KINDS.items() for text in texts])
def test_kinds_of_addresses(kind: str, text: str) -> None:
    address = ipaddress.ip_address(text)
    assert sources.kind_of(address) == kind
    assert bool(sources.address_problem("h", address, Rules(), named=True)) is (kind not in ("public", "private"))
    assert bool(sources.address_problem("h", address, Rules(), named=False)) is (kind != "public")
    for entry in (text, "h", "*"):
        assert sources.address_problem("h", address, Rules(hosts=(entry,)), named=False) == ""


@pytest.mark.parametrize(
    ("entry", "host", "address", "listed"),
    [
        ("mirror.example.org", "mirror.example.org", "127.0.0.1", True),
        ("mirror.example.org", "MIRROR.example.org.", "127.0.0.1", True),
        ("mirror.example.org", "evilmirror.example.org", "127.0.0.1", False),
        ("*.example.org", "a.b.example.org", "127.0.0.1", True),
        ("*.example.org", "example.org.evil", "127.0.0.1", False),
        ("127.0.0.0/8", "anything", "127.3.4.5", True),
        ("127.0.0.0/8", "anything", "::1", False),
        ("10.0.0.1/24", "x", "10.0.0.77", True),
        ("::1", "x", "::1", True),
        ("[fe80::]/10", "x", "fe80::5", False),
    ],
)
def test_listed_hosts(entry: str, host: str, address: str, listed: bool) -> None:
    assert sources.is_listed(host, ipaddress.ip_address(address), Rules(hosts=(entry,))) is listed


@pytest.mark.parametrize("dirs", [[""], ["../x"], ["a/../../b"], ["a\0b"]])
def test_directories_that_are_refused(dirs: list[str]) -> None:
    with pytest.raises(InvalidOption, match="source_dirs"):
        checked_rules(dirs, [])


@pytest.mark.parametrize("host", ["", "http://x", "x/y", "10.0.0.0/33", "user@x", "a b", "x:80", "10.0.0.*", "*.*.org", "a?.org", "[a]"])
def test_hosts_that_are_refused(host: str) -> None:
    with pytest.raises(InvalidOption, match="source_hosts"):
        checked_rules([], [host])


@pytest.mark.parametrize(
    ("url", "dirs", "path"),
    [
        ("file:///srv/a%20b.qcow2", ("/srv",), "/srv/a b.qcow2"),
        ("file://localhost/srv/../etc/x", ("/srv",), "/etc/x"),
        ("file:///srv/x", (), None),
        ("file://other/srv/x", ("/srv",), None),
        ("file:srv/x", ("/srv",), None),
        ("file:///srv/%00", ("/srv",), None),
    ],
)
def test_file_urls(url: str, dirs: tuple[str, ...], path: str | None) -> None:
    if path is None:
        with pytest.raises(InvalidOption, match="url"):
            sources.file_of_url(url, Rules(dirs))
    else:
        assert sources.file_of_url(url, Rules(dirs)) == path


def opened(name: pathlib.Path | str, pools: dict[str, Store], *dirs: str) -> str:
    descriptor, true = sources.open_source(str(name), pools, Rules(dirs))
    try:
        assert os.fstat(descriptor).st_ino == os.stat(true).st_ino
        return true
    finally:
        os.close(descriptor)


DETOURS = [
    "{}/one/../one/x.raw", "{}//one///x.raw", "{}/one/./x.raw", "/proc/self/root{}/one/x.raw", "/../..{}/one/x.raw",
    "/proc/self/cwd/../../../../../../../../..{}/one/x.raw",
]  # fmt: skip


@pytest.mark.parametrize("detour", DETOURS)
def test_detours_lead_where_they_lead(tree: pathlib.Path, pools: dict[str, Store], detour: str) -> None:
    assert opened(detour.format(tree), pools) == str(tree / "one" / "x.raw")
    with pytest.raises(SourceRefused, match="outside of the directories"):
        opened(detour.replace("one", "other").format(tree), pools)


@pytest.mark.parametrize(
    "nothing",
    ["{}/other/nothing", "{}/other/x.raw/more", "/root/nothing", "/proc/self/root/nothing", "{}/other/" + "x" * 300, "{}/other/circle"],
)
def test_whether_a_file_is_there_is_told_of_own_places_only(tree: pathlib.Path, pools: dict[str, Store], nothing: str) -> None:
    os.symlink("circle", tree / "other" / "circle")
    with pytest.raises(SourceRefused, match="outside of the directories"):
        opened(nothing.format(tree), pools)
    with pytest.raises(FileNotFoundError):
        opened(tree / "one" / "nothing", pools)
    with pytest.raises(NotADirectoryError):
        opened(tree / "one" / "x.raw" / "more", pools)
    with pytest.raises(InvalidOption, match="src"):
        opened(f"{tree}/one/a\0b", pools)


def fifo(path: pathlib.Path) -> None:
    os.mkfifo(path)


def unix_socket(path: pathlib.Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    old = os.getcwd()
    os.chdir(path.parent)
    try:
        server.bind(path.name)
    finally:
        os.chdir(old)
    server.close()


def device(kind: int) -> t.Callable[[pathlib.Path], None]:
    return lambda path: os.mknod(path, kind | 0o600, os.makedev(1, 3) if kind == stat.S_IFCHR else os.makedev(7, 200))


@pytest.mark.skipif(os.geteuid() != 0, reason="makes devices")
@pytest.mark.parametrize("by", ["itself", "link"])
@pytest.mark.parametrize("make", [fifo, unix_socket, device(stat.S_IFCHR), device(stat.S_IFBLK), pathlib.Path.mkdir])
def test_what_is_no_file_is_not_even_opened(
    tree: pathlib.Path, pools: dict[str, Store], monkeypatch: pytest.MonkeyPatch, make: t.Callable[[pathlib.Path], None], by: str
) -> None:
    path = tree / "one" / "y.raw"
    make(path)
    if by == "link":
        (tree / "one" / "link.raw").symlink_to(path)
        path = tree / "one" / "link.raw"
    real, flags = os.open, list[int]()
    monkeypatch.setattr(os, "open", lambda name, how, *rest, **more: flags.append(how) or real(name, how, *rest, **more))
    with pytest.raises(UnsafePath, match="not a regular file"):
        opened(path, pools)
    with pytest.raises(SourceRefused):
        opened("/dev/null", pools)
    with pytest.raises(UnsafePath):
        file_io.open_regular(str(path))
    assert all(how & os.O_PATH for how in flags)


def test_a_file_that_was_removed_has_no_place(tree: pathlib.Path, pools: dict[str, Store]) -> None:
    (tree / "one" / "y.raw").write_bytes(bytes(512))
    with open(tree / "one" / "y.raw", "rb") as file:
        os.unlink(tree / "one" / "y.raw")
        with pytest.raises(SourceRefused, match="no place in this host's own file tree"):
            opened(f"/proc/self/fd/{file.fileno()}", pools)
        (tree / "one" / "y.raw (deleted)").write_bytes(bytes(512))
        with pytest.raises(SourceRefused, match="no place in this host's own file tree"):
            opened(f"/proc/self/fd/{file.fileno()}", pools)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a file tree of its own")
def test_a_files_place_in_a_container_is_not_its_place_here(tree: pathlib.Path, pools: dict[str, Store]) -> None:
    script = f"mount -t tmpfs x {tree}/one && head -c 512 /dev/urandom > {tree}/one/x.raw && echo ready && exec sleep 60"
    process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(SourceRefused, match="no place in this host's own file tree"):
            opened(f"/proc/{process.pid}/root{tree}/one/x.raw", pools)
    finally:
        process.kill()
        process.wait()
