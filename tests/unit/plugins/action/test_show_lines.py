# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tables are printed as they are for people, and as data for programs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Show it
      basecast.fleet.show_lines:
        lines: ["host  from", "kvm2  'kvm1', \\\\x1b[31m", "", "a\\nb"]
"""


@pytest.mark.parametrize("callback", ["default", "ansible.builtin.default", "minimal", ""])
def test_lines_are_printed_without_quotes(tmp_path: Path, callback: str) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK.replace("\\\\x1b", "\\x1b"))
    environment = {**os.environ, **({"ANSIBLE_STDOUT_CALLBACK": callback} if callback else {})}
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    plain = ["host  from", "kvm2  'kvm1',  [31m", "", "a", "b"]
    if callback == "minimal":
        assert json.loads(done.stdout.partition("=> ")[2])["msg"] == plain
    else:
        assert "\n".join(["", *plain, "ok: [localhost]", ""]) in done.stdout
        assert '"' not in done.stdout
