# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The machine of which a template is made: one of this collection, or any other domain of the host that its administrators grant."""

from __future__ import annotations

import fnmatch
import os
import typing as t
import xml.etree.ElementTree as ET

from .._disk import users
from .._disk.disk_decisions import Wish as DiskWish
from .._disk.overlay import Disks
from .._disk.qemu_img import QemuImg
from .._disk.store import Store
from .._errors import FleetError
from .._machine import template
from .._machine.domain import Description, describe
from .._machine.hardware.attached import name_of as attached_name
from .._machine.hardware.drives import CDROM, name_of
from .._machine.libvirt_host import Domain, LibvirtHost, MemorySaved
from .._machine.machines import Machines
from .._machine.owner import Owner
from .._machine.template import SourceDisk, Template
from .._machine.xml_document import parse_xml


class SourceRefused(FleetError):
    """The machine cannot be the source of a template."""

    kind = "capture_refused"


class Wanted(t.NamedTuple):
    """Which machine: one of ``service``, or the domain of that name.

    :param granted: names and patterns of domains of others that may be taken.
    """

    tenant: str
    service: str | None = None
    machine: str | None = None
    domain: str | None = None
    granted: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        return f"{self.service}/{self.machine}" if self.domain is None else f"domain:{self.domain}"

    def __str__(self) -> str:
        return f"{self.machine} of service {self.service}" if self.domain is None else f"the domain {self.domain}"


class Disk(t.NamedTuple):
    """A disk of the machine.

    :param base: the digest of the base under it, and ``pool`` where that lies; None where it has none, or another file under it.
    :param home: the pool in which it lies; None for one outside of all pools.
    """

    name: str
    key: str
    path: str
    image_format: str
    size_bytes: int
    backing: str | None
    base: str | None = None
    pool: str | None = None
    home: str | None = None

    def data(self) -> dict[str, t.Any]:
        return {"name": self.name, "path": self.path, "pool": self.home, "image_format": self.image_format, "base": self.base}


class Source(t.NamedTuple):
    """:param owner: None for a domain that this collection has not made. :param disks: the one to boot from first."""

    owner: Owner | None
    domain: Domain
    found: Description
    running: bool
    disks: list[Disk]
    notes: list[str]

    def template(self, name: str) -> Template:
        variables = template.read_variables(self.found.nvram)
        disks = [SourceDisk(disk.name, disk.key, disk.size_bytes) for disk in self.disks]
        made = template.described(self.found, disks, name, variables.packed)
        return Template(made.content, [*self.notes, *variables.notes, *made.notes])


def find(host: LibvirtHost, wanted: Wanted, stores: t.Mapping[str, Store], qemu: QemuImg) -> Source | None:
    """None where this host does not have the machine. :raises SourceRefused: it may not, or cannot, become a template."""
    if wanted.domain is not None:
        return _of_domain(host, wanted)
    owner = Owner(wanted.tenant, str(wanted.service), str(wanted.machine))
    machines = Machines(host, check=True, pools=[store.pool_path for store in stores.values()])
    machine = next((one for one in machines.query(owner.tenant, owner.service) if one.owner == owner), None)
    if machine is None or machine.domain is None or machine.found is None:
        return None
    held = Disks(stores, qemu, owner.tenant, owner.service, True).found([DiskWish(owner.machine, None, None)])
    known = {os.path.realpath(one["path"]): one for one in held}
    disks, notes = [], []
    seed = os.path.realpath(machine.found.seed) if machine.found.seed else None
    for element in _disk_elements(machine.domain.xml()):
        path = os.path.realpath(_file_of(element))
        if path == seed:
            continue  # copies get their own
        if (attached := attached_name(element)) is not None:
            notes.append(f"{owner.machine}: the disk {attached} ({path}) is not part of the template, since it is none of its own.")
        elif element.get("device") == CDROM:
            notes.append(f"{owner.machine}: the CD {name_of(element)} is not part of the template.")
        elif path in known:
            one = known[path]
            told = (one["name"], one["path"], one["image_format"], one["virtual_size_bytes"], one["backing"])
            disks.append(Disk(told[0], told[0], *told[1:], one["base"], one["base_pool"], one["pool"]))
        elif element.find("readonly") is not None:
            notes.append(f"{owner.machine}: the disk {path} is not part of the template, since the machine only reads it.")
        else:
            raise SourceRefused(f"{owner.machine} has the disk {path}, which is none of its own in a pool; take that off first.", path=path)
    return _checked(Source(owner, machine.domain, machine.found, machine.running, disks, notes), wanted)


def _of_domain(host: LibvirtHost, wanted: Wanted) -> Source | None:
    name = str(wanted.domain)
    domain = next((one for one in host.domains() if one.name == name), None)
    if domain is None:
        return None
    xml = domain.xml()
    found = describe(xml)
    if found.owner is not None:
        if found.owner.tenant != wanted.tenant:
            raise SourceRefused(f"domain: {name} belongs to another tenant.")
        machine = found.owner
        raise SourceRefused(
            f"domain: {name} is a machine of this collection; write machine: {machine.machine} and service: {machine.service}."
        )
    if not any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted.granted):
        raise SourceRefused(f"domain: {name} is not among those that may be taken (the host variable basecast_source_domains).")
    disks, notes = [], []
    for element in _disk_elements(xml):
        target = element.find("target")
        key = name_of(element)
        called = (target.get("dev") if target is not None else None) or "disk"
        if element.get("device", "disk") != "disk" or element.find("readonly") is not None:
            notes.append(f"{name}: {element.get('device', 'disk')} {called} is not part of the template.")
            continue
        disks.append(_foreign_disk(name, element, called, key or called))
    return _checked(Source(None, domain, found, domain.running(), disks, notes), wanted)


def _foreign_disk(domain: str, element: ET.Element, called: str, key: str) -> Disk:
    path, driver = _file_of(element), element.find("driver")
    if not path:
        raise SourceRefused(f"{domain}: the disk {called} is not in a file; only disks in files become bases.")
    path = os.path.realpath(path)  # its administrator may have put a link in its place
    image_format = driver.get("type", "raw") if driver is not None else "raw"
    if image_format == "raw":
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise SourceRefused(f"{domain}: the disk {path} cannot be read: {error.strerror}.", path=path) from error
        return Disk(called, key, path, "raw", size, None)
    look = users.look(path, "")
    if image_format != "qcow2" or look is None:
        raise SourceRefused(f"{domain}: the disk {path} is {image_format}; expected a readable qcow2 or raw file.", path=path)
    return Disk(called, key, path, "qcow2", look.virtual_size_bytes, look.backing)


def _disk_elements(xml: str) -> list[ET.Element]:
    """In the order in which the machine tries to boot from them; those without a place in it as they stand."""
    found = parse_xml(xml).findall("./devices/disk")
    orders = [element.find("boot") for element in found]
    ranks = [int(one.get("order", "0")) if one is not None and one.get("order", "").isdecimal() else 10**6 for one in orders]
    return [element for _rank, _at, element in sorted(zip(ranks, range(len(found)), found), key=lambda row: row[:2])]


def _file_of(element: ET.Element) -> str:
    source = element.find("source")
    return "" if source is None else source.get("file", "")


def _checked(source: Source, wanted: Wanted) -> Source:
    if not source.disks:
        raise SourceRefused(f"{wanted} has no disk that could become a base.")
    if not source.running and source.domain.has_saved_state():  # with what its guest has not written to its disks yet
        raise SourceRefused(f"{wanted}: {MemorySaved().message}.")
    return source
