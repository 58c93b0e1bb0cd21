# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.basecast.fleet.plugins.lookup import fleet

GROUPS = {"all": ["kvm1", "kvm2", "localhost"], "ungrouped": [], "rack": ["kvm2"], "none": []}

LOADED: list[str] = []


def look(monkeypatch: pytest.MonkeyPatch, *terms: str, arguments: dict[str, t.Any] | None = None, **given: t.Any) -> list[str]:
    monkeypatch.setattr(fleet.context, "CLIARGS", arguments or {})
    # This process has no loader of collections, and has all plugins already.
    monkeypatch.setattr(fleet.filter_loader, "get", LOADED.append)
    loader = DataLoader()
    variables = {"groups": GROUPS, "hostvars": {host: {} for host in GROUPS["all"]}, **given}
    lookup = fleet.LookupModule(loader=loader, templar=Templar(loader=loader, variables=variables))
    return lookup.run(list(terms), variables)


def test_the_default_is_every_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch) == ["all:!localhost"]
    assert look(monkeypatch, "hosts") == ["kvm1", "kvm2"]


def test_a_play_loads_filters_before_its_tasks_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible loads all filters up to the one that is asked for: the last brings all."""
    names = sorted(path.stem for path in Path(fleet.__file__).parents[1].joinpath("filter").glob("*.py"))
    for arguments, loaded in (({}, [f"basecast.fleet.{names[-1]}"]), ({"syntax": True}, [])):
        LOADED.clear()
        look(monkeypatch, arguments=arguments)
        assert loaded == LOADED


def test_a_limit_does_not_change_the_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(monkeypatch, "hosts", ansible_limit="kvm1") == ["kvm1", "kvm2"]


@pytest.mark.parametrize("value", ["rack", ["kvm1", "kvm2"]])
def test_a_pattern_or_a_list_of_hosts(monkeypatch: pytest.MonkeyPatch, value: t.Any) -> None:
    expected = ["kvm2"] if value == "rack" else value
    assert look(monkeypatch, "hosts", basecast_fleet=value) == expected


def test_a_variable_of_the_inventory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    hostvars = {host: {"basecast_fleet": "rack"} for host in GROUPS["all"]}
    assert look(monkeypatch, hostvars=hostvars) == ["rack"]


@pytest.mark.parametrize(
    ("given", "arguments", "words"),
    [
        ({"basecast_fleet": "none"}, {}, "'none' names no host"),
        ({"basecast_fleet": "nowhere"}, {}, "'nowhere' names no host"),
        ({"basecast_fleet": ""}, {}, "'' names no host"),
        ({"basecast_fleet": []}, {}, "'' names no host"),
        ({"basecast_fleet": "rack", "ansible_limit": "kvm1"}, {}, "names no host of the inventory within --limit kvm1"),
        ({}, {"start_at_task": "Sum up"}, "--start-at-task"),
        ({}, {"skip_tags": ["always"]}, "--skip-tags always"),
        ({}, {"skip_tags": ["web", "tagged"]}, "--skip-tags tagged"),
        ({"awx_job_slice_count": 3}, {}, "one slice of an AWX job"),
        ({"tower_job_slice_count": "2"}, {}, "one slice of an AWX job"),
        ({"awx_workflow_job_name": "shop", "awx_job_template_name": "shop"}, {}, "one slice of an AWX job"),
    ],
)
def test_a_run_that_could_do_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, t.Any], arguments: dict[str, t.Any], words: str
) -> None:
    with pytest.raises(AnsibleError, match=words):
        look(monkeypatch, arguments=arguments, **given)


@pytest.mark.parametrize("listing", fleet.LISTINGS)
def test_listings_are_not_refused(monkeypatch: pytest.MonkeyPatch, listing: str) -> None:
    assert look(monkeypatch, arguments={listing: True, "start_at_task": "x"}, basecast_fleet="none") == ["none"]


@pytest.mark.parametrize("names", [{"awx_job_slice_count": 1}, {"awx_workflow_job_name": "nightly", "awx_job_template_name": "shop"}])
def test_other_jobs_of_awx_are_fine(monkeypatch: pytest.MonkeyPatch, names: dict[str, t.Any]) -> None:
    assert look(monkeypatch, **names) == ["all:!localhost"]


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        (None, ["kvm1", "kvm2"]),
        ("all", ["kvm1", "kvm2", "localhost"]),
        (["kvm1", "shop-web-1"], ["kvm1"]),
        ("rack:shop-web-1", ["kvm2"]),
        ("rack:basecast_machines", ["kvm2", "shop-web-1"]),
    ],
)
def test_deployed_machines_are_no_hosts_of_the_fleet(monkeypatch: pytest.MonkeyPatch, pattern: t.Any, hosts: list[str]) -> None:
    names = ["shop-web-1", *GROUPS["all"]]
    given: dict[str, t.Any] = {"groups": {**GROUPS, "all": names, "basecast_machines": ["shop-web-1"]}}
    given["hostvars"] = {host: {} for host in names}
    assert sorted(look(monkeypatch, "hosts", **given, **({} if pattern is None else {"basecast_fleet": pattern}))) == hosts


def test_an_empty_pattern_names_nobody_beside_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {**GROUPS, "all": ["shop-web-1", *GROUPS["all"]], "basecast_machines": ["shop-web-1"]}
    with pytest.raises(AnsibleError, match="names no host"):
        look(monkeypatch, groups=groups, basecast_fleet="")


def test_the_variable_of_a_host_counts_not_that_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["shop-web-1", *GROUPS["all"]]
    hostvars: dict[str, t.Any] = {"shop-web-1": {}, **{host: {"basecast_fleet": "rack"} for host in GROUPS["all"]}}
    groups = {**GROUPS, "all": names, "basecast_machines": ["shop-web-1"]}
    assert look(monkeypatch, "hosts", groups=groups, hostvars=hostvars) == ["kvm2"]


def test_another_term_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleError, match=r"fleet: invalid value \['machines'\]; expected hosts, or nothing"):
        look(monkeypatch, "machines")
