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
from ansible_collections.basecast.fleet.plugins.inventory.machines import InventoryModule
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_machine_hosts import machine, status

ROOT = pathlib.Path(__file__).resolve().parents[4]


def run(folder: pathlib.Path, told: t.Any = None, **options: t.Any) -> subprocess.CompletedProcess[str]:
    if told is not None:
        (folder / "status.json").write_text(json.dumps(told))
        options.setdefault("status_file", "status.json")
    (folder / "machines.yml").write_text(json.dumps({"plugin": "basecast.fleet.machines", **options}))
    argv = [sys.executable, "-m", "ansible", "inventory", "-i", str(folder / "machines.yml"), "--list"]
    # From an empty directory and without the caller's settings: only this collection and these files count.
    env = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true"}
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)


def listed(done: subprocess.CompletedProcess[str]) -> dict[str, t.Any]:
    assert done.returncode == 0, done.stderr
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def test_machines_of_a_file(tmp_path: pathlib.Path) -> None:
    options: dict[str, t.Any] = {
        "compose": {"ansible_user": "'admin'"},
        "groups": {"first": "machine_number == 1"},
        "keyed_groups": [{"key": "machine_bases", "prefix": "base"}],
    }
    found = listed(run(tmp_path, status(machine(bases=["tiny 1"]), machine("web-2", number=2), machine("web-3", state="off")), **options))
    for group, hosts in (("service_shop", 2), ("role_shop_web", 2), ("machines_on_kvm1", 2), ("first", 1), ("base_tiny_1", 1)):
        assert len(found[group]["hosts"]) == hosts
    told = found["_meta"]["hostvars"]["shop-web-1"]
    assert "192.0.2.7" in str(told["ansible_host"]) and "admin" in str(told["ansible_user"])


@pytest.mark.parametrize(
    ("told", "options", "words"),
    [
        (None, {}, "exactly one of status_file and inventory"),
        (status(), {"inventory": ["kvm1,"]}, "exactly one of status_file and inventory"),
        (None, {"status_file": "nothing.json"}, "basecast.fleet.status writes it"),
        ([], {}, "is not the status of a fleet"),
        ({"format": 3}, {}, "not the status of a fleet"),
        (status(), {"address_networks": ["x"]}, "address_networks: 'x' is not accepted"),
        ({**status(), "unknown": {"kvm2": "timed out"}}, {"unknown_hosts": "fail"}, "kvm2 (timed out)"),
        (None, {"inventory": ["no,"], "extra_vars": {"basecast_fleet": "nobody"}}, "The playbook status has failed"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(told: t.Any, options: dict[str, t.Any], words: str, tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, told, **options)
    assert done.returncode != 0 and words in " ".join(done.stderr.split()), done.stderr


@pytest.mark.parametrize("text", ["[" * 60_000, '{"a":' * 60_000, "null"], ids=["lists", "mappings", "null"])
def test_a_file_that_is_no_status_is_named(text: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "status.json").write_text(text)
    done = run(tmp_path, status_file="status.json")
    assert done.returncode != 0 and "status_file:" in done.stderr and "basecast.fleet.status writes it" in " ".join(done.stderr.split())


def test_hosts_that_cannot_be_known_are_warned_of(tmp_path: pathlib.Path) -> None:
    done = run(tmp_path, {**status(machine()), "unknown": {"kvm2": "timed out"}})
    assert "kvm2 (timed out)" in " ".join(done.stderr.split()) and "shop-web-1" in listed(done)["_meta"]["hostvars"]


def test_file_names(tmp_path: pathlib.Path) -> None:
    for name, fits in (
        ("machines.yml", True),
        ("fleet.basecast.yaml", True),
        ("my.machines.yaml", True),
        ("hosts.yml", False),
        ("relay.yml", False),
    ):
        (tmp_path / name).touch()
        assert InventoryModule().verify_file(str(tmp_path / name)) is fits
    assert not InventoryModule().verify_file(str(tmp_path / "absent.machines.yml"))
