# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import shlex
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.next_steps import problems_of

ROOT = Path(__file__).resolve().parents[6]


def report(*machines: tuple[str, str, str, str], failures: t.Sequence[str] = (), manifest: str | None = "shop.yml") -> dict[str, t.Any]:
    told = [
        {"machine": name, "host": host, "state": state, "reason": reason, "disks": {"root": {"pool": "fast"}}}
        for name, host, state, reason in machines
    ]  # fmt: skip
    pools = {"fast": {"path": "/srv/fast pool"}}
    return {
        "service": "shop", "machines": told, "failures": list(failures), "manifest_file": manifest,
        "fleet": {host: {"pools": pools} for _name, host, _state, _reason in machines},
    }  # fmt: skip


def test_nothing_wrong_needs_no_step() -> None:
    assert problems_of(report(("a", "kvm1", "deployed", ""), ("b", "kvm1", "present", ""), ("c", "kvm1", "started", ""))) == []


def test_a_cause_is_told_once_with_all_its_machines() -> None:
    found = problems_of(report(("a", "kvm1", "failed", "x"), ("b", "kvm1", "failed", "x"), ("c", "kvm2", "failed", "x")))
    assert [(one["host"], one["machines"]) for one in found] == [("kvm1", ["a", "b"]), ("kvm2", ["c"])]


@pytest.mark.parametrize(
    ("state", "reason", "first"),
    [
        ("unreachable", "No route to host", "ansible -i INVENTORY kvm1 -m ansible.builtin.ping"),
        ("unknown", "libvirt does not answer", "ansible -i INVENTORY kvm1 -b -a 'virsh list --all'"),
        ("unfit", "kvm1: the package qemu-utils is missing", "ansible-playbook -i INVENTORY basecast.fleet.prepare --limit kvm1"),
        ("unfit", "kvm1: the pool is full", "ansible-playbook -i INVENTORY basecast.fleet.plan -e manifest=shop.yml"),
        ("outside", "the host is outside this run", "ansible-playbook -i INVENTORY basecast.fleet.deploy -e manifest=shop.yml"),
        ("unplaced", "memory binds", "ansible-playbook -i INVENTORY basecast.fleet.place -e manifest=shop.yml"),
        ("failed", "Make machines: the base disk did not arrive", "ansible -i INVENTORY kvm1 -m ansible.builtin.ping"),
        ("failed", "Start the node: Timed out after 5 second(s).", "ansible -i INVENTORY kvm1 -m ansible.builtin.ping"),
        ("failed", "The base did not arrive: compare (playbook basecast.fleet.verify)", "ansible-playbook -i INVENTORY basecast.fleet.verify"),
        ("failed", "The base did not arrive: kvm1 has no such base", "ansible-playbook -i INVENTORY basecast.fleet.verify"),
        ("failed", "its domain is invalid", "ansible-playbook -i INVENTORY basecast.fleet.deploy -e manifest=shop.yml"),
    ],
)  # fmt: skip
def test_the_first_step_fits_the_state(state: str, reason: str, first: str) -> None:
    (problem,) = problems_of(report(("a", "kvm1", state, reason)))
    assert problem["try"][0] == first


def test_a_silent_guest_has_a_console_to_read() -> None:
    (problem,) = problems_of(report(("web-1", "kvm1", "failed", "its guest has not reported")))
    command = shlex.split(problem["try"][0])
    assert command[:6] == ["ansible", "-i", "INVENTORY", "kvm1", "-b", "-a"]
    assert shlex.split(command[6]) == ["tail", "-n", "50", "/srv/fast pool/machines/shop/web-1/console.log"]


@pytest.mark.parametrize("name", ["; rm -rf /", "a'b", "$(id)", "a b"])
def test_names_are_quoted_for_the_shell(name: str) -> None:
    (problem,) = problems_of(report(("a", name, "unreachable", "x"), manifest=name))
    ping, again = (shlex.split(command) for command in problem["try"])
    assert ping[3] == name and again[-1] == f"manifest={name}"


def test_a_fault_of_the_whole_run_stands_first() -> None:
    found = problems_of(report(("a", "kvm1", "failed", "x"), failures=["Missing: a.", "bases[0]: no source"]))
    assert [one["cause"] for one in found] == ["bases[0]: no source", "x"]


def test_every_playbook_that_is_named_exists() -> None:
    states = ("unreachable", "unknown", "unfit", "outside", "unplaced", "failed")
    found = problems_of(report(*((f"m-{state}", "kvm1", state, "a package") for state in states), failures=["x"]))
    named = {name for one in found for command in one["try"] for name in re.findall(r"basecast\.fleet\.(\w+)", command)}
    assert named == {"plan", "place", "prepare", "deploy"}
    assert all((ROOT / "playbooks" / f"{name}.yml").exists() for name in named)
