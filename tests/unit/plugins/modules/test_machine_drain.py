# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._machine import draining, libvirt_host
from ansible_collections.basecast.fleet.plugins.module_utils._machine.draining import Drained
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine import Machine
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.modules import machine_drain


class Guest:
    """Whose agent runs a command that ends with a number."""

    def __init__(self, code: int) -> None:
        self.code, self.ran = code, list[t.Any]()

    def agent_command(self, command: str, timeout_s: int) -> str:
        asked = json.loads(command)
        if asked["execute"] == "guest-exec":
            self.ran.append([asked["arguments"]["path"], *asked["arguments"]["arg"]])
            return '{"return": {"pid": 7}}'
        return json.dumps({"return": {"exited": True, "exitcode": self.code}})


def machine(name: str, guest: Guest | None, running: bool = True) -> Machine:
    return Machine(Owner("default", "shop", name), domain=t.cast("t.Any", guest), running=running)


def test_each_machine_hands_over_and_a_failure_is_told() -> None:
    good, bad, off = Guest(0), Guest(3), Guest(0)
    found = [machine("web-1", good), machine("web-2", bad), machine("web-3", off, running=False)]
    names = ["web-1", "web-2", "web-3", "web-4"]
    told = draining.drain(found, names, ["drain", "--wait"], 5)
    assert told == [
        Drained("web-1", "drained"),
        Drained("web-2", "failed", "it ends with 3"),
        Drained("web-3", "off"),
        Drained("web-4", "absent"),
    ]
    assert (good.ran, bad.ran, off.ran) == ([["drain", "--wait"]], [["drain", "--wait"]], [])


def test_in_check_mode_no_guest_is_asked() -> None:
    guest = Guest(0)
    assert draining.drain([machine("web-1", guest)], ["web-1"], ["drain"], 5, check=True) == [Drained("web-1", "drained")]
    assert guest.ran == []


@pytest.fixture
def run(capsys: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    """On a host without libvirt, which is found out after the options were read."""
    monkeypatch.setattr(libvirt_host, "libvirt", None)

    def run_(**args: t.Any) -> dict[str, t.Any]:
        with patch_module_args({"service": "shop", "machines": ["web-1"], "command": ["drain"], **args}), pytest.raises(SystemExit):
            machine_drain.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "python3-libvirt"),
        ({"command": []}, "a program of the guest and its arguments are needed, none of them empty"),
        ({"command": ["drain", ""]}, "none of them empty"),
        ({"timeout_s": 0}, "a number of seconds above 0 and up to 86400 is needed"),
        ({"machines": ["../web"]}, "machines[0]: "),
    ],
)
def test_options_are_read_before_anything_is_asked(run: t.Any, args: dict[str, t.Any], words: str) -> None:
    told = run(**args)
    assert told["failed"] and words in told["msg"], told["msg"]
