# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the packages are called in which programs come to this host."""

from __future__ import annotations

import platform

from .._errors import FleetError
from . import file_io

_QEMU = {
    "debian": {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm", "ppc64le": "qemu-system-ppc", "s390x": "qemu-system-s390x"},
    "suse": {"x86_64": "qemu-x86", "aarch64": "qemu-arm", "ppc64le": "qemu-ppc", "s390x": "qemu-s390x"},
}
_QEMU_CONF = "/etc/libvirt/qemu.conf"
_NAMES = {
    "qemu-img": {"debian": "qemu-utils", "el": "qemu-img", "suse": "qemu-tools"},
    "qemu": {"debian": "qemu-system", "el": "qemu-kvm", "suse": "qemu"},
    "libvirt": {"debian": "libvirt-daemon-system", "el": "libvirt-daemon-kvm", "suse": "libvirt-daemon-qemu"},
    "python3-libvirt": {"debian": "python3-libvirt", "el": "python3-libvirt", "suse": "python3-libvirt-python"},
    "xorriso": {"debian": "xorriso", "el": "xorriso", "suse": "xorriso"},
    "virt-sysprep": {"debian": "guestfs-tools", "el": "guestfs-tools", "suse": "guestfs-tools"},
}
_FAMILIES = {
    "debian": ("debian", "ubuntu"),
    "el": ("rhel", "fedora", "centos", "rocky", "almalinux", "ol"),
    "suse": ("suse", "sles", "opensuse", "opensuse-leap", "opensuse-tumbleweed"),
}


def family(text: str) -> str | None:
    """debian, el or suse by the content of os-release; None for another distribution."""
    values = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    words = [word for key in ("ID", "ID_LIKE") for word in values.get(key, "").strip().strip("\"'").lower().split()]
    for word in words:
        for name, members in _FAMILIES.items():
            if word in members:
                return name
    return None


def this_family() -> str | None:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return family(file.read(1 << 16))
        except OSError:
            continue
    return None


def package(need: str, of: str | None = None) -> str:
    """The name of the package that brings it on this host; where the distribution is not known, those of two.

    :param need: one of qemu-img, qemu, libvirt, python3-libvirt, xorriso and virt-sysprep.
    :param of: a family of distributions, of this host's when it is omitted.
    """
    of = of or this_family()
    names = {**_NAMES[need]}
    if need == "qemu":
        names.update({name: by_machine.get(platform.machine(), names[name]) for name, by_machine in _QEMU.items()})
    if of is not None:
        return names[of]
    if len(set(names.values())) == 1:
        return names["debian"]
    return f"{names['debian']} (Debian, Ubuntu) or {names['el']} (Fedora, EL)"


def qemu_user(of: str | None = None, text: str | None = None) -> tuple[str, str]:
    """User and group that libvirt's QEMU runs as on this host: of qemu.conf, or else of the distribution.

    :param text: the content of qemu.conf, where it is not to be read.
    """
    of = of or this_family()
    names = {"user": "libvirt-qemu" if of == "debian" else "qemu", "group": "kvm" if of == "debian" else "qemu"}
    if text is None:
        try:
            text = file_io.read_file(_QEMU_CONF, 1 << 20).decode("utf-8", "replace")
        except (OSError, FleetError):
            text = ""
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() in names:
            names[key.strip()] = _unquoted(value)
    return names["user"], names["group"]


def _unquoted(value: str) -> str:
    value = value.strip()
    if value[:1] in ("'", '"'):
        return value[1:].partition(value[0])[0].lstrip("+")
    return value.partition("#")[0].strip().lstrip("+")


__all__ = ["family", "package", "qemu_user", "this_family"]
