# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian of the machine's own release, with systemd and the real cloud-init, from the machine's own package sources."""

from __future__ import annotations

import os
import re
import shutil
import typing as t
from pathlib import Path

from . import _build, _cache, _tiny
from ._build import MIB, ImageError, run, tool
from ._kernel import kernel

HERE = Path(__file__).parent / "debian"
BOOT_BYTES = 31 * MIB
DISK_BYTES = 2048 * MIB

PACKAGES = ["systemd-sysv", "udev", "dbus", "kmod", "iproute2", "python3", "cloud-init", "cloud-guest-utils"]
VARIANTS: dict[str, list[str]] = {
    "base": [],
    # A host of the fleet: what the collection's modules for disks and relays state as requirements.
    "vm_host": ["openssh-server", "qemu-utils"],
}
# Further units that a variant goes without. A host is reached by ssh as soon as cloud-init has set its network and keys;
# the later stages (runcmd, scripts, the report) are not for it.
MASKED_IN: dict[str, list[str]] = {"base": [], "vm_host": ["cloud-config.service", "cloud-final.service", "systemd-logind.service"]}
# Their versions are a part of the recipe; a newer one makes a new image.
KEY_PACKAGES = ["cloud-init", "systemd", "python3.11", "openssh-server", "qemu-utils", "base-files"]

EARLY = ["virtio_pci", "virtio_blk", "isofs", "virtio_net"]
# No IDE or SATA here: probing the controllers that QEMU always has costs two seconds; seeds come as virtio disks.
MODULES = [*EARLY, "virtio_scsi", "sd_mod", "sr_mod", "virtio_rng", "virtio_balloon", "button", "evdev", "vfat", "nls_cp437", "nls_ascii",
           "xfs", "btrfs", "loop", "fuse", "overlay", "tun", "bridge", "autofs4"]  # fmt: skip
ARGUMENTS = "console=ttyS0 quiet loglevel=4 panic=5 no_timer_check mitigations=off nokaslr random.trust_cpu=on systemd.show_status=1"

# Seconds each without KVM, and of no use to a machine that lives for a test.
MASKED = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "cloud-init-hotplugd.service",
    "cloud-init-hotplugd.socket",
    "getty@tty1.service",
    "kmod-static-nodes.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
    "systemd-binfmt.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-network-generator.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pstore.service",
    "systemd-timesyncd.service",
    "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service",
]

