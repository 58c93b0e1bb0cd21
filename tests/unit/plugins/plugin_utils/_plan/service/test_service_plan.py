# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fleet import Network, relay_plans
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.parts import relay_parts, relay_stages
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.text import relay_plan_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import plan_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.report import deploy_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

A, B = "a" * 64, "b" * 64


def held(digest: str = A, **more: t.Any) -> dict[str, t.Any]:
    return {
        "format": 1, "sha256": digest, "source_sha256": digest, "size_bytes": 1000, "virtual_size_bytes": 2000, "image_format": "qcow2",
        "parent": None, "chunk_bytes": 262144, "chunks_sha256": "c" * 64, "chain": [digest], "tenants": ["default"],
        "names": [{"tenant": "default", "name": "tiny", "version": "1"}], **more,
    }  # fmt: skip


def host(
    *bases: dict[str, t.Any], machines: t.Sequence[dict[str, t.Any]] = (), pools: t.Sequence[str] = ("default",), **more: t.Any
) -> dict[str, t.Any]:
    return {
        "reachable": True,
        "capacity": {
            "memory_mib": 4096,
            "pools": {p: {"path": f"/{p}", "exists": True, "writable": True, "free_bytes": 10**12} for p in pools},
        },
        "missing": [],
        "address": "192.0.2.1",
        "address_local": True,
        "port_range": "47700-47799",
        "ports_free": [47700],
        "pools": {p: {"bases": list(bases) if p == pools[0] else []} for p in pools},
        "machines": list(machines),
        "domains": [],
        "record": None,
        **more,
    }


def manifest(
    source: dict[str, t.Any] | None = None, sha256: str | None = None, disk: dict[str, t.Any] | None = None, **group: t.Any
) -> dict[str, t.Any]:
    base = {"name": "tiny", "version": "1", "source": source or {"host": "a", "path": "tiny.qcow2"}}
    if sha256:
        base["sha256"] = sha256
    group = {"name": "web", "hosts": ["a", "b"], "memory_mib": 512, "disks": [{"name": "root", "base": "tiny", **(disk or {})}], **group}
    return parse_manifest({"format": 1, "service": "shop", "bases": [base], "machines": [group]}, "shop.yml")


def problems(plan: dict[str, t.Any]) -> str:
    return "\n".join(plan["problems"])


def test_a_base_that_a_host_holds_is_relayed_to_those_that_lack_it() -> None:
    plan = service_plan(manifest(), {"a": host(held()), "b": host()})
    assert plan["problems"] == []
    assert plan["bases"]["tiny"]["import_on"] is None
    assert plan["hosts"]["a"]["fetch"] == []
    assert plan["hosts"]["b"]["fetch"] == [{"base": "tiny", "pool": "default"}]
    (relay,) = plan["relays"]
    assert (relay["sources"], relay["targets"], relay["sha256"]) == ({"a": "default"}, {"b": "default"}, A)
    assert relay["metadata"]["chunks_sha256"] == "c" * 64
    assert "names" not in relay["metadata"]
    assert plan["relay_hosts"] == ["a", "b"]


def test_where_everybody_holds_the_base_nothing_is_relayed() -> None:
    assert service_plan(manifest(), {"a": host(held()), "b": host(held())})["relays"] == []


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ({"host": "a", "path": "y"}, {"isreg": True, "size": 3000}),
        ({"controller": "y"}, {"isreg": True, "size": 3000}),
        ({"url": "http://x/y"}, {"isreg": True, "size": 3000, "problem": "", "note": ""}),
    ],
    ids=["host", "controller", "url"],
)
def test_the_relay_of_a_base_that_is_still_to_be_imported_is_foreseen(source: dict[str, str], seen: dict[str, t.Any]) -> None:
    plan = service_plan(manifest(source=source), {"a": host(), "b": host()}, files={"tiny": seen})
    assert plan["problems"] == []
    (relay,) = plan["relays"]
    assert (relay["sources"], relay["targets"], relay["size_bytes"], relay["estimated"]) == ({"a": "default"}, {"b": "default"}, 3000, True)
    (foreseen,) = relay_plans(plan["relays"])
    text = relay_plan_text(foreseen)
    assert "Relay plan of tiny 1: " in text
    assert "base of 2.9 KiB (its source's size: it is still to be imported)" in text
    assert plan_text(plan)[-1] == "    would be relayed to b (pool default)"


