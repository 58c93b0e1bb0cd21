# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import DiskConflict
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Disk, MachineWish, describe
from ansible_collections.basecast.fleet.plugins.module_utils._machine.growth import NotRunning, grow
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machines import Machines

from .conftest import FakeDomain, FakeHost

GIB = 2**30


@pytest.fixture
def domain(host: FakeHost, make_wish: t.Callable[..., MachineWish]) -> FakeDomain:
    """A running machine with two disks of 1 GiB."""
    directory = make_wish().directory
    disks = tuple(Disk(name, f"{directory}/{name}.raw", "raw") for name in ("root", "data"))
    for disk in disks:
        Path(disk.path).touch()
    wish = make_wish(disks=disks, spec={"cpus": 1, "disks": {"root": {"size_bytes": GIB}, "data": {"size_bytes": GIB}}}, seed=None)
    Machines(host, check=False).ensure([wish], start=False)
    (made,) = host.domains()
    made.is_running = True
    made.sizes = {"vda": GIB, "vdb": GIB}
    return made


def grown(host: FakeHost, wish: MachineWish, check: bool = False, **sizes: int) -> list[tuple[str, int, int]]:
    return [(one.name, one.before_bytes, one.size_bytes) for one in grow(host, wish.owner, {wish.directory}, sizes, check)]


def test_a_disk_grows_and_the_new_size_is_noted(host: FakeHost, domain: FakeDomain, make_wish: t.Callable[..., MachineWish]) -> None:
    assert grown(host, make_wish(), check=True, data=2 * GIB) == [("data", GIB, 2 * GIB)]
    assert domain.sizes == {"vda": GIB, "vdb": GIB}
    assert grown(host, make_wish(), data=2 * GIB) == [("data", GIB, 2 * GIB)]
    assert domain.sizes == {"vda": GIB, "vdb": 2 * GIB}
    spec = describe(domain.xml()).spec
    assert spec == {"cpus": 1, "disks": {"root": {"size_bytes": GIB}, "data": {"size_bytes": 2 * GIB}}}
    before = domain.xml()
    assert grown(host, make_wish(), data=2 * GIB) == [("data", 2 * GIB, 2 * GIB)]
    assert domain.xml() == before


def test_a_size_that_an_interrupted_run_did_not_note_is_noted(
    host: FakeHost, domain: FakeDomain, make_wish: t.Callable[..., MachineWish]
) -> None:
    domain.sizes["vdb"] = 2 * GIB
    grown(host, make_wish(), data=2 * GIB)
    assert describe(domain.xml()).spec["disks"]["data"] == {"size_bytes": 2 * GIB}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [({"data": GIB // 2}, "a disk does not shrink"), ({"other": GIB}, "has no disk other"), ({"root": 2 * GIB, "data": 1}, "not shrink")],
)
def test_what_cannot_be_grows_nothing(
    host: FakeHost, domain: FakeDomain, make_wish: t.Callable[..., MachineWish], sizes: dict[str, int], words: str
) -> None:
    with pytest.raises(DiskConflict, match=words):
        grown(host, make_wish(), **sizes)
    assert domain.sizes == {"vda": GIB, "vdb": GIB}


def test_a_machine_that_is_off_is_told(host: FakeHost, domain: FakeDomain, make_wish: t.Callable[..., MachineWish]) -> None:
    domain.is_running = False
    with pytest.raises(NotRunning, match="web-1 does not run on this host"):
        grown(host, make_wish(), data=2 * GIB)
    with pytest.raises(NotRunning):
        grow(host, make_wish("web-9").owner, set(), {"data": 2 * GIB}, False)
