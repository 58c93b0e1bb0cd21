# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports of runs of any size, made by the planner from plans and outcomes that no host has seen."""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.fleet import overview
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.report import deploy_report
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.run_details import run_of

SHA = hashlib.sha256(b"tiny").hexdigest()
SIZE = 100_000_000
ZERO = 1_795_856_330.0
NAME = "20261128T085815-abcdefgh"


def hosts_of(count: int) -> list[str]:
    return [f"kvm{number:03}" for number in range(1, count + 1)]


def tree_plan(hosts: list[str], fanout: int = 2) -> dict[str, t.Any]:
    """A relay plan in which every host serves the next ones."""
    parent = {host: hosts[(number - 1) // fanout] for number, host in enumerate(hosts) if number}
    at = {hosts[0]: 0.0}
    for host, sender in parent.items():
        at[host] = at[sender] + 0.5
    stages = [[{"from": sender, "to": host, "start_s": at[host], "end_s": 10.0 + at[host]} for host, sender in parent.items()]]
    plan = {
        "mode": "cut_through", "strategy": "best", "assumed": False, "predicted_s": 10.0 + max(at.values()), "lower_bound_s": 10.0, "size_bytes": SIZE,
        "sources": hosts[:1], "targets": hosts[1:], "stages": stages, "unreachable": [], "standby": [],
        "trees": [{"weight": 1.0, "edges": [{"from": sender, "to": host} for host, sender in parent.items()]}],
    }  # fmt: skip
    return {**plan, **overview(plan)}


def plan_of(hosts: list[str], per_host: int = 1) -> dict[str, t.Any]:
    machines = []
    for at, host in enumerate(hosts):
        for number in range(per_host):
            name = f"web-{at * per_host + number + 1}"
            disks = {"root": {"base": "tiny 1", "pool": "default", "size_bytes": 2**30}}
            spec = {"cpus": 1, "memory_mib": 512, "disks": disks, "networks": [], "seed": True}
            machines.append({"machine": name, "group": "web", "host": host, "state": "create", "reason": "", "drift": [], "spec": spec})
    base = {
        "name": "tiny", "title": "tiny 1", "sha256": SHA, "metadata": {"size_bytes": SIZE}, "holders": {hosts[0]: "default"}, "import_on": None,
        "source": {"kind": "url", "url": "https://user:secret@example.org/tiny.qcow2?token=secret"},
    }  # fmt: skip
    relay = {
        "base": "tiny 1", "sha256": SHA, "size_bytes": SIZE, "sources": {hosts[0]: "default"},
        "targets": dict.fromkeys(hosts[1:], "default"), "shared_pools": [],
    }  # fmt: skip
    rating = {"host": hosts[0], "pool": "default", "rating": 1.0, "fits": True, "reasons": ["holds tiny"], "lost_by": ""}
    other = {"host": hosts[-1], "pool": None, "rating": 0.0, "fits": False, "reasons": ["no room"], "lost_by": "it does not fit"}
    return {
        "service": "shop", "tenant": "default", "machines": machines, "bases": {"tiny": base}, "relays": [relay] if len(hosts) > 1 else [],
        "ratings": {"web-1": [rating, other]}, "group_ratings": [], "unplaced": [], "binds": [], "surplus": [], "notes": [], "problems": [],
        "bad_hosts": {},
    }  # fmt: skip


def observed_of(hosts: list[str], sites: int = 2) -> dict[str, t.Any]:
    capacity = {
        "cpus": 16,
        "memory_mib": 65536,
        "pools": {"default": {"path": "/srv/pool", "free_bytes": 4 * 10**11, "size_bytes": 10**12}},
    }
    return {
        host: {
            "reachable": True, "site": f"room-{number * sites // len(hosts) + 1}", "labels": ["ssd"], "capacity": capacity,
            "clock": {"ahead_s": 0.4}, "pools": {"default": {"bases": [{"sha256": SHA}] if number == 0 else []}},
        }
        for number, host in enumerate(hosts)
    }  # fmt: skip


def outcome_of(host: str, number: int, plan: dict[str, t.Any], parent: str | None) -> dict[str, t.Any]:
    there = ZERO + 11.0 + number % 7 * 0.3
    mine = [machine["machine"] for machine in plan["machines"] if machine["host"] == host]
    node = {
        "state": "holding",
        "bytes": SIZE,
        "received_bytes": 0 if parent is None else SIZE + 2000,
        "seconds": 10.4,
        "attempts": [],
        "msg": "",
    }
    node["received_from"] = {} if parent is None else {parent: SIZE + 2000}
    machines = [
        {
            "machine": name, "running": True, "problem": None, "actions": ["defined", "started"], "report_expected": True,
            "report": {"hostname": name, "addresses": ["192.0.2.7"]}, "base_there_at": there, "disks_at": there + 0.4,
            "started_at": there + 2, "reported_at": there + 20 + at,
        }
        for at, name in enumerate(mine)
    ]  # fmt: skip
    return {
        "state": "done", "step": "Make machines", "msg": "", "machines": machines, "relay": {"bases": {SHA: node}},
        "bases": [{"sha256": SHA, "state": "here", "pool": "default", "there_at": there}], "began_at": ZERO + 1, "ended_at": there + 21,
    }  # fmt: skip


def fail(outcome: dict[str, t.Any]) -> None:
    """The base did not come, after two attempts."""
    outcome.update(state="failed", msg="1 of 1 machines failed: the base did not arrive", bases=[], machines=[])
    attempts = [{"parent": f"kvm00{number}", "error": "has been silent for 6.0 s."} for number in (1, 2)]
    outcome["relay"]["bases"][SHA].update(
        state="failed", bytes=3 * 10**7, received_bytes=3 * 10**7, attempts=attempts, msg="no parent is left"
    )


def run(count: int = 8, per_host: int = 1, failed: t.Collection[int] = (), kind: str = "deploy", links: bool = True) -> dict[str, t.Any]:
    """The report of a run on so many hosts; those of the numbers ``failed`` did not get their base."""
    hosts = hosts_of(count)
    plan, foreseen = plan_of(hosts, per_host), [tree_plan(hosts)] if count > 1 else []
    parent = {edge["to"]: edge["from"] for one in foreseen for edge in one["trees"][0]["edges"]}
    outcomes = {host: outcome_of(host, number, plan, parent.get(host)) for number, host in enumerate(hosts)}
    for number in failed:
        fail(outcomes[hosts[number]])
    history = [
        {"at_s": 6.0, "kind": "replan", "text": f"{hosts[number]} is lost (no answer). The order stays."} for number in list(failed)[:1]
    ]
    rates = [
        {"from": a, "to": b, "mbps": 100 + 800 * ((i * 7 + j * 3) % 10) / 10}
        for i, a in enumerate(hosts)
        for j, b in enumerate(hosts)
        if a != b
    ]
    given = {
        "kind": kind,
        "name": NAME,
        "now": ZERO + 60,
        "settings": {host: {"address": f"192.0.2.{number}", "rate_mbps": 0, "manifest": "shop.yml"} for number, host in enumerate(hosts)},
        "observed": observed_of(hosts),
        "measured": {hosts[0]: {"links": rates}} if links else {},
        "watch": {"began": ZERO, "history": history, "lost": {hosts[number]: {"since": ZERO + 5, "why": "no answer"} for number in failed}},
        "first_plans": foreseen,
    }
    planned = kind == "plan"
    if planned:
        given.pop("watch")
    report = deploy_report(plan, {} if planned else outcomes, foreseen, predicted=planned, run=run_of(given))
    return t.cast("dict[str, t.Any]", json.loads(json.dumps(report)))


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}</title></style>"


def hostile(report: t.Any) -> t.Any:
    """The same with every text of others, keys included, made into one that would break a page that is not careful."""
    ours = {"kind", "state", "how", "run"}
    if isinstance(report, dict):
        return {
            (f"{key}{HOSTILE}" if str(key).startswith("kvm") else key): value if key in ours else hostile(value)
            for key, value in report.items()
        }
    if isinstance(report, list):
        return [hostile(item) for item in report]
    return f"{report}{HOSTILE}" if isinstance(report, str) else report
