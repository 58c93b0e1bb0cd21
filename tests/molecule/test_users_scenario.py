# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenario of docs/molecule.md, in a project of a user's own, as it is written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.documented import typed
from ansible_collections.basecast.fleet.tests.lab import Lab, images
from ansible_collections.basecast.fleet.tests.lab._lab import CHECKOUT, make_key

PAGE = (CHECKOUT / "docs/molecule.md").read_text()
POOL = "/var/lib/libvirt/images"


def scenario(project: Path, public_key: str) -> None:
    """The files that the page shows; each begins with its name."""
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S):
        name = re.match(r"# (\S+\.yml)\n", text)
        if name:
            (project / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (project / name[1]).write_text(text.replace("ssh-ed25519 AAAA… me", public_key))


@pytest.mark.timeout(900)
def test_a_users_scenario_runs_as_the_page_says(tmp_path: Path) -> None:
    project, key, log = (tmp_path / name for name in ("hello role", "key", "log"))
    make_key(key)
    scenario(project, key.with_suffix(".pub").read_text().strip())
    with Lab(hosts=1, libvirt=True) as lab:
        host = lab.hosts["kvm1"]
        host.put(images.tiny(ssh=True), f"{POOL}/images/debian-12.qcow2")
        home = lab.state / "home"  # a short path: Ansible makes sockets below it
        (home / "fleet").mkdir(parents=True)
        (home / "fleet/inventory.yml").symlink_to(lab.inventory)
        settings = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin:/sbin",
            "MOLECULE_EPHEMERAL_DIRECTORY": str(lab.state / "molecule of hello"),
            "NO_COLOR": "1",
        }
        # The user's own key is in an agent, as it often is.
        lines = " && ".join(typed("docs/molecule.md", "$ molecule test"))
        command = ["ssh-agent", "sh", "-c", f"ssh-add -q {key} && {lines} >{log} 2>&1"]
        code = lab.exec_in_controller(command, settings, timeout=200, cwd=project).returncode
        said = log.read_text()
        assert code == 0, said[-8000:]
        for step in ("create", "converge", "idempotence", "verify"):
            assert f"{step} > Executed: Successful" in re.sub(r"\[default > (\w+)\]", r"\1 >", said), said[-8000:]
        assert len(re.findall(r"^(?:ok|changed): \[hello-role-web-1\]", said, re.M)) >= 4, said[-8000:]
        # The KVM host is none of molecule's hosts, and all of the service is gone but the base.
        assert "[kvm1]" not in said
        left = host.run(f"virsh -q list --all --name; ls {POOL}/machines; ls {POOL}/bases").stdout.split()
        assert len(left) == 1 and re.fullmatch(r"[0-9a-f]{64}", left[0]), left
