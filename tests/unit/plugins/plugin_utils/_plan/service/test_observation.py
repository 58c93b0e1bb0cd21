# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host tells anything of itself; the plan of all others is made all the same."""

from __future__ import annotations

import contextlib
import copy
import typing as t

import pytest
import yaml
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed
from ansible_collections.basecast.fleet.plugins.modules import survey_info
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.monitor.state import base_of
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.answer_checks import bounded
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.observation import checked, checked_news, checked_outcome
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.report import deploy_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import held, host, manifest
from hypothesis import given, settings
from hypothesis import strategies as st

MACHINE = {"machine": "web-9", "domain": "shop-web-9", "running": True, "number": 9, "group": "web", "spec": {}, "memory_mib": 1, "cpus": 1}
DOMAIN = {"domain": None, "uuid": None, "memory_mib": 512, "cpus": 2, "running": True, "macs": [], "service": None, "tenant": None}


def whole() -> dict[str, t.Any]:
    seen = host(held(users=["/srv/x"]), machines=[MACHINE], domains=[DOMAIN], networks={"default": True}, bridges=["br0"])
    seen["measured"] = {"links": [{"from": "a", "to": "b", "mbps": 100.0, "latency_s": 0.1, "age_s": 1.0, "by": "probe"}]}
    seen["pools"]["default"].update(partials=[{"sha256": "a" * 64, "allocated_bytes": 5}], damaged=[{"sha256": "b" * 64, "damage": "gone"}])
    seen["pools"]["default"]["bases"][0]["imported_from"] = {"kind": "url", "name": "https://h/x", "image_format": "raw", "size_bytes": 5}
    seen["capacity"].update(cpus=4, load_1m=0.5, memory_available_mib=2048)
    seen["claims"] = [{"cpus": 1, "memory_mib": 5, "hugepages_mib": {"2M": 5}, "pools": {"default": {"bytes": 0, "growth_bytes": 7}}}]
    return {**seen, "known": True, "reason": "", "packages": {}, "clock_s": 1.7e9, "record": {"generation": 1}}


DOCUMENTED = yaml.safe_load(survey_info.RETURN)["observation"]["contains"]
HOSTILE: list[t.Any] = [-1, "\x1b[2J" * 1000, [7], [[]], [{"a": [7]}], {"a": [{"b": 7}]}]


@pytest.mark.parametrize("key", DOCUMENTED)
def test_everything_that_a_survey_tells_has_its_check(key: str) -> None:
    let_in = []
    for told in HOSTILE:
        with contextlib.suppress(Malformed):
            let_in.append(checked({"reachable": True, "known": True, key: told}, "a"))
    # One of them is as it should be, if the key is of that type.
    assert len(let_in) <= 1, let_in


def test_a_sound_host_is_let_through() -> None:
    assert checked(bounded(whole(), "a"), "a") == whole()


@pytest.mark.parametrize("side", ["source", "target", "within"])
def test_machines_on_their_way_are_let_through(side: str) -> None:
    seen = {**whole(), "moves": [{"machine": "web-9", "side": side, "peer": "fast"}]}
    assert checked(seen, "a") == seen


BAD: dict[str, t.Any] = {
    "pools": 5,
    "pools.default": [],
    "pools.default.bases": {"0": 1},
    "pools.default.bases.0": "x",
    "pools.default.bases.0.sha256": "A" * 64,
    "pools.default.bases.0.size_bytes": -1,
    "pools.default.bases.0.virtual_size_bytes": 2**63,
    "pools.default.bases.0.image_format": "vmdk",
    "pools.default.bases.0.chain": ["x"],
    "pools.default.bases.0.parent": 7,
    "pools.default.bases.0.names": [{"tenant": "default"}],
    "pools.default.bases.0.users": [None],
    "pools.default.bases.0.imported_from": {"size_bytes": [1]},
    "pools.default.bases.0.imported_from.checksum": 5,
    "pools.default.bases.0.imported_from.etag": ["x"],
    "pools.default.bases.0.imported_from.name": {},
    "pools.default.partials": [{}],
    "pools.default.damaged": [{"sha256": None}],
    "capacity": [],
    "capacity.cpus": "many",
    "capacity.memory_mib": -5,
    "capacity.pools": [],
    "capacity.pools.default.free_bytes": 1.5,
    "capacity.pools.default.exists": 1,
    "machines": "none",
    "machines.0.machine": None,
    "machines.0.number": True,
    "machines.0.spec": [],
    "machines.0.group": "\x1b[2J",
    "domains": 7,
    "domains.0.cpus": "2",
    "claims": [5],
    "claims.0.cpus": -1,
    "claims.0.pools": {"default": 5},
    "claims.0.hugepages_mib": {"2M": "x"},
    "claims_generation": "x",
    "networks": ["default"],
    "networks.default": "yes",
    "bridges": [5],
    "ports_free": [0],
    "address": {},
    "clock_s": "now",
    "reachable": "yes",
    "record": [],
    "measured": [],
    "measured.links": [{"from": "a"}],
    "measured.links.0.mbps": -1,
    "measured.disk_read_mbps": "fast",
}


