# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README's service comes out the same whatever a user's ansible.cfg says."""

from __future__ import annotations

import configparser
import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.basecast.fleet.tests.lab import Lab, images
from ansible_collections.basecast.fleet.tests.lab._lab import CHECKOUT

POOL = "/var/lib/libvirt/images"
PIPELINING = {"ssh_connection": {"pipelining": True}}

Settings = dict[str, dict[str, t.Any]]

CONFIGURATIONS: dict[str, Settings] = {
    "free": {"defaults": {"strategy": "free"}},
    "pinned, one fork": {"defaults": {"strategy": "ansible.builtin.host_pinned", "forks": 1}},
    "errors are fatal": {"defaults": {"any_errors_fatal": True, "force_handlers": True, "error_on_missing_handler": True}},
    "cached facts": {
        "defaults": {"gathering": "smart", "fact_caching": "jsonfile", "fact_caching_connection": "{folder}/facts", "inject_facts_as_vars": False},
    },
    "merged variables": {"defaults": {"hash_behaviour": "merge", "private_role_vars": True}},
    "minimal callback and debugger": {
        "defaults": {
            "stdout_callback": "minimal", "display_skipped_hosts": False, "bin_ansible_callbacks": True,
            "enable_task_debugger": True, "task_debugger_ignore_errors": False,
        },
    },
    "yaml and progress": {
        "defaults": {
            "callback_result_format": "yaml", "display_ok_hosts": False, "callbacks_enabled": "basecast.fleet.progress, ansible.builtin.tree",
        },
        "callback_tree": {"directory": "{folder}/tree"},
    },
    "nothing is logged": {
        "defaults": {
            "no_log": True, "log_path": "{folder}/log", "no_target_syslog": True, "retry_files_enabled": True, "retry_files_save_path": "{folder}",
        },
    },
    "impatient": {"defaults": {"task_timeout": 1, "timeout": 3, "poll_interval": 1, "internal_poll_interval": 0.01}},
    "files instead of pipelining": {
        "defaults": {"remote_tmp": "/root/.odd/tmp", "module_compression": "ZIP_STORED"},
        "ssh_connection": {"pipelining": False, "transfer_method": "piped"},
        "privilege_escalation": {"become": True, "become_method": "su", "become_user": "root"},
    },
    "strict": {
        "defaults": {
            "duplicate_dict_key": "error", "invalid_task_attribute_failed": True, "allow_broken_conditionals": False, "jinja2_native": True,
            "collections_on_ansible_version_mismatch": "error", "nocows": False,
        },
        "inventory": {"unparsed_is_failed": True, "any_unparsed_is_failed": True, "host_pattern_mismatch": "error"},
        "diff": {"always": True},
    },
    "lax": {
        "defaults": {
            "jinja2_native": False, "error_on_undefined_vars": False, "allow_broken_conditionals": True, "deprecation_warnings": False,
            "collections_path": "/nowhere:{checkout}/.collections", "roles_path": "/nowhere", "gathering": "implicit",
        },
        "diff": {"context": 0},
    },
}  # fmt: skip


# Each as far from the defaults as one user can be. make test tries the first; make test-all both, and what stands above one by one.
TOGETHER: dict[str, tuple[str, ...]] = {
    "one odd user": ("free", "cached facts", "minimal callback and debugger", "nothing is logged", "impatient", "strict"),
    "another one": ("pinned, one fork", "errors are fatal", "merged variables", "yaml and progress", "files instead of pipelining", "lax"),
}


def joined(names: tuple[str, ...]) -> Settings:
    """The settings of several configurations, none of which contradict each other, as one."""
    settings: Settings = {}
    for name in names:
        for section, values in CONFIGURATIONS[name].items():
            assert not set(values) & set(settings.get(section, {})), f"{name} sets what another one sets too"
            settings.setdefault(section, {}).update(values)
    return settings


def write_config(folder: Path, settings: Settings) -> Path:
    config = configparser.ConfigParser(interpolation=None)
    config.read_dict(PIPELINING)
    for section, values in settings.items():
        config.read_dict({section: {key: str(value).format(folder=folder, checkout=CHECKOUT) for key, value in values.items()}})
    with (folder / "ansible.cfg").open("w") as file:
        config.write(file)
    return folder / "ansible.cfg"


def write_inventory(lab: Lab, folder: Path) -> Path:
    """The lab's hosts as a user would name them: how they are reached, and nothing that a configuration could say."""
    tree = json.loads(lab.inventory.read_text())
    for key in ("ansible_pipelining", "ansible_python_interpreter"):
        del tree["all"]["children"]["lab"]["vars"][key]
    (folder / "inventory.json").write_text(json.dumps(tree))
    return folder / "inventory.json"


