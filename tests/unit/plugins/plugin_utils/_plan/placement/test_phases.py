# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins.filter.choose_host import choose_host
from ansible_collections.basecast.fleet.plugins.filter.choose_storage import choose_storage

GIB = 1024**3
REQUEST = {
    "cpus": 2,
    "memory_mib": 4096,
    "disks": [{"name": "root", "base": "debian", "size_gib": 20}],
    "bases": [{"name": "debian", "version": "12"}],
}
HELD = {"sha256": "d" * 64, "size_bytes": 10**9, "names": [{"tenant": "default", "name": "debian", "version": "12"}]}


def host(memory: int, free_gib: int, storage: str | None = None, held: bool = False, **facts: t.Any) -> dict[str, t.Any]:
    pool = {"exists": True, "writable": True, "free_bytes": free_gib * GIB, "promised_bytes": 0}
    return {
        "reachable": True,
        "capacity": {"cpus": 8, "memory_mib": memory, "pools": {"default": pool}},
        "pools": {"default": {"storage": storage, "bases": [HELD] if held else []}},
        **facts,
    }


def test_the_storage_that_holds_the_base_is_chosen_then_its_host() -> None:
    hosts = {"a": host(65536, 900), "b": host(8192, 100, "san", held=True), "c": host(65536, 100, "san", held=True)}
    chosen = choose_storage(REQUEST, hosts)
    assert (chosen["storage"], chosen["ratings"][0]["hosts"]) == ("san", ["c", "b"])
    assert chosen["ratings"][0]["reasons"] == ["holds debian", "pool default: 100 GiB free, 0 GiB promised, shared by 2 hosts"]
    assert chosen["ratings"][1]["reasons"][0] == "needs 1.0 GB of base (8 s)"
    found = choose_host(REQUEST, hosts, "san")
    assert (found["host"], found["pools"]) == ("c", {"root": "default"})
    assert [rating["host"] for rating in found["ratings"]] == ["c", "b", "a"]
    assert found["ratings"][-1]["fits"] is False


def test_a_storage_whose_hosts_are_full_is_not_chosen() -> None:
    hosts = {"full": host(1024, 900, held=True), "roomy": host(65536, 100)}
    chosen = choose_storage(REQUEST, hosts)
    assert chosen["storage"] == "roomy:default"
    assert chosen["ratings"][-1]["reasons"] == ["full: memory: 1024 of 1024 MiB are free, 4096 are needed"]


def test_no_room_anywhere_is_a_problem_with_reasons() -> None:
    hosts = {"a": host(1024, 900), "b": host(65536, 4), "c": host(65536, 900, maintenance=True)}
    chosen = choose_storage(REQUEST, hosts)
    assert chosen["storage"] is None
    for reason in ("a: memory: 1024 of 1024 MiB", "b: pool b:default: 0 GiB of", "c: it is in maintenance"):
        assert reason in chosen["problems"][0]
    assert choose_host(REQUEST, hosts, "a:default")["host"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory_mib": "much"}, "memory_mib: 'much' is not accepted"),
        ({"memory_mb": 1}, "unknown key (did you mean memory_mib?)"),
        ({"placement": {"prefer": "best"}}, "prefer: 'best' is not accepted"),
        ({"bases": []}, "'debian' is not a base"),
        ({"placement": {"spread": {"by": "site"}}}, "the key at_most is missing"),
    ],
)
def test_a_wrong_request_names_its_place(change: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError) as raised:
        choose_storage({**REQUEST, **change}, {"a": host(65536, 900)})
    assert message in str(raised.value)


def test_an_unknown_storage_names_those_that_there_are() -> None:
    with pytest.raises(AnsibleFilterError, match="storage: 'nas' is not accepted; a storage of these hosts is wanted; they have: san"):
        choose_host(REQUEST, {"a": host(65536, 900, "san")}, "nas")
