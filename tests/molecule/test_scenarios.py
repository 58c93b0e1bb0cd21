# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every molecule scenario, as a user of molecule runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(found.parent.name for found in ROOT.glob("extensions/molecule/*/molecule.yml"))


def test_the_scenarios_are_there() -> None:
    assert {"default", "vm_hosts"} <= set(SCENARIOS)


@pytest.mark.timeout(1200)
# Debian guests without KVM take ten minutes to come up: make test shows the one on lab hosts, make test-molecule both.
@pytest.mark.parametrize("scenario", [pytest.param(name, marks=[pytest.mark.variant] if name == "vm_hosts" else []) for name in SCENARIOS])
def test_scenario(scenario: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
    log = tmp_path / "molecule.log"
    with log.open("w") as out:
        code = subprocess.run(
            ["molecule", "test", "--scenario-name", scenario],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
    said = log.read_text()
    assert code == 0, said[-8000:]
    # Molecule calls a play without hosts a success; the scenarios' first task of converge does not.
    assert len(re.findall(r"PLAY RECAP", said)) >= 4, said[-8000:]
