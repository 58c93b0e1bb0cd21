# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins.filter.choose_host import choose_host
from ansible_collections.basecast.fleet.plugins.filter.choose_storage import choose_storage
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import phases, place
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_request

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
    assert (found["ratings"][-1]["fits"], found["ratings"][-1]["reasons"]) == (False, ["it is not connected to this storage"])


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
@pytest.mark.parametrize(
    ("default", "fast", "held", "placement", "pool"),
    [
        (100, 900, None, {}, "default"),
        (100, 900, "fast", {}, "default"),  # a disk may have its base in another pool of the host
        (100, 900, "default", {}, "default"),
        (4, 900, None, {}, "fast"),
        (None, 900, None, {}, "fast"),
        (100, 900, None, {"pools": ["default", "fast"]}, "fast"),
        (900, 100, None, {"pools": ["fast", "default"]}, "default"),
        (900, 100, None, {"pools": ["fast"]}, "fast"),
    ],
)
def test_one_machine_goes_to_the_pool_of_a_deployment(
    default: int | None, fast: int, held: str | None, placement: dict[str, t.Any], pool: str, names: list[str]
) -> None:
    rooms = {name: free for name, free in (("default", default), ("fast", fast)) if free is not None}
    facts = host(65536, 1)
    facts["capacity"]["pools"] = {
        name: {"exists": True, "writable": True, "free_bytes": free * GIB, "promised_bytes": 0} for name, free in rooms.items()
    }
    facts["pools"] = {name: {"bases": [HELD] if name == held else []} for name in rooms}
    hosts = dict.fromkeys(names, facts)
    request = {**REQUEST, "placement": placement}
    chosen = choose_storage(request, hosts, prefer_default=True)["storage"]
    assert chosen == f"a:{pool}" and choose_host(request, hosts, chosen)["pools"] == {"root": pool}
    (assigned,) = place.place_machines(parse_request(request), hosts)["assignments"]
    assert (assigned["host"], assigned["pools"]) == ("a", {"root": pool})


def test_what_hosts_have_measured_decides_as_in_a_deployment() -> None:
    """The third host's link was never measured, and counts as an ordinary one."""
    links = [{"from": "d", "to": name, "mbps": mbps} for name, mbps in (("a", 100), ("b", 10_000))]
    holder = host(65536, 900, held=True, maintenance=True, measured={"links": links})
    hosts = {"a": host(65536, 900), "b": host(65536, 900), "c": host(65536, 900), "d": holder}
    chosen = choose_storage(REQUEST, hosts)
    assert [rating["storage"] for rating in chosen["ratings"]] == ["b:default", "c:default", "a:default", "d:default"]
    assert chosen["ratings"][0]["reasons"][0] == "needs 1.0 GB of base (1 s from d)"
    assert choose_storage(REQUEST, hosts, bring={"d" * 64: {"a": 1, "b": 2, "c": 3}})["storage"] == "a:default", "what is given counts"
    (assigned,) = place.place_machines(parse_request(REQUEST), hosts)["assignments"]
    assert assigned["host"] == "b"
    for facts in hosts.values():
        facts["pools"]["default"]["storage"] = "san"
    hosts["d"]["pools"]["default"]["bases"] = []
    assert choose_host(REQUEST, hosts, "san")["host"] == "a", "nobody has it, so no way is shorter"


def test_a_host_that_cannot_be_asked_is_told_as_such() -> None:
    hosts = {"a": host(65536, 900, maintenance=True), "b": {"reachable": False, "msg": "no route to host"}}
    told = {rating["host"]: rating["reasons"] for rating in choose_host(REQUEST, hosts, "a:default")["ratings"]}
    assert told == {"a": ["it is in maintenance"], "b": ["it cannot be used: no route to host"]}


def test_a_storage_is_not_looked_up_among_those_of_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    storage_of = phases._Request.storage_of

    def counted(made: phases._Request, option: int) -> str:
        looks.append(option)
        return storage_of(made, option)

    monkeypatch.setattr(phases._Request, "storage_of", counted)
    chosen = choose_storage(REQUEST, {f"h{number}": host(65536, 3) for number in range(60)})
    assert len(chosen["ratings"]) == 60 and 0 < len(looks) < 5 * 60
    assert all(rating["reasons"][0].startswith(f"{rating['storage'].partition(':')[0]}: pool ") for rating in chosen["ratings"])


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


def test_an_unknown_host_of_the_request_is_named() -> None:
    with pytest.raises(AnsibleFilterError, match=r"machines\[0\]\.hosts: 'kvm9' is neither a host nor a group .* these are: a, b"):
        choose_storage({**REQUEST, "hosts": ["a", "kvm9"]}, {"a": host(65536, 900), "b": host(65536, 900)})


def test_an_unknown_storage_names_those_that_there_are() -> None:
    with pytest.raises(AnsibleFilterError, match="storage: 'nas' is not accepted; a storage of these hosts is wanted; they have: san"):
        choose_host(REQUEST, {"a": host(65536, 900, "san")}, "nas")


