# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import filesystem
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
