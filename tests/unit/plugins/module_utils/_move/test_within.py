# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine with the disk root and its seed in the pool one, and the disk data in the pool two."""

from __future__ import annotations

import contextlib
import os
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees, layout, transfer, users
from ansible_collections.basecast.fleet.plugins.module_utils._disk.room import Promise
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job import half_clones
from ansible_collections.basecast.fleet.plugins.module_utils._machine import flattening
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import describe
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import LEAVING, WITHIN, Entry, MoveJournal, unended
from ansible_collections.basecast.fleet.plugins.module_utils._move import look as looking
from ansible_collections.basecast.fleet.plugins.module_utils._move import within as module
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import Host, MoveFailed
from ansible_collections.basecast.fleet.plugins.module_utils._move.incoming import Incoming
from ansible_collections.basecast.fleet.plugins.module_utils._move.within import Wish, Within
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.conftest import Site, run_command
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.test_capture import (
    copying,
    has,
    real_base,
    stopped,
    with_firmware,
    write,
)
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.test_removal import deploy, remove
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._machine.conftest import FakeDomain
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import OWNER


class Killed(BaseException):
    """The module is killed: nothing is cleaned up after it."""


@pytest.fixture
def site(tmp_path: Path) -> t.Iterator[Site]:
    found = Site(str(tmp_path))
    os.makedirs(found.runtime_dir, exist_ok=True)
    yield found
    for pool in ("one", "two"):
        file_trees.remove_tree(str(tmp_path / pool))


def host_of(site: Site) -> Host:
    return Host(site.pools, run_command, "x", site.state_dir, site.runtime_dir, 1.0, t.cast(t.Any, site.connect))


def move(site: Site, pool: str, live: bool = False, check: bool = False, **changes: t.Any) -> dict[str, t.Any]:
    return Within(host_of(site), check).move(Wish(OWNER, "r1", pool, live, **changes))


def end(site: Site) -> dict[str, t.Any]:
    return Within(host_of(site)).end(OWNER)


def the_domain(site: Site) -> FakeDomain:
    (domain,) = site.libvirt.known
    return domain


def path_of(site: Site, disk: str, pool: str) -> str:
    return layout.disk_path(site.pools[pool], "shop", "web-1", disk, "qcow2")


def files(site: Site) -> dict[str, list[str]]:
    """By pool, what is in the machine's directory."""
    found = {}
    for pool, root in site.pools.items():
        directory = layout.machine_directory(root, "shop", "web-1")
        found[pool] = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return found


def refers(site: Site, sha256: str) -> dict[str, list[str]]:
    """By pool, the names that the base has."""
    return {pool: sorted(one.kind for one in store.references(sha256) if one.kind != "disk") for pool, store in site.stores.items()}


def whole(site: Site) -> None:
    """The definition names what is there, and nothing else is there."""
    about = describe(the_domain(site).xml())
    named = {path for path, _kind in about.files}
    assert all(os.path.exists(path) for path in named), named
    there = {
        os.path.join(layout.machine_directory(site.pools[pool], "shop", "web-1"), name)
        for pool, names in files(site).items()
        for name in names
    }
    assert {path for path in there if path.endswith(".qcow2")} == {path for path in named if path.endswith(".qcow2")}
    assert not [path for path in there if path.endswith(".tmp")]
    assert MoveJournal(site.state_dir, "default", "shop").read("web-1") is None
    for path in named:
        disk = users.look(path, "")
        assert disk is None or disk.backing_path is None or os.path.exists(disk.backing_path)


SMALL = ["console.log", "report.log", "seed.iso", "seed.json"]


