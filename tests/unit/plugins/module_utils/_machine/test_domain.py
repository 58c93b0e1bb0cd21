# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import shutil
import subprocess
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine import domain
from ansible_collections.basecast.fleet.plugins.module_utils._machine.backing import Layer
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import (
    Card,
    Description,
    Disk,
    MachineWish,
    Moved,
    Platform,
    build,
    describe,
    differences,
    disk_targets,
    drift,
    moved,
    with_chains,
)
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed

OWNER = Owner("acme", "shop", "web-1")
WISH = MachineWish(
    owner=OWNER,
    directory="/pool/machines/shop/web-1",
    number=1,
    group="web",
    cpus=2,
    memory_mib=512,
    disks=(Disk("root", "/pool/m/root.qcow2"), Disk("data", "/pool/m/data.raw", "raw")),
    seed="/pool/m/seed.iso",
    cards=(Card("default"), Card("br0", "bridge", "52:54:00:aa:bb:01", "e1000")),
    spec={"image": '<a> & "b"', "disks": [{"name": "root"}]},
)
QEMU, KVM = Platform("qemu", "x86_64"), Platform("kvm", "x86_64")
MACS = ["52:54:00:00:00:01", "52:54:00:aa:bb:01"]
CHAIN = [Layer("/pool/bases/b/disk", "qcow2"), Layer("/pool/bases/a/disk", "raw")]


def _xml(wish: MachineWish = WISH, platform: Platform = QEMU, chains: t.Any = None) -> str:
    return build(wish, platform, MACS, chains or {})


def test_a_definition_stays_readable() -> None:
    """libvirt hands out at most 4 MiB; a tenant must not hide from others what its machine has."""
    with pytest.raises(Malformed, match=r"^web-1: its definition: \d+ characters are more than the 1048576 that others read of one"):
        _xml(replace(WISH, spec={"seed_keys": {"user_data." + "&" * 300_000: "0a1b"}}))


def _found(wish: MachineWish = WISH, platform: Platform = QEMU) -> Description:
    return describe(_xml(wish, platform))


