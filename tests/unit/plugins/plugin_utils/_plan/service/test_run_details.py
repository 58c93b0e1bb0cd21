# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.report import deploy_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.run_details import Run, run_of
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import held, host, manifest
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._report import runs

ZERO = runs.ZERO


def test_a_transfer_is_told_with_its_senders_and_times() -> None:
    row = runs.run(4)["transfers"][0]
    assert (row["to"], row["state"], row["received_from"]) == ("kvm002", "holding", {"kvm001": runs.SIZE + 2000})
    assert (row["started_s"], row["ended_s"], row["seconds"], row["mbps"]) == (0.9, 11.3, 10.4, 76.9)


def test_a_failed_transfer_is_told_with_its_attempts() -> None:
    row = next(row for row in runs.run(4, failed=[2])["transfers"] if row["to"] == "kvm003")
    assert row["state"] == "failed" and row["ended_s"] is None
    assert [attempt["parent"] for attempt in row["attempts"]] == ["kvm001", "kvm002"]


def test_bytes_are_compared_with_the_fewest_possible() -> None:
    traffic = runs.run(4)["traffic"]
    assert (traffic["minimum_bytes"], traffic["received_bytes"]) == (3 * runs.SIZE, 3 * (runs.SIZE + 2000))
    assert {(link["from"], link["to"]) for link in traffic["links"]} == {("kvm001", "kvm002"), ("kvm001", "kvm003"), ("kvm002", "kvm004")}


def test_a_shared_pool_needs_a_base_once() -> None:
    plan = runs.plan_of(runs.hosts_of(4))
    plan["relays"][0]["shared_pools"] = [["kvm002", "kvm003"]]
    assert deploy_report(plan, {}, [], predicted=True, run=Run())["traffic"]["minimum_bytes"] == 2 * runs.SIZE


@pytest.mark.parametrize(("ahead_s", "seen"), [(0.4, 12.0), (30.0, 12.0), (100.0, -88.0), (-100.0, 112.0), (None, 12.0)])
def test_clocks_that_are_off_are_corrected(ahead_s: float | None, seen: float) -> None:
    hosts = runs.hosts_of(1)
    observed = runs.observed_of(hosts)
    observed["kvm001"]["clock"]["ahead_s"] = ahead_s
    outcome = runs.outcome_of("kvm001", 0, runs.plan_of(hosts), None)
    outcome["machines"][0]["started_at"] = ZERO + 12
    run = run_of({"name": runs.NAME, "now": ZERO + 60, "observed": observed, "watch": {"began": ZERO}})
    assert deploy_report(runs.plan_of(hosts), {"kvm001": outcome}, run=run)["machines"][0]["times"]["started_s"] == seen


def test_a_run_without_a_relay_counts_from_its_jobs() -> None:
    report = runs.run(1)
    assert report["relays"] == [] and report["traffic"]["received_bytes"] is None
    hosts = runs.hosts_of(1)
    outcomes = {"kvm001": runs.outcome_of("kvm001", 0, runs.plan_of(hosts), None)}
    alone = deploy_report(runs.plan_of(hosts), outcomes, run=run_of({"name": runs.NAME, "now": ZERO + 60}))
    assert alone["machines"][0]["times"]["disks_s"] == 10.4


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("https://user:secret@example.org/a.qcow2?sig=secret", "https://example.org/a.qcow2"),
        ("https://example.org/a.qcow2#secret", "https://example.org/a.qcow2"),
        ("https://example.org", "https://example.org"),
        ("images/what?.qcow2", "images/what?.qcow2"),
    ],
)  # fmt: skip
def test_secrets_of_a_source_are_left_out(place: str, shown: str) -> None:
    plan = runs.plan_of(runs.hosts_of(1))
    plan["bases"]["tiny"]["source"] = {"kind": "url", "url": place}
    assert deploy_report(plan, {}, predicted=True, run=Run())["bases"][0]["source"]["place"] == shown


def test_a_base_has_its_proof_on_each_host() -> None:
    digests = {row["host"]: row for row in runs.run(3)["digests"]}
    assert digests["kvm001"]["how"] == "held" and digests["kvm002"]["how"] == "hashed"
    assert {row["sha256"] for row in digests.values()} == {runs.SHA}


def test_settings_are_told_once_with_those_that_differ() -> None:
    settings = {"a": {"rate_mbps": 5, "links": [], "manifest": "shop.yml"}, "b": {"rate_mbps": 5}, "c": {"rate_mbps": 7}}
    told = deploy_report(runs.plan_of(["a"]), {}, predicted=True, run=run_of({"settings": settings}))
    assert told["settings"] == [{"name": "basecast_rate_mbps", "value": 5, "others": [{"value": 7, "hosts": ["c"]}], "more": 0}]
    assert told["manifest_file"] == "shop.yml"


def test_an_inline_manifest_is_not_in_a_report() -> None:
    run = run_of({"settings": {"a": {"manifest": {"service": "secret"}}}})
    assert "secret" not in json.dumps(deploy_report(runs.plan_of(["a"]), {}, predicted=True, run=run))


def test_what_happened_stands_in_order() -> None:
    events = runs.run(4, failed=[2])["events"]
    assert [(event["at_s"], event["kind"]) for event in events] == [(5.0, "lost"), (6.0, "replan")]


def test_a_real_plan_has_no_user_data_in_its_report() -> None:
    wanted = manifest(hosts=["a", "b"])
    wanted["machines"][0]["cloud_init"] = {"user_data": "#cloud-config\npassword: hidden-word\n", "allow_degraded": False}
    plan = service_plan(wanted, {"a": host(held()), "b": host()})
    told: t.Any = deploy_report(plan, {}, [], predicted=True, run=Run(kind="plan"))
    assert "hidden-word" in json.dumps(plan) and "hidden-word" not in json.dumps(told)
    assert [machine["group"] for machine in told["machines"]] == ["web"] * len(told["machines"])
    assert told["relays"][0]["targets"] == ["b"]
