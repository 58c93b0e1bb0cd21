# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Habits of the code that no linter knows: exceptions have reasons, and figures that were reached stay."""

from __future__ import annotations

import ast
import re
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
# The greatest number of lines of a file of the relay's, and of the modules that talk to it.
MOST_LINES = 600
# Percent of parameters that are annotated with Any: what was reached, never more.
MOST_ANY = {"plugin_utils/_plan": 9.9, "filter": 5.0}
# Functions of the planner and of modules with more than seven parameters, and the most of them.
MOST_OVER_SEVEN, MOST_PARAMETERS = 5, 9


def sources(folder: str = "") -> Iterator[tuple[str, str]]:
    for path in sorted((PLUGINS / folder).rglob("*.py")):
        yield str(path.relative_to(PLUGINS)), path.read_text()


def functions(folder: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, source in sources(folder):
        for found in ast.walk(ast.parse(source)):
            if isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield name, found


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    given = function.args
    more = [arg for arg in (given.vararg, given.kwarg) if arg is not None]
    return [arg for arg in [*given.posonlyargs, *given.args, *given.kwonlyargs, *more] if arg.arg not in ("self", "cls")]


def unreasoned(source: str) -> list[str]:
    """Lines that switch a rule off, or catch everything, and do not say why."""
    lines = source.splitlines()
    silent = [line for line in lines if "# noqa" in line and not re.search(r"# noqa: [A-Z0-9, ]+ - \S", line)]
    return silent + [line for line in lines if re.search(r"except (BaseException|:)", line) and not re.search(r":\s+# \S", line)]


def test_what_switches_a_rule_off_says_why() -> None:
    assert not {name: lines for name, source in sources() if (lines := unreasoned(source))}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("x = y  # noqa: B008", True),
        ("x = y  # noqa", True),
        ("x = y  # noqa: B008 - immutable", False),
        ("except BaseException:", True),
        ("except BaseException as error:", True),
        ("except BaseException:  # the lock must not stay", False),
        ("except OSError:", False),
    ],
)
def test_an_exception_without_a_reason_is_found(line: str, found: bool) -> None:
    assert bool(unreasoned(line)) is found


@pytest.mark.parametrize("folder", ["module_utils/_relay", "modules"])
def test_files_of_the_relay_stay_small(folder: str) -> None:
    long = {name: source.count("\n") for name, source in sources(folder) if folder != "modules" or "/relay_" in name}
    assert not {name: lines for name, lines in long.items() if lines > MOST_LINES}


@pytest.mark.parametrize("folder", sorted(MOST_ANY))
def test_parameters_have_types(folder: str) -> None:
    annotations = [ast.unparse(arg.annotation) for _name, one in functions(folder) for arg in parameters(one) if arg.annotation]
    vague = [text for text in annotations if re.search(r"\bAny\b", text)]
    assert 100 * len(vague) / len(annotations) <= MOST_ANY[folder]


def test_few_functions_have_many_parameters() -> None:
    many = {f"{name}: {one.name}": len(parameters(one)) for name, one in functions() if len(parameters(one)) > 7}
    assert len(many) <= MOST_OVER_SEVEN, many
    assert max(many.values(), default=0) <= MOST_PARAMETERS, many


# Facts with user data, or with records of hosts, which have it.
SECRET_FACTS = {"basecast_observed", "basecast_plan"}


def visible_facts(tasks: t.Any, hidden: bool = False) -> Iterator[str]:
    """Names of facts that a run with -v would show."""
    for task in tasks or ():
        inner = hidden or bool(task.get("no_log"))
        for part in ("block", "rescue", "always"):
            yield from visible_facts(task.get(part), inner)
        if not inner:
            yield from task.get("ansible.builtin.set_fact") or ()


@pytest.mark.parametrize("role", ["clone", "plan", "update"])
def test_facts_with_user_data_are_hidden(role: str) -> None:
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        assert not SECRET_FACTS.intersection(visible_facts(yaml.safe_load(path.read_text()))), path
