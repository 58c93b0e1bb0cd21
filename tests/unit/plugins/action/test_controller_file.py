# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests hold passwords and signed URLs: whoever watches a run does not see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.basecast.fleet.plugins.action.controller_file import ActionModule
from ansible_collections.basecast.fleet.plugins.plugin_utils import _controller_files

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: basecast.fleet.settings}
    - ansible.builtin.import_role: {name: basecast.fleet.survey, tasks_from: manifest.yml}
    - ansible.builtin.debug: {msg: "It has {{ basecast_manifest.machines | length }} group"}
"""
MANIFEST: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "x", "version": "1", "source": {"url": "https://h/x.qcow2?sig=topsecret"}}],
    "machines": [
        {
            "name": "web",
            "count": 1,
            "disks": [{"name": "root", "base": "x"}],
            "cloud_init": {"user_data": {"write_files": [{"path": "/x", "content": "topsecret"}]}},
        }
    ],
}


@pytest.mark.parametrize("form", ["file", "variable", "wrong", "no file"])
def test_what_a_manifest_says_is_shown_by_no_task(tmp_path: Path, form: str) -> None:
    manifest = tmp_path / "manifest.json"
    wrong = {**MANIFEST, "bases": [{**MANIFEST["bases"][0], "source": {"url": "htps://h/x?sig=topsecret"}}]}
    manifest.write_text(json.dumps(wrong if form == "wrong" else MANIFEST))
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    given = {"manifest": MANIFEST if form == "variable" else str(tmp_path / "none") if form == "no file" else str(manifest)}
    (tmp_path / "given.json").write_text(json.dumps(given))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-vvv", "-e", f"@{tmp_path}/given.json", str(tmp_path / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    told = {"wrong": "begins with http://", "no file": "there is no such file on the controller"}.get(form, "It has 1 group")
    assert told in done.stdout, done.stdout + done.stderr
    assert "topsecret" not in done.stdout + done.stderr


WRITE = """
- hosts: localhost
  gather_facts: false
  vars:
    basecast_plan: {hosts: {kvm1: {seeds: [{machine: web-1, user_data: "topsecret"}]}}}
    basecast_relay_plans: []
    basecast_settings: {plan_file: plan.json}
  tasks:
    - ansible.builtin.include_role: {name: basecast.fleet.plan, tasks_from: write, rolespec_validate: false}
"""


@pytest.mark.parametrize("before", [None, '{"service": "topsecret of old"}\n'])
def test_a_plan_that_is_written_is_not_shown(tmp_path: Path, before: str | None) -> None:
    """It has the user data of machines, and anybody may ask for differences."""
    (tmp_path / "play.yml").write_text(WRITE)
    if before is not None:
        (tmp_path / "plan.json").write_text(before)
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run([*command, "--diff", "-vvv", "play.yml"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "topsecret" not in done.stdout + done.stderr
    assert json.loads((tmp_path / "plan.json").read_text())["service"]["hosts"]["kvm1"]["seeds"][0]["user_data"] == "topsecret"
    assert (tmp_path / "plan.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.mkdir(), "manifest: .*/shop.yml is a directory; expected a file"),
        (os.mkfifo, "manifest: .*/shop.yml is a pipe; expected a file"),
        (lambda path: path.write_bytes(b"name: caf\xe9"), r"manifest: .*/shop.yml is not UTF-8 text \(byte 9\); save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, make: t.Callable[[Path], t.Any], told: str) -> None:
    make(tmp_path / "shop.yml")
    found = _controller_files.find("shop.yml", [str(tmp_path)])
    with pytest.raises(AnsibleActionFail, match=told):
        ActionModule._content(found, "manifest")
