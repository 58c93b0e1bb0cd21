# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine import libvirt_host
from ansible_collections.basecast.fleet.plugins.modules import survey_info


@pytest.fixture
def run(run_on_pools: t.Any, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    monkeypatch.setattr(libvirt_host, "libvirt", None)
    call = run_on_pools(survey_info)
    return lambda **options: call(**{"service": "shop", "state_dir": str(tmp_path / "state"), **options})


def test_an_observation_is_returned(run: t.Any, disk_pools: dict[str, str]) -> None:
    result = run()
    seen = result["observation"]
    assert not result["changed"] and seen["format"] == 1 and set(seen["pools"]) == {"one", "two"}
    assert {name: pool["path"] for name, pool in seen["pools"].items()} == disk_pools
    assert set(seen["parts"]) == {"claims", "host", "machines", "record", "moves", "links", "pool:one", "pool:two", "xml"}


@pytest.mark.parametrize(
    "options, option",
    [
        ({"service": "a/b"}, "service"),
        ({"tenant": ""}, "tenant"),
        ({"port_range": "1"}, "port_range"),
        ({"port_range": "9-8"}, "port_range"),
        ({"part_timeout_s": 0}, "part_timeout_s"),
        ({"part_timeout_s": "inf"}, "part_timeout_s"),
        ({"state_dir": "relative"}, "state_dir"),
        ({"pools": {"a": "relative"}}, "pools.a"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, t.Any], option: str, run: t.Any) -> None:
    result = run(**options)
    assert result["failed"] and result["failure"]["option"] == option, result


def test_a_survey_imports_nothing_of_what_it_does_not_do() -> None:
    """A host compiles anew all that a module imports; downloads, seeds and captures would take longer than the look itself."""
    name, others = survey_info.__name__, "ansible.module_utils.basic"
    program = f"import sys, {others}; before = set(sys.modules); import {name}; print(*sorted(set(sys.modules) - before))"
    told = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    own = name.rpartition(".modules.")[0] + ".module_utils."
    needless = {"asyncio", "email", "http", "ssl", "urllib.request", "yaml", "html"}
    needless |= {
        own + room
        for room in (
            "_disk.web",
            "_disk.importer",
            "_disk.overlay",
            "_machine.seed",
            "_machine.user_data",
            "_job.capture",
            "_job.resources",
        )
    }
    assert name in told and not needless & set(told)
