# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry
from ansible_collections.basecast.fleet.plugins.module_utils._machine.network_dns import NetworkDns
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._move import target
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import MoveFailed, Numbers
from ansible_collections.basecast.fleet.plugins.module_utils._move.incoming import Disk
from ansible_collections.basecast.fleet.plugins.module_utils._move.target import Arrival, Target
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import OWNER, FakeDomain, Known

Make = t.Callable[..., Known]
XML_NAMED = f"""<domain type='kvm'><name>shop-web-1</name><uuid>{OWNER.domain_uuid}</uuid><metadata>
  <basecast:machine xmlns:basecast='urn:basecast:fleet:machine' tenant='default' service='shop' machine='web-1' number='1'>
  <basecast:spec>{{"networks": []}}</basecast:spec></basecast:machine></metadata></domain>"""


def entry(live: bool = False, running: bool = True, side: str = "target") -> Entry:
    return Entry(side, "arrived" if side == "target" else "leaving", "r1", "web-1", "kvm1", live, running, True, "default")


@pytest.mark.parametrize(
    ("live", "running", "power", "calls"),
    [
        (False, True, "paused", ["resume"]),
        (False, True, "off", ["start"]),
        (False, False, "off", []),
        (True, True, "running", []),
        (True, True, "off", []),
    ],
)
def test_a_machine_goes_on_as_it_was(known: Make, live: bool, running: bool, power: str, calls: list[str]) -> None:
    domain = FakeDomain(power)
    here = known(domain, entry(live, running))
    Target(here.host).finish(OWNER, "r1", Numbers(2, {}))
    assert (domain.calls, domain.autostart(), here.entry()) == (calls, True, None)


@pytest.mark.parametrize("power", ["paused", "off", None])
def test_what_has_come_is_removed(known: Make, power: str | None) -> None:
    here = known(FakeDomain(power) if power else None, entry())
    Target(here.host).undo(OWNER, "r1")
    Target(here.host).undo(OWNER, "r1")
    assert here.removed == [OWNER] and here.entry() is None


def test_a_machine_that_runs_here_is_not_removed(known: Make) -> None:
    here = known(FakeDomain("running"), entry(live=True))
    with pytest.raises(MoveFailed, match="runs on the target; nothing was removed"):
        Target(here.host).undo(OWNER, "r1")
    assert here.removed == [] and here.entry() == entry(live=True)


def test_a_machine_that_leaves_this_host_is_not_removed(known: Make) -> None:
    here = known(FakeDomain("off"), entry(side="source"))
    with pytest.raises(MoveFailed, match="leaves this host"):
        Target(here.host).undo(OWNER, "r1")
    assert here.removed == []


OTHERS = {
    "nothing else": (None, False),
    "another run's machine": (entry()._replace(run="r2", machine="web-2"), False),
    "another machine of the run": (entry()._replace(machine="web-2"), True),
}


@pytest.mark.parametrize(("other", "stays"), OTHERS.values(), ids=OTHERS)
def test_the_door_of_a_killed_run_is_closed(known: Make, other: Entry | None, stays: bool) -> None:
    """Another run finishes what it began; its door stays as long as it is to let in another machine."""
    here = known(FakeDomain("running", True), entry(live=True))
    doors = Path(here.host.runtime_dir, ".migrations")
    doors.mkdir()
    (doors / "r1.json").write_text('{"pid": 1, "start_time": 1, "port": 47700}')
    (doors / "r1.json.log").write_text("")
    if other is not None:
        here.host.journal(OWNER).write(other)
    Target(here.host).finish(OWNER, "r1", Numbers(2, {}))
    assert bool(list(doors.iterdir())) is stays


def test_a_file_that_cannot_be_read_keeps_the_door(known: Make) -> None:
    here = known(FakeDomain("running", True), entry(live=True))
    here.host.journal(OWNER).write(entry()._replace(machine="web-2"))
    Path(here.host.state_dir, "migrations", "default", "shop", "web-2.json").write_text("{")
    doors = Path(here.host.runtime_dir, ".migrations")
    doors.mkdir()
    (doors / "r1.json").write_text('{"pid": 1, "start_time": 1, "port": 47700}')
    Target(here.host).finish(OWNER, "r1", Numbers(2, {}))
    assert here.entry() is None and list(doors.iterdir())


@pytest.mark.parametrize("step", ["undo", "finish"])
def test_another_run_s_migration_is_not_touched(known: Make, step: str) -> None:
    here = known(FakeDomain("paused"), entry())
    target = Target(here.host)
    with pytest.raises(MoveFailed, match="the run r1 migrates it by now, not r2"):
        target.undo(OWNER, "r2") if step == "undo" else target.finish(OWNER, "r2", Numbers(2, {}))
    assert here.entry() == entry() and here.removed == []


