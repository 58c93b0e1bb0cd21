# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table as a whole, and the examples of docs/hardware.md by it."""

from __future__ import annotations

import re
import shutil
import subprocess
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import (
    Card,
    MachineWish,
    Platform,
    build,
    describe,
    drift,
)
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import cards, drives, table
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine_options import machine_arguments
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.wishes import checked_wishes
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service import addresses, machine_values, resources
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import machine_spec
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.networks import hardware_of, networks_of

ROOT = Path(__file__).resolve().parents[6]
PAGE = (ROOT / "docs" / "hardware.md").read_text()
EXAMPLES = dict(re.findall(r"```yaml\n# (\S+\.yml)\n(.*?)```", PAGE, re.S))


def wish_of(
    hardware: dict[str, t.Any], cpus: int = 4, memory_mib: int = 2048, networks: t.Any = ({"network": "default"},), disks: t.Any = ("root",)
) -> MachineWish:
    owner = Owner("default", "shop", "web-1")
    done = ArgumentSpecValidator(machine_arguments()).validate(
        {
            "machine": "web-1",
            "number": 1,
            "group": "web",
            "cpus": cpus,
            "memory_mib": memory_mib,
            "networks": list(networks),
            "disks": [{"name": name, "path": f"/pool/machines/shop/web-1/{name}.qcow2"} for name in disks],
            **hardware,
        }
    )
    assert not done.error_messages
    (wish,) = checked_wishes([done.validated_parameters], {owner: "/pool/machines/shop/web-1"})
    return wish


def xml_of(found: tuple[Card, ...]) -> tuple[str, MachineWish]:
    """A machine with these cards."""
    wish = replace(wish_of({}), cards=found)
    return build(wish, Platform("kvm", "x86_64"), ["52:54:00:00:00:01"] * len(found), {}), wish


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("domain_type", ["kvm", "qemu"])
def test_examples_of_the_page_are_domains(name: str, domain_type: str, tmp_path: Path) -> None:
    program = shutil.which("virt-xml-validate")
    assert program and shutil.which("xmllint"), "tools/setup installs libvirt-clients and libxml2-utils"
    for group in parse_manifest(EXAMPLES[name], name)["machines"]:
        networks = hardware_of(networks_of(group, f"{group['name']}-1"), [])
        asked = drives.of_disks(resources.all_disks(group))
        attached = resources.attached_of(group, f"{group['name']}-1", {})
        own = machine_values.hardware_of(group["hardware"], {"machine.number": "1", "machine.name": f"{group['name']}-1"})
        hardware = {**own, **({"attached": attached} if attached else {}), **({"drives": asked} if asked else {})}
        wish = wish_of(hardware, group["cpus"], group["memory_mib"], networks, [disk["name"] for disk in group["disks"]])
        assert wish.hardware == hardware
        xml = build(
            wish, Platform(domain_type, "x86_64"), [card.mac or f"52:54:00:00:00:{at:02}" for at, card in enumerate(wish.cards)], {}
        )
        (tmp_path / "domain.xml").write_text(xml)
        done = subprocess.run([program, str(tmp_path / "domain.xml"), "domain"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        found = describe(xml)
        assert drift(found, found, wish) == []
        bare = replace(wish, hardware={}, cards=tuple(replace(card, mac=None, more={}) for card in wish.cards))
        plain = describe(build(bare, Platform(domain_type, "x86_64"), ["" for _card in wish.cards], {}))
        assert drift(plain, found, bare) == [], "what nobody asks for is as the machine has it"


def test_every_key_stands_in_an_example_of_the_page() -> None:
    used = {key for text in EXAMPLES.values() for group in yaml.safe_load(text)["machines"] for key in group}
    assert {key.name for key in table.KEYS if key.of_machine} <= used
    disks = {key for text in EXAMPLES.values() for group in yaml.safe_load(text)["machines"] for disk in group["disks"] for key in disk}
    assert {*drives.NAMES, "block", "volume"} <= disks
    networks = {
        key
        for text in EXAMPLES.values()
        for group in yaml.safe_load(text)["machines"]
        for card in group.get("networks", ())
        for key in card
    }
    assert {*cards.schemas(), "model", "macs", *addresses.NAMES} <= networks


@pytest.mark.parametrize("key", table.KEYS, ids=lambda key: str(key.name))
def test_a_machine_of_which_nothing_is_said_has_the_usual(key: t.Any) -> None:
    """Written or left out, it is the same domain, so that it is no drift either."""
    bare = build(wish_of({}), Platform("kvm", "x86_64"), [""], {})
    if key.usual is not None and key.name != "autostart":
        assert describe(bare).hardware[key.name] == key.usual
        assert build(wish_of({key.name: key.usual}), Platform("kvm", "x86_64"), [""], {}) == bare
    plain = parse_manifest({"format": 1, "service": "s", "machines": [{"name": "a", "count": 1, "disks": [{"name": "r", "size_gib": 1}]}]})
    said = parse_manifest(
        {"format": 1, "service": "s", "machines": [{"name": "a", "count": 1, "disks": [{"name": "r", "size_gib": 1}], **usual(key)}]}
    )
    assert machine_spec(said["machines"][0], said) == machine_spec(plain["machines"][0], plain)


def usual(key: t.Any) -> dict[str, t.Any]:
    return {} if key.usual is None else {key.name: key.usual}


def test_the_spec_of_an_existing_fleet_stays_as_it_is() -> None:
    manifest = parse_manifest(
        {"format": 1, "service": "s", "machines": [{"name": "a", "count": 1, "disks": [{"name": "r", "size_gib": 1}]}]}
    )
    spec = machine_spec(manifest["machines"][0], manifest)
    assert sorted(spec) == ["cpus", "disks", "memory_mib", "networks", "seed", "seed_keys"]


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"machine_type": "-x"}, "machines[0].machine_type"),
        ({"machine_type": "a\n"}, "machines[0].machine_type"),
        ({"machine_type": "pc", "firmware": "uefi_secure"}, "machines[0].firmware"),
        ({"watchdog": {"action": "explode"}}, "machines[0].watchdog.action"),
        ({"watchdog": {"action": "dump"}}, "machines[0].watchdog.action"),  # it would fill the host's file system
        *(({"on_crash": f"coredump-{what}"}, "machines[0].on_crash") for what in ("restart", "destroy")),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, t.Any], place: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        table.checked({"cpus": 1, "memory_mib": 512, **options}, "machines[0]")
    assert place in caught.value.message


