# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections import Counter

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.placement import Settings, place_machines
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest


def manifest(**group: t.Any) -> dict[str, t.Any]:
    group = {"name": "web", "disks": [{"name": "root", "base": "tiny"}], **group}
    bases = [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "tiny.qcow2"}}]
    return parse_manifest({"format": 1, "service": "shop", "bases": bases, "machines": [group]})


def host(*numbers: int, reachable: bool = True, held: bool = False, **facts: t.Any) -> dict[str, t.Any]:
    base = {"sha256": "a" * 64, "source_sha256": "a" * 64, "names": [{"tenant": "default", "name": "tiny", "version": "1"}]}
    return {
        "reachable": reachable,
        "machines": [{"machine": f"web-{n}", "group": "web", "number": n} for n in numbers],
        "pools": {"default": {"bases": [base] if held else []}},
        **facts,
    }


def placed(result: dict[str, t.Any]) -> dict[str, str]:
    return {entry["machine"]: entry["host"] for entry in result["assignments"]}


def record(generation: int, **assignments: tuple[str, int]) -> dict[str, t.Any]:
    return {
        "service": "shop",
        "generation": generation,
        "assignments": {name: {"host": where, "group": "web", "number": n} for name, (where, n) in assignments.items()},
    }


def test_numbers_follow_the_order_of_hosts() -> None:
    result = place_machines(manifest(hosts=["b", "a"], per_host=2), {"a": host(), "b": host()})
    assert placed(result) == {"web-1": "b", "web-2": "b", "web-3": "a", "web-4": "a"}


def test_machines_keep_their_number_when_hosts_are_added_before_them() -> None:
    result = place_machines(manifest(hosts=["new", "a", "b"]), {"new": host(), "a": host(1), "b": host(2)})
    assert placed(result) == {"web-1": "a", "web-2": "b", "web-3": "new"}


def test_a_gap_is_filled_before_new_numbers() -> None:
    result = place_machines(manifest(hosts=["a", "b", "c"]), {"a": host(1), "b": host(), "c": host(3)})
    assert placed(result) == {"web-1": "a", "web-2": "b", "web-3": "c"}


def test_the_numbers_of_an_unreachable_host_are_not_given_away() -> None:
    others = record(2, web_3=("dead", 3), web_1=("a", 1))
    hosts = {"new": host(), "a": host(1, record=others), "dead": host(reachable=False)}
    result = place_machines(manifest(hosts=["new", "a", "dead"]), hosts)
    assert placed(result) == {"web-1": "a", "web-2": "new", "web-3": "dead"}


def test_the_newest_record_counts() -> None:
    hosts = {
        "a": host(1, record=record(1, old=("dead", 2))),
        "b": host(record=record(5, new=("dead", 7))),
        "dead": host(reachable=False),
    }
    assert placed(place_machines(manifest(hosts=["a", "b", "dead"]), hosts))["web-7"] == "dead"


def test_what_was_recorded_for_a_reachable_host_but_never_made_keeps_its_number() -> None:
    hosts = {"a": host(record=record(1, x=("b", 1), y=("a", 2))), "b": host()}
    assert placed(place_machines(manifest(hosts=["a", "b"]), hosts)) == {"web-1": "b", "web-2": "a"}


def test_fewer_machines_asked_for_leaves_the_surplus_alone_and_says_so() -> None:
    result = place_machines(manifest(hosts=["a"], per_host=1), {"a": host(1, 2), "b": host(3)})
    assert placed(result) == {"web-1": "a"}
    assert result["surplus"] == [{"machine": "web-2", "host": "a"}, {"machine": "web-3", "host": "b"}]


def test_a_count_is_spread_evenly_over_reachable_hosts() -> None:
    result = place_machines(manifest(count=5), {"a": host(), "dead": host(reachable=False), "b": host(), "c": host()})
    assert [list(placed(result).values()).count(h) for h in ("a", "b", "c", "dead")] == [2, 2, 1, 0]


def test_among_equals_the_host_that_has_the_base_wins_and_the_reason_can_be_read() -> None:
    result = place_machines(manifest(count=1), {"a": host(), "b": host(held=True)})
    assert placed(result) == {"web-1": "b"}
    best, other = result["ratings"]["web-1"]
    assert (best["host"], other["host"]) == ("b", "a")
    assert best["rating"] > other["rating"]
    assert "holds tiny" in best["reasons"]


