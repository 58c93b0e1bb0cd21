# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole deployments with the digest in the manifest, from a holder whose root changed its base, or what it says of it."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, bases, deploy, give, manifest
from ansible_collections.basecast.fleet.tests.integration.test_relay_digest import falsify
from ansible_collections.basecast.fleet.tests.lab import Host, Lab

pytestmark = pytest.mark.timeout(600)


def holding(lab: Lab) -> Lab:
    """kvm1 has the base, and a machine of it."""
    one = lab.hosts["kvm1"]
    give(one)
    assert deploy(lab, pinned(digest(one), ["kvm1"])).code == 0
    return lab


@pytest.fixture(scope="module")
def lab(lab_factory: Callable[..., Lab]) -> Lab:
    return holding(lab_factory(hosts=4, libvirt=True))


def digest(host: Host) -> str:
    return host.run(f"sha256sum {POOL}/images/tiny.qcow2").stdout.split()[0]


def record(host: Host, sha256: str) -> tuple[Path, dict[str, t.Any]]:
    path = host.path(f"{POOL}/bases/{sha256}/base.json")
    return path, json.loads(path.read_text())


@contextlib.contextmanager
def lie(host: Host, sha256: str, **fields: t.Any) -> Iterator[None]:
    """For a while the record says something else of the same disk."""
    path, said = record(host, sha256)
    path.unlink()
    path.write_text(json.dumps({**said, **fields}))
    yield
    path.write_text(json.dumps(said))


def change_all(host: Host, sha256: str) -> str:
    """Disk, chunk list and record; the digest of the new list."""
    pool = host.path(POOL)
    size = os.stat(pool / "bases" / sha256 / "disk").st_size
    return str(falsify(pool, record(host, sha256)[1], size // 3)["chunks_sha256"])


def pinned(sha256: str, hosts: list[str]) -> dict[str, t.Any]:
    made = copy.deepcopy(manifest(hosts=hosts))
    made["bases"][0]["sha256"] = sha256
    return made


@pytest.mark.variant
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"virtual_size_bytes": 512}, "virtual_size_bytes 512, but the disk has"),
        ({"image_format": "raw"}, "its record says virtual_size_bytes"),
    ],
)
def test_a_record_that_lies_reaches_nobody(lab: Lab, fields: dict[str, t.Any], said: str) -> None:
    one, two, _three, _four = lab.hosts.values()
    sha256 = digest(one)
    with lie(one, sha256, **fields):
        done = deploy(lab, pinned(sha256, ["kvm1", "kvm2"]))
    assert done.code != 0, done
    assert bases(two) == []
    assert said in json.dumps(done.report), done


@pytest.mark.variant
def test_changed_bytes_reach_nobody(lab: Lab) -> None:
    """The last with this lab: the bytes stay changed. What kvm2 fetched before is whole, so it is not asked."""
    one, _two, three, four = lab.hosts.values()
    sha256 = digest(one)
    listed = change_all(one, sha256)
    done = deploy(lab, pinned(sha256, ["kvm1", "kvm3", "kvm4"]))
    assert done.code != 0, done
    assert {state for name, state in done.states.items() if name != "web-1"} == {"failed"}
    for host in (three, four):
        assert bases(host) == []
        assert [path.name for path in host.path(f"{POOL}/bases/.partial").iterdir()] == []
    told = json.dumps(done.report)
    for word in (sha256, listed, "kvm1"):
        assert word in told


@pytest.mark.variant
def test_holders_that_differ_are_named_before_anything_moves(fresh_lab_factory: Callable[..., Lab]) -> None:
    lab = holding(fresh_lab_factory(hosts=3, libvirt=True))
    one, two, three = lab.hosts.values()
    sha256 = digest(one)
    assert deploy(lab, pinned(sha256, ["kvm1", "kvm2"])).code == 0
    listed = change_all(two, sha256)
    done = deploy(lab, pinned(sha256, ["kvm1", "kvm2", "kvm3"]))
    assert done.code != 0, done
    for word in ("different chunk lists", listed, "kvm1 (pool default)", "kvm2 (pool default)"):
        assert word in done.out
    assert not three.path(f"{POOL}/bases").exists()