def on_storage(identity: str | None, *bases: dict[str, t.Any]) -> dict[str, t.Any]:
    facts = host(*bases)
    facts["pools"]["default"]["storage"] = identity
    return facts


def test_hosts_that_mount_the_same_storage_are_recognised_and_get_a_base_once() -> None:
    names = ["a", "b", "c", "d", "e"]
    hosts = {
        "a": on_storage("net:1", held()),
        "b": on_storage("net:1"),
        "c": on_storage("net:2"),
        "d": on_storage("net:2"),
        "e": on_storage(None),
    }
    plan = service_plan(manifest(hosts=names), hosts)
    (relay,) = plan["relays"]
    # b has what a has, though it was not seen there yet.
    assert (set(relay["sources"]), set(relay["targets"]), relay["shared_pools"]) == ({"a", "b"}, {"c", "d", "e"}, [["c", "d"]])
    assert [line.strip() for line in plan_text(plan)[-3:]] == [
        "would be relayed to c, d, e (pool default)",
        "one copy for c, d: their pool default is one storage",
        "would be there for b (pool default) too: the pool is one storage with that of a",
    ]
    (made,) = relay_plans(plan["relays"])
    assert {edge["to"] for tree in made["trees"] for edge in tree["edges"]} == {"c", "e"}
    assert made["arrivals"]["d"]["shares"] == "c"
    (alone,) = relay_plans(plan["relays"], alive=["a", "d", "e"])
    assert {edge["to"] for tree in alone["trees"] for edge in tree["edges"]} == {"d", "e"}


def test_what_is_to_be_imported_on_a_storage_is_there_for_all_its_hosts() -> None:
    plan = service_plan(manifest(source={"host": "a", "path": "y"}), {"a": on_storage("net:1"), "b": on_storage("net:1")})
    assert plan["relays"] == []
    assert plan_text(plan)[-1].strip() == "would be there for b (pool default) too: the pool is one storage with that of a"


def test_a_relay_of_unknown_size_is_told_without_its_order() -> None:
    files = {"tiny": {"isreg": True, "size": None, "problem": "", "note": "x"}}
    plan = service_plan(manifest(source={"url": "http://x/y"}), {"a": host(), "b": host()}, files=files)
    assert plan["relays"][0]["size_bytes"] is None
    assert plan_text(plan)[-1] == "    would be relayed to b (pool default); the order is planned once its size is known"


def test_parents_of_a_chain_travel_first_and_only_where_they_lack() -> None:
    child = held(A, parent=B, chain=[B, A])
    parent = held(B, names=[])
    plan = service_plan(manifest(hosts=["a", "b", "c"]), {"a": host(child, parent), "b": host(), "c": host(parent)})
    assert [relay["sha256"] for relay in plan["relays"]] == [B, A]
    assert set(plan["relays"][0]["targets"]) == {"b"}
    assert set(plan["relays"][1]["targets"]) == {"b", "c"}


def test_a_machine_that_exists_is_compared_and_never_rebuilt() -> None:
    first = service_plan(manifest(), {"a": host(held()), "b": host(held())})
    hosts = {
        m["host"]: host(held(), machines=[{"machine": m["machine"], "group": "web", "number": m["number"], "spec": m["spec"]}])
        for m in first["machines"]
    }
    again = service_plan(manifest(), hosts)
    assert [m["state"] for m in again["machines"]] == ["exists", "exists"]
    assert not any(m["drift"] for m in again["machines"])
    assert all(not work["disks"] and not work["seeds"] for work in again["hosts"].values())
    edited = service_plan(manifest(memory_mib=600, disk={"size_gib": 9}, cloud_init={"user_data": "#!/bin/sh\n"}), hosts)
    assert {item["path"] for item in edited["machines"][0]["drift"]} == {"memory_mib", "disks.root.size_bytes", "seed"}
    assert all(not work["disks"] and not work["seeds"] for work in edited["hosts"].values())


