# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much a run prints with Ansible's own callback, and that nothing of it is about what was not done."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import deploy, give, manifest
from ansible_collections.basecast.fleet.tests.lab import Lab

# Lines of a deployment of ten machines on three hosts, and of the same one again.
MOST = {"cold": 300, "warm": 150}


def empty_plays(said: str) -> list[str]:
    """Plays that begin and do nothing."""
    parts = re.split(r"(?m)^PLAY ", said.split("PLAY RECAP")[0])[1:]
    return [part.splitlines()[0] for part in parts if "TASK [" not in part]


def skipped_tasks(said: str) -> list[str]:
    """Tasks that no host ran."""
    parts = re.split(r"(?m)^TASK ", said.split("PLAY RECAP")[0])[1:]
    return [
        part.splitlines()[0]
        for part in parts
        if re.search(r"(?m)^skipping: ", part) and not re.search(r"(?m)^(ok|changed|included|fatal)", part)
    ]


@pytest.mark.timeout(700)
def test_ten_machines_are_told_in_few_lines(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    lab = fresh_lab_factory(hosts=3, libvirt=True)
    give(lab.hosts["kvm1"])
    wanted = manifest(hosts=["kvm1", "kvm2", "kvm3"], count=10, memory_mib=48)
    del wanted["machines"][0]["cloud_init"]
    for kind in MOST:
        done = deploy(lab, wanted)
        Path(f"/tmp/lines.{kind}").write_text(done.out)
        assert done.code == 0, done
        lines = done.out.count("\n")
        assert lines <= MOST[kind], (kind, lines, empty_plays(done.out), skipped_tasks(done.out))
        assert empty_plays(done.out) == []
