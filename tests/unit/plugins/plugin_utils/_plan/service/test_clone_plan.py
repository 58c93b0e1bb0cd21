# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.clone_plan import Limits, clone_plan, clone_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan

from .test_service_plan import A, held, host, manifest

GROWS = {"bytes": 0, "growth_bytes": 2000}  # to the size of its base, which it may come to have of its own
REQUEST: dict[str, t.Any] = {"service": "shop", "tenant": "default", "machine": "web-1", "name": None, "flatten": False}


def deployed(networks: t.Sequence[t.Any] = (), **changes: t.Any) -> dict[str, t.Any]:
    """Two hosts with a machine each, as a deployment has left them."""
    wanted = manifest(cloud_init={"user_data": {"runcmd": ["echo secret"]}}, **({"networks": networks} if networks else {}))
    hosts = {name: host(held(), claims_generation=3) for name in ("a", "b")}
    plan = service_plan(wanted, hosts)
    for name, work in plan["hosts"].items():
        machines = [
            {
                **{key: one[key] for key in ("machine", "number", "group", "cpus", "memory_mib", "spec")},
                "domain": f"shop-{one['machine']}",
                "uuid": None,
                "running": True,
            }
            for one in work["machines"]
        ]
        hosts[name] = {**hosts[name], "machines": machines, "record": {**work["record"], "service": "shop"}, **changes}
    return hosts


def test_a_clone_is_customised_as_its_machine_under_its_own_name() -> None:
    plan = clone_plan(deployed(), REQUEST)
    assert (plan["problems"], plan["name"], plan["host"], plan["exists"]) == ([], "web-3", "a", False)
    work = plan["hosts"]["a"]
    (machine,), (disk,), (seed,) = work["machines"], work["disks"], work["seeds"]
    assert (machine["machine"], machine["number"], machine["group"], machine["memory_mib"]) == ("web-3", 3, "web", 512)
    assert (disk["machine"], disk["base"], disk["differencing"]) == ("web-3", A, True)
    assert (seed["machine"], seed["user_data"]) == ("web-3", {"runcmd": ["echo secret"]})
    assert "secret" not in str(plan["text"]) and work["fetch"] == [] and work["record"] is None
    assert plan["claims"]["a"] == {
        "seen": 3,
        "uses": [
            {"name": "web-3", "cpus": 1, "memory_mib": 512, "hugepages": None, "disk_bytes": 0, "pools": {"default": GROWS}},
        ],
        "places": {"web-3": {"host": "a", "group": "web", "number": 3, "pools": {"root": "default"}}},
        "bases": [A],
        "waits": 1,
    }


@pytest.mark.parametrize(("most", "refused"), [(3, False), (2, True)])
def test_a_clone_counts_against_the_quota_of_its_tenant(most: int, refused: bool) -> None:
    """Which holds for the fleet, so a clone is claimed on all hosts of it."""
    hosts = deployed(domains=[{"tenant": "default", "cpus": 1, "memory_mib": 512, "disk_bytes": 0}])
    plan = clone_plan(hosts, REQUEST, Limits(quotas={"default": {"machines": most}}))
    told = "web-3 would pass the quota of tenant default: 2 of 2 machines are used, 1 are needed"
    assert plan["problems"] == ([told] if refused else [])
    assert sorted(plan["claims"]) == ["a", "b"]
    assert list(clone_plan(hosts, REQUEST, Limits(quotas={"other": {"machines": 1}}))["claims"]) == ["a"]


@pytest.mark.parametrize(("free", "why"), [(10**12, ""), (1000, "pool a:default: ")])
def test_a_clone_needs_room_for_what_its_disks_may_grow_to(free: int, why: str) -> None:
    hosts = deployed()
    hosts["a"]["capacity"]["pools"]["default"]["free_bytes"] = free
    assert [told.startswith(f"a: web-3 does not fit: {why}") for told in clone_plan(hosts, REQUEST)["problems"]] == [True] * bool(why)


def test_no_room_elsewhere_and_no_rule_of_the_manifest_keeps_a_clone_from_its_machine() -> None:
    hosts = deployed()
    group = hosts["a"]["record"]["manifest"]["machines"][0]
    group.update(hosts=["b"], placement={"anti_affinity": True, "hosts": ["b"]}, count=1)
    hosts["b"]["capacity"]["pools"]["default"]["free_bytes"] = 0
    plan = clone_plan(hosts, REQUEST)
    assert (plan["problems"], plan["host"]) == ([], "a")


