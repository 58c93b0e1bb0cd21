# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages of ansible-doc: they are complete, and their examples run on lab hosts as they are written.

All examples run in one playbook, a play for each page. Before it, kvm1 (and only it) holds the base disk debian-12, and
basecast.fleet.plan has written plan.json, run.html and run.json for examples/files/shop.yml. In make test-all each task that calls one
of this collection's modules, except those that only ask, is followed by the same task once more, which must not change anything.

A page may have a file examples/PLUGIN.yml with the keys ``hosts`` (default: kvm1 for modules, the controller for filters),
``vars``, ``environment``, ``before`` and ``after`` (tasks), and with reasons by the task's name ``changes_again`` (the
second call changes something too) and ``cannot_run``, and ``changes_nothing`` with the reason why no example does.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import jinja2
import pytest
import yaml
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.relay.request import OPTIONS
from ansible_collections.basecast.fleet.tests.lab import Lab, images
from jinja2 import nodes

HERE = Path(__file__).parent / "examples"
CHECKOUT = Path(__file__).parents[2]
POOL = "/var/lib/libvirt/images"
OWN = "basecast.fleet."
AGAIN = " (again)"
TWICE = bool(os.environ.get("BASECAST_THOROUGH"))

PAGES = [
    (kind, file.stem)
    for kind, folder in (("module", "modules"), ("filter", "filter"), ("inventory", "inventory"), ("lookup", "lookup"))
    for file in sorted((CHECKOUT / "plugins" / folder).glob("[!_]*.py"))
]
NAMES = [f"{kind} {name}" for kind, name in PAGES]
WITH_TASKS = [(kind, name) for kind, name in PAGES if kind != "inventory"]
WITH_TASKS_NAMES = [f"{kind} {name}" for kind, name in WITH_TASKS]
INVENTORIES = [name for kind, name in PAGES if kind == "inventory"]
ENVIRONMENT = {"ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}

# What every play has, besides the host variables of docs/deploy.md.
MAGIC = {"ansible_play_hosts_all", "groups", "hostvars", "inventory_hostname", "playbook_dir"}
HOST_VARIABLES = set(re.findall(r"`(basecast_\w+)`", (CHECKOUT / "docs" / "deploy.md").read_text()))
JINJA_FUNCTIONS = {"dict", "lookup", "now", "omit", "query", "range", "item", "true", "false", "none"}
CONDITIONS = ("when", "that", "failed_when", "changed_when", "until")

# Options that come from Ansible's own fragments, as they are.
ANSIBLES_OWN = {"cache_prefix"}

Task = dict[str, t.Any]
NOTHING: Task = {"name": "Nothing is to be done", "ansible.builtin.meta": "noop"}


class Results(t.NamedTuple):
    """What became of each task, by page, and what ansible-playbook wrote."""

    pages: dict[str, list[dict[str, t.Any]]]
    output: str


def is_own(task: Task) -> str | None:
    return next((key.removeprefix(OWN) for key in task if key.startswith(OWN)), None)


def fixture_of(name: str) -> dict[str, t.Any]:
    file = HERE / f"{name}.yml"
    return (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}


@pytest.fixture(scope="module")
def docs() -> dict[tuple[str, str], dict[str, t.Any]]:
    """Every page as ansible-doc tells it, in the one call by which antsibull-docs makes its pages too."""
    done = subprocess.run(
        [str(CHECKOUT / ".venv/bin/ansible-doc"), "--json", "--metadata-dump", "--no-fail-on-errors", "basecast.fleet"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=ENVIRONMENT,
    )
    told = json.loads(done.stdout)["all"]
    return {(kind, name): told.get(kind, {}).get(OWN + name, {"error": "ansible-doc does not know it"}) for kind, name in PAGES}


def tasks_of(page: dict[str, t.Any]) -> list[Task]:
    assert page.get("examples"), "the page has no examples"
    tasks = yaml.safe_load(page["examples"])
    assert isinstance(tasks, list), "examples are a list of tasks"
    return tasks


def play_of(kind: str, name: str, page: dict[str, t.Any]) -> dict[str, t.Any]:
    fixture = fixture_of(name)
    tasks: list[Task] = []
    for task in tasks_of(page):
        if task["name"] in fixture.get("cannot_run", {}):
            continue
        tasks.append(task)
        if TWICE and not (is_own(task) or "_info").endswith("_info"):
            again = copy.deepcopy(task) | {"name": task["name"] + AGAIN}
            again.pop("register", None)
            # What a condition says of the first result is said of the second one as well.
            if "register" in task:
                again["register"] = f"{task['register']}_again"
                for key in set(CONDITIONS) & set(again):
                    again[key] = re.sub(rf"\b{task['register']}\b", again["register"], str(again[key]))
            tasks.append(again)
    default = "kvm1" if kind == "module" else f"page_{name}"
    return {
        "name": f"{kind} {name}",
        "hosts": fixture.get("hosts", default),
        "gather_facts": False,
        "vars": fixture.get("vars", {}),
        "environment": fixture.get("environment", {}),
        # A failed page is told by its results; the next ones are to run all the same.
        "tasks": [
            {
                "name": "Examples",
                "block": [*fixture.get("before", []), *tasks] or [NOTHING],
                "rescue": [{"name": "The examples failed", "ansible.builtin.meta": "noop"}],
                "always": fixture.get("after", []) or [NOTHING],
            }
        ],
    }


PRELUDE: list[Task] = [
    {
        "name": "Image",
        "ansible.builtin.shell": f"mkdir -p {POOL}/images /srv/pools/fast && cp /srv/given/debian-12.qcow2 {POOL}/images/",
        "when": "inventory_hostname == 'kvm1'",
    },
    {
        "name": "Base disk",
        "basecast.fleet.base_disk_import": {
            "pools": "{{ basecast_pools }}",
            "src": "images/debian-12.qcow2",
            "name": "debian-12",
            "version": "20261101",
        },
        "when": "inventory_hostname == 'kvm1'",
    },
]


@pytest.fixture(scope="module")
def results(
    lab_factory: t.Callable[..., Lab], docs: dict[tuple[str, str], dict[str, t.Any]], tmp_path_factory: pytest.TempPathFactory
) -> Results:
    folder = tmp_path_factory.mktemp("examples")
    shutil.copytree(HERE / "files", folder, dirs_exist_ok=True)
    lab = lab_factory(hosts=2, libvirt=True, pools={"default": "dir", "fast": "dir"})
    for name, version in (("debian-12", "v1"), ("debian-13", "v2")):
        image = images.tiny(version=version)
        (folder / f"{name}.sha256").write_text(hashlib.sha256(image.read_bytes()).hexdigest())
        for host in lab.hosts.values():
            host.put(image, f"/srv/given/{name}.qcow2")
    plan = {"manifest": str(folder / "shop.yml"), "basecast_fleet": "lab", "basecast_plan_file": str(folder / "plan.json")}
    plan["basecast_report_file"] = str(folder / "run.html")
    plays = [
        {"name": "Prelude", "hosts": "lab", "gather_facts": False, "tasks": PRELUDE},
        {"name": "Plan", "import_playbook": "basecast.fleet.plan", "vars": plan},
        *(play_of(*page, docs[page]) for page in WITH_TASKS if docs[page].get("examples")),
    ]
    (folder / "examples.yml").write_text(yaml.safe_dump(plays, sort_keys=False, allow_unicode=True))
    # Hosts of their own, for facts that one page sets must not be seen by another.
    pages = {f"page_{name}": {"ansible_connection": "local"} for kind, name in WITH_TASKS if kind != "module"}
    (folder / "pages.json").write_text(json.dumps({"pages": {"hosts": pages}}))
    lines = folder / "results.jsonl"
    done = lab.playbook(
        ["-i", lab.inventory, "-i", folder / "pages.json", folder / "examples.yml"],
        extra_env={
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "example_results",
            "EXAMPLE_RESULTS": str(lines),
        },
        timeout=400,
    )
    found: dict[str, list[dict[str, t.Any]]] = {}
    for line in lines.read_text().splitlines() if lines.exists() else []:
        told = json.loads(line)
        found.setdefault(told["play"], []).append(told)
    return Results(found, done.stdout + done.stderr)


@pytest.mark.timeout(450)
@pytest.mark.parametrize(("kind", "name"), WITH_TASKS, ids=WITH_TASKS_NAMES)
def test_the_examples_run_as_they_are_written(
    kind: str, name: str, docs: dict[tuple[str, str], dict[str, t.Any]], results: Results
) -> None:
    tasks = tasks_of(docs[kind, name])
    fixture = fixture_of(name)
    told = results.pages.get(f"{kind} {name}", [])
    assert told, results.output[-5000:]
    assert [f"{r['host']}: {r['task']}: {r['msg']}" for r in told if r["state"] not in ("ok", "skipped")] == []
    ran = {r["task"] for r in told if r["state"] == "ok"}
    reasons = fixture.get("cannot_run", {})
    assert [task["name"] for task in tasks if task["name"] not in ran and task["name"] not in reasons] == [], "not run"
    assert any(is_own(task) == name or f"{OWN}{name}" in json.dumps(task) for task in tasks), "no example uses it"
    if kind == "module" and not name.endswith("_info"):
        own = {task["name"] for task in tasks if is_own(task) == name}
        changed = any(r["changed"] for r in told if r["task"] in own)
        assert changed != ("changes_nothing" in fixture), "whether the first call changes something"
    again = {r["task"].removesuffix(AGAIN) for r in told if r["task"].endswith(AGAIN) and r["changed"]}
    assert not TWICE or again == set(fixture.get("changes_again", {})), "the second call changed something"


@pytest.mark.parametrize("name", INVENTORIES)
def test_the_inventories_of_the_examples_can_be_read(name: str, docs: dict[tuple[str, str], dict[str, t.Any]], tmp_path: Path) -> None:
    """Each document of the examples is an inventory; what it adds to the hosts kvm1 to kvm3 is seen in groups."""
    shutil.copytree(HERE / "files", tmp_path, dirs_exist_ok=True)
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {f"kvm{n}": {} for n in (1, 2, 3)}}}))
    examples = docs["inventory", name].get("examples", "")
    assert examples.strip(), "the page has no examples"
    # Those that name an inventory ask its hosts, which test_status.py has.
    for document in (one for one in re.split(r"(?m)^---$", examples) if "\ninventory:" not in one):
        (tmp_path / f"fleet.{name}.yml").write_text(document)
        done = subprocess.run(
            [CHECKOUT / ".venv/bin/ansible-inventory", "-i", "hosts.yml", "-i", f"fleet.{name}.yml", "--list"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env=ENVIRONMENT,
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        groups = {key: group.get("hosts", []) for key, group in json.loads(done.stdout).items() if key not in ("_meta", "all", "ungrouped")}
        assert set().union(*groups.values()) & {"kvm1", "kvm2", "kvm3", "shop-web-1"}, groups


@pytest.mark.parametrize(("kind", "name"), WITH_TASKS, ids=WITH_TASKS_NAMES)
def test_the_examples_define_what_they_use(kind: str, name: str, docs: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    """Nobody has to guess where a variable of an example comes from."""
    defined = MAGIC | HOST_VARIABLES | JINJA_FUNCTIONS | set(fixture_of(name).get("vars", {}))
    missing: list[str] = []
    for task in tasks_of(docs[kind, name]):
        own = set(task.get("vars", {})) | set(task.get("ansible.builtin.set_fact", {}))
        result = {task["register"]} if "register" in task else set()
        # A condition on the result comes after the task, everything else before it.
        missing += [f"{task['name']}: {used}" for used in used_by(task) if used not in defined | own | result]
        defined |= result | set(task.get("ansible.builtin.set_fact", {}))
    assert missing == []


def used_by(value: t.Any, key: str = "") -> t.Iterator[str]:
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from used_by(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from used_by(item, key)
    elif isinstance(value, str) and (key in CONDITIONS or "{{" in value):
        tree = jinja2.Environment().parse(value if "{{" in value else "{{ " + value + " }}")
        stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
        yield from {node.name for node in tree.find_all(nodes.Name) if node.ctx == "load"} - stored


@pytest.mark.parametrize(("kind", "name"), PAGES, ids=NAMES)
def test_the_page_is_complete(kind: str, name: str, docs: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    page = docs[kind, name]
    assert "error" not in page, page["error"]
    doc = page["doc"]
    assert doc["short_description"] and doc["description"] and doc["version_added"] and doc["author"]
    options = {key: option for key, option in doc.get("options", {}).items() if key not in ANSIBLES_OWN}
    mistakes = [*incomplete(options, "suboptions")]
    if kind in ("module", "filter", "lookup"):
        assert page["return"], "the page does not tell what is returned"
        mistakes += incomplete(page["return"], "contains", samples=True)
        if kind == "module":
            mistakes += [f"{key}: when is it returned?" for key, value in page["return"].items() if not value.get("returned")]
    assert mistakes == []


def incomplete(entries: dict[str, t.Any], below: str, at: str = "", samples: bool = False) -> t.Iterator[str]:
    """:param samples: values need samples, unless an entry above or all entries below have one"""
    for key, entry in entries.items():
        place = f"{at}{key}"
        for wanted in ("description", "type"):
            if not entry.get(wanted):
                yield f"{place}: no {wanted}"
        if entry.get("type") == "list" and not entry.get("elements"):
            yield f"{place}: a list of what?"
        if samples and "sample" not in entry and not entry.get(below):
            yield f"{place}: no sample"
        if entry.get(below):
            yield from incomplete(entry[below], below, f"{place}.", samples and "sample" not in entry)


@pytest.mark.parametrize("name", [name for kind, name in PAGES if kind == "filter"])
def test_the_options_of_a_filter_are_its_parameters(name: str, docs: dict[tuple[str, str], dict[str, t.Any]]) -> None:
    """Ansible does not compare them. Some filters are thin covers of a function of the same name."""
    module = importlib.import_module(f"ansible_collections.basecast.fleet.plugins.filter.{name}")
    function = module.FilterModule().filters()[name]
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
        function = getattr(module, name)
    _given, *parameters = inspect.signature(function).parameters.values()
    # Options by keyword only stand in a table, beside the function or shared by two filters; the documentation says the defaults.
    by_keyword = getattr(inspect.unwrap(function).__globals__.get("Options"), "__annotations__", OPTIONS)
    shared = by_keyword if any(p.kind is p.VAR_KEYWORD for p in parameters) else {}
    parameters = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    options = {key: option for key, option in docs["filter", name]["doc"]["options"].items() if key != "_input"}
    assert {*shared, *(p.name for p in parameters)} == set(options)
    for p in parameters:
        option = options[p.name]
        assert bool(option.get("required")) == (p.default is p.empty), p.name
        # None means that a function further below knows the default.
        assert p.default in (p.empty, None, option.get("default")), p.name
    positional = docs["filter", name]["doc"].get("positional", [])
    positional = positional.split(", ") if isinstance(positional, str) else positional
    assert positional == [p.name for p in parameters][: len(positional)]


@pytest.mark.parametrize("kind", sorted({kind for kind, _name in PAGES}))
def test_ansible_doc_shows_every_page(kind: str) -> None:
    """As a user calls it; unlike the call above this one fails on errors."""
    names = [OWN + name for of, name in PAGES if of == kind]
    for options in (["--json"], []):
        done = subprocess.run(
            [str(CHECKOUT / ".venv/bin/ansible-doc"), "-t", kind, *options, *names],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=ENVIRONMENT,
        )
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr, done.stderr
        assert all(name in done.stdout for name in names)
