# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import os
import subprocess
import typing as t
import xml.etree.ElementTree as ET
import zlib

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import NameTaken
from ansible_collections.basecast.fleet.plugins.module_utils._disk.references import name_of
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job import template_sources
from ansible_collections.basecast.fleet.plugins.module_utils._job.capture import CaptureRefused
from ansible_collections.basecast.fleet.plugins.module_utils._job.machine_source import SourceRefused, Wanted
from ansible_collections.basecast.fleet.plugins.module_utils._job.template_capture import Captured, Request, TemplateCapture
from ansible_collections.basecast.fleet.plugins.module_utils._machine.template import as_text, read_variables, unpacked_variables
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._machine.conftest import FakeDomain

from .conftest import Site, give_device, give_disk, give_share, run_command
from .test_capture import capture as capture_disk
from .test_capture import copying, has, left, root_of, stopped, with_firmware, write

WEB = Wanted("default", "shop", "web-1")


def capture(site: Site, wanted: Wanted = WEB, **changes: t.Any) -> Captured:
    request = Request(wanted, "golden", "1", site.pools, "qemu:///system", site.state_dir, site.runtime_dir)
    return TemplateCapture(request._replace(**changes), site.stores, run_command, connect=t.cast(t.Any, site.connect)).perform()


def stored(site: Site, name: str = "golden") -> str | None:
    for store in site.stores.values():
        base = store.find_by_name("default", name, "1")
        if base is not None:
            return store.template(base.sha256, name_of("default", name, "1"))
    return None


def foreign(site: Site, path: str, image_format: str = "qcow2", name: str = "old") -> FakeDomain:
    """A domain that this collection has not made."""
    disk = (
        f"<disk type='file' device='disk'><driver type='{image_format}'/><source file='{path}'/><target dev='sda' bus='sata'/></disk>"
        "<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>"
        "<interface type='bridge'><source bridge='br0'/><mac address='52:54:00:00:00:01'/><model type='e1000'/></interface>"
        "<interface type='user'><mac address='52:54:00:00:00:02'/></interface>"
    )
    xml = (
        f"<domain type='qemu'><name>{name}</name><uuid>6e7c0796-f026-581b-8f53-bb9ca98e25e4</uuid><memory unit='MiB'>300</memory>"
        f"<vcpu>3</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><devices>{disk}</devices></domain>"
    )
    return t.cast(FakeDomain, site.libvirt.define(xml, name))


@pytest.mark.parametrize("running", [False, True])
def test_disks_hardware_and_variables_without_identity(site: Site, running: bool) -> None:
    variables = with_firmware(site)
    write(root_of(site, "web-1"), 0x22, 64 * 1024)
    if running:
        site.libvirt.known[0].is_running = True
        copying(site, 0x22)
    found = capture(site)
    base = found.bases["root"]
    assert (found.changed, found.running, base.parent is not None) == (True, running, True)
    assert {"tenant": "default", "name": "golden", "version": "1"} in base.names()
    assert has(base.path, 0x22, 64 * 1024) and not left(site)
    assert found.content["hardware"]["firmware"] == "uefi"
    assert unpacked_variables(found.content["variables"]) == variables.read_bytes() == b"boot order"
    text = as_text(found.content)
    assert stored(site) == text
    directory = site.stores[base.pool].references_directory(base.sha256)
    modes = {os.stat(entry).st_mode & 0o777 for entry in os.scandir(directory) if "template" in open(entry, encoding="utf-8").read()}
    assert modes == {0o600}  # it has the firmware variables
    (domain,) = site.libvirt.known
    root = ET.fromstring(domain.xml())
    identities = [root.findtext("uuid"), root.findtext("name"), *(mac.get("address") for mac in root.iter("mac"))]
    assert not [one for one in identities if one and one in text]
    again = capture(site)
    assert not again.changed and again.bases == found.bases and again.content == found.content


def test_nothing_is_touched_in_check_mode_nor_where_the_name_is_taken(site: Site) -> None:
    stopped(site, "web-1", "web-2")
    predicted = capture(site, check=True)
    assert predicted.changed and not predicted.bases and stored(site) is None
    capture(site)
    with pytest.raises(SourceRefused, match=r"golden 1 is a template of another machine already .*; give another version"):
        capture(site, Wanted("default", "shop", "web-2"))
    assert capture(site, Wanted("default", "shop", "web-2"), version="2").changed
    with pytest.raises(SourceRefused, match="web-9 of service shop is not on this host"):
        capture(site, Wanted("default", "shop", "web-9"), version="3")


def test_a_capture_that_is_cut_off_is_no_template_and_is_made_anew(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_args: object) -> t.NoReturn:
        raise KeyboardInterrupt

    stopped(site, "web-1")
    monkeypatch.setattr(TemplateCapture, "_name", cut_off)
    with pytest.raises(KeyboardInterrupt):
        capture(site)
    assert stored(site) is None and not left(site)
    monkeypatch.undo()
    write(root_of(site, "web-1"), 0x33, 128 * 1024)
    found = capture(site)
    assert has(found.bases["root"].path, 0x33, 128 * 1024) and stored(site) == as_text(found.content)


