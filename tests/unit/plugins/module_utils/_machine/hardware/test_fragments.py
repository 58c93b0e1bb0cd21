# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Platform, build, describe, drift
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest

from .test_table import wish_of

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"


def built(*fragments: tuple[str, str], **hardware: t.Any) -> ET.Element:
    wish = wish_of({"xml": [{"path": path, "add": add} for path, add in fragments], **hardware})
    return ET.fromstring(build(wish, Platform("kvm", "x86_64"), ["52:54:00:00:00:01"], {}))


@pytest.mark.parametrize(
    ("path", "add", "where", "count"),
    [
        ("devices", "<sound model='ich9'/>", "./devices/sound[@model='ich9']", 1),
        ("devices", "<sound model='ich9'/>\n<sound model='ac97'/>", "./devices/sound", 2),
        ("devices", "<rng model='virtio'><backend model='random'>/dev/random</backend></rng>", "./devices/rng", 2),
        (".", "<devices><sound model='ich9'/></devices>", "./devices/sound", 1),
        ("features", "<hyperv><relaxed state='on'/></hyperv>", "./features/hyperv/relaxed", 1),
        ("features", "<acpi/>", "./features/acpi", 1),
        ("cpu", "<feature policy='require' name='vmx'/>", "./cpu[@mode='host-passthrough']/feature", 1),
        ("clock", "<timer name='hpet' present='no'/><timer name='rtc'/>", "./clock[@offset='utc']/timer", 2),
        (".", "<clock offset='localtime'><timer name='hpet' present='no'/></clock>", "./clock[@offset='localtime']/timer", 1),
        (".", "<clock><timer name='hpet'/><timer name='rtc'/><timer name='hpet' present='no'/></clock>", "./clock/timer", 2),
        (".", "<title>a machine</title>", "./title", 1),
        ("cpu/numa", "<cell id='0' cpus='0' memory='1'/><cell id='1' cpus='1' memory='1'/>", "./cpu/numa/cell", 2),
        ("cputune", "<iothreadpin iothread='1' cpuset='0'/><iothreadpin iothread='2' cpuset='1'/>", "./cputune/iothreadpin", 2),
        (".", "<sysinfo type='smbios'><oemStrings><entry>a</entry><entry>b</entry></oemStrings></sysinfo>", ".//oemStrings/entry", 2),
        ("os", "<boot dev='network'/><boot dev='hd'/>", "./os/boot", 2),
        ("os", "<boot dev='network'/>", "./os/boot[@dev='network']", 1),
        ("os/bootmenu", "<x/>", "./os/bootmenu/x", 1),
        ("devices/memballoon", "<stats period='10'/>", "./devices/memballoon/stats", 1),
        (".", f"<q:commandline xmlns:q='{QEMU_NAMESPACE}'><q:arg value='-x'/></q:commandline>", f"./{{{QEMU_NAMESPACE}}}commandline", 1),
        ("devices", "<controller type='usb' model='qemu-xhci'/>", "./devices/controller[@type='usb']", 1),
        (".", "<devices><controller type='usb' model='qemu-xhci'/></devices>", "./devices/controller[@type='usb']", 1),
    ],
)
def test_a_fragment_is_merged_at_its_path(path: str, add: str, where: str, count: int) -> None:
    root = built((path, add))
    assert len(root.findall(where)) == count
    bare = ET.fromstring(build(wish_of({}), Platform("kvm", "x86_64"), ["52:54:00:00:00:01"], {}))
    for kept in ("name", "uuid", "metadata", "vcpu", "memory"):
        assert ET.tostring(root.find(kept)) == ET.tostring(bare.find(kept))  # type: ignore[arg-type]


def test_fragments_are_merged_in_their_order() -> None:
    root = built(
        ("features", "<hyperv mode='custom'/>"),
        ("features/hyperv", "<relaxed state='on'/>"),
        (".", "<features><hyperv mode='passthrough'/></features>"),
    )
    (hyperv,) = root.findall("./features/hyperv")
    assert hyperv.attrib == {"mode": "passthrough"} and hyperv.find("relaxed") is not None