def test_hosts_outside_the_run_are_told_apart_from_unknown_ones() -> None:
    plan = service_plan(manifest(), {"a": host(held())}, {"all": ["a", "b"]})
    assert [m["state"] for m in plan["machines"]] == ["create", "outside"]
    assert plan["problems"] == []
    assert not deploy_report(plan, {"a": {"state": "done"}})["ok"]


def made(name: str, *actions: str, **more: t.Any) -> dict[str, t.Any]:
    actions = actions or ("defined", "started")
    return {"machine": name, "running": True, "report": None, "report_expected": False, "problem": None, "actions": list(actions), **more}


@pytest.mark.parametrize(
    ("machine", "state", "reason"),
    [
        (made("web-1"), "deployed", ""),
        (made("web-1", "started"), "started", ""),
        ({**made("web-1"), "actions": []}, "present", ""),
        (made("web-1", report_expected=True, report={"hostname": "web-1"}), "deployed", ""),
        (made("web-1", report_expected=True), "failed", "its guest has not reported"),
        (made("web-1", report_expected=True, report={}), "failed", "its guest has not reported"),
        (made("web-1", running=False), "failed", "it is not running"),
        (made("web-1", problem="web-1 is silent"), "failed", "web-1 is silent"),
        (made("web-1", problem="wrong name", report={"hostname": "x"}), "failed", "wrong name"),
        (made("web-9"), "failed", "its host has said nothing of it"),
    ],
)
def test_a_machine_is_there_when_all_that_is_said_says_so(machine: dict[str, t.Any], state: str, reason: str) -> None:
    plan = service_plan(manifest(hosts=["a"]), {"a": host(held())})
    (told,) = deploy_report(plan, {"a": {"state": "done", "machines": [machine]}})["machines"]
    assert (told["state"], told["reason"]) == (state, reason)


@pytest.mark.parametrize("shape", ["machines", "failure"])
def test_one_failed_machine_hides_no_other(shape: str) -> None:
    plan = service_plan(manifest(hosts=["a"], per_host=3), {"a": host(held())})
    said = [made("web-1"), made("web-2", report_expected=True, problem="web-2 is silent"), made("web-3", "started")]
    outcome: dict[str, t.Any] = {"state": "failed", "step": "Wait", "msg": "1 of 3 machines failed: web-2 is silent"}
    if shape == "machines":
        outcome["machines"] = said
    else:
        outcome["failure"] = {"kind": "machines_failed", "machines": said}
    report = deploy_report(plan, {"a": outcome})
    assert [m["state"] for m in report["machines"]] == ["deployed", "failed", "started"]
    assert report["missing"] == ["web-2"]
    assert "2 of 3 machines are there (1 deployed, 1 started by this run, 0 before)" in report["text"][0]


# What cannot be known


DOWN = {"known": False, "reason": "Cannot connect to libvirt at qemu:///system: refused. Start libvirtd."}


@pytest.mark.parametrize("reason", ["Cannot connect to libvirt", "The record /var/lib/basecast/x cannot be used: it is not JSON"])
def test_a_machine_of_a_silent_host_is_neither_there_nor_made(reason: str) -> None:
    hosts = {"a": host(held(), known=False, reason=reason), "b": host(held())}
    plan = service_plan(manifest(), hosts)
    assert [(m["host"], m["state"], m["reason"]) for m in plan["machines"]] == [("a", "unknown", reason), ("b", "create", "")]
    assert plan["problems"] == [] and list(plan["hosts"]) == ["b"]
    text = "\n".join(plan_text(plan))
    assert "    web-1 on a: there or not, which cannot be known (" in text
    assert "web-1 on a: to be made" not in text
    report = deploy_report(plan, {"b": {"state": "done", "machines": [made("web-2")]}})
    assert [m["state"] for m in report["machines"]] == ["unknown", "deployed"]
    assert not report["ok"]


