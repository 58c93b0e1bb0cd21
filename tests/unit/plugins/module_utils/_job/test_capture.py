# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import subprocess
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import layout
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._job.alone import ServiceBusy
from ansible_collections.basecast.fleet.plugins.module_utils._job.capture import Capture, Captured, CaptureRefused, Request
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import RUNNING, Journal, this_process
from ansible_collections.basecast.fleet.plugins.module_utils._machine.disk_mirror import MirrorFailed
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.key import Place
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.table import write as write_hardware
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry, MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._machine.conftest import FakeDomain

from .conftest import Site, run_command
from .test_removal import deploy


def real_base(site: Site, size: str = "1M", pool: str = "one") -> str:
    """A base disk that QEMU can read; its digest."""
    from ansible_collections.basecast.fleet.plugins.module_utils._disk.importer import Importer
    from ansible_collections.basecast.fleet.plugins.module_utils._disk.importer import Request as ImportRequest
    from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg

    path = os.path.join(site.pools[pool], "image.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, size], check=True)
    write(path, 0x11)
    base = Importer(site.stores, pool, QemuImg(run_command)).run(ImportRequest("default", src=path, consume=True)).base
    assert base is not None
    return base.sha256


def write(path: str, value: int, offset: int = 0) -> None:
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {value} {offset} 64k", path], check=True, capture_output=True)


def has(path: str, value: int, offset: int = 0) -> bool:
    done = subprocess.run(
        ["qemu-io", "-r", "-f", "qcow2", "-c", f"read -P {value} {offset} 64k", path], capture_output=True, text=True, check=True
    )
    return "verification failed" not in done.stdout


def stopped(site: Site, *names: str, **given: t.Any) -> str:
    sha256 = deploy(site, *names, base=real_base(site), **given)
    for domain in site.libvirt.known:
        domain.destroy()
    return sha256


def root_of(site: Site, name: str) -> str:
    return layout.disk_path(site.pools["one"], "shop", name, "root", "qcow2")


def with_firmware(site: Site, tpm: bool = False) -> Path:
    """web-1 as a UEFI machine that has been started."""
    stopped(site, "web-1")
    (domain,) = site.libvirt.known
    variables = Path(root_of(site, "web-1")).with_name("nvram-uefi.fd")
    variables.write_bytes(b"boot order")
    root = ET.fromstring(domain.xml())
    write_hardware(root, {"firmware": "uefi", **({"tpm": "2.0"} if tpm else {})}, Place(str(variables.parent), "x86_64", "qemu"))
    site.libvirt.definitions[domain.name] = ET.tostring(root, "unicode")
    return variables


def capture(site: Site, machine: str = "web-1", **changes: t.Any) -> Captured:
    request = Request(
        Owner("default", "shop", machine), None, "golden", "1", site.pools, "qemu:///system", site.state_dir, site.runtime_dir
    )
    return Capture(request._replace(**changes), site.stores, run_command, connect=t.cast(t.Any, site.connect)).perform()


def copying(site: Site, value: int) -> None:
    """QEMU's part of a copy: the file gets what the guest has written by now."""
    site.libvirt.on_copy = lambda domain, target: write(domain.mirrors[target], value, 64 * 1024)


def left(site: Site) -> list[str]:
    return [name for _root, _dirs, names in os.walk(site.directory) for name in names if "capture" in name]


def test_a_stopped_machine_gives_a_child_of_its_base(site: Site) -> None:
    parent = stopped(site, "web-1")
    write(root_of(site, "web-1"), 0x22, 64 * 1024)
    before = open(root_of(site, "web-1"), "rb").read()
    found = capture(site)
    assert found.base is not None and (found.base.parent, found.changed, found.running, found.quiesced) == (parent, True, False, True)
    assert found.base.chain == (parent, found.base.sha256) and found.base.names() == [
        {"tenant": "default", "name": "golden", "version": "1"}
    ]
    assert has(found.base.path, 0x11) and has(found.base.path, 0x22, 64 * 1024)
    assert found.base.metadata["imported_from"]["name"] == "shop/web-1/root"
    assert open(root_of(site, "web-1"), "rb").read() == before and not left(site)


def test_a_second_capture_changes_nothing(site: Site) -> None:
    stopped(site, "web-1", "web-2")
    first = capture(site)
    write(root_of(site, "web-1"), 0x33)
    again = capture(site)
    assert (again.changed, again.base) == (False, first.base)
    with pytest.raises(CaptureRefused, match=r"golden 1 is a base disk already .*; give another version"):
        capture(site, "web-2")
    assert capture(site, version="2").changed


@pytest.mark.parametrize("running", [False, True])
def test_a_flattened_disk_has_no_parent(site: Site, running: bool) -> None:
    stopped(site, "web-1")
    write(root_of(site, "web-1"), 0x22, 64 * 1024)
    if running:
        site.libvirt.known[0].is_running = True
        copying(site, 0x22)
    found = capture(site, flatten=True, pool="two")
    assert found.base is not None and (found.base.parent, found.base.pool) == (None, "two")
    assert has(found.base.path, 0x22, 64 * 1024) and not left(site)
    if not running:
        assert has(found.base.path, 0x11)


@pytest.mark.parametrize("agent", [True, False])
def test_a_running_machine_is_mirrored_and_goes_on(site: Site, agent: bool) -> None:
    parent = deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    domain.agent = agent
    copying(site, 0x44)
    before = domain.xml()
    found = capture(site)
    assert found.base is not None and (found.base.parent, found.running, found.quiesced) == (parent, True, agent)
    assert has(found.base.path, 0x11) and has(found.base.path, 0x44, 64 * 1024)
    assert domain.shallow["vda"] and not domain.mirrors and domain.frozen == (0 if agent else 1)
    assert domain.running() and domain.xml() == before and not left(site)
    assert bool(found.warnings) is not agent


def test_an_interrupted_capture_is_taken_up(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    path = layout.capture_path(os.path.dirname(root_of(site, "web-1")), "root")
    open(path, "w").close()
    domain.mirrors["vda"] = path  # QEMU goes on with it when the module is killed
    copying(site, 0x44)
    found = capture(site)
    assert found.base is not None and domain.ended == {"vda": path} and not left(site)


def test_a_copy_that_ends_by_itself_is_an_error(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    site.libvirt.on_copy = lambda domain, target: domain.mirrors.clear()
    with pytest.raises(MirrorFailed, match="QEMU has ended the copy of the disk vda of shop-web-1"):
        capture(site)
    assert not left(site) and site.stores["one"].find_by_name("default", "golden", "1") is None


def test_a_slow_copy_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(site, "web-1", base=real_base(site))
    monkeypatch.setattr(site.libvirt.known[0], "live_xml", lambda: FakeDomain.live_xml(site.libvirt.known[0]).replace('ready="yes"', ""))
    with pytest.raises(MirrorFailed, match="was not copied within 0 s; give it more time"):
        capture(site, copy_timeout_s=0.0)
    assert site.libvirt.known[0].ended and not left(site)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"machine": "web-9"}, CaptureRefused, "web-9 of service shop is not on this host"),
        ({"disk": "swap"}, InvalidOption, "it is not a disk of the machine; the disks of web-1 in the pools are: root, data"),
        ({"pool": "two"}, InvalidOption, "a child lies in the pool of its parent, which is one"),
    ],
)
def test_what_cannot_be_captured_is_refused(site: Site, changes: dict[str, t.Any], error: type[FleetError], words: str) -> None:
    stopped(site, "web-1")
    with pytest.raises(error, match=words):
        capture(site, **changes)
    assert site.stores["one"].find_by_name("default", "golden", "1") is None


