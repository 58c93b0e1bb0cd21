# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._job import virt_sysprep


@pytest.mark.parametrize(("said", "told"), [("trying\nno appliance\n", "no appliance"), ("", "exit code 3")])
def test_why_a_copy_was_not_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str) -> None:
    program = tmp_path / "virt-sysprep"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FleetError, match=f"virt-sysprep could not seal /x, /y: {told}. Try libguestfs-test-tool on this host"):
        virt_sysprep.seal(lambda _command: (3, "", said), {"/x": "raw", "/y": "qcow2"})
