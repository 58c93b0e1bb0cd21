# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""extensions/awx: what its data name exists, and what its surveys ask for is what the playbooks take."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.basecast.fleet.plugins.plugin_utils import _settings

ROOT = Path(__file__).resolve().parents[4]
AWX = ROOT / "extensions/awx"


class Loader(yaml.SafeLoader):
    """Ansible's tag, too: a text with braces that are AWX's to fill in."""


class Unsafe(str):
    __slots__ = ()


Loader.add_constructor("!unsafe", lambda loader, node: Unsafe(loader.construct_scalar(node)))


def read(path: Path) -> t.Any:
    return yaml.load(path.read_text(), Loader)


CONFIGS: dict[str, t.Any] = {}
for _file in sorted((AWX / "configs").glob("*.yml")):
    CONFIGS |= read(_file)
TEMPLATES = {one["name"]: one for one in CONFIGS["controller_templates"]}
WORKFLOWS = {one["name"]: one for one in CONFIGS["controller_workflows"]}
SCHEDULES = {one["name"]: one for one in CONFIGS["controller_schedules"]}
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
QUESTIONS = [
    pytest.param(name, question, id=f"{name}: {question['variable']}")
    for name, one in {**TEMPLATES, **WORKFLOWS}.items()
    for question in one["survey_spec"]["spec"]
]


def playbook_of(template: str) -> Path:
    (play,) = read(AWX / "project" / TEMPLATES[template]["playbook"])
    return ROOT / "playbooks" / f"{play['ansible.builtin.import_playbook'].removeprefix('basecast.fleet.')}.yml"


def options_of(template: str) -> dict[str, t.Any]:
    """The settings, and what the roles take that the playbook names itself."""
    if template in WORKFLOWS:
        return {k: v for node in jobs(WORKFLOWS[template]) for k, v in options_of(node).items()}
    text = playbook_of(template).read_text()
    # Parts of plays that a playbook imports.
    text += "".join((ROOT / "playbooks" / name).read_text() for name in re.findall(r"import_playbook: (parts/\S+)", text))
    named = {role for role in ROLES if f"basecast.fleet.{role}," in text}
    return {name: option for role in sorted(named | {"settings"}) for name, option in _settings.options_of(role).items()}


def asked(template: str) -> dict[str, t.Any]:
    return {question["variable"]: question for question in TEMPLATES[template]["survey_spec"]["spec"]}


def jobs(workflow: dict[str, t.Any]) -> list[str]:
    return [node["unified_job_template"] for node in workflow["simplified_workflow_nodes"] if "approval_node" not in node]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_playbook_of_a_template_exists(name: str) -> None:
    assert playbook_of(name).exists()
    assert TEMPLATES[name]["job_slice_count"] == 1, "a slice is refused by every playbook"
    assert TEMPLATES[name]["survey_enabled"]


def test_every_playbook_of_the_project_has_a_template() -> None:
    assert {one["playbook"] for one in TEMPLATES.values()} == {path.name for path in (AWX / "project").glob("*.yml")}


@pytest.mark.parametrize(("name", "question"), QUESTIONS)
def test_what_a_survey_asks_for_is_an_option(name: str, question: dict[str, t.Any]) -> None:
    option = options_of(name)[question["variable"]]
    kind = option["type"]
    assert question["type"] in {"bool": ("multiplechoice",), "int": ("integer",)}.get(kind, ("text", "integer", "multiplechoice"))
    if option.get("choices"):
        assert question["type"] == "multiplechoice"
        assert set(question["choices"]) == set(option["choices"])
    answers = [str(one) for one in (*question.get("choices", ()), question.get("default", "")) if one != ""]
    # AWX hands answers on as strings; the role settings makes of them what the option wants.
    for answer in answers if kind != "raw" else ():
        assert _settings.convert(answer, option) == yaml.safe_load(answer)
    if question["type"] == "integer":
        assert question["min"] <= question.get("default", question["min"]) <= question["max"]
        assert kind in ("int", "float", "raw")


@pytest.mark.parametrize(("name", "question"), QUESTIONS)
def test_the_default_of_a_question_is_that_of_the_option(name: str, question: dict[str, t.Any]) -> None:
    default = options_of(name)[question["variable"]].get("default")
    if default is not None and "default" in question:
        assert yaml.safe_load(str(question["default"])) == default


