# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables by their argument specs: every type, every way to misspell one."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.basecast.fleet.plugins.plugin_utils import _settings
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service import machine_hosts

ROLES = Path(__file__).resolve().parents[4] / "roles"


def load(path: str) -> t.Any:
    return yaml.safe_load(Path(path).read_text())


SITES = "sites: {SITE: {up_mbps, down_mbps}} and between: [[SITE, SITE, mbps]], with numbers above 0"
QUOTAS = "a mapping of tenants, each with numbers of at least 0 for some of machines, cpus, memory_mib, disk_gib"
OPTIONS = _settings.options_of("settings", load, ROLES)


def read(**given: t.Any) -> tuple[dict[str, t.Any], list[str]]:
    plain = {name: option for name, option in OPTIONS.items() if "{{" not in str(option.get("default"))}
    return _settings.read(plain, given.get, "kvm1")


@pytest.mark.parametrize(
    ("name", "value", "converted"),
    [
        ("basecast_nice", "5", 5),
        ("basecast_nice", 0, 0),
        ("basecast_rate_mbps", "12.5", 12.5),
        ("basecast_encryption", "no", False),
        ("basecast_encryption", "true", True),
        ("basecast_pools", '{"default": "/x"}', {"default": "/x"}),
        ("basecast_relay_mode", "staged", "staged"),
        ("basecast_site", "rack 1", "rack 1"),
        ("basecast_site", 7, "7"),
        ("basecast_source_dirs", "a,b", ["a", "b"]),
        ("basecast_labels", ["ssd", 1], ["ssd", "1"]),
        ("basecast_labels", {"rack": "r1", "row": 2}, ["rack=r1", "row=2"]),
        ("basecast_maintenance", "yes", True),
        ("basecast_cpu_overcommit", "2", 2.0),
        ("basecast_memory_overcommit", 0.5, 0.5),
        ("basecast_pool_overcommit", 2, 2.0),
        ("basecast_pool_overcommit", {"fast": "1.5"}, {"fast": 1.5}),
        ("basecast_pool_labels", {"fast": ["ssd"], "big": {"tier": "hdd"}}, {"fast": ["ssd"], "big": ["tier=hdd"]}),
        ("basecast_quotas", {"shop": {"machines": "3", "disk_gib": 1.5}}, {"shop": {"machines": 3.0, "disk_gib": 1.5}}),
        ("basecast_link_mbps", {"kvm2": "100", "kvm3": 0}, {"kvm2": 100.0, "kvm3": 0.0}),
        (
            "basecast_site_limits",
            {"sites": {"a": {"up_mbps": "100"}}, "between": [["a", "b", "50"]]},
            {"sites": {"a": {"up_mbps": 100.0}}, "between": [["a", "b", 50.0]]},
        ),
        ("basecast_site_limits", {"sites": None}, {"sites": {}, "between": []}),
        ("basecast_differencing", "no", False),
        ("manifest", {"format": 1}, {"format": 1}),
    ],
)
def test_values_get_the_type_of_their_option(name: str, value: t.Any, converted: t.Any) -> None:
    settings, wrong = read(**{name: value})
    assert wrong == []
    assert settings[_settings.key_of(name)] == converted


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("basecast_nice", "five", "a whole number of at least 0"),
        ("basecast_nice", "", "a whole number of at least 0"),
        ("basecast_nice", 1.5, "a whole number of at least 0"),
        ("basecast_nice", True, "a whole number of at least 0"),
        ("basecast_nice", -1, "a whole number of at least 0"),
        ("basecast_rate_mbps", "fast", "a number of at least 0"),
        ("basecast_rate_mbps", "nan", "a number of at least 0"),
        ("basecast_rate_mbps", "inf", "a number of at least 0"),
        ("basecast_rate_mbps", [1], "a number of at least 0"),
        ("basecast_encryption", "perhaps", "true or false"),
        ("basecast_relay_mode", "stagd", "cut_through or staged"),
        ("basecast_pools", "/var/lib", "a mapping"),
        ("basecast_pools", ["/var/lib"], "a mapping"),
        ("basecast_site", ["a"], "text"),
        ("basecast_links", {"from": "a"}, "a list"),
        ("basecast_labels", "ssd", "a list of texts, or a mapping of them"),
        ("basecast_labels", 5, "a list of texts, or a mapping of them"),
        ("basecast_labels", ["ssd", ["x"]], "a list of texts, or a mapping of them"),
        ("basecast_labels", {"rack": None}, "a list of texts, or a mapping of them"),
        ("basecast_maintenance", "soon", "true or false"),
        ("basecast_cpu_overcommit", 0, "a number above 0"),
        ("basecast_memory_overcommit", 0, "a number above 0"),
        ("basecast_pool_overcommit", "much", "a number above 0, or a mapping of pools with one each"),
        ("basecast_pool_overcommit", {"fast": -1}, "a number above 0, or a mapping of pools with one each"),
        ("basecast_pool_overcommit", True, "a number above 0, or a mapping of pools with one each"),
        ("basecast_pool_labels", {"fast": "ssd"}, "a mapping of pools, each with a list of texts, or a mapping of them"),
        ("basecast_link_mbps", {"kvm2": "x"}, "a mapping of hosts to 10^6 bit/s, each a number of at least 0"),
        ("basecast_link_mbps", {"kvm2": -1}, "a mapping of hosts to 10^6 bit/s, each a number of at least 0"),
        *[
            ("basecast_site_limits", odd, SITES)
            for odd in (
                {"site": {"a": {"up_mbps": 1}}},
                {"sites": ["a"]},
                {"sites": {"a": 5}},
                {"sites": {"a": {"up": 5}}},
                {"sites": {"a": {"up_mbps": 0}}},
                {"between": [["a", "b"]]},
                {"between": {"a": "b"}},
                {"between": [["a", "b", "x"]]},
            )
        ],
        ("basecast_quotas", {"shop": 3}, QUOTAS),
        ("basecast_quotas", {"shop": {"machine": 3}}, QUOTAS),
        ("basecast_quotas", {"shop": {"machines": -3}}, QUOTAS),
        ("basecast_quotas", {"shop": {"machines": None}}, QUOTAS),
        ("basecast_quotas", ["shop"], "a mapping"),
    ],
)
def test_other_values_are_refused_with_what_is_expected(name: str, value: t.Any, expected: str) -> None:
    _settings_read, wrong = read(**{name: value})
    assert wrong == [f"{name}: invalid value {value!r} of kvm1; expected {expected}"]


