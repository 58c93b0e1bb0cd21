# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Card, Disk, MachineWish
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import DiskWork, LibvirtError, NetworkXml
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine import Machine
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machines import Machines
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

TOKEN = "0123456789abcdef"

CAPABILITIES = """<capabilities><guest><arch name='x86_64'>
  <machine canonical='pc-i440fx-7.2'>pc</machine><machine canonical='pc-q35-7.2'>q35</machine>
</arch></guest></capabilities>"""
OFFERED = """<domainCapabilities>
  <os supported='yes'><enum name='firmware'><value>efi</value></enum>
    <loader supported='yes'><enum name='secure'><value>yes</value><value>no</value></enum></loader></os>
  <devices><tpm supported='yes'><enum name='backendModel'><value>passthrough</value><value>emulator</value></enum>
    <enum name='backendVersion'><value>2.0</value></enum></tpm></devices>
</domainCapabilities>"""


class FakeDomain:
    """A domain in memory. What its guest would do is up to the test, in ``on_start`` and ``on_shutdown``."""

    def __init__(self, host: FakeHost, xml: str) -> None:
        self.host, self._xml, self.is_running, self.starts_itself, self.is_saved = host, xml, False, False, False
        self.mirrors: dict[str, str] = {}  # files by the disk's name in the guest
        self.ended: dict[str, str] = {}
        self.shallow: dict[str, bool] = {}
        self.pulls: dict[str, int] = {}  # bytes a second by the disk's name in the guest
        self.sizes: dict[str, int] = {}  # bytes by the disk's name in the guest
        self.agent, self.looks, self.frozen, self.is_paused = False, 0, 0, False
        self.standing: str | None = None  # as it is noted
        self.ended_while: list[bool] = []  # of each copy, whether the guest stood still

    @property
    def name(self) -> str:
        return ET.fromstring(self._xml).findtext("name", "")

    @property
    def uuid(self) -> str:
        return ET.fromstring(self._xml).findtext("uuid", "")

    def xml(self) -> str:
        if self.name in self.host.unreadable:
            raise LibvirtError(f"libvirt could not read the definition of {self.name}: \x1b]0;owned\x07")
        return self.host.definitions.get(self.name, self._xml)

    def living_xml(self) -> str:
        return self.host.living.get(self.name, self.xml())

    def snapshot_xmls(self) -> list[str]:
        return self.host.snapshots.get(self.name, [])

    def addresses(self, source: str) -> list[dict[str, str]]:
        return self.host.leases.get((self.name, source), [])

    def state(self) -> str:
        return "running" if self.is_running else "off"

    def running(self) -> bool:
        return self.is_running

    def was_running(self) -> bool:
        return self.is_running

    def power(self) -> str:
        return ("paused" if self.is_paused else "running") if self.is_running else "off"

    def snapshots(self) -> int:
        return 0

    def autostart(self) -> bool:
        return self.starts_itself

    def set_autostart(self, value: bool) -> None:
        self.starts_itself = value

    def start(self) -> None:
        if self.name in self.host.broken:
            raise LibvirtError(f"libvirt could not start {self.name}: no such thing")
        self.is_running = True
        self.host.on_start(self)

    def shutdown(self) -> None:
        self.host.on_shutdown(self)

    def has_saved_state(self) -> bool:
        return self.is_saved

    def destroy(self) -> None:
        self.is_running = False

    def undefine(self, keep_firmware: bool = False, drop_tpm: bool = False) -> None:
        self.host.known.remove(self)
        self.host.kept_firmware[self.name] = keep_firmware

    # A mirror is ready some looks after it began, and has what the disk has when it ends.

    def live_xml(self) -> str:
        root = ET.fromstring(self._xml)
        self.looks += bool(self.mirrors)
        for disk in root.iterfind("./devices/disk"):
            target = disk.find("target").get("dev", "")  # type: ignore[union-attr]
            if target in self.mirrors:
                ET.SubElement(disk, "mirror", file=self.mirrors[target], ready="yes" if self.looks > 2 else "")
        return ET.tostring(root, "unicode")

    def begin_copy(self, target: str, path: str, shallow: bool, image_format: str = "qcow2") -> None:
        assert os.path.exists(path) and target not in self.mirrors
        self.mirrors[target], self.shallow[target], self.looks = path, shallow, 0
        self.host.on_copy(self, target)

    def end_copy(self, target: str) -> None:
        if target not in self.mirrors:
            raise LibvirtError(f"libvirt could not end the copy of the disk {target} of {self.name}: no active block job")
        self.ended[target] = self.mirrors.pop(target)
        self.ended_while.append(self.is_paused)

    def go_over(self, target: str) -> None:
        root = ET.fromstring(self._xml)
        for disk in root.iterfind("./devices/disk"):
            if disk.find("target").get("dev") == target:  # type: ignore[union-attr]
                disk.find("source").set("file", self.mirrors.pop(target))  # type: ignore[union-attr]
                for chain in disk.findall("backingStore"):
                    disk.remove(chain)
        self._xml = ET.tostring(root, "unicode")
        self.host.on_go_over(self, target)

    def begin_pull(self, target: str, bytes_s: int) -> None:
        assert self.disk_work(target) is None
        self.pulls[target] = bytes_s

    def limit_pull(self, target: str, bytes_s: int) -> None:
        self.pulls[target] = bytes_s

    def disk_work(self, target: str) -> DiskWork | None:
        if target in self.pulls:
            return DiskWork(True, 10, 40, self.pulls[target])
        return DiskWork(False, 0, 1, 0) if target in self.mirrors else None

    def disk_bytes(self, target: str) -> int:
        return self.sizes[target]

    def resize(self, target: str, size_bytes: int) -> None:
        self.sizes[target] = size_bytes

    def set_metadata(self, element: str, prefix: str, namespace: str) -> None:
        root = ET.fromstring(self._xml)
        metadata = root.find("metadata")
        assert metadata is not None
        for old in metadata.findall(f"{{{namespace}}}*"):
            metadata.remove(old)
        new = ET.fromstring(element)
        for one in new.iter():
            if one.tag.startswith("{"):
                raise LibvirtError("failed to create a new XML namespace")
            one.tag = f"{{{namespace}}}{one.tag}"
        metadata.append(new)
        self._xml = ET.tostring(root, "unicode")

    def freeze(self) -> bool:
        self.frozen += 1
        return self.agent

    def thaw(self) -> None:
        self.frozen -= 1

    def suspend(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def stands(self) -> str | None:
        return self.standing

    def note_standing(self, how: str | None) -> None:
        self.standing = how


class FakeHost:
    """A libvirt in memory, with the time of its guests."""

    def __init__(self) -> None:
        self.known: list[FakeDomain] = []
        self.active = {"default": True, "lost": False}
        self.live: dict[str, str] = {}  # definitions of networks
        self.lasting: dict[str, str] = {}
        self.bridges = {"br0"}
        self.kvm = False
        self.memory = 4096
        self.broken: set[str] = set()
        self.unreadable: set[str] = set()
        self.definitions: dict[str, str] = {}  # what libvirt says of a domain, instead of what was defined
        self.living: dict[str, str] = {}  # of a domain that runs
        self.snapshots: dict[str, list[str]] = {}
        self.leases: dict[tuple[str, str], list[dict[str, str]]] = {}
        self.volumes: dict[tuple[str, str], str] = {}
        self.models = ["none", "dac"]
        self.kept_firmware: dict[str, bool] = {}
        self.offered = OFFERED
        self.validated: list[bool] = []  # each definition, whether by libvirt's schema
        self.now = 0.0
        self.later: list[tuple[float, t.Callable[[], None]]] = []
        self.on_start: t.Callable[[FakeDomain], None] = lambda domain: None
        self.on_shutdown: t.Callable[[FakeDomain], None] = lambda domain: None
        self.on_copy: t.Callable[[FakeDomain, str], None] = lambda domain, target: None
        self.on_go_over: t.Callable[[FakeDomain, str], None] = lambda domain, target: None

    def domains(self) -> list[FakeDomain]:
        return list(self.known)

    def define(self, xml: str, name: str, validated: bool = False) -> FakeDomain:
        self.validated.append(validated)
        for domain in self.known:
            if domain.name == name:
                domain._xml = xml
                return domain
        domain = FakeDomain(self, xml)
        self.known.append(domain)
        return domain

    def domain(self, uuid: str) -> FakeDomain | None:
        return next((one for one in self.domains() if one.uuid == uuid), None)

    def volume_path(self, pool: str, volume: str) -> str:
        if (pool, volume) not in self.volumes:
            raise LibvirtError(f"libvirt could not find the volume {volume}: no such thing")
        return self.volumes[pool, volume]

    def vlans(self) -> dict[str, list[str]]:
        return {"vlan_networks": []}

    def readonly_shares(self) -> bool:
        return False

    def networks(self) -> dict[str, bool]:
        return self.active

    def network_xmls(self) -> dict[str, NetworkXml]:
        return {name: NetworkXml(self.live.get(name), self.lasting.get(name)) for name in {**self.live, **self.lasting}}

    def update_dns(self, network: str, entry: str, add: bool, lasting: bool) -> None:
        """As libvirt does it: what is taken out has to be one entry, and what is added no second one of an address."""
        half = self.lasting if lasting else self.live
        root, host = ET.fromstring(half[network]), ET.fromstring(entry)
        dns = root.find("dns")
        dns = ET.SubElement(root, "dns") if dns is None else dns
        asked = {name.text for name in host}
        found = [
            one for one in dns if one.get("ip") == host.get("ip") or (not add and asked & {name.text for name in one.iterfind("hostname")})
        ]
        if len(found) != (0 if add else 1):
            raise LibvirtError(f"libvirt could not change the DNS of the network {network}: {len(found)} matching entries")
        if add:
            dns.append(host)
        else:
            dns.remove(found[0])
        half[network] = ET.tostring(root, "unicode")

    def has_interface(self, name: str) -> bool:
        return name in self.bridges

    def security_models(self) -> list[str]:
        return self.models

    def memory_mib(self) -> int:
        return self.memory

    def arch(self) -> str:
        return "x86_64"

    def accelerated(self) -> bool:
        return self.kvm

    def capabilities_xml(self) -> str:
        return CAPABILITIES

    def domain_capabilities(self, arch: str, machine_type: str | None, domain_type: str) -> str:
        return self.offered

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for when, action in list(self.later):
            if when <= self.now:
                self.later.remove((when, action))
                action()


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def pool(tmp_path: t.Any) -> str:
    return str(tmp_path)


@pytest.fixture
def make_wish(pool: str) -> t.Callable[..., MachineWish]:
    """A wish whose disk and directory exist."""

    def make(name: str = "web-1", service: str = "shop", **changes: t.Any) -> MachineWish:
        owner = Owner("default", service, name)
        directory = owner.directory(pool)
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, "root.raw")
        with open(path, "w", encoding="utf-8"):
            pass
        wish: dict[str, t.Any] = {
            "owner": owner,
            "directory": directory,
            "number": 1,
            "group": "web",
            "cpus": 1,
            "memory_mib": 256,
            "disks": (Disk("root", path, "raw"),),
            "seed": None,
            "cards": (Card("default"),),
            "spec": {"version": 1},
        }
        return MachineWish(**{**wish, **changes})

    return make


