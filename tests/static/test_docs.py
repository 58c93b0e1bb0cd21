# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documentation: it builds without a warning, and what it names exists."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import typing as t
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest_schema import MANIFEST
from ansible_collections.basecast.fleet.tests import documented
from ansible_collections.basecast.fleet.tests.browser.conftest import Browser
from ansible_collections.basecast.fleet.tests.demo import recording

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]}
KINDS = ("action", "callback", "filter", "inventory", "lookup", "modules")
BLOCK = re.compile(r"^```([\w]*)\n(.*?)^```", re.S | re.M)
# What stands after ``basecast.fleet.`` and is no plugin, role or playbook.
OTHER_NAMES = {"git", "tests"}
SHELLS = ("bash", "sh", "shell", "shell-session", "zsh")
# What ansible-playbook, not the collection, takes with -e; and variables of examples of other people's playbooks.
EXTRA_VARIABLES = {"ansible_user"}


@cache
def tool(name: str) -> t.Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools/docsite" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        pytest.fail(done.stdout[-8000:], pytrace=False)


@pytest.mark.timeout(600)
def test_the_site_builds_without_a_warning() -> None:
    run(sys.executable, "tools/docsite/build.py")


@pytest.mark.timeout(180)
def test_axe_finds_nothing_on_the_site(tmp_path: Path) -> None:
    # One page of each kind; that of the test above, which runs in the same process.
    if not shutil.which("chromium"):
        pytest.fail("chromium is not installed") if os.environ.get("BASECAST_REQUIRE_BROWSER") else pytest.skip("chromium is not installed")
    browser = Browser(tmp_path)
    found = {}
    try:
        for page in ("index", "first-deployment", "manifest", "reference/diff_disk_module", "reference/deploy_report_filter"):
            for dark in (False, True):
                browser.show(ROOT / ".build/docs/html" / f"{page}.html", dark=dark)
                found[page, dark] = browser.violations()
            browser.show(ROOT / ".build/docs/html" / f"{page}.html", width=400)
            assert browser.run("return document.documentElement.scrollWidth") == 400, page
    finally:
        browser.driver.quit()
    assert not {key: told for key, told in found.items() if told}


def test_values_of_the_manifest_are_written_as_they_are() -> None:
    meaning = tool("reference")._meaning
    assert meaning({"enum": ["keep", "drop"], "description": "keep (what is there) or drop is wanted"}) == "keep (what is there) or drop"
    assert meaning({"description": "a list of bases"}) == "A list of bases"


def test_pictures_are_those_of_the_sources() -> None:
    run(sys.executable, "tools/docsite/pictures.py", "--check")


def test_the_sites_index_names_pages_that_exist() -> None:
    # Pages that it does not name stand below "More".
    listed = {page for section in tool("site_pages").SECTIONS.values() for page, _purpose in section}
    made = {"readme", "contributing", "manifest", "tuning"}
    assert listed - made <= {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}


def test_each_command_of_the_docs_is_typed_by_a_test() -> None:
    assert documented.untold({page: path.read_text() for page, path in documented.PAGES.items()}) == (set(), set())
    for page, words, test in documented.BLOCKS:
        assert documented.typed(page, words), page
        assert f'typed("{page}", "{words}")' in (ROOT / test).read_text(), test
    for line, test in documented.APART.items():
        assert line.split()[0] in (ROOT / test).read_text() or "playbook" in line, test


@pytest.mark.parametrize(
    "line", ["# tools/setup", "$ ansible-playbook -i inventory.yml basecast.fleet.deploy -e manifest=new.yml", "  $ ls   # all"]
)
def test_a_command_that_no_test_types_is_found(line: str) -> None:
    new, _unused = documented.untold({"docs/new.md": f"```console\n{line}\n```"})
    assert new == {" ".join(line.partition("   #")[0].split()[1:])}


def test_commands_of_the_docs_stand_where_they_are_looked_for() -> None:
    pages = {page: path.read_text() for page, path in documented.PAGES.items()}
    shells = {page for page, text in pages.items() for language, _body in documented.BLOCK.findall(text) if language in SHELLS}
    assert not shells, "blocks of commands are of the language console, and each command has a prompt"
    for page, text in pages.items():
        for language, body in documented.BLOCK.findall(text):
            assert language != "console" or documented.LINE.match(body.splitlines()[0]), f"{page}: no prompt before {body}"
        assert not [line for line in documented.told(text) if line.endswith("\\")], page


# ---- names


