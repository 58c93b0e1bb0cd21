# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines that somebody asks for again while they are drained, or that have moved meanwhile, are not removed."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from ansible_collections.basecast.fleet.plugins.module_utils._machine.records import ServiceRecords

ROLE = Path(__file__).parents[3] / "roles/scale"
SCALED = {"generation": 1, "groups": {"web": {"count": 1, "of": 2, "at": 1764418800}}}


def test_numbers_that_changed_while_draining_keep_machines(tmp_path: Path) -> None:
    newer = {"generation": 2, "groups": {"web": {"count": 4, "of": 2, "at": 1764418900}}}
    ServiceRecords(str(tmp_path), "default").write("shop", {"service": "shop", "generation": 1, "scaled": newer})
    told = {
        "basecast_settings": {"state_dir": str(tmp_path), "step_timeout_s": 60},
        "basecast_scale": {
            "service": "shop",
            "tenant": "default",
            "decisions": [{"leaving": [{"machine": "web-2", "host": "localhost"}]}],
            "drains": {},
            "keepers": ["localhost"],
            "expected": 0,
            "scaled": SCALED,
        },
    }
    facts = {"ansible.builtin.set_fact": told}
    leave = {"ansible.builtin.include_role": {"name": "basecast.fleet.scale", "tasks_from": "leave", "rolespec_validate": False}}
    done = play(tmp_path, [facts, leave])
    assert "Nothing was removed: localhost does not remember the numbers: " in done.stdout, done.stdout + done.stderr
    assert "Remove the machines that go" not in done.stdout


CASES: list[tuple[list[dict[str, t.Any]], dict[str, t.Any]]] = [
    ([{"machines": [{"machine": "web-2", "state": "drained"}, {"machine": "web-3", "state": "off"}]}], {"done": True}),
    (
        [{"machines": [{"machine": "web-2", "state": "absent"}]}, {"machines": [{"machine": "db-2", "state": "drained"}]}],
        {"msg": "web-2 is not on it any more"},
    ),
    ([{"unreachable": True}], {"msg": "it cannot be reached"}),
]


def test_who_is_not_there_is_not_drained(tmp_path: Path) -> None:
    keep = yaml.safe_load((ROLE / "tasks/drain.yml").read_text())[0]["block"][-1]
    tasks = []
    for number, (results, _told) in enumerate(CASES):
        known = {"ansible.builtin.set_fact": {"__scale_drained": {"results": results}}}
        write = {"ansible.builtin.copy": {"dest": str(tmp_path / f"told{number}"), "content": "{{ basecast_drain | to_json }}"}}
        tasks += [known, keep, write]
    done = play(tmp_path, tasks)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [json.loads((tmp_path / f"told{number}").read_text()) for number in range(len(CASES))] == [told for _results, told in CASES]


def play(directory: Path, tasks: list[dict[str, t.Any]]) -> subprocess.CompletedProcess[str]:
    (directory / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "play.yml"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
