# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every error text of the product, from its sources: what stands for a value is ``…``.

Taken are texts given to the product's error classes (through constructors and helpers that put words around them), to ``fail_json``, to
tasks that fail or assert, and the problems that plans list.
"""

from __future__ import annotations

import ast
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

HOLE = "…"
# Errors of Ansible that plugins raise; those of the product are found by what they derive from.
ANSIBLES = {"AnsibleError", "AnsibleActionFail", "AnsibleFilterError", "AnsibleLookupError", "AnsibleParserError"}
# Planning names what is wrong in lists and generators of these names.
LISTS = re.compile(r"problems|failures|mistakes|misspelt|without_hosts|twice|taken|unknown_relays|conflicts|impossible|wrong", re.I)
PLANNING = re.compile(r"plugin_utils/_plan/(service|placement)/|module_utils/_machine/(hardware/|network_dns)")
WORDS = re.compile(r"[A-Za-z]{2,}.*?\W[A-Za-z]{2,}", re.S)


class Message(t.NamedTuple):
    text: str
    place: str


Bindings = Mapping[str, str]


def template(node: ast.AST | None, bound: Bindings) -> str:
    """The text that an expression makes, with holes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part, bound) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return bound.get(node.value.id, HOLE) if isinstance(node.value, ast.Name) else HOLE
    if isinstance(node, ast.Name):
        return bound.get(node.id, HOLE)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left, bound) + template(node.right, bound)
    if isinstance(node, ast.IfExp):  # the exception comes first
        return template(node.orelse, bound)
    return HOLE


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


class Errors:
    """The error classes of all files, and how each makes its text."""

    def __init__(self, trees: Mapping[Path, ast.Module]) -> None:
        self.classes = {node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self.names = set(ANSIBLES)
        before = -1
        while before != len(self.names):
            before = len(self.names)
            for name, node in self.classes.items():
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                if bases & ({"Exception", "ValueError"} | (self.names - ANSIBLES)):
                    self.names.add(name)

    def text(self, call: ast.Call, bound: Bindings) -> str:
        """What the call of an error class says."""
        name = name_of(call)
        arguments = [template(argument, bound) for argument in call.args]
        while name in self.classes:
            node = self.classes[name]
            maker = next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)
            if name == "FleetError":
                break
            if maker:
                names = [argument.arg for argument in maker.args.args[1:]]
                inner = dict(zip(names, arguments, strict=False))
                inner |= {word.arg: template(word.value, bound) for word in call.keywords if word.arg in names}
                above = [one for one in ast.walk(maker) if isinstance(one, ast.Call) and name_of(one) == "__init__" and one.args]
                arguments = [template(argument, inner) for argument in above[0].args] if above else arguments
            name = next((base.id for base in node.bases if isinstance(base, ast.Name) and base.id in self.names), "")
        return arguments[0] if arguments else ""


