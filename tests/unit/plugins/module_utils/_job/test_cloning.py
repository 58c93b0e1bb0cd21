# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import layout
from ansible_collections.basecast.fleet.plugins.module_utils._job.cloning import Cloned, CloneRefused, Cloning, Request
from ansible_collections.basecast.fleet.plugins.module_utils._machine import disk_mirror
from ansible_collections.basecast.fleet.plugins.module_utils._machine.disk_mirror import MirrorFailed
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry, MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

from .conftest import Site, give_device, give_disk, give_share, run_command
from .test_capture import copying, has, real_base, root_of, stopped, with_firmware, write
from .test_removal import deploy


def clone(site: Site, machine: str = "web-1", name: str = "web-9", **changes: t.Any) -> Cloned:
    request = Request(Owner("default", "shop", machine), name, site.pools, "qemu:///system", site.state_dir, site.runtime_dir)
    return Cloning(request._replace(**changes), site.stores, run_command, connect=t.cast(t.Any, site.connect)).perform()


def files_of(site: Site, name: str) -> list[str]:
    return sorted(
        os.path.join(pool, entry)
        for pool, path in site.pools.items()
        if os.path.isdir(layout.machine_directory(path, "shop", name))
        for entry in os.listdir(layout.machine_directory(path, "shop", name))
    )


def made(site: Site, name: str, base: str) -> dict[str, t.Any]:
    """The machine that a job makes over the clone's disks."""
    disks = [{"machine": name, "name": disk, "pool": pool, "base": base} for disk, pool in (("root", "one"), ("data", "two"))]
    machine = {"machine": name, "group": "web", "number": 9, "pool": "one", "networks": []}
    return site.job(site.work(machines=[machine], disks=disks), run="clone").perform()


def test_a_stopped_machine_is_cloned_with_what_it_wrote(site: Site) -> None:
    base = stopped(site, "web-1")
    write(root_of(site, "web-1"), 0x22, 64 * 1024)
    found = clone(site)
    assert (found.changed, found.running, found.quiesced) == (True, False, True)
    assert [(disk["name"], disk["pool"], disk["base"]) for disk in found.disks] == [("root", "one", base), ("data", "two", base)]
    assert has(root_of(site, "web-9"), 0x11) and has(root_of(site, "web-9"), 0x22, 64 * 1024)
    told = made(site, "web-9", base)
    assert told["state"] == "done" and told["machines"][0]["state"] == "deployed"
    write(root_of(site, "web-9"), 0x33, 64 * 1024)
    assert has(root_of(site, "web-1"), 0x22, 64 * 1024)


def test_a_running_machine_goes_on_while_it_is_cloned(site: Site) -> None:
    base = deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    copying(site, 0x44)
    before = domain.xml()
    found = clone(site)
    assert found.running and not found.quiesced and "as they would be after a power cut" in found.warnings[0]
    assert domain.shallow == {"vda": True, "vdb": True} and sorted(domain.ended) == ["vda", "vdb"] and not domain.mirrors
    assert domain.running() and domain.xml() == before and has(root_of(site, "web-9"), 0x44, 64 * 1024)
    assert made(site, "web-9", base)["state"] == "done"


@pytest.mark.parametrize("running", [True, False])
def test_a_flattened_clone_has_no_base(site: Site, running: bool) -> None:
    base = stopped(site, "web-1")
    site.libvirt.known[0].is_running = running
    copying(site, 0x22)
    found = clone(site, flatten=True)
    assert [disk["backing"] for disk in found.disks] == [None, None]
    origin = json.loads(open(layout.origin_path(os.path.dirname(root_of(site, "web-9")), "root"), encoding="utf-8").read())
    assert (origin["base"], origin["differencing"]) == (base, False)


def test_a_second_clone_of_that_name_changes_nothing(site: Site) -> None:
    stopped(site, "web-1", "web-2")
    first = clone(site)
    write(root_of(site, "web-1"), 0x55)
    again = clone(site)
    assert (again.changed, again.disks) == (False, first.disks) and has(root_of(site, "web-9"), 0x11)
    with pytest.raises(CloneRefused, match="web-9 is a clone of web-1 already; choose another name"):
        clone(site, "web-2")
    with pytest.raises(CloneRefused, match="web-2 has disks on this host that were not cloned"):
        clone(site, name="web-2")


