# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._job.outcome import Failure, MachineState, summary


@pytest.mark.parametrize(
    "actions, state", [(["defined", "started"], "deployed"), (["started"], "started"), ([], "present"), (None, "present")]
)
def test_what_was_done_decides_the_state(actions: t.Any, state: str) -> None:
    machine = MachineState("web-1", result={"actions": actions})
    machine.settle()
    assert machine.state == state and machine.settled


@pytest.mark.parametrize(
    "reason, state",
    [("silent", "failed"), ("no_space", "failed"), ("libvirt_missing", "unknown"), ("libvirt", "unknown"), ("unknown", "unknown")],
)
def test_a_failure_is_told_with_its_step(reason: str, state: str) -> None:
    machine = MachineState("web-1")
    machine.fail(Failure("make disks", reason, "No."))
    told = machine.told()
    assert (told["state"], told["step"], told["reason"], told["problem"]) == (state, "make disks", reason, "No.")
    assert told["started_at"] is None


def test_a_summary_counts_how_far_machines_are() -> None:
    machines = [MachineState(f"m-{number}") for number in range(4)]
    machines[0].times = {"disks_at": 1.0, "started_at": 2.0, "reported_at": 3.0}
    machines[1].times = {"disks_at": 1.0}
    machines[2].fail(Failure("s", "silent", "m"))
    assert summary(machines) == {"wanted": 4, "disks": 2, "started": 1, "reported": 1, "failed": 1}