def test_the_numbers_of_a_silent_host_are_not_given_away() -> None:
    hosts = {"a": host(held(), **DOWN), "b": host(held()), "c": host(held())}
    numbers = {f"web-{n}": {"host": "a", "group": "web", "number": n} for n in (1, 2)}
    hosts["b"]["record"] = {"service": "shop", "generation": 3, "assignments": numbers}
    plan = service_plan(counted(4), hosts)
    states = {m["machine"]: (m["host"], m["state"]) for m in plan["machines"]}
    assert states["web-1"] == states["web-2"] == ("a", "unknown")
    assert {states["web-3"][0], states["web-4"][0]} == {"b", "c"}


GONE = {"reachable": False, "msg": "No route to host"}


def numbered(*places: tuple[int, str], generation: int = 1) -> dict[str, t.Any]:
    assignments = {f"web-{n}": {"host": where, "group": "web", "number": n} for n, where in places}
    return {"format": 1, "service": "shop", "generation": generation, "assignments": assignments}


def there(number: int) -> dict[str, t.Any]:
    return {"machine": f"web-{number}", "group": "web", "number": number}


@pytest.mark.parametrize("down", [GONE, DOWN], ids=["dead", "silent"])
@pytest.mark.parametrize("names", [None, ["a", "b", "c"]], ids=["fleet", "hosts"])
def test_a_counted_machine_stays_on_a_host_that_is_down(names: list[str] | None, down: dict[str, t.Any]) -> None:
    record = numbered((1, "a"), (2, "b"), (3, "c"))
    hosts = {
        "a": host(held(), record=record, machines=[there(1)]),
        "b": host(**down),
        "c": host(held(), record=record, machines=[there(3)]),
    }
    wanted = counted(3)
    wanted["machines"][0]["hosts"] = names
    plan = service_plan(wanted, hosts, {"all": ["a", "b", "c"]})
    found = {m["machine"]: (m["host"], m["state"]) for m in plan["machines"]}
    assert found == {"web-1": ("a", "exists"), "web-2": ("b", "unreachable" if down is GONE else "unknown"), "web-3": ("c", "exists")}
    assert (plan["surplus"], plan["problems"]) == ([], [])
    # The others keep its number, also while fewer are asked for.
    fewer = service_plan(counted(2), hosts)
    assert fewer["hosts"]["a"]["record"]["assignments"]["web-2"]["host"] == "b"
    # It is made again only once its host is given up.
    del hosts["b"]
    found = {m["machine"]: m["host"] for m in service_plan(counted(3), hosts)["machines"]}
    assert "web-2" not in found and len(found) == 3


def test_a_counted_machine_outside_the_run_is_not_made_again() -> None:
    record = numbered((1, "a"), (2, "b"))
    plan = service_plan(counted(2), {"a": host(held(), record=record, machines=[there(1)])}, fleet=["a", "b"])
    assert {m["machine"]: m["state"] for m in plan["machines"]} == {"web-1": "exists", "web-2": "outside"}
    assert plan["problems"] == []


def test_the_numbers_of_a_count_are_kept_by_hosts_without_machines() -> None:
    names = [f"h{n}" for n in range(12)]
    plan = service_plan(counted(1), {name: host(held()) for name in names})
    (only,) = plan["machines"]
    assert {only["host"], *plan["witnesses"]} == set(names[:9])
    record = plan["hosts"][only["host"]]["record"]
    assert all(kept["assignments"] == record["assignments"] and kept["manifest"]["machines"] == [] for kept in plan["witnesses"].values())
    # One that has them writes nothing; with the only host of a machine down, the machine is its own.
    hosts = {name: host(held(), record=plan["witnesses"].get(name)) for name in names}
    hosts[only["host"]] = host(**GONE)
    again = service_plan(counted(1), hosts)
    assert [(m["machine"], m["host"], m["state"]) for m in again["machines"]] == [("web-1", only["host"], "unreachable")]
    assert again["witnesses"] == {}
    assert service_plan(manifest(per_host=1), {"a": host(held()), "b": host(held())})["witnesses"] == {}