def test_a_clone_has_the_firmware_variables_of_the_machine(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = with_firmware(site)
    clone(site)
    copy = Path(root_of(site, "web-9")).with_name("nvram-uefi.fd")
    assert copy.read_bytes() == b"boot order" and copy.stat().st_mode & 0o777 == 0o600
    variables.unlink()
    clone(site, name="web-8")
    assert not Path(root_of(site, "web-8")).with_name("nvram-uefi.fd").exists(), "the machine has never been started"
    variables.write_bytes(b"x" * 100)
    monkeypatch.setattr(f"{Cloning.__module__}._LARGEST_FIRMWARE", 99)
    with pytest.raises(CloneRefused, match="at most 99 bytes"):
        clone(site, name="web-7")
    assert files_of(site, "web-7") == []


def test_a_machine_with_a_device_of_its_host_is_not_cloned(site: Site) -> None:
    stopped(site, "web-1")
    give_device(site)
    with pytest.raises(CloneRefused, match="web-1 has the USB device 0951:1666 of the host, which one machine has"):
        clone(site)


def test_a_machine_with_a_directory_of_its_host_is_not_cloned(site: Site) -> None:
    stopped(site, "web-1")
    give_share(site)
    with pytest.raises(CloneRefused, match="web-1 shares media with the host, which its administrator permits for each machine"):
        clone(site)


def test_a_machine_with_a_tpm_is_not_cloned(site: Site) -> None:
    with_firmware(site, tpm=True)
    with pytest.raises(CloneRefused, match="web-1 has a TPM"):
        clone(site)
    assert files_of(site, "web-9") == []


def test_a_disk_that_was_given_is_not_shared_with_a_clone(site: Site) -> None:
    stopped(site, "web-1")
    give_disk(site)
    with pytest.raises(CloneRefused, match=r"web-1 has data-1 .*from outside of the pools' machines, which a clone would share with it"):
        clone(site)
    assert files_of(site, "web-9") == []


@pytest.mark.parametrize("running", [True, False])
def test_a_cd_is_cloned_while_its_machine_is_off(site: Site, running: bool) -> None:
    base = stopped(site, "web-1")
    (domain,) = site.libvirt.known
    domain._xml = domain.xml().replace(' device="disk"', ' device="cdrom"')
    domain.is_running = running
    if running:
        with pytest.raises(CloneRefused, match="web-1 runs with the CD root, data, seed; power it off"):
            clone(site)
        assert files_of(site, "web-9") == []
    else:
        assert [disk["base"] for disk in clone(site).disks] == [base, base]


@pytest.mark.parametrize("after", ["note", "one disk"])
def test_an_interrupted_clone_is_begun_anew(site: Site, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    """As if the module were killed: nothing is cleaned up."""
    stopped(site, "web-1")
    for pool in ("one", "two"):
        directory = layout.machine_directory(site.pools[pool], "shop", "web-9")
        os.makedirs(directory)
        with open(layout.clone_path(directory), "w", encoding="utf-8") as file:
            json.dump({"format": 1, "source": "web-1", "complete": False}, file)
    if after == "one disk":
        with open(root_of(site, "web-1"), "rb") as source, open(root_of(site, "web-9"), "wb") as target:
            target.write(source.read())
    write(root_of(site, "web-1"), 0x66, 64 * 1024)
    found = clone(site)
    assert found.changed and len(found.disks) == 2 and has(root_of(site, "web-9"), 0x66, 64 * 1024)


@pytest.mark.parametrize("after", ["note", "mirrors", "one disk"])
def test_the_next_clone_undoes_an_interrupted_one(site: Site, after: str) -> None:
    """As if the module were killed at each of its steps, and nobody asked for that clone again. QEMU's mirrors go on then."""
    deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    paths = []
    for pool, disk, target in (("one", "root", "vda"), ("two", "data", "vdb")):
        directory = layout.machine_directory(site.pools[pool], "shop", "web-5")
        os.makedirs(directory)
        Path(layout.clone_path(directory)).write_text(json.dumps({"format": 1, "source": "web-1", "complete": False}), encoding="utf-8")
        paths.append(directory)
        if after != "note":
            temporary = Path(layout.temporary_path(directory, disk))
            temporary.touch()
            if after == "mirrors":
                domain.mirrors[target] = str(temporary)
    if after == "one disk":
        Path(root_of(site, "web-5")).write_bytes(Path(root_of(site, "web-1")).read_bytes())
    assert clone(site, check=True).changed and all(os.path.isdir(path) for path in paths)
    copying(site, 0x44)
    found = clone(site)
    assert found.changed and len(found.disks) == 2 and not domain.mirrors
    assert not any(os.path.exists(path) for path in paths)


@pytest.mark.parametrize(("machine", "name"), [("web-5", "root.new"), ("web-1", "root.capture")])
def test_a_copy_that_a_killed_run_began_hinders_no_clone(site: Site, machine: str, name: str) -> None:
    """Its file may have gone since."""
    deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    domain.mirrors["vda"] = os.path.join(layout.machine_directory(site.pools["one"], "shop", machine), f".{name}.tmp")
    copying(site, 0x44)
    assert clone(site).changed and not domain.mirrors


def test_a_copy_that_somebody_else_has_begun_is_left_alone(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    for path in ("/backup/.root.new.tmp", root_of(site, "web-5")):
        domain.mirrors["vda"] = path
        disk_mirror.end_left(t.cast(t.Any, domain), site.pools.values(), "shop")
        assert domain.mirrors == {"vda": path}


@pytest.mark.parametrize("note", [{"source": "web-2"}, {"complete": True}, {"source": 3}, None])
def test_what_is_no_half_clone_of_it_is_left_alone(site: Site, note: dict[str, t.Any] | None) -> None:
    stopped(site, "web-1")
    directory = layout.machine_directory(site.pools["one"], "shop", "web-5")
    os.makedirs(directory)
    kept = Path(directory) / "root.qcow2"
    kept.touch()
    if note is not None:
        told = {"format": 1, "source": "web-1", "complete": False, **note}
        Path(layout.clone_path(directory)).write_text(json.dumps(told), encoding="utf-8")
    assert clone(site).changed and kept.exists()


def test_a_failed_clone_leaves_nothing(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    site.libvirt.on_copy = lambda domain, target: domain.mirrors.clear()
    with pytest.raises(MirrorFailed, match="QEMU has ended the copy of the disk vda"):
        clone(site)
    assert files_of(site, "web-9") == [] and not os.path.exists(os.path.dirname(root_of(site, "web-9")))


def test_check_mode_makes_no_clone(site: Site) -> None:
    stopped(site, "web-1")
    found = clone(site, check=True)
    assert found.changed and len(found.disks) == 2 and files_of(site, "web-9") == []


def test_a_machine_that_is_not_there_is_told(site: Site) -> None:
    stopped(site, "web-1")
    with pytest.raises(CloneRefused, match="web-7 is not on this host"):
        clone(site, "web-7")


@pytest.mark.parametrize("check", [True, False])
def test_a_machine_on_its_way_is_left_alone(check: bool, site: Site) -> None:
    stopped(site, "web-1")
    MoveJournal(site.state_dir, "default", "shop").write(Entry("source", "leaving", "r", "web-1", "b", False, True, True, "one"))
    with pytest.raises(CloneRefused, match="machine: web-1: its migration to b has not ended"):
        clone(site, check=check)


def test_a_disk_whose_data_are_elsewhere_is_not_cloned(site: Site) -> None:
    """The clone's writes would go into the same file."""
    stopped(site, "web-1")
    root, data = root_of(site, "web-1"), os.path.join(os.path.dirname(root_of(site, "web-1")), "root.data")
    os.unlink(root)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={data}", root, "1M"], check=True)
    with pytest.raises(CloneRefused, match=r"root.qcow2 keeps its data in another file, .*root.data; copy it into one"):
        clone(site)
    assert files_of(site, "web-9") == []


def test_a_saved_machine_is_not_cloned(site: Site) -> None:
    """Its disks lack what its guest has not written yet."""
    stopped(site, "web-1")
    site.libvirt.known[0].is_saved = True
    for check in (True, False):
        with pytest.raises(CloneRefused, match=r"web-1: its memory was saved \(virsh managedsave\)"):
            clone(site, check=check)
    assert files_of(site, "web-9") == []


class Killed(BaseException):
    """Nothing that the process would do afterwards is done."""


@pytest.mark.parametrize("agent", [False, True])
def test_a_guest_that_was_left_standing_goes_on(site: Site, agent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    domain.agent = agent

    def die(*_args: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        for name in ("end_copy", "resume", "thaw"):
            patched.setattr(domain, name, die)
        with pytest.raises(Killed):
            clone(site)
    assert domain.stands() == ("frozen" if agent else "suspended") and domain.is_paused is not agent
    assert clone(site).quiesced is agent
    assert domain.stands() is None and not domain.is_paused and not (agent and domain.frozen)


def test_a_guest_that_its_operator_suspended_stays_so(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    domain.suspend()
    assert clone(site).running and domain.is_paused and domain.stands() is None


@pytest.mark.parametrize("is_link", [False, True])
def test_a_note_that_cannot_be_read_is_not_passed_over(site: Site, is_link: bool) -> None:
    stopped(site, "web-1")
    path = Path(layout.clone_path(layout.machine_directory(site.pools["two"], "shop", "web-9")))
    path.parent.mkdir()
    path.symlink_to("/etc/hostname") if is_link else path.write_text("{", encoding="utf-8")
    with pytest.raises(
        CloneRefused, match=r"web-9 may be a clone already.*remove it \(basecast.fleet.remove -e service=shop -e machines=web-9"
    ):
        clone(site)
    assert files_of(site, "web-9") == ["two/.clone.json"] and clone(site, name="web-8").changed
