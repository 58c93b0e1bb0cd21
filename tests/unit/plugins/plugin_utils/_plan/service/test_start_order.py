# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible_collections.basecast.fleet.plugins.module_utils._job.turns import checked_turns
from ansible_collections.basecast.fleet.plugins.module_utils._machine import health
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import plan_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.start_order import (
    circle,
    longest_of,
    order_of,
    stages,
    turn_of,
)

from .test_service_plan import host

ROLES = Path(__file__).parents[6] / "roles"

SHOP = """\
format: 1
service: shop
{top}
machines:
  - name: web
    hosts: [b]
    {web}
    disks: [{{name: root, size_gib: 1}}]
  - name: db
    hosts: [a]
    {db}
    disks: [{{name: root, size_gib: 1}}]
"""


def shop(web: str = "after: [db]", db: str = "cpus: 1", top: str = "tenant: default") -> dict[str, t.Any]:
    return parse_manifest(SHOP.format(web=web, db=db, top=top), "shop.yml")


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        ({}, []),
        ({"web": [], "db": []}, [["web", "db"]]),
        ({"web": ["db"], "db": []}, [["db"], ["web"]]),
        ({"proxy": ["web", "db"], "web": ["db"], "db": [], "mail": []}, [["db", "mail"], ["web"], ["proxy"]]),
        ({"web": ["gone"]}, [["web"]]),
    ],
)
def test_roles_start_in_stages(after: dict[str, list[str]], wanted: list[list[str]]) -> None:
    assert stages(after) == wanted and circle(after) == []


