# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service import host_answers
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.answer_checks import MAX_TEXT
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.host_answers import adopted, checked_answer, files_of_hosts

SHA, OTHER = "a" * 64, "b" * 64
BASE = {"sha256": SHA, "size_bytes": 1, "pool": "default"}
MACHINE = {"machine": "web-1", "tenant": "t", "service": "s"}
MOVING: dict[str, t.Any] = {
    "tenant": "default",
    "service": "shop",
    "machine": "web-1",
    "state": "off",
    "problems": [],
    "networks": [],
    "autostart": False,
    "group": "web",
    "number": 1,
    "cpus": 1,
    "memory_mib": 128,
    "domain_type": "kvm",
    "machine_type": None,
    "arch": None,
    "home": None,
    "dns": [{"network": "default", "address": "192.0.2.10", "names": ["shop-web-1"]}],
    "disks": [
        {"name": "root", "pool": "p", "path": "/p", "image_format": "raw", "allocated_bytes": 1, "size_bytes": 1, "base": None},
    ],
}
SERVICE: dict[str, t.Any] = {
    "tenant": "default",
    "service": "shop",
    "generation": 1,
    "assignments": {},
    "jobs": [],
    "bases": [{"name": "tiny", "version": 1.5, "sha256": "a" * 64}, {"name": "image", "sha256": None}],
}
GOOD: dict[str, dict[str, t.Any]] = {
    "captured": {"base": BASE, "disk": {"name": "root"}, "running": True, "quiesced": False, "actions": ["x"]},
    "grown": {"disks": [{"machine": "web-1", "name": "root", "path": "/x", "before_bytes": 1, "size_bytes": 2}]},
    "imported": {"base": BASE},
    "job": {"job": {"state": "done", "machines": [{"machine": "web-1", "report": {"addresses": ["10.0.0.1"]}}]}},
    "measured": {"links": [{"from": "kvm1", "to": "kvm2", "mbps": 900.5, "age_s": 0.0}], "cpus": 4, "load_1m": 0.1},
    "mended": {"actions": ["remove x"]},
    "migration": {"migration": {"machines": [MOVING], "others": [], "services": [SERVICE], "journal": [], "arch": "x86_64", "cpu": ""}},
    "moved": {
        "machines": [
            {**MACHINE, "state": "moved", "problem": None, "disks": ["root"], "bases": [], "bytes": 5242880, "seconds": 1.2},
            {**MACHINE, "state": "prepared", "place": {"home": "/pool/machines/s/web-1"}, "problem": None},
        ],
        "port": 47700,
    },
    "node": {"node": {"host": "kvm1", "address": "10.0.0.1", "port": 47700, "bases": {}}},
    "prune": {"prune": {"unknown": [], "pools": {}}},
    "pruned": {"prune": {"format": 1, "results": [{"pool": "default", "what": SHA, "state": "removed", "bytes": 5}], "changed": True}},
    "removal": {"removal": {"machines": [{"machine": "web-1", "group": "web", "number": 1, "problem": None}], "record": "updated"}},
    "stopped": {
        "machines": [{"machine": "web-1", "running": False, "actions": ["stopped"], "problem": None, "console_tail": ["x"]}],
        "failure": {"kind": "machines_failed", "machines": [{"machine": "web-2", "running": True, "problem": "runs still"}]},
    },
    "upkeep": {
        "faults": [
            {"kind": "record", "pool": "p", "place": "/p", "found": "x", "repair": "y", "mends": True, "is_wrong": True, "mended": False}
        ]
    },
    "verified": {"pools": {"default": {"path": "/p", "bases": [BASE], "damaged": []}}},
}


@pytest.mark.parametrize("kind", host_answers.KINDS)
def test_an_honest_answer_comes_as_it_is(kind: str) -> None:
    answer = {"changed": True, **GOOD[kind]}
    assert checked_answer({**answer, "invocation": {"x": "y" * 100_000}}, kind, "kvm1") == answer


def _nested(depth: int) -> t.Any:
    value: t.Any = 1
    for _level in range(depth):
        value = [value]
    return value