@pytest.mark.parametrize("platform", [QEMU, KVM])
@pytest.mark.parametrize(
    "wish",
    [
        WISH,
        replace(WISH, seed="/pool/m/seed.ign"),
        replace(WISH, seed="/pool/m/seed-cloudbase.iso"),
        replace(WISH, seed=None, cards=(), hardware={"machine_type": "q35"}),
        replace(WISH, disks=WISH.disks[:1]),
    ],
)
def test_libvirts_own_schema_accepts_the_xml(platform: Platform, wish: MachineWish, pool: str) -> None:
    program = shutil.which("virt-xml-validate")
    assert program and shutil.which("xmllint"), "tools/setup installs libvirt-clients and libxml2-utils"
    path = pool + "/domain.xml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(_xml(wish, platform, {wish.disks[0].path: CHAIN}))
    done = subprocess.run([program, path, "domain"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_built_is_what_is_read() -> None:
    found = _found()
    assert (found.domain, found.uuid, found.owner) == ("shop-web-1", OWNER.domain_uuid, OWNER)
    assert (found.number, found.group, found.spec) == (1, "web", WISH.spec)
    assert (found.cpus, found.memory_mib, list(found.macs)) == (2, 512, MACS)
    assert found.console == "/pool/machines/shop/web-1/console.log"
    assert found.report == "/pool/machines/shop/web-1/report.log"
    assert found.seed == "/pool/m/seed.iso"
    assert found.hardware["disks"] == [
        {"path": "/pool/m/root.qcow2", "image_format": "qcow2"},
        {"path": "/pool/m/data.raw", "image_format": "raw"},
    ]
    assert drift(found, found, WISH) == []


def test_the_report_survives_a_restart_and_the_console_starts_anew() -> None:
    sources = ET.fromstring(_xml()).findall("./devices/serial/source")
    assert [source.get("append") for source in sources] == [None, "on"]


def test_the_accelerator_decides_the_cpu() -> None:
    modes = [t.cast(t.Any, ET.fromstring(_xml(platform=p)).find("cpu")).get("mode") for p in (QEMU, KVM)]
    assert modes == ["maximum", "host-passthrough"]


def test_the_whole_chain_is_told_and_its_owners_are_left_alone() -> None:
    disk = ET.fromstring(_xml(chains={"/pool/m/root.qcow2": CHAIN})).find("./devices/disk")
    assert disk is not None
    first = t.cast(t.Any, disk.find("backingStore"))
    second = first.find("backingStore")
    end = second.find("backingStore")
    assert [store.find("source").get("file") for store in (first, second)] == [layer.path for layer in CHAIN]
    assert [store.find("format").get("type") for store in (first, second)] == ["qcow2", "raw"]
    for store in (first, second):
        assert store.find("source/seclabel").attrib == {"model": "dac", "relabel": "no"}
    assert not end.attrib and not list(end)
    # The disk itself must be given to libvirt's own user.
    assert disk.find("source/seclabel") is None


def test_chains_are_renewed_only_where_they_changed() -> None:
    xml = _xml(chains={"/pool/m/root.qcow2": CHAIN, "/pool/m/data.raw": []})
    assert with_chains(xml, {"/pool/m/root.qcow2": CHAIN, "/pool/m/data.raw": []}, ("dac",)) is None
    assert with_chains(xml, {"/other": CHAIN}, ("dac",)) is None
    flattened = with_chains(xml, {"/pool/m/root.qcow2": []}, ("dac",))
    assert flattened is not None
    assert with_chains(flattened, {"/pool/m/root.qcow2": []}, ("dac",)) is None
    assert "/pool/bases" not in flattened
    assert describe(flattened) == describe(xml)


def test_an_unknown_chain_is_left_to_libvirt() -> None:
    disk = ET.fromstring(_xml(chains={})).find("./devices/disk")
    assert disk is not None and disk.find("backingStore") is None


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"memory_mib": 1024}, [{"path": "memory_mib", "from": 512, "to": 1024}]),
        ({"cpus": 4}, [{"path": "cpus", "from": 2, "to": 4}]),
        ({"group": "app"}, [{"path": "group", "from": "web", "to": "app"}]),
        ({"spec": {**WISH.spec, "image": "c"}}, [{"path": "spec.image", "from": '<a> & "b"', "to": "c"}]),
        ({"seed": None}, [{"path": "seed", "from": "/pool/m/seed.iso", "to": None}]),
        (
            {"disks": WISH.disks[:1]},
            [{"path": "disks.1", "from": {"path": "/pool/m/data.raw", "image_format": "raw"}, "to": None}],
        ),
        (
            {"cards": (WISH.cards[0], replace(WISH.cards[1], mac="52:54:00:aa:bb:02"))},
            [{"path": "networks.1.mac", "from": "52:54:00:aa:bb:01", "to": "52:54:00:aa:bb:02"}],
        ),
        ({"cards": (Card("other"), WISH.cards[1])}, [{"path": "networks.0.network", "from": "default", "to": "other"}]),
        ({"hardware": {"machine_type": "q35"}}, [{"path": "machine_type", "from": "pc", "to": "q35"}]),
    ],
)
def test_drift_names_what_is_other_than_wanted(changes: t.Any, expected: t.Any) -> None:
    existing = describe(_xml().replace('arch="x86_64"', 'arch="x86_64" machine="pc-i440fx-7.2"'))
    wish = replace(WISH, **changes)
    wanted = describe(build(wish, QEMU, [card.mac or "" for card in wish.cards], {}))
    assert drift(wanted, existing, wish) == expected


def test_an_address_that_libvirt_or_a_collision_gave_is_no_drift() -> None:
    existing = _found()
    wanted = describe(build(WISH, QEMU, ["", "52:54:00:aa:bb:01"], {}))
    assert drift(wanted, existing, WISH) == []


FOREIGN = """<domain type='kvm' id='3'>
  <name>mail</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
  <metadata><x:y xmlns:x='urn:else' service='shop'/></metadata>
  <memory unit='GiB'>2</memory><vcpu placement='static' current='1'>4</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <disk type='network' device='disk'><source protocol='nbd' name='x'/><target dev='sda'/></disk>
    <disk type='file' device='cdrom'><target dev='sdb'/><readonly/></disk>
    <interface type='direct'><mac address='52:54:00:AA:BB:CC'/><source dev='eth0' mode='bridge'/></interface>
    <interface type='user'/>
    <serial type='pty'><target port='0'/></serial>
  </devices>
</domain>"""


def test_any_domain_can_be_read() -> None:
    found = describe(FOREIGN)
    assert (found.domain, found.owner, found.spec) == ("mail", None, {})
    assert (found.memory_mib, found.cpus, found.macs) == (2048, 4, ("52:54:00:aa:bb:cc",))
    assert (found.console, found.report, found.seed) == (None, None, None)
    assert found.hardware["machine_type"] == "q35"


def test_metadata_that_somebody_has_damaged_does_not_hide_the_machine() -> None:
    found = describe(_xml().replace('number="1"', 'number="x"').replace("{&quot;", "{").replace('{"', "{"))
    assert (found.owner, found.number, found.spec) == (OWNER, 1, {})  # the number in its name


