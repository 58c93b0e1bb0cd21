# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import os
import stat
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import filesystem
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import NoSpace, UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._disk.filesystem import Mount

MOUNTS = """\
25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 25 0:27 / /proc rw shared:2 - proc proc rw
40 25 7:0 / /var/lib/libvirt/images rw - xfs /dev/mapper/vg-images rw
41 40 0:40 / /var/lib/libvirt/images/with\\040space rw - nfs4 filer:/export/a rw
44 25 0:43 / /srv/eve\x0c rw - fuse.evil eve rw
42 25 0:41 / /mnt rw - tmpfs tmpfs rw
43 42 0:42 / /mnt rw - btrfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/", Mount("ext4", "/dev/vda", "/")),
        ("/var/lib/libvirt/imagesX", Mount("ext4", "/dev/vda", "/")),
        ("/var/lib/libvirt/images/bases", Mount("xfs", "/dev/mapper/vg-images", "/var/lib/libvirt/images")),
        ("/var/lib/libvirt/images/with space", Mount("nfs4", "filer:/export/a", "/var/lib/libvirt/images/with space")),
        ("/mnt", Mount("btrfs", "/dev/vdb", "/mnt")),
        ("/srv/eve\x0c/pool", Mount("fuse.evil", "eve", "/srv/eve\x0c")),
    ],
)
def test_mount_of_a_path(path: str, wanted: Mount) -> None:
    assert filesystem.mount_of(path, filesystem.parse_mounts(MOUNTS)) == wanted


@pytest.mark.parametrize(
    ("kind", "network"),
    [*((one, True) for one in ("nfs4", "fuse.sshfs", "cifs", "fuse.bindfs", "gfs2", "vxfs")), ("xfs", False), ("fuseblk", False)],
)
def test_network_types(kind: str, network: bool) -> None:
    assert filesystem.is_network_type(kind) is network


def test_identity(tmp_path: t.Any) -> None:
    here = filesystem.describe(str(tmp_path))
    status = os.stat(tmp_path)
    assert here.identity == f"local:{filesystem.boot_id()}:{status.st_dev}:{status.st_ino}"
    assert filesystem.describe(str(tmp_path / "missing")).identity is None
    assert os.listdir(tmp_path) == []


def sparse(path: t.Any) -> bytes:
    with open(path, "wb") as file:
        file.write(b"head".ljust(65536, b"."))
        file.seek(8 << 20)
        file.write(b"middle".ljust(65536, b"."))
        file.truncate((16 << 20) + 512)
    return t.cast(bytes, path.read_bytes())


def test_a_sparse_copy_stays_sparse_and_is_seen_whole(tmp_path: t.Any) -> None:
    data = sparse(tmp_path / "a")
    seen = bytearray()
    source = os.open(tmp_path / "a", os.O_RDONLY)
    target = os.open(tmp_path / "b", os.O_RDWR | os.O_CREAT)
    filesystem.copy_sparse(source, target, len(data), seen.extend)
    os.close(source)
    os.close(target)
    assert bytes(seen) == data
    assert (tmp_path / "b").read_bytes() == data
    assert filesystem.allocated_bytes(str(tmp_path / "b")) < 1 << 20


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: t.Any) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    with pytest.raises(OSError, match="shorter"):
        filesystem.read_all(descriptor, 2000, lambda data: os.truncate(tmp_path / "a", 0))
    os.close(descriptor)


def test_links_and_devices_are_not_opened(tmp_path: t.Any) -> None:
    os.symlink("/etc/hostname", tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    for name, told in (("link", "is a symbolic link where a file of the store is expected; remove it"), ("fifo", "is not a regular file")):
        with pytest.raises(UnsafePath, match=f"/{name} {told}"):
            filesystem.open_regular(str(tmp_path / name))


def test_replacing_is_whole_or_nothing(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"older")
    filesystem.replace_file(str(path), b"old", 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(filesystem.os, "rename", fail)
    with pytest.raises(OSError, match="full"):
        filesystem.replace_file(str(path), b"new", 0o644)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_directory_that_is_a_link_is_refused(tmp_path: t.Any) -> None:
    os.symlink(tmp_path, tmp_path / "link")
    with pytest.raises(UnsafePath):
        filesystem.ensure_directory(str(tmp_path / "link"))
    assert filesystem.ensure_directory(str(tmp_path / "new")) is True
    assert filesystem.ensure_directory(str(tmp_path / "new")) is False


def test_removing_a_tree_follows_no_links(tmp_path: t.Any) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "file").write_bytes(b"x")
    (tmp_path / "tree").mkdir()
    os.symlink(tmp_path / "keep", tmp_path / "tree" / "link")
    (tmp_path / "tree" / "file").write_bytes(b"x")
    filesystem.set_immutable(str(tmp_path / "tree" / "file"), True)
    filesystem.remove_tree(str(tmp_path / "tree"))
    assert sorted(os.listdir(tmp_path)) == ["keep"]
    assert os.listdir(tmp_path / "keep") == ["file"]


def test_a_full_disk_has_a_name() -> None:
    assert isinstance(filesystem.no_space(OSError(errno.ENOSPC, ""), "Copying", "/p"), NoSpace)
    assert filesystem.no_space(OSError(errno.EIO, ""), "Copying", "/p") is None


def test_failures_of_the_storage_are_named() -> None:
    assert isinstance(filesystem.storage_failed(OSError(errno.EDQUOT, ""), "Copying", "/p"), NoSpace)
    failed = filesystem.storage_failed(OSError(errno.EIO, "Input/output error"), "Copying", "/p")
    assert failed is not None
    assert (failed.message, failed.kind) == (
        "Copying: the storage of /p is out of order (Input/output error); look at the host's storage.",
        "storage",
    )
    assert filesystem.storage_failed(OSError(errno.ECONNRESET, ""), "Copying", "/p") is None