def test_a_machine_that_is_off_moves_with_all_it_has(site: Site) -> None:
    base = stopped(site, "web-1")
    write(path_of(site, "root", "one"), 0x22, 64 * 1024)
    Path(path_of(site, "root", "one")).with_name("console.log").write_bytes(b"booted")
    told = move(site, "two")
    assert (told["state"], told["disks"]) == ("moved", ["root"])
    assert told["bases"] == [f"clone base disk {base} from pool one to pool two"]
    assert files(site)["one"] == [] and files(site)["two"] == sorted(["data.qcow2", "root.qcow2", *SMALL])
    assert has(path_of(site, "root", "two"), 0x22, 64 * 1024) and not the_domain(site).running()
    disk = users.look(path_of(site, "root", "two"), "two")
    assert disk is not None and disk.backing == f"../../../bases/{base}/disk"
    whole(site)
    assert (move(site, "two")["state"], move(site, "two", check=True)["state"]) == ("present", "present")
    assert remove(site)["machines"][0]["problem"] is None and not any(files(site).values())


def test_a_base_that_the_pool_lacks_is_copied_once(site: Site) -> None:
    base = stopped(site, "web-1")
    one_disk(site)
    told = move(site, "two")
    assert told["bases"] == [f"clone base disk {base} from pool one to pool two"]
    assert site.stores["two"].find(base) is not None
    assert refers(site, base) == {"one": [], "two": ["name", "tenant"]}, "names go where the machine is"
    back = move(site, "one")
    assert back["bases"] == [] and refers(site, base) == {"one": ["name", "tenant"], "two": []}
    whole(site)


def one_disk(site: Site) -> None:
    """As if the machine had been made without its disk data."""
    domain = the_domain(site)
    root = ET.fromstring(domain.xml())
    devices = root.find("devices")
    assert devices is not None
    for disk in devices.findall("disk"):
        if "data" in disk.find("source").get("file", ""):  # type: ignore[union-attr]
            devices.remove(disk)
    domain._xml = ET.tostring(root, "unicode")
    os.unlink(path_of(site, "data", "two"))


def test_a_running_machine_goes_on_in_the_other_pool(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    copying(site, 0x44)
    told = move(site, "two", live=True)
    domain = the_domain(site)
    assert told["state"] == "moved" and domain.running() and domain.shallow == {"vda": True} and not domain.mirrors
    assert has(path_of(site, "root", "two"), 0x44, 64 * 1024)
    assert not os.path.exists(path_of(site, "root", "one"))
    assert [name for name in files(site)["one"] if name in SMALL], "the guest has these open"
    assert "relabel" in domain.xml().split(path_of(site, "root", "two"))[1].split("</disk>")[0], "libvirt leaves the base alone"
    whole(site)
    assert move(site, "two", live=True)["state"] == "present"
    domain.destroy()
    assert move(site, "two")["state"] == "moved" and files(site)["one"] == []
    whole(site)


def test_a_half_clone_ends_before_its_machine_moves(site: Site) -> None:
    """QEMU copies a disk once at a time."""
    deploy(site, "web-1", base=real_base(site))
    directory = layout.machine_directory(site.pools["one"], "shop", "web-5")
    os.makedirs(directory)
    half_clones.write_note(directory, "web-1", False)
    copy = Path(layout.temporary_path(directory, "root"))
    copy.touch()
    the_domain(site).mirrors["vda"] = str(copy)
    move(site, "two", live=True)
    assert not os.path.exists(directory)
    whole(site)


def test_a_guest_that_a_clone_left_standing_moves_and_goes_on(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    domain = the_domain(site)
    domain.suspend()
    seen = looking.find(t.cast(t.Any, site.libvirt), OWNER, site.stores)
    assert seen is not None and seen.told["state"] == "paused", "its operator has suspended it"
    domain.note_standing("suspended")
    assert move(site, "two", live=True)["state"] == "moved" and domain.power() == "running" and domain.stands() is None


def test_disks_that_are_being_flattened_do_not_move(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    flattening.write_note(path_of(site, "root", "one"), 0.0)
    with pytest.raises(MoveFailed, match="web-1: its disks are still being flattened"):
        move(site, "two", live=True)
    whole(site)


def test_a_machine_powers_off_moves_and_runs_again(site: Site) -> None:
    deploy(site, "web-1", base=real_base(site))
    site.libvirt.on_shutdown = lambda domain: domain.destroy()
    assert move(site, "two")["state"] == "moved" and the_domain(site).running()
    whole(site)


def test_firmware_variables_and_a_tpm_stay_with_the_machine(site: Site) -> None:
    with_firmware(site, tpm=True)
    domain = the_domain(site)
    domain._xml = site.libvirt.definitions.pop(domain.name)
    move(site, "two")
    nvram = Path(path_of(site, "root", "two")).with_name("nvram-uefi.fd")
    assert nvram.read_bytes() == b"boot order" and describe(domain.xml()).nvram == str(nvram)
    assert files(site)["one"] == []


def test_check_mode_says_what_would_move_and_touches_nothing(site: Site) -> None:
    stopped(site, "web-1")
    before = (files(site), the_domain(site).xml())
    told = move(site, "two", check=True)
    assert (told["state"], told["disks"]) == ("moved", ["root"]) and before == (files(site), the_domain(site).xml())


def test_what_stands_in_the_way_leaves_all_as_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(site, "web-1")
    before = (files(site), the_domain(site).xml())
    with pytest.raises(MoveFailed, match="is off; a live migration needs it running"):
        move(site, "two", live=True)
    other = path_of(site, "root", "two")
    Path(other).write_bytes(b"mine")
    with pytest.raises(MoveFailed, match="exists already and is not the machine's disk"):
        move(site, "two")
    assert Path(other).read_bytes() == b"mine"
    os.unlink(other)
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255)))
        with pytest.raises(MoveFailed, match=r"The pool two has 0.000 GiB free"):
            move(site, "two")
    assert before == (files(site), the_domain(site).xml())
    whole(site)