def test_differences_of_nested_structures() -> None:
    old, new = {"a": [1, {"b": 2}], "c": None}, {"a": [1, {"b": 3}, 4], "d": 0}
    assert differences(old, new) == [
        {"path": "a.1.b", "from": 2, "to": 3},
        {"path": "a.2", "from": None, "to": 4},
        {"path": "d", "from": None, "to": 0},
    ]


def there(**changes: t.Any) -> Moved:
    paths = {
        "/pool/m/root.qcow2": "/fast/m/root.qcow2",
        "/pool/m/data.raw": "/fast/m/data.raw",
        "/pool/m/seed.iso": "/fast/m/seed.iso",
        WISH.console: "/fast/m/console.log",
        WISH.report: "/fast/m/report.log",
    }
    chains = {"/fast/m/root.qcow2": [Layer("/fast/bases/x/disk", "qcow2")]}
    return Moved(**{"paths": paths, "chains": chains, "security": ["dac"], **changes})


def test_a_moved_machine_is_the_same_but_for_its_paths() -> None:
    old = build(WISH, KVM, ["52:54:00:aa:bb:00", "52:54:00:aa:bb:01"], {"/pool/m/root.qcow2": [Layer("/pool/bases/x/disk", "qcow2")]})
    new = moved(old, there())
    assert "/pool/" not in new and old.replace("/pool/machines/shop/web-1/", "/fast/m/").replace("/pool/", "/fast/") == new
    assert disk_targets(new) == {"/fast/m/root.qcow2": "vda", "/fast/m/data.raw": "vdb"}
    assert "append" not in ET.fromstring(new).find("./devices/serial[1]/source").attrib  # type: ignore[union-attr]
    kept = ET.fromstring(moved(old, there(keep_console=True)))
    assert [source.get("append") for source in kept.iterfind("./devices/serial/source")] == ["on", "on"]


def test_a_configuration_for_ignition_is_handed_over_by_the_firmware() -> None:
    wish = replace(WISH, seed="/pool/m/seed.ign")
    xml = _xml(wish)
    entry = ET.fromstring(xml).find("./sysinfo[@type='fwcfg']/entry")
    assert entry is not None and entry.attrib == {"name": "opt/com.coreos/config", "file": "/pool/m/seed.ign"}
    found = describe(xml)
    assert found.seed == "/pool/m/seed.ign" and found.seed not in [path for path, _kind in found.files]
    assert [disk["path"] for disk in found.hardware["disks"]] == [disk.path for disk in WISH.disks]
    assert drift(found, found, wish) == [] and drift(_found(), found, WISH)
    to = there(paths={**there().paths, "/pool/m/seed.ign": "/fast/m/seed.ign"})
    assert describe(moved(xml, to)).seed == "/fast/m/seed.ign"
    with pytest.raises(Malformed, match=r"the file /pool/m/seed\.ign has no place"):
        moved(xml, there())


def test_a_configuration_drive_is_a_cd_behind_the_disks() -> None:
    wish = replace(WISH, seed="/pool/m/seed-cloudbase.iso")
    xml = _xml(wish)
    drive = ET.fromstring(xml).findall("./devices/disk")[-1]
    target = drive.find("target")
    assert target is not None and (drive.get("device"), target.attrib) == ("cdrom", {"dev": "sdc", "bus": "sata"})
    assert drive.find("readonly") is not None
    found = describe(xml)
    assert found.seed == "/pool/m/seed-cloudbase.iso"
    assert [disk["path"] for disk in found.hardware["disks"]] == [disk.path for disk in WISH.disks]
    assert sorted(found.hardware["drives"]) == ["data", "root"] and drift(found, found, wish) == []
    assert "/pool/m/seed-cloudbase.iso" not in disk_targets(xml)
    to = there(paths={**there().paths, "/pool/m/seed-cloudbase.iso": "/fast/m/seed-cloudbase.iso"})
    assert describe(moved(xml, to)).seed == "/fast/m/seed-cloudbase.iso"


def test_a_file_without_a_place_there_is_refused() -> None:
    xml = build(WISH, KVM, ["52:54:00:aa:bb:00", "52:54:00:aa:bb:01"], {})
    with pytest.raises(Malformed, match=r"the file /pool/m/root\.qcow2 has no place on the other host"):
        moved(xml, there(paths={}))


def test_hardware_is_read_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    xml, reads = _xml(), []
    whole = domain.table.read
    monkeypatch.setattr(domain.table, "read", lambda root: reads.append(1) or whole(root))
    found = describe(xml)
    assert found.macs and found.cpus == WISH.cpus and found.hugepages is None and not reads
    assert found.hardware["cpus"] == WISH.cpus and len({**found.hardware}) > 5 and reads == [1]
