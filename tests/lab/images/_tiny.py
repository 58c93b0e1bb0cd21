# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tiny guest: Debian's cloud kernel, busybox, and a cloud-init of some 300 lines of shell."""

from __future__ import annotations

import functools
import random
import re
import shutil
import typing as t
from pathlib import Path

from . import _build, _cache
from ._build import MIB, ImageError, run, tool
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
# Programs of this machine with which Ansible works on a guest, and what of Python's library it never needs.
PROGRAMS = ["/usr/sbin/sshd", "/usr/bin/ssh-keygen", "/usr/lib/openssh/sftp-server"]
WITHOUT = ("__pycache__", "asyncio", "config-*", "curses", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "sqlite3", "test", "tkinter",
           "turtledemo", "unittest", "venv", "wsgiref", "xmlrpc", "_codecs_*")  # fmt: skip
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


@functools.cache
def python() -> Path:
    """This machine's own Python, which the library of the guest is of as well."""
    found = Path("/usr/bin/python3").resolve()
    if not found.exists():
        raise ImageError("there is no /usr/bin/python3 on this machine: install the Debian package python3")
    return found


def managed(root: Path) -> None:
    """Python and sshd under `root`: a guest that a role can configure. Its init starts sshd with the keys that the user data give root."""
    programs = [python(), *map(Path, PROGRAMS)]
    missing = [str(path) for path in programs if not path.exists()]
    if missing:
        raise ImageError(f"{', '.join(missing)} is not on this machine: install the Debian package openssh-server")
    library = Path("/usr/lib") / python().name
    shutil.copytree(library, root / f"usr/lib/{python().name}", ignore=shutil.ignore_patterns(*WITHOUT))
    # Compiled, and without the sources: reading them costs a guest without KVM more than anything else.
    run([str(python()), "-m", "compileall", "-q", "-b", "--invalidation-mode", "unchecked-hash", "-s", str(root), str(root / "usr/lib")])
    for path in (root / f"usr/lib/{python().name}").rglob("*.py"):
        path.unlink()
    extensions = sorted((root / f"usr/lib/{python().name}/lib-dynload").glob("*.so"))
    libraries = {
        Path(word)
        for path in (*programs, *extensions)
        for word in re.findall(r"/\S+", run([tool("ldd", "libc-bin"), str(path)]))
        if ".so" in word
    }
    for path in (*programs, *sorted(path for path in libraries if not path.is_relative_to(root))):
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755)
    (root / "usr/bin/python3").symlink_to(python().name)
    (root / "etc/ssh").mkdir()
    (root / "etc/ssh/sshd_config").write_text(f"Subsystem sftp {PROGRAMS[-1]}\n", encoding="utf-8")
    with (root / "etc/passwd").open("a", encoding="utf-8") as users:
        users.write("sshd:x:100:65534::/run/sshd:/bin/false\n")


def padding(size_bytes: int, seed: int) -> t.Iterator[bytes]:
    """Data that no compression shrinks, the same for the same seed."""
    source = random.Random(seed)
    for _block in range(size_bytes // MIB):
        yield source.randbytes(MIB)


def tiny(version: str = "v1", pad_mib: int = 0, pad_seed: int = 0, ssh: bool = False) -> Path:
    """Path of the cached qcow2, built first if need be (under a second, once the kernel is unpacked).

    :param ssh: with sshd and Python, for 256 MiB of memory.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", version):
        raise ImageError(f"version: {version!r} is not accepted; letters, digits, dot, underscore and hyphen are")
    if not 0 <= pad_mib <= 65536:
        raise ImageError(f"pad_mib: {pad_mib!r} is not accepted; 0 to 65536 are")
    use = kernel()
    recipe = _cache.key(HERE, Path(__file__), Path(_build.__file__), busybox(), use.release, version, pad_mib, pad_seed,
                        *([python(), Path(PROGRAMS[0])] if ssh else []))  # fmt: skip

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
        if ssh:
            managed(root)
        initrd = _build.cpio(root, {"bin/sh": "busybox"})
        disk = scratch / "disk"
        boot_bytes = 2 * BOOT_BYTES if ssh else BOOT_BYTES
        parts = [_build.Partition(0x06, boot_bytes, active=True)]
        if pad_mib:
            parts.append(_build.Partition(0xDA, pad_mib * MIB))
        offsets = _build.lay_out(disk, parts)
        _build.boot_partition(disk, offsets[0], boot_bytes, use.vmlinuz, initrd, f"{ARGUMENTS} tiny.version={version}")
        if pad_mib:
            with disk.open("r+b") as handle:
                handle.seek(offsets[1])
                for block in padding(pad_mib * MIB, pad_seed):
                    handle.write(block)
        _build.to_qcow2(disk, made)

    return _cache.cached("tiny", f"tiny-{version}{'-ssh' if ssh else ''}{f'-{pad_mib}mib' if pad_mib else ''}-{recipe}.qcow2", build)