@pytest.mark.parametrize(
    ("path", "add", "told"),
    [
        (".", "<name>other</name>", "[0].add: <name> is not accepted; the domain is called SERVICE-MACHINE"),
        (".", "<uuid>1</uuid>", "<uuid> is not accepted"),
        (".", "<metadata/>", "<metadata> is not accepted; the collection finds its machines by it"),
        ("metadata", "<x/>", "<metadata> is not accepted"),
        (".", "<memory>1</memory>", "use memory_mib"),
        (".", "<vcpu>1</vcpu>", "use cpus"),
        ("devices", "<sound/><disk type='file'/>", "<disk> is not accepted; use disks"),
        ("devices/disk", "<readonly/>", "<disk> is not accepted; use disks"),
        ("devices/disk/source", "<x/>", "<disk> is not accepted"),
        (".", "<devices><sound/><interface type='network'/></devices>", "<interface> is not accepted; use networks"),
        ("devices", "<serial type='pty'/>", "<serial> is not accepted"),
        (".", "<os><nvram>/x</nvram></os>", "<nvram> is not accepted; use firmware"),
        ("os", "<nvram>/x</nvram>", "<nvram> is not accepted"),
        ("devices", "<sound", "[0].add: it is not XML"),
        ("devices", "</x><x>", "[0].add: it is not XML"),
        ("devices", "sound", "[0].add: it has text outside of its elements"),
        ("devices", "<sound/>x", "[0].add: it has text outside of its elements"),
        ("devices", "<!-- nothing -->", "[0].add: it has no element"),
        ("devices", "<!DOCTYPE x [<!ENTITY a 'b'>]><sound/>", "[0].add: it"),
        ("devices", "<a>" * 300 + "</a>" * 300, "[0].add: it is nested more than"),
        ("/devices", "<sound/>", "'/devices' is not accepted; the path of an element below <domain>"),
        ("devices[1]", "<sound/>", "'devices[1]' is not accepted"),
        ("..", "<sound/>", "'..' is not accepted"),
        ("devices\n", "<sound/>", "is not accepted"),
    ],
)
def test_what_cannot_be_added_is_told_with_its_place(path: str, add: str, told: str) -> None:
    group = {"name": "web", "count": 1, "disks": [{"name": "root", "size_gib": 1}], "xml": [{"path": path, "add": add}]}
    with pytest.raises(ManifestError) as caught:
        parse_manifest({"format": 1, "service": "shop", "machines": [group]}, "m")
    (error,) = caught.value.fields["errors"]
    assert error.startswith("m: machines[0].xml") and told in error
    with pytest.raises(InvalidOption):
        wish_of({"xml": [{"path": path, "add": add}]})


def test_added_xml_is_no_drift_of_the_domain() -> None:
    """libvirt writes it in its own words; the plan compares what was asked for."""
    wish = wish_of({"xml": [{"path": "devices", "add": "<sound model='ich9'/>"}]})
    wanted = describe(build(wish, Platform("kvm", "x86_64"), [""], {}))
    found = describe(build(wish_of({}), Platform("kvm", "x86_64"), [""], {}))
    assert drift(wanted, found, wish) == []


@pytest.mark.parametrize("value", [{}, "<sound/>", [], [{"path": "devices"}], [{"add": "<x/>"}], [{"path": "devices", "add": ""}], [5]])
def test_a_wrong_form_is_a_mistake(value: t.Any) -> None:
    group = {"name": "web", "count": 1, "disks": [{"name": "root", "size_gib": 1}], "xml": value}
    with pytest.raises(ManifestError, match=r"machines\[0\]\.xml"):
        parse_manifest({"format": 1, "service": "shop", "machines": [group]}, "m")