def test_names_of_the_rest_of_a_capture_that_was_cut_off_go_on(site: Site) -> None:
    """Those of further disks are written first, and only they may be taken back."""
    stopped(site, "web-1", "web-2")
    rest = capture(site, Wanted("default", "shop", "web-2"), name="other").bases["root"]
    store = site.stores[rest.pool]
    name = name_of("default", "golden.data", "1")
    made = TemplateCapture(
        Request(WEB, "golden", "1", site.pools, "qemu:///system", site.state_dir, site.runtime_dir), site.stores, run_command
    )
    new = capture(site, name="third").bases["root"]
    store.refer(rest.sha256, [name])
    if rest.sha256 == new.sha256:
        write(root_of(site, "web-1"), 0x55)
        new = capture(site, name="fourth").bases["root"]
    with pytest.raises(NameTaken):  # a base that somebody has called so
        made._name({"golden": new, "golden.data": new}, {"disks": []})
    store.unrefer(rest.sha256, [name])
    store.refer(rest.sha256, [name], as_text({"of": "golden"}))
    made._name({"golden": new, "golden.data": new}, {"disks": []})
    found = store.find_by_name("default", "golden.data", "1")
    assert found is not None and found.sha256 == new.sha256


def test_a_domain_of_others_gives_a_template_where_that_is_granted(site: Site) -> None:
    path = f"{site.pools['one']}/old.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    write(path, 0x66)
    foreign(site, path, "vmdk", "odd").destroy()
    with pytest.raises(SourceRefused, match="is vmdk; expected a readable qcow2 or raw file"):
        capture(site, Wanted("default", domain="odd", granted=("odd",)))
    site.libvirt.known.pop()
    foreign(site, path).destroy()
    with pytest.raises(SourceRefused, match="not among those that may be taken"):
        capture(site, Wanted("default", domain="old"))
    found = capture(site, Wanted("default", domain="old", granted=("ol*",)))
    assert (found.content["cpus"], found.content["memory_mib"], found.content["seeded"]) == (3, 300, False)
    assert found.content["networks"] == [{"bridge": "br0", "model": "e1000"}]
    (disk,) = found.content["disks"]
    assert (disk["name"], disk["base"], disk["bus"]) == ("sda", "golden", "sata") and has(found.bases["sda"].path, 0x66)
    assert [word for word in ("cdrom", "user") if not any(word in told for told in found.warnings)] == []
    stopped(site, "web-1")
    (ours,) = (domain.name for domain in site.libvirt.known if domain.name != "old")
    with pytest.raises(SourceRefused, match="is a machine of this collection; write machine: web-1 and service: shop"):
        capture(site, Wanted("default", domain=ours, granted=("*",)), version="2")
    with pytest.raises(SourceRefused, match="belongs to another tenant"):
        capture(site, Wanted("mine", domain=ours, granted=("*",)), version="2")


def of_two_disks(site: Site) -> tuple[FakeDomain, list[str]]:
    """A domain of others that runs, and its disks."""
    paths = [f"{site.pools['one']}/{name}.qcow2" for name in ("old", "data")]
    for path in paths:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    domain = foreign(site, paths[0])
    second = domain._xml.partition("<disk")[2].partition("</disk>")[0].replace(paths[0], paths[1]).replace("sda", "sdc")
    domain._xml = domain._xml.replace("<devices>", f"<devices><disk{second}</disk>")
    domain.is_running = True
    return domain, paths


@pytest.mark.parametrize("agent", [False, True])
def test_all_disks_are_of_one_moment(site: Site, agent: bool) -> None:
    domain, _paths = of_two_disks(site)
    domain.agent = agent
    found = capture(site, Wanted("default", domain="old", granted=("old",)))
    assert list(found.bases) == ["sdc", "sda"] and found.quiesced is agent
    assert domain.ended_while == [not agent] * 2 and not domain.is_paused and domain.standing is None  # else its file systems are at rest


def test_a_machine_that_is_off_cannot_start_between_its_disks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    domain, paths = of_two_disks(site)
    domain.destroy()
    imported, refused = TemplateCapture._import, []

    def meanwhile(made: TemplateCapture, copy: t.Any) -> t.Any:
        for path in paths:
            done = subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 0 64k", path], check=False, capture_output=True, text=True)
            refused.append("lock" in done.stderr)
        return imported(made, copy)

    monkeypatch.setattr(TemplateCapture, "_import", meanwhile)
    assert capture(site, Wanted("default", domain="old", granted=("old",))).quiesced
    assert refused == [True] * 4


def test_a_machine_whose_memory_was_saved_is_not_whole(site: Site) -> None:
    stopped(site, "web-1")
    site.libvirt.known[0].is_saved = True
    with pytest.raises(SourceRefused, match=r"web-1 of service shop: its memory was saved \(virsh managedsave\); start it"):
        capture(site)
    with pytest.raises(CaptureRefused, match=r"machine: web-1: its memory was saved"):
        capture_disk(site)


