# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine import files
from ansible_collections.basecast.fleet.plugins.module_utils._machine.backing import Layer
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Card, MachineWish, Platform, build, describe
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machines import Machine, Machines, MachinesFailed
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry, MoveJournal
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

from .conftest import OFFERED

TOKEN = "0123456789abcdef"


@pytest.fixture
def machines(host: t.Any) -> t.Callable[..., Machines]:
    """A new look at the host, as every call of the module takes it."""
    return lambda **options: Machines(host, **{"clock": host.clock, "sleep": host.sleep, **options})


def _seeded(wish: MachineWish, hostname: str | None = None, token: str | None = TOKEN) -> MachineWish:
    """The wish with a seed (of which only the record matters here)."""
    record: dict[str, t.Any] = {
        "digest": "d" * 64,
        "token": token,
        "hostname": hostname or wish.owner.machine,
        "instance_id": "i",
        "outline": {},
    }
    for name, content in (("seed.json", json.dumps(record)), ("seed.iso", "")):
        with open(os.path.join(wish.directory, name), "w", encoding="utf-8") as file:
            file.write(content)
    return replace(wish, seed=os.path.join(wish.directory, "seed.iso"))


def _say(wish: MachineWish, **changes: t.Any) -> None:
    report = {"token": TOKEN, "hostname": wish.owner.machine, "instance_id": "i", "status": "done", "addresses": []}
    with open(wish.report, "a", encoding="utf-8") as file:
        file.write("BASECAST-REPORT " + json.dumps({**report, **changes}) + "\n")


def _only(found: t.Sequence[Machine]) -> Machine:
    assert len(found) == 1
    return found[0]


# Defining and starting