def test_a_host_that_is_added_while_the_others_are_down_gets_a_new_number() -> None:
    wanted = manifest(per_host=1)
    wanted["machines"][0]["hosts"] = ["a", "b"]
    first = service_plan(wanted, {"a": host(held()), "b": host(held()), "c": host(held())})
    assert list(first["witnesses"]) == ["c"]
    wanted["machines"][0]["hosts"] = ["a", "b", "c"]
    later = service_plan(wanted, {"a": host(**GONE), "b": host(**GONE), "c": host(held(), record=first["witnesses"]["c"])})
    found = {m["machine"]: (m["host"], m["state"]) for m in later["machines"]}
    assert found == {"web-1": ("a", "unreachable"), "web-2": ("b", "unreachable"), "web-3": ("c", "create")}
    # Without a record, it cannot be told from a first deployment.
    lost = service_plan(wanted, {"a": host(**GONE), "b": host(**GONE), "c": host(held())})
    assert any("may exist on hosts that cannot be asked (a, b)" in problem for problem in lost["problems"]), lost["problems"]
    wanted["machines"][0]["hosts"] = ["b", "c"]
    assert service_plan(wanted, {"b": host(**GONE), "c": host(held())})["problems"] == []


@pytest.mark.parametrize(
    ("up", "down", "refused"),
    [(1, 1, True), (2, 1, False), (2, 2, True), (3, 2, False), (1, 3, True), (5, 4, False), (4, 5, True), (5, 40, False)],
)
def test_a_count_needs_most_of_its_witnesses(up: int, down: int, refused: bool) -> None:
    hosts = {f"up{n}": host(held()) for n in range(up)} | {f"down{n}": host(**GONE) for n in range(down)}
    plan = service_plan(counted(2), hosts)
    text = "web-1, web-2 may exist on hosts that cannot be asked (down0"
    assert (text in problems(plan)) == bool(plan["problems"]) == refused


def counted(count: int) -> dict[str, t.Any]:
    base = {"name": "tiny", "version": "1", "source": {"host": "a", "path": "tiny.qcow2"}}
    group = {"name": "web", "count": count, "memory_mib": 64, "disks": [{"name": "root", "base": "tiny"}]}
    return parse_manifest({"format": 1, "service": "shop", "bases": [base], "machines": [group]}, "shop.yml")


def test_a_domain_that_cannot_be_read_may_be_the_machine() -> None:
    unread = {"domain": "shop-web-1", "uuid": "u", "problem": "its definition: it is not XML"}
    plan = service_plan(manifest(per_host=1), {"a": host(held(), domains=[unread]), "b": host(held())})
    assert [m["state"] for m in plan["machines"]] == ["unknown", "create"]
    assert "the domain shop-web-1 cannot be read: its definition" in plan["machines"][0]["reason"]
    assert plan["problems"] == []


def test_relay_plans_keep_to_the_limits_of_the_nodes() -> None:
    hosts = {"a": host(held()), "b": host(), "c": host()}
    relays = service_plan(manifest(hosts=["a", "b", "c"]), hosts)["relays"]
    links = [{"from": x, "to": y, "mbps": 100} for x in "abc" for y in "abc" if x != y]
    (free,) = relay_plans(relays, Network(links), mode="staged")
    (slow,) = relay_plans(
        relays, Network(links, settings={"a": {"rate_mbps": 10.0, "link_mbps": {}}, "z": {"rate_mbps": 1}}), mode="staged"
    )
    assert slow["predicted_s"] > 5 * free["predicted_s"]
    # Each end may limit the link, by name.
    (around,) = relay_plans(relays, Network(links, settings={"c": {"rate_mbps": 0, "link_mbps": {"a": "2", "z": 1}}}), mode="staged")
    assert relay_parts(relays, [around])["c"][0]["parents"] == [["b", "a"]]
    assert around["predicted_s"] < 2.1 * free["predicted_s"]