def test_only_what_was_asked_for_is_compared() -> None:
    found = {"model": "host-model", "topology": {"cores": 2}}
    assert table.meant(found, {"model": "max"}, {"model": "max"}) == {"model": "max", "topology": {"cores": 2}}
    assert table.meant(None, {"action": "reset", "model": "i6300esb"}, {}) == {}
    assert table.meant("bios", "uefi", "uefi") == "uefi"


@pytest.mark.parametrize("odd", ["", "x", "-1", "٤", "²", "1e9", "9" * 5000])
def test_numbers_that_are_none_hide_no_domain(odd: str) -> None:
    """Other programs define domains as well, and libvirt keeps what it does not know."""
    xml = (
        f"<domain><os><loader secure='{odd}'/></os><vcpu cpuset='{odd}'>2</vcpu><currentMemory unit='{odd}'>{odd}</currentMemory>"
        f"<memoryBacking><hugepages><page size='{odd}' unit='{odd}'/></hugepages></memoryBacking><numatune><memory nodeset='{odd}'/>"
        f"<memnode cellid='{odd}' nodeset='{odd}'/></numatune><cputune><vcpupin vcpu='{odd}' cpuset='{odd}'/><vcpupin cpuset='0'/></cputune>"
        f"<cpu mode='{odd}'><topology sockets='{odd}'/><numa><cell id='{odd}' cpus='{odd}' memory='{odd}'/></numa></cpu><devices>"
        f"<disk><source file='/a.img'/><target dev='{odd}'/><boot order='{odd}'/></disk><graphics><listen type='{odd}'/></graphics>"
        f"<serial><target port='{odd}'/></serial><tpm><backend version='{odd}'/></tpm><watchdog model='{odd}'/></devices></domain>"
    )
    root = ET.fromstring(xml)
    assert set(table.read(root)) == set(table.NAMES)
    cards.set_boot_order(root)
    card = f"<interface><vlan><tag id='{odd}'/></vlan><driver queues='{odd}'/><mtu size='{odd}'/><boot order='{odd}'/></interface>"
    assert not set(cards.read(ET.fromstring(card))) & set(cards.NAMES)
