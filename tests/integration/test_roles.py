# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles by themselves, and runs that end before any host was asked. The hosts here do not answer, or are this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir())
PLAYBOOKS = sorted(path.stem for path in (CHECKOUT / "playbooks").glob("*.yml"))
DEAD: dict[str, t.Any] = {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o ConnectTimeout=1"}
MANIFEST: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "tiny.qcow2"}}],
    "machines": [{"name": "web", "hosts": ["kvm1"], "disks": [{"name": "root", "base": "tiny"}]}],
}


def run(folder: Path, *arguments: str, hosts: dict[str, t.Any] | None = None, cwd: Path | None = None) -> tuple[int, str]:
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts or {"kvm1": DEAD}, "children": {"nobody": {}}}}))
    done = subprocess.run(
        [BIN / "ansible-playbook", "-i", inventory, *arguments],
        cwd=cwd or folder, text=True, capture_output=True, check=False, timeout=120,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"), "HOME": str(folder), "PWD": "/"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def manifest(folder: Path) -> str:
    (folder / "shop.yml").write_text(yaml.safe_dump(MANIFEST))
    return f"manifest={folder}/shop.yml"


# What must not end well, with words of the message.
NOT_SUCCESS: dict[str, tuple[list[str], str]] = {
    "tags": (["--tags", "plan"], "Nothing was done, or not all of it"),
    "several tags": (["--tags", "nothing,else"], "Nothing was done, or not all of it"),
    "skip always": (["--skip-tags", "always"], "--skip-tags always"),
    "skip tagged": (["--skip-tags", "web,tagged"], "--skip-tags tagged"),
    "skip untagged": (["--skip-tags", "untagged"], "Nothing was done, or not all of it"),
    "start": (["--start-at-task", "Result"], "--start-at-task"),
    "empty group": (["-e", "basecast_fleet=nobody"], "'nobody' names no host"),
    "limit": (["-e", "basecast_fleet=localhost", "--limit", "kvm1"], "names no host of the inventory within --limit kvm1"),
    "empty limit": (["--limit", "!all"], "no hosts to target"),
    "slice": (["-e", "awx_job_slice_count=2"], "one slice of an AWX job"),
}
# What a playbook must do itself is asked of all of them (make test: one thing); the rest stands in what they share.
OF_EACH = ("empty group", "tags", "skip untagged", "start")
OF_TWO = ("deploy", "remove")


def asked_of(playbook: str) -> t.Iterator[t.Any]:
    for at, kind in enumerate(NOT_SUCCESS if playbook in OF_TWO else OF_EACH):
        yield pytest.param(playbook, kind, marks=[pytest.mark.variant] if at and playbook != "deploy" else [])


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("playbook", "kind"), [case for playbook in PLAYBOOKS for case in asked_of(playbook)])
def test_nothing_done_is_not_success(tmp_path: Path, playbook: str, kind: str) -> None:
    arguments, words = NOT_SUCCESS[kind]
    code, said = run(tmp_path, f"basecast.fleet.{playbook}", "-e", manifest(tmp_path), *arguments)
    assert code != 0, said
    assert words in said, said
    assert "Traceback" not in said


@pytest.mark.timeout(180)
@pytest.mark.parametrize("playbook", ["plan", "deploy"])
def test_a_group_of_machines_without_hosts_is_not_success(tmp_path: Path, playbook: str) -> None:
    """Beside another group that has its hosts."""
    (group,) = MANIFEST["machines"]
    wanted = {**MANIFEST, "machines": [group, {**group, "name": "db", "hosts": ["nobody"]}]}
    (tmp_path / "shop.yml").write_text(yaml.safe_dump(wanted))
    code, said = run(tmp_path, f"basecast.fleet.{playbook}", "-e", f"manifest={tmp_path}/shop.yml")
    assert code != 0
    assert "machines[1].hosts: nobody has no host in the inventory" in said, said


@pytest.mark.timeout(60)
def test_stop_says_that_nothing_runs(tmp_path: Path) -> None:
    here = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3", "basecast_runtime_dir": str(tmp_path)}
    code, said = run(tmp_path, "basecast.fleet.stop", hosts={"kvm1": here})
    assert code == 0, said
    assert "No host has a relay node." in said


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("hosts", "arguments", "words"),
    [
        (
            {"kvm1": DEAD, "kvm2": {**DEAD, "basecast_pool": {"default": "/x"}}},
            [],
            "basecast_pool: unknown variable of kvm2; did you mean basecast_pools?",
        ),
        (
            {"kvm1": DEAD},
            ["-e", "basecast_boot_timout_s=3"],
            "basecast_boot_timout_s: unknown variable of kvm1; did you mean basecast_boot_timeout_s?",
        ),
        ({"kvm1": {**DEAD, "basecast_nice": "very"}}, [], "basecast_nice: invalid value 'very' of kvm1; expected a whole number"),
        (
            {"kvm1": DEAD},
            ["-e", "basecast_relay_mode=quick"],
            "basecast_relay_mode: invalid value 'quick' of kvm1; expected cut_through or staged",
        ),
        ({"kvm1": DEAD}, ["-e", "basecast_report_file=none/report.json"], "basecast_report_file: the directory"),
    ],
    ids=["host variable", "extra variable", "type", "choice", "file"],
)
def test_a_wrong_variable_ends_the_run_first(tmp_path: Path, hosts: dict[str, t.Any], arguments: list[str], words: str) -> None:
    code, said = run(tmp_path, "basecast.fleet.deploy", "-e", manifest(tmp_path), *arguments, hosts=hosts)
    assert code != 0
    assert words in said, said
    assert "Survey the host" not in said


