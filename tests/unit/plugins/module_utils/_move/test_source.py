# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees, layout
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import DiskBusy
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import PortTaken, UnsafeMove
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry
from ansible_collections.basecast.fleet.plugins.module_utils._move import source as module
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import Host, MoveFailed, Numbers
from ansible_collections.basecast.fleet.plugins.module_utils._move.source import Departure, Limits, Place, Source
from ansible_collections.basecast.fleet.plugins.module_utils._move.tunnel import Peer
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Value
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.test_in_use import OPEN, process
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.conftest import Site, run_command
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.test_capture import real_base, stopped, write
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._job.test_removal import deploy
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import OWNER, FakeDomain, Known

Make = t.Callable[..., Known]


def entry(phase: str = "leaving", live: bool = False, running: bool = True, side: str = "source") -> Entry:
    return Entry(side, phase, "r1", "web-1", "kvm2", live, running, True, "default")


@pytest.mark.parametrize(
    ("live", "running", "power", "certain", "calls"),
    [
        (False, True, "off", False, ["start"]),
        (False, True, "running", False, []),
        (False, False, "off", False, []),
        (True, True, "running", False, []),
        (True, True, "off", True, []),
    ],
)
def test_an_undone_machine_is_as_it_was(known: Make, live: bool, running: bool, power: str, certain: bool, calls: list[str]) -> None:
    domain = FakeDomain(power)
    here = known(domain, entry(live=live, running=running))
    Source(here.host).undo(OWNER, "r1", certain)
    assert (domain.calls, domain.autostart(), here.entry()) == (calls, True, None)


@pytest.mark.parametrize(
    ("domain", "kept", "words"),
    [
        (FakeDomain("off"), entry(live=True), "whether kvm2 has it is not known"),
        (FakeDomain("paused"), entry(live=True), "whether kvm2 has it is not known"),
        (None, entry(), "is not defined on this host any more"),
        (FakeDomain("off"), entry("handed over"), "was handed over to kvm2"),
        (FakeDomain("off"), entry("arrived", side="target"), "was handed over to kvm2"),
    ],
)
def test_what_is_not_certain_stays_as_it_is(known: Make, domain: FakeDomain | None, kept: Entry, words: str) -> None:
    here = known(domain, kept)
    with pytest.raises(MoveFailed, match=words):
        Source(here.host).undo(OWNER, "r1")
    assert here.entry() == kept and (domain is None or domain.calls == [])


@pytest.mark.parametrize("power", ["running", "paused"])
def test_a_machine_that_somebody_started_is_not_handed_over(known: Make, power: str) -> None:
    here = known(FakeDomain(power), entry())
    with pytest.raises(MoveFailed, match="here after it was sent: it was started meanwhile"):
        Source(here.host).hand_over(OWNER, "r1")
    assert here.entry() == entry()


