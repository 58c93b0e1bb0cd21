# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""libvirt: the only file that knows it. Everything else sees domains as XML and these few verbs."""

from __future__ import annotations

import glob
import os
import typing as t
import xml.etree.ElementTree as ET

from .._errors import FleetError
from .xml_document import parse_xml

try:
    import libvirt
except ImportError:
    libvirt = None
try:
    import libvirt_qemu  # of the same package
except ImportError:
    libvirt_qemu = None


LOCAL_URI = "qemu:///system"
RUNNING, PAUSED, OFF = "running", "paused", "off"
_STANDING = "urn:basecast:fleet:standing"
# Definitions of domains, and what libvirt keeps of running ones.
_DEFINITIONS = ("/etc/libvirt/qemu", "/run/libvirt/qemu")

# As virDomainState counts them, and as virsh writes them.
_STATES = {0: "unknown", 1: "running", 2: "blocked", 3: "paused", 4: "shutting down", 5: "off", 6: "crashed", 7: "suspended"}
# As virDomainInterfaceAddressesSource counts them.
_SOURCES = {"lease": 0, "agent": 1, "arp": 2}
_KEEPS_TPM = 8_009_000  # the version from which on libvirt can keep the state of a TPM
_TAGS_ON_BRIDGES = 11_000_000  # and from which on it tags on the kernel's bridges
_READONLY_SHARES = 11_000_000  # and from which on virtiofs can be read-only
_AGENT_S = 5  # a guest whose agent has stopped would hold the question otherwise


class LibvirtMissing(FleetError):
    """libvirt or its Python binding is not there, or does not answer."""

    kind = "libvirt_missing"


class LibvirtError(FleetError):
    kind = "libvirt"


class PortTaken(LibvirtError):
    """libvirt itself takes a port for used: one that was given for disks stays so until it is restarted (seen with 9.0)."""


class UnsafeMove(LibvirtError):
    """libvirt does not know that both hosts have the machine's disks."""

    kind = "unsafe_move"


class MemorySaved(FleetError):
    """What its guest has not written to its disks yet is in a file."""

    kind = "saved"

    def __init__(self) -> None:
        super().__init__("its memory was saved (virsh managedsave); start it, or drop that (virsh managedsave-remove)")


class DomainGone(LibvirtError):
    """Somebody else has undefined it meanwhile."""


def may_have_domains(uri: str) -> bool:
    """Whether a host whose libvirt gives no answer may have machines all the same: libvirt keeps a file for each."""
    if uri != LOCAL_URI:
        return True
    for directory in _DEFINITIONS:
        try:
            if any(name.endswith(".xml") for name in os.listdir(directory)):
                return True
        except FileNotFoundError:
            continue
        except OSError:  # what cannot be listed may hold any
            return True
    return False


def bridges() -> list[str]:
    """Network interfaces of the host that are bridges, those of Open vSwitch included."""
    return sorted({*(path.split("/")[4] for path in glob.glob("/sys/class/net/*/bridge")), *open_vswitch_bridges()})


def open_vswitch_bridges() -> list[str]:
    found = set()
    for path in glob.glob("/sys/class/net/*/uevent"):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                if "DEVTYPE=openvswitch" in file.read():
                    found.add(path.split("/")[4])
        except OSError:  # it has gone meanwhile
            continue
    return sorted(found)


def interfaces() -> list[str]:
    """Network interfaces on which a macvtap can be: those that are no bridge, and no end of a machine's card."""
    unfit = {*bridges(), "lo"}
    names = {path.split("/")[4] for path in glob.glob("/sys/class/net/*/uevent")}
    tuns = {path.split("/")[4] for path in glob.glob("/sys/class/net/*/tun_flags")}
    return sorted(names - unfit - tuns)


def _definitions(handle: t.Any) -> NetworkXml:
    live = handle.XMLDesc(0) if handle.isActive() else None
    return NetworkXml(live, handle.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE) if handle.isPersistent() else None)


def _tags(network: ET.Element) -> bool:
    """Whether cards on a network can have a VLAN."""
    forward = network.find("forward")
    passed_through = forward is not None and forward.get("mode") == "hostdev"
    return passed_through or any(port.get("type") == "openvswitch" for port in network.iter("virtualport"))


class NetworkXml(t.NamedTuple):
    """A network's definitions.

    :param live: as it works now; None where it is not active.
    :param lasting: as it is when it starts again; None where it ends for good when it stops.
    """

    live: str | None
    lasting: str | None