def test_a_clone_has_the_hardware_of_its_machine_and_not_of_the_manifest() -> None:
    hosts = deployed()
    hosts["a"]["machines"][0]["spec"] = {**hosts["a"]["machines"][0]["spec"], "firmware": "uefi", "cpu": {"model": "EPYC"}}
    (machine,) = clone_plan(hosts, REQUEST)["hosts"]["a"]["machines"]
    assert (machine["firmware"], machine["cpu"], "tpm" in machine) == ("uefi", {"model": "EPYC"}, False)


@pytest.mark.parametrize(("predicted", "size"), [(True, 4 * 2**30), (False, None)])
def test_only_a_disk_that_is_not_made_needs_a_size(predicted: bool, size: int | None) -> None:
    """Otherwise it is there when the host's job comes, as large as the machine's."""
    hosts = deployed()
    hosts["a"]["record"]["manifest"]["machines"][0]["disks"][0]["size_bytes"] = 4 * 2**30
    (disk,) = clone_plan(hosts, {**REQUEST, "predicted": predicted})["hosts"]["a"]["disks"]
    assert disk["size_bytes"] == size


def test_a_machine_with_a_disk_that_was_given_is_not_cloned() -> None:
    hosts = deployed()
    given = {"data": {"block": "/dev/sdb"}}
    hosts["a"]["machines"][0]["spec"] = {**hosts["a"]["machines"][0]["spec"], "attached": given}
    (told,) = clone_plan(hosts, REQUEST)["problems"]
    assert told.startswith(
        "a: web-1 has the disk data from outside of the pools' machines, which a clone would share with it; take that out"
    )


def test_a_machine_with_a_device_of_its_host_is_not_cloned() -> None:
    hosts = deployed()
    hosts["a"]["machines"][0]["spec"] = {**hosts["a"]["machines"][0]["spec"], "host_devices": [{"usb": "0951:1666"}]}
    (told,) = clone_plan(hosts, REQUEST)["problems"]
    assert told.startswith("a: web-1 has the USB device 0951:1666 of the host, which one machine has; take that out of the manifest")


def test_a_machine_with_a_directory_of_its_host_is_not_cloned() -> None:
    hosts = deployed()
    given = [{"name": "media", "source": "/srv/media"}]
    hosts["a"]["machines"][0]["spec"] = {**hosts["a"]["machines"][0]["spec"], "shares": given}
    (told,) = clone_plan(hosts, REQUEST)["problems"]
    assert told.startswith("a: web-1 shares media with the host, which its administrator permits for each machine; take that out")


def test_the_next_deployment_finds_the_clone_as_a_machine_of_its_service() -> None:
    hosts = deployed()
    new = {**hosts["a"]["machines"][0], "machine": "web-3", "number": 3}
    hosts["a"] = {**hosts["a"], "machines": [*hosts["a"]["machines"], new]}
    wanted = manifest(per_host=2, cloud_init={"user_data": {"runcmd": ["echo secret"]}})
    states = {one["machine"]: (one["host"], one["state"]) for one in service_plan(wanted, hosts)["machines"]}
    assert states == {"web-1": ("a", "exists"), "web-2": ("b", "exists"), "web-3": ("a", "exists"), "web-4": ("b", "create")}


@pytest.mark.parametrize(
    ("request_", "hosts", "words"),
    [
        ({"name": "web-2"}, {}, "name: web-2 is a machine on b; choose another name, the next one is web-3"),
        ({"name": "other"}, {}, "name: invalid value 'other'; a clone of web-1 is called web-NUMBER, the next one web-3"),
        ({"name": "WEB-9"}, {}, "name: invalid value 'WEB-9'; a machine's name has"),
        ({"name": "web-1"}, {}, "name: web-1 is the machine itself"),
        ({"machine": "web-7"}, {}, "machine: web-7 is on no host that could be asked"),
        (
            {"name": "web-9"},
            {"c": {"reachable": False, "msg": "timed out"}},
            "name: web-9 may exist on hosts that could not be asked: c (timed out)",
        ),
        ({}, {"a": {"record": None}}, "a: it keeps no record of how web-1 was made; deploy shop with its manifest"),
        ({}, {"a": {"pools": {"default": {"bases": []}}}}, "a: tiny of web-1 is not on it any more"),
        (
            {},
            {"a": {"capacity": {"memory_mib": 400, "pools": {"default": {"exists": True, "writable": True, "free_bytes": 10**12}}}}},
            "MiB",
        ),
    ],
)
def test_what_stands_in_the_way_of_a_clone(request_: dict[str, t.Any], hosts: dict[str, t.Any], words: str) -> None:
    seen = deployed()
    for name, change in hosts.items():
        seen[name] = {**seen.get(name, {}), **change}
    problems = clone_plan(seen, {**REQUEST, **request_})["problems"]
    assert any(words in problem for problem in problems), problems


