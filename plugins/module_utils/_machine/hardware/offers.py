# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host can give to machines, as libvirt tells it: plain data, which travels with the survey."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from ..._errors import FleetError
from ..xml_document import parse_xml
from .board import is_fit_board, watchdogs_of
from .key import whole
from .processor import PAGES_KIB

_GRAPHICS = {"vnc", "spice"}
# More need an IOMMU of the guest that remaps interrupts, which no machine of ours has.
_MOST_CPUS_X86 = 255


class Asked(t.Protocol):
    """The part of a host's libvirt that is asked."""

    def arch(self) -> str: ...

    def accelerated(self) -> bool: ...

    def capabilities_xml(self) -> str: ...

    def domain_capabilities(self, arch: str, machine_type: str | None, domain_type: str) -> str: ...


def offers_of(host: Asked, domain_type: str | None = None) -> dict[str, t.Any]:
    """``{"firmware", "tpm", "machine_types", "cpu_models", "disk_buses", "graphics", "watchdogs", "cpus", "nodes"}``, a list each,
    ``hugepages_mib``, MiB by the size of the page, and ``most_cpus`` of one machine; a key is missing where the host does not tell.

    :param domain_type: None for all that the host has.
    """
    arch = host.arch()
    kinds = [domain_type] if domain_type else ["kvm", "qemu"] if host.accelerated() else ["qemu"]
    told = []
    for kind in kinds:
        try:
            told.append(parse_xml(host.domain_capabilities(arch, "q35" if arch == "x86_64" else None, kind)))
        except FleetError:  # this kind of machine, or this board, is not there at all
            continue
    found = _capabilities(parse_xml(host.capabilities_xml()), arch)
    found["watchdogs"] = list(watchdogs_of(arch))
    most = [whole(vcpu.get("max")) for root in told for vcpu in root.iterfind("./vcpu")]
    if any(most):
        found["most_cpus"] = min(max(most), _MOST_CPUS_X86) if arch == "x86_64" else max(most)
    if told:
        found["firmware"] = sorted({firmware for root in told for firmware in _firmware(root)})
        found["cpu_models"] = sorted({name for root in told for name in _cpu_models(root)})
        found["disk_buses"] = sorted({bus for root in told for bus in _values(root, "./devices/disk", "bus")})
        found["graphics"] = sorted({kind for root in told for kind in _values(root, "./devices/graphics", "type")} & _GRAPHICS)
        found["tpm"] = sorted({version for root in told for version in _tpm(root)})
    return found


def _capabilities(root: ET.Element, arch: str) -> dict[str, t.Any]:
    machines = root.iterfind(f"./guest/arch[@name='{arch}']//machine")
    cells = root.findall("./host/topology/cells/cell")
    found: dict[str, t.Any] = {}
    if cells:
        found["nodes"] = sorted(whole(cell.get("id")) for cell in cells)
        found["cpus"] = sorted(whole(cpu.get("id")) for cell in cells for cpu in cell.iterfind("./cpus/cpu"))
        found["hugepages_mib"] = _hugepages(cells)
    names = {name for machine in machines for name in (machine.text or "", machine.get("canonical", "")) if name and is_fit_board(name)}
    if names:
        found["machine_types"] = sorted(names)
    return found


def _hugepages(cells: t.Iterable[ET.Element]) -> dict[str, int]:
    """MiB that are reserved, by the size of the page; the smallest size is no huge page."""
    sizes = {kib: name for name, kib in PAGES_KIB.items()}
    found: dict[str, int] = {}
    for cell in cells:
        pages = {whole(one.get("size")): whole(one.text) for one in cell.iterfind("./pages[@unit='KiB']")}
        for kib, count in pages.items():
            if kib in sizes and kib > min(pages):
                found[sizes[kib]] = found.get(sizes[kib], 0) + count * kib // 1024
    return found


def _cpu_models(root: ET.Element) -> t.Iterator[str]:
    """Names of models that are usable, and modes."""
    for mode in root.iterfind("./cpu/mode[@supported='yes']"):
        if mode.get("name") == "custom":
            yield from (model.text or "" for model in mode.iterfind("./model[@usable='yes']"))
        else:
            yield mode.get("name", "")


def _values(root: ET.Element, path: str, name: str) -> list[str]:
    return [value.text or "" for value in root.iterfind(f"{path}/enum[@name='{name}']/value")]


def _firmware(root: ET.Element) -> t.Iterator[str]:
    yield "bios"
    if "efi" in _values(root, "./os", "firmware"):
        yield "uefi"
        if "yes" in _values(root, "./os/loader", "secure"):
            yield "uefi_secure"


def _tpm(root: ET.Element) -> t.Iterator[str]:
    """Versions before 8.6 do not tell which; any emulator can do 2.0."""
    if "emulator" in _values(root, "./devices/tpm", "backendModel"):
        yield from _values(root, "./devices/tpm", "backendVersion") or ["2.0"]