BAD: list[tuple[str, t.Any]] = [
    *((kind, [1]) for kind in host_answers.KINDS),
    *((kind, {**GOOD[kind], "more": _nested(100_000)}) for kind in host_answers.KINDS),
    *((kind, {**GOOD[kind], "more": "x" * (MAX_TEXT + 1)}) for kind in host_answers.KINDS),
    ("imported", {"base": {**BASE, "sha256": "../../etc"}}),
    ("imported", {"base": {**BASE, "size_bytes": -1}}),
    ("imported", {"base": {**BASE, "pool": ["default"]}}),
    ("imported", {"base": {**BASE, "parent": "{{ x }}"}}),
    ("imported", {"base": "yes"}),
    ("captured", {"base": {"sha256": SHA}}),
    ("captured", {"base": BASE, "actions": "many"}),
    ("node", {"node": {"host": "kvm2", "address": "10.0.0.1", "port": 1}}),
    ("node", {"node": {"host": "kvm1", "address": {"a": 1}, "port": 1}}),
    ("node", {"node": {"host": "kvm1", "address": "10.0.0.1", "port": 65536}}),
    ("node", {"node": {"host": "kvm1", "address": "10.0.0.1", "port": "22"}}),
    ("node", {"node": {"host": "kvm1", "bases": [SHA]}}),
    ("measured", {"links": [{"from": "kvm2", "to": "kvm1", "mbps": 1.0}]}),
    ("measured", {"links": [{"from": "kvm1", "mbps": 1.0}]}),
    ("measured", {"links": [{"from": "kvm1", "to": "kvm2", "mbps": -5}]}),
    ("measured", {"links": [{"from": "kvm1", "to": "kvm2", "mbps": float("inf")}]}),
    ("measured", {"cpus": -1}),
    ("removal", {"removal": {"machines": [{"machine": 5}]}}),
    ("removal", {"removal": {}}),
    ("migration", {"migration": {"machines": [{"machine": "web-1"}], "others": [], "services": [], "journal": []}}),
    ("migration", {"migration": {"machines": [], "others": "no", "services": [], "journal": []}}),
    ("migration", {"migration": {"machines": [], "others": [], "services": [{**SERVICE, "bases": 5}], "journal": [], "cpu": ""}}),
    ("migration", {"migration": {"machines": [], "others": [], "services": [{**SERVICE, "jobs": None}], "journal": [], "cpu": ""}}),
    ("migration", {"migration": {"machines": [], "others": [], "services": [], "journal": []}}),
    ("moved", {"machines": [{**MACHINE, "problem": {"a": 1}}]}),
    ("moved", {"machines": [], "port": 0}),
    ("job", {"job": {"machines": [{"report": {"addresses": [["10.0.0.1"]]}}]}}),
    ("grown", {"disks": [{"size_bytes": "x"}]}),
    ("grown", {}),
    ("stopped", {"machines": [{"machine": "web-1", "running": "no"}]}),
    ("stopped", {"failure": {"machines": [{"machine": ["web-1"]}]}}),
    ("verified", {"pools": [1]}),
    ("verified", {"pools": {"default": {"damaged": [{}]}}}),
    ("mended", {"actions": [{}]}),
    ("prune", {"prune": {"pools": 5}}),
    ("pruned", {"prune": {"results": [5]}}),
    ("pruned", {"prune": {"results": [{"bytes": -1}]}}),
]


@pytest.mark.parametrize(("kind", "answer"), BAD)
def test_a_false_answer_is_an_error_with_its_place(kind: str, answer: t.Any) -> None:
    with pytest.raises(Malformed, match="what kvm1 tells"):
        checked_answer(answer, kind, "kvm1")


def test_what_may_be_null_and_is_left_out_is_told() -> None:
    with pytest.raises(Malformed, match=r"cpu: missing; expected it, or null"):
        checked_answer({"migration": {"machines": [], "others": [], "services": [], "journal": []}}, "migration", "kvm1")


def look(name: str, on: str) -> dict[str, t.Any]:
    return {"name": name, "look": {"on": on}}


@pytest.mark.parametrize(
    "told",
    [
        {"debian": {"isreg": True, "size": 1}, "alpine": {"isreg": False, "problem": "gone"}},
        {"alpine": {"isreg": False}},
        {"debian": {"isreg": "maybe"}},
        {"debian": [1]},
        [1],
        "x",
        {"debian": {"size": -1}},
        _nested(10_000),
    ],
)
def test_a_host_tells_of_its_own_base_only(told: t.Any) -> None:
    honest = {"item": look("alpine", "kvm2"), "sources": {"alpine": {"isreg": True, "size": 7}}}
    false = {"item": look("debian", "kvm1"), "sources": told}
    for results in ([honest, false], [false, honest]):
        found = files_of_hosts(results)
        assert found["alpine"] == {"isreg": True, "size": 7}
        assert found["debian"]["problem"].startswith("what kvm1 tells")