def test_what_is_not_set_has_its_default() -> None:
    settings, wrong = read(basecast_nice=None)
    assert wrong == []
    assert settings["nice"] == 0
    assert settings["pools"] == {"default": "/var/lib/libvirt/images"}
    assert settings["links"] is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("basecast_relay_modus", "did you mean basecast_relay_mode?"),
        ("basecast_pool", "did you mean basecast_pools?"),
        ("basecast_adress", "did you mean basecast_address?"),
        ("basecast_encrypt", "did you mean basecast_encryption?"),
        ("basecast_", "ansible-doc -t role basecast.fleet.settings lists the variables"),
        ("basecast_zzzzzz", "ansible-doc -t role basecast.fleet.settings lists the variables"),
    ],
)
def test_unknown_names_are_told_with_the_nearest(name: str, near: str) -> None:
    known = _settings.known_names(ROLES)
    assert _settings.unknown_names([name, "basecast_pools", "other"], known, OPTIONS, "kvm1") == [
        f"{name}: unknown variable of kvm1; {near}"
    ]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("manifset", "manifest"), ("manfiest", "manifest"), ("machin", "machine"), ("serail", "serial"), ("keep_disk", "keep_disks"),
        ("sevice", "service"), ("plan_fiel", "plan_file"), ("clone_nmae", "clone_name"), ("health_prot", "health_port"),
        ("manifest", ""), ("hosts", ""), ("names", ""), ("service_name", ""), ("awx_job_id", ""), ("my_own", ""), ("basecast_pool", ""),
    ],
)  # fmt: skip
def test_extra_variables_that_are_nearly_ours_are_told(name: str, near: str) -> None:
    told = _settings.misspelt_names({name, "machine"}, _settings.known_names(ROLES))
    assert told == ([f"{name}: unknown variable; did you mean {near}?"] if near else [])


def test_every_reserved_name_has_a_quiet_one_beside_it() -> None:
    """Ansible warns of variables that are called like keywords of plays."""
    from ansible.vars.reserved import is_reserved_name

    for role in ROLES.iterdir():
        options = _settings.options_of(role.name, load, ROLES)
        for name in filter(is_reserved_name, options):
            assert f"{role.name}_{name}" in options, (role.name, name)


def test_every_option_has_a_type_and_a_description() -> None:
    for role in ROLES.iterdir():
        for name, option in _settings.options_of(role.name, load, ROLES).items():
            assert option.get("type"), (role.name, name)
            assert option.get("description"), (role.name, name)
            told = option["description"]
            # An unquoted colon makes a mapping of a sentence, which ansible-doc refuses.
            assert all(isinstance(sentence, str) for sentence in ([told] if isinstance(told, str) else told)), (role.name, name)


def test_defaults_stand_in_the_settings_only() -> None:
    others = [role.name for role in ROLES.iterdir() if role.name != "settings"]
    assert not [name for role in others for name, option in _settings.options_of(role, load, ROLES).items() if "default" in option]


def test_every_variable_of_the_roles_is_in_a_spec() -> None:
    """Else a second deployment in the same run of Ansible would find it unknown."""
    known = _settings.known_names(ROLES)
    named: set[str] = set()
    for file in [*ROLES.glob("*/tasks/*.yml"), *ROLES.parent.glob("playbooks/**/*.yml")]:
        named |= set(re.findall(r"(?<![\w.])basecast_[a-z_]+", file.read_text()))
    assert named - known == {machine_hosts.GROUP}  # no variable: the group of an inventory


@pytest.mark.parametrize(
    ("variables", "directories"),
    [({}, []), ({"awx_job_id": 7}, ["."]), ({"tower_job_id": "7"}, ["."]), ({"awx_job_id": 7, "tower_job_id": 7}, ["."])],
)
def test_jobs_of_awx_take_files_of_their_project(variables: dict[str, t.Any], directories: list[str]) -> None:
    loader = DataLoader()
    option = _settings.options_of("settings", _settings.reader(loader), ROLES)["basecast_controller_dirs"]
    assert Templar(loader, variables).template(option["default"]) == directories
