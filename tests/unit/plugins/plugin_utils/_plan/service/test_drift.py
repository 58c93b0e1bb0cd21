# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import drift, drift_text, in_short, machine_spec

MANIFEST = {"bases": [{"name": "debian", "version": "12"}]}
DISK = {"name": "root", "base": "debian", "size_bytes": 4 << 30, "differencing": True, "pool": "default", "backend": "qcow2"}


def group(**changes: t.Any) -> dict[str, t.Any]:
    usual = {
        "cpus": 1, "memory_mib": 96, "disks": [DISK], "networks": [{"network": "default", "model": "virtio"}], "seed_digest": "1",
        "cloud_init": {"user_data": {"packages": ["a"], "runcmd": ["b"]}, "network_config": {"version": 2}},
    }  # fmt: skip
    return {**usual, **changes}


def text_of(before: dict[str, t.Any], after: dict[str, t.Any], names: tuple[str, ...] = ("web-1",)) -> list[str]:
    found = drift(machine_spec(before, MANIFEST), machine_spec(after, MANIFEST))
    return drift_text([{"machine": name, "drift": copy.deepcopy(found)} for name in names])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"memory_mib": 112}, "memory 96 → 112 MiB"),
        ({"cpus": 2}, "CPUs 1 → 2"),
        ({"disks": [{**DISK, "size_bytes": 8 << 30}]}, "disk root: size 4 → 8 GiB"),
        ({"disks": [{**DISK, "size_bytes": None}]}, "disk root: size 4 GiB → the base's own"),
        ({"disks": [{**DISK, "differencing": False}]}, "disk root: differencing yes → no"),
        ({"disks": [DISK, {**DISK, "name": "data", "base": None}]}, "disk data is missing"),
        ({"disks": []}, "disk root is no longer in the manifest"),
        ({"networks": [{"bridge": "br0"}]}, "networks default → br0"),
        ({"networks": []}, "networks default → none"),
    ],
)
def test_each_difference_reads_as_a_person_says_it(change: dict[str, t.Any], sentence: str) -> None:
    assert text_of(group(), group(**change)) == [f"drift: web-1: {sentence}"]


def test_the_changed_keys_of_user_data_are_named_not_shown() -> None:
    secret = {"user_data": {"packages": ["a"], "runcmd": ["c"], "password": "hunter2"}, "network_config": {"version": 2}}
    after = group(cloud_init=secret, seed_digest="2")
    assert text_of(group(), after) == ["drift: web-1: cloud-init has changed: user_data.password, user_data.runcmd"]
    assert "hunter2" not in str(machine_spec(after, MANIFEST))


def test_user_data_as_text_is_named_as_a_whole() -> None:
    before, after = (group(cloud_init={"user_data": f"#cloud-config\n{x}"}, seed_digest=x) for x in "12")
    assert text_of(before, after) == ["drift: web-1: cloud-init has changed: user_data"]


def test_machines_with_the_same_difference_share_a_line() -> None:
    names = tuple(f"web-{k}" for k in (*range(1, 9), 10, 11, 20))
    assert text_of(group(), group(memory_mib=112), names) == ["drift: web-1…8, web-10…11, web-20: memory 96 → 112 MiB"]


def test_nothing_differs_from_itself() -> None:
    assert text_of(group(), group()) == []


@pytest.mark.parametrize(
    ("names", "short"),
    [([], ""), (["a"], "a"), (["web-1"], "web-1"), (["web-1", "web-2", "db-1", "db-3"], "web-1…2, db-1, db-3")],
)
def test_names_in_short(names: list[str], short: str) -> None:
    assert in_short(names) == short


@pytest.mark.parametrize(
    ("found", "wanted", "line"),
    [
        ({}, {"firmware": "uefi"}, "firmware bios → uefi"),
        ({"firmware": "uefi"}, {}, "firmware uefi → bios"),
        ({}, {"autostart": False}, "autostart yes → no"),
        ({}, {"tpm": "2.0"}, "tpm none → 2.0"),
        ({"cpu": {"model": "EPYC"}}, {"cpu": {"model": "host-model"}}, "cpu model EPYC → host-model"),
        ({"disks": {"a": {"bus": None}}}, {"disks": {"a": {"bus": "sata"}}}, "disk a: bus not set → sata"),
        ({"watchdog": {}}, {"watchdog": {"action": "none"}}, "watchdog action not set → none"),
        ({}, {"watchdog": {"action": "reset"}}, "watchdog none → {action: reset}"),
        ({"cpu": {"pins": ["0"]}}, {"cpu": {"pins": ["0", "1-3"]}}, "cpu pins [0] → [0, 1-3]"),
        ({"memory": {"cells": [{"cpus": "0", "memory_mib": 64}]}}, {"memory": {}}, "memory cells [{cpus: 0, memory_mib: 64}] → not set"),
    ],
)
def test_hardware_that_nobody_chose_is_told_as_it_usually_is(found: t.Any, wanted: t.Any, line: str) -> None:
    assert drift_text([{"machine": "web-1", "drift": drift(found, wanted)}]) == [f"drift: web-1: {line}"]
