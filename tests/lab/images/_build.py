# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images as files: a cpio archive, a partitioned disk, a qcow2. No root, no loop device, same input same bytes."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import struct
import subprocess
import typing as t
from pathlib import Path

SECTOR = 512
MIB = 1024 * 1024

# Everything that would take the time of the build takes this one, so that equal recipes give equal digests.
EPOCH = 1_700_000_000


class ImageError(Exception):
    """An image cannot be built; the message says what is missing and what to do."""


class Partition(t.NamedTuple):
    """One primary partition: type byte of the MBR, size in bytes, and whether the BIOS starts from it."""

    kind: int
    size_bytes: int
    active: bool = False


def tool(name: str, package: str) -> str:
    """Path of a program, or an ImageError that names the Debian package with it."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise ImageError(f"{name} is not on this machine: install the Debian package {package} (tools/setup does)")
    return path


def run(argv: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a program; a failure becomes an ImageError with the end of what it said."""
    full = {**os.environ, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(EPOCH), **(env or {})}
    done = subprocess.run(argv, cwd=cwd, env=full, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ImageError(f"{' '.join(argv[:3])} … ended with status {done.returncode}: {said}")
    return done.stdout


def cpio(tree: Path, links: dict[str, str] | None = None) -> bytes:
    """A gzipped newc archive of `tree`, owned by root, in sorted order.

    :param links: further symbolic links, name -> target.
    """
    out = bytearray()

    def entry(number: int, name: str, mode: int, data: bytes) -> None:
        head = (number, mode, 0, 0, 1, EPOCH, len(data), 0, 0, 0, 0, len(name.encode()) + 1, 0)
        out.extend(b"070701" + b"".join(b"%08x" % value for value in head) + name.encode() + b"\0")
        out.extend(b"\0" * (-len(out) % 4))
        out.extend(data)
        out.extend(b"\0" * (-len(out) % 4))

    paths = sorted(tree.rglob("*"))
    for number, path in enumerate(paths, 1):
        name, mode = str(path.relative_to(tree)), path.lstat().st_mode
        if stat.S_ISLNK(mode):
            entry(number, name, stat.S_IFLNK | 0o777, os.readlink(path).encode())
        elif stat.S_ISDIR(mode):
            entry(number, name, stat.S_IFDIR | 0o755, b"")
        else:
            entry(number, name, stat.S_IFREG | (0o755 if mode & 0o100 else 0o644), path.read_bytes())
    for further, (name, target) in enumerate(sorted((links or {}).items()), len(paths) + 1):
        entry(further, name, stat.S_IFLNK | 0o777, target.encode())
    entry(0, "TRAILER!!!", 0, b"")
    return gzip.compress(bytes(out), compresslevel=6, mtime=EPOCH)


def lay_out(disk: Path, partitions: list[Partition]) -> list[int]:
    """Create `disk` with an MBR and the partitions, each aligned to 1 MiB; their offsets in bytes."""
    code = Path("/usr/lib/syslinux/mbr/mbr.bin")
    if not code.exists():
        raise ImageError(f"{code} is not on this machine: install the Debian package syslinux-common")
    mbr = bytearray(SECTOR)
    boot = code.read_bytes()[:440]
    mbr[: len(boot)] = boot
    struct.pack_into("<I", mbr, 440, 0xBA5ECA57)
    offsets, start = [], MIB
    for index, part in enumerate(partitions):
        size = -(-part.size_bytes // MIB) * MIB
        # The CHS fields say "beyond what CHS can tell": everybody reads the LBA ones.
        entry = struct.pack(
            "<B3sB3sII", 0x80 if part.active else 0, b"\xfe\xff\xff", part.kind, b"\xfe\xff\xff", start // SECTOR, size // SECTOR
        )
        mbr[446 + 16 * index : 462 + 16 * index] = entry
        offsets.append(start)
        start += size
    mbr[510:512] = b"\x55\xaa"
    with disk.open("wb") as handle:
        handle.write(mbr)
        handle.truncate(start)
    return offsets


def boot_partition(disk: Path, offset: int, size_bytes: int, kernel: Path, initrd: bytes, arguments: str) -> None:
    """Fill a FAT16 partition of `disk` with kernel, initrd and syslinux, which starts them with `arguments`."""
    target = f"{disk}@@{offset}"
    sectors = size_bytes // SECTOR
    # Geometry is a formality of FAT; mformat wants a product that fits.
    run([tool("mformat", "mtools"), "-i", target, "-T", str(sectors), "-h", "16", "-s", "63", "-H", str(offset // SECTOR),
         "-N", "BA5ECA57", "-v", "BASECAST", "::"])  # fmt: skip
    work = disk.with_name(disk.name + ".boot")
    work.mkdir()
    try:
        configuration = f"DEFAULT linux\nPROMPT 0\nTIMEOUT 0\nLABEL linux\n  LINUX linux.efi\n  INITRD initrd\n  APPEND {arguments}\n"
        (work / "initrd").write_bytes(initrd)
        (work / "syslinux.cfg").write_text(configuration, encoding="utf-8")
        # With UEFI nothing is found to boot, so the firmware's shell runs this; the kernel is a program of UEFI as well.
        (work / "startup.nsh").write_text(f"fs0:\r\nlinux.efi initrd=\\initrd {arguments}\r\n", encoding="utf-8")
        shutil.copyfile(kernel, work / "linux.efi")
        for path in work.iterdir():
            os.utime(path, (EPOCH, EPOCH))
        # The configuration last: versions that differ only in arguments then share all other clusters.
        run(
            [
                tool("mcopy", "mtools"),
                "-m",
                "-i",
                target,
                *(str(work / name) for name in ("linux.efi", "initrd", "syslinux.cfg", "startup.nsh")),
                "::/",
            ]
        )
        run([tool("syslinux", "syslinux"), "--install", "--offset", str(offset), str(disk)])
    finally:
        shutil.rmtree(work)


def to_qcow2(raw: Path, target: Path, size_bytes: int | None = None) -> None:
    """Convert to a compact qcow2, in order, so that equal contents give equal files."""
    img = tool("qemu-img", "qemu-utils")
    if size_bytes:
        os.truncate(raw, max(size_bytes, raw.stat().st_size))
    run([img, "convert", "-f", "raw", "-O", "qcow2", str(raw), str(target)])
