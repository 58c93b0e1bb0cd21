# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import struct
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import access, layout, packages
from ansible_collections.basecast.fleet.plugins.module_utils._disk.access import User
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

QEMU = User("libvirt-qemu", 64055, frozenset({64055, 104}))


def acl(*entries: tuple[int, int, int]) -> bytes:
    return b"\2\0\0\0" + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def status(mode: int, uid: int = 0, gid: int = 0) -> os.stat_result:
    return os.stat_result((0o040000 | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


NONE = 0xFFFFFFFF
CASES = {
    "everybody": (status(0o755), None, True),
    "passing only": (status(0o711), None, True),
    "private": (status(0o700), None, False),
    "reading only": (status(0o744), None, False),
    "its own": (status(0o700, uid=64055), None, True),
    "its own, barred": (status(0o077, uid=64055), None, False),
    "its group": (status(0o710, gid=104), None, True),
    "its group, barred": (status(0o701, gid=104), None, False),
    "another group": (status(0o710, gid=7), None, False),
    "named user": (status(0o710), acl((1, 7, NONE), (2, 1, 64055), (4, 0, NONE), (16, 1, NONE), (32, 0, NONE)), True),
    "named user, masked": (status(0o700), acl((1, 7, NONE), (2, 1, 64055), (4, 0, NONE), (16, 0, NONE), (32, 0, NONE)), False),
    "named user, barred": (status(0o711), acl((1, 7, NONE), (2, 0, 64055), (4, 1, NONE), (16, 7, NONE), (32, 1, NONE)), False),
    "other user": (status(0o710), acl((1, 7, NONE), (2, 1, 1000), (4, 0, NONE), (16, 1, NONE), (32, 0, NONE)), False),
    "named group": (status(0o710), acl((1, 7, NONE), (4, 0, NONE), (8, 1, 104), (16, 1, NONE), (32, 0, NONE)), True),
    "named group, masked": (status(0o700), acl((1, 7, NONE), (4, 0, NONE), (8, 1, 104), (16, 0, NONE), (32, 1, NONE)), False),
    "others by list": (status(0o711), acl((1, 7, NONE), (4, 0, NONE), (16, 7, NONE), (32, 1, NONE)), True),
    "no list at all": (status(0o711), b"\1\0\0\0", True),
}


@pytest.mark.parametrize("name", CASES)
def test_who_may_enter(name: str) -> None:
    found, entries, wanted = CASES[name]
    assert access.may_enter(found, entries, QEMU) is wanted
    assert access.may_enter(found, entries, User("root", 0, frozenset({0})))


def test_the_directory_in_the_way_is_named(tmp_path: pathlib.Path) -> None:
    pool = tmp_path / "a" / "b" / "pool"
    pool.mkdir(parents=True)
    for directory in [*pool.parents, pool]:
        if directory.is_relative_to("/tmp") and directory != pathlib.Path("/tmp"):
            directory.chmod(0o711)
    assert access.problem(str(pool), QEMU) == ""
    pool.parent.chmod(0o700)
    told = access.problem(str(pool), QEMU)
    assert told.startswith(f"QEMU runs as libvirt-qemu on this host, which cannot enter {pool.parent} (mode 0700)")
    assert told.endswith(f"setfacl -m u:libvirt-qemu:x {pool.parent}")
    assert access.problem(str(pool), None) == ""
    assert access.problem(str(pool / "none"), QEMU) != ""


def test_a_pool_behind_a_link_is_reached_by_both_ways(tmp_path: pathlib.Path) -> None:
    """QEMU opens the path that the domain names, not where that leads in the end."""
    private, pool = tmp_path / "private", tmp_path / "srv" / "pool"
    pool.mkdir(parents=True)
    private.mkdir()
    (private / "pool").symlink_to("../srv/pool")
    (tmp_path / "circle").symlink_to("circle")
    for directory in (pool, pool.parent, *private.parents):
        if directory.is_relative_to("/tmp") and directory != pathlib.Path("/tmp"):
            directory.chmod(0o711)
    private.chmod(0o711)
    assert access.problem(str(private / "pool"), QEMU) == ""
    private.chmod(0o700)
    assert f"cannot enter {private} (mode 0700)" in access.problem(str(private / "pool"), QEMU)
    assert access.problem(str(pool), QEMU) == ""
    private.chmod(0o711)
    pool.parent.chmod(0o700)
    assert f"cannot enter {pool.parent} (mode 0700)" in access.problem(str(private / "pool"), QEMU)
    access.problem(str(tmp_path / "circle"), QEMU)


@pytest.mark.parametrize(
    ("name", "group", "wanted"),
    [("64999", "64998", User("64999", 64999, frozenset({64998}))), ("0", "0", "root"), ("64999", "none", None), ("nobody-here", "0", None)],
)
def test_a_number_that_no_user_has_is_qemus_user(name: str, group: str, wanted: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "qemu_user", lambda: (name, group))
    found = access.qemu_user()
    assert (found.name if found and isinstance(wanted, str) else found) == wanted


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_stores_own_directories_let_qemu_pass(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    monkeypatch.setattr(access, "qemu_user", lambda: QEMU)
    old = os.umask(umask)
    try:
        Store(str(tmp_path)).prepare()
        layout.make_directories(str(tmp_path), "machines", "shop", "web-1")
    finally:
        os.umask(old)
    for place in ("bases", "machines", "machines/shop", "machines/shop/web-1"):
        assert os.stat(tmp_path / place).st_mode & 0o777 == 0o711


@pytest.mark.parametrize(
    ("before", "gid", "after"),
    [(0o700, 0, 0o701), (0o750, 0, 0o751), (0o700, 104, 0o710), (0o711, 0, 0o711), (0o755, 0, 0o755), (0o770, 104, 0o770)],
)
def test_a_wrong_mode_is_repaired_by_one_bit(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, before: int, gid: int, after: int
) -> None:
    monkeypatch.setattr(access, "qemu_user", lambda: QEMU)
    bases = tmp_path / "bases"
    bases.mkdir()
    os.chown(bases, 0, gid)
    bases.chmod(before)
    Store(str(tmp_path)).prepare()
    assert bases.stat().st_mode & 0o777 == after


CONF = [
    ("", "debian", ("libvirt-qemu", "kvm")),
    ("", "el", ("qemu", "qemu")),
    ("", None, ("qemu", "qemu")),
    ('user = "root"\ngroup = "root"\n', "debian", ("root", "root")),
    ("#user = \"root\"\n  user='alice' # mine\n", "debian", ("alice", "kvm")),
    ('user = "+107"\ngroup = "+36"', "el", ("107", "36")),
    ("dynamic_ownership = 1\nuser=bob", "el", ("bob", "qemu")),
    ("\xff\x00user", "el", ("qemu", "qemu")),
]


@pytest.mark.parametrize(("text", "of", "wanted"), CONF)
def test_qemus_user(text: str, of: str | None, wanted: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "this_family", lambda: None)
    assert packages.qemu_user(of, text) == wanted


RELEASES = [
    ("ID=debian\n", "debian"),
    ('NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian', "debian"),
    ('ID="rocky"\nID_LIKE="rhel centos fedora"', "el"),
    ("ID=fedora", "el"),
    ('ID="linuxmint"\nID_LIKE="ubuntu debian"', "debian"),
    ('ID="opensuse-leap"\nID_LIKE="suse opensuse"', "suse"),
    ("ID='ol'", "el"),
    ("ID=arch", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "wanted"), RELEASES)
def test_families_of_distributions(text: str, wanted: str | None) -> None:
    assert packages.family(text) == wanted


@pytest.mark.parametrize("need", ["qemu-img", "qemu", "libvirt", "python3-libvirt", "xorriso"])
def test_packages_are_named_by_the_distribution(need: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {packages.package(need, of) for of in ("debian", "el", "suse")}
    monkeypatch.setattr(packages, "this_family", lambda: None)
    debian, el = packages.package(need, "debian"), packages.package(need, "el")
    told = packages.package(need)
    assert debian in told and el in told


def test_qemu_img_has_three_names() -> None:
    assert [packages.package("qemu-img", of) for of in ("debian", "el", "suse")] == ["qemu-utils", "qemu-img", "qemu-tools"]