@pytest.mark.parametrize("path", BAD)
def test_what_cannot_be_so_is_named(path: str) -> None:
    seen = whole()
    at: t.Any = seen
    *way, last = path.split(".")
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[int(last) if isinstance(at, list) else last] = BAD[path]
    with pytest.raises(Malformed, match=r"^what kvm1 tells: .* expected .*$") as raised:
        checked(bounded(seen, "kvm1"), "kvm1")
    assert raised.value.message.isprintable()


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(), st.text(max_size=8), st.sampled_from(["a" * 64, "\x1b[2J", "\ud800"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["sha256", "default", "x", "names", "\x1b"]), inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip


def places(value: t.Any, way: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*way, key)
        yield from places(item, (*way, key))


PLACES = list(places(whole()))
OTHER_VALUES: list[t.Any] = [..., None, 0, "b", {}]


def variants(full: dict[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
    """The same with each value left out, and replaced by others, one at a time."""
    for *way, last in places(full):
        for value in OTHER_VALUES:
            changed = copy.deepcopy(full)
            at: t.Any = changed
            for step in way:
                at = at[step]
            if value is ...:
                del at[last]
            else:
                at[last] = value
            yield changed


def all_told() -> dict[str, t.Any]:
    """What a host can tell at the most."""
    seen = whole()
    disk = {"name": "root", "base": "a" * 64, "size_bytes": 5}
    template = {"cpus": 1, "memory_mib": 1, "hardware": {}, "networks": [{}], "disks": [disk], "seeded": True, "variables": ""}
    use = {"name": "x", "cpus": 1, "memory_mib": 1, "disk_bytes": 1, "pools": {"default": {"bytes": 1}}}
    place = {"host": "b", "group": "web", "number": 1}
    scaled = {"generation": 1, "groups": {"web": {"count": 2, "of": 2, "at": 1.0}}}
    seen["measured"].update(disk_write_mbps=1.0, disk_read_mbps=1.0, disks_age_s=1.0, cpus=1.0, load_1m=1.0, memory_available_mib=1.0)
    return {
        **seen,
        "clock": {"utc": "x", "controller_utc": "y", "ahead_s": 1e6},
        "sources": {"x": {"stored": template, "problem": ""}},
        "moves": [{"machine": "web-9", "side": "source", "peer": "a"}],
        "own_claims": [{"run": "r", "uses": [use], "places": {"web-1": {**place, "pools": {"root": "default"}}}}],
        "record": {"service": "shop", "generation": 1, "assignments": {"web-1": place}, "scaled": scaled},
        "xml_problems": {"web": "no"},
    }


def planned_beside(told: dict[str, t.Any], **wanted: t.Any) -> None:
    try:
        told = checked(bounded(told, "b"), "b")
    except Malformed as error:
        told = {"reachable": False, "msg": error.message}
    plan = service_plan(manifest(**wanted), {"a": host(held()), "b": told})
    assert [machine["state"] for machine in plan["machines"] if machine["host"] == "a"] != []


def test_what_a_host_leaves_out_or_puts_in_its_place_stops_no_plan() -> None:
    for told in variants(all_told()):
        planned_beside(told)


@pytest.mark.parametrize("clock", [{"ahead_s": 1e6}, {"ahead_s": -90.0, "utc": None, "controller_utc": "x"}, {"ahead_s": 90.0, "utc": "x"}])
def test_a_clock_that_is_told_by_half_is_that_hosts_failure(clock: dict[str, t.Any]) -> None:
    with pytest.raises(Malformed, match=r"^what b tells: clock: (controller_)?utc: "):
        checked(bounded(host(clock=clock), "b"), "b")
    planned_beside(host(clock=clock))


@settings(max_examples=300, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_whatever_a_host_tells_the_others_are_planned(changes: list[tuple[tuple[t.Any, ...], t.Any]]) -> None:
    seen = copy.deepcopy(whole())
    for way, value in changes:
        at: t.Any = seen
        try:
            for step in way[:-1]:
                at = at[step]
            at[way[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    try:
        told = checked(bounded(seen, "b"), "b")
    except Malformed as error:
        assert error.message.isprintable()
        told = {"reachable": False, "msg": error.message}
    plan = service_plan(manifest(hosts=["a"]), {"a": host(held()), "b": told})
    assert [machine["state"] for machine in plan["machines"] if machine["host"] == "a"] == ["create"]


OUTCOME: dict[str, t.Any] = {
    "state": "done",
    "step": "x",
    "msg": "",
    "machines": [
        {
            "machine": "web-2",
            "running": True,
            "actions": ["defined"],
            "problem": None,
            "report": {"hostname": "web-2", "status": "done", "addresses": ["192.0.2.7"], "errors": []},
            "report_expected": True,
        }
    ],
    "relay": {"bases": {"a" * 64: {"state": "holding", "bytes": 5, "parents": ["a"], "received_from": {"a": 5}, "seconds": 1.0}}},
    "bases": [{"sha256": "a" * 64, "there_at": 5.0}],
    "began_at": 1.0,
    "ended_at": None,
}
NEWS: dict[str, t.Any] = {"fleet": {"b": {"bases": OUTCOME["relay"]["bases"], "stale": False}}, "settled": True}


def changed(whole: dict[str, t.Any], changes: list[tuple[tuple[t.Any, ...], t.Any]]) -> dict[str, t.Any]:
    made = copy.deepcopy(whole)
    for way, value in changes:
        at: t.Any = made
        try:
            for step in way[:-1]:
                at = at[step]
            at[way[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    return made


def test_sound_news_and_outcomes_are_let_through() -> None:
    assert checked_outcome(OUTCOME, "b") == OUTCOME
    assert checked_news(NEWS, "b") == NEWS


@settings(max_examples=200)
@given(changes=st.lists(st.tuples(st.sampled_from(list(places(OUTCOME))), VALUES), min_size=1, max_size=3))
def test_whatever_came_of_a_host_the_others_are_reported(changes: list[tuple[tuple[t.Any, ...], t.Any]]) -> None:
    plan = service_plan(manifest(), {"a": host(held()), "b": host()})
    outcomes = {"a": {"machines": [{"machine": "web-1", "running": True}]}, "b": checked_outcome(changed(OUTCOME, changes), "b")}
    report = deploy_report(plan, outcomes)
    assert report["machines"][0]["state"] == "present"


@settings(max_examples=200)
@given(changes=st.lists(st.tuples(st.sampled_from(list(places(NEWS))), VALUES), min_size=1, max_size=3))
def test_whatever_a_host_tells_of_all_can_be_looked_at(changes: list[tuple[tuple[t.Any, ...], t.Any]]) -> None:
    told = checked_news(changed(NEWS, changes), "b")
    for node in (told.get("fleet") or {}).values():
        for sha256 in (node or {}).get("bases") or {}:
            base_of(told["fleet"], "b", sha256)


@pytest.mark.parametrize(
    "bad", [5, None, [], "x", {"machines": 5}, {"machines": [5]}, {"relay": {"bases": 7}}, {"failure": {"machines": "x"}}]
)
def test_an_outcome_that_cannot_be_understood_has_failed(bad: t.Any) -> None:
    told = checked_outcome(bad, "kvm2")
    assert told["state"] == "failed"
    assert told["msg"].startswith("what kvm2 tells")