@pytest.mark.parametrize("running", [False, True])
def test_a_disk_behind_a_link_is_taken(site: Site, running: bool) -> None:
    domain, paths = of_two_disks(site)
    domain.is_running = running
    os.rename(paths[0], f"{paths[0]}.moved")
    os.symlink(f"{paths[0]}.moved", paths[0])
    assert list(capture(site, Wanted("default", domain="old", granted=("old",))).bases) == ["sdc", "sda"]


@pytest.mark.parametrize("image", ["seed.iso", "seed.ign", "seed-cloudbase.iso"])
def test_only_what_cloud_init_customizes_is_seeded(site: Site, image: str) -> None:
    """Copies of others would wait for a report that nobody in them writes."""
    stopped(site, "web-1")
    (domain,) = site.libvirt.known
    place = f"{os.path.dirname(root_of(site, 'web-1'))}/{image}"
    root = ET.fromstring(domain.xml())
    devices = t.cast(ET.Element, root.find("devices"))
    (seed,) = [disk for disk in devices.iterfind("disk") if disk.find("readonly") is not None]
    t.cast(ET.Element, seed.find("source")).set("file", place)
    if image == "seed-cloudbase.iso":
        seed.set("device", "cdrom")
        t.cast(ET.Element, seed.find("target")).set("dev", "sdb")
    if image == "seed.ign":
        devices.remove(seed)
        root.append(ET.fromstring(f"<sysinfo type='fwcfg'><entry name='opt/com.coreos/config' file='{place}'/></sysinfo>"))
    site.libvirt.definitions[domain.name] = ET.tostring(root, "unicode")
    found = capture(site)
    assert found.content["seeded"] is (image == "seed.iso")
    assert [told for told in found.warnings if "seed" in told or "CD" in told] == []
    assert any("is not part of the template; its copies need it in the manifest" in told for told in found.warnings) is (
        image != "seed.iso"
    )


def test_a_disk_that_was_given_is_no_part_of_a_template(site: Site) -> None:
    stopped(site, "web-1")
    give_disk(site)
    found = capture(site)
    assert [disk["name"] for disk in found.content["disks"]] == ["root", "data"] and "attached" not in found.content["hardware"]
    assert any("the disk data-1 (" in told and "is none of its own" in told for told in found.warnings)


def test_a_device_of_the_host_is_no_part_of_a_template(site: Site) -> None:
    stopped(site, "web-1")
    give_device(site)
    found = capture(site)
    assert "host_devices" not in found.content["hardware"]
    assert "shop-web-1: the USB device 0951:1666 is not part of the template, since it belongs to the host." in found.warnings


def test_a_directory_of_the_host_is_no_part_of_a_template(site: Site) -> None:
    stopped(site, "web-1")
    give_share(site)
    found = capture(site)
    assert "shares" not in found.content["hardware"]
    assert "shop-web-1: the share media (/srv/media) is not part of the template, since it is a directory of the host." in found.warnings


def test_a_template_without_disks_is_none(site: Site) -> None:
    stopped(site, "web-1")
    base = capture(site, name="other").bases["root"]
    site.stores[base.pool].refer(base.sha256, [name_of("default", "golden", "1")], as_text({"disks": []}))
    with pytest.raises(FleetError, match="expected a list of at least one disk"):
        capture(site)


def test_variables_that_a_guest_has_filled_or_that_are_not_raw(site: Site) -> None:
    variables = with_firmware(site)
    variables.write_bytes(os.urandom(160 * 1024))  # packed, they would not fit into what a store reads
    with pytest.raises(FleetError, match=r"nvram-uefi\.fd: firmware variables have at most 196608 bytes when packed; these have 21"):
        capture(site)
    variables.write_bytes(b"QFI\xfb" + bytes(100))
    packed, (note,) = read_variables(str(variables))
    assert packed is None and "firmware variables are not part of the template, since they are a qcow2 file" in note


def test_a_survey_tells_what_is_stored_and_what_could_be(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(site, "web-1")
    monkeypatch.setattr(template_sources, "LibvirtHost", site.connect)
    source = {"name": "twin", "template": "golden", "version": "1", "machine": "web-1", "service": "shop"}
    asked = template_sources.Asked(site.pools, "default", "qemu:///system")
    told = template_sources.template_sources([source], asked)["twin"]
    assert (told["stored"], told["problem"]) == (None, None) and told["live"]["disks"][0]["base"] == "golden"
    found = capture(site)
    told = template_sources.template_sources([source], asked)["twin"]
    assert told == {"stored": found.content, "live": None, "problem": None}
    missing = template_sources.template_sources([{**source, "machine": "web-9", "version": "2"}], asked)["twin"]
    assert missing == {"stored": None, "live": None, "problem": None}


@pytest.mark.parametrize(
    "text", ["no base64!", base64.b64encode(b"no zlib").decode(), base64.b64encode(zlib.compress(b"x" * 99)[:-5]).decode()]
)
def test_variables_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(FleetError, match="firmware variables of a template"):
        unpacked_variables(text)