@pytest.fixture
def run_command() -> t.Callable[[list[str]], tuple[int, str, str]]:
    def run(argv: list[str]) -> tuple[int, str, str]:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def machines(host: t.Any) -> t.Callable[..., Machines]:
    """A new look at the host, as every call of the module takes it."""
    return lambda **options: Machines(host, **{"clock": host.clock, "sleep": host.sleep, **options})


def seeded(wish: MachineWish, hostname: str | None = None, token: str | None = TOKEN) -> MachineWish:
    """The wish with a seed (of which only the record matters here)."""
    record: dict[str, t.Any] = {
        "digest": "d" * 64,
        "token": token,
        "hostname": hostname or wish.owner.machine,
        "instance_id": "i",
        "outline": {},
    }
    for name, content in (("seed.json", json.dumps(record)), ("seed.iso", "")):
        with open(os.path.join(wish.directory, name), "w", encoding="utf-8") as file:
            file.write(content)
    return replace(wish, seed=os.path.join(wish.directory, "seed.iso"))


def say(wish: MachineWish, **changes: t.Any) -> None:
    report = {"token": TOKEN, "hostname": wish.owner.machine, "instance_id": "i", "status": "done", "addresses": []}
    with open(wish.report, "a", encoding="utf-8") as file:
        file.write("BASECAST-REPORT " + json.dumps({**report, **changes}) + "\n")


def only(found: t.Sequence[Machine]) -> Machine:
    assert len(found) == 1
    return found[0]


def refused(host: t.Any, machines: t.Any, wishes: t.Sequence[MachineWish], message: str) -> None:
    known = [domain.xml() for domain in host.known]
    with pytest.raises(FleetError, match=message):
        machines().ensure(wishes, start=True)
    assert [domain.xml() for domain in host.known] == known


def plant(path: str, kind: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        os.symlink("/etc/passwd", path)
    elif kind == "dangling link":
        os.symlink("/etc/basecast-planted", path)
    elif kind == "hard link":
        other = path + ".other"
        with open(other, "w", encoding="utf-8"):
            pass
        os.link(other, path)
    else:
        os.mkdir(path)