def two_pools(default_gib: int, fast_gib: int | None) -> dict[str, t.Any]:
    found = host(65536, default_gib)
    if fast_gib is not None:
        found["capacity"]["pools"]["fast"] = {"exists": True, "writable": True, "free_bytes": fast_gib * GIB, "promised_bytes": 0}
    return found


LARGE = {"name": "debian", "version": "12", "size_bytes": 10 * GIB, "virtual_size_bytes": 12 * GIB}
BOTH = {"cpus": 1, "memory_mib": 512, "disks": [{"name": "root", "base": "debian"}, {"name": "b", "base": "debian", "pool": "fast"}]}


def test_a_base_needs_room_in_the_pool_that_is_named_for_it() -> None:
    request = {**BOTH, "disks": BOTH["disks"][:1], "bases": [{**LARGE, "pool": "fast"}]}
    hosts = {"no-room": two_pools(100, 5), "no-pool": two_pools(100, None), "good": two_pools(4, 100)}
    chosen = choose_host(request, hosts, choose_storage(request, hosts)["storage"])
    assert (chosen["host"], chosen["problems"]) == ("good", [])
    told = choose_storage(request, {name: hosts[name] for name in ("no-room", "no-pool")})
    assert told["storage"] is None
    assert "no-room: pool no-room:fast: 5 GiB are free, 10 GiB would be written at once" in told["problems"][0]
    assert "no-pool: it has no usable pool 'fast' for the base debian; it has: default" in told["problems"][0]


def test_two_disks_in_two_pools_need_their_base_once() -> None:
    chosen = choose_host({**BOTH, "bases": [LARGE]}, {"a": two_pools(100, 5)}, "a:default")
    assert chosen["host"] == "a"
    assert "needs 10.7 GB of base (86 s)" in chosen["ratings"][0]["reasons"]
    assert choose_host({**BOTH, "bases": [LARGE]}, {"a": two_pools(100, 5)}, "a:default", base_beside_disk=True)["host"] is None


def test_disks_keep_the_pools_that_are_named_for_them() -> None:
    chosen = choose_host({**BOTH, "bases": [LARGE]}, {"a": two_pools(100, 50), "b": two_pools(100, 50)}, "b:default")
    assert (chosen["host"], chosen["pools"]) == ("b", {"root": "default", "b": "fast"})


def test_open_disks_go_to_the_storage_that_was_asked_for() -> None:
    request = {**BOTH, "disks": BOTH["disks"][:1], "bases": [LARGE]}
    assert choose_host(request, {"a": two_pools(100, 50)}, "a:fast")["pools"] == {"root": "fast"}


def fits(chosen: dict[str, t.Any]) -> dict[str, tuple[bool, str]]:
    return {rating["storage"]: (rating["fits"], rating["reasons"][0]) for rating in chosen["ratings"]}


OPEN = {"cpus": 1, "memory_mib": 512, "disks": [{"name": "root", "size_gib": 20}]}


def test_of_all_pools_the_one_with_more_room_is_chosen() -> None:
    assert choose_storage(OPEN, {"a": two_pools(100, 900)})["storage"] == "a:fast"
    assert choose_storage(OPEN, {"a": two_pools(900, 100)})["storage"] == "a:default"
    assert choose_storage(OPEN, {"a": two_pools(900, 900)})["storage"] == "a:default"
    assert choose_storage({**OPEN, "placement": {"pools": ["default"]}}, {"a": two_pools(100, 900)})["storage"] == "a:default"


def test_each_storage_that_is_not_chosen_has_its_own_reason() -> None:
    assert fits(choose_storage(OPEN, {"a": two_pools(1, 900)})) == {
        "a:fast": (True, "pool fast: 900 GiB free, 0 GiB promised"),
        "a:default": (
            False,
            "a: pool a:default: 0 GiB of 4 GiB are promised to disks that grow (400 % of what is free), 20 GiB more are needed",
        ),
    }
    named = {**OPEN, "disks": [{"name": "root", "size_gib": 20, "pool": "fast"}]}
    assert fits(choose_storage(named, {"a": two_pools(900, 900)}))["a:default"] == (False, "no disk of the machine may go there")
    away = choose_storage({**OPEN, "placement": {"avoid": ["b"]}}, {"a": two_pools(9, None), "b": two_pools(900, None)})
    assert fits(away)["b:default"] == (False, "b: it is to be avoided (b)")


def test_without_a_host_that_can_be_used_it_is_told_why() -> None:
    (problem,) = choose_storage(OPEN, {"a": {"reachable": False, "msg": "no route to host"}})["problems"]
    assert problem.endswith("no host has room for this machine. a: it cannot be used: no route to host")
    assert choose_storage(OPEN, {})["problems"][0].endswith("There are no hosts")
