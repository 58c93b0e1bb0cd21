# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
from pathlib import Path

MACHINE = {
    "tenant": "default", "service": "shop", "machine": "web-1", "role": "web", "number": 1, "host": "kvm1", "known": True,
    "running": True, "state": "running", "addresses": [{"address": "192.0.2.1", "source": "lease"}],
}  # fmt: skip
LINES = "# BEGIN basecast.fleet default/shop\n192.0.2.1 shop-web-1 web-1.shop.internal\n# END basecast.fleet default/shop\n"


def test_the_hosts_file_is_made_and_then_left_alone(tmp_path: Path) -> None:
    path, beside, here = tmp_path / "hosts", tmp_path / "beside", tmp_path / "here"
    path.write_text("127.0.0.1 localhost\n")
    beside.write_text("[kvm]\nkvm1\n")  # of another meaning, beside the playbook
    here.mkdir()
    role = {"name": "basecast.fleet.status", "tasks_from": "hosts_file", "rolespec_validate": False}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {
            "basecast_status": {"json": json.dumps({"format": 1, "unknown": {}, "machines": [MACHINE]})},
            "basecast_status_request": {"tenant": None, "service": None},
        },
        "tasks": [
            {"ansible.builtin.include_role": role, "vars": {"basecast_settings": {"hosts_file": name}}}
            for name in (str(tmp_path / "new"), str(path), str(path), "beside")
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", str(tmp_path / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=3 " in done.stdout
    assert path.read_text() == f"127.0.0.1 localhost\n\n{LINES}"
    assert (tmp_path / "new").read_text() == (here / "beside").read_text() == LINES
