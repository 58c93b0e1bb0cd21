# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host knows of its machines that matters to a migration: how they are, what they need, and what keeps them here."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
import xml.etree.ElementTree as ET

from .._disk import layout, users
from .._disk.image_header import read_qcow2
from .._disk.store import Store
from .._disk.users import FoundDisk
from .._errors import FleetError
from .._job.alone import at_work
from .._job.journal import RUNNING as JOB_RUNNING
from .._job.journal import Journal
from .._machine import disk_mirror, flattening, media, network_dns
from .._machine import domain as domains
from .._machine.domain import Description
from .._machine.files import leftovers
from .._machine.hardware import attached, cards, host_devices
from .._machine.hardware.board import NVRAM_PATTERN
from .._machine.hardware.drives import is_cdrom, is_seed
from .._machine.libvirt_host import OFF, PAUSED, RUNNING, Domain, DomainGone, LibvirtHost, LibvirtMissing, MemorySaved, may_have_domains
from .._machine.moves import Entry, MoveJournal, services_with_moves
from .._machine.owner import Owner
from .._machine.records import ServiceRecords
from .._machine.xml_document import parse_xml
from .._names import is_name
from .tunnel import largest_file

FORMAT = 1

# Devices whose state is outside of the disks and memory that a migration takes along.
_BOUND = {
    "filesystem": "a directory of the host",
    "shmem": "shared memory of the host",
    "redirdev": "a redirected device",
}

Connect = t.Callable[[str], t.ContextManager[t.Any]]


class Request(t.NamedTuple):
    """
    :param service: None for all services of the tenant; ``tenant`` None for all tenants.
    """

    pools: t.Mapping[str, str]
    tenant: str | None
    service: str | None
    uri: str
    state_dir: str
    runtime_dir: str


class Seen(t.NamedTuple):
    """A machine of this host.

    :param xml: its lasting definition.
    """

    owner: Owner
    domain: Domain
    about: Description
    xml: str
    told: dict[str, t.Any]


def look(request: Request, stores: t.Mapping[str, Store], connect: Connect = LibvirtHost) -> dict[str, t.Any]:
    """Everything; nothing is changed."""
    told: dict[str, t.Any] = {"format": FORMAT, "machines": [], "others": [], "services": [], "journal": [], "cpu": ""}
    with contextlib.ExitStack() as held:
        try:
            host = held.enter_context(connect(request.uri))
        except LibvirtMissing:
            if may_have_domains(request.uri):
                raise
            host = None
        if host is not None:
            told["cpu"] = host.cpu_xml()
            told["arch"] = host.arch()
            for seen in machines(host, stores):
                if isinstance(seen, str):
                    told["others"].append(seen)
                elif request.tenant in (None, seen.owner.tenant) and request.service in (None, seen.owner.service):
                    told["machines"].append(seen.told)
    for tenant in _tenants(request):
        told["services"] += _services(request, tenant)
        told["journal"] += _journal(request, tenant)
    return told


def machines(host: LibvirtHost, stores: t.Mapping[str, Store]) -> t.Iterator[Seen | str]:
    """The machines that this collection has made, and the names of other domains."""
    disks = users.scan(stores)
    for domain in host.domains():
        try:
            xml = domain.xml()
            about = domains.describe(xml)
        except DomainGone:
            continue
        except FleetError as error:
            yield f"{domain.name} ({error.message})"
            continue
        if about.owner is None:
            yield domain.name
            continue
        yield Seen(about.owner, domain, about, xml, _told(domain, about, about.owner, xml, stores, disks))


def find(host: LibvirtHost, owner: Owner, stores: t.Mapping[str, Store]) -> Seen | None:
    return next((seen for seen in machines(host, stores) if isinstance(seen, Seen) and seen.owner == owner), None)


