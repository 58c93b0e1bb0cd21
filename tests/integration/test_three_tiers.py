# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/examples/three-tiers, typed as its page says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.documented import typed
from ansible_collections.basecast.fleet.tests.lab._lab import CHECKOUT

EXAMPLE = CHECKOUT / "docs/examples/three-tiers"
# What a reader is to see, by the number of the command.
SEEN = {
    0: ["start order: db; then web; then proxy", "4 of 4 machines are there"],
    2: ["web-3"],
    3: ["web-3", "5 of 5 machines are there"],
    4: ["shop-db-1"],
}


def clone(folder: Path) -> Path:
    """A clone of this checkout, as far as the commands can tell, with an example that they may change."""
    for entry in CHECKOUT.iterdir():
        if entry.name != "docs":
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(EXAMPLE, folder / "docs/examples/three-tiers")
    return folder


@pytest.mark.timeout(900)
def test_the_three_tiers_go_as_their_page_says(folder: Path) -> None:
    checkout = clone(folder)
    lines = typed("docs/examples/three-tiers/README.md", "# ")
    assert len(lines) == 6
    assert lines[-1] == "make example-down"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "BASECAST_", "PYTHON"))}
    environment = {**inherited, "BASECAST_LAB_DIR": str(folder / "labs")}

    def type_(line: str) -> str:
        done = subprocess.run(["bash", "-c", line], cwd=checkout, env=environment, text=True, capture_output=True, timeout=500, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"
        return " ".join(done.stdout.split())

    try:
        for number, line in enumerate(lines[:-1]):
            said = type_(line)
            assert [words for words in SEEN.get(number, []) if words not in said] == [], said
    finally:
        type_(lines[-1])
