# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a molecule scenario is refused, and the way through a KVM host, without any host."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml

TASKS = Path(__file__).parents[3] / "roles/molecule/tasks"
MADE = {"service": "hello", "tenant": "default", "project": "/one", "inventory": ["/kvm.yml"]}
BEFORE = {"format": 1, "machines": [{"machine": "web-1"}, {"machine": "web-1"}, {"machine": "web-2"}]}

# Each task of a file that refuses something, what is known then, and words of the message (none: it is satisfied).
REFUSED: list[tuple[str, str, dict[str, t.Any], str]] = [
    (
        "scenario",
        "Molecule calls this playbook",
        {},
        # Without them, folders of these names at the top of the file system would be removed.
        "MOLECULE_EPHEMERAL_DIRECTORY, MOLECULE_INVENTORY_FILE, MOLECULE_SCENARIO_DIRECTORY: none given; expected what molecule sets",
    ),
    (
        "scenario",
        "It was this project",
        {"__molecule_made": MADE, "__molecule_project": "/two", "__molecule_folder": "/cache/machines"},
        "machines of the project /one are noted in /cache/machines; expected those of /two",
    ),
    ("scenario", "It was this project", {"__molecule_made": {}, "__molecule_project": "/two"}, ""),
    (
        "decide",
        "The manifest is a file",
        {"basecast_settings": {"manifest": {"format": 1}}},
        "manifest: a dict is not accepted; expected the name of a file",
    ),
    (
        "decide",
        "There are KVM hosts",
        {"__molecule_wanted": {"inventory": [""]}},
        "BASECAST_MOLECULE_INVENTORY: none given; expected the inventory of the KVM hosts",
    ),
    (
        "decide",
        "What was made is what is wanted",
        {"__molecule_file": {"file": {"exists": True}}, "__molecule_made": MADE, "__molecule_wanted": {**MADE, "service": "hi"}},
        "machines of service hello (tenant default) on the hosts of /kvm.yml, and now wants hi (tenant default) on those of /kvm.yml",
    ),
    (
        "decide",
        "What was made is what is wanted",
        {"__molecule_file": {"file": {"exists": True}}, "__molecule_made": MADE, "__molecule_wanted": MADE},
        "",
    ),
    (
        "claim",
        "The service is nobody else's",
        {"__molecule_made": MADE, "__molecule_manifest": "/m.yml", "__molecule_before": {"content": json.dumps(BEFORE)}},
        "hello has machines that this scenario did not make: web-1, web-2; expected a name that nothing else has",
    ),
    ("create", "Every machine has an address", {}, "No address is known of web-7; expected one from the guest agent"),
    (
        "run",
        "It did all of it",
        {"__molecule_run": {"rc": 2}, "__molecule_playbook": "parts/molecule.yml"},
        "The playbook molecule on the KVM hosts has failed (exit code 2); its lines above say why",
    ),
    # Last, as it keeps a fact.
    *(
        (
            "scenario",
            "Keep it",
            {"__molecule_file": {"file": {"exists": True}}, "__molecule_folder": "/m", "__molecule_text": {"content": text}},
            words,
        )
        for text, words in [
            *(
                (text, "/m/made.json: its content is not accepted; expected what create has noted")
                for text in ("{", "[]", "null", '{"service": "x"}')
            ),
            (json.dumps(MADE), ""),
        ]
    ),
]
HOST = {
    "ansible_host": "192.0.2.11",
    "ansible_user": "admin",
    "ansible_port": 2222,
    "ansible_ssh_private_key_file": "/keys/my key",
    "ansible_ssh_common_args": "-o 'ProxyCommand=nc %h 22'",
}
NAMED = {"": "", "~/kvm.yml": "~/kvm.yml", "kvm.yml": "/one/kvm.yml", "/kvm.yml": "/kvm.yml", "kvm1,": "kvm1,"}


def task(file: str, name: str) -> dict[str, t.Any]:
    (found,) = (one for one in yaml.safe_load((TASKS / f"{file}.yml").read_text()) if one["name"] == name)
    return dict(found)


def told(number: int, tasks: list[dict[str, t.Any]], known: dict[str, t.Any], value: str) -> list[dict[str, t.Any]]:
    keep = {"ansible.builtin.set_fact": {f"told{number}": f"{{{{ {value} }}}}"}}
    return [{"block": [*tasks, keep], "vars": known}]