def test_what_went_wrong_on_the_way_back_is_said_too(known: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    here = known(FakeDomain("off"), entry())
    monkeypatch.setattr(Source, "_undo", lambda *_arguments: os.rmdir("/dev/null"))
    with (
        here.host.connect("x") as libvirt,
        pytest.raises(MoveFailed, match=r"^It broke\. And it is not as it was before: .*Not a") as caught,
    ):
        Source(here.host)._restore(entry(), OWNER, libvirt, MoveFailed("It broke."))
    assert caught.value.fields["unknown"] is True and here.entry() == entry()


def test_what_was_handed_over_is_removed_and_nothing_else(known: Make) -> None:
    here = known(FakeDomain("off"), entry())
    source, numbers = Source(here.host), Numbers(5, {})
    with pytest.raises(MoveFailed, match="was not handed over; nothing was removed"):
        source.finish(OWNER, "r1", numbers)
    assert here.removed == []
    source.hand_over(OWNER, "r1")
    source.finish(OWNER, "r1", numbers)
    source.finish(OWNER, "r1", numbers)
    assert here.removed == [OWNER] and here.entry() is None


@pytest.mark.parametrize("step", ["undo", "hand_over", "finish"])
def test_another_run_s_migration_is_not_touched(known: Make, step: str) -> None:
    """It has undone this one's meanwhile, and begun its own."""
    kept = entry("handed over" if step == "finish" else "leaving")
    here = known(FakeDomain("off"), kept)
    source = Source(here.host)
    steps: dict[str, t.Callable[[], t.Any]] = {
        "undo": lambda: source.undo(OWNER, "r2", True),
        "hand_over": lambda: source.hand_over(OWNER, "r2"),
        "finish": lambda: source.finish(OWNER, "r2", Numbers(2, {})),
    }
    with pytest.raises(MoveFailed, match="the run r1 migrates it by now, not r2"):
        steps[step]()
    assert here.entry() == kept and here.removed == []


@pytest.mark.parametrize(
    ("shared", "emulator", "cache", "insists"),
    [
        (["default"], 7_002_000, "", True),
        (["default"], 7_002_000, "cache='writeback'", True),
        (["default"], 3_001_000, "cache='none'", True),
        (["default"], 3_001_000, "cache='directsync'", True),
        (["default"], 3_001_000, "", False),
        (["default"], 3_001_000, "cache='writeback'", False),
        ([], 7_002_000, "cache='none'", False),
    ],
)
def test_libvirt_is_overruled_once_and_with_reason(known: Make, shared: list[str], emulator: int, cache: str, insists: bool) -> None:
    host = known(FakeDomain("running"), None).host
    seen = t.cast(t.Any, type("Seen", (), {"xml": f"<domain><devices><disk><driver name='qemu' {cache}/></disk></devices></domain>"}))
    departure = t.cast(Departure, type("Leaving", (), {"shared": shared}))
    live = module._Live(seen, departure, t.cast(t.Any, None), Limits(), host, emulator)
    if insists:
        live._insist()
        assert live._unsafe
    with pytest.raises(MoveFailed, match="libvirt does not consider it safe to move it while it runs"):
        live._insist()


@pytest.mark.parametrize(("refused", "moves"), [("PUM", True), ("PPPPM", True), ("PPPPP", False), ("PPPPU", False), ("UU", False)])
def test_a_machine_counts_as_moved_only_when_it_was(known: Make, monkeypatch: pytest.MonkeyPatch, refused: str, moves: bool) -> None:
    """P: the port is taken, U: libvirt does not consider it safe, M: it moves."""
    turns = iter({"P": PortTaken("taken"), "U": UnsafeMove("unsafe"), "M": None}[turn] for turn in refused)

    def attempt(_live: object, _files: object, _room: object) -> None:
        error = next(turns)
        if error is not None:
            raise error

    monkeypatch.setattr(module._Live, "_through_doors", attempt)
    files = {"send_small": lambda **_c: 0, "send_console": lambda: 0, "far_room": contextlib.nullcontext}
    monkeypatch.setattr(module, "_Files", lambda *_more: t.cast(t.Any, type("Files", (), files)))
    domain = t.cast(t.Any, type("Domain", (), {"job_statistics": dict}))
    seen = t.cast(t.Any, type("Seen", (), {"xml": "<domain/>", "domain": domain}))
    departure = t.cast(Departure, type("Leaving", (), {"shared": ["default"]}))
    live = module._Live(seen, departure, t.cast(t.Any, None), Limits(), known(FakeDomain("running"), None).host, 7_002_000)
    if moves:
        assert live.perform()["bytes"] == 0
    else:
        with pytest.raises(FleetError):
            live.perform()
    assert next(turns, "none left") == "none left"


@pytest.fixture
def site(tmp_path: Path) -> t.Iterator[Site]:
    found = Site(str(tmp_path))
    os.makedirs(found.runtime_dir, exist_ok=True)
    yield found
    for pool in ("one", "two"):
        file_trees.remove_tree(str(tmp_path / pool))


def departing(site: Site) -> tuple[Host, Departure]:
    host = Host(site.pools, run_command, "x", site.state_dir, site.runtime_dir, 1.0, t.cast(t.Any, site.connect))
    place = Place("/there", {"root": "/there/root.qcow2", "data": "/there/data.qcow2"}, {}, ["dac"])
    return host, Departure(OWNER, "r1", Peer("kvm2", "192.0.2.2", 1), False, place)


@pytest.mark.parametrize("flag", ["O_RDWR", "O_WRONLY"])
def test_a_disk_that_somebody_writes_is_not_sent(site: Site, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    """Such as qemu-nbd or guestfish on a machine that is off: a copy would be torn, and what they write then would be lost."""
    stopped(site, "web-1")
    host, departure = departing(site)
    sent: list[str] = []
    monkeypatch.setattr(module.tunnel, "send_file", lambda _peer, _tls, _machine, name, _file: sent.append(name) or 1)
    words = r"data\.qcow2 is in use by process \d+ .*; it cannot be moved until that has ended"
    data = layout.disk_path(site.pools["two"], "shop", "web-1", "data", "qcow2")
    with process(OPEN, data, flag), pytest.raises(DiskBusy, match=words):
        Source(host).send(departure, t.cast(t.Any, None), Limits())
    assert not [name for name in sent if name.endswith(".qcow2")] and host.journal(OWNER).read("web-1") is None
    Source(host).send(departure, t.cast(t.Any, None), Limits())
    assert {"root.qcow2", "data.qcow2"} < set(sent)


def test_nobody_starts_a_machine_while_its_disks_are_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(site, "web-1")
    host, departure = departing(site)
    disks = [layout.disk_path(site.pools[pool], "shop", "web-1", name, "qcow2") for name, pool in (("root", "one"), ("data", "two"))]
    tried: list[str] = []

    def send(_peer: object, _tls: object, _machine: str, name: str, _file: int) -> int:
        if name.endswith(".qcow2"):
            writers = [subprocess.run(["qemu-io", "-c", "write 0 1k", disk], capture_output=True, text=True, check=False) for disk in disks]
            tried.extend(writer.stderr for writer in writers)
        return 1

    monkeypatch.setattr(module.tunnel, "send_file", send)
    Source(host).send(departure, t.cast(t.Any, None), Limits())
    assert len(tried) == 4 and all('Failed to get "write" lock' in said for said in tried), tried


@pytest.mark.parametrize("after", ["nothing", "written", "removed"])
def test_what_was_written_after_it_was_sent_is_not_lost(site: Site, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    """Somebody has started the machine, and it has powered off again, between two steps of the run."""
    stopped(site, "web-1")
    host, departure = departing(site)
    monkeypatch.setattr(module.tunnel, "send_file", lambda *_arguments: 1)
    Source(host).send(departure, t.cast(t.Any, None), Limits())
    disk = layout.disk_path(site.pools["two"], "shop", "web-1", "data", "qcow2")
    if after == "nothing":
        assert Source(host).hand_over(OWNER, "r1") == {"state": "handed over"}
        return
    if after == "written":
        write(disk, 0x33)
    else:
        os.rename(disk, disk + ".away")
    with pytest.raises(MoveFailed, match=r"data\.qcow2 has changed after it was sent: web-1 was started meanwhile"):
        Source(host).hand_over(OWNER, "r1")
    found = host.journal(OWNER).read("web-1")
    assert found is not None and found.phase == "leaving"


def test_a_copy_that_a_killed_run_began_hinders_no_migration(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(site, "web-1", base=real_base(site))
    (domain,) = site.libvirt.known
    host, departure = departing(site)
    domain.mirrors["vda"] = layout.capture_path(layout.machine_directory(site.pools["one"], "shop", "web-1"), "root")
    monkeypatch.setattr(site.libvirt, "emulator_version", lambda: 8_000_000, raising=False)
    monkeypatch.setattr(module._Live, "perform", lambda _live: {"mirrors": dict(domain.mirrors)})
    assert Source(host).send(departure._replace(live=True), t.cast(t.Any, None), Limits())["mirrors"] == {}


def test_a_machine_that_is_gone_is_not_sent(site: Site) -> None:
    host, departure = departing(site)
    with pytest.raises(MoveFailed, match="web-1 is not on this host any more; run again"):
        Source(host).send(departure, t.cast(t.Any, None), Limits())


def test_what_does_not_leave_is_not_handed_over(known: Make) -> None:
    with pytest.raises(MoveFailed, match="web-1 does not leave this host; run again"):
        Source(known(FakeDomain("off"), None).host).hand_over(OWNER, "r1")


def test_without_a_port_on_both_hosts_it_is_said(known: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PORTS_TRIED", 2)
    asked: list[dict[str, t.Any]] = []
    monkeypatch.setattr(module.tunnel, "ask", lambda _peer, _tls, question: asked.append(question) or Value({"free": False}, "b"))
    departure = t.cast(Departure, type("Leaving", (), {"peer": Peer("b", "192.0.2.2", 1)}))
    live = module._Live(t.cast(t.Any, None), departure, t.cast(t.Any, None), Limits(), known(FakeDomain("running"), None).host, 0)
    with (
        contextlib.ExitStack() as held,
        pytest.raises(MoveFailed, match=r"2 ports from 61000 to 65535 were tried, and none is free on 127"),
    ):
        live._port_door(held)
    assert len(asked) == 2