def test_a_machine_that_is_gone_does_not_move(site: Site) -> None:
    with pytest.raises(MoveFailed, match="web-1 is not on this host any more; run again"):
        move(site, "two")


def test_a_pool_that_is_gone_keeps_all_as_it_is(site: Site) -> None:
    stopped(site, "web-1")
    before = files(site)
    host_of(site).journal(OWNER).write(Entry(WITHIN, LEAVING, "r1", "web-1", "gone", False, False, False, "one", {"root": "one"}))
    with pytest.raises(MoveFailed, match="this host no longer has the pool gone; give it that pool again"):
        end(site)
    assert files(site) == before


def test_disks_that_the_definition_does_not_name_are_kept(site: Site) -> None:
    """QEMU has gone over to a copy, and somebody has changed the definition since."""
    deploy(site, "web-1", base=real_base(site))
    domain = the_domain(site)
    site.libvirt.living[domain.name] = domain.xml().replace(path_of(site, "root", "one"), path_of(site, "root", "two"))
    before = files(site)
    host_of(site).journal(OWNER).write(Entry(WITHIN, LEAVING, "r1", "web-1", "two", True, True, False, "one", {"root": "one"}))
    with pytest.raises(MoveFailed, match="web-1 runs with other disks than its definition names; nothing was removed"):
        end(site)
    assert files(site) == before


def test_a_copy_that_outgrows_its_room_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(site, "web-1", base=real_base(site))
    before = files(site)
    monkeypatch.setattr(Promise, "keep_ahead", failing)
    with pytest.raises(MoveFailed, match="something"):
        move(site, "two", live=True)
    assert files(site) == before and the_domain(site).running() and not the_domain(site).mirrors
    whole(site)


@pytest.mark.parametrize("live", [False, True])
def test_a_move_that_fails_leaves_all_as_it_was(site: Site, monkeypatch: pytest.MonkeyPatch, live: bool) -> None:
    base = deploy(site, "web-1", base=real_base(site))
    site.libvirt.on_shutdown = lambda domain: domain.destroy()
    before = files(site)
    if live:
        site.libvirt.on_copy = lambda domain, target: domain.mirrors.clear()  # QEMU has given up
    else:
        monkeypatch.setattr(Incoming, "take", failing)
    with pytest.raises(FleetError):
        move(site, "two", live=live)
    assert files(site) == before and the_domain(site).running()
    assert refers(site, base)["one"] == ["name", "tenant"]
    whole(site)