def test_what_both_hosts_have_stays_when_a_migration_is_undone(known: Make) -> None:
    """The fixture compares the pools that the removal is told of."""
    begun = entry()._replace(phase="arriving", shared=("default",))
    here = known(FakeDomain("off"), begun)
    home = Path(OWNER.directory(here.host.pools["default"]))
    home.mkdir(parents=True)
    (home / "root.qcow2").write_bytes(b"disk")
    (home / ".domain.xml.tmp").write_bytes(b"sent")
    assert here.entry() == begun
    Target(here.host).undo(OWNER, "r1")
    assert here.removed == [OWNER] and [path.name for path in home.iterdir()] == ["root.qcow2"]


@pytest.mark.parametrize("link", ["machines", "machines/shop", "machines/shop/web-1"])
def test_a_second_attempt_removes_nothing_behind_a_link(known: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    """The first has seen to it that the place is free; a link is put there in between."""
    here = known(None, entry(running=False)._replace(phase="arriving"))
    monkeypatch.setattr(Target, "_check_libvirt", lambda *_unused: None)
    others = tmp_path / "others" / "machines" / "shop" / "web-1"
    others.mkdir(parents=True)
    disk = others / "root.raw"
    disk.write_bytes(b"not ours")
    place = tmp_path / "pool" / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / "others" / link)
    arrival = Arrival(OWNER, "r1", "kvm1", False, False, False, "default", [Disk("root", "default", "raw", 512, None)], "", None, "", "")
    with pytest.raises(UnsafePath, match="symbolic link"):
        Target(here.host).prepare(arrival)
    with pytest.raises(UnsafePath, match="symbolic link"):
        Target(here.host).undo(OWNER, "r1")
    assert disk.read_bytes() == b"not ours"


ARRIVAL = Arrival(OWNER, "r1", "kvm1", False, False, False, "default", [], "x86_64", "pc-q35-7.2", "kvm", "")


@pytest.mark.parametrize("kept", [None, entry(side="source")])
def test_what_nobody_has_announced_is_not_taken(known: Make, kept: Entry | None) -> None:
    here = known(None, kept)
    with pytest.raises(MoveFailed, match="web-1 is not expected here; run again"):
        Target(here.host).receive(ARRIVAL)
    assert here.entry() == kept


class Offering:
    """A libvirt with these domains, and QEMU of these kinds."""

    def __init__(self, *names: str, offers: bool = True) -> None:
        self._names, self._offers = names, offers

    def domains(self) -> list[t.Any]:
        return [types.SimpleNamespace(name=name, uuid="1") for name in self._names]

    def offers(self, *_kind: object) -> bool:
        return self._offers


@pytest.mark.parametrize(
    ("libvirt", "words"),
    [
        (Offering("other", "shop-web-1"), r"The target has a domain shop-web-1 \(UUID 1\) already; undefine or rename it"),
        (
            Offering("other", offers=False),
            r"QEMU does not offer the machine type pc-q35-7\.2 for x86_64 \(kvm\); choose another host, or install the QEMU that the source",
        ),
    ],
)
def test_a_libvirt_that_cannot_take_the_machine_says_why(known: Make, libvirt: Offering, words: str) -> None:
    with pytest.raises(MoveFailed, match=words):
        Target(known(None, None).host)._check_libvirt(ARRIVAL, t.cast(t.Any, libvirt))


def test_a_machine_that_has_come_is_named_here(known: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[Owner] = []
    monkeypatch.setattr(NetworkDns, "ensure", lambda _self, owner, _spec: named.append(owner))
    here = known(FakeDomain("paused"), entry())
    Target(here.host).finish(OWNER, "r1", Numbers(2, {}))
    assert named == [OWNER]


def test_a_machine_whose_name_is_taken_here_stays(known: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(NetworkDns, "problems", lambda _self, owner, spec: ["It is taken."] if spec else [])
    monkeypatch.setattr(target, "file_io", types.SimpleNamespace(read_file=lambda _path, _largest: XML_NAMED.encode()))
    here = known(None, entry()._replace(phase="arriving"))
    arrival = Arrival(OWNER, "r1", "kvm1", False, True, True, "default", [], "x86_64", None, "kvm", "")
    with pytest.raises(MoveFailed, match=r"^web-1: It is taken\.$"):
        Target(here.host).receive(arrival)