def helpers(tree: ast.Module, errors: Errors) -> dict[str, tuple[list[str], list[ast.Call]]]:
    """Functions of a file that return an error: their parameters, and the errors."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            made = [
                one.value
                for one in ast.walk(node)
                if isinstance(one, ast.Return) and isinstance(one.value, ast.Call) and name_of(one.value) in errors.names
            ]
            if made:
                found[node.name] = ([argument.arg for argument in node.args.args if argument.arg != "self"], made)
    return found


def of_python(path: Path, tree: ast.Module, errors: Errors, shared: Mapping[str, tuple[list[str], list[ast.Call]]]) -> Iterator[str]:
    known = {**shared, **helpers(tree, errors)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = name_of(node)
            if name in errors.names:
                yield errors.text(node, {})
            elif name == "fail_json":
                yield from (template(word.value, {}) for word in node.keywords if word.arg == "msg")
            elif name in known and isinstance(node.func, (ast.Name, ast.Attribute)):
                names, made = known[name]
                bound = dict(zip(names, [template(argument, {}) for argument in node.args], strict=False))
                yield from (errors.text(one, bound) for one in made)
    if PLANNING.search(path.as_posix()):
        yield from of_planning(tree, "preflight" in path.stem)


def of_planning(tree: ast.Module, whole: bool = False) -> Iterator[str]:
    """Sentences that are put into lists of problems, or given by generators of them (``whole``: by every generator)."""

    def sentences(node: ast.AST) -> Iterator[str]:
        for one in ast.walk(node):
            if isinstance(one, (ast.List, ast.Tuple, ast.ListComp, ast.GeneratorExp)):
                parts = one.elts if isinstance(one, (ast.List, ast.Tuple)) else [one.elt]
                yield from (template(part, {}) for part in parts if isinstance(part, (ast.JoinedStr, ast.Constant, ast.BinOp)))

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node) == "append" and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and LISTS.search(node.func.value.id) and node.args:
                yield template(node.args[0], {})
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and LISTS.search(one.id) for one in targets):
                yield from sentences(node.value)
        elif isinstance(node, ast.FunctionDef) and (
            whole or LISTS.search(f"{node.name} {ast.unparse(node.returns) if node.returns else ''}")
        ):
            for one in ast.walk(node):
                if isinstance(one, ast.Yield):
                    yield template(one.value, {})
                elif isinstance(one, ast.Return) and one.value:
                    yield from sentences(one.value)


def of_tasks(tasks: t.Any) -> Iterator[str]:
    if isinstance(tasks, list):
        for one in tasks:
            yield from of_tasks(one)
    elif isinstance(tasks, dict):
        for key, value in tasks.items():
            if key in ("ansible.builtin.fail", "ansible.builtin.assert") and isinstance(value, dict):
                yield from of_jinja(str(value.get("msg") or value.get("fail_msg") or ""))
            else:
                yield from of_tasks(value)


def of_jinja(text: str) -> Iterator[str]:
    yield re.sub(r"\{\{.*?\}\}", HOLE, text, flags=re.S)
    for expression in re.findall(r"\{\{(.*?)\}\}", text, re.S):
        joined = re.sub(r"'\s*~[^']*~\s*'", HOLE, expression)
        yield from (found for found in re.findall(r"'([^']+)'", joined) if len(found.split()) > 3)


def messages(root: Path) -> list[Message]:
    trees = {path: ast.parse(path.read_text()) for path in sorted((root / "plugins").rglob("*.py"))}
    errors = Errors(trees)
    shared: dict[str, tuple[list[str], list[ast.Call]]] = {}
    for name in ("_untrusted.py", "_relay/errors.py"):
        shared |= helpers(trees[root / "plugins/module_utils" / name], errors)
    found: dict[str, str] = {}
    for path, tree in trees.items():
        for text in of_python(path, tree, errors, shared):
            found.setdefault(tidy(text), path.relative_to(root).as_posix())
    for folder in ("playbooks", "roles"):
        for path in sorted((root / folder).rglob("*.yml")):
            if "meta" not in path.parts:
                for text in of_tasks(yaml.safe_load(path.read_text())):
                    found.setdefault(tidy(text), path.relative_to(root).as_posix())
    # What has no words of its own hands on somebody else's text.
    return [Message(text, place) for text, place in sorted(found.items()) if WORDS.search(text)]


def tidy(text: str) -> str:
    return re.sub(r"(?:… ?)+…", HOLE, re.sub(r"\s+", " ", text)).strip()


# ---- the handbook

ENTRY = re.compile(r"^### (?P<title>[^\n]+)\n\n```text\n(?P<words>.*?)```\n", re.S | re.M)


class Entry(t.NamedTuple):
    title: str
    patterns: tuple[str, ...]


def entries(handbook: str) -> list[Entry]:
    return [Entry(found["title"], tuple(line for line in found["words"].splitlines() if line)) for found in ENTRY.finditer(handbook)]


def matches(pattern: str, text: str) -> bool:
    """Whether the words of the pattern stand in the text, in this order."""
    return re.search(".*".join(re.escape(words) for words in pattern.split(HOLE)), text) is not None


def entries_of(text: str, handbook: Sequence[Entry]) -> list[Entry]:
    """The entries whose words say most of the text: one, if the handbook is in order."""

    def said(entry: Entry) -> int:
        return max((len(pattern.replace(HOLE, "").strip()) for pattern in entry.patterns if matches(pattern, text)), default=0)

    most = max(map(said, handbook), default=0)
    return [entry for entry in handbook if most and said(entry) == most]


if __name__ == "__main__":
    for message in messages(Path(__file__).resolve().parents[2]):
        print(f"{message.place}\t{message.text}")
