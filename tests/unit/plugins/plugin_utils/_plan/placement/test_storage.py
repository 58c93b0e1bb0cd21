# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement.storage import (
    shared_storage,
    storage_candidates,
    storage_of,
)

GIB = 1 << 30


def host(**pools: tuple[str | None, bool, int]) -> dict[str, t.Any]:
    """By pool: identity, whether other hosts can mount it, size."""
    return {
        "reachable": True,
        "pools": {name: {"filesystem": {"identity": one[0], "shared": one[1]}} for name, one in pools.items()},
        "capacity": {"pools": {name: {"total_bytes": one[2]} for name, one in pools.items()}},
    }


NFS = ("net:nfs4:filer:/images:2", True, 100 * GIB)
OTHER_NAME = ("net:nfs4:10.0.0.9:/images:2", True, 100 * GIB + 4096)
EXPORTED = ("local:boot1:64768:2", False, 100 * GIB)
ALONE = ("local:boot2:64768:2", False, 50 * GIB)


@pytest.mark.parametrize(
    "hosts, wanted",
    [
        ({"a": host(p=ALONE)}, {}),
        ({"a": host(p=("local:b:1:2", False, GIB)), "b": host(p=("local:c:1:2", False, GIB))}, {}),
        ({"a": host(p=("local:b:1:2", False, GIB)), "b": host(p=("local:b:2:2", False, GIB))}, {}),
        ({"a": host(p=ALONE), "b": host(p=ALONE)}, {"a": {"p": 2}, "b": {"p": 2}}),
        ({"a": host(p=NFS), "b": host(q=NFS), "c": host(p=ALONE)}, {"a": {"p": 2}, "b": {"q": 2}}),
        ({"a": host(p=NFS), "b": host(p=OTHER_NAME)}, {"a": {"p": 2}, "b": {"p": 2}}),
        ({"a": host(p=EXPORTED), "b": host(p=NFS)}, {"a": {"p": 2}, "b": {"p": 2}}),
        ({"a": host(p=NFS, q=NFS)}, {}),
        ({"a": host(p=NFS), "b": host(p=(None, True, 100 * GIB))}, {}),
        ({"a": host(p=NFS), "b": {"reachable": False}}, {}),
        ({"a": host(p=("n:1", True, 0)), "b": host(p=("n:2", True, 0))}, {}),
    ],
    ids=[
        "one",
        "two kernels",
        "two devices",
        "bind",
        "nfs",
        "nfs by another name",
        "server and client",
        "one host",
        "none",
        "dead",
        "no size",
    ],
)
def test_which_pools_are_worth_a_probe(hosts: t.Any, wanted: t.Any) -> None:
    assert storage_candidates(hosts) == wanted


def probes(**seen: list[str]) -> dict[str, t.Any]:
    """Each host's pool ``p``: its mark is the host's name, and this is what it saw."""
    return {name: {"marks": {"p": name}, "seen": {"p": marks}} for name, marks in seen.items()}


@pytest.mark.parametrize(
    "told, wanted",
    [
        (probes(a=["a", "b"], b=["a", "b"], c=["c"]), {"a": "a:p", "b": "a:p", "c": "c:p"}),
        (probes(a=["a"], b=["a", "b"], c=["c"]), {"a": "a:p", "b": "b:p", "c": "c:p"}),
        (probes(a=["a", "b"], b=["a", "b", "c"], c=["b", "c"]), {"a": "a:p", "b": "a:p", "c": "a:p"}),
        (probes(a=["a", "b"]), {"a": "a:p", "b": "b:p", "c": "c:p"}),
        (probes(a=["a", "b", "c"], b=["a", "b", "c"], c=[]), {"a": "a:p", "b": "a:p", "c": "c:p"}),
        ({}, {"a": "a:p", "b": "b:p", "c": "c:p"}),
        ({"a": [], "b": {"marks": 7, "seen": None}, "c": {"marks": {"p": ["x"]}, "seen": {"p": {}}}}, {"a": "a:p", "b": "b:p", "c": "c:p"}),
    ],
    ids=["two of three", "one way", "through the middle", "lost between", "one sees nothing", "nobody probed", "nonsense"],
)
def test_which_pools_are_one_storage(told: t.Any, wanted: dict[str, str]) -> None:
    found = shared_storage({name: host(p=NFS) for name in "abc"}, told)
    assert {name: storage_of(name, "p", facts["pools"]["p"]) for name, facts in found.items()} == wanted


def test_a_host_cannot_pass_another_host_for_itself() -> None:
    """It repeats what it sees through an overlay; the other has not seen it."""
    liar = {"marks": {"p": "a"}, "seen": {"p": ["a", "b"]}}
    found = shared_storage({name: host(p=NFS) for name in "abc"}, {**probes(a=["a", "b"], b=["a", "b"]), "c": liar})
    assert "storage" not in found["c"]["pools"]["p"]


def test_a_host_cannot_name_its_storage_itself() -> None:
    hosts = {"a": host(p=NFS), "b": host(p=NFS)}
    hosts["b"]["pools"]["p"]["storage"] = "a:p"
    assert "storage" not in shared_storage(hosts, {})["b"]["pools"]["p"]


def test_equal_identities_alone_prove_nothing() -> None:
    hosts = {"a": host(p=NFS), "b": host(p=NFS)}
    assert storage_of("a", "p", hosts["a"]["pools"]["p"]) != storage_of("b", "p", hosts["b"]["pools"]["p"])