class LiveMove(t.NamedTuple):
    """Where and how a running machine goes.

    :param uri: of the libvirt of the other host, as this host's libvirt reaches it.
    :param address: on which QEMU listens there, and which leads to it here; so do the ports.
    :param disks: targets (vda) of the disks whose own bytes are copied.
    :param xml: what runs there; lasting_xml: what is defined there.
    :param downtime_ms: the memory that is left when the guest is stopped should cross the network in this time.
    :param unsafe: whether the other disks are known to be the same there, whatever libvirt thinks of their file system.
    """

    uri: str
    address: str
    memory_port: int
    disks_port: int
    disks: t.Sequence[str]
    xml: str
    lasting_xml: str
    downtime_ms: int = 100
    unsafe: bool = False


class DiskWork(t.NamedTuple):
    """
    :param is_pull: whether the disk is flattened; else it is copied.
    :param bytes_s: its limit; 0 is none.
    """

    is_pull: bool
    done: int
    of: int
    bytes_s: int


class Domain:
    """One domain of the host."""

    def __init__(self, handle: t.Any) -> None:
        self._handle = handle

    @property
    def name(self) -> str:
        return str(self._handle.name())

    @property
    def uuid(self) -> str:
        return str(self._handle.UUIDString())

    def xml(self) -> str:
        """The persistent definition, whatever is changed in the running machine."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(_call(f"read the definition of {self.name}", self._handle.XMLDesc, flags))

    def living_xml(self) -> str:
        """What the running machine has now, which may be more than its definition."""
        return str(_call(f"read the definition of {self.name}", self._handle.XMLDesc, libvirt.VIR_DOMAIN_XML_SECURE))

    def snapshot_xmls(self) -> list[str]:
        """The descriptions of its snapshots; each may name disks that the machine no longer has."""
        handles = _call(f"list the snapshots of {self.name}", self._handle.listAllSnapshots)
        return [str(_call(f"read a snapshot of {self.name}", handle.getXMLDesc)) for handle in handles]

    def running(self) -> bool:
        return bool(_call(f"look at {self.name}", self._handle.isActive))

    def was_running(self) -> bool:
        """Whether it ran when it was listed, or was started since by way of this object. libvirt is not asked again."""
        return bool(self._handle.ID() >= 0)

    def state(self) -> str:
        """What libvirt calls it: running, paused, shut off, crashed and the like; unknown for what came after this version."""
        state, _reason = _call(f"look at {self.name}", self._handle.state)
        return _STATES.get(state, "unknown")

    def addresses(self, source: str) -> list[dict[str, str]]:
        """``[{"mac", "address"}]`` of the guest's network cards, without those that never leave it.

        :param source: lease, agent or arp; each knows only some guests, and libvirt's error for the others is no address.
        """
        try:
            if source == "agent":
                self._handle.agentSetResponseTimeout(_AGENT_S)
            cards = self._handle.interfaceAddresses(_SOURCES[source])
        except libvirt.libvirtError:
            return []
        found = []
        for name, card in (cards or {}).items():
            for address in card.get("addrs") or () if name != "lo" else ():
                found.append({"mac": str(card.get("hwaddr") or "").lower(), "address": str(address["addr"])})
        return found

    def autostart(self) -> bool:
        if not _call(f"look at {self.name}", self._handle.isPersistent):
            return False
        return bool(_call(f"look at {self.name}", self._handle.autostart))

    def set_autostart(self, value: bool) -> None:
        _call(f"set autostart of {self.name}", self._handle.setAutostart, int(value))

    def start(self) -> None:
        _call(f"start {self.name}", self._handle.create)

    def start_paused(self) -> None:
        """Its disks are open and its memory is there, and the guest has not done anything yet."""
        _call(f"start {self.name}", self._handle.createWithFlags, libvirt.VIR_DOMAIN_START_PAUSED)

    def suspend(self) -> None:
        """The guest stands still, with all that it has in memory."""
        _call(f"let {self.name} stand still", self._handle.suspend)

    def resume(self) -> None:
        _call(f"let {self.name} go on", self._handle.resume)

    def power(self) -> str:
        """running, paused or off, whatever else libvirt says of it."""
        state = int(_call(f"look at {self.name}", self._handle.state)[0])
        if state in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED):
            return OFF
        return PAUSED if state in (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PMSUSPENDED) else RUNNING

    def movable_xml(self) -> str:
        """The running machine as another host's libvirt takes it."""
        flags = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(_call(f"read the definition of {self.name}", self._handle.XMLDesc, flags))

    def has_saved_state(self) -> bool:
        return bool(_call(f"look at {self.name}", self._handle.hasManagedSaveImage))

    def snapshots(self) -> int:
        return int(_call(f"look at {self.name}", self._handle.snapshotNum))

    def migrate(self, move: LiveMove) -> None:
        """Until the machine runs there, and is off and still defined here.

        :raises LibvirtError: it runs here as before, as far as libvirt knows.
        """
        flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST
        parameters: dict[str, t.Any] = {
            libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{move.address}:{move.memory_port}",
            libvirt.VIR_MIGRATE_PARAM_LISTEN_ADDRESS: move.address,
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: move.xml,
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: move.lasting_xml,
        }
        if move.unsafe:
            flags |= libvirt.VIR_MIGRATE_UNSAFE
        if move.disks:
            flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = list(move.disks)
            parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = f"tcp://{move.address}:{move.disks_port}"
        # Before it begins: how long the guest may stand still is decided while memory is sent.
        _call(f"migrate {self.name}", self._handle.migrateSetMaxDowntime, move.downtime_ms, 0)
        _call(f"migrate {self.name}", self._handle.migrateToURI3, move.uri, parameters, flags)

    def abort_job(self) -> None:
        _call(f"end the migration of {self.name}", self._handle.abortJob)

    def job_statistics(self) -> dict[str, t.Any]:
        """What libvirt counted of the job that has ended last; empty where it has kept nothing."""
        try:
            return dict(_call(f"look at {self.name}", self._handle.jobStats, libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED))
        except LibvirtError:
            return {}

    def shutdown(self) -> None:
        """Ask the guest to power off; it may take its time, or not listen."""
        _call(f"shut down {self.name}", self._handle.shutdown)

    def destroy(self) -> None:
        try:
            _call(f"stop {self.name}", self._handle.destroy)
        except LibvirtError:
            if self.running():
                raise

    def live_xml(self) -> str:
        """The running machine as it is now."""
        return str(_call(f"look at {self.name}", self._handle.XMLDesc, 0))

    def begin_copy(self, target: str, path: str, shallow: bool, image_format: str = "qcow2") -> None:
        """Copy a disk of the running machine into a file that exists, and go on copying what the guest writes.

        :param target: the disk's name in the guest, such as vda.
        :param shallow: without what lies under the disk; the file names the same parent.
        """
        flags = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
        flags |= libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW if shallow else 0
        disk = ET.Element("disk", type="file")
        ET.SubElement(disk, "driver", type=image_format)
        ET.SubElement(disk, "source", file=path)
        _call(f"copy the disk {target} of {self.name}", self._handle.blockCopy, target, ET.tostring(disk, "unicode"), {}, flags)

    def end_copy(self, target: str) -> None:
        """The copy stays as the disk is now; the machine goes on with its own disk."""
        _call(f"end the copy of the disk {target} of {self.name}", self._handle.blockJobAbort, target, 0)

    def go_over(self, target: str) -> None:
        """The machine goes on in the copy of a disk that is the same as the disk; its definition says so as well."""
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
        _call(f"go over to the copy of the disk {target} of {self.name}", self._handle.blockJobAbort, target, flags)

    def begin_pull(self, target: str, bytes_s: int) -> None:
        """Copy what lies under a disk of the running machine into it; then it has no parent, here and in the definition.

        :param bytes_s: at most; 0 is no limit.
        """
        flags = libvirt.VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES
        _call(f"flatten the disk {target} of {self.name}", self._handle.blockPull, target, bytes_s, flags)

    def limit_pull(self, target: str, bytes_s: int) -> None:
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_SPEED_BANDWIDTH_BYTES
        _call(f"limit the flattening of the disk {target} of {self.name}", self._handle.blockJobSetSpeed, target, bytes_s, flags)

    def disk_work(self, target: str) -> DiskWork | None:
        """What QEMU does with a disk of the running machine besides what its guest wants."""
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES
        told = _call(f"look at the disk {target} of {self.name}", self._handle.blockJobInfo, target, flags)
        if not told:
            return None
        is_pull = told["type"] == libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL
        return DiskWork(is_pull, int(told["cur"]), int(told["end"]), int(told["bandwidth"]))

    def disk_bytes(self, target: str) -> int:
        """The size that the guest sees of a disk."""
        return int(_call(f"look at the disk {target} of {self.name}", self._handle.blockInfo, target)[0])

    def resize(self, target: str, size_bytes: int) -> None:
        """The running guest sees the new size at once."""
        flags = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
        _call(f"grow the disk {target} of {self.name}", self._handle.blockResize, target, size_bytes, flags)

    def set_metadata(self, element: str, prefix: str, namespace: str) -> None:
        """In the running machine and in its definition."""
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
        kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
        _call(f"note what {self.name} is meant to be", self._handle.setMetadata, kind, element, prefix, namespace, flags)

    def stands(self) -> str | None:
        """How a run has the guest stand still, as ``note_standing`` has noted it."""
        try:
            note = self._handle.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, _STANDING, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        except libvirt.libvirtError:
            return None
        return parse_xml(note).get("by")

    def note_standing(self, how: str | None) -> None:
        """In the running machine alone, so that the note ends with it. None takes it away."""
        kind, flags = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
        element = None if how is None else ET.tostring(ET.Element("standing", by=how), "unicode")
        prefix = None if how is None else "basecast-standing"
        _call(f"note that {self.name} stands still", self._handle.setMetadata, kind, element, prefix, _STANDING, flags)

    def freeze(self) -> bool:
        """Let the guest's file systems come to rest; False where no guest agent can do that."""
        try:
            self._handle.fsFreeze()
        except libvirt.libvirtError:
            return False
        return True

    def agent_command(self, command: str, timeout_s: int) -> str:
        """What the guest's agent answers to a command in JSON; written by the guest. :raises LibvirtError: there is no answer."""
        if libvirt_qemu is None:
            raise LibvirtError("The Python binding of libvirt for QEMU (libvirt_qemu) is not there; install the package python3-libvirt.")
        return str(_call(f"ask the guest agent of {self.name}", libvirt_qemu.qemuAgentCommand, self._handle, command, timeout_s, 0))

    def thaw(self) -> None:
        _call(f"let the file systems of {self.name} go on", self._handle.fsThaw)

    def undefine(self, keep_firmware: bool = False, drop_tpm: bool = False) -> None:
        """
        :param keep_firmware: whether its firmware variables and the state of its TPM stay, for the machine that gets its UUID.
        :param drop_tpm: whether the state of the TPM goes all the same.
        """
        flags = (
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        )
        if not keep_firmware:
            flags |= libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        else:
            flags |= libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
            if "<tpm" in self.xml() and not drop_tpm:
                flags |= self._keeping_tpm()
        _call(f"undefine {self.name}", self._handle.undefineFlags, flags)

    def _keeping_tpm(self) -> int:
        flag = getattr(libvirt, "VIR_DOMAIN_UNDEFINE_KEEP_TPM", None)
        if flag is None or libvirt.getVersion() < _KEEPS_TPM:
            raise LibvirtError(
                f"{self.name} has a TPM, and libvirt before 8.9 deletes the TPM's state with the definition. Update libvirt, or remove"
                " the machine and deploy it anew."
            )
        return int(flag)