def _told(
    domain: Domain, about: Description, owner: Owner, xml: str, stores: t.Mapping[str, Store], disks: t.Sequence[FoundDisk]
) -> dict[str, t.Any]:
    problems: list[str] = []
    own = [_disk(path, kind, owner, stores, disks, problems) for path, kind in about.files if path != about.seed]
    root = parse_xml(xml, "its definition")
    problems += _no_files(root)
    flattened = flattening.unended({name: store.pool_path for name, store in stores.items()}, owner)
    if flattened is not None:
        problems.append(flattened.rstrip("."))
    state = domain.power()
    if state == PAUSED and domain.stands() == disk_mirror.SUSPENDED:
        state = RUNNING  # an interrupted clone has left it so; its migration lets it go on
    if state != OFF:
        problems += _discs(root)
    if state == OFF and domain.has_saved_state():
        problems.append(MemorySaved().message)
    if domain.snapshots():
        problems.append("libvirt has snapshots of it, which would be lost; delete them (virsh snapshot-delete)")
    system = root.find("./os/type")
    home = _home(about, owner, stores)
    return {
        "tenant": owner.tenant,
        "service": owner.service,
        "machine": owner.machine,
        "domain": about.domain,
        "uuid": about.uuid,
        "state": state,
        "autostart": domain.autostart(),
        "group": about.group,
        "number": about.number,
        "cpus": about.cpus,
        "memory_mib": about.memory_mib,
        "domain_type": about.hardware["domain_type"],
        "machine_type": None if system is None else system.get("machine"),
        "arch": None if system is None else system.get("arch"),
        "networks": [{key: card[key] for key in cards.KIND_NAMES if card.get(key)} for card in about.hardware["networks"]],
        "dns": [{**entry._asdict(), "names": list(entry.names)} for entry in network_dns.entries_of(owner, about.spec)],
        "disks": [disk for disk in own if disk],
        "home": home,
        "seeded": about.seed is not None,
        "problems": problems,
        "bound": list(_bound(root, about.nvram, owner, stores)),
        "bound_off": list(_bound_off(root)),
    }


def _home(about: Description, owner: Owner, stores: t.Mapping[str, Store]) -> str | None:
    """The pool in which its seed and logs are."""
    path = about.report or about.console or about.seed
    directory = os.path.dirname(path) if path else None
    return next((name for name, store in stores.items() if owner.directory(store.pool_path) == directory), None)


def _disk(
    path: str, kind: str | None, owner: Owner, stores: t.Mapping[str, Store], disks: t.Sequence[FoundDisk], problems: list[str]
) -> dict[str, t.Any] | None:
    pool = next((name for name, store in stores.items() if owner.directory(store.pool_path) == os.path.dirname(path)), None)
    name, extension = os.path.splitext(os.path.basename(path))
    if pool is None or layout.EXTENSIONS.get(kind or "raw") != extension:
        problems.append(
            f"its disk {path} is not in the machine's own directory of a pool; detach it (virsh detach-disk, or virsh change-media"
            " --eject for a CD)"
        )
        return None
    found = users.look(path, pool)
    if found is None:
        problems.append(f"its disk {path} cannot be read")
        return None
    header = None if found.image_format == "raw" else read_qcow2(path)
    if header is not None and header.external_data:
        problems.append(f"its disk {path} keeps its data in another file, {header.data_file}; copy it into one (qemu-img convert)")
    base = layout.base_of(found.backing_path)
    if found.backing is not None and base is None:
        problems.append(f"its disk {path} is based on {found.backing}, which is not a base disk; flatten it (qemu-img rebase -b '')")
    size = os.path.getsize(path)
    if size > largest_file(found.virtual_size_bytes):
        problems.append(
            f"the file of its disk {path} has {size} bytes, for a disk of {found.virtual_size_bytes}; remove internal snapshots and bitmaps"
            " (qemu-img snapshot -d), and copy it (qemu-img convert)"
        )
    children = users.children_of(path, disks)
    if children:
        problems.append(f"its disk {path} is the parent of {', '.join(children)}; flatten those first (qemu-img rebase -b '')")
    return {
        "name": name,
        "pool": pool,
        "path": path,
        "image_format": found.image_format,
        "size_bytes": found.virtual_size_bytes,
        "allocated_bytes": found.allocated_bytes,
        "base": base,
        "based": found.backing is not None,
        "beside": _is_beside(found, stores[pool]),
        "snapshots": header.snapshots if header is not None else 0,
    }


def _is_beside(disk: FoundDisk, store: Store) -> bool:
    """Whether its base is in the same pool, and named so that it is found wherever that pool is mounted."""
    directory = os.path.realpath(store.directory)
    return disk.backing is not None and not os.path.isabs(disk.backing) and str(disk.backing_path).startswith(directory + os.sep)


