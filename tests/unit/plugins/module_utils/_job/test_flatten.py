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
from ansible_collections.basecast.fleet.plugins.module_utils._disk import disk_records, layout, users
from ansible_collections.basecast.fleet.plugins.module_utils._disk.disk_decisions import Wish
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import DiskConflict
from ansible_collections.basecast.fleet.plugins.module_utils._disk.overlay import Disks
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._job import flatten, half_clones
from ansible_collections.basecast.fleet.plugins.module_utils._job.capture import CaptureRefused
from ansible_collections.basecast.fleet.plugins.module_utils._job.cloning import CloneRefused
from ansible_collections.basecast.fleet.plugins.module_utils._machine import flattening, inquiry
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Description, describe
from ansible_collections.basecast.fleet.plugins.module_utils._machine.growth import grow
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._machine.conftest import FakeDomain

from .conftest import Site, run_command
from .test_capture import capture, has, root_of, stopped, write
from .test_cloning import clone, files_of, made

CLONE = Owner("default", "shop", "web-9")


def data_of(site: Site, name: str) -> str:
    return layout.disk_path(site.pools["two"], "shop", name, "data", "qcow2")


def go_on(site: Site, **changes: t.Any) -> list[dict[str, t.Any]]:
    request = flatten.Request("qemu:///system", site.state_dir, site.runtime_dir, **changes)
    return flatten.go_on(request, site.stores, run_command, connect=t.cast(t.Any, site.connect))


def running_clone(site: Site, mbps: float | None = None) -> tuple[str, FakeDomain]:
    """web-9, whose disks QEMU has begun to flatten."""
    base = stopped(site, "web-1")
    write(root_of(site, "web-1"), 0x22, 64 * 1024)
    assert clone(site, background=True, mbps=mbps).changed
    assert made(site, "web-9", base)["state"] == "done"
    return base, next(one for one in site.libvirt.known if one.name == "shop-web-9")


def qemu_ends(domain: FakeDomain, *paths: str) -> None:
    """As QEMU does it: all that the base has is in the disk, and neither the disk nor the definition names it."""
    domain.pulls.clear()
    for path in paths:
        subprocess.run(["qemu-img", "rebase", "-f", "qcow2", "-b", "", path], check=True)


def about(domain: FakeDomain) -> Description:
    return describe(domain.xml())


def test_a_clone_starts_over_its_base_and_loses_it_later(site: Site) -> None:
    base, domain = running_clone(site, mbps=8)
    assert domain.running() and domain.pulls == {"vda": 1_000_000, "vdb": 1_000_000}
    assert layout.base_of(_look(root_of(site, "web-9")).backing_path) == base
    assert flattening.progress(t.cast(t.Any, domain), site.pools, CLONE) == (True, 25)
    again = made(site, "web-9", base)
    assert again["state"] == "done" and again["changed"] is False


def test_the_smallest_limit_is_one(site: Site) -> None:
    """0 would be none."""
    _base, domain = running_clone(site, mbps=1e-7)
    assert domain.pulls == {"vda": 1, "vdb": 1}


def _look(path: str) -> users.FoundDisk:
    found = users.look(path, "one")
    assert found is not None
    return found


def test_what_qemu_has_ended_is_told_and_forgotten(site: Site) -> None:
    base, domain = running_clone(site)
    store = site.stores["one"]
    assert disk_records.record_of(data_of(site, "web-9"), "default") in store.references(base)
    qemu_ends(domain, root_of(site, "web-9"), data_of(site, "web-9"))
    assert go_on(site, check=True)[0]["done"] and os.path.exists(layout.flatten_path(os.path.dirname(root_of(site, "web-9")), "root"))
    (told,) = go_on(site)
    assert (told["machine"], told["state"], told["problem"]) == ("web-9", flatten.FLATTENED, None)
    assert disk_records.record_of(data_of(site, "web-9"), "default") not in store.references(base)
    assert go_on(site) == [] and not any(path.endswith(".flatten.json") for path in files_of(site, "web-9"))
    assert has(root_of(site, "web-9"), 0x11) and has(root_of(site, "web-9"), 0x22, 64 * 1024)
    origin = json.loads(open(layout.origin_path(os.path.dirname(root_of(site, "web-9")), "root"), encoding="utf-8").read())
    assert (origin["base"], origin["differencing"]) == (base, False)


def test_a_machine_that_is_off_is_flattened_at_once(site: Site) -> None:
    _base, domain = running_clone(site)
    domain.destroy()
    domain.pulls.clear()
    assert flattening.progress(None, site.pools, CLONE) == (False, 0)
    assert "backingStore" in domain.xml() and "/bases/" in domain.xml()
    before = domain.xml()
    assert len(go_on(site, check=True)[0]["done"]) == 2 and domain.xml() == before
    (told,) = go_on(site)
    assert told["state"] == flatten.FLATTENED and "/bases/" not in domain.xml()
    assert _look(root_of(site, "web-9")).backing is None and has(root_of(site, "web-9"), 0x11)