def test_a_base_that_is_still_to_come_is_not_held() -> None:
    """Of three machines two make the hosts have the base; one host has its source."""
    wanted = manifest(count=3)
    wanted["bases"][0]["source"] = {"kind": "host", "host": "a", "path": "images/tiny.qcow2"}
    ratings = place_machines(wanted, {"a": host(), "b": host()})["ratings"]["web-1"]
    told = {rating["host"]: rating["reasons"] for rating in ratings}
    assert "has the source of tiny" in told["a"] and "gets tiny for other machines" in told["b"]


def test_a_group_of_the_inventory_stands_for_its_hosts() -> None:
    result = place_machines(manifest(hosts=["rack"]), {"a": host(), "b": host(), "c": host()}, {"rack": ["c", "b"], "all": ["a", "b", "c"]})
    assert placed(result) == {"web-1": "c", "web-2": "b"}


def test_an_unknown_host_is_a_problem_with_its_place() -> None:
    result = place_machines(manifest(hosts=["a", "nope"]), {"a": host()})
    assert len(result["problems"]) == 1
    assert result["problems"][0].startswith("manifest: machines[0].hosts: 'nope' is neither")


@pytest.mark.parametrize("per_host", [1, 3])
def test_a_second_look_changes_nothing(per_host: int) -> None:
    hosts: dict[str, t.Any] = {"a": host(), "b": host()}
    wanted = manifest(hosts=["a", "b"], per_host=per_host)
    first = placed(place_machines(wanted, hosts))
    for name in hosts:
        hosts[name] = host(*(int(m[4:]) for m, h in first.items() if h == name))
    again = place_machines(wanted, hosts)
    assert placed(again) == first
    assert all(entry["exists"] for entry in again["assignments"])


# --- where there is room -----------------------------------------------------------------------

GIB = 1024**3


def roomy(memory: int = 65536, cpus: int = 32, free_gib: float = 1000, held: bool = False, **facts: t.Any) -> dict[str, t.Any]:
    pool = {"exists": True, "writable": True, "free_bytes": int(free_gib * GIB), "promised_bytes": 0, "path": "/pool"}
    return host(held=held, **{"capacity": {"cpus": cpus, "memory_mib": memory, "pools": {"default": pool}}, "domains": [], **facts})


def numbers_of(result: dict[str, t.Any], hosts: t.Iterable[str]) -> list[int]:
    return [list(placed(result).values()).count(name) for name in hosts]


@pytest.mark.parametrize(("hosts", "machines"), [(4, 40), (16, 400), (3, 10), (7, 7)])
def test_machines_are_spread_evenly_whoever_holds_it(hosts: int, machines: int) -> None:
    fleet = {f"h{n}": roomy(memory=1024 * machines, cpus=machines, held=n == 1) for n in range(hosts)}
    counts = numbers_of(place_machines(manifest(count=machines), fleet), fleet)
    assert sum(counts) == machines
    assert max(counts) - min(counts) <= 1


def test_a_full_host_gets_none_while_another_stands_idle() -> None:
    fleet = {"small": roomy(memory=1536), "large": roomy(memory=65536)}
    result = place_machines(manifest(count=10, memory_mib=1024), fleet)
    assert numbers_of(result, fleet) == [1, 9]
    assert result["problems"] == []


def test_thin_disks_beyond_the_pool_are_refused() -> None:
    wanted = manifest(count=50, disks=[{"name": "root", "base": "tiny", "size_gib": 1000}])
    result = place_machines(wanted, {"a": roomy(free_gib=1)})
    assert placed(result) == {}
    assert result["binds"] == ["pool"]
    assert len(result["problems"]) == 1
    assert "50 machines of web do not fit" in result["problems"][0]
    assert "1000 GiB" in result["problems"][0]


def test_partial_places_what_fits_and_names_the_rest() -> None:
    wanted = manifest(count=5, memory_mib=1024)
    wanted["placement"] = {"partial": True}
    result = place_machines(wanted, {"a": roomy(memory=2048), "b": roomy(memory=1024)})
    assert numbers_of(result, "ab") == [2, 1]
    assert [entry["machine"] for entry in result["unplaced"]] == ["web-4", "web-5"]
    assert result["problems"] == []
    assert result["binds"] == ["memory"]


RULES = [
    ({"labels": ["ssd"]}, [0, 0, 2, 2]),
    ({"labels": {"disk": "fast"}}, [4, 0, 0, 0]),
    ({"avoid": ["h0", "ssd"]}, [0, 4, 0, 0]),
    ({"anti_affinity": True}, [1, 1, 1, 1]),
    ({"spread": {"by": "site", "at_most": 2}}, [1, 1, 1, 1]),
    ({"spread": {"by": "rack", "at_most": 1}}, None),
    ({"prefer": "pack"}, [0, 0, 0, 4]),
]


