# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Every file that any domain of the host has as a disk, or will have again: by its definition, while it runs, in its snapshots."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .._errors import FleetError
from .._untrusted import Malformed
from .libvirt_host import DomainGone, LibvirtHost, LibvirtMissing, may_have_domains
from .xml_document import parse_xml

_LOCAL = ("file", "dev", "dir")


class DomainDisk(t.NamedTuple):
    """``image_format`` as the domain opens it; None where that is not said."""

    domain: str
    path: str
    image_format: str | None


def domain_disks(uri: str, connect: t.Callable[[str], t.ContextManager[t.Any]] = LibvirtHost) -> tuple[list[DomainDisk], list[str]]:
    """The disks, and why they may not be all."""
    found: list[DomainDisk] = []
    unknown: list[str] = []
    try:
        with connect(uri) as host:
            for domain in host.domains():
                try:
                    for xml in _descriptions(domain):
                        _read(host, domain.name, xml, found, unknown)
                except DomainGone:
                    continue
                except (FleetError, Malformed) as error:
                    unknown.append(f"the domain {domain.name} cannot be read: {error}")
    except LibvirtMissing as error:
        unknown += [error.message] if may_have_domains(uri) else []
    except FleetError as error:
        unknown.append(error.message)
    return list(dict.fromkeys(found)), unknown


def _descriptions(domain: t.Any) -> t.Iterator[str]:
    yield domain.xml()
    if domain.running():
        yield domain.living_xml()
    yield from domain.snapshot_xmls()


def _read(host: t.Any, name: str, xml: str, found: list[DomainDisk], unknown: list[str]) -> None:
    """All sources below all disks: chains, mirrors of jobs that run, disks of snapshots."""
    for disk in parse_xml(xml, "its definition").iter("disk"):
        for holder in disk.iter():
            for source in holder.findall("source"):
                path = _path(host, name, source, unknown)
                if path is not None:
                    found.append(DomainDisk(name, path, _format(holder)))


def _path(host: t.Any, name: str, source: ET.Element, unknown: list[str]) -> str | None:
    for key in _LOCAL:
        if source.get(key):
            return source.get(key)
    if source.get("volume"):
        try:
            return str(host.volume_path(source.get("pool", ""), source.get("volume", "")))
        except FleetError as error:
            unknown.append(f"a disk of the domain {name}: {error.message}")
    elif source.get("protocol") == "nbd":
        unknown.append(f"a disk of the domain {name} is behind NBD; what is behind that is not known")
    return None


def _format(holder: ET.Element) -> str | None:
    """Of a disk its driver's type, of a layer below it its format."""
    for tag in ("driver", "format"):
        element = holder.find(tag)
        if element is not None and element.get("type"):
            return element.get("type")
    return None