@pytest.mark.timeout(120)
def test_a_relative_manifest_is_looked_up_where_ansible_runs(tmp_path: Path) -> None:
    manifest(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code, said = run(tmp_path, "basecast.fleet.plan", "-e", "manifest=shop.yml")
    assert "cannot be reached" in said, said
    code, said = run(tmp_path, "basecast.fleet.plan", "-e", "manifest=shop.yml", cwd=elsewhere)
    assert code != 0
    assert f"manifest: there is no such file on the controller; looked for {elsewhere}/shop.yml" in said, said
    (tmp_path / "site.yml").write_text("- ansible.builtin.import_playbook: basecast.fleet.plan\n")
    code, said = run(tmp_path, str(tmp_path / "site.yml"), "-e", "manifest=shop.yml", cwd=elsewhere)
    assert "cannot be reached" in said, said


INLINE = """
town: Ulm
manifest:
  format: 1
  service: shop
  machines:
    - name: web
      count: 1
      disks: [{name: root, size_gib: 1}]
      cloud_init: {user_data: {fqdn: "{{ machine.name }}.{{ town | lower }}", packages: "{{ machine.number }} of {{ tenant }}"}}
"""


@pytest.mark.timeout(120)
def test_values_of_machines_pass_through_ansible(tmp_path: Path) -> None:
    (tmp_path / "vars.yml").write_text(INLINE)
    _code, said = run(tmp_path, "basecast.fleet.plan", "-e", "@vars.yml")
    assert "machines[0].cloud_init.user_data: packages: a string is not accepted" in said, said
    (tmp_path / "vars.yml").write_text(INLINE.replace("tenant", "ulm.tenant"))
    _code, said = run(tmp_path, "basecast.fleet.plan", "-e", "@vars.yml")
    assert "'ulm' is undefined" in said, said
    (tmp_path / "vars.yml").write_text(INLINE.replace(', packages: "{{ machine.number }} of {{ tenant }}"', ""))
    _code, said = run(tmp_path, "basecast.fleet.plan", "-e", "@vars.yml")
    assert "cannot be reached" in said and "undefined" not in said, said


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("host", "words"),
    [
        (DEAD, "Connection refused"),
        ({**DEAD, "ansible_host": "no.such.invalid"}, "Could not resolve hostname"),
        ({"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python9"}, "'/usr/bin/python9' was not found"),
    ],
    ids=["port", "name", "python"],
)
def test_why_a_host_cannot_be_asked_is_told(tmp_path: Path, host: dict[str, t.Any], words: str) -> None:
    _code, said = run(tmp_path, "basecast.fleet.plan", "-e", manifest(tmp_path), hosts={"kvm1": host})
    (told,) = re.findall(r"web-1 on kvm1: (?:out of reach|there or not, which cannot be known).*?\n  \W*base tiny", said, re.S)
    assert words in re.sub(r'[",\s]+', " ", told), said
    assert "censored" not in said
    assert "Task failed" not in told


@pytest.mark.timeout(60)
@pytest.mark.parametrize("role", ROLES)
def test_every_role_is_documented(role: str) -> None:
    done = subprocess.run(
        [BIN / "ansible-doc", "-t", "role", f"basecast.fleet.{role}"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections")}, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ENTRY POINT: " in done.stdout


@pytest.mark.timeout(120)
def test_a_role_can_be_used_by_itself(tmp_path: Path) -> None:
    plays = [
        {
            "hosts": "all",
            "gather_facts": False,
            "vars": {"basecast_pools": {"default": str(tmp_path)}, "basecast_state_dir": str(tmp_path), "manifest": MANIFEST},
            "roles": [f"basecast.fleet.{role}" for role in ("settings", "survey")],
            "tasks": [
                {"ansible.builtin.debug": {"msg": "SEEN {{ basecast_observation.reachable }} {{ basecast_settings.boot_timeout_s }}"}}
            ],
        }
    ]
    (tmp_path / "site.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    here = {"kvm1": {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}}
    code, said = run(tmp_path, str(tmp_path / "site.yml"), hosts=here)
    assert code == 0, said
    assert "SEEN True 600" in said
    del plays[0]["roles"][0]  # type: ignore[attr-defined]
    (tmp_path / "site.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    code, said = run(tmp_path, str(tmp_path / "site.yml"), hosts=here)
    assert code != 0
    assert "missing required arguments: basecast_settings" in said, said