@pytest.mark.parametrize(("rules", "counts"), RULES, ids=[next(iter(rules)) + str(at) for at, (rules, _counts) in enumerate(RULES)])
def test_rules_of_the_manifest(rules: dict[str, t.Any], counts: list[int] | None) -> None:
    fleet = {
        "h0": roomy(site="east", labels={"disk": "fast"}),
        "h1": roomy(site="east"),
        "h2": roomy(site="west", labels=["ssd"]),
        "h3": roomy(site="west", labels=["ssd"], held=True),
    }
    result = place_machines(manifest(count=4, placement=rules), fleet)
    if counts is None:
        assert result["binds"] == ["spread"]
    else:
        assert numbers_of(result, fleet) == counts


def test_groups_that_belong_together_share_a_host() -> None:
    group = {"count": 2, "memory_mib": 1024, "disks": [{"name": "root", "size_gib": 1}]}
    wanted = parse_manifest({
        "format": 1, "service": "shop",
        "machines": [{"name": "web", **group, "placement": {"together_with": ["db"]}}, {"name": "db", **group}],
    })  # fmt: skip
    fleet = {"a": roomy(memory=3072), "b": roomy(memory=3072), "c": roomy(memory=4096)}
    assert set(placed(place_machines(wanted, fleet)).values()) == {"c"}


def test_disks_go_to_pools_by_name_label_or_choice() -> None:
    disks = [
        {"name": "root", "size_gib": 1},
        {"name": "log", "size_gib": 1, "pool": "slow"},
        {"name": "db", "size_gib": 1, "pool": {"labels": ["nvme"]}},
    ]
    pool = {"exists": True, "writable": True, "free_bytes": 100 * GIB, "promised_bytes": 0}
    pools = {"slow": pool, "fast": pool, "default": pool}
    facts = host(capacity={"cpus": 4, "memory_mib": 8192, "pools": pools}, pool_labels={"fast": ["nvme"]}, pools={})
    result = place_machines(manifest(count=1, disks=disks), {"a": facts})
    assert result["assignments"][0]["pools"] == {"root": "default", "log": "slow", "db": "fast"}


def two_pools(default_gib: int, **others: int) -> dict[str, t.Any]:
    """A host with several pools, by their free GiB."""
    pools = {
        name: {"exists": True, "writable": True, "free_bytes": gib * GIB, "promised_bytes": 0}
        for name, gib in {**others, "default": default_gib}.items()
    }
    return host(capacity={"cpus": 64, "memory_mib": 65536, "pools": pools}, pools={})


ROOT = [{"name": "root", "size_gib": 20}]


@pytest.mark.parametrize("where", [{"count": 6}, {"per_host": 6, "hosts": ["a"]}], ids=["chosen", "named"])
@pytest.mark.parametrize(
    ("default", "others", "placement", "pools"),
    [
        (1000, {"fast": 4000}, {}, {"default": 6}),
        (1, {"slow": 10, "fast": 4000}, {}, {"fast": 6}),
        (10, {"slow": 6, "fast": 4000}, {}, {"default": 2, "fast": 4}),
        (1000, {"fast": 4000}, {"pools": ["default", "fast"]}, {"fast": 6}),
        (1, {"fast": 4000}, {"pools": ["default"]}, {}),
    ],
)
def test_open_disks_go_to_another_pool_where_the_usual_one_is_full(
    where: dict[str, t.Any], default: int, others: dict[str, int], placement: dict[str, t.Any], pools: dict[str, int]
) -> None:
    wanted = manifest(disks=ROOT, memory_mib=256, placement=placement, **where)
    result = place_machines(wanted, {"a": two_pools(default, **others)})
    if not pools:
        assert "pool a:default: 0 GiB of 4 GiB are promised" in result["problems"][0]
        assert "pool a:fast" not in result["problems"][0]
        return
    assert result["problems"] == []
    assert Counter(machine["pools"]["root"] for machine in result["assignments"]) == pools
    assert result["ratings"]["web-1"][0]["pool"] in pools