def test_a_missing_machine_is_defined_and_started_once(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    first = _only(machines().ensure([wish], start=True))
    second = _only(machines().ensure([wish], start=True))
    assert (first.actions, second.actions) == (["defined", "started"], [])
    assert second.running and second.drift == []
    assert host.known[0].starts_itself
    assert second.result()["spec"] == {"version": 1}
    assert second.result()["uuid"] == wish.owner.domain_uuid


def test_defined_neither_starts_nor_stops(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    assert not _only(machines().ensure([wish], start=False)).running
    host.known[0].start()
    again = _only(machines().ensure([wish], start=False))
    assert (again.running, again.actions) == (True, [])


def test_check_mode_predicts_and_changes_nothing(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    os.unlink(wish.disks[0].path)  # an earlier step of the run would make it
    machine = _only(machines(check=True).ensure([wish], start=True))
    assert (machine.actions, host.known) == (["defined", "started"], [])
    assert machine.shown()["state"] == "running"


def test_an_existing_machine_is_never_redefined(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=False)
    before = host.known[0].xml()
    changed = replace(wish, memory_mib=512, spec={"version": 2}, hardware={"autostart": False})
    machine = _only(machines().ensure([changed], start=True))
    assert host.known[0].xml() == before
    assert machine.actions == ["started"]
    assert machine.drift == [
        {"path": "memory_mib", "from": 256, "to": 512},
        {"path": "spec.version", "from": 1, "to": 2},
        {"path": "autostart", "from": True, "to": False},
    ]


def test_a_chain_that_changed_is_told_to_libvirt_before_the_start(
    host: t.Any, machines: t.Any, make_wish: t.Any, monkeypatch: t.Any
) -> None:
    module = "ansible_collections.basecast.fleet.plugins.module_utils._machine.machines.backing_chain"
    monkeypatch.setattr(module, lambda path, image_format, places: [Layer("/pool/bases/old/disk", "qcow2")])
    wish = make_wish()
    machines().ensure([wish], start=False)
    assert "/pool/bases/old/disk" in host.known[0].xml()
    monkeypatch.setattr(module, lambda path, image_format, places: [])
    machines(check=True).ensure([wish], start=True)
    assert "/pool/bases/old/disk" in host.known[0].xml()
    machines().ensure([wish], start=True)
    assert "/pool/bases/old/disk" not in host.known[0].xml()


def test_one_machine_that_does_not_start_does_not_keep_the_others(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.broken = {"shop-web-1"}
    bad, good = machines().ensure([make_wish("web-1"), make_wish("web-2")], start=True)
    assert (bad.reason, bad.problem) == ("start_failed", "libvirt could not start shop-web-1: no such thing")
    assert (bad.actions, bad.running) == (["defined"], False)
    assert (good.problem, good.running) == (None, True)


# Refusals: nothing is changed


def _refused(host: t.Any, machines: t.Any, wishes: t.Sequence[MachineWish], message: str) -> None:
    known = [domain.xml() for domain in host.known]
    with pytest.raises(FleetError, match=message):
        machines().ensure(wishes, start=True)
    assert [domain.xml() for domain in host.known] == known


def test_hardware_that_the_host_cannot_give_is_refused_at_once(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.offered = "<domainCapabilities/>"
    wishes = [make_wish(f"web-{number}", hardware={"firmware": "uefi", "tpm": "2.0"}) for number in (1, 2)]
    with pytest.raises(MachinesFailed) as caught:
        machines().ensure(wishes, start=True)
    firmware, tpm = caught.value.fields["problems"]
    assert firmware.startswith("firmware: the host has no UEFI firmware") and firmware.endswith("(wanted by web-1, web-2).")
    assert tpm.startswith("tpm: the host cannot emulate a TPM 2.0") and not host.known
    host.offered = OFFERED
    assert all(machine.running for machine in machines().ensure(wishes, start=True))
    host.offered = "<domainCapabilities/>"
    assert all(not machine.problem for machine in machines().ensure(wishes, start=True)), "those that exist have theirs"


@pytest.mark.parametrize("keep", [True, False])
def test_firmware_variables_stay_where_the_machine_is_made_again(keep: bool, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish(hardware={"firmware": "uefi"})
    machines().ensure([wish], start=True)
    path = Path(wish.directory) / "nvram-uefi.fd"
    path.write_text("boot order")
    assert machines().remove([wish.owner], {wish.owner: wish.directory}, keep_firmware=keep)[0].problem is None
    assert path.exists() == keep and host.kept_firmware == {"shop-web-1": keep}


def test_variables_in_whose_place_a_link_was_put_keep_it_off(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish(hardware={"firmware": "uefi"})
    machines().ensure([wish], start=False)
    os.symlink("/etc/passwd", os.path.join(wish.directory, "nvram-uefi.fd"))
    found = _only(machines().ensure([wish], start=True))
    assert found.reason == "start_failed" and "symbolic link" in str(found.problem) and not host.known[0].running()


@pytest.mark.parametrize("action", ["ensure", "stop", "remove"])
def test_a_domain_without_our_metadata_is_left_alone(action: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    host.define("<domain><name>shop-web-1</name><uuid>u</uuid></domain>", "shop-web-1")
    host.known[0].start()
    told = r"shop-web-1 .UUID u. was not made by this collection and is left alone"
    if action == "ensure":
        _refused(host, machines, [wish], told)
    else:
        found = (
            machines().stop([wish.owner], 1, True) if action == "stop" else machines().remove([wish.owner], {wish.owner: wish.directory})
        )
        assert _only(found).reason == "foreign_domain"
        assert re.search(told, str(_only(found).problem))
    assert host.known[0].running()


@pytest.mark.parametrize("action", ["ensure", "stop", "remove"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_machine_on_its_way_is_left_alone(
    action: str, exists: bool, host: t.Any, machines: t.Any, make_wish: t.Any, tmp_path: Path
) -> None:
    wish, state_dir = make_wish(), str(tmp_path / "state")
    if exists:
        machines().ensure([wish], start=True)
    known = [(domain.xml(), domain.running()) for domain in host.known]
    MoveJournal(state_dir, "default", "shop").write(Entry("source", "leaving", "r", "web-1", "b", True, True, True, "one"))
    here = machines(state_dir=state_dir)
    if action == "ensure":
        with pytest.raises(MachinesFailed, match="its migration to b has not ended") as raised:
            here.ensure([wish], start=True)
        assert [one["reason"] for one in raised.value.fields["failed"]] == ["moving"]
    else:
        found = here.stop([wish.owner], 1, True) if action == "stop" else here.remove([wish.owner], {wish.owner: wish.directory})
        assert (_only(found).reason, _only(found).actions) == ("moving", [])
    assert [(domain.xml(), domain.running()) for domain in host.known] == known


def test_another_tenants_machine_is_left_alone_without_names(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    theirs = make_wish(owner=Owner("acme", "shop", "web-1"))
    machines().ensure([theirs], start=False)
    _refused(host, machines, [make_wish()], "belongs to another tenant")


def test_names_that_meet_in_the_domains_name_are_told_apart(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    machines().ensure([make_wish("b-1", service="shop-a")], start=False)
    _refused(host, machines, [make_wish("a-b-1", service="shop")], "belongs to machine b-1 of service shop-a")


def test_more_memory_than_the_host_has(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wishes = [make_wish(), make_wish("web-2", memory_mib=5000)]
    _refused(host, machines, wishes, "Machine web-2 wants 5000 MiB of memory, the host has 4096 MiB")


@pytest.mark.parametrize(
    "card, message",
    [
        (Card("lost"), "The network lost, wanted by web-1, is not active; active networks: default"),
        (Card("none"), "The network none, wanted by web-1, does not exist; active networks: default"),
        (Card("br1", "bridge"), "The bridge br1, wanted by web-1, does not exist"),
    ],
)
def test_networks_must_be_there(card: Card, message: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    _refused(host, machines, [make_wish(cards=(card,))], message)


def test_disks_and_seeds_must_be_there(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish(seed="/none/seed.iso")
    os.unlink(wish.disks[0].path)
    _refused(host, machines, [wish], f"{wish.disks[0].path} of machine web-1 does not exist.*/none/seed.iso")


def test_kvm_where_there_is_none(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    with pytest.raises(InvalidOption, match="domain_type: 'kvm' is not accepted; this host offers no kvm"):
        machines(domain_type="kvm").ensure([make_wish()], start=False)
    host.kvm = True
    assert _only(machines(domain_type="auto").ensure([make_wish()], start=False)).result()["accelerator"] == "kvm"


# Addresses


def test_a_derived_address_makes_room(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish, other = make_wish(), make_wish("web-2", cards=(Card("default", mac=make_wish().owner.mac(0).upper()),))
    first, second = machines().ensure([wish, other], start=False)
    assert first.found and first.found.macs == (wish.owner.mac(0, 1),)
    assert second.found and second.found.macs == (wish.owner.mac(0),)
    assert _only(machines().ensure([wish], start=False)).drift == []


def test_a_chosen_address_that_is_taken(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    card = Card("default", mac="52:54:00:aa:bb:01")
    machines().ensure([make_wish("web-2", service="blog", cards=(card,))], start=False)
    message = "The MAC address 52:54:00:aa:bb:01 of machine web-1 is already used by blog-web-2"
    _refused(host, machines, [make_wish(cards=(card,))], message)


def test_who_has_an_address_is_not_told_to_other_tenants(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    card = Card("default", mac="52:54:00:aa:bb:01")
    machines().ensure([make_wish("web-2", service="secret", owner=Owner("other", "secret", "web-2"), cards=(card,))], start=False)
    told = machines().every_domain("default", "shop")
    assert [one["macs"] for one in told] == [["52:54:00:aa:bb:01"]] and "secret" not in str(told)
    _refused(host, machines, [make_wish(cards=(card,))], "is already used by another machine of this host")


# Reports


def _await(machines: t.Any, wishes: t.Sequence[MachineWish], timeout_s: float = 60, **options: t.Any) -> list[Machine]:
    look = machines(**options)
    found: list[Machine] = look.ensure(wishes, start=True)
    look.await_reports(found, timeout_s)
    return found


def test_all_are_waited_for_together(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wishes = [_seeded(make_wish(f"web-{n}")) for n in (1, 2, 3)]
    for wish, seconds in ((wishes[0], 30), (wishes[1], 10), (wishes[2], 20)):
        host.later.append((seconds, lambda wish=wish: _say(wish, addresses=["192.0.2.7"])))
    found = _await(machines, wishes)
    assert [machine.problem for machine in found] == [None] * 3
    assert [t.cast(t.Any, machine.report)["addresses"] for machine in found] == [["192.0.2.7"]] * 3
    assert 30 <= host.now < 31


def test_what_has_reported_once_is_not_waited_for_again(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = _seeded(make_wish())
    _say(wish)
    machine = _only(_await(machines, [wish]))
    assert (host.now, machine.problem) == (0.0, None)
    assert machine.result()["report"]["hostname"] == "web-1"


def test_a_silent_machine_is_named_with_accelerator_and_console(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    silent, good = _seeded(make_wish("web-1")), _seeded(make_wish("web-2"))
    with open(silent.console, "w", encoding="utf-8") as file:
        file.write("Booting\r\nKernel panic - not syncing\r\n")
    _say(good)
    _say(silent, token="another")
    bad, fine = _await(machines, [silent, good], 30)
    assert bad.reason == "silent"
    assert bad.problem == (
        "web-1 (accelerator qemu) has not reported within 30 s; its console ends with: Booting | Kernel panic - not syncing"
    )
    assert fine.problem is None and fine.report is not None
    assert 30 <= host.now < 31


def test_a_machine_that_stops_is_not_waited_for(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = _seeded(make_wish())
    host.on_start = lambda domain: host.later.append((5, domain.destroy))
    machine = _only(_await(machines, [wish]))
    assert machine.reason == "stopped"
    assert "stopped after" in str(machine.problem) and "its console is empty" in str(machine.problem)
    assert host.now < 10
    assert not machine.result()["running"]


def test_a_machine_that_reports_and_powers_off_has_come_up(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = _seeded(make_wish())

    def last_words() -> None:
        _say(wish)
        host.known[0].destroy()

    host.later.append((4.9, last_words))
    assert _only(_await(machines, [wish])).problem is None


@pytest.mark.parametrize("seeded", [True, False])
def test_without_a_token_only_running_is_claimed(seeded: bool, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = _seeded(make_wish(), token=None) if seeded else make_wish()
    machine = _only(_await(machines, [wish]))
    assert (machine.report, machine.problem, machine.running, host.now) == (None, None, True, 0.0)


def test_check_mode_does_not_wait(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = _seeded(make_wish())
    assert _only(_await(machines, [wish], check=True)).problem is None
    machines().ensure([wish], start=True)
    assert _only(_await(machines, [wish], check=True)).problem is None
    assert host.now == 0.0


@pytest.mark.parametrize(
    "hostname, expected, good",
    [
        ("web-1", "web-1", True),
        ("web-1.example.org", "web-1", True),
        ("front", "front.example.org", True),
        ("web-2", "web-1", False),
        ("", "web-1", False),
        ("localhost", "web-1", False),
    ],
)
def test_the_report_must_come_under_the_name_that_was_given(
    hostname: str, expected: str, good: bool, machines: t.Any, make_wish: t.Any
) -> None:
    wish = _seeded(make_wish(), hostname=expected)
    _say(wish, hostname=hostname)
    machine = _only(_await(machines, [wish]))
    if good:
        assert machine.problem is None
    else:
        assert machine.reason == "wrong_hostname"
        assert machine.problem == f"web-1 reports the host name {hostname!r}, its seed says {expected!r}"


@pytest.mark.parametrize(
    "status, allowed, reason, problem",
    [
        ("done", False, None, "None"),
        ("degraded", True, None, "None"),
        ("degraded", False, "cloud_init_degraded", "web-1 has come up, but cloud-init is degraded: no such user"),
        ("error", True, "cloud_init_failed", "web-1 reports that cloud-init failed: no such user"),
        ("lost\x1b[2J", True, "unreadable", "web-1: what its guest reported cannot be read"),
    ],
)
def test_what_cloud_init_says_counts(
    status: str, allowed: bool, reason: str | None, problem: str, machines: t.Any, make_wish: t.Any
) -> None:
    wish = _seeded(make_wish(allow_degraded=allowed))
    _say(wish, status=status, result={"v1": {"errors": ["no such user"]}})
    machine = _only(_await(machines, [wish]))
    assert machine.reason == reason
    assert str(machine.problem).startswith(problem)
    assert "\x1b" not in str(machine.problem)


def test_a_machine_that_did_not_start_is_not_waited_for(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.broken = {"shop-web-1"}
    assert _only(_await(machines, [_seeded(make_wish())])).reason == "start_failed"
    assert host.now == 0.0


# Stopping and removing


def test_guests_are_asked_and_waited_for(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=True)
    host.on_shutdown = lambda domain: host.later.append((host.now + 3, domain.destroy))
    machine = _only(machines().stop([wish.owner], 60, False))
    assert (machine.running, machine.actions, machine.problem) == (False, ["stopped"], None)
    assert 3 <= host.now < 4
    assert _only(machines().stop([wish.owner], 60, False)).actions == []


def test_a_guest_that_was_still_booting_is_asked_again(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=True)
    host.on_shutdown = lambda domain: domain.destroy() if host.now > 4 else None
    assert not _only(machines().stop([wish.owner], 60, False)).running


@pytest.mark.parametrize("force", [False, True])
def test_a_guest_that_does_not_listen(force: bool, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=True)
    machine = _only(machines().stop([wish.owner], 10, force))
    assert host.known[0].running() is machine.running is not force
    if force:
        assert (machine.actions, machine.problem) == (["stopped", "forced"], None)
    else:
        assert (machine.actions, machine.reason) == ([], "still_running")
        assert "force=true" in str(machine.problem)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("drop_saved", [False, True])
def test_a_saved_guest_is_not_taken_for_one_that_is_off(
    force: bool, drop_saved: bool, host: t.Any, machines: t.Any, make_wish: t.Any
) -> None:
    wish = make_wish()
    machines().ensure([wish], start=False)
    host.known[0].is_saved = True
    machine = _only(machines().stop([wish.owner], 10, force, drop_saved))
    assert machine.reason == (None if drop_saved else "saved")
    assert drop_saved or "virsh managedsave-remove" in str(machine.problem)


def test_stopping_what_is_not_there_changes_nothing(machines: t.Any, make_wish: t.Any) -> None:
    machine = _only(machines().stop([make_wish().owner], 10, False))
    assert (machine.actions, machine.running, machine.problem) == ([], False, None)


def test_removal_takes_seed_and_logs_but_no_disk(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = _seeded(make_wish())
    machines().ensure([wish], start=True)
    _say(wish)
    directories = {wish.owner: wish.directory}
    assert _only(machines(check=True).remove([wish.owner], directories)).actions == ["removed"]
    assert len(host.known) == 1 and os.path.exists(str(wish.seed))
    assert _only(machines().remove([wish.owner], directories)).actions == ["removed"]
    assert host.known == []
    assert os.listdir(wish.directory) == ["root.raw"]
    assert _only(machines().remove([wish.owner], directories)).actions == []


def test_removal_cleans_up_after_an_interrupted_one(machines: t.Any, make_wish: t.Any) -> None:
    wish = _seeded(make_wish())
    os.unlink(wish.disks[0].path)
    assert _only(machines().remove([wish.owner], {wish.owner: wish.directory})).actions == ["cleaned"]
    assert not os.path.exists(wish.directory)


@pytest.mark.parametrize(("tenant", "actions"), [("other", []), (None, ["cleaned"])])
def test_removal_leaves_the_files_of_another_tenant(machines: t.Any, make_wish: t.Any, tenant: str | None, actions: list[str]) -> None:
    """On storage that hosts share, the machine may run on another host."""
    wish = _seeded(make_wish())
    service = Path(wish.directory).parent
    (service / ".owner.json").write_text(json.dumps({"format": 1, "tenant": tenant or wish.owner.tenant}))
    assert _only(machines().remove([wish.owner], {wish.owner: wish.directory})).actions == actions
    assert os.path.exists(str(wish.seed)) is not bool(actions)


def test_what_a_tpm_held_goes_with_the_machine(
    host: t.Any, machines: t.Any, make_wish: t.Any, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirt leaves it where a later manifest had no TPM, so that the last definition has none."""
    states = tmp_path / "tpms"
    monkeypatch.setattr(files, "_TPM_STATES", str(states))
    wish = make_wish()
    state = states / wish.owner.domain_uuid / "tpm2"
    (states / "another").mkdir(parents=True)
    state.mkdir(parents=True)
    (state / "tpm2-00.permall").touch()
    directories = {wish.owner: wish.directory}
    machines().ensure([wish], start=True)
    machines().remove([wish.owner], directories, keep_firmware=True)
    machines(check=True).remove([wish.owner], directories)
    assert state.exists(), "an update keeps it, and a check changes nothing"
    assert _only(machines().remove([wish.owner], directories)).actions == ["cleaned"]
    assert os.listdir(states) == ["another"]
    assert _only(machines().remove([wish.owner], directories)).actions == []


def test_tpm_state_that_stays_is_a_failure(machines: t.Any, make_wish: t.Any, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_TPM_STATES", str(tmp_path))
    monkeypatch.setattr(files.shutil, "rmtree", refuse)
    wish = make_wish()
    (tmp_path / wish.owner.domain_uuid).mkdir()
    failed = _only(machines().remove([wish.owner], {wish.owner: wish.directory}))
    assert "could not be removed" in str(failed.problem) and "Permission denied" in str(failed.problem)


# Looking


def test_query_tells_the_tenants_machines_and_all_domains(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wishes = [_seeded(make_wish("web-2", number=2)), make_wish("web-1"), make_wish("db-1", service="data")]
    machines().ensure(wishes, start=False)
    theirs = make_wish(owner=Owner("acme", "theirs", "web-1"))
    machines().ensure([theirs], start=False)
    host.define("<domain><name>mail</name><uuid>u</uuid><memory unit='MiB'>64</memory></domain>", "mail")
    _say(wishes[0])
    found = machines().query("default", "shop")
    assert [machine.owner.machine for machine in found] == ["web-1", "web-2"]
    assert [machine.report is not None for machine in found] == [False, True]
    assert [m.owner.machine for m in machines().query("default", None)] == ["db-1", "web-1", "web-2"]
    every = machines().every_domain("default", "shop")
    assert [domain["domain"] for domain in every] == ["data-db-1", None, "shop-web-1", "shop-web-2", None]
    foreign = {
        "domain": None, "uuid": None, "service": None, "tenant": None, "machine": None, "macs": [], "addresses": [], "disk_bytes": None, "hugepages": None,
        "memory_mib": 64, "cpus": 1, "running": False, "problem": None,
    }  # fmt: skip
    assert every[1] == foreign
    assert every[4] == {**foreign, "memory_mib": theirs.memory_mib, "cpus": theirs.cpus, "macs": [theirs.owner.mac(0)]}
    assert (every[0]["service"], every[0]["machine"]) == ("data", "db-1")


def test_libvirt_is_not_asked_for_each_domain_again(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    machines().ensure([make_wish("web-1"), make_wish("web-2")], start=True)
    found = machines()
    for domain in host.known:
        domain.running = lambda: pytest.fail("asked")
    assert [one["running"] for one in found.every_domain("default", anew=False)] == [True, True]
    assert found.others("other")["running"] == 2 and len(found.uuids()) == 2


@pytest.mark.parametrize(
    ("name", "uuid", "service", "told"),
    [
        ("mail", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1", "shop", (None, None)),
        ("shop-web-9", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1", "shop", ("shop-web-9", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1")),
        ("shop-web-9", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1", None, (None, None)),
        ("shopping-1", "4f0c7c57-4a3e-4a39-8a0c-53b7a6f0a6d1", "shop", (None, None)),
        ("copy", "4f0c7c57-4a3e-5a39-8a0c-53b7a6f0a6d1", "shop", (None, "4f0c7c57-4a3e-5a39-8a0c-53b7a6f0a6d1")),
    ],
)
def test_of_strangers_only_collisions_have_names(
    name: str, uuid: str, service: str | None, told: tuple[str | None, str | None], host: t.Any, machines: t.Any
) -> None:
    host.define(f"<domain><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory></domain>", name)
    (found,) = machines().every_domain("default", service)
    assert (found["domain"], found["uuid"]) == told


@pytest.mark.parametrize("size, told", [(2**30, 2**30), (None, 0), ("big", 0), (-1, 0)])
def test_disks_count_as_far_as_they_are_known(size: t.Any, told: int, machines: t.Any, make_wish: t.Any) -> None:
    machines().ensure([make_wish(spec={"disks": {"root": {"size_bytes": size}, "odd": None}})], start=False)
    assert [one["disk_bytes"] for one in machines().every_domain("default")] == [told]


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        (
            [{"network": "lan", "address": "192.0.2.1/24", "address6": "2001:db8::1/64"}, {"network": "default"}],
            [{"network": "network lan", "address": "192.0.2.1/24"}, {"network": "network lan", "address": "2001:db8::1/64"}],
        ),
        (
            [{"open_vswitch": "br0", "vlan": 7, "address": "192.0.2.1/24"}],
            [{"network": "open_vswitch br0 vlan 7", "address": "192.0.2.1/24"}],
        ),
        ([{"network": "lan", "address": 5}, "odd", {"address": "192.0.2.1/24"}], []),
        ("odd", []),
    ],
)
def test_fixed_addresses_are_told_to_every_tenant(networks: t.Any, told: list[t.Any], machines: t.Any, make_wish: t.Any) -> None:
    machines().ensure([make_wish(spec={"networks": networks})], start=False)
    for tenant in ("default", "another"):
        assert [one["addresses"] for one in machines().every_domain(tenant)] == [told]


def test_added_xml_is_validated_when_it_is_defined(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    xml = [{"path": "devices", "add": "<sound model='ich9'/>"}]
    machines().ensure([make_wish("web-1"), make_wish("web-2", hardware={"xml": xml})], start=False)
    assert host.validated == [False, True]


def test_problems_come_all_at_once(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    with pytest.raises(MachinesFailed) as error:
        machines().ensure([make_wish(memory_mib=5000, cards=(Card("none"), Card("lost")))], start=False)
    assert len(error.value.fields["problems"]) == 3


def test_the_result_is_complete(machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    xml = build(wish, Platform("qemu", "x86_64"), [wish.owner.mac(0)], {})
    assert set(Machine(wish.owner, wish, None, describe(xml)).result()) == set(Machine(wish.owner).result())


# One machine's trouble is its own


def _plant(path: str, kind: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        os.symlink("/etc/passwd", path)
    elif kind == "dangling link":
        os.symlink("/etc/basecast-planted", path)
    elif kind == "hard link":
        other = path + ".other"
        with open(other, "w", encoding="utf-8"):
            pass
        os.link(other, path)
    else:
        os.mkdir(path)


@pytest.mark.parametrize("name", ["console.log", "report.log"])
@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link", "hard link", "directory"])
def test_nothing_starts_that_would_write_elsewhere(name: str, kind: str, machines: t.Any, make_wish: t.Any) -> None:
    bad, good = make_wish(), make_wish("web-2")
    _plant(os.path.join(bad.directory, name), kind)
    first, second = machines().ensure([bad, good], start=True)
    assert (first.reason, first.running) == ("start_failed", False)
    assert os.path.join(bad.directory, name) in str(first.problem)
    assert (second.problem, second.running) == (None, True)
    assert not os.path.exists("/etc/basecast-planted")


@pytest.mark.parametrize("name", ["console.log", "report.log", "seed.json"])
@pytest.mark.parametrize("kind", ["pipe", "link", "directory"])
def test_what_is_planted_later_is_not_read(name: str, kind: str, machines: t.Any, make_wish: t.Any) -> None:
    bad, good = _seeded(make_wish()), _seeded(make_wish("web-2"))
    machines().ensure([bad, good], start=True)
    _say(good)
    _plant(os.path.join(bad.directory, name), kind)
    first, second = machines().query("default", "shop")
    assert second.report is not None
    assert "root:" not in json.dumps(first.result())
    assert os.path.join(bad.directory, name) in json.dumps(first.result())
    # It can still be removed, and what was planted goes with it (a directory does not).
    removed = _only(machines().remove([bad.owner], {bad.owner: bad.directory}))
    assert (removed.problem is None) is (kind != "directory")
    assert os.path.exists("/etc/passwd")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 60000,
        '{"token":"TOKEN","hostname":' + "[" * 5000 + "]" * 5000 + "}",
        '{"token":"TOKEN","hostname":"web-1","hostname":"x","instance_id":"i","status":"done","addresses":[]}',
        '{"token":"TOKEN","hostname":"web-1","instance_id":"i","status":"done","addresses":[NaN]}',
        '{"token":"TOKEN","hostname":7,"instance_id":"i","status":"done","addresses":[]}',
        '{"token":"TOKEN","hostname":"\\ud800","instance_id":"i","status":"done","addresses":[]}',
        '{"token":"TOKEN","hostname":"web-1","instance_id":"i","status":["done"],"addresses":[]}',
    ],
    ids=["brackets", "deep", "twice", "nan", "number", "half", "list"],
)
def test_a_report_that_makes_no_sense_is_one_machines(text: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    bad, good = _seeded(make_wish()), _seeded(make_wish("web-2"))
    found = machines().ensure([bad, good], start=True)
    with open(bad.report, "w", encoding="utf-8") as file:
        file.write("BASECAST-REPORT " + text.replace("TOKEN", TOKEN) + "\n")
    _say(good)
    machines().await_reports(found, 5)
    assert found[0].reason in ("unreadable", "silent")
    assert (found[1].problem, found[1].report["hostname"]) == (None, "web-2")


@pytest.mark.parametrize(
    "xml",
    [
        "<domain>",
        "<domain><name>shop-web-1</name><vcpu>" + "9" * 5000 + "</vcpu></domain>",
        "<domain><name>shop-web-1</name><vcpu>\u0663</vcpu></domain>",
        "<domain><name>shop-web-1</name><memory>1e9</memory></domain>",
        "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><domain><name>&b;</name></domain>",
        "<domain>" + "<a>" * 200 + "</a>" * 200 + "</domain>",
        "<domain>" + "<a/>" * 60000 + "</domain>",
        "<domain><name>" + "x" * 5_000_000 + "</name></domain>",
    ],
    ids=["cut", "digits", "alphabet", "exponent", "entities", "deep", "wide", "huge"],
)
def test_a_definition_that_makes_no_sense_hides_no_other(xml: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    bad, good = make_wish(), make_wish("web-2")
    machines().ensure([bad, good], start=True)
    host.definitions["shop-web-1"] = xml
    assert [machine.owner.machine for machine in machines().query("default", "shop")] == ["web-2"]
    every = {domain["domain"]: domain["problem"] for domain in machines().every_domain("default", "shop")}
    assert every["shop-web-1"] and every["shop-web-2"] is None
    _refused(host, machines, [bad], "cannot be read, so it may be web-1 or not")


@pytest.mark.parametrize("names", [{"service": "../.."}, {"machine": "a/b"}, {"tenant": ""}, {"machine": "A"}])
def test_names_in_metadata_cannot_leave_their_place(names: dict[str, str], host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=False)
    xml = host.known[0].xml()
    for key, value in names.items():
        xml = re.sub(f'{key}="[^"]*"', f'{key}="{value}"', xml, count=1)
    host.definitions["shop-web-1"] = xml
    assert machines().query("default", None) == []
    assert "is not a name" in machines().every_domain("default", "shop")[0]["problem"]


def test_a_domain_that_libvirt_cannot_read_is_not_absent(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=True)
    host.unreadable.add("shop-web-1")
    with pytest.raises(MachinesFailed, match="may be web-1 or not"):
        machines().ensure([wish], start=True)
    assert "\x1b" not in machines().every_domain("default", "shop")[0]["problem"]


@pytest.mark.parametrize("action", ["ensure", "stop", "remove"])
def test_every_machine_is_told_of_where_one_failed(action: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    mine, good = make_wish("web-1"), make_wish("web-2")
    machines().ensure([good], start=True)
    host.define("<domain><name>shop-web-1</name><uuid>u</uuid></domain>", "shop-web-1")
    owners = {wish.owner: wish.directory for wish in (mine, good)}
    if action == "ensure":
        with pytest.raises(MachinesFailed) as error:
            machines().ensure([mine, good], start=True)
        told = error.value.fields["machines"]
        assert [one["running"] for one in told] == [False, True]
        assert error.value.fields["failed"][0]["machine"] == "web-1"
        return
    host.on_shutdown = lambda domain: domain.destroy()
    first, second = machines().stop(list(owners), 1, False) if action == "stop" else machines().remove(list(owners), owners)
    assert first.reason == "foreign_domain"
    assert (second.problem, second.running) == (None, False)


def test_a_started_machines_own_disks_are_checked(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=False)
    os.unlink(wish.disks[0].path)
    os.symlink("/etc/passwd", wish.disks[0].path)
    # Whoever only wants it to run need not name its disks.
    again = _only(machines().ensure([replace(wish, disks=())], start=True))
    assert (again.reason, again.running) == ("start_failed", False)
    assert "is a symbolic link" in str(again.problem)


def test_labels_are_left_alone_in_the_models_of_the_host(host: t.Any, machines: t.Any, make_wish: t.Any, monkeypatch: t.Any) -> None:
    module = "ansible_collections.basecast.fleet.plugins.module_utils._machine.machines.backing_chain"
    monkeypatch.setattr(module, lambda path, image_format, places: [Layer("/pool/bases/x/disk", "qcow2")])
    machines().ensure([make_wish()], start=False)
    assert "selinux" not in host.known[0].xml()
    # A host that has SELinux since then: told at the next start.
    host.models = ["selinux", "dac"]
    machines().ensure([make_wish()], start=True)
    assert '<seclabel model="selinux" relabel="no" />' in host.known[0].xml()
    assert '<seclabel model="dac" relabel="no" />' in host.known[0].xml()


# Names in the DNS of networks

NAMED = {"networks": [{"network": "default", "address": "192.0.2.10/24", "dns_entry": True}]}
LAN = "<network><name>default</name><ip address='192.0.2.1'/></network>"


def test_a_machine_is_named_before_it_starts_and_no_longer_when_gone(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.live["default"] = host.lasting["default"] = LAN
    wish, known = make_wish(spec=NAMED), []
    host.on_start = lambda _domain: known.append("web-1.shop.internal" in host.live["default"])
    (predicted,) = machines(check=True).ensure([wish], start=True)
    assert predicted.actions == ["defined", "named", "started"] and "192.0.2.10" not in host.live["default"]
    (made,) = machines().ensure([wish], start=True)
    assert made.actions == ["defined", "named", "started"] and known == [True]
    assert made.shown()["dns"] == ["192.0.2.10"] and made.result()["dns_missing"] == []
    assert _only(machines().ensure([wish], start=True)).actions == []
    host.live["default"] = LAN
    (seen,) = machines().query("default", "shop")
    assert seen.result()["dns_missing"] == ["192.0.2.10"] and seen.shown()["dns"] == []
    assert _only(machines().ensure([wish], start=True)).actions == ["named"]
    machines(check=True).remove([wish.owner], {wish.owner: wish.directory})
    assert "192.0.2.10" in host.live["default"]
    machines().remove([wish.owner], {wish.owner: wish.directory})
    assert "192.0.2.10" not in host.live["default"] + host.lasting["default"]


def test_nothing_changes_where_a_name_is_taken(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.live["default"] = LAN.replace("<ip", "<dns><host ip='192.0.2.10'><hostname>printer</hostname></host></dns><ip")
    with pytest.raises(MachinesFailed, match=r"The DNS of the network default has 192\.0\.2\.10 as printer"):
        machines().ensure([make_wish(spec=NAMED)], start=True)
    assert host.known == []


def test_names_of_other_services_are_not_told(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    hosts = "".join(f"<host ip='192.0.2.{at}'><hostname>{name}</hostname></host>" for at, name in ((7, "printer"), (8, "shop-db-1")))
    host.live["default"] = LAN.replace("<ip", f"<dns>{hosts}</dns><ip")
    machines().ensure([make_wish(spec=NAMED)], start=False)
    told = [{"address": "192.0.2.7", "names": []}, {"address": "192.0.2.8", "names": ["shop-db-1"]}]
    assert machines().dns("shop") == {"default": {"problem": "", "entries": told}}