@pytest.mark.parametrize(("name", "question"), QUESTIONS)
def test_a_question_has_what_awx_wants(name: str, question: dict[str, t.Any]) -> None:
    assert {"variable", "question_name", "question_description", "type", "required"} <= set(question)
    assert set(question) <= {"variable", "question_name", "question_description", "type", "required", "default", "min", "max", "choices"}
    # An empty answer would be given and empty, which the playbooks refuse.
    assert question["required"]
    assert (question["type"] == "multiplechoice") == ("choices" in question)
    assert question.get("default") in (None, *question["choices"]) if "choices" in question else True


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_nodes_of_a_workflow_exist_and_are_reached(name: str) -> None:
    nodes = {node["identifier"]: node for node in WORKFLOWS[name]["simplified_workflow_nodes"]}
    assert len(nodes) == len(WORKFLOWS[name]["simplified_workflow_nodes"])
    assert set(jobs(WORKFLOWS[name])) <= set(TEMPLATES)
    followers = {
        key: [to for kind in ("success", "failure", "always") for to in node.get(f"{kind}_nodes", [])] for key, node in nodes.items()
    }
    reached, waiting = set[str](), [next(iter(nodes))]
    while waiting:
        now = waiting.pop()
        reached.add(now)
        waiting += followers[now]
    assert reached == set(nodes)
    # Nothing is deployed that was not approved.
    assert [key for key, after in followers.items() if "deploy" in after] == ["approve"]
    assert nodes["approve"]["approval_node"]["timeout"] > 0


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_asks_for_what_its_jobs_need(name: str) -> None:
    given = {question["variable"] for question in WORKFLOWS[name]["survey_spec"]["spec"]}
    for template in jobs(WORKFLOWS[name]):
        needed = {key for key, question in asked(template).items() if "default" not in question}
        assert needed <= given
    # A job takes the variables that its own survey asks for, and AWX drops the others.
    assert given <= {key for template in jobs(WORKFLOWS[name]) for key in asked(template)}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_answers_its_templates_questions(name: str) -> None:
    schedule = SCHEDULES[name]
    questions = asked(schedule["unified_job_template"])
    assert set(schedule["extra_data"]) == set(questions)
    for key, value in schedule["extra_data"].items():
        assert value in questions[key].get("choices", [value])
    assert re.fullmatch(r"DTSTART:\d{8}T\d{6}Z RRULE:FREQ=(DAILY|WEEKLY);INTERVAL=1(;BYDAY=[A-Z]{2})?", schedule["rrule"])


def texts(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str) and not isinstance(value, Unsafe):
        yield value


def test_names_that_the_data_use_are_defined_once() -> None:
    used = {name for text in texts(CONFIGS) for name in re.findall(r"{{ *(\w+) *}}", text)}
    assert used == set(read(AWX / "configs/names.yml"))
    things = (AWX / "configs/things.yml").read_text()
    for template in TEMPLATES.values():
        for key in ("project", "inventory", "execution_environment"):
            assert f'name: "{template[key]}"' in things


def test_credentials_become_variables_that_the_roles_know() -> None:
    for kind in CONFIGS["controller_credential_types"]:
        fields = {field["id"]: field for field in kind["inputs"]["fields"]}
        assert set(kind["inputs"]["required"]) <= set(fields)
        injected = kind["injectors"]["extra_vars"]
        assert set(injected) <= _settings.known_names()
        (entry,) = injected["basecast_source_auth"]
        assert all(isinstance(text, Unsafe) and text == f"{{{{ {key} }}}}" for key, text in entry.items())
        assert set(entry) == set(fields)
        assert [key for key, field in fields.items() if field.get("secret")] == [next(iter(set(fields) & {"password", "token"}))]


def test_the_environment_installs_what_the_project_needs() -> None:
    environment = read(AWX / "execution-environment.yml")
    assert (AWX / environment["dependencies"]["galaxy"]).exists()
    least = re.search(r"requires_ansible: \">=([\d.]+)\.0\"", (ROOT / "meta/runtime.yml").read_text())
    assert least
    assert environment["dependencies"]["ansible_core"]["package_pip"].startswith(f"ansible-core>={least[1]}")