class LibvirtHost:
    """One connection to the host's libvirt.

    :param uri: such as qemu:///system.
    :raises LibvirtMissing: what to install or start.
    """

    def __init__(self, uri: str) -> None:
        if libvirt is None:
            raise LibvirtMissing(
                "The Python binding of libvirt is not there for this host's Python. Install the package python3-libvirt "
                "and let ansible_python_interpreter be /usr/bin/python3.",
                package="python3-libvirt",
            )
        # Otherwise the library prints every error, expected ones too.
        libvirt.registerErrorHandler(lambda context, error: None, None)
        try:
            self._connection = libvirt.open(uri)
        except libvirt.libvirtError as error:
            raise LibvirtMissing(
                f"Cannot connect to libvirt at {uri}: {error.get_error_message()}. Install the package "
                "libvirt-daemon-system if it is missing, and start libvirtd (systemctl start libvirtd.socket).",
                package="libvirt-daemon-system",
                uri=uri,
            )

    def __enter__(self) -> LibvirtHost:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()

    def domains(self) -> list[Domain]:
        return [Domain(handle) for handle in _call("list the domains", self._connection.listAllDomains)]

    def define(self, xml: str, name: str, validated: bool = False) -> Domain:
        """
        :param validated: refuse what libvirt's schema does not know, instead of passing over it.
        """
        flags = libvirt.VIR_DOMAIN_DEFINE_VALIDATE if validated else 0
        return Domain(_call(f"define {name}", self._connection.defineXMLFlags, xml, flags))

    def domain(self, uuid: str) -> Domain | None:
        try:
            return Domain(_call("look for a domain", self._connection.lookupByUUIDString, uuid))
        except DomainGone:
            return None

    def cpu_xml(self) -> str:
        """The host's processor, as other hosts compare it."""
        found = self._capabilities().find("./host/cpu")
        return "" if found is None else ET.tostring(found, encoding="unicode")

    def can_run_cpu(self, xml: str) -> bool:
        """Whether this host has all that a processor of another host has."""
        result = _call("compare processors", self._connection.compareCPU, xml, 0)
        return bool(result in (libvirt.VIR_CPU_COMPARE_IDENTICAL, libvirt.VIR_CPU_COMPARE_SUPERSET))

    def offers(self, arch: str, machine_type: str | None, domain_type: str) -> bool:
        """Whether QEMU of this host has a machine type."""
        try:
            _call("ask for machine types", self._connection.getDomainCapabilities, None, arch, machine_type, domain_type)
        except LibvirtError:
            return False
        return True

    def capabilities_xml(self) -> str:
        return str(_call("ask for the host's capabilities", self._connection.getCapabilities))

    def domain_capabilities(self, arch: str, machine_type: str | None, domain_type: str) -> str:
        """What machines of a kind can have here, as libvirt describes it."""
        doing = f"ask what {domain_type} machines can have"
        return str(_call(doing, self._connection.getDomainCapabilities, None, arch, machine_type, domain_type))

    def volume_path(self, pool: str, volume: str) -> str:
        """The file or device of a volume of libvirt's own storage pools."""
        found = _call(f"find the storage pool {pool}", self._connection.storagePoolLookupByName, pool)
        return str(_call(f"find the volume {volume}", lambda: found.storageVolLookupByName(volume).path()))

    def networks(self) -> dict[str, bool]:
        """Whether each network is active."""
        handles = _call("list the networks", self._connection.listAllNetworks)
        return {handle.name(): bool(_call("look at the networks", handle.isActive)) for handle in handles}

    def readonly_shares(self) -> bool:
        return bool(libvirt.getVersion() >= _READONLY_SHARES)

    def vlans(self) -> dict[str, list[str]]:
        """``{"vlan_networks"}``: the networks on which libvirt tags frames; nothing where that depends on more than their kind."""
        if libvirt.getVersion() >= _TAGS_ON_BRIDGES:
            return {}
        handles = _call("list the networks", self._connection.listAllNetworks)
        found = ((handle.name(), parse_xml(_call("look at the networks", handle.XMLDesc))) for handle in handles)
        return {"vlan_networks": sorted(name for name, root in found if _tags(root))}

    def network_xmls(self) -> dict[str, NetworkXml]:
        handles = _call("list the networks", self._connection.listAllNetworks)
        return {handle.name(): _call("look at the networks", _definitions, handle) for handle in handles}

    def update_dns(self, network: str, entry: str, add: bool, lasting: bool) -> None:
        """Add an entry to the DNS of a network, or take out the one of its address.

        :param entry: as ``<host>`` of the network's ``<dns>``; an entry that is taken out needs nothing but its address.
        :param lasting: in the definition with which it starts again, and not in what works now.
        """
        found = _call(f"find the network {network}", self._connection.networkLookupByName, network)
        command = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST if add else libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
        flags = libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG if lasting else libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
        section = libvirt.VIR_NETWORK_SECTION_DNS_HOST
        _call(f"change the DNS of the network {network}", found.update, command, section, -1, entry, flags)

    def has_interface(self, name: str) -> bool:
        return os.path.exists(os.path.join("/sys/class/net", name))

    def emulator_version(self) -> int:
        """Of QEMU, as 1000000 * major + 1000 * minor + release."""
        return int(_call("ask for the version of QEMU", self._connection.getVersion))

    def security_models(self) -> list[str]:
        """How the host keeps guests apart, such as selinux, apparmor and dac."""
        return [model.text or "" for model in self._capabilities().iterfind("./host/secmodel/model")]

    def memory_mib(self) -> int:
        return int(_call("ask for the host's memory", self._connection.getInfo)[1])

    def arch(self) -> str:
        return self._capabilities().findtext("./host/cpu/arch", "x86_64")

    def accelerated(self) -> bool:
        """Whether kvm is on offer for the host's own architecture."""
        capabilities = self._capabilities()
        arch = capabilities.findtext("./host/cpu/arch", "x86_64")
        return capabilities.find(f"./guest/arch[@name='{arch}']/domain[@type='kvm']") is not None

    def _capabilities(self) -> ET.Element:
        return parse_xml(self.capabilities_xml())


def _call(doing: str, function: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
    try:
        return function(*args)
    except libvirt.libvirtError as error:
        kind = DomainGone if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN else LibvirtError
        if "reserve port" in str(error.get_error_message()):
            kind = PortTaken
        if error.get_error_code() == libvirt.VIR_ERR_MIGRATE_UNSAFE:
            kind = UnsafeMove
        raise kind(f"libvirt could not {doing}: {error.get_error_message()}", code=error.get_error_code())
