# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far machines are, as hosts' jobs tell it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._progress import machines
from ansible_collections.basecast.fleet.plugins.plugin_utils._progress.machines import Jobs
from ansible_collections.basecast.fleet.plugins.plugin_utils._progress.text import ASCII, UNICODE, cells

PLAIN = UNICODE._replace(codes={})


def machine(state: str, *times: float) -> dict[str, t.Any]:
    """:param times: of its disks, start and report, as far as it came."""
    return {"state": state, **dict(zip(("disks_at", "started_at", "reported_at"), times, strict=False))}


def job(*made: dict[str, t.Any], state: str = "running", at: float = 130.0) -> dict[str, t.Any]:
    return {"run": "nightly", "state": state, "updated_at": at, "machines": list(made)}


WAITING, MAKING, BOOTING, UP = machine("waiting"), machine("making", 100), machine("booting", 100, 110), machine("deployed", 100, 110, 130)
HOSTS = {
    "kvm1": job(UP, UP, state="done"),
    "kvm2": job(UP, BOOTING, at=120.0),
    "kvm3": job(MAKING, WAITING),
    "kvm10": job(machine("failed", 100), BOOTING),
}


def jobs_of(hosts: dict[str, t.Any], now: float = 50.0) -> Jobs:
    jobs = Jobs("nightly", now)
    for host, one in hosts.items():
        jobs.update(host, one, now)
    return jobs


def test_the_view_tells_each_step_of_each_host() -> None:
    assert [line.rstrip() for line in machines.lines(jobs_of(HOSTS), 50.0, 90, 24, PLAIN)] == [
        " kvm1  ━━━━━━━━━━━━━━━ 100%  2 of 2 there",
        " kvm2  ━━━━━━━━━━━━╸──  83%  2/2 disks, 2/2 started, 1/2 reported                    ~0:10",
        " kvm3  ━━╸────────────  16%  1/2 disks, 0/2 started, 0/2 reported",
        " kvm10 ━━━━━━━━━━━━╸──  83%  2/2 disks, 1/2 started, 0/2 reported, 1 failed",
        " total ━━━━━━━━━━╸────  70%  7/8 disks, 5/8 started, 3/8 reported, 1 failed     ~0:10 left",
    ]


def test_the_time_left_is_what_others_took_to_come_up() -> None:
    # Three took 20 s. This one has been booting for 15 s when its host wrote, five seconds before.
    jobs = jobs_of({"kvm1": job(UP, UP, UP), "kvm2": job(BOOTING, at=125.0)})
    (_first, second), (_whole, left) = jobs.rows, jobs.total(52.0)
    assert jobs.remaining_s(second, 50.0) == 5.0
    assert left == 3.0
    assert machines.lines(jobs, 52.0, 100, 24, PLAIN)[-1].endswith("~0:03 left")
    # Asked again, the host has nothing new to tell: the seconds go on.
    jobs.update("kvm2", job(BOOTING, at=125.0), 53.0)
    assert jobs.total(53.0)[1] == 2.0
    assert jobs.total(60.0)[1] is None, "it takes longer than the others did"
    assert jobs_of({"kvm1": job(BOOTING)}).total(50.0)[1] is None, "none has come up yet"


@pytest.mark.parametrize("style", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("width", [20, 24, 40, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int, style: t.Any) -> None:
    hosts = {f"host-with-a-long-name-in-room-{number}.example.org": one for number, one in enumerate(HOSTS.values())}
    shown = machines.lines(jobs_of(hosts), 50.0, width, 24, style._replace(codes={}))
    assert len(shown) == 5
    assert max(map(cells, shown)) <= max(width, 24)


def test_those_in_trouble_are_shown_where_there_is_no_room_for_all() -> None:
    hosts = {f"kvm{number}": job(UP, state="done") for number in range(1, 30)} | {"kvm30": HOSTS["kvm3"], "kvm31": HOSTS["kvm10"]}
    shown = machines.lines(jobs_of(hosts), 50.0, 100, 4, PLAIN)
    assert [line.split()[0] for line in shown] == ["kvm31", "kvm30", "and", "total"]
    assert "and 29 more hosts" in shown[2]


def test_no_machines_are_no_view() -> None:
    assert machines.lines(jobs_of({"kvm1": job()}), 50.0, 100, 24, PLAIN) == []
    assert machines.last_line(jobs_of({"kvm1": job()}), 50.0) == ""


def test_a_machine_that_was_there_counts_as_there() -> None:
    jobs = jobs_of({"kvm1": job(machine("present"), machine("started", 1, 2), state="done")})
    assert jobs.rows[0].steps == 6
    assert machines.last_line(jobs, 50.0) == "machines: 2 of 2 there"


def test_lines_of_a_log() -> None:
    jobs = jobs_of(HOSTS)
    assert machines.log_line(jobs, 50.0) == "machines: 7 of 8 have their disks, 5 started, 3 reported, 1 failed, about 0:10 left"
    assert machines.log_line(jobs_of({"a": job(UP, machine("booting", 100, 120))}), 50.0).endswith(", about 0:10 left")
    assert machines.last_line(jobs, 91.0) == "machines: 3 of 8 there in 0:41; 1 failed on kvm10"


def test_only_what_has_happened_is_news() -> None:
    jobs = jobs_of({"kvm2": HOSTS["kvm2"]})
    assert not jobs.update("kvm2", HOSTS["kvm2"], 60.0)
    assert jobs.update("kvm2", job(UP, UP, state="done"), 61.0)
