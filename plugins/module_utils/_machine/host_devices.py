# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Devices of this host that machines may get, as the kernel shows them in /sys: whether one can be given away, and who has it."""

from __future__ import annotations

import fnmatch
import os
import typing as t

from .._disk import sources
from .._errors import FleetError
from .hardware.host_devices import MEDIATED, PCI, USB, device_in, name_of, title_of, with_others
from .xml_document import parse_xml

_SYS = "/sys"
_BRIDGE, _HUB = "0x06", "09"  # classes of PCI and of USB
# Drivers that use nothing of a device themselves.
_IDLE = ("vfio-pci", "pci-stub", "pcieport")
_LONGEST = 256


class Found(t.NamedTuple):
    """
    :param path: in /sys; the same for every name of the device.
    :param names: all that it has.
    :param problem: why no machine can have it, as the end of a sentence that begins with its name.
    :param used_by: domains that have it, running or not.
    :param beside: PCI devices of its IOMMU group that the host uses: a machine gets the whole group.
    """

    path: str
    names: tuple[str, ...]
    problem: str = ""
    used_by: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def matches(name: str) -> list[str]:
    """Names of devices that are there.

    :param name: ``pci/0000:65:00.*``, in which a star stands for what differs from machine to machine.
    """
    kind, _slash, address = name.partition("/")
    if "*" not in name:
        return [name]
    return sorted(f"{kind}/{one}" for one in _listed("bus", kind, "devices") if fnmatch.fnmatchcase(one, address))


def look(name: str) -> Found | None:
    """None where there is no such device."""
    found = _looked_at(name)
    if found is None or found.problem:
        return found
    try:
        return found._replace(used_by=tuple(dict.fromkeys(_users(found.path))))
    except FleetError as error:
        return found._replace(problem=f"cannot be given away: {error.message.rstrip('.')}")


def _looked_at(name: str) -> Found | None:
    kind, _slash, address = name.partition("/")
    if kind == USB:
        return _usb(address)
    if kind not in (PCI, MEDIATED) or address in ("", ".", "..") or "/" in address:
        return None
    path = os.path.join(_SYS, "bus", "pci" if kind == PCI else "mdev", "devices", address)
    if not os.path.isdir(path):
        return None
    found = Found(path, (name,))
    if kind == PCI and _text(path, "class").startswith(_BRIDGE):
        return found._replace(problem="is a bridge of the host, and no device for machines")
    if any(one.startswith("virtfn") for one in _names(path)):
        return found._replace(problem="has virtual functions, which other machines would lose; name one of these, or switch them off")
    group = os.path.realpath(os.path.join(path, "iommu_group"))
    if not os.path.isdir(group):
        return found._replace(
            problem="has no IOMMU group, so it cannot be given away; switch the IOMMU on in the host's firmware and on its kernel's command"
            " line (intel_iommu=on or amd_iommu=on), and restart the host"
        )
    others = sorted(one for one in _names(os.path.join(group, "devices")) if one != address)
    return found._replace(beside=tuple(one for one in others if kind == PCI and _is_of_host(os.path.join(group, "devices", one))))


def _is_of_host(path: str) -> bool:
    driver = os.path.realpath(os.path.join(path, "driver"))
    return os.path.isdir(driver) and os.path.basename(driver) not in _IDLE and not _text(path, "class").startswith(_BRIDGE)


def _usb(address: str) -> Found | None:
    """By vendor and product, or by bus and device."""
    found = []
    for one in _listed("bus", "usb", "devices"):
        path = os.path.join(_SYS, "bus", "usb", "devices", one)
        product = f"{_text(path, 'idVendor')}:{_text(path, 'idProduct')}"
        port = f"{_text(path, 'busnum')}/{_text(path, 'devnum')}"
        if address in (product, port):
            hub = "is a USB hub, and no device for machines" if _text(path, "bDeviceClass") == _HUB else ""
            found.append(Found(path, (f"{USB}/{product}", f"{USB}/{port}"), hub))
    if len(found) > 1:
        ports = ", ".join(one.names[1].partition("/")[2] for one in found)
        return found[0]._replace(problem=f"stands for several devices of the host; name one by its bus and device ({ports})")
    return found[0] if found else None


def _users(path: str) -> t.Iterator[str]:
    for domain, text in sources.libvirt_definitions():
        if "hostdev" not in text:
            continue
        try:
            root = parse_xml(text)
        except FleetError as error:
            raise sources.DefinitionUnread from error
        for tag in ("hostdev", "interface"):
            for element in root.iter(tag):
                device = device_in(element)
                if device is not None and (known := _looked_at(name_of(device))) is not None and known.path == path:
                    yield f"domain {domain}"


def device_problems(devices: t.Sequence[t.Mapping[str, t.Any]], domain: str) -> t.Iterator[str]:
    """
    :param devices: in the form of the option ``host_devices``.
    :param domain: of the machine, which may have them itself.
    """
    names = [name_of(device) for device in devices]
    for name in names:
        found = look(name)
        what = f"The {title_of(name)} of {domain}"
        others = [user for user in found.used_by if user != f"domain {domain}"] if found is not None else []
        beside = [one for one in found.beside if f"{PCI}/{one}" not in names] if found is not None else []
        if found is None:
            yield f"{what} is not there; attach it to the host."
        elif found.problem:
            yield f"{what} {found.problem}."
        elif others:
            yield f"{what} is in use by {', '.join(others)}; one machine at a time has it."
        elif beside:
            yield f"{what} {with_others(beside)}."


def _listed(*parts: str) -> list[str]:
    return _names(os.path.join(_SYS, *parts))


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _text(*parts: str) -> str:
    try:
        with open(os.path.join(*parts), encoding="ascii", errors="replace") as file:
            return file.read(_LONGEST).strip()
    except OSError:
        return ""
