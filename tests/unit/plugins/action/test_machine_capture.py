# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Firmware variables of a template may hold secrets: whoever watches a run does not see them."""

from __future__ import annotations

import json
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.basecast.fleet.plugins.action.machine_capture import ActionModule

TEMPLATE: dict[str, t.Any] = {
    "cpus": 1,
    "memory_mib": 64,
    "hardware": {},
    "networks": [],
    "seeded": False,
    "variables": "topsecret",
    "disks": [{"name": "root", "base": "shop-web", "size_bytes": 4096}],
}
CAPTURED = {"changed": True, "base": {"sha256": "a" * 64, "size_bytes": 4096, "pool": "default"}, "template": TEMPLATE}
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars:
    basecast_imported: {}
    basecast_import_error: ''
    __import_base: {name: shop-web, import_pool: default, place: 'bases[0]'}
    __import_base_step: "{{ lookup('ansible.builtin.file', 'captured.json') | from_json }}"
  tasks:
    - ansible.builtin.include_role: {name: basecast.fleet.import_base, tasks_from: keep, rolespec_validate: false}
    - ansible.builtin.debug: {msg: "{{ basecast_imported['shop-web'].template.variables | length }} of {{ basecast_imported['shop-web'].pool }}"}
"""


@pytest.mark.parametrize(
    ("returned", "hidden"),
    [
        (CAPTURED, True),
        ({**CAPTURED, "template": None}, False),
        ({"failed": True, "msg": "machine: web-1 is not on this host."}, False),
        ({"unreachable": True, "msg": "No route to host"}, False),
    ],
)
def test_a_template_is_hidden_and_why_there_is_none_is_not(
    monkeypatch: pytest.MonkeyPatch, returned: dict[str, t.Any], hidden: bool
) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    action = ActionModule.__new__(ActionModule)
    action._task = types.SimpleNamespace(args={})
    monkeypatch.setattr(action, "_execute_module", lambda task_vars: dict(returned))
    assert action.run(task_vars={}) == {**returned, **({"_ansible_no_log": True} if hidden else {})}


@pytest.mark.parametrize("template", [True, False])
def test_a_template_that_is_kept_is_not_shown(tmp_path: Path, template: bool) -> None:
    (tmp_path / "captured.json").write_text(json.dumps(CAPTURED if template else {**CAPTURED, "template": None}))
    shown = PLAYBOOK if template else PLAYBOOK.replace(".template.variables", ".sha256")
    (tmp_path / "play.yml").write_text(shown)
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run([*command, "-vvv", "play.yml"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert f"{9 if template else 64} of default" in done.stdout, done.stdout + done.stderr
    assert "topsecret" not in done.stdout + done.stderr
    assert template is ("censored" in done.stdout)