def readme_manifest() -> dict[str, t.Any]:
    """The README's, with a smaller guest and one machine for each host."""
    found = re.search(r"```yaml\n# shop.yml\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.S)
    assert found
    manifest = yaml.safe_load(found[1])
    manifest["machines"][0].update(memory_mib=128, per_host=1)
    return t.cast("dict[str, t.Any]", manifest)


def without_figures(value: t.Any) -> t.Any:
    """The same value with every number, address and digest made alike: those differ from run to run. Lines of a ticket break
    where those end."""
    if isinstance(value, dict):
        return {key: without_figures(item) for key, item in value.items() if key not in ("relay", "report", "metadata", "ticket")}
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        # Where a line of a text is broken depends on how long its figures are.
        value = re.sub(r"\n {6,}", " ", "\n".join(value)).split("\n")
    if isinstance(value, list):
        return [without_figures(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"(?<![\w-])\d[\w.:-]*|[0-9a-f]{32,}", "#", re.sub(r"cannot be reached: .*", "cannot be reached", value))
    return value if value is None or isinstance(value, bool) else "#"


def outcome(factory: t.Callable[..., Lab], folder: Path, settings: Settings) -> dict[str, t.Any]:
    """What plan comes to, and deploy while a host is dead: it takes every way that a deployment without a failure takes too."""
    lab = factory(hosts=3, libvirt=True)
    manifest = readme_manifest()
    lab.hosts["kvm1"].put(images.tiny(pad_mib=2), f"{POOL}/{manifest['bases'][0]['source']['path']}")
    (folder / "shop.yml").write_text(yaml.safe_dump(manifest))
    environment = {"ANSIBLE_CONFIG": str(write_config(folder, settings)), "HOME": str(folder)}
    if "collections_path" in settings.get("defaults", {}):
        environment["ANSIBLE_COLLECTIONS_PATH"] = settings["defaults"]["collections_path"].format(checkout=CHECKOUT)

    def run(playbook: str) -> tuple[int, t.Any]:
        report, plan = folder / "report.json", folder / "plan.json"
        for file in (report, plan):
            file.unlink(missing_ok=True)
        done = lab.playbook(
            [
                f"basecast.fleet.{playbook}", "-i", write_inventory(lab, folder), "-e", f"manifest={folder}/shop.yml",
                "-e", f"basecast_report_file={report}", "-e", f"basecast_plan_file={plan}",
            ],
            environment, timeout=300, cwd=folder,
        )  # fmt: skip
        written = plan if playbook == "plan" else report
        assert written.exists(), done.stdout[-6000:] + done.stderr[-3000:]
        return done.returncode, without_figures(json.loads(written.read_text().replace(str(folder), "FOLDER")))

    planned = run("plan")
    lab.hosts["kvm3"].crash()
    return {"plan": planned, "deploy": run("deploy")}


def differences(found: t.Any, wanted: t.Any, place: str = "") -> t.Iterator[str]:
    """The places where two values differ, with both."""
    if isinstance(found, dict) and isinstance(wanted, dict) and set(found) == set(wanted):
        for key in wanted:
            yield from differences(found[key], wanted[key], f"{place}.{key}")
    elif isinstance(found, (list, tuple)) and isinstance(wanted, (list, tuple)) and len(found) == len(wanted):
        for at, pair in enumerate(zip(found, wanted, strict=True)):
            yield from differences(*pair, f"{place}[{at}]")
    elif found != wanted:
        yield f"{place}: {found!r} instead of {wanted!r}"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, t.Any]:
    with Lab(hosts=3, libvirt=True) as lab:
        result = outcome(lambda **_: lab, tmp_path_factory.mktemp("default"), {})
    assert {name: code for name, (code, _written) in result.items()} == {"plan": 0, "deploy": 2}
    states = {machine["machine"]: machine["state"] for machine in result["deploy"][1]["machines"]}
    assert states == {"web-1": "deployed", "web-2": "deployed", "web-3": "unreachable"}
    return result


def test_each_configuration_has_a_part_in_those_tried_together() -> None:
    assert sorted(name for names in TOGETHER.values() for name in names) == sorted(CONFIGURATIONS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "names",
    [
        TOGETHER["one odd user"],
        *(pytest.param(names, marks=pytest.mark.variant) for names in (TOGETHER["another one"], *((name,) for name in CONFIGURATIONS))),
    ],
    ids=", ".join,
)
def test_configuration(names: tuple[str, ...], expected: dict[str, t.Any], fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path) -> None:
    assert list(differences(outcome(fresh_lab_factory, tmp_path, joined(names)), expected)) == []