def test_results_without_an_answer_say_nothing() -> None:
    assert files_of_hosts([{"item": look("debian", "kvm1"), "skipped": True}, {"item": look("a", "b"), "failed": True}]) == {}


def test_only_what_was_asked_for_is_adopted() -> None:
    item = {"title": "debian 13", "path": "/srv/x", "sha256": SHA}
    results = [
        {"item": item, "base": BASE},
        {"item": item, "base": {**BASE, "sha256": OTHER}},
        {"item": item, "base": None},
        {"item": item, "base": {"sha256": 5}},
        {"item": item, "failed": True, "msg": "No.\x1b[2J"},
        {"item": item, "skipped": True},
    ]
    found = adopted(results, "kvm1")
    assert found["bases"] == [BASE]
    assert len(found["notes"]) == 5 and "was not asked for" in found["notes"][0]
    assert "\x1b" not in "".join(found["notes"])


# --- no answer goes around the doors ---------------------------------------------------------------

CHECKOUT = pathlib.Path(__file__).parents[6]
# What each result of Ansible has, and what is only compared or shown.
PLAIN = {"msg", "changed", "failed", "skipped", "results", "rc", "stat"}
DOORS = ("host_answer", "host_observation", "adopted_bases", "source_files")
# By register, who checks it: filters that take the answer whole.
CHECKED_LATER = {
    "__prune_step": "host_answer",
    "__provision_step": "deploy_report",
    "__provision_collected": "deploy_report",
    "__clone_step": "clone_report",
    "__update_step": "update_report",
    "__relay_seen": "relay_progress runs on the controller",
    "basecast_status_look": "fleet_status",
    "__plan_files_of_controller": "the controller's own",
    "__plan_saved_file": "the controller's own",
    "__survey_file": "the controller's own",
    "__status_hosts_place": "the controller's own",
    "__status_hosts_file": "the controller's own",
    "__status_hosts_text": "the controller's own",
    "__status_hosts_written": "the controller's own",
    "__migrate_certificates": "the controller's own",
    "basecast_certificates": "the controller's own",
    "basecast_settings": "the controller's own",
    "__stop_found": "names that are no names of runs are left out",
    "__survey_marked": "given back to the host that told it",
    "__survey_looked": "shared_storage",
    "__plan_claimed_first": "claimed and refused are compared and cleaned",
    "__scale_first_step": "refused is compared and cleaned",
    "__molecule_file": "the controller's own",
    "__molecule_text": "the controller's own",
    "__molecule_before": "fleet_status, in the playbook that wrote the file",
    "__molecule_ways": "the controller's own",
    "__molecule_run": "what ansible-playbook printed on the controller; show_lines cleans it once more",
    "__import_base_place": "given back to the host that told it",
}


def test_every_answer_of_a_host_passes_a_door() -> None:
    around = []
    files = [*CHECKOUT.glob("roles/*/tasks/*.yml"), *CHECKOUT.glob("playbooks/**/*.yml")]
    assert len(files) > 80
    for path in files:
        text = path.read_text()
        for name in re.findall(r"register: (\w+)", text):
            if name in CHECKED_LATER or name.startswith("__kvm_host"):
                continue
            for line in text.splitlines():
                used = set(re.findall(rf"\b{name}\.(\w+)", line)) - PLAIN
                if used and not any(door in line for door in DOORS):
                    around.append(f"{path.relative_to(CHECKOUT)}: {name}.{', '.join(sorted(used))}")
    assert around == []


# What hosts, guests and servers wrote, where YAML makes a message of it.
FOREIGN = re.compile(r"(\w+\.msg\b|ansible_failed_result\b|attribute='(damage|problem|error)'|\b(silent|wrong|__report_lost)\b \|)")


def test_text_of_hosts_is_cleaned_before_it_is_shown() -> None:
    raw = []
    for path in [*CHECKOUT.glob("roles/*/tasks/*.yml"), *CHECKOUT.glob("playbooks/**/*.yml")]:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for template in re.findall(r"\{\{.*?\}\}(?!\})", line) or ([line] if ".msg" in line and "}}" in line else []):
                counted = "length" in template and "msg" not in template
                if FOREIGN.search(template) and "basecast.fleet.shown" not in template and not counted:
                    raw.append(f"{path.relative_to(CHECKOUT)}:{number}: {template}")
    assert raw == []