def test_relay_plans_with_the_table_of_preferred_paths() -> None:
    names = [f"h{number}" for number in range(13)]
    for count, rows in ((12, 11 * 11), (13, 12)):
        hosts = {name: host(*([held()] if name == "h0" else [])) for name in names[:count]}
        relays = service_plan(manifest(hosts=names[:count]), hosts)["relays"]
        (plan,) = relay_plans(relays, Network([{"from": x, "to": y, "mbps": 100} for x in hosts for y in hosts if x != y]), paths=True)
        assert len([row for row in plan["paths"] if row["preferred"] or count == 12]) == rows
        assert count == 12 or all(row["preferred"] or row["used"] for row in plan["paths"])
        assert len(plan["whole_paths"]) == (132 if count == 12 else 12)
        assert {"link": ["h0", "h1"], "preferred": True, "tie": False, "precondition": None}.items() <= plan["paths"][0].items()
        assert re.search("  h0 > h1 +0.0 s  yes +- +[0-9%-]+\n", relay_plan_text(plan).split("Preferred paths:")[1])
    assert "paths" not in relay_plans(relays)[0]


def test_relay_plans_and_parts() -> None:
    hosts = {"a": host(held()), "b": host(), "c": host()}
    relays = service_plan(manifest(hosts=["a", "b", "c"]), hosts)["relays"]
    (plan,) = relay_plans(relays)
    assert (plan["assumed"], plan["mode"]) == (True, "cut_through")
    links = [{"from": "a", "to": "b", "mbps": 100}, {"from": "b", "to": "c", "mbps": 100}, {"from": "a", "to": "c", "mbps": 1}]
    plans = relay_plans(relays, Network(links), mode="staged", strategy="preferred_paths")
    parts = relay_parts(relays, plans)
    assert parts["a"][0]["parents"] == []
    assert parts["c"][0]["parents"] == [["b", "a"]]
    assert parts["c"][0]["weights"] == [1.0]
    assert parts["c"][0]["expected_mbps"] == pytest.approx(100)
    assert relay_stages(plans) == {"b": 1, "c": 2}
    assert [parts[host][0]["children"] for host in ("a", "b", "c")] == [["b"], ["c"], []]
    line = [{"weight": 1.0, "edges": [{"from": "a", "to": "d"}, {"from": "d", "to": "b"}, {"from": "b", "to": "c"}]}]
    below = {**plans[0], "trees": line, "parents": {"c": [["b", "e", "a"]]}}
    assert relay_parts(relays, [below])["c"][0]["parents"] == [["b", "d", "e", "a"]]
    apart = relay_plans(relays, Network(links), mode="staged", strategy="preferred_paths", contention="independent")
    assert relay_parts(relays, apart)["a"][0]["children"] == []
    alone = relay_plans(relays, Network(links), alive=["a", "c"])
    assert relay_parts(relays, alone)["b"][0]["parents"] == [["a"]]


def test_a_report_is_green_only_if_every_machine_is_there() -> None:
    plan = service_plan(manifest(), {"a": host(held()), "b": host(held())})
    done = {"state": "done", "machines": [made("web-1", report={"hostname": "web-1", "addresses": ["10.0.0.1"]})]}
    lost = {"state": "unreachable", "step": "Wait", "msg": "no route"}
    report = deploy_report(plan, {"a": done, "b": lost})
    assert not report["ok"]
    assert [m["state"] for m in report["machines"]] == ["deployed", "unreachable"]
    assert report["hosts"]["b"]["missing"] == ["web-2"]
    assert "web-2  b  MISSING, unreachable: Wait: no route" in "\n".join(report["text"])
    assert "came up as web-1 (10.0.0.1)" in "\n".join(report["text"])
    assert report["missing"] == ["web-2"]
    assert deploy_report(plan, {"a": done, "b": {"state": "done", "machines": [made("web-2")]}})["ok"]
    # Of what nothing is said, nothing is known.
    assert not deploy_report(plan, {"a": done, "b": {"state": "done"}})["ok"]
    assert not deploy_report(plan, {"a": done})["ok"]


def test_the_plan_reads_well() -> None:
    text = "\n".join(plan_text(service_plan(manifest(), {"a": host(), "b": host()})))
    assert "web: 1 CPU, " in text
    assert "    web-1 on a: to be made\n" in text
    assert "would be imported on a, pool default, from tiny.qcow2" in text
    assert "would be relayed to b" in text


