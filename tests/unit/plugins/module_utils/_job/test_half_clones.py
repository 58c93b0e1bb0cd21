# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What clones make of them is in test_cloning.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import layout
from ansible_collections.basecast.fleet.plugins.module_utils._job import half_clones
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._machine.conftest import FakeDomain

from .conftest import Site
from .test_capture import capture, real_base, root_of
from .test_cloning import clone, files_of
from .test_removal import deploy, remove


def half_clone(site: Site, name: str = "web-5", of: str = "web-1") -> tuple[FakeDomain, list[str]]:
    """As a run leaves it that is killed while QEMU copies; QEMU goes on with it."""
    domain = next(one for one in site.libvirt.known if one.name == f"shop-{of}")
    directories = []
    for pool, disk, target in (("one", "root", "vda"), ("two", "data", "vdb")):
        directory = layout.machine_directory(site.pools[pool], "shop", name)
        os.makedirs(directory)
        half_clones.write_note(directory, of, False)
        copy = Path(layout.temporary_path(directory, disk))
        copy.touch()
        domain.mirrors[target] = str(copy)
        directories.append(directory)
    return domain, directories


def test_those_of_a_service_are_found_in_all_pools(site: Site) -> None:
    deploy(site, "web-1")
    _domain, directories = half_clone(site)
    (found,) = half_clones.find(site.pools, "shop")
    assert (found.name, found.of, list(found.directories.values())) == ("web-5", "web-1", directories)
    half_clones.write_note(directories[0], "web-1", True)
    half_clones.write_note(directories[1], "web-1", True)
    assert half_clones.find(site.pools, "shop") == []


def test_one_that_is_complete_in_one_pool_is_complete(site: Site) -> None:
    """Notes are completed one after another, once all disks are there."""
    deploy(site, "web-1", base=real_base(site))
    site.libvirt.known[0].is_running = False
    clone(site)
    directories = [os.path.dirname(root_of(site, "web-9")), layout.machine_directory(site.pools["two"], "shop", "web-9")]
    half_clones.write_note(directories[1], "web-1", False)
    assert half_clones.find(site.pools, "shop") == []
    assert clone(site, name="web-8").changed and files_of(site, "web-9")
    assert not clone(site).changed and half_clones.read_note(directories[1]) == {"source": "web-1", "complete": True}


def test_a_capture_ends_the_copies_that_it_would_meet(site: Site) -> None:
    deploy(site, "web-1", "web-2", base=real_base(site))
    domain, directories = half_clone(site)
    _other, kept = half_clone(site, "web-6", "web-2")
    with pytest.raises(AssertionError):
        domain.begin_copy("vda", root_of(site, "web-1"), True)
    assert capture(site).changed
    assert not domain.mirrors and not any(os.path.exists(path) for path in directories)
    assert all(os.path.exists(path) for path in kept)


@pytest.mark.parametrize(("meant", "is_read"), [(["web-5"], True), (["web-2"], True), (None, True), (["web-5"], False)])
def test_its_removal_ends_the_copies(site: Site, meant: list[str] | None, is_read: bool) -> None:
    deploy(site, "web-1", "web-2")
    domain, directories = half_clone(site)
    for directory in [] if is_read else directories:
        Path(layout.clone_path(directory)).write_text("{", encoding="utf-8")
    remove(site, meant, check=True)
    assert len(domain.mirrors) == 2
    told = remove(site, meant)
    assert all(one["problem"] is None for one in told["machines"])
    is_gone = meant != ["web-2"]
    assert bool(domain.mirrors) != is_gone and [os.path.exists(path) for path in directories] == [not is_gone] * 2


def test_its_removal_keeps_no_disks_of_it(site: Site) -> None:
    """They are none yet. Those of machines are kept."""
    deploy(site, "web-1")
    _domain, directories = half_clone(site)
    for check in (True, False):
        told = remove(site, ["web-1", "web-5"], keep_disks=True, check=check)
        assert {one["machine"]: one["actions"] for one in told["machines"]}["web-5"] == ["cleaned"]
        assert [os.path.exists(path) for path in directories] == [check] * 2
    assert os.path.exists(root_of(site, "web-1"))


def test_one_that_has_become_a_machine_stays(site: Site) -> None:
    deploy(site, "web-1", "web-2", base=real_base(site))
    directory = os.path.dirname(root_of(site, "web-2"))
    half_clones.write_note(directory, "web-1", False)
    capture(site)
    assert os.path.exists(root_of(site, "web-2"))


def test_its_notes_go_last(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the next run undoes what interrupts it."""
    deploy(site, "web-1")
    domain, directories = half_clone(site)
    notes = [layout.clone_path(path) for path in directories]
    gone: list[str] = []
    remove = half_clones.file_io.remove_file

    def note_and_remove(path: str) -> object:
        gone.append(path)
        return remove(path)

    monkeypatch.setattr(half_clones.file_io, "remove_file", note_and_remove)
    half_clones.end(None, directories)
    assert gone[-2:] == notes and len(gone) == 4 and len(domain.mirrors) == 2
