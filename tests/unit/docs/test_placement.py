# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]


def test_the_two_requests_answer_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/placement.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(request:\n.*?)```", page, re.S)
    told = dict(re.findall(r"^(storage|host): .* # (\S+)$", block, re.M))
    task = {"ansible.builtin.copy": {"content": "{{ {'storage': storage, 'host': host} | to_json }}", "dest": str(tmp_path / "answer")}}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": yaml.safe_load(block), "tasks": [task]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    command = [Path(sys.executable).with_name("ansible-playbook"), "play.yml"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "answer").read_text()) == told == {"storage": "kvm1:default", "host": "kvm1"}