@pytest.mark.parametrize(("count", "where"), [(1, ["b"]), (4, ["b"] * 4), (5, [])])
def test_disks_of_machines_whose_host_is_named_are_promised_too(count: int, where: list[str]) -> None:
    wanted = parse_manifest({
        "format": 1, "service": "shop",
        "machines": [
            {"name": "db", "hosts": ["a"], "disks": [{"name": "root", "size_gib": 380}]},
            {"name": "web", "count": count, "disks": [{"name": "root", "size_gib": 100}]},
        ],
    })  # fmt: skip
    result = place_machines(wanted, {name: two_pools(100) for name in "ab"})
    assert [host for machine, host in sorted(placed(result).items()) if machine.startswith("web")][: len(where)] == where
    assert bool(result["problems"]) is not bool(where)
    assert where or "pool a:default: 380 GiB of 400 GiB are promised" in result["problems"][0]


def test_a_pool_that_qemu_cannot_enter_is_no_other_choice() -> None:
    facts = two_pools(1, barred=4000)
    facts["capacity"]["pools"]["barred"]["qemu_problem"] = "libvirt-qemu cannot enter /srv"
    result = place_machines(manifest(count=1, disks=ROOT), {"a": facts})
    assert result["binds"] == ["pool"] and "barred" not in result["problems"][0]


def test_what_all_hosts_lack_is_told_beside_the_room() -> None:
    lacking = {"a": "it has no bridge 'br9'; it has: br0", "b": "it has no bridge 'br9'; it has no bridge"}
    result = place_machines(
        manifest(count=1, memory_mib=4096), {name: roomy(memory=1024) for name in "ab"}, None, Settings(unfit={"web": lacking})
    )
    assert all(told in result["problems"][0] for told in ("memory: 1024 of 1024", *lacking.values())), result["problems"]


def test_a_host_in_maintenance_gets_no_new_machine() -> None:
    result = place_machines(manifest(count=2), {"a": roomy(maintenance=True, held=True), "b": roomy()})
    assert numbers_of(result, "ab") == [0, 2]
    last = result["ratings"]["web-1"][-1]
    assert (last["host"], last["fits"], last["reasons"]) == ("a", False, ["it is in maintenance"])


def test_claims_of_other_runs_are_counted() -> None:
    claims = [{"cpus": 1, "memory_mib": 1024, "pools": {"default": {"bytes": 0, "growth_bytes": 10 * GIB}}}]
    fleet = {"a": roomy(memory=2048, claims=claims)}
    result = place_machines(manifest(count=2, memory_mib=1024), fleet)
    assert len(placed(result)) == 1
    assert "memory: 0 of 2048 MiB are free, 1024 are needed" in result["problems"][0]


def test_a_quota_bounds_what_a_tenant_gets() -> None:
    settings = Settings(quotas={"default": {"machines": 5, "memory_mib": 3072}})
    result = place_machines(manifest(count=6, memory_mib=1024), {"a": roomy()}, settings=settings)
    assert len(placed(result)) == 3
    assert result["binds"] == ["quota"]
    assert "3072 of 3072 MiB of memory are used, 1024 are needed" in result["problems"][0]


def test_reasons_are_words_and_numbers() -> None:
    held = host(held=True, capacity={"cpus": 4, "memory_mib": 8192, "pools": {}})
    held["pools"]["default"]["bases"][0]["size_bytes"] = 1_200_000_000
    other = roomy()
    ratings = place_machines(manifest(count=1), {"a": other, "b": held})["ratings"]["web-1"]
    assert [rating["host"] for rating in ratings] == ["b", "a"]
    assert "holds tiny" in ratings[0]["reasons"]
    assert "needs 1.2 GB of base (10 s)" in ratings[1]["reasons"]
    assert "pool default: 1000 GiB free, 0 GiB promised" in ratings[1]["reasons"]


def test_a_wrong_figure_of_a_host_is_named() -> None:
    with pytest.raises(InvalidOption, match=r"hosts\[a\]\.capacity\.memory_mib: 'much' is not accepted"):
        place_machines(manifest(count=1), {"a": host(capacity={"memory_mib": "much"})})


NAMED = [
    ({"per_host": 50, "disks": [{"name": "root", "base": "tiny", "size_gib": 1000}]}, {"free_gib": 1}, "pool a:default"),
    ({"per_host": 3, "cpus": 32}, {"cpus": 4}, "cpu: 0 of 64 virtual processors are free, 32 are needed"),
    ({"placement": {"labels": ["ssd"]}}, {}, "it lacks the label ssd"),
    ({"placement": {"avoid": ["a"]}}, {}, "it is to be avoided (a)"),
    ({}, {"maintenance": True}, "it is in maintenance"),
    ({"per_host": 2, "placement": {"anti_affinity": True}}, {}, "anti_affinity: 1 of web are on this host, at most 1 are allowed"),
    ({"per_host": 3, "placement": {"spread": {"by": "site", "at_most": 2}}}, {"site": "east"}, "its spread allows 2"),
]