def _bound(root: ET.Element, variables: str | None, owner: Owner, stores: t.Mapping[str, Store]) -> t.Iterator[str]:
    """What a migration to another host would not take along."""
    for element in root.iterfind("./devices/hostdev"):
        device = host_devices.device_in(element)
        what = f"the {host_devices.title_of(host_devices.name_of(device))}" if device else "a device"
        yield f"it has {what} of this host, which cannot move with it, live or off; detach that first (update)"
    for tag, what in _BOUND.items():
        if root.find(f"./devices/{tag}") is not None:
            yield f"it has {what} (<{tag}>), which cannot move with it; detach that first"
    for element in root.iterfind("./devices/disk"):
        name = attached.name_of(element)
        if name is not None:
            yield f"its disk {name} is {attached.path_of(element)} of this host, which cannot move with it; detach that first (update)"
    own = {owner.directory(store.pool_path) for store in stores.values()}
    if root.find("./os/nvram") is not None and not (
        variables and os.path.dirname(variables) in own and re.fullmatch(NVRAM_PATTERN, os.path.basename(variables))
    ):
        yield (
            f"its firmware variables are in {variables or 'no plain file'}, and not in its own directory of a pool; move them there while"
            " it is off (virsh edit)"
        )


def _bound_off(root: ET.Element) -> t.Iterator[str]:
    """What only a migration of a running machine takes along: QEMU hands it over with the memory."""
    if root.find("./devices/tpm") is not None:
        yield "it has a TPM, whose state libvirt keeps on this host while it is off (/var/lib/libvirt/swtpm); move it live"


def _no_files(root: ET.Element) -> t.Iterator[str]:
    for element in root.iterfind("./devices/disk"):
        if element.get("type") != "file" and attached.name_of(element) is None:
            target = element.find("target")
            yield f"its disk {'' if target is None else target.get('dev')} is of the type {element.get('type')}; only files are moved"


def _discs(root: ET.Element) -> t.Iterator[str]:
    """libvirt copies no disk to another host that the guest only reads. The seed is copied with the small files."""
    for element in root.iterfind("./devices/disk"):
        if is_cdrom(element) and not is_seed(element) and element.find("source") is not None:
            target = element.find("target")
            dev = "" if target is None else target.get("dev")
            yield f"its CD in {dev} cannot move while it runs; power it off, or take the CD out (virsh change-media --eject)"


def small_files(directory: str, firmware: bool = False, clone: bool = False) -> list[str]:
    """The seed, logs and origins of disks in a machine's directory, without those that libvirt has put aside.

    :param firmware: its firmware variables as well; clone: and of which machine it is a clone.
    """
    found = [name for name in leftovers(directory) if name in (*media.FILES, "report.log", "console.log")]
    with contextlib.suppress(FileNotFoundError):
        found += sorted(name for name in os.listdir(directory) if name.startswith(".") and name.endswith(".origin.json"))
        names = sorted(os.listdir(directory)) if firmware or clone else []
        found += [name for name in names if (firmware and re.fullmatch(NVRAM_PATTERN, name)) or (clone and name == ".clone.json")]
    return found


def _tenants(request: Request) -> list[str]:
    if request.tenant is not None:
        return [request.tenant]
    found: set[str] = set()
    for part in ("services", "migrations"):
        with contextlib.suppress(FileNotFoundError):
            found.update(name for name in os.listdir(os.path.join(request.state_dir, part)) if is_name(name))
    return sorted(found)


def _services(request: Request, tenant: str) -> t.Iterator[dict[str, t.Any]]:
    """What the records say of machines, without the rest, which may hold secrets."""
    records, _unreadable = ServiceRecords(request.state_dir, tenant).read_all()
    for service, record in records.items():
        if request.service in (None, service):
            manifest = record.get("manifest") or {}
            yield {
                "tenant": tenant,
                "service": service,
                "generation": record.get("generation", 0),
                "assignments": record.get("assignments") or {},
                "bases": manifest.get("bases") or [],
                "jobs": _jobs(request, tenant, service),
            }


def _jobs(request: Request, tenant: str, service: str) -> list[str]:
    """Runs that deploy the service here at this moment."""
    journal = Journal(request.runtime_dir, tenant, service)
    told = ((run, journal.read(run)) for run in journal.runs())
    return [run for run, found in told if found is not None and found["state"] == JOB_RUNNING]


def _journal(request: Request, tenant: str) -> t.Iterator[dict[str, t.Any]]:
    for service in services_with_moves(request.state_dir, tenant):
        if request.service in (None, service):
            journal = MoveJournal(request.state_dir, tenant, service)
            for machine in journal.machines():
                entry: Entry | None = journal.read(machine)
                if entry is not None:
                    yield {"tenant": tenant, "service": service, **entry.told(), "process": _at_work(request, tenant, service)}


def _at_work(request: Request, tenant: str, service: str) -> int | None:
    """The process that changes machines of the service at this moment; 0 if it cannot be told."""
    journal = Journal(request.runtime_dir, tenant, service)
    try:
        return at_work(journal)
    except OSError as error:
        raise FleetError(f"{journal.directory}: {error.strerror}", path=journal.directory) from error