@pytest.mark.parametrize(
    ("after", "wanted"),
    [
        ({"a": ["b"], "b": ["a"]}, ["a", "b"]),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"], "d": []}, ["a", "b", "c"]),
        ({"a": ["a"]}, ["a"]),
    ],
)
def test_circles_are_found(after: dict[str, list[str]], wanted: list[str]) -> None:
    assert circle(after) == wanted
    assert sorted(role for stage in stages(after) for role in stage) == sorted(after)  # and end nothing


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"web": "after: [db]", "db": "after: [web]"}, "shop.yml:7: machines[0].after[0]: web would wait for db, which waits for web"),
        ({"web": "after: [web]"}, "shop.yml:7: machines[0].after[0]: 'web' cannot start after itself"),
        (
            {"web": "after: [bd]"},
            "shop.yml:7: machines[0].after[0]: 'bd' is not a group of machines; the groups of this manifest are: web, db",
        ),
        ({"web": "after: [db, db]"}, "shop.yml:7: machines[0].after[1]: 'db' stands twice"),
        ({"web": "after: db"}, "shop.yml:7: machines[0].after: 'db' is not accepted; after is a list of groups"),
        (
            {"top": "on_failure: rollback"},
            "shop.yml:3: on_failure: 'rollback' is not accepted (did you mean roll_back?); keep (what has come",
        ),
        ({"web": "health: {port: 80}"}, "shop.yml:7: machines[0].health.port: unknown key (did you mean ports?)"),
        ({"web": "health: {timeout_s: 5}"}, "shop.yml:7: machines[0].health: at least one of ports, http and command is wanted"),
        ({"web": "health: {ports: [0]}"}, "shop.yml:7: machines[0].health.ports[0]: 0 is not accepted; a TCP port is a whole number"),
        ({"web": "health: {http: {path: up}}"}, "shop.yml:7: machines[0].health.http.path: 'up' is not accepted; a path begins with /"),
        ({"web": "health: {http: {status: 99}}"}, "shop.yml:7: machines[0].health.http.status: 99 is not accepted; a status is"),
        ({"web": "health: {command: pg_isready}"}, "machines[0].health.command: 'pg_isready' is not accepted; a command is a list"),
        ({"web": "health: {ports: [80]}\n    networks: []"}, "shop.yml:7: machines[0].health: web has no network, so nothing can connect"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_place(given: dict[str, str], words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        shop(**given)
    assert any(words in one for one in caught.value.fields["errors"]), caught.value.fields["errors"]


FIXED = "networks: [{bridge: br0, address: 192.0.2.10-192.0.2.19/24}]\n    cloud_init: {user_data: {}}\n    health: "


@pytest.mark.parametrize(
    ("db", "seen"),
    [
        ("cpus: 1", None),
        ("health: {ports: [5432]}", None),  # nobody knows its address
        (FIXED + "{command: [x]}", None),
        (FIXED + "{ports: [5432], command: [x]}", None),  # a port that answers is not all of it
        (FIXED + "{ports: [5432]}", {"ports": [5432], "addresses": ["192.0.2.10"]}),
    ],
)
def test_a_host_hears_of_machines_elsewhere_or_asks_them(db: str, seen: t.Any) -> None:
    plan = service_plan(shop(db=db), {"a": host(bridges=["br0"]), "b": host()})
    assert plan["problems"] == []
    order = {key: value for key, value in plan["order"].items() if key != "longest"}
    assert order == {"after": {"web": ["db"]}, "stages": [["db"], ["web"]], "on_failure": "keep", "turns": ["db"]}
    other = {"machine": "db-1", "host": "a", **({"health": seen} if seen else {})}
    assert plan["hosts"]["b"]["turns"] == {"after": {"web-1": ["db"]}, "elsewhere": {"db": [other]}}
    assert "turns" not in plan["hosts"]["a"]
    assert "  start order: db; then web" in plan_text(plan)


def test_on_one_host_nothing_is_heard_of() -> None:
    manifest = shop()
    manifest["machines"][0]["hosts"] = ["a"]
    plan = service_plan(manifest, {"a": host()})
    assert plan["order"]["turns"] == [] and plan["hosts"]["a"]["turns"] == {"after": {"web-1": ["db"]}, "elsewhere": {}}


def test_a_machine_that_runs_waits_for_nobody() -> None:
    there = {"machine": "web-1", "group": "web", "number": 1, "running": True, "spec": {}, "domain": "shop-web-1"}
    hosts = {"a": host(), "b": host(machines=[there])}
    plan = service_plan(shop(), hosts)
    assert plan["machines"][0]["state"] == "exists" and plan["order"]["turns"] == [] and "turns" not in plan["hosts"]["b"]
    there["running"] = False
    assert service_plan(shop(), hosts)["hosts"]["b"]["turns"]["after"] == {"web-1": ["db"]}


@pytest.mark.parametrize("top", ["placement: {partial: true}", "placement: {partial: true}\non_failure: roll_back"])
def test_a_role_without_room_is_not_there(top: str) -> None:
    manifest = shop(db="memory_mib: 900000", top=top)
    manifest["machines"][1].update(hosts=None, per_host=None, count=1)
    plan = service_plan(manifest, {"a": host(), "b": host()})
    assert bool(plan["problems"]) is ("roll_back" in top)
    assert plan["order"]["turns"] == ["db"]
    turns = plan["hosts"]["b"]["turns"]
    assert turns == {"after": {"web-1": ["db"]}, "elsewhere": {"db": [{"machine": "db-1", "host": ""}]}}
    assert checked_turns(turns, plan["hosts"]["b"]["machines"]).elsewhere["db"][0].machine == "db-1"
    assert turn_of(plan, "db", {}, {}) == {"state": "failed", "msg": "db-1: no host has room for it", "hosts": ["b"]}


def test_no_part_is_begun_of_what_would_be_rolled_back() -> None:
    hosts = {"a": {"reachable": False, "msg": "no route"}, "b": host()}
    assert service_plan(shop(), hosts)["problems"] == []
    plan = service_plan(shop(top="on_failure: roll_back"), hosts)
    assert plan["problems"] and "a: no route" in " ".join(plan["problems"])
    assert any("what the run made is removed again" in line for line in plan_text(plan))


PAGE = (Path(__file__).resolve().parents[6] / "docs" / "appliances.md").read_text()


def test_the_example_of_the_documentation_is_planned_as_it_says() -> None:
    text = PAGE.partition("```yaml\n")[2].partition("```")[0]
    source = {"size": 1000, "isreg": True}
    able = {name: host(bridges=["br0"], capacity={**host()["capacity"], "memory_mib": 65536}) for name in ("kvm1", "kvm2")}
    plan = service_plan(parse_manifest(text, "three-tiers.yml"), able, files={"debian-12": source})
    assert plan["problems"] == [], plan["problems"]
    told = next(line.strip() for line in plan_text(plan) if "start order" in line)
    assert f"`{told}`" in PAGE and plan["order"]["turns"] == ["db", "web"]
    elsewhere = plan["hosts"]["kvm2"]["turns"]["elsewhere"]
    assert elsewhere["db"] == [{"machine": "db-1", "host": "kvm1"}]
    assert [one["health"]["addresses"] for one in elsewhere["web"]] == [["192.0.2.20"], ["192.0.2.21"]]
    keys = set(health.SCHEMA["properties"])
    assert keys == set(re.findall(r"^\| `(\w+)", PAGE.partition("## Health")[2].partition("## Order")[0], re.M)) - {"key"}


def planned(**changes: t.Any) -> dict[str, t.Any]:
    machines = [
        {"machine": f"db-{number}", "group": "db", "host": where, "state": "create", "reason": "", **changes}
        for number, where in ((1, "a"), (2, "c"))
    ]
    return {"machines": machines, "hosts": {"a": {}, "b": {"turns": {"elsewhere": {"db": []}}}, "c": {}}}


def job(*states: tuple[str, str], **more: t.Any) -> dict[str, t.Any]:
    return {"job": {"machines": [{"machine": name, "state": state, "problem": f"{name} is {state}"} for name, state in states], **more}}


@pytest.mark.parametrize(
    ("answers", "outcomes", "changes", "wanted"),
    [
        ({"a": job(("db-1", "deployed")), "c": job(("db-2", "present"))}, {}, {}, ("ready", "")),
        ({"a": job(("db-1", "failed")), "c": job(("db-2", "present"))}, {}, {}, ("failed", "db-1 on a: db-1 is failed")),
        ({"a": job(("db-1", "deployed"))}, {}, {}, ("failed", "db-2 on c: nothing was heard of it")),
        ({"a": job(("db-1", "deployed"))}, {"c": {"msg": "lost"}}, {}, ("failed", "db-2 on c: lost")),
        ({"a": job(("db-1", "deployed")), "c": job(msg="There is no job")}, {}, {}, ("failed", "db-2 on c: There is no job")),
        ({"a": job(("db-1", "deployed")), "c": {"msg": "gone"}}, {}, {}, ("failed", "db-2 on c: gone")),
        ({}, {}, {"state": "outside", "reason": "it is outside"}, ("failed", "db-1 on a: it is outside; db-2 on c: it is outside")),
    ],
)
def test_a_role_is_ready_when_all_of_it_is(answers: t.Any, outcomes: t.Any, changes: t.Any, wanted: tuple[str, str]) -> None:
    state, msg = wanted
    assert turn_of(planned(**changes), "db", answers, outcomes) == {"state": state, "msg": msg, "hosts": ["b"]}


@pytest.mark.parametrize(
    ("groups", "boots", "seconds"),
    [
        ([{"name": "web"}], 1, 0),
        ([{"name": "web", "health": {"ports": [80]}}], 2, 0),
        ([{"name": "web", "health": {"ports": [80], "timeout_s": 86400}}], 1, 86400),
        (
            [
                {"name": "web", "after": ["db", "cache"], "health": {"ports": [80], "timeout_s": 30}},
                {"name": "db", "health": {"ports": [80], "timeout_s": 7000}},
                {"name": "cache", "health": {"ports": [80]}},
                {"name": "other", "health": {"ports": [80], "timeout_s": 5000}},
            ],
            3,
            7030,
        ),
    ],
)
def test_a_run_lasts_as_long_as_the_manifest_lets_its_machines_take(groups: t.Any, boots: int, seconds: int) -> None:
    assert longest_of(groups) == {"boots": boots, "seconds": seconds}
    assert order_of({"machines": groups})["longest"] == {"boots": boots, "seconds": seconds}


def test_the_limits_of_a_run_follow_the_manifest() -> None:
    """A job that is killed by the limit of its own run would be lost, however patient the manifest is."""
    limits = yaml.safe_load((ROLES / "provision/vars/main.yml").read_text())
    values = {
        "basecast_settings": {"boot_timeout_s": 600, "relay_timeout_s": 7200, "import_timeout_s": 100},
        "basecast_plan": {"order": {"longest": {"boots": 3, "seconds": 7030}}},
    }
    values["__provision_boots_s"] = jinja2.Template(limits["__provision_boots_s"]).render(values)
    assert values["__provision_boots_s"] == str(3 * 600 + 7030)
    assert jinja2.Template(limits["__provision_longest_s"]).render(values) == str(7200 + 100 + 3 * 600 + 7030)
    handed = (ROLES / "provision/tasks/hand_over.yml").read_text()
    assert 'async: "{{ 0 if ansible_check_mode else __provision_longest_s }}"' in handed and "__provision_boots_s" in handed
