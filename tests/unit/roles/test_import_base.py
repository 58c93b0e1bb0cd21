# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host reports every import that failed, not only the last one. A host that is lost or fails by itself is reported to the plan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars:
    __import_base_upload: "{{ upload if item == upload_said else '' }}"
    upload: "{{ playbook_dir }}/bases/.incoming/0a1b/own.qcow2"
    upload_said: "No room for {{ upload }}."
    basecast_settings: {pools: {default: "{{ playbook_dir }}"}}
    basecast_files: "{{ {upload_said: {'path': '/home/me/own.qcow2'}} }}"
    basecast_imported: {}
  tasks:
    - ansible.builtin.include_tasks: {file: one.yml}
      loop: ['login.qcow2 is no image', 'half.qcow2 is damaged', '', 'full', 'full, and its file is here', "{{ upload_said }}"]
    - ansible.builtin.debug: {msg: "{{ basecast_import_error.split('\\n') | to_json }}"}
    - ansible.builtin.debug: {msg: "{{ basecast_import_lost | to_json }}"}
    - ansible.builtin.debug: {msg: "{{ basecast_import_failed | to_json }}"}
"""
ONE = """
- vars:
    __import_base: {name: "{{ item }}", import_pool: default, place: "of {{ item }}", anywhere: "{{ 'here' not in item and item != upload_said }}"}
  block:
    - name: Import the base
      full: {}
      when: item is match('full')
    - name: Import the base
      ansible.builtin.fail: {msg: "{{ item }}"}
      when: item is truthy
    - vars:
        __import_base_step: {unreachable: true, msg: no route}
      ansible.builtin.include_role: {name: basecast.fleet.import_base, tasks_from: keep, rolespec_validate: false}
  rescue:
    - ansible.builtin.include_role: {name: basecast.fleet.import_base, tasks_from: failed, rolespec_validate: false}
"""

# What a module of the collection returns when the host's disk is full.
FULL = """#!/bin/sh
echo '{"failed": true, "msg": "no room", "failure": {"kind": "no_space"}}'
"""


def test_every_import_that_failed_is_told(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "one.yml").write_text(ONE)
    (tmp_path / "library").mkdir()
    (tmp_path / "library/full.py").write_text(FULL)
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "play.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    told = [
        "of login.qcow2 is no image: Import the base on localhost: login.qcow2 is no image",
        "of half.qcow2 is damaged: Import the base on localhost: half.qcow2 is damaged",
        "of full, and its file is here: Import the base on localhost: no room",
        f"of No room for {tmp_path}/bases/.incoming/0a1b/own.qcow2.: Import the base on localhost: No room for /home/me/own.qcow2.",
    ]
    lost, full = "of : Import the base on localhost: no route", "of full: Import the base on localhost: no room"
    for facts in (told, lost, full):
        assert json.dumps(json.dumps(facts)) in done.stdout, done.stdout + done.stderr