@cache
def playbooks() -> frozenset[str]:
    return frozenset(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


@cache
def plugins() -> frozenset[str]:
    own = [path for kind in KINDS for path in (ROOT / "plugins" / kind).glob("[a-z]*.py")]
    return frozenset(path.stem for path in [*own, *(ROOT / "extensions/eda/plugins").glob("*/[a-z]*.py")])


@cache
def roles() -> frozenset[str]:
    return frozenset(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


@cache
def role_options(role: str) -> frozenset[str]:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
    return frozenset(name for spec in specs.values() for name in spec.get("options", {}))


@cache
def playbook_options(playbook: str) -> frozenset[str]:
    """What a playbook takes: the settings, what its roles take, and what the playbook itself reads."""
    text = (ROOT / "playbooks" / f"{playbook}.yml").read_text()
    # A playbook may import another one, or parts of plays.
    for name in re.findall(r"import_playbook: (\S+\.yml)", text):
        text += (ROOT / "playbooks" / name).read_text()
    used = {role for role in roles() if re.search(rf"basecast\.fleet\.{role}\b|\b{role}\b", text)}
    return frozenset().union(*(role_options(role) for role in used | {"settings"})) | set(re.findall(r"\b[a-z_]+\b", text))


@cache
def targets() -> frozenset[str]:
    text = (ROOT / "Makefile").read_text()
    return frozenset(name for line in re.findall(r"^([a-z][a-z -]*):(?!=)", text, re.M) for name in line.split())


@cache
def variables() -> frozenset[str]:
    """Every word of the collection that begins as its variables do."""
    files = [
        path for folder in ("roles", "playbooks", "plugins") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml", ".j2")
    ]
    return frozenset(word for path in files for word in re.findall(r"\bbasecast_[a-z_]+[a-z]\b", path.read_text()))


@cache
def module_options(module: str) -> frozenset[str]:
    found: set[str] = set()
    tree = ast.parse((ROOT / "plugins/modules" / f"{module}.py").read_text())
    texts = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and getattr(node.targets[0], "id", "") == "DOCUMENTATION"
    ]
    document = yaml.safe_load(texts[0])
    found |= set(document.get("options") or {})
    for fragment in document.get("extends_documentation_fragment") or []:
        path = ROOT / "plugins/doc_fragments" / f"{fragment.split('.')[2]}.py"
        if path.exists():
            found |= set(re.findall(r"^  ([a-z0-9_]+):$", path.read_text(), re.M))
    return frozenset(found)


def mistakes(text: str) -> list[str]:
    """What the page names and does not exist."""
    return [*_names(text), *_commands(text), *_blocks(text)]


def _names(text: str) -> Iterable[str]:
    known = playbooks() | plugins() | roles() | OTHER_NAMES
    for name in re.findall(r"\bbasecast\.fleet\.([a-z][a-z_]*)", text):
        if name not in known:
            yield f"basecast.fleet.{name}: no playbook, role or plugin has this name"
    for name in re.findall(r"\bbasecast_[a-z_]+[a-z]\b(?![_*/])", text):
        if name not in variables():
            yield f"{name}: no variable has this name"


def _commands(text: str) -> Iterable[str]:
    for words in re.findall(r"(?:^[#$] |`)make ([^\n`#]+)", text, re.M):
        for target in re.findall(r"(?:^|\s)([a-z][a-z-]*)(?=\s|$|,)", re.sub(r'"[^"]*"|\S+=\S+|   .*', "", words)):
            if target not in targets():
                yield f"make {target}: the Makefile has no such target"
    for call in re.findall(r"((?:ansible-playbook|lab playbook)\b[^\n`]*|`(?:plan|deploy|probe|verify|stop|update) -e [^`\n]+)", text):
        named = re.search(r"basecast\.fleet\.([a-z_]+)|`(\w+) ", call)
        playbook = (named[1] or named[2]) if named else ""
        if playbook and playbook not in playbooks():
            yield f"{playbook}: no playbook has this name"
        elif playbook:
            for variable in re.findall(r"-e '?([a-z_]+)=", call):
                if variable not in playbook_options(playbook) | EXTRA_VARIABLES:
                    yield f"-e {variable}: {playbook} does not take it"
    for kind, name in re.findall(r"ansible-doc(?: -t ([a-z]+))?\s+basecast\.fleet\.([a-z_]+)", text):
        folder = {"": "modules", "module": "modules"}.get(kind, kind)
        path = ROOT / ("roles" if kind == "role" else f"plugins/{folder}") / (name if kind == "role" else f"{name}.py")
        if not path.exists():
            yield f"ansible-doc {kind} {name}: it does not exist"
    for path in re.findall(r"`((?:tests|tools|plugins|roles|playbooks|extensions|docs)/[\w./-]+\w)`?", text):
        if not (ROOT / path).exists() and not re.search(r"[A-Z…<]|^tests/output", path):
            yield f"{path}: no such file in the repository"


def _blocks(text: str) -> Iterable[str]:
    for language, body in BLOCK.findall(text):
        if language != "yaml":
            continue
        try:
            found = yaml.safe_load(re.sub(r"\{…\}", "{}", body))
        except yaml.YAMLError as error:
            yield f"a block of YAML cannot be read: {error}"
            continue
        if isinstance(found, dict) and "format" in found and "machines" in found:
            for mistake in jsonschema.Draft202012Validator(MANIFEST).iter_errors(found):
                # An example may leave text out.
                if "…" not in str(mistake.instance):
                    yield f"a manifest: {'.'.join(map(str, mistake.path))}: {mistake.message[:200]}"
        yield from _tasks(found)


def _tasks(found: t.Any) -> Iterable[str]:
    if isinstance(found, list):
        for one in found:
            yield from _tasks(one)
    if isinstance(found, dict):
        for key, value in found.items():
            module = key.removeprefix("basecast.fleet.") if isinstance(key, str) and key.startswith("basecast.fleet.") else ""
            if (ROOT / "plugins/modules" / f"{module}.py").exists() and isinstance(value, dict):
                yield from (f"{key}: it has no option {option}" for option in value if option not in module_options(module))
            yield from _tasks(value)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_what_a_page_names_exists(page: str) -> None:
    assert not mistakes(PAGES[page].read_text())


WRONG = [
    ("$ ansible-playbook basecast.fleet.deploi -e manifest=shop.yml", "deploi"),
    ("$ ansible-playbook basecast.fleet.remove -e servise=shop", "servise"),
    ("$ ansible-playbook basecast.fleet.deploy -e basecast_relay_mod=staged", "basecast_relay_mod"),
    ("`deploy -e plan_fil=plan.json`", "plan_fil"),
    ("# make demos", "demos"),
    ("run `make test-nothing` once", "test-nothing"),
    ("`ansible-doc -t filter basecast.fleet.machine`", "machine"),
    ("`ansible-doc basecast.fleet.relay_plan`", "relay_plan"),
    ("the variable `basecast_stream`", "basecast_stream"),
    ("see `tests/plan/checker.py`", "tests/plan/checker.py"),
    ("```yaml\nformat: 1\nservice: shop\nmachines: [{name: web, hots: [kvm1]}]\n```", "hots"),
    ("```yaml\n- basecast.fleet.diff_disk:\n    pools: {}\n    nonsense: 1\n```", "nonsense"),
    ("```yaml\na: [1\n```", "cannot be read"),
]


@pytest.mark.parametrize(("text", "word"), WRONG, ids=[word for _text, word in WRONG])
def test_a_name_that_does_not_exist_is_found(text: str, word: str) -> None:
    assert any(word in mistake for mistake in mistakes(text)), mistakes(text)


# ---- figures and texts that stand elsewhere too


def rows(page: Path) -> dict[str, list[str]]:
    """Rows of tables by their first cell, without what stands there in brackets."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.read_text().splitlines() if line.startswith("| ")]
    return {re.sub(r" \(.*\)", "", row[0]): row[1:] for row in cells}


def test_figures_of_the_comparison_are_the_benchmarks() -> None:
    measured = rows(DOCS / "bench.md")
    compared = {tool: row[:4] for tool, row in rows(DOCS / "comparison.md").items() if re.match(r"[\d.]+$", row[0])}
    assert len(compared) > 8
    assert compared == {tool: measured[tool][:4] for tool in compared}


def test_the_relay_of_the_page_on_plans_is_a_plan() -> None:
    page = (DOCS / "plan.md").read_text()
    (shown,) = (body for _language, body in BLOCK.findall(page) if body.startswith("Relay plan:"))
    assert tool("pictures").plan_text().startswith(shown)


# ---- the recording of the demonstration


def test_the_picture_of_the_demo_is_that_of_the_recording() -> None:
    lines = recording.read_cast()
    recording.check(lines)
    assert recording.PICTURE.read_text() == recording.draw(lines)
    shown = "\n".join(line for _at, line in lines)
    assert "pulled the plug of kvm3" in shown
    assert "All of it was seen" in shown


@pytest.mark.parametrize(
    "line",
    [
        f"log: {ROOT}/tests/output/demo/1.log",
        "the key is in /root/.ssh/id_ed25519",
        "image /home/somebody/images/debian.qcow2",
        "made in /tmp/lab-x/hosts",
        f"on {socket.gethostname()} since noon",
    ],
)
def test_a_recording_that_tells_of_its_machine_is_refused(line: str) -> None:
    with pytest.raises(recording.NotFit, match="tells of the machine"):
        recording.check([(0.0, "# make demo"), (1.0, line)])


def test_rows_of_the_picture_fit_the_terminal() -> None:
    rows = list(recording.rows([(0.0, ""), (1.0, "x" * 250), (2.0, "  a sentence of words " * 12)]))
    assert all(len(text) <= recording.COLUMNS for _at, text in rows)
    assert "".join(text.strip() for at, text in rows if at == 1.0) == "x" * 250
    # Waits are shortened, and the order stays.
    assert recording.shortened([0.0, 0.0, 300.0]) == pytest.approx([0.12, 0.24, 1.44])


# ---- the failure handbook


@cache
def handbook() -> tuple[t.Any, ...]:
    return tuple(tool("messages").entries((DOCS / "failures.md").read_text()))


@cache
def texts() -> tuple[t.Any, ...]:
    return tuple(tool("messages").messages(ROOT))


@pytest.mark.timeout(180)
def test_every_error_text_has_one_entry_in_the_handbook() -> None:
    found = {text.text: [entry.title for entry in tool("messages").entries_of(text.text, handbook())] for text in texts()}
    assert len(found) > 600
    assert not {text: entries for text, entries in found.items() if len(entries) != 1}


def test_words_of_the_handbook_are_in_the_product() -> None:
    matches = tool("messages").matches
    unused = {
        f"{entry.title}: {words}"
        for entry in handbook()
        for words in entry.patterns
        if not any(matches(words, one.text) for one in texts())
    }
    assert not unused


def test_entries_say_what_it_means_and_what_to_do() -> None:
    page = (DOCS / "failures.md").read_text()
    sections = re.findall(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", page, re.S | re.M)
    assert [title for title, _body in sections] == [entry.title for entry in handbook()]
    assert not [title for title, body in sections if "**Means:**" not in body or "**Do:**" not in body]


SOURCES = [
    ("raise FleetError(f'{what}: the moon is full; wait')", "…: the moon is full; wait"),
    ("raise InvalidOption('phase', phase, 'a phase of the moon')", "phase: … is not accepted; a phase of the moon"),
    ("module.fail_json(msg='the moon ' + name + ' is full')", "the moon … is full"),
    ("class MoonFull(FleetError):\n    pass\nraise MoonFull('it is full tonight')", "it is full tonight"),
    (
        "class MoonFull(FleetError):\n    def __init__(self, name):\n        super().__init__(f'The moon {name} is full.')\nraise MoonFull('Io')",
        "The moon Io is full.",
    ),
    ("def wrong(what):\n    return FleetError(f'moon: {what} is not full')\nraise wrong('Io')", "moon: Io is not full"),
]


@pytest.mark.parametrize(("source", "text"), SOURCES, ids=[text for _source, text in SOURCES])
def test_a_new_error_text_is_found(source: str, text: str, tmp_path: Path) -> None:
    messages = tool("messages")
    errors_file = ROOT / "plugins/module_utils/_errors.py"
    trees = {errors_file: ast.parse(errors_file.read_text()), tmp_path / "new.py": ast.parse(source)}
    errors = messages.Errors(trees)
    assert text in list(messages.of_python(tmp_path / "new.py", trees[tmp_path / "new.py"], errors, {}))
    # No entry has words for it, except where the kind of text has one.
    assert [entry.title for entry in messages.entries_of(text, handbook())] == (["A value is not accepted"] if "accepted" in text else [])


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ({"ansible.builtin.fail": {"msg": "{{ name }}: the moon is full"}}, "…: the moon is full"),
        ({"ansible.builtin.assert": {"that": [], "fail_msg": "the moon {{ name }} is full"}}, "the moon … is full"),
        ({"block": [{"ansible.builtin.fail": {"msg": "{{ ['The moon ' ~ name ~ ' is full now'] }}"}}]}, "The moon … is full now"),
    ],
)
def test_a_new_text_of_a_task_is_found(task: dict[str, t.Any], text: str) -> None:
    assert text in list(tool("messages").of_tasks([task]))


def block(page: Path, start: str) -> str:
    (found,) = (body for _language, body in BLOCK.findall(page.read_text()) if body.startswith(start))
    return str(found)


def test_the_first_deployment_is_that_of_the_readme() -> None:
    # Which a test types, word for word (integration/test_first_hour.py).
    page, readme = DOCS / "first-deployment.md", ROOT / "README.md"
    for start in ("# shop.yml", "$ python3 -m venv"):
        assert block(page, start) == block(readme, start)
    assert yaml.safe_load(block(page, "# inventory.yml")) == yaml.safe_load(block(readme, "# inventory.yml"))
