# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import MachineWish
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine import Machine

from .conftest import TOKEN, only, say, seeded


def _await(machines: t.Any, wishes: t.Sequence[MachineWish], timeout_s: float = 60, **options: t.Any) -> list[Machine]:
    look = machines(**options)
    found: list[Machine] = look.ensure(wishes, start=True)
    look.await_reports(found, timeout_s)
    return found


def test_all_are_waited_for_together(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wishes = [seeded(make_wish(f"web-{n}")) for n in (1, 2, 3)]
    for wish, seconds in ((wishes[0], 30), (wishes[1], 10), (wishes[2], 20)):
        host.later.append((seconds, lambda wish=wish: say(wish, addresses=["192.0.2.7"])))
    found = _await(machines, wishes)
    assert [machine.problem for machine in found] == [None] * 3
    assert [t.cast(t.Any, machine.report)["addresses"] for machine in found] == [["192.0.2.7"]] * 3
    assert 30 <= host.now < 31


def test_what_has_reported_once_is_not_waited_for_again(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = seeded(make_wish())
    say(wish)
    machine = only(_await(machines, [wish]))
    assert (host.now, machine.problem) == (0.0, None)
    assert machine.result()["report"]["hostname"] == "web-1"


def test_a_silent_machine_is_named_with_accelerator_and_console(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    silent, good = seeded(make_wish("web-1")), seeded(make_wish("web-2"))
    with open(silent.console, "w", encoding="utf-8") as file:
        file.write("Booting\r\nKernel panic - not syncing\r\n")
    say(good)
    say(silent, token="another")
    bad, fine = _await(machines, [silent, good], 30)
    assert bad.reason == "silent"
    assert bad.problem == (
        "web-1 (accelerator qemu) has not reported within 30 s; its console ends with: Booting | Kernel panic - not syncing"
    )
    assert fine.problem is None and fine.report is not None
    assert 30 <= host.now < 31


def test_a_machine_that_stops_is_not_waited_for(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = seeded(make_wish())
    host.on_start = lambda domain: host.later.append((5, domain.destroy))
    machine = only(_await(machines, [wish]))
    assert machine.reason == "stopped"
    assert "stopped after" in str(machine.problem) and "its console is empty" in str(machine.problem)
    assert host.now < 10
    assert not machine.result()["running"]


def test_a_machine_that_reports_and_powers_off_has_come_up(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = seeded(make_wish())

    def last_words() -> None:
        say(wish)
        host.known[0].destroy()

    host.later.append((4.9, last_words))
    assert only(_await(machines, [wish])).problem is None


@pytest.mark.parametrize("has_seed", [True, False])
def test_without_a_token_only_running_is_claimed(has_seed: bool, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = seeded(make_wish(), token=None) if has_seed else make_wish()
    machine = only(_await(machines, [wish]))
    assert (machine.report, machine.problem, machine.running, host.now) == (None, None, True, 0.0)


def test_check_mode_does_not_wait(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = seeded(make_wish())
    assert only(_await(machines, [wish], check=True)).problem is None
    machines().ensure([wish], start=True)
    assert only(_await(machines, [wish], check=True)).problem is None
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
    wish = seeded(make_wish(), hostname=expected)
    say(wish, hostname=hostname)
    machine = only(_await(machines, [wish]))
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
    wish = seeded(make_wish(allow_degraded=allowed))
    say(wish, status=status, result={"v1": {"errors": ["no such user"]}})
    machine = only(_await(machines, [wish]))
    assert machine.reason == reason
    assert str(machine.problem).startswith(problem)
    assert "\x1b" not in str(machine.problem)


def test_a_machine_that_did_not_start_is_not_waited_for(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.broken = {"shop-web-1"}
    assert only(_await(machines, [seeded(make_wish())])).reason == "start_failed"
    assert host.now == 0.0


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
    bad, good = seeded(make_wish()), seeded(make_wish("web-2"))
    found = machines().ensure([bad, good], start=True)
    with open(bad.report, "w", encoding="utf-8") as file:
        file.write("BASECAST-REPORT " + text.replace("TOKEN", TOKEN) + "\n")
    say(good)
    machines().await_reports(found, 5)
    assert found[0].reason in ("unreadable", "silent")
    assert (found[1].problem, found[1].report["hostname"]) == (None, "web-2")