def test_what_is_refused_and_how_hosts_are_passed(tmp_path: Path) -> None:
    machine = {"ansible.builtin.add_host": {"name": "hello-web-7", "groups": "basecast_machines", "machine_name": "web-7"}}
    steps: list[dict[str, t.Any]] = [machine]
    for number, (file, name, known, _words) in enumerate(REFUSED):
        refused = task(file, name)
        last = refused if "block" not in refused else refused["rescue"][0]
        last.update(register="said", ignore_errors=True)
        steps.append({"ansible.builtin.set_fact": {"said": {}}})
        steps += told(number, [refused], known, "said.msg | default('') if said is failed else ''")
    way = task("ways", "Keep how the host is reached")
    steps += told(100, [way], {**HOST, "ansible_connection": "ssh"}, "__molecule_way")
    steps += told(101, [way], {**HOST, "ansible_connection": "local"}, "__molecule_way")
    wanted = task("decide", "Keep what is wanted")
    settings = {
        "basecast_manifest": {"service": "hello", "tenant": "default"}, "basecast_manifest_directories": ["/one"], "__molecule_project": "/one",
        "basecast_settings": {"manifest": "m.yml", "molecule_inventory": list(NAMED)},
    }  # fmt: skip
    steps += told(102, [wanted], settings, "__molecule_wanted.inventory")
    sockets = {**task("create", "Write the machines to molecule's inventory")["vars"], "__molecule_folder": "/my cache/machines"}
    ways = {"__molecule_ways": {"content": "{}"}, "__molecule_made": MADE, "basecast_settings": {"molecule_through_hosts": True}}
    steps += told(103, [], {**sockets, **ways}, "source.compose")
    kept = "{{ dict(query('varnames', '^told') | zip(query('vars', *query('varnames', '^told')))) | to_json }}"
    steps.append({"ansible.builtin.copy": {"dest": "{{ playbook_dir }}/told", "content": kept}})
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": steps}]))
    command = ["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", "play.yml"]
    given = {**{name: value for name, value in os.environ.items() if "MOLECULE" not in name}, "MOLECULE_PROJECT_DIRECTORY": "/one"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=given)
    assert done.returncode == 0, done.stdout + done.stderr

    found = {int(name.removeprefix("told")): value for name, value in json.loads((tmp_path / "told").read_text()).items()}
    for number, (_file, name, _known, words) in enumerate(REFUSED):
        assert words in found[number] and bool(words) == bool(found[number]), (name, found[number])
    # Ansible splits the options, ssh fills in the percent signs, and a shell splits the command.
    option, value = shlex.split(found[100])
    assert option == "-o"
    command_line = value.removeprefix("ProxyCommand=").replace("%%", "\0").replace("%h", "10.0.0.9").replace("%p", "22").replace("\0", "%")
    assert shlex.split(command_line) == [
        "ssh", "-o", "BatchMode=yes", "-o", "ProxyCommand=nc %h 22", "-p", "2222", "-i", "/keys/my key", "-W", "[10.0.0.9]:22", "admin@192.0.2.11",
    ]  # fmt: skip
    assert found[101] == ""
    assert found[102] == list(NAMED.values())
    # Options are split at spaces, which molecule's directory may have.
    jinja = jinja2.Environment(autoescape=False)
    jinja.filters["hash"] = lambda text, kind: hashlib.new(kind, text.encode()).hexdigest()
    said = {name: jinja.compile_expression(text)(machine_host="kvm1", machine_name="web-7") for name, text in found[103].items()}
    assert set(shlex.split(said["ansible_ssh_common_args"])[::2]) == {"-o"} and re.fullmatch(
        r"%\(directory\)s/\w{12}", said["ansible_control_path"]
    )


@pytest.mark.parametrize("name", ["create", "destroy"])
def test_what_is_said_of_machines_is_not_done_on_the_controller(name: str) -> None:
    play = yaml.safe_load((TASKS.parents[2] / f"playbooks/molecule_{name}.yml").read_text())[0]
    told = {"ansible_become": False, "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    assert told.items() <= play["vars"].items()
