# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/second-day.md, typed as it is written."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.documented import typed
from ansible_collections.basecast.fleet.tests.integration.test_deploy import bases, give
from ansible_collections.basecast.fleet.tests.lab import Lab
from ansible_collections.basecast.fleet.tests.lab._lab import CHECKOUT

PAGE = (CHECKOUT / "docs/second-day.md").read_text()
# What a reader is to see, by a part of the command.
SEEN = {
    "deploy": "3 of 3 machines are there",
    "status": "3 machines, 3 running",
    "size_gib": "",
    "update -e manifest=shop.yml --check": "goes on running while data grows",
    "clone": "web-9",
    "capture": "web-as-it-is",
    "migrate": "1 of 1 machines were moved",
    "evacuate -e host=kvm3 --check": "2 of 2 machines would be moved",
    "verify": "base disks, all sound",
    "remove -e service=shop --check": "3 machines would be removed",
}


@pytest.mark.timeout(900)
def test_the_second_day_goes_as_it_is_written(lab_factory: t.Callable[..., Lab], tmp_path: Path) -> None:
    lab = lab_factory(hosts=3, libvirt="debian")
    give(lab.hosts["kvm1"])
    (manifest,) = (text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if "# shop.yml" in text)
    (tmp_path / "shop.yml").write_text(manifest)
    (tmp_path / "inventory.yml").symlink_to(lab.inventory)
    lines = typed("docs/second-day.md", "$ ")
    assert len(lines) > 15 and all(any(part in line for line in lines) for part in SEEN)
    for line in lines:
        done = lab.exec_in_controller(["bash", "-c", line], cwd=tmp_path, timeout=400)
        assert done.returncode == 0, f"{line}\n{done.stdout[-5000:]}{done.stderr[-1000:]}"
        text = " ".join(done.stdout.split())
        for part, words in SEEN.items():
            assert part not in line or words in text, f"{line}\n{done.stdout[-5000:]}"
    for host in lab.hosts.values():
        assert bases(host) == [] and host.run("virsh -q list --all").stdout.split() == []