def test_holders_with_other_chunk_lists_are_named_with_both() -> None:
    other = held(chunks_sha256="d" * 64)
    text = problems(service_plan(manifest(hosts=["c"]), {"a": host(held()), "b": host(other), "c": host()}))
    for word in (A, "c" * 64, "d" * 64, "a (pool default)", "b (pool default)", "basecast.fleet.verify"):
        assert word in text
    assert text.startswith("shop.yml: bases[0]")


def test_the_chunk_lists_of_parents_are_compared_too() -> None:
    child, parent, other = held(A, parent=B, chain=[B, A]), held(B, names=[]), held(B, names=[], chunks_sha256="d" * 64)
    hosts = {"a": host(child, parent), "b": host(child, other), "c": host()}
    assert f"the holders of {B} have different chunk lists" in problems(service_plan(manifest(hosts=["c"]), hosts))
    assert problems(service_plan(manifest(hosts=["c"]), {"a": host(child, parent), "b": host(child, parent), "c": host()})) == ""


@pytest.mark.parametrize(
    ("lie", "what", "value"),
    [
        ({"size_bytes": 999}, "sizes", "999"),
        ({"virtual_size_bytes": 5}, "virtual sizes", "5"),
        ({"image_format": "raw"}, "image formats", "raw"),
        ({"parent": B}, "parents", B),
        ({"chunk_bytes": 65536}, "chunk sizes", "65536"),
    ],
)
def test_holders_whose_records_differ_are_named_with_both(lie: dict[str, t.Any], what: str, value: str) -> None:
    text = problems(service_plan(manifest(hosts=["c"]), {"a": host(held()), "b": host(held(**lie)), "c": host()}))
    assert f"the holders of {A} have different {what}: " in text
    for word in (value, "on a (pool default)", "on b (pool default)"):
        assert word in text


