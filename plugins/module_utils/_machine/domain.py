# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A machine as libvirt sees it: pure, from a wish to XML and from XML to a description that can be compared."""

from __future__ import annotations

import json
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from .._names import is_host_label, is_name
from .._untrusted import Malformed, decimal, parse
from .backing import Layer
from .hardware import attached, cards, table
from .hardware.board import nvram_of
from .hardware.drives import is_seed
from .hardware.key import Place, there
from .hardware.processor import hugepages_of
from .hardware.screen import log_of, serial_path
from .media import CLOUDBASE, FW_CFG_NAME, IGNITION, kind_of_image
from .owner import Owner
from .xml_document import parse_xml

NAMESPACE = "urn:basecast:fleet:machine"
PREFIX = "basecast"
FORMAT = 1

_OURS = f"{{{NAMESPACE}}}machine"
_SPEC = f"{{{NAMESPACE}}}spec"
_DISK_LETTERS = "abcdefghijklmnopqrstuvwxy"  # z is the seed's
MOST_DISKS = len(_DISK_LETTERS)
# libvirt hands out at most 4 MiB, and code that reads all domains of a host reads no more either.
_LARGEST = 1 << 20

ET.register_namespace(PREFIX, NAMESPACE)


@dataclass(frozen=True)
class Disk:
    name: str
    path: str
    image_format: str = "qcow2"


@dataclass(frozen=True)
class Card:
    """A network card.

    :param kind: what ``source`` names, see ``cards.KINDS``.
    :param more: what else is asked of it, see ``cards.KEYS``.
    """

    source: str
    kind: str = "network"
    mac: str | None = None
    model: str = "virtio"
    more: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MachineWish:
    """One machine as the user wants it."""

    owner: Owner
    directory: str
    number: int
    group: str
    cpus: int
    memory_mib: int
    disks: tuple[Disk, ...]
    seed: str | None
    cards: tuple[Card, ...]
    spec: t.Mapping[str, t.Any] = field(default_factory=dict)
    hardware: t.Mapping[str, t.Any] = field(default_factory=dict)  # by the names of the table
    allow_degraded: bool = False

    @property
    def autostart(self) -> bool:
        return bool(self.hardware.get("autostart", True))

    @property
    def console(self) -> str:
        return self.directory + "/console.log"

    @property
    def report(self) -> str:
        return self.directory + "/report.log"


@dataclass(frozen=True)
class Platform:
    """What the host decides about a domain."""

    domain_type: str  # kvm, qemu
    arch: str
    security: tuple[str, ...] = ("dac",)  # models that would relabel what lies under a disk


@dataclass(frozen=True)
class Description:
    """What is known of a domain from its XML."""

    domain: str
    uuid: str
    owner: Owner | None  # None: not made by this collection
    memory_mib: int
    cpus: int
    macs: tuple[str, ...]
    console: str | None
    report: str | None
    seed: str | None
    spec: t.Mapping[str, t.Any]
    number: int | None
    group: str | None
    hardware: t.Mapping[str, t.Any]  # comparable; see differences
    hugepages: str | None = None  # their size
    files: tuple[tuple[str, str | None], ...] = ()  # path and format of each disk of its own that is a file
    nvram: str | None = None  # the file of its firmware's variables
    problem: str | None = None  # why nothing more is known