def test_another_s_dns_entry_stands_in_the_way_of_a_clone() -> None:
    card = {"network": "default", "address": "192.168.122.10-192.168.122.19/24", "dns_entry": True}
    seen = deployed([card])
    entries = [{"address": "192.168.122.12", "names": ["mine"]}]
    seen["a"]["offers"] = {"dns": {"default": {"problem": "", "entries": entries}}}
    (problem,) = clone_plan(seen, REQUEST)["problems"]
    assert "a: The DNS of the network default has 192.168.122.12 as mine, which is not an entry of web-3" in problem


def test_a_clone_that_is_there_needs_nothing_new() -> None:
    plan = clone_plan(deployed(), {**REQUEST, "machine": "web-2", "name": "web-1"})
    assert plan["problems"] == ["name: web-1 is a machine on a; choose another name, the next one is web-3"]
    hosts = deployed()
    new = {**hosts["a"]["machines"][0], "machine": "web-3", "number": 3}
    hosts["a"] = {**hosts["a"], "machines": [*hosts["a"]["machines"], new]}
    again = clone_plan(hosts, {**REQUEST, "name": "web-3"})
    assert again["exists"] and again["problems"] == [] and again["hosts"]["a"]["record"] is None and again["claims"] == {}
    assert [again["hosts"]["a"][key] for key in ("disks", "seeds")] == [[], []]


@pytest.mark.parametrize("flatten", [True, "yes"])
def test_flattened_disks_are_copies(flatten: object) -> None:
    plan = clone_plan(deployed(), {**REQUEST, "flatten": flatten})
    assert [disk["differencing"] for disk in plan["hosts"]["a"]["disks"]] == [False]
    assert "a copy without a base" in "\n".join(plan["text"])


@pytest.mark.parametrize(
    ("outcome", "predicted", "ok", "words"),
    [
        ({"job": {"machines": [{"machine": "web-9", "state": "deployed", "report": {"hostname": "web-9", "addresses": ["10.0.0.9"]}}]}},
         False, True, "web-9, the clone of web-1, is there on a, came up as web-9 (10.0.0.9)."),
        ({"job": {"machines": [{"machine": "web-9", "state": "deployed"}]}}, True, True, "would be there on a."),
        ({"job": {"machines": [{"machine": "web-9", "state": "failed", "problem": "no report"}]}}, False, False, "is MISSING on a: no report"),
        ({"msg": "cannot be reached"}, False, False, "is MISSING on a: cannot be reached"),
        ({}, False, False, "no reason given"),
    ],
)  # fmt: skip
def test_a_clone_is_there_only_if_its_job_says_so(outcome: dict[str, t.Any], predicted: bool, ok: bool, words: str) -> None:
    report = clone_report({"machine": "web-1", "name": "web-9", "host": "a"}, outcome, predicted)
    assert report["ok"] is ok and words in report["text"][0]


def test_a_misspelt_flag_is_refused() -> None:
    problems = clone_plan({}, {**REQUEST, "flatten": "ture"})["problems"]
    assert problems == ["flatten: invalid value 'ture'; expected true, false or background"]


@pytest.mark.parametrize(("given", "mbps"), [(None, None), ("", None), ("0", 0.0), (800, 800.0), ("12.5", 12.5)])
def test_a_clone_may_lose_its_base_in_the_background(given: object, mbps: float | None) -> None:
    plan = clone_plan(deployed(), {**REQUEST, "flatten": "background", "flatten_mbps": given})
    assert (plan["problems"], plan["flatten"], plan["background"], plan["flatten_mbps"]) == ([], False, True, mbps)
    assert [disk["differencing"] for disk in plan["hosts"]["a"]["disks"]] == [True]
    assert "it loses the base in the background" in "\n".join(plan["text"])
    outcome = {"job": {"machines": [{"machine": plan["name"], "state": "deployed"}]}}
    for predicted, words in ((False, "Its disks lose their bases in the background"), (True, "Its disks would lose their bases")):
        assert words in clone_report(plan, outcome, predicted)["text"][1]


@pytest.mark.parametrize(
    ("flatten", "mbps", "words"),
    [
        ("background", "fast", "flatten_mbps: invalid value 'fast'; expected 10^6 bit/s, at most 1000000, or 0 for no limit"),
        ("background", -1, "flatten_mbps: invalid value -1; expected 10^6 bit/s"),
        ("background", "nan", "flatten_mbps: invalid value 'nan'; expected 10^6 bit/s"),
        (True, 8, "flatten_mbps: invalid value 8; expected none without flatten=background, which it limits"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(flatten: object, mbps: object, words: str) -> None:
    (problem,) = clone_plan({}, {**REQUEST, "flatten": flatten, "flatten_mbps": mbps})["problems"]
    assert problem.startswith(words)
