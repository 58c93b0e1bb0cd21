# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines that somebody asks for again while they are drained are not removed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ansible_collections.basecast.fleet.plugins.module_utils._machine.records import ServiceRecords

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
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [facts, leave]}]))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "play.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "Nothing was removed: localhost does not remember the numbers: " in done.stdout, done.stdout + done.stderr
    assert "Remove the machines that go" not in done.stdout