FULL = {"memory_mib": 4096, "pools": {"default": {"path": "/p", "exists": True, "writable": False, "free_bytes": 10**12}}}
BAD = {
    "not writable": {"capacity": FULL},
    "packages": {"missing": [{"what": "qemu-img", "package": "qemu-utils"}]},
    "no port": {"ports_free": []},
    "memory": {"capacity": {**FULL, "memory_mib": 100}},
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_host_costs_its_own_machines(fault: str) -> None:
    plan = service_plan(manifest(hosts=["a", "b", "c"]), {"a": host(held()), "b": host(**BAD[fault]), "c": host()})
    assert plan["problems"] == []
    assert [(m["host"], m["state"]) for m in plan["machines"]] == [("a", "create"), ("b", "unfit"), ("c", "create")]
    assert plan["machines"][1]["reason"] == "; ".join(plan["bad_hosts"]["b"])
    assert "b" not in plan["relay_hosts"]
    report = deploy_report(plan, {})
    assert not report["ok"]
    assert [m["state"] for m in report["machines"]][1] == "unfit"


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_host_stops_all_where_that_is_asked_for(fault: str) -> None:
    hosts = {"a": host(held()), "b": host(**BAD[fault]), "c": {"reachable": False, "msg": "cannot be reached: x"}}
    plan = service_plan(manifest(hosts=["a", "b", "c"]), hosts, skip_bad_hosts=False)
    assert "c: cannot be reached: x" in plan["problems"]
    assert len(plan["problems"]) > 1


def test_where_no_host_is_left_it_is_a_problem() -> None:
    plan = service_plan(manifest(), {"a": host(held(), capacity=FULL), "b": host(capacity=FULL)})
    assert "cannot be written to" in problems(plan)


def test_a_holder_that_cannot_relay_is_not_asked_to() -> None:
    hosts = {"a": host(held(), ports_free=[]), "b": host(), "c": host(held())}
    plan = service_plan(manifest(hosts=["b"]), hosts)
    assert plan["problems"] == []
    assert plan["relays"][0]["sources"] == {"c": "default"}


def test_machines_of_a_bad_host_that_exist_stay_seen() -> None:
    there = {"machine": "web-1", "group": "web", "number": 1, "spec": {}}
    hosts = {"a": host(held()), "b": host(capacity=FULL, machines=[there]), "c": host()}
    plan = service_plan(manifest(hosts=["b", "c"], per_host=2), hosts)
    assert {m["machine"]: m["state"] for m in plan["machines"] if m["host"] == "b"} == {"web-1": "exists", "web-2": "unfit"}


@pytest.mark.parametrize(
    ("names", "number"),
    [
        (None, {"count": 2}),
        (["a", "b"], {"count": 2}),
        (["rack"], {"count": 2}),
        (["a", "b"], {"per_host": 1}),
        (["rack"], {"per_host": 2}),
    ],
    ids=["fleet", "hosts", "group", "per host", "per host of a group"],
)
def test_new_numbers_are_refused_while_hosts_are_not_seen(names: list[str] | None, number: dict[str, int]) -> None:
    wanted = manifest(hosts=names or ["a", "b"], **number)
    wanted["machines"][0]["hosts"] = names
    groups = {"all": ["a", "b"], "rack": ["a", "b"]}
    plan = service_plan(wanted, {"a": host(held())}, groups, fleet=["a", "b"])
    assert f"machines[0].{next(iter(number))}: web-1" in problems(plan)
    assert "outside this run (b)" in problems(plan)
    assert service_plan(wanted, {"a": host(held()), "b": host()}, groups, fleet=["a", "b"])["problems"] == []
    # The user says that the others have none.
    assert service_plan(wanted, {"a": host(held())}, groups, fleet=["a"])["problems"] == []


def test_a_new_host_before_the_others_makes_no_machine_twice() -> None:
    """Its first machine would get number 1, which a host outside the run has."""
    plan = service_plan(manifest(hosts=["new", "a"]), {"new": host(held())}, {"all": ["new", "a"]}, fleet=["new", "a"])
    assert "web-1 may exist on hosts of the fleet that are outside this run (a)" in problems(plan)


@pytest.mark.parametrize("number", [{"count": 2}, {"per_host": 1}])
def test_a_group_without_hosts_is_a_problem(number: dict[str, int]) -> None:
    wanted = manifest(hosts=["nobody"], **number)
    groups = {"all": ["a"], "nobody": [], "rack": ["a"]}
    assert "machines[0].hosts: nobody has no host in the inventory" in problems(service_plan(wanted, {"a": host(held())}, groups))
    wanted = manifest(hosts=["nobody", "rack"], **number)
    assert service_plan(wanted, {"a": host(held())}, groups)["problems"] == []


def test_a_count_whose_machines_are_known_is_not_refused() -> None:
    assignments = {f"web-{n}": {"host": h, "group": "web", "number": n} for n, h in ((1, "a"), (2, "b"))}
    record = {"format": 1, "service": "shop", "generation": 1, "assignments": assignments}
    plan = service_plan(manifest(hosts=["a", "b"], count=2), {"a": host(held(), record=record)}, {"all": ["a", "b"]}, fleet=["a", "b"])
    assert plan["problems"] == []
    assert {m["machine"]: m["state"] for m in plan["machines"]} == {"web-1": "create", "web-2": "outside"}


def test_no_machine_at_all_is_not_ok() -> None:
    plan = {**service_plan(manifest(), {"a": host(held()), "b": host(held())}), "machines": []}
    assert not deploy_report(plan, {})["ok"]


def test_drift_fails_where_that_is_asked_for() -> None:
    there = [{"machine": f"web-{n}", "group": "web", "number": n, "spec": {"cpus": 9}} for n in (1, 2)]
    plan = service_plan(manifest(), {"a": host(held(), machines=there[:1]), "b": host(held(), machines=there[1:])})
    done = {h: {"state": "done", "machines": [{"machine": m["machine"], "running": True}]} for h, m in zip("ab", there, strict=True)}
    assert deploy_report(plan, done)["ok"]
    report = deploy_report(plan, done, fail_on_drift=True)
    assert report["failures"] == ["Drift (basecast_fail_on_drift): web-1, web-2."]
    assert not report["ok"]