def failing(*_arguments: t.Any) -> t.Any:
    raise MoveFailed("something")


def test_what_went_wrong_on_the_way_back_is_said_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(site, "web-1")
    monkeypatch.setattr(Incoming, "make", failing)
    monkeypatch.setattr(Within, "_settle", lambda *_arguments: os.rmdir("/dev/null"))
    with pytest.raises(MoveFailed, match=r"^something And it is not as it was before: .*Not a directory") as caught:
        move(site, "two")
    assert caught.value.fields["unknown"] is True


def test_a_file_that_somebody_attached_holds_nothing_up(site: Site) -> None:
    stopped(site, "web-1")
    domain = the_domain(site)
    domain._xml = domain.xml().replace("data.qcow2", "data.img")
    here = host_of(site)
    with here.connect("x") as libvirt:
        Within(here)._complete(OWNER, t.cast(t.Any, domain), describe(domain.xml()), libvirt)
    assert "data.img" in the_domain(site).xml()


STEPS: dict[str, tuple[bool, t.Any, str]] = {
    "off: before bases": (False, Within, "_bring_bases"),
    "off: in a base": (False, transfer, "clone_base"),
    "off: before disks": (False, Incoming, "make"),
    "off: disks are there": (False, Incoming, "take"),
    "off: before small files": (False, Within, "_copy_small"),
    "off: all is there": (False, module, "moved"),
    "off: defined": (False, Within, "_clean"),
    "off: cleaned": (False, Within, "_bases_of"),
    "live: before bases": (True, Within, "_bring_bases"),
    "live: before disks": (True, Incoming, "make"),
    "live: disks are there": (True, module.disk_mirror, "move"),
    "live: mirrored": (True, module.disk_mirror, "_await"),
    "live: gone over": (True, Within, "_complete"),
    "live: before the old goes": (True, Within, "_clean"),
}


@pytest.mark.parametrize(("where", "pool"), [*((where, "two") for where in STEPS), ("off: defined", "one"), ("live: gone over", "one")])
def test_a_killed_move_is_ended_by_the_next_run(site: Site, monkeypatch: pytest.MonkeyPatch, where: str, pool: str) -> None:
    live, holder, name = STEPS[where]
    deploy(site, "web-1", base=real_base(site))
    site.libvirt.on_shutdown = lambda domain: domain.destroy()
    with monkeypatch.context() as patched:
        patched.setattr(holder, name, killed)
        patched.setattr(Within, "_back", lambda *_arguments: None)
        patched.setattr(module.disk_mirror, "_mirrored", unguarded)
        with pytest.raises(Killed):
            move(site, pool, live=live)
        said = unended(site.state_dir, OWNER)
        assert said is not None and f"its migration to the pool {pool} has not ended" in said
        with pytest.raises(MoveFailed, match="has not ended here"):
            move(site, pool)
    end(site)
    whole(site)
    assert the_domain(site).running() and not the_domain(site).mirrors
    copying(site, 0x44)
    assert move(site, pool, live=live)["state"] in ("moved", "present")
    whole(site)
    assert all(
        os.path.dirname(path) == OWNER.directory(site.pools[pool])
        for path, _kind in describe(the_domain(site).xml()).files
        if path.endswith("qcow2")
    )
    assert end(site) == {"state": "as before", "ended": False}


def killed(*_arguments: t.Any, **_more: t.Any) -> t.Any:
    raise Killed


@contextlib.contextmanager
def unguarded(domain: FakeDomain, mirrors: t.Any, timeout_s: float, promises: t.Any) -> t.Iterator[list[str]]:
    """As the real one, of a process that is killed in it: QEMU goes on mirroring."""
    targets = [module.disk_mirror.target_of(t.cast(t.Any, domain), mirror.disk) for mirror in mirrors]
    for mirror, target in zip(mirrors, targets, strict=True):
        domain.begin_copy(target, mirror.copy, mirror.shallow)
        module.disk_mirror._await(t.cast(t.Any, domain), target, float("inf"), 1.0, promises)
    yield targets