def test_no_file_of_the_host_comes_into_a_disk(site: Site, tmp_path: Path) -> None:
    _base, domain = running_clone(site)
    domain.destroy()
    domain.pulls.clear()
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 65536)
    subprocess.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", str(secret), root_of(site, "web-9")], check=True)
    for check in (True, False):
        (told,) = go_on(site, check=check)
        assert told["state"] == flatten.FAILED and "is not a base disk in one of the host's pools" in str(told["problem"])
    assert b"s" * 512 not in Path(root_of(site, "web-9")).read_bytes()


def test_a_saved_guest_keeps_its_base(site: Site) -> None:
    """What was saved names the base, and could not be started without it."""
    _base, domain = running_clone(site)
    domain.destroy()
    domain.pulls.clear()
    domain.is_saved = True
    for check in (True, False):
        (told,) = go_on(site, check=check)
        assert told["state"] == flatten.FAILED and "its memory was saved (virsh managedsave)" in str(told["problem"])
    assert _look(root_of(site, "web-9")).backing is not None


@pytest.mark.parametrize("begun", [0, 1])
def test_what_has_stopped_goes_on(site: Site, begun: int) -> None:
    """The guest was powered off and has started again: QEMU knows nothing of it, or of one of its disks."""
    base, domain = running_clone(site)
    domain.pulls = dict(list(domain.pulls.items())[:begun])
    told = made(site, "web-9", base) if begun else None
    (found,) = go_on(site)
    assert domain.pulls == {"vda": 0, "vdb": 0} and found["state"] == flatten.GOING_ON
    assert told is None or told["changed"]
    assert go_on(site)[0]["done"] == []


def test_a_clone_that_is_there_loses_its_base_when_asked(site: Site) -> None:
    base = stopped(site, "web-1")
    clone(site)
    made(site, "web-9", base)
    domain = site.libvirt.known[-1]
    assert not domain.pulls and clone(site, background=True, check=True).changed and flattening.noted_disks(site.pools, CLONE) == []
    assert clone(site, background=True).changed and not clone(site, background=True).changed
    made(site, "web-9", base)
    assert domain.pulls == {"vda": 0, "vdb": 0}
    assert clone(site, background=True, mbps=16).changed
    made(site, "web-9", base)
    assert domain.pulls == {"vda": 2_000_000, "vdb": 2_000_000}


def test_one_machine_that_fails_keeps_no_other_from_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    base, domain = running_clone(site)
    assert clone(site, name="web-8", background=True).changed
    made(site, "web-8", base)
    other = site.libvirt.known[-1]
    domain.pulls.clear()
    other.pulls.clear()

    def refuse(_target: str, _bytes_s: int) -> t.NoReturn:
        raise LibvirtError("libvirt could not flatten the disk: no")

    monkeypatch.setattr(domain, "begin_pull", refuse)
    told = {one["machine"]: (one["state"], one["problem"]) for one in go_on(site)}
    assert told["web-9"] == (flatten.FAILED, "web-9 keeps its bases for now: libvirt could not flatten the disk: no")
    assert told["web-8"] == (flatten.GOING_ON, None) and len(other.pulls) == 2
    assert "web-9 keeps its bases for now" in made(site, "web-9", base)["warnings"][0]


def test_its_disks_are_left_alone_until_it_has_ended(site: Site) -> None:
    _base, domain = running_clone(site)
    words = "web-9: its disks are still being flattened; wait until that has ended"
    with pytest.raises(CloneRefused, match=words):
        clone(site, "web-9", "web-10")
    with pytest.raises(CaptureRefused, match=words):
        capture(site, "web-9")
    domain.sizes = {"vda": 1 << 20, "vdb": 1 << 20}
    with pytest.raises(DiskConflict, match="The disk root of web-9 is being flattened; it grows when that has ended"):
        grow(t.cast(t.Any, site.libvirt), CLONE, {os.path.dirname(root_of(site, "web-9"))}, {"root": 2 << 20}, False)


def test_the_roster_tells_how_far_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    running_clone(site)
    monkeypatch.setattr(inquiry, "LibvirtHost", site.connect)
    monkeypatch.setattr(site.libvirt, "others", lambda _tenant: None, raising=False)
    found = {one["machine"]: one["flattening"] for one in inquiry.roster("qemu:///system", site.pools, "default")["machines"]}
    assert found == {"web-1": None, "web-9": {"going_on": True, "percent": 25}}


def test_an_interrupted_clone_leaves_no_note_behind(site: Site) -> None:
    stopped(site, "web-1")
    clone(site, background=True)
    for path in (root_of(site, "web-9"), data_of(site, "web-9")):
        half_clones.write_note(os.path.dirname(path), "web-1", False)
    assert clone(site).changed and flattening.noted_disks(site.pools, CLONE) == []


def test_a_disk_that_is_made_anew_keeps_its_base(site: Site) -> None:
    """As an update to another base makes it, while the other disk is still being flattened."""
    _base, domain = running_clone(site)
    domain.destroy()
    domain.pulls.clear()
    Disks(site.stores, QemuImg(run_command), "default", "shop").absent([Wish("web-9", "root", None)])
    assert flattening.noted_disks(site.pools, CLONE) == [data_of(site, "web-9")]
