# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin as ansible-inventory runs it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.inventory.relay import InventoryModule

ROOT = pathlib.Path(__file__).resolve().parents[4]
MATRIX = {"format": 1, "hosts": ["a", "b", "c", "d"], "seconds": [
    [0, 10, 30, None], [None, 0, 10, None], [None, 10, 0, None], [None, None, None, 0],
]}  # fmt: skip


def run(folder: pathlib.Path, known: str = "", **options: t.Any) -> subprocess.CompletedProcess[str]:
    (folder / "matrix.json").write_text(json.dumps(MATRIX))
    config = {"plugin": "basecast.fleet.relay", "measurements": "matrix.json", "sources": ["a"], **options}
    (folder / "fleet.relay.yml").write_text(json.dumps(config))
    argv = [sys.executable, "-m", "ansible", "inventory", *(["-i", known] if known else [])]
    argv += ["-i", str(folder / "fleet.relay.yml"), "--list"]
    # From an empty directory and without the caller's settings: only this collection and these files count.
    env = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)


def groups(folder: pathlib.Path, known: str = "") -> tuple[dict[str, list[str]], dict[str, t.Any]]:
    done = run(folder, known)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    found = {name: group.get("hosts", []) for name, group in listed.items() if name.startswith("relay_")}
    return found, listed["_meta"]["hostvars"]


def test_stages(tmp_path: pathlib.Path) -> None:
    found, variables = groups(tmp_path)
    assert found == {"relay_sources": ["a"], "relay_unreachable": ["d"], "relay_stage_1": ["b"], "relay_stage_2": ["c"]}
    # What comes from an inventory is not a template; the listing marks it so.
    parents = [host["__ansible_unsafe"] for host in variables["c"].pop("relay_parents")]
    assert parents == ["b", "a"]
    assert variables["c"] == {"relay_stage": 2, "relay_ready_s": 20.0}


def test_hosts_of_a_shared_pool_are_where_the_one_is_that_receives_for_them(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MATRIX, "shared_pools", [["c", "d"]])
    found, variables = groups(tmp_path)
    assert found == {"relay_sources": ["a"], "relay_stage_1": ["b"], "relay_stage_2": ["c", "d"]}
    assert variables["d"]["relay_ready_s"] == variables["c"]["relay_ready_s"]
    monkeypatch.setitem(MATRIX, "shared_pools", [["a", "d"]])
    assert groups(tmp_path)[0]["relay_sources"] == ["a", "d"]


def test_only_known_hosts_are_targets(tmp_path: pathlib.Path) -> None:
    found, _unused = groups(tmp_path, known="a,c,")
    assert {name: hosts for name, hosts in found.items() if hosts} == {"relay_sources": ["a"], "relay_stage_1": ["c"]}


@pytest.mark.parametrize(("options", "words"), [
    ({"sources": ["z"]}, "sources: 'z' is not accepted"), ({"measurements": "nothing.json"}, "readable JSON file"),
])  # fmt: skip
def test_a_mistake_is_named(tmp_path: pathlib.Path, options: dict[str, t.Any], words: str) -> None:
    done = run(tmp_path, **options)
    assert done.returncode != 0
    assert words in " ".join(done.stderr.split())


def test_file_names(tmp_path: pathlib.Path) -> None:
    for name, fits in (("fleet.relay.yml", True), ("relay.yaml", True), ("hosts.yml", False)):
        (tmp_path / name).touch()
        assert InventoryModule().verify_file(str(tmp_path / name)) is fits
