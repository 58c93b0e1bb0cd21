# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine import files

from .conftest import only, say, seeded


@pytest.mark.parametrize("keep", [True, False])
def test_firmware_variables_stay_where_the_machine_is_made_again(keep: bool, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish(hardware={"firmware": "uefi"})
    machines().ensure([wish], start=True)
    path = Path(wish.directory) / "nvram-uefi.fd"
    path.write_text("boot order")
    assert machines().remove([wish.owner], {wish.owner: wish.directory}, keep_firmware=keep)[0].problem is None
    assert path.exists() == keep and host.kept_firmware == {"shop-web-1": keep}


def test_removal_takes_seed_and_logs_but_no_disk(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = seeded(make_wish())
    machines().ensure([wish], start=True)
    say(wish)
    directories = {wish.owner: wish.directory}
    assert only(machines(check=True).remove([wish.owner], directories)).actions == ["removed"]
    assert len(host.known) == 1 and os.path.exists(str(wish.seed))
    assert only(machines().remove([wish.owner], directories)).actions == ["removed"]
    assert host.known == []
    assert os.listdir(wish.directory) == ["root.raw"]
    assert only(machines().remove([wish.owner], directories)).actions == []


def test_removal_cleans_up_after_an_interrupted_one(machines: t.Any, make_wish: t.Any) -> None:
    wish = seeded(make_wish())
    os.unlink(wish.disks[0].path)
    assert only(machines().remove([wish.owner], {wish.owner: wish.directory})).actions == ["cleaned"]
    assert not os.path.exists(wish.directory)


@pytest.mark.parametrize(("tenant", "actions"), [("other", []), (None, ["cleaned"])])
def test_removal_leaves_the_files_of_another_tenant(machines: t.Any, make_wish: t.Any, tenant: str | None, actions: list[str]) -> None:
    """On storage that hosts share, the machine may run on another host."""
    wish = seeded(make_wish())
    service = Path(wish.directory).parent
    (service / ".owner.json").write_text(json.dumps({"format": 1, "tenant": tenant or wish.owner.tenant}))
    assert only(machines().remove([wish.owner], {wish.owner: wish.directory})).actions == actions
    assert os.path.exists(str(wish.seed)) is not bool(actions)


def test_what_a_tpm_held_goes_with_the_machine(
    host: t.Any, machines: t.Any, make_wish: t.Any, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirt leaves it where a later manifest had no TPM, so that the last definition has none."""
    states = tmp_path / "tpms"
    monkeypatch.setattr(files, "_TPM_STATES", str(states))
    wish = make_wish()
    state = states / wish.owner.domain_uuid / "tpm2"
    (states / "another").mkdir(parents=True)
    state.mkdir(parents=True)
    (state / "tpm2-00.permall").touch()
    directories = {wish.owner: wish.directory}
    machines().ensure([wish], start=True)
    machines().remove([wish.owner], directories, keep_firmware=True)
    machines(check=True).remove([wish.owner], directories)
    assert state.exists(), "an update keeps it, and a check changes nothing"
    assert only(machines().remove([wish.owner], directories)).actions == ["cleaned"]
    assert os.listdir(states) == ["another"]
    assert only(machines().remove([wish.owner], directories)).actions == []


def test_tpm_state_that_stays_is_a_failure(machines: t.Any, make_wish: t.Any, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_TPM_STATES", str(tmp_path))
    monkeypatch.setattr(files.shutil, "rmtree", refuse)
    wish = make_wish()
    (tmp_path / wish.owner.domain_uuid).mkdir()
    failed = only(machines().remove([wish.owner], {wish.owner: wish.directory}))
    assert "could not be removed" in str(failed.problem) and "Permission denied" in str(failed.problem)