def test_a_disk_over_another_machines_disk_is_flattened_only(site: Site) -> None:
    stopped(site, "web-1", "web-2")
    subprocess.run(
        ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", root_of(site, "web-2"), root_of(site, "web-1")], check=True
    )
    with pytest.raises(CaptureRefused, match="is not a base disk of this host's pools; flatten it"):
        capture(site)
    found = capture(site, flatten=True)
    assert found.base is not None and has(found.base.path, 0x11)


def test_check_mode_touches_nothing(site: Site) -> None:
    stopped(site, "web-1")
    before = sorted(os.walk(site.directory))
    found = capture(site, check=True)
    assert (found.changed, found.base) == (True, None) and "root.qcow2 as base disk golden 1" in found.actions[0]
    assert sorted(os.walk(site.directory)) == before


def test_nothing_is_captured_beside_a_deployment(site: Site) -> None:
    stopped(site, "web-1")
    journal = Journal(site.runtime_dir, "default", "shop")
    journal.write("nightly", {"format": 1, "state": RUNNING, **this_process()})
    with pytest.raises(ServiceBusy, match="shop is being deployed on this host by the run nightly"):
        capture(site)


# virt-sysprep boots an appliance of its own, which takes minutes and is not there in tests: a program in its place.
def test_a_sealed_copy_is_what_becomes_the_base(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(site, "web-1")
    program = os.path.join(site.directory, "bin", "virt-sysprep")
    os.makedirs(os.path.dirname(program))
    with pytest.raises(FleetError, match=r"virt-sysprep.*guestfs-tools|guestfs-tools.*virt-sysprep"):
        capture(site, seal=True)
    with open(program, "w", encoding="utf-8") as file:
        # Without the format, a guest could have written the header of another one into a raw disk.
        file.write(
            '#!/bin/sh\nwhile [ "$1" != --format ]; do shift; done\ntest "$3" = -a && exec qemu-io -f "$2" -c "write -P 85 0 64k" "$4"\n'
        )
    os.chmod(program, os.stat(program).st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{os.path.dirname(program)}:{os.environ['PATH']}")
    found = capture(site, seal=True)
    assert found.base is not None and has(found.base.path, 0x55) and has(root_of(site, "web-1"), 0x11) and not left(site)


@pytest.mark.parametrize("check", [True, False])
def test_a_machine_on_its_way_is_left_alone(check: bool, site: Site) -> None:
    stopped(site, "web-1")
    MoveJournal(site.state_dir, "default", "shop").write(Entry("source", "leaving", "r", "web-1", "b", False, True, True, "one"))
    with pytest.raises(CaptureRefused, match="machine: web-1: its migration to b has not ended"):
        capture(site, check=check)


def test_what_the_base_lacks_of_a_machine_is_said(site: Site) -> None:
    with_firmware(site, tpm=True)
    firmware, tpm = capture(site).warnings
    assert "firmware variables" in firmware and "EFI/BOOT" in firmware and "TPM" in tpm