# Globs of what is not needed, and of what tells where the packages came from: that is this machine's business.
REMOVED = [
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/*",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_*",
    "usr/lib/udev/hwdb.bin",
    "usr/lib/udev/hwdb.d",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old",
    "var/log/*",
]

FILES = {
    # Waiting for an address is bounded, and where there is no card there is nothing to wait for.
    "etc/systemd/system/systemd-networkd-wait-online.service.d/basecast.conf": (
        "[Service]\nExecCondition=/bin/sh -c 'ls /sys/class/net | grep -qvx lo'\n"
        "ExecStart=\nExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=10\nSuccessExitStatus=1\n"
    ),
    # Without hundreds of terminals and ports that nobody will use.
    "etc/systemd/system/systemd-udev-trigger.service.d/basecast.conf": (
        "[Service]\nExecStart=\n"
        "ExecStart=-udevadm trigger --action=add --subsystem-match=block --subsystem-match=net --subsystem-match=pci "
        "--subsystem-match=virtio --subsystem-match=acpi --subsystem-match=input\n"
        "ExecStart=-udevadm trigger --action=add --sysname-match=ttyS[01]\n"
    ),
    "etc/systemd/journald.conf.d/basecast.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n",
    "etc/fstab": "",
    "etc/machine-id": "",
    "etc/hostname": "localhost\n",
}


def _release() -> str:
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    name = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", text, re.MULTILINE)
    if not re.search(r"^ID=\"?debian", text, re.MULTILINE) or not name:
        raise ImageError("the Debian image is made from the package sources of a Debian machine, and this is none")
    return name[1]


def sources(release: str) -> str:
    """The machine's own sources for Debian `release`, component main only, as deb822 stanzas or one-line entries."""
    stanzas, lines = [], []
    folder = Path("/etc/apt/sources.list.d")
    for path in sorted(folder.glob("*.sources")) if folder.is_dir() else []:
        for stanza in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            kept = [line for line in stanza.splitlines() if line and not line.startswith("#")]
            fields = dict(line.split(":", 1) for line in kept if ":" in line and not line[0].isspace())
            ours = any(suite == release or suite.startswith(f"{release}-") for suite in fields.get("Suites", "").split())
            if ours and "main" in fields.get("Components", "").split() and fields.get("Enabled", "").strip() != "no":
                stanzas.append("\n".join("Components: main" if line.startswith("Components:") else line for line in kept) + "\n")
    if stanzas:
        return "\n".join(stanzas)
    for path in [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list"))]:
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            entry = re.match(rf"deb\s+(\[[^]]*\]\s+)?(\S+)\s+({release}(?:-\S+)?)\s.*\bmain\b", line)
            if entry:
                lines.append(f"deb {entry[1] or ''}{entry[2]} {entry[3]} main")
    if not lines:
        raise ImageError(f"/etc/apt has no source for Debian {release} main; the image is made from the machine's own sources")
    return "\n".join(lines) + "\n"


def _versions() -> dict[str, str]:
    """Candidate versions of the packages that matter; empty where the package lists are missing."""
    policy = run([tool("apt-cache", "apt"), "policy", *KEY_PACKAGES])
    found = re.findall(r"^(\S+):\n(?:.*\n)?\s+Candidate: (\S+)", policy, re.MULTILINE)
    return {name: version for name, version in found if version != "(none)"}


def bootstrap(root: Path, scratch: Path, packages: list[str]) -> None:
    """Install Debian with `packages` into the new directory `root`."""
    release = _release()
    listing = scratch / ("debian.sources" if "Suites:" in sources(release) else "debian.list")
    listing.write_text(sources(release), encoding="utf-8")
    thin = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "doc", "info", "locale", "lintian", "bash-completion")]
    argv = [tool("mmdebstrap", "mmdebstrap"), "--mode=root", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
            '--aptopt=APT::Install-Recommends "false"', *thin, "--format=directory", release, str(root), str(listing)]  # fmt: skip
    # mmdebstrap and dpkg leave nothing mounted when the process tree has its own mount namespace.
    run([tool("unshare", "util-linux"), "--mount", "--propagation=private", *argv], env={"TMPDIR": str(scratch)})


def _settle(root: Path, masked: list[str], modules: t.Callable[[Path], None]) -> None:
    """Turn a fresh installation into the guest that is wanted."""
    for pattern in REMOVED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    configuration = (HERE / "cloud.cfg").read_text(encoding="utf-8")
    if not (root / "usr/sbin/sshd").exists():
        configuration = configuration.replace(", ssh]", "]")  # it would warn that it cannot make host keys
    (root / "etc/cloud/cloud.cfg.d/99_basecast.cfg").write_text(configuration, encoding="utf-8")
    units = root / "etc/systemd/system"
    for unit in masked:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    for target, unit in (("multi-user", "systemd-networkd.service"), ("network-online", "systemd-networkd-wait-online.service")):
        link = units / f"{target}.target.wants" / unit
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"/lib/systemd/system/{unit}")
    (root / "var/lib/libvirt/images").mkdir(parents=True, exist_ok=True)
    modules(root)


def debian(variant: str = "base") -> Path:
    """Path of the cached qcow2 (2 GiB virtual), built first if need be: about a minute, and root.

    :param variant: ``base`` for guests, ``vm_host`` for machines that play hosts: with openssh-server and qemu-utils,
        and without cloud-init's last two stages.
    """
    if variant not in VARIANTS:
        raise ImageError(f"variant: {variant!r} is not accepted; {' and '.join(VARIANTS)} are")
    use = kernel()
    versions = _versions()
    if not versions:
        before = _cache.newest(f"debian-{variant}-*.qcow2")
        if before:
            return before
    recipe = _cache.key(HERE, Path(__file__), Path(_build.__file__), Path(_tiny.__file__), use.release, versions, variant)

    def build(made: Path, scratch: Path) -> None:
        if os.geteuid() != 0:
            raise ImageError("the Debian image can only be built by root (mmdebstrap installs packages); it is cached afterwards")
        root = scratch / "root"
        bootstrap(root, scratch, PACKAGES + VARIANTS[variant])

        def modules(target: Path) -> None:
            base = use.tree / "lib/modules" / use.release
            wanted = [*use.modules(MODULES), *(base / name for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"))]
            for file in wanted:
                place = target / "usr/lib/modules" / use.release / file.relative_to(base)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)
            run([tool("depmod", "kmod"), "-b", str(target / "usr"), use.release])

        _settle(root, MASKED + MASKED_IN[variant], modules)
        early = scratch / "early"
        _tiny.skeleton(early, use, {"early": EARLY})
        shutil.copy(HERE / "init", early / "init")
        disk = scratch / "disk"
        root_bytes = DISK_BYTES - BOOT_BYTES - 2 * MIB
        parts = [_build.Partition(0x06, BOOT_BYTES, active=True), _build.Partition(0x83, root_bytes)]
        offsets = _build.lay_out(disk, parts)
        _build.boot_partition(disk, offsets[0], BOOT_BYTES, use.vmlinuz, _build.cpio(early, {"bin/sh": "busybox"}), ARGUMENTS)
        run([tool("mkfs.ext4", "e2fsprogs"), "-q", "-F", "-L", "basecast-root", "-E", f"offset={offsets[1]},lazy_itable_init=1,nodiscard",
             "-O", "^metadata_csum_seed", "-J", "size=16", "-d", str(root), str(disk), f"{root_bytes // 1024}k"])  # fmt: skip
        shutil.rmtree(root)
        _build.to_qcow2(disk, made)

    return _cache.cached(f"debian-{variant}", f"debian-{variant}-{recipe}.qcow2", build)