def build(wish: MachineWish, platform: Platform, macs: t.Sequence[str], chains: t.Mapping[str, list[Layer]]) -> str:
    """The domain's XML.

    :param macs: one address per card.
    :param chains: what lies under each disk, by the disk's path.
    :raises Malformed: it is so long that others could not read it.
    """
    root = ET.Element("domain", type=platform.domain_type)
    _add(root, "name", wish.owner.domain)
    _add(root, "uuid", wish.owner.domain_uuid)
    root.append(_metadata(wish))
    _add(root, "memory", str(wish.memory_mib), unit="MiB")
    _add(root, "vcpu", str(wish.cpus))
    system = _add(root, "os")
    _add(system, "type", "hvm", arch=platform.arch)
    _add(system, "boot", dev="hd")
    features = _add(root, "features")
    _add(features, "acpi")
    _add(features, "apic")
    if platform.domain_type == "kvm":
        _add(root, "cpu", mode="host-passthrough", check="none", migratable="on")
    else:
        _add(root, "cpu", mode="maximum", check="none")
    _add(root, "clock", offset="utc")
    _add(root, "on_poweroff", "destroy")
    _add(root, "on_reboot", "restart")
    _add(root, "on_crash", "restart")
    devices = _add(root, "devices")
    for letter, disk in zip(_DISK_LETTERS, wish.disks):
        element = _disk(disk.path, disk.image_format, "vd" + letter)
        if disk.path in chains:
            set_chain(element, chains[disk.path], platform.security)
        devices.append(element)
    if wish.seed and kind_of_image(wish.seed) == IGNITION:
        _add(_add(root, "sysinfo", type="fwcfg"), "entry", name=FW_CFG_NAME, file=wish.seed)
    elif wish.seed and kind_of_image(wish.seed) == CLOUDBASE:
        # A CD: Windows has a driver for it. Behind the disks, as targets say to which port it is connected.
        element = _disk(wish.seed, "raw", "sd" + (_DISK_LETTERS + "z")[len(wish.disks)])
        element.set("device", "cdrom")
        there(element, "target").set("bus", "sata")
        _add(element, "readonly")
        devices.append(element)
    elif wish.seed:
        # A disk, not a CD: kernels made for clouds have drivers for nothing but virtio.
        element = _disk(wish.seed, "raw", "vdz")
        _add(element, "readonly")
        devices.append(element)
    for card, mac in zip(wish.cards, macs):
        devices.append(cards.write(card.kind, card.source, card.more, mac, card.model))
    _serial(devices, 0, wish.console, append=False)
    _serial(devices, 1, wish.report, append=True)
    channel = _add(devices, "channel", type="unix")  # for a guest agent, where the image has one
    _add(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    _add(devices, "controller", type="usb", model="none")
    _add(devices, "memballoon", model="virtio")
    source = _add(devices, "rng", model="virtio")
    _add(source, "backend", "/dev/urandom", model="random")
    table.write(root, wish.hardware, Place(wish.directory, platform.arch, platform.domain_type))
    cards.set_boot_order(root)
    xml = ET.tostring(root, encoding="unicode")
    if len(xml) > _LARGEST:
        raise Malformed(
            f"{wish.owner.machine}: its definition",
            f"{len(xml)} characters are more than the {_LARGEST} that others read of one. Shorten what the manifest says of the machine,"
            " such as the names of keys of its user data",
        )
    return xml


def set_chain(disk: ET.Element, chain: list[Layer], security: t.Sequence[str]) -> None:
    """Tell libvirt what lies under a disk, so that it leaves owners and labels of those files alone.

    Base disks belong to root and are read by many machines. Left to itself, libvirt makes its own user their owner
    at a start, for good, unless they are immutable (seen with libvirt 9.0).

    :param security: models of the host that would relabel files.
    """
    for old in disk.findall("backingStore"):
        disk.remove(old)
    parent = disk
    for layer in chain:
        parent = _add(parent, "backingStore", type="file")
        _add(parent, "format", type=layer.image_format)
        source = _add(parent, "source", file=layer.path)
        for model in security:
            _add(source, "seclabel", model=model, relabel="no")
    _add(parent, "backingStore")  # the end


def with_chains(xml: str, chains: t.Mapping[str, list[Layer]], security: t.Sequence[str]) -> str | None:
    """The XML with other chains under its disks; None when they are the same."""
    root = parse_xml(xml)
    changed = False
    for disk in root.iterfind("./devices/disk"):
        source = disk.find("source")
        chain = None if source is None else chains.get(source.get("file", ""))
        if chain is not None and _chain(disk) != [(layer, sorted(security)) for layer in chain]:
            set_chain(disk, chain, security)
            changed = True
    return ET.tostring(root, encoding="unicode") if changed else None


class Moved(t.NamedTuple):
    """Where the files of a machine are on another host.

    :param paths: new paths of disks, seed and logs, by those that they have here.
    :param chains: what lies under each disk there, by its new path.
    :param security: models of that host that would relabel files.
    :param keep_console: whether the console goes on in the file that is there.
    """

    paths: t.Mapping[str, str]
    chains: t.Mapping[str, list[Layer]]
    security: t.Sequence[str]
    keep_console: bool = False


def moved(xml: str, to: Moved) -> str:
    """The definition of the machine as it is on another host. Only paths change, and what follows from them.

    :raises Malformed: it names a file of this host that has no place there.
    """
    root = parse_xml(xml, "its definition")
    for disk in root.iterfind("./devices/disk"):
        source = disk.find("source")
        if source is None or attached.name_of(disk) is not None:
            continue
        source.set("file", _moved_path(source.get("file", ""), to))
        source.attrib.pop("index", None)  # libvirt's own number of a running machine's disk
        chain = to.chains.get(source.get("file", ""))
        if chain is not None:
            set_chain(disk, chain, to.security)
        for mirror in disk.findall("mirror"):
            disk.remove(mirror)
    for entry in root.iterfind(f"./sysinfo[@type='fwcfg']/entry[@name='{FW_CFG_NAME}']"):
        entry.set("file", _moved_path(entry.get("file", ""), to))
    variables = root.find("./os/nvram")
    if variables is not None and (variables.text or "").strip():
        variables.text = _moved_path((variables.text or "").strip(), to)
    for kind in ("serial", "console"):
        for element in root.iterfind(f"./devices/{kind}"):
            log = log_of(element)
            if log is None:
                continue
            log[0].set(log[1], _moved_path(log[0].get(log[1], ""), to))
            if to.keep_console:
                log[0].set("append", "on")
    return ET.tostring(root, encoding="unicode")


def _moved_path(path: str, to: Moved) -> str:
    if path not in to.paths:
        raise Malformed("its definition", f"the file {path[:300]} has no place on the other host")
    return to.paths[path]


def disk_targets(xml: str) -> dict[str, str]:
    """The target (vda) of each disk that is a file, by path; those that the guest only reads, or has
    from elsewhere, are left out."""
    found = {}
    for disk in parse_xml(xml, "its definition").iterfind("./devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if attached.name_of(disk) is not None:
            continue
        if source is not None and target is not None and source.get("file") and disk.find("readonly") is None:
            found[source.get("file", "")] = target.get("dev", "")
    return found


def unread(name: str, uuid: str, problem: str) -> Description:
    """A domain of which only this can be said."""
    return Description(name, uuid, None, 0, 0, (), None, None, None, {}, None, None, {}, problem=problem)


def describe(xml: str) -> Description:
    """Read a domain's XML, ours or another's.

    :raises Malformed: what is wrong with it.
    """
    root = parse_xml(xml, "its definition")
    ours = root.find(f"./metadata/{_OURS}")
    owner, spec, number, group = None, {}, None, None
    if ours is not None:
        owner = _owner(ours)
        number, group = _number(ours, owner), ours.get("group", "")
        spec = _spec(ours.findtext(_SPEC, ""))
    macs = (cards.mac_of(element) for element in root.iterfind("./devices/interface"))
    return Description(
        domain=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        owner=owner,
        memory_mib=_memory_mib(root),
        cpus=_cpus(root),
        macs=tuple(mac for mac in macs if mac),
        console=serial_path(root, 0),
        report=serial_path(root, 1),
        seed=_disks(root)[1],
        spec=spec,
        number=number,
        group=group,
        hardware=_Hardware(xml),
        hugepages=hugepages_of(root),
        files=tuple(_files(root)),
        nvram=nvram_of(root),
    )


class _Hardware(t.Mapping[str, t.Any]):
    """Read when it is first asked for: of most domains of a host nobody asks. Trees of all of them would take long to collect."""

    def __init__(self, xml: str) -> None:
        self._xml = xml
        self._found: dict[str, t.Any] | None = None

    def _whole(self) -> dict[str, t.Any]:
        if self._found is None:
            root = parse_xml(self._xml, "its definition")
            disks, seed = _disks(root)
            self._found = {
                "domain_type": root.get("type"),
                "cpus": _cpus(root),
                "memory_mib": _memory_mib(root),
                "disks": disks,
                "seed": seed,
                "networks": [cards.read(element) for element in root.iterfind("./devices/interface")],
                **table.read(root),
            }
        return self._found

    def __getitem__(self, name: str) -> t.Any:
        return self._whole()[name]

    def __iter__(self) -> t.Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())


def _cpus(root: ET.Element) -> int:
    return decimal(root.findtext("vcpu", "1").strip(), "its definition: vcpu")


def drift(wanted: Description, found: Description, wish: MachineWish) -> list[dict[str, t.Any]]:
    """Where a domain is not what is wanted now: list of path, from, to."""
    new = dict(wanted.hardware)
    for name in table.NAMES:  # what the user did not choose is whatever the machine has
        old_value = found.hardware.get(name)
        new[name] = table.meant(old_value, new[name], wish.hardware[name]) if name in wish.hardware else old_value
    if not wish.disks:
        new["disks"], new["seed"] = found.hardware["disks"], found.hardware["seed"]
    found_cards = found.hardware["networks"]
    new["networks"] = [
        _as_found(card, wish.cards[index], found_cards[index]) if index < len(found_cards) else card
        for index, card in enumerate(new["networks"])
    ]
    old = dict(found.hardware)
    old.update(number=found.number, group=found.group, spec=found.spec)
    new.update(number=wanted.number, group=wanted.group, spec=wanted.spec)
    return differences(old, new)


def _as_found(wanted: t.Mapping[str, t.Any], card: Card, found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """An address, and everything else that the user did not choose, is whatever the machine has."""
    names = [name for name in cards.NAMES if name in found and card.more.get(name) is None]
    return {**wanted, **{name: found[name] for name in names}, **({} if card.mac else {"mac": found["mac"]})}


def differences(old: t.Any, new: t.Any, path: str = "") -> list[dict[str, t.Any]]:
    """Leaves that differ between two structures; a missing one is None."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys: list[t.Any] = sorted({*old, *new})
        pairs = [(key, old.get(key), new.get(key)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list):
        longest = range(max(len(old), len(new)))
        pairs = [(i, old[i] if i < len(old) else None, new[i] if i < len(new) else None) for i in longest]
    else:
        return [] if old == new else [{"path": path, "from": old, "to": new}]
    found: list[dict[str, t.Any]] = []
    for key, before, after in pairs:
        found.extend(differences(before, after, f"{path}.{key}" if path else str(key)))
    return found


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _metadata(wish: MachineWish) -> ET.Element:
    metadata = ET.Element("metadata")
    ours = ET.SubElement(
        metadata,
        _OURS,
        {
            "format": str(FORMAT),
            "tenant": wish.owner.tenant,
            "service": wish.owner.service,
            "machine": wish.owner.machine,
            "number": str(wish.number),
            "group": wish.group,
        },
    )
    ET.SubElement(ours, _SPEC).text = json.dumps(wish.spec, sort_keys=True)
    return metadata


def with_spec(xml: str, spec: t.Mapping[str, t.Any]) -> tuple[str, str, str]:
    """Our metadata of a domain with another spec: the element, its prefix, its namespace. :raises Malformed: it is none of ours.

    The element names no namespace: libvirt gives it to all that have none.
    """
    ours = parse_xml(xml, "its definition").find(f"./metadata/{_OURS}")
    if ours is None:
        raise Malformed("its metadata", "this collection has not made the domain")
    found = ours.find(_SPEC)
    (found if found is not None else ET.SubElement(ours, _SPEC)).text = json.dumps(spec, sort_keys=True)
    for element in ours.iter():
        element.tag = element.tag.replace(f"{{{NAMESPACE}}}", "")
    return ET.tostring(ours, "unicode"), PREFIX, NAMESPACE


def _owner(ours: ET.Element) -> Owner:
    """Names become parts of paths, so they are checked although only administrators can have changed them."""
    names = {key: ours.get(key, "") for key in ("tenant", "service", "machine")}
    for key, value in names.items():
        if not (is_host_label(value) if key == "machine" else is_name(value)):
            raise Malformed(f"its metadata: {key}", f"{value[:80]!r} is not a name")
    return Owner(**names)


def _number(ours: ET.Element, owner: Owner) -> int:
    """Where somebody has damaged it, the one in the machine's name: it must not be given to another machine."""
    for text in (ours.get("number", ""), owner.machine.rpartition("-")[2]):
        try:
            return decimal(text, "number", high=10**9)
        except Malformed:
            continue
    return 0


def _spec(text: str) -> dict[str, t.Any]:
    """Empty where somebody has edited it to what is no JSON: the machine still is ours."""
    try:
        spec = parse(text, "its metadata: spec")
    except Malformed:
        return {}
    return spec if isinstance(spec, dict) else {}


def _files(root: ET.Element) -> t.Iterator[tuple[str, str | None]]:
    for element in root.iterfind("./devices/disk"):
        source, driver = element.find("source"), element.find("driver")
        if source is not None and source.get("file") and attached.name_of(element) is None:
            yield source.get("file", ""), None if driver is None else driver.get("type")


def _disk(path: str, image_format: str, target: str) -> ET.Element:
    disk = ET.Element("disk", type="file", device="disk")
    driver = _add(disk, "driver", name="qemu", type=image_format)
    if image_format == "qcow2":
        driver.set("discard", "unmap")  # what the guest frees does not count against the pool
    _add(disk, "source", file=path)
    _add(disk, "target", dev=target, bus="virtio")
    return disk


def _serial(devices: ET.Element, port: int, path: str, append: bool) -> None:
    serial = _add(devices, "serial", type="file")
    source = _add(serial, "source", path=path)
    if append:
        source.set("append", "on")  # a reboot must not erase the report
    _add(serial, "target", port=str(port))


def _disks(root: ET.Element) -> tuple[list[dict[str, t.Any]], str | None]:
    """Its own disks in the order of their targets, and the seed."""
    disks, seed = [], None
    for element in root.iterfind("./devices/disk"):
        if attached.name_of(element) is not None:
            continue
        source, target, driver = element.find("source"), element.find("target"), element.find("driver")
        path = None if source is None else source.get("file") or next(iter(source.attrib.values()), None)
        if is_seed(element) or (target is not None and target.get("dev") == "vdz" and element.find("readonly") is not None):
            seed = path
        else:
            disks.append({"path": path, "image_format": None if driver is None else driver.get("type")})
    config = None if root.find("sysinfo") is None else root.find(f"./sysinfo[@type='fwcfg']/entry[@name='{FW_CFG_NAME}']")
    return disks, seed if config is None else config.get("file")


def _chain(disk: ET.Element) -> list[tuple[Layer, list[str]]]:
    """Each layer, and the models that leave it alone."""
    layers: list[tuple[Layer, list[str]]] = []
    store = disk.find("backingStore")
    while store is not None:
        source, image_format = store.find("source"), store.find("format")
        if source is not None and image_format is not None:
            labels = sorted(label.get("model", "") for label in source.iterfind("seclabel[@relabel='no']"))
            layers.append((Layer(source.get("file", ""), image_format.get("type", "")), labels))
        store = store.find("backingStore")
    return layers


def _memory_mib(root: ET.Element) -> int:
    memory = root.find("memory")
    if memory is None:
        return 0
    kib = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "MiB": 1024, "M": 1024, "GiB": 1024**2, "G": 1024**2}
    amount = decimal((memory.text or "").strip(), "its definition: memory")
    return int(amount * kib.get(memory.get("unit", "KiB"), 1) // 1024)
