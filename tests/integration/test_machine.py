# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real guests under a real libvirtd with Debian's own user and ownership, driven through ansible."""

from __future__ import annotations

import json
import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.tests.documented import typed
from ansible_collections.basecast.fleet.tests.integration.variants import few
from ansible_collections.basecast.fleet.tests.lab import Host, Lab, images

POOL = "/var/lib/libvirt/images"
BASE = f"{POOL}/bases/{'0' * 64}/disk"
SERVICE = "shop"

SEEDS: dict[str, dict[str, t.Any]] = {
    "web-1": {},
    "web-2": {"vendor_data": "#!/bin/sh\necho of the user >/dev/ttyS0\n"},
    "app-1": {"user_data": "#!/bin/sh\necho stuck here >/dev/ttyS0\nsleep 1000\n"},
    "app-2": {"user_data": "#!/bin/sh\nhostname other\n"},
}

pytestmark = pytest.mark.timeout(240)


NAMED = {"network": "default", "address": "192.168.122.250/24", "dns_entry": True}
# Asks the name server of the network for an address.
ASK = """python3 -c '
import socket, sys
name = b"".join(bytes([len(part)]) + part.encode() for part in sys.argv[1].split("."))
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(10)
asking.sendto(bytes([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + name + bytes([0, 0, 1, 0, 1]), ("192.168.122.1", 53))
print(socket.inet_ntoa(asking.recv(512)[-4:]))'"""


