# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.ticket import ticket
from ansible_collections.basecast.fleet.plugins.plugin_utils._report.view import MANY_HOSTS, view_of
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._report.runs import SHA, run


def figure(view: dict[str, t.Any], name: str) -> dict[str, str]:
    return next(one for one in view["figures"] if one["name"] == name)


def column(table: dict[str, t.Any], number: int) -> list[str]:
    return [row[number].text for row in table["rows"]]


@pytest.mark.parametrize(
    ("case", "word", "told"),
    [
        ({}, "complete", "8 of 8 machines are there"),
        ({"failed": [2]}, "not complete", "7 of 8 machines are there"),
        ({"kind": "plan"}, "can be deployed", "8 of 8 machines would be there"),
    ],
)  # fmt: skip
def test_the_verdict_says_what_there_is(case: dict[str, t.Any], word: str, told: str) -> None:
    verdict = view_of(run(**case))["verdict"]
    assert (verdict["word"], verdict["told"]) == (word, told)


def test_what_did_not_come_is_no_saving() -> None:
    assert figure(view_of(run(8, failed=[2])), "Over the network")["told"] == "of 667.6 MiB that were needed at least"


def test_a_lost_host_stands_in_the_tree_of_the_first_plan() -> None:
    report = run(4, failed=[3])
    relay = report["relays"][0]
    relay["last"] = {**relay["last"], "shares": [row for row in relay["last"]["shares"] if row[1] != "kvm004"], "unreachable": ["kvm004"]}
    row = next(row for row in report["transfers"] if row["to"] == "kvm004")
    row["received_from"] = {}
    rows = {one["host"]: one for one in view_of(report)["relays"][0]["tree"]["rows"]}
    assert rows["kvm004"]["kind"] == "bad" and rows["kvm004"]["line"] is not None


def test_a_host_tells_which_bases_it_has_and_had() -> None:
    hosts = {host["host"]: host for site in view_of(run(4, failed=[2]))["sites"] for host in site["hosts"]}
    assert [hosts[name]["bases"][0]["told"] for name in ("kvm001", "kvm002", "kvm003")] == [
        "tiny 1: had it", "tiny 1: fetched", "tiny 1: did not arrive",
    ]  # fmt: skip
    assert hosts["kvm003"]["kind"] == "bad"


def test_a_host_out_of_reach_is_one_with_a_problem() -> None:
    report = run(3)
    report["fleet"]["kvm002"].update(reachable=False, pools={}, msg="No route to host")
    hosts = {host["host"]: host for site in view_of(report)["sites"] for host in site["hosts"]}
    assert (hosts["kvm002"]["kind"], hosts["kvm002"]["told"]) == ("bad", "cannot be reached")


def test_hosts_outside_the_run_are_shown_too() -> None:
    report = run(3)
    report["machines"][2].update(host="kvm999", state="outside", reason="outside this run")
    assert "kvm999" in [host["host"] for site in view_of(report)["sites"] for host in site["hosts"]]


def test_bytes_are_summed_by_host_and_link() -> None:
    traffic = view_of(run(4))["traffic"]
    assert column(traffic["hosts"], 0) == ["kvm001", "kvm002", "kvm003", "kvm004"]
    assert column(traffic["hosts"], 4) == ["190.7 MiB", "95.4 MiB", "0 B", "0 B"]
    assert column(traffic["links"], 3) == ["95.4 MiB"] * 3


def test_several_bases_have_a_tree_and_a_table_each() -> None:
    report = run(4)
    other = {**report["relays"][0], "base": "other 1", "sha256": SHA[::-1]}
    report["relays"].append(other)
    report["transfers"] += [{**row, "sha256": SHA[::-1], "base": "other 1"} for row in report["transfers"]]
    view = view_of(report)
    assert len({relay["table"]["name"] for relay in view["relays"]}) == 2
    assert {row["name"] for row in view["timeline"]["rows"]} >= {"kvm002 · tiny 1", "kvm002 · other 1"}


def test_a_base_without_a_digest_yet_has_its_relay() -> None:
    report = run(4, kind="plan")
    for entry in (*report["bases"], *report["relays"], *report["transfers"]):
        entry["sha256"] = None
    view = view_of(report)
    assert column(view["bases"], 1) == ["known after the import"]
    assert len(view["relays"][0]["tree"]["rows"]) == 4


def test_links_taken_as_alike_promise_no_times() -> None:
    report = run(4, kind="plan")
    for plan in ("first", "last"):
        report["relays"][0][plan]["assumed"] = True
    view = view_of(report)
    assert "times are unknown" in " ".join(view["relays"][0]["told"])
    assert view["timeline"] is None and not any(one["name"] == "Relay" for one in view["figures"])


def test_links_that_are_estimated_promise_no_bound() -> None:
    report = run(4, kind="plan")
    for plan in ("first", "last"):
        report["relays"][0][plan]["estimated_links"] = [["kvm1", "kvm2"]]
    view = view_of(report)
    (figure,) = (one["told"] for one in view["figures"] if one["name"] == "Relay")
    for told in (figure, " ".join(view["relays"][0]["told"])):
        assert "redicted about" in told and "less than" not in told
    assert "predicted ~11.0 s (links of the plan were estimated)" in "\n".join(ticket(report))


@pytest.mark.parametrize(("hosts", "many"), [(MANY_HOSTS, False), (MANY_HOSTS + 1, True)])
def test_many_hosts_are_drawn_small(hosts: int, many: bool) -> None:
    assert view_of(run(hosts, links=False))["many"] == many


def test_an_empty_run_has_a_page() -> None:
    report = run(1)
    report.update(machines=[], fleet={}, bases=[], digests=[], ok=False, failures=["the manifest asks for no machine"])
    report["placement"]["ratings"] = {}
    view = view_of(report)
    assert view["verdict"]["told"] == "0 of 0 machines are there" and view["timeline"] is None


def test_a_plan_has_no_columns_of_what_is_measured() -> None:
    plan, done = (view_of(run(4, kind=kind)) for kind in ("plan", "deploy"))
    assert plan["relays"][0]["table"]["columns"] == ["to", "planned from", "begin, predicted", "end, predicted"]
    assert column(plan["relays"][0]["table"], 1) == ["kvm001", "kvm001", "kvm002"]
    assert plan["machines"]["columns"][-1] == "memory" and done["machines"]["columns"][-1] == "reported"
    assert {len(row) for row in plan["machines"]["rows"]} == {len(plan["machines"]["columns"])}


def test_settings_that_differ_everywhere_are_counted() -> None:
    text = view_of(run(20))["settings"]["rows"][0][2].text
    assert text.endswith("and 11 other values")