@pytest.mark.parametrize(("group", "facts", "sentence"), NAMED, ids=[sentence[:25] for _group, _facts, sentence in NAMED])
def test_a_named_host_is_not_overfilled(group: dict[str, t.Any], facts: dict[str, t.Any], sentence: str) -> None:
    result = place_machines(manifest(hosts=["a"], **group), {"a": roomy(**facts)})
    assert any(sentence in problem for problem in result["problems"]), result["problems"]


def test_a_named_host_with_room_has_no_problems() -> None:
    result = place_machines(manifest(hosts=["a", "b"], per_host=3), {"a": roomy(), "b": host()})
    assert result["problems"] == []


def test_seconds_follow_from_the_relay_over_the_matrix() -> None:
    fleet = {name: roomy() for name in "abc"}
    fleet["a"] = roomy(memory=1024, held=True)
    fleet["a"]["pools"]["default"]["bases"][0]["size_bytes"] = 10**9
    matrix = {"format": 1, "hosts": ["a", "b", "c"], "seconds": [[0, 100, 10], [100, 0, 20], [10, 20, 0]], "size_bytes": 10**9}
    one = place_machines(manifest(count=1, memory_mib=2048), fleet, settings=Settings(matrix=matrix))
    assert placed(one) == {"web-1": "c"}
    assert "needs 1.0 GB of base (10 s from a)" in one["ratings"]["web-1"][0]["reasons"]
    both = place_machines(manifest(count=2, memory_mib=2048), fleet, settings=Settings(matrix=matrix))
    rated = {rating["host"]: rating for rating in both["ratings"]["web-1"]}
    # b has it from c, 20 seconds after c has it: not after the 100 of its own link.
    assert "needs 1.0 GB of base (30 s from c)" in rated["b"]["reasons"]


def links_of(**mbps: float) -> dict[str, t.Any]:
    """What the holder a has measured."""
    return {"measured": {"links": [{"from": "a", "to": host, "mbps": rate} for host, rate in mbps.items()]}}


@pytest.mark.parametrize(("to_b", "to_c", "wins"), [(100, 130, "b"), (20, 100, "c"), (0, 100, "c")], ids=["alike", "slow", "dead"])
def test_of_equal_hosts_the_one_wins_that_is_reached_sooner(to_b: float, to_c: float, wins: str) -> None:
    fleet = {name: roomy() for name in "bc"}
    fleet["a"] = {**roomy(memory=1024, held=True), **links_of(b=to_b, c=to_c)}
    fleet["a"]["pools"]["default"]["bases"][0]["size_bytes"] = 10**9
    result = place_machines(manifest(count=1, memory_mib=2048), fleet)
    assert placed(result) == {"web-1": wins}
    assert any(
        reason.startswith("needs 1.0 GB of base (") and reason.endswith(" from a)") for reason in result["ratings"]["web-1"][0]["reasons"]
    )


def test_no_time_is_told_of_a_base_whose_size_nobody_knows() -> None:
    fleet = {name: roomy() for name in "bc"}
    fleet["kvm1"] = {**roomy(memory=1024), "measured": {"links": [{"from": "kvm1", "to": host, "mbps": 100} for host in "bc"]}}
    reasons = place_machines(manifest(count=1, memory_mib=2048), fleet)["ratings"]["web-1"][0]["reasons"]
    assert "needs a base of unknown size from kvm1" in reasons


def test_measured_links_leave_the_spread_even() -> None:
    fleet = {name: roomy() for name in "bcd"}
    fleet["a"] = {**roomy(memory=16384, held=True), **links_of(b=5, c=100, d=1000)}
    counts = Counter(placed(place_machines(manifest(count=8), fleet)).values())
    assert set(counts.values()) == {2}


def test_a_host_that_no_holder_reaches_is_told() -> None:
    fleet = {"a": roomy(memory=1024, held=True), "b": roomy()}
    matrix = {"format": 1, "hosts": ["a", "b"], "seconds": [[0, None], [5, 0]]}
    result = place_machines(manifest(count=1, memory_mib=2048), fleet, settings=Settings(matrix=matrix))
    assert result["binds"] == ["bring"] or "memory" in result["binds"]
    assert "b: bring: the base tiny cannot be brought to it" in result["problems"][0]