class Fleet:
    """One lab host with a base disk, and the modules run on it as a user would."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: Host = lab.hosts["kvm1"]

    def module(self, name: str, **args: t.Any) -> dict[str, t.Any]:
        flags = [f"-{flag}" for flag in args.pop("flags", "")]
        argv: list[t.Any] = ["ansible", "-i", self.lab.inventory, "kvm1", "-m", f"basecast.fleet.{name}", "-a", json.dumps(args), *flags]
        done = self.lab.exec_in_controller(argv, timeout=550)
        head, arrow, result = done.stdout.partition(" => ")
        assert arrow, done.stdout + done.stderr
        return {"failed": "FAILED!" in head, **json.loads(result[result.index("{") :])}

    def machine(self, state: str, *names: str, **args: t.Any) -> dict[str, t.Any]:
        changes = args.pop("changes", {})
        machines = [{**self.wish(name), **changes} for name in names]
        args = {"service": SERVICE, "domain_type": "qemu", "timeout_s": 100, **args}
        return self.module("machine", state=state, machines=machines, **args)

    def wish(self, name: str) -> dict[str, t.Any]:
        return {
            "machine": name,
            "number": int(name.rpartition("-")[2]),
            "group": name.rpartition("-")[0],
            "memory_mib": 128,
            "disks": [{"name": "root", "path": f"{self.directory(name)}/root.qcow2"}],
            "seed": f"{self.directory(name)}/seed.iso",
            "networks": [{"network": "default"}],
            "spec": {"wanted": name, **({"networks": [NAMED]} if name == "web-2" else {})},
        }

    def directory(self, name: str) -> str:
        return f"{POOL}/machines/{SERVICE}/{name}"

    def prepare(self) -> None:
        """Seeds and differencing disks."""
        seeds = [{"machine": name, **seed} for name, seed in SEEDS.items()]
        assert not self.module("seed_image", service=SERVICE, seeds=seeds)["failed"]
        base = f"../../../bases/{'0' * 64}/disk"
        for name in SEEDS:
            self.run(f"cd {self.directory(name)} && qemu-img create -q -f qcow2 -F qcow2 -b {base} root.qcow2")

    def run(self, command: str) -> str:
        return self.host.run(command).stdout


@pytest.fixture(scope="module")
def fleet(lab_factory: t.Callable[..., Lab]) -> t.Iterator[Fleet]:
    found = Fleet(lab_factory(hosts=1, libvirt="debian"))
    folder = BASE.rpartition("/")[0]
    found.run(f"mkdir -p {folder} && chmod 711 {POOL}/bases {folder}")
    found.host.put(images.tiny(), BASE)
    found.run(f"chown root:root {BASE} && chmod 444 {BASE} && chattr +i {BASE}")
    found.prepare()
    # They take their time; started here they boot beside the first tests.
    found.machine("started", "app-1", "app-2")
    yield found
    found.host.run(f"chattr -i {BASE}", check=False)


def test_machines_come_up_under_their_names_and_are_then_left_alone(fleet: Fleet) -> None:
    checksum = fleet.run(f"sha256sum {BASE}")

    planned = fleet.machine("reported", "web-1", "web-2", flags="C")
    assert planned["changed"] and "web" not in fleet.run("virsh list --all --name")

    first = fleet.machine("reported", "web-1", "web-2")
    assert first["changed"], first
    assert [machine["report"]["hostname"] for machine in first["machines"]] == ["web-1", "web-2"]
    assert [machine["report"]["status"] for machine in first["machines"]] == ["done", "done"]
    assert len({machine["uuid"] for machine in first["machines"]}) == 2
    # On libvirt's network, from its DHCP server.
    assert [machine["report"]["addresses"][0].rpartition(".")[0] for machine in first["machines"]] == ["192.168.122"] * 2
    assert {"shop-web-1", "shop-web-2"} <= set(fleet.run("virsh list --name").split())
    # The user's own vendor-data was run as well.
    assert "of the user" in fleet.run(f"cat {fleet.directory('web-2')}/console.log")

    second = fleet.machine("reported", "web-1", "web-2")
    assert not second["changed"]
    assert [machine["drift"] for machine in second["machines"]] == [[], []]
    assert [m["report"] for m in second["machines"]] == [m["report"] for m in first["machines"]]

    queried = {machine["machine"]: machine for machine in fleet.module("machine_info", service=SERVICE)["machines"]}
    assert sorted(queried) == ["app-1", "app-2", "web-1", "web-2"]
    assert queried["web-2"]["spec"] == {"wanted": "web-2", "networks": [NAMED]}
    # The network's own name server knows it, and so it does after a restart.
    assert [fleet.run(f"{ASK} {name}").strip() for name in ("shop-web-2", "web-2.shop.internal")] == ["192.168.122.250"] * 2
    assert fleet.run("virsh net-dumpxml --inactive default").count("<hostname>shop-web-2</hostname>") == 1
    (listed,) = typed("docs/hardware.md", "$ virsh net-dumpxml")
    assert fleet.run(listed).split()[2:4] == ["<hostname>shop-web-2</hostname>", "<hostname>web-2.shop.internal</hostname>"]
    fleet.run("""virsh net-update default delete dns-host "<host ip='192.168.122.250'/>" --live""")
    missing = {one["machine"]: one["dns_missing"] for one in fleet.module("machine_info", service=SERVICE)["machines"]}
    assert missing == {"app-1": [], "app-2": [], "web-1": [], "web-2": ["192.168.122.250"]}
    assert [machine["actions"] for machine in fleet.machine("reported", "web-1", "web-2")["machines"]] == [[], ["named"]]
    assert fleet.run(f"{ASK} shop-web-2").strip() == "192.168.122.250"

    # Guests run as libvirt's own user, on a base disk that still is root's and immutable.
    assert "libvirt-qemu" in fleet.run(f"stat -c %U {fleet.directory('web-1')}/root.qcow2")
    assert fleet.run(f"stat -c '%U %a' {BASE}").split() == ["root", "444"]
    assert "i" in fleet.run(f"lsattr {BASE}").split()[0]
    assert fleet.run(f"sha256sum {BASE}") == checksum


def test_another_wish_is_reported_as_drift_and_changes_nothing(fleet: Fleet) -> None:
    before = fleet.run("virsh dumpxml --inactive shop-web-1")
    result = fleet.machine("started", "web-1", changes={"memory_mib": 256, "spec": {"wanted": "more"}})
    assert not result["changed"]
    assert result["machines"][0]["drift"] == [
        {"path": "memory_mib", "from": 128, "to": 256},
        {"path": "spec.wanted", "from": "web-1", "to": "more"},
    ]
    assert fleet.run("virsh dumpxml --inactive shop-web-1") == before


def test_an_edited_seed_keeps_token_and_instance(fleet: Fleet) -> None:
    record = f"{fleet.directory('web-1')}/seed.json"
    before = json.loads(fleet.run(f"cat {record}"))
    seed = {"machine": "web-1", "user_data": {"runcmd": ["true"]}}
    result = fleet.module("seed_image", service=SERVICE, seeds=[seed])
    assert result["seeds"][0]["action"] == "updated"
    after = json.loads(fleet.run(f"cat {record}"))
    assert after["token"] == before["token"] and after["digest"] != before["digest"]
    assert before["token"] not in json.dumps(result)


def test_stopped_and_started_again(fleet: Fleet) -> None:
    stopped = fleet.machine("stopped", "web-1", "web-2")
    assert stopped["changed"] and "web" not in fleet.run("virsh list --name")
    assert not fleet.machine("stopped", "web-1", "web-2")["changed"]
    assert "reboot: Power down" in fleet.run(f"cat {fleet.directory('web-2')}/console.log")
    # Not every file system has the immutable attribute; the base must stay root's without it, too.
    fleet.run(f"chattr -i {BASE}")
    # The report is not erased by a start; the seed was made anew and must be readable for libvirt's user.
    again = fleet.machine("reported", "web-1")
    assert fleet.run(f"stat -c '%U %a' {BASE}").split() == ["root", "444"]
    fleet.run(f"chattr +i {BASE}")
    assert again["machines"][0]["actions"] == ["started"]
    assert again["machines"][0]["report"]["hostname"] == "web-1"
    assert fleet.run(f"stat -c %U {fleet.directory('web-1')}/seed.iso").strip() == "libvirt-qemu"


@pytest.mark.variant
def test_uefi_and_tpm_stay_through_an_update_and_go_with_the_machine(fleet: Fleet) -> None:
    name, base = "uefi-1", f"../../../bases/{'0' * 64}/disk"
    assert not fleet.module("seed_image", service=SERVICE, seeds=[{"machine": name}])["failed"]
    for disk in ("root", "tools"):
        fleet.run(f"cd {fleet.directory(name)} && qemu-img create -q -f qcow2 -F qcow2 -b {base} {disk}.qcow2")
    board: dict[str, t.Any] = {
        "firmware": "uefi",
        "tpm": "2.0",
        "watchdog": {"action": "poweroff"},
        "memory_mib": 256,
        "on_crash": "destroy",
    }
    board.update(cpus=2, cpu={"model": "maximum", "topology": {"cores": 2}, "pin": "0"}, memory={"at_start_mib": 192})
    board.update(graphics={"type": "vnc"}, console="terminal")
    board["drives"] = [{"name": "root", "cache": "none", "io": "native", "serial": "root-1"}, {"name": "tools", "device": "cdrom"}]
    board["disks"] = [{"name": disk, "path": f"{fleet.directory(name)}/{disk}.qcow2"} for disk in ("root", "tools")]
    board["networks"] = [{"network": "default", "mtu": 1400, "mac": "52:54:00:10:00:01"}]

    first = fleet.machine("reported", name, changes=board)
    assert not first["failed"] and first["machines"][0]["report"]["hostname"] == name, first
    assert [machine["drift"] for machine in fleet.machine("started", name, changes=board)["machines"]] == [[]]
    assert "TINY hostname=uefi-1" in fleet.run(f"cat {fleet.directory(name)}/console.log")
    assert "<target dev='sdb' bus='sata'/>\n      <readonly/>" in fleet.run(f"virsh dumpxml shop-{name}")
    console = f"sleep 1 | timeout -k 1 4 script -qec 'virsh console shop-{name}' /dev/null"
    assert "Connected to domain" in fleet.host.run(console, check=False).stdout
    uuid = first["machines"][0]["uuid"]
    variables, state = f"{fleet.directory(name)}/nvram-uefi.fd", f"/var/lib/libvirt/swtpm/{uuid}/tpm2"
    before = fleet.run(f"sha256sum {variables}; ls {state}")

    fleet.machine("stopped", name, force=True, timeout_s=10)
    fleet.machine("absent", name, keep_firmware=True)
    assert "uefi" not in fleet.run("virsh list --all --name")
    assert fleet.run(f"sha256sum {variables}; ls {state}").split()[1:] == before.split()[1:]
    assert not fleet.module("seed_image", service=SERVICE, seeds=[{"machine": name}])["failed"]
    again = fleet.machine("defined", name, changes=board)
    assert again["machines"][0]["uuid"] == uuid and again["machines"][0]["actions"] == ["defined"]
    other = fleet.machine(
        "defined", name, changes={"cpus": 2, "memory_mib": 256, "firmware": "bios", "on_crash": "restart", "disks": board["disks"]}
    )
    assert not other["failed"], other
    assert [(one["path"], one["to"]) for one in other["machines"][0]["drift"]] == [("firmware", "bios"), ("on_crash", "restart")]

    fleet.machine("absent", name)
    assert fleet.host.run(f"ls {variables} {state}", check=False).stdout == ""
    assert not fleet.machine(
        "defined",
        name,
        changes={"networks": [{"network": "default", "boot": 1}], "seed": None, "drives": [{"name": "root", "bus": "scsi"}]},
    )["failed"]
    assert "<boot order='2'/>" in fleet.run(f"virsh dumpxml --inactive shop-{name}").partition("<interface")[0], "the disk comes next"
    assert "dev='sda' bus='scsi'" in fleet.run(f"virsh dumpxml --inactive shop-{name}")
    fleet.machine("absent", name)


def test_a_host_without_firmware_is_told_before_anything_changes(fleet: Fleet) -> None:
    offers = fleet.module("machine_info", service=SERVICE)["offers"]
    assert offers["firmware"] == ["bios", "uefi", "uefi_secure"] and "2.0" in offers["tpm"] and "q35" in offers["machine_types"]
    fleet.run("mount -t tmpfs none /usr/share/qemu/firmware && systemctl restart libvirtd 2>/dev/null || true")
    try:
        result = fleet.machine("defined", "web-9", changes={"firmware": "uefi", "machine_type": "q36"})
    finally:
        fleet.run("umount /usr/share/qemu/firmware")
    assert result["failed"] and "web-9" not in fleet.run("virsh list --all --name")
    assert "has no machine type 'q36'" in result["msg"]


PLANTED = {
    "a link for the console": ("ln -sf /root/victim console.log", "is a symbolic link"),
    "a link for the report": ("ln -sf /root/victim report.log", "is a symbolic link"),
    "a pipe for the console": ("rm console.log; mkfifo console.log", "is a pipe"),
    "a link for the disk": ("mv root.qcow2 kept; ln -s /root/victim root.qcow2", "leads out of its pool"),
    "a file of the host": ("qemu-img rebase -u -b /root/victim -F raw root.qcow2", "names the backing file '/root/victim'"),
    "a server": ("qemu-img rebase -u -b nbd://192.0.2.1/x -F raw root.qcow2", "is not a local file"),
    "json": ('qemu-img rebase -u -F raw -b \'json:{"driver":"file","filename":"/root/victim"}\' root.qcow2', "is not a local file"),
    "itself": ("qemu-img rebase -u -b root.qcow2 -F qcow2 root.qcow2", "is a loop"),
    "data elsewhere": ("rm root.qcow2; qemu-img create -q -f qcow2 -o data_file=data root.qcow2 1M", "keeps its data in another file"),
}


@pytest.mark.parametrize("kind", few(PLANTED, 3))
def test_what_was_planted_keeps_one_machine_off(fleet: Fleet, kind: str) -> None:
    command, told = PLANTED[kind]
    folder = fleet.directory("web-2")
    fleet.run(f"echo precious >/root/victim; rm -rf /root/kept; cp -a {folder} /root/kept; cd {folder} && {command}")
    try:
        # Neither the path that was wanted nor the one that the domain has makes a difference.
        wanted: list[dict[str, t.Any]] = [{}, {"disks": []}]
        for changes in wanted:
            result = fleet.machine("started", "web-1", "web-2", changes=changes)
            assert result["failed"]
            (failed,) = result["failure"]["failed"]
            assert (failed["machine"], failed["reason"]) == ("web-2", "start_failed")
            assert told in failed["msg"]
            assert [machine["running"] for machine in result["failure"]["machines"]] == [True, False]
        assert "shop-web-2" not in fleet.run("virsh list --name").split()
        assert fleet.run("cat /root/victim") == "precious\n"
    finally:
        fleet.run(f"rm -rf {folder} && mv /root/kept {folder}")


@pytest.mark.parametrize("planted", ["ln -s /root/elsewhere", "mkfifo"])
@pytest.mark.parametrize("place", ["web-5", "web-5/seed.iso", "web-5/seed.json"])
def test_no_seed_is_written_through_what_was_planted(fleet: Fleet, planted: str, place: str) -> None:
    folder = fleet.directory("web-5")
    fleet.run(f"rm -rf /root/elsewhere {folder}; mkdir -p /root/elsewhere $(dirname {POOL}/machines/{SERVICE}/{place})")
    fleet.run(f"{planted} {POOL}/machines/{SERVICE}/{place}")
    result = fleet.module("seed_image", service=SERVICE, seeds=[{"machine": "web-5"}])
    assert not result["failed"] or f"machines/{SERVICE}/{place} is a " in result["msg"]
    assert fleet.run("ls -A /root/elsewhere") == ""
    fleet.run(f"rm -rf {folder}")


def test_a_report_of_brackets_is_one_machines_trouble(fleet: Fleet) -> None:
    report = f"{fleet.directory('web-1')}/report.log"
    token = json.loads(fleet.run(f"cat {fleet.directory('app-2')}/seed.json"))["token"]
    other = f"{fleet.directory('app-2')}/report.log"
    fleet.run(f"cp {other} /root/report.log; echo >{other}")
    line = 'BASECAST-REPORT {{"token":"%s","hostname":' + "[" * 60000
    fleet.host.run(f"cat >{other}", stdin=(line.replace("{{", "{") % token + "\n").encode())
    queried = {one["machine"]: one for one in fleet.module("machine_info", service=SERVICE)["machines"]}
    assert queried["app-2"]["report"] is None and "nested" in queried["app-2"]["problem"]
    assert queried["web-1"]["report"]["hostname"] == "web-1" and queried["web-1"]["problem"] is None
    result = fleet.machine("reported", "app-2", "web-1", timeout_s=2)
    assert [one["reason"] for one in result["failure"]["failed"]] == ["unreadable"]
    assert result["failure"]["machines"][1]["report"]["hostname"] == "web-1"
    fleet.run(f"cat /root/report.log >{other}; ls {report}")


def test_a_definition_with_damaged_names_hides_no_other(fleet: Fleet) -> None:
    xml = fleet.run("virsh dumpxml --inactive shop-web-2")
    fleet.host.run("cat >/root/bad.xml", stdin=xml.replace('service="shop"', 'service="../.."').encode())
    fleet.host.run("cat >/root/good.xml", stdin=xml.encode())
    fleet.run("virsh define /root/bad.xml")
    try:
        found = fleet.module("machine_info", service=SERVICE)
        assert "web-1" in [one["machine"] for one in found["machines"]]
        (damaged,) = [one for one in found["domains"] if one["problem"]]
        assert damaged["domain"] == "shop-web-2" and "is not a name" in damaged["problem"]
        assert "may be web-2 or not" in fleet.machine("started", "web-2")["msg"]
    finally:
        fleet.run("virsh define /root/good.xml")


def test_a_silent_guest_and_one_under_another_name_fail_the_step_with_their_reasons(fleet: Fleet) -> None:
    result = fleet.machine("reported", "app-1", "app-2", "web-1", timeout_s=5)
    assert result["failed"]
    failure = result["failure"]
    assert {one["machine"]: one["reason"] for one in failure["failed"]} == {"app-1": "silent", "app-2": "wrong_hostname"}
    assert "app-1 (accelerator qemu) has not reported within 5 s; its console ends with: " in result["msg"]
    assert "stuck here" in result["msg"]
    assert "app-2 reports the host name 'other', its seed says 'app-2'" in result["msg"]
    reports = {machine["machine"]: machine["report"] for machine in failure["machines"]}
    assert reports["app-1"] is None and reports["web-1"]["hostname"] == "web-1"


def test_somebody_elses_domain_is_left_alone(fleet: Fleet) -> None:
    xml = fleet.run("virsh dumpxml --inactive shop-web-2")
    root = ET.fromstring(xml)
    for tag in ("uuid", "metadata"):
        root.remove(t.cast(ET.Element, root.find(tag)))
    t.cast(ET.Element, root.find("name")).text = "shop-web-9"
    fleet.host.run(f"cat >/root/foreign.xml <<'END'\n{ET.tostring(root, encoding='unicode')}\nEND\nvirsh define /root/foreign.xml")
    before = fleet.run("virsh dumpxml shop-web-9")
    for state in ("reported", "stopped", "absent"):
        result = fleet.machine(state, "web-9")
        assert result["failed"]
        assert "The domain shop-web-9" in result["msg"] and "was not made by this collection" in result["msg"]
    other = fleet.machine("started", "web-2", tenant="acme")
    assert "belongs to another tenant and is left alone" in other["msg"]
    assert fleet.run("virsh dumpxml shop-web-9") == before


def test_a_network_that_is_not_active_is_named_before_anything_changes(fleet: Fleet) -> None:
    result = fleet.machine("started", "web-3", changes={"networks": [{"network": "lost"}], "seed": None})
    assert "The network lost, wanted by web-3, does not exist; active networks: default" in result["msg"]
    assert "shop-web-3" not in fleet.run("virsh list --all --name")


@pytest.mark.variant
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_real_cloud_init_reports_too(fleet: Fleet) -> None:
    seed = {
        "machine": "deb-1",
        "user_data": {"write_files": [{"path": "/etc/hello", "content": "\u00e9\U0001f600\n"}], "runcmd": ["cat /etc/hello >/dev/ttyS0"]},
        "vendor_data": "#cloud-config\nbootcmd:\n  - echo of the vendor >/dev/ttyS0\n",
    }
    assert not fleet.module("seed_image", service=SERVICE, seeds=[seed])["failed"]
    disk = f"{fleet.directory('deb-1')}/root.qcow2"
    fleet.host.put(images.debian(), disk)
    result = fleet.machine("reported", "deb-1", timeout_s=500, changes={"memory_mib": 512})
    assert not result["failed"], result
    report = result["machines"][0]["report"]
    assert (report["hostname"], report["status"], report["errors"]) == ("deb-1", "done", [])
    assert report["instance_id"] == json.loads(fleet.run(f"cat {fleet.directory('deb-1')}/seed.json"))["instance_id"]
    assert report["addresses"][0].startswith("192.168.122.")
    console = fleet.run(f"cat {fleet.directory('deb-1')}/console.log")
    assert "\u00e9\U0001f600" in console and "of the vendor" in console
    fleet.machine("absent", "deb-1")


def test_absent_takes_the_domain_and_its_secrets_but_not_its_disk(fleet: Fleet) -> None:
    names = ["web-1", "web-2", "app-1", "app-2"]
    assert fleet.machine("absent", *names)["changed"]
    assert fleet.run("virsh list --all --name").split() == ["shop-web-9"]
    assert fleet.run(f"ls {fleet.directory('web-1')}").split() == ["root.qcow2"]
    assert "shop-web-2" not in fleet.run("virsh net-dumpxml default; virsh net-dumpxml --inactive default")
    assert not fleet.machine("absent", *names)["changed"]
