# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tiny guest: Debian's cloud kernel, busybox, and a cloud-init of some 300 lines of shell."""

from __future__ import annotations

import random
import re
import shutil
import typing as t
from pathlib import Path

from . import _build, _cache
from ._build import MIB, ImageError
from ._kernel import Kernel, kernel

HERE = Path(__file__).parent / "tiny"
BUSYBOX = Path("/bin/busybox")
BOOT_BYTES = 31 * MIB

# What a guest under virtio needs first; what it needs where the seed is an IDE, SATA or SCSI CD; the network; the power button.
MODULES = {
    "early": ["virtio_pci", "virtio_blk", "isofs"],
    "late": ["virtio_scsi", "sr_mod", "ata_piix", "ahci"],
    "net": ["virtio_net"],
    "power": ["button", "evdev"],
}
ARGUMENTS = "console=ttyS0 quiet panic=1 no_timer_check mitigations=off nokaslr random.trust_cpu=on"


def busybox() -> Path:
    """The static busybox of this machine."""
    if not BUSYBOX.exists() or b"/ld-linux" in BUSYBOX.read_bytes()[:4096]:
        raise ImageError("there is no static busybox on this machine: install the Debian package busybox-static")
    return BUSYBOX


def skeleton(root: Path, use: Kernel, modules: dict[str, list[str]]) -> None:
    """Busybox and module lists (lib/modules/<name>.list) under `root`, the beginning of an initrd."""
    (root / "bin").mkdir(parents=True)
    shutil.copyfile(busybox(), root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    target = root / "lib/modules"
    target.mkdir(parents=True)
    loaded: set[str] = set()
    for name, wanted in modules.items():
        files = [file for file in use.modules(wanted) if file.name not in loaded]
        loaded.update(file.name for file in files)
        for file in files:
            shutil.copyfile(file, target / file.name)
        (target / f"{name}.list").write_text("".join(f"{file.name}\n" for file in files), encoding="utf-8")


def padding(size_bytes: int, seed: int) -> t.Iterator[bytes]:
    """Data that no compression shrinks, the same for the same seed."""
    source = random.Random(seed)
    for _block in range(size_bytes // MIB):
        yield source.randbytes(MIB)


def tiny(version: str = "v1", pad_mib: int = 0, pad_seed: int = 0) -> Path:
    """Path of the cached qcow2, built first if need be (under a second, once the kernel is unpacked)."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", version):
        raise ImageError(f"version: {version!r} is not accepted; letters, digits, dot, underscore and hyphen are")
    if not 0 <= pad_mib <= 65536:
        raise ImageError(f"pad_mib: {pad_mib!r} is not accepted; 0 to 65536 are")
    use = kernel()
    recipe = _cache.key(HERE, Path(__file__), Path(_build.__file__), busybox(), use.release, version, pad_mib, pad_seed)

    def build(made: Path, scratch: Path) -> None:
        root = scratch / "root"
        skeleton(root, use, MODULES)
        shutil.copy(HERE / "init", root / "init")
        (root / "usr/lib/tiny").mkdir(parents=True)
        for name in ("cloud-init", "udhcpc.script", "flatten.awk", "mime.awk"):
            shutil.copy(HERE / name, root / "usr/lib/tiny" / name)
        (root / "etc").mkdir()
        (root / "etc/passwd").write_text("root::0:0:root:/root:/bin/sh\n", encoding="utf-8")
        (root / "etc/group").write_text("root:x:0:\n", encoding="utf-8")
        (root / "etc/inittab").write_text("::sysinit:/bin/true\n::ctrlaltdel:/bin/reboot -f\n", encoding="utf-8")
        initrd = _build.cpio(root, {"bin/sh": "busybox"})
        disk = scratch / "disk"
        parts = [_build.Partition(0x06, BOOT_BYTES, active=True)]
        if pad_mib:
            parts.append(_build.Partition(0xDA, pad_mib * MIB))
        offsets = _build.lay_out(disk, parts)
        _build.boot_partition(disk, offsets[0], BOOT_BYTES, use.vmlinuz, initrd, f"{ARGUMENTS} tiny.version={version}")
        if pad_mib:
            with disk.open("r+b") as handle:
                handle.seek(offsets[1])
                for block in padding(pad_mib * MIB, pad_seed):
                    handle.write(block)
        _build.to_qcow2(disk, made)

    return _cache.cached("tiny", f"tiny-{version}{f'-{pad_mib}mib' if pad_mib else ''}-{recipe}.qcow2", build)
