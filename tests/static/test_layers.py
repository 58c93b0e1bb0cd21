# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which room may import from which: every arrow points down, and no file imports itself by way of others.

All imports count, those inside functions and those for type checkers as well.
"""

from __future__ import annotations

import ast
import functools
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.basecast.fleet.plugins."
# Below everything that runs on hosts, lowest first: each may import those before it.
COMMON = ("_text", "_errors", "_names", "_clock", "_untrusted", "_urls")
# The rooms of a node, lowest first. ``_relay`` itself: its errors, states, clock and what an endpoint is.
NODE = ("_relay", "_relay/endpoints", "_relay/wire", "_relay/upload", "_relay/download", "_relay/status", "_relay/measure", "_relay/node")
DISK, MACHINE, BASE = "_disk", "_machine", "_base_format"
# The rooms of the planner. ``_plan`` itself: compiled loops, trees, and what plain data is.
PLAN = "_plan"


def node(*rooms: str) -> set[str]:
    return {f"_relay/{room}" if room else "_relay" for room in rooms}


def planner(*rooms: str) -> set[str]:
    return {PLAN, *(f"{PLAN}/{room}" for room in rooms)}


# Each room, and the rooms that it may import from beside itself and ``COMMON``.
ARROWS: dict[str, set[str]] = {
    # ---- on hosts
    BASE: set(),
    DISK: {BASE, "_module"},
    MACHINE: {DISK, "_module"},
    "_relay": set(),
    "_relay/endpoints": {BASE, *node("")},
    "_relay/wire": {BASE, *node("", "endpoints")},
    "_relay/upload": {BASE, *node("", "endpoints", "wire")},
    "_relay/download": {BASE, *node("", "endpoints", "wire", "upload")},
    "_relay/status": {BASE, *node("", "endpoints", "wire")},
    "_relay/measure": {BASE, *node("", "endpoints", "wire")},
    "_relay/node": {BASE, *node("", "endpoints", "wire", "upload", "download", "status", "measure")},
    "_job": {BASE, DISK, MACHINE, "_module", *node("", "measure", "node")},
    "_move": {BASE, DISK, MACHINE, "_job", "_module", *node("", "wire", "node")},
    # ---- for modules: options and results
    "_module": set(),
    "_relay_module": node("", "node"),
    "_relay_part": {"_module", *node("download")},
    "_relay_store": {BASE, DISK, *node("", "upload", "node")},
    "_url_option": {DISK},
    # ---- on the controller
    PLAN: set(),
    "_plan/network": planner(),
    "_plan/staged": planner("network"),
    "_plan/cut_through": planner("network"),
    "_plan/relay": planner("network", "staged", "cut_through", "placement"),
    "_plan/placement": planner("network", "relay"),
    "_plan/monitor": planner("network", "relay"),
    "_plan/service": {MACHINE, *planner("placement")},
    "_door": planner(),
    "_progress": set(),
    "_report": set(),
    "_cancellation": set(),
    "_certificates": set(),
    "_controller_files": set(),
    "_settings": {MACHINE},
    "_version": set(),
}
# What plugins, which Ansible loads, may import.
PLUGINS = {"modules", "filter", "action", "callback", "lookup", "inventory", "doc_fragments"}
# Single arrows beside the table, and why.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("module_utils/_base_format/chunk_list", "module_utils/_relay/errors"): "bad chunk lists are a relay's error to its peers",
    ("plugin_utils/_plan/service/adoption", "module_utils/_disk/image_header"): "which format a file extension means is said in one place",
    ("plugin_utils/_plan/service/adoption", "plugin_utils/_plan/relay/needs"): "a base is described in one way, however it comes to a host",
    ("plugin_utils/_plan/service/bases", "plugin_utils/_plan/relay/needs"): "a base is described in one way, however it is known",
    ("plugin_utils/_plan/service/service_plan", "plugin_utils/_plan/relay/needs"): "a service's bases are what relays are planned for",
    ("plugin_utils/_plan/service/service_plan", "plugin_utils/_plan/relay/fixed_paths"): "a manifest may name the paths of a relay",
    ("plugin_utils/_plan/service/repair_plan", "plugin_utils/_plan/relay/needs"): "what is damaged comes as what is lacking does",
    ("plugin_utils/_plan/service/run_details", "plugin_utils/_plan/relay/fleet"): "what a plan sends over each link is said in one place",
    ("plugin_utils/_plan/service/run_details", "plugin_utils/_plan/relay/plan_format"): "and so is when each host's transfer is planned",
    ("plugin_utils/_plan/service/ticket", "plugin_utils/_plan/relay/text"): "bytes and seconds are written in one way",
}
# Files that import each other, and why. A circle that is gone must go from here too.
CIRCLES: dict[frozenset[str], str] = {}
# Rooms that run where there is no Ansible, and the files in them that read a module's options.
WITHOUT_ANSIBLE = (BASE, DISK, MACHINE, "_relay", "_job", PLAN, "_progress", "_report", *COMMON)
OPTION_FILES = {"module_utils/_machine/secret_options", "module_utils/_disk/disk_options"}


def room_of(file: str) -> str:
    """``module_utils/_relay/wire/tls`` is in ``_relay/wire``, ``filter/relay_plan`` in ``filter``."""
    top, *parts = file.split("/")
    if top in PLUGINS:
        return top
    if len(parts) == 1:
        return parts[0]
    nested = parts[0] in ("_relay", PLAN) and (len(parts) > 2 or "/".join(parts) in ARROWS)
    return "/".join(parts[:2]) if nested else parts[0]


@functools.cache
def names_in(file: str, source: str) -> tuple[str, ...]:
    """What the source imports: full names, those of the collection as paths below ``plugins``."""
    return tuple(_names(file, source))


def _names(file: str, source: str) -> Iterator[str]:
    package = file.split("/")[:-1]
    for found in ast.walk(ast.parse(source)):
        if isinstance(found, ast.Import):
            yield from (_path(alias.name) for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            module = found.module.replace(".", "/") if found.module else ""
            above = package[: len(package) - found.level + 1] if found.level else []
            for alias in found.names:
                full = "/".join([*above, *([module] if module else []), alias.name])
                yield full if found.level else _path(full.replace("/", "."))


def _path(name: str) -> str:
    return name.removeprefix(COLLECTION).replace(".", "/") if name.startswith(COLLECTION) else name


def arrows_of(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """By file the files of the collection that it imports; a package is ``…/__init__``."""
    found: dict[str, set[str]] = {}
    for file, source in sources.items():
        found[file] = set()
        for name in names_in(file, source):
            candidates = (name, f"{name}/__init__", name.rpartition("/")[0], f"{name.rpartition('/')[0]}/__init__")
            target = next((candidate for candidate in candidates if candidate in sources), None)
            if target and target != file:
                found[file].add(target)
    return found


def upward(arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """Arrows that the table does not have."""
    found = []
    for file, targets in arrows.items():
        room = room_of(file)
        for target in sorted(targets):
            other = room_of(target)
            if other == room or (file, target) in EXCEPTIONS:
                continue
            if other in PLUGINS or (room not in PLUGINS and not _allowed(room, other)):
                found.append(f"{file} imports {target}: {other} is not below {room}")
    return found


def _allowed(room: str, other: str) -> bool:
    if other in COMMON:
        return room not in COMMON or COMMON.index(other) < COMMON.index(room)
    return other in ARROWS.get(room, set())


def circles(arrows: Mapping[str, Iterable[str]]) -> set[frozenset[str]]:
    """Files that come back to themselves by way of imports (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: set[frozenset[str]] = set()

    def visit(file: str) -> None:
        number[file] = low[file] = len(number)
        stack.append(file)
        for target in sorted(arrows.get(file, ())):
            if target not in number:
                visit(target)
                low[file] = min(low[file], low[target])
            elif target in stack:
                low[file] = min(low[file], number[target])
        if low[file] == number[file]:
            at = stack.index(file)
            if len(stack) - at > 1:
                found.add(frozenset(stack[at:]))
            del stack[at:]

    for file in sorted(arrows):
        if file not in number:
            visit(file)
    return found


def sent_with(module: str, arrows: Mapping[str, Iterable[str]]) -> set[str]:
    """What Ansible reads, packs and sends with a module at each run: all that it imports, for type checkers too."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += arrows[file]
    return found


def with_ansible(sources: Mapping[str, str]) -> list[str]:
    """Files that import Ansible in rooms that are used without it."""
    found = []
    for file, source in sources.items():
        if room_of(file).split("/")[0] in WITHOUT_ANSIBLE and file not in OPTION_FILES:
            names = {name.split("/")[0].split(".")[0] for name in names_in(file, source)}
            found += [f"{file} imports {name}" for name in sorted(names & {"ansible", "ansible_collections"})]
    return found


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    folder = ROOT / "plugins"
    return {path.relative_to(folder).with_suffix("").as_posix(): path.read_text() for path in sorted(folder.rglob("*.py"))}


def test_every_arrow_points_down(sources: dict[str, str]) -> None:
    assert upward(arrows_of(sources)) == []


def test_no_circles_but_the_listed_ones(sources: dict[str, str]) -> None:
    assert circles(arrows_of(sources)) == set(CIRCLES)


def test_exceptions_are_still_needed(sources: dict[str, str]) -> None:
    arrows = arrows_of(sources)
    assert [pair for pair in EXCEPTIONS if pair[1] not in arrows.get(pair[0], ())] == []


def test_only_the_node_is_sent_with_the_node(sources: dict[str, str]) -> None:
    arrows = arrows_of(sources)
    carried = {file: sent_with(file, arrows) for file in sources if file.startswith("modules/")}
    assert {file for file, found in carried.items() if "module_utils/_relay/node/node" in found} == {"modules/relay_node"}
    # Those that talk to a node while it works run again and again.
    talking = ("relay_info", "relay_transfer", "relay_guard")
    assert {name: len(found) for name in talking if len(found := carried[f"modules/{name}"]) > 16} == {}


def test_rooms_below_plugins_do_without_ansible(sources: dict[str, str]) -> None:
    assert with_ansible(sources) == []


def test_every_room_stands_in_the_table(sources: dict[str, str]) -> None:
    assert {room_of(file) for file in sources} - PLUGINS - set(COMMON) - {"__init__"} == set(ARROWS)


NEW_ARROWS: list[tuple[str, str, str]] = [
    ("module_utils/_relay/wire/tls", "from ..download.fetcher import Fetch", "_relay/download is not below _relay/wire"),
    ("module_utils/_relay/endpoints/files", "from ..wire import tls", "_relay/wire is not below _relay/endpoints"),
    ("module_utils/_relay/status/table", "from ..node.node import Node", "_relay/node is not below _relay/status"),
    ("module_utils/_disk/overlay", "def f():\n    from .._relay import errors", "_relay is not below _disk"),
    (
        "module_utils/_disk/overlay",
        "import typing as t\nif t.TYPE_CHECKING:\n    from .._machine import domain",
        "_machine is not below _disk",
    ),
    ("module_utils/_relay/node/node", "from ..._disk import overlay", "_disk is not below _relay/node"),
    ("module_utils/_base_format/file_digest", "from .._disk import overlay", "_disk is not below _base_format"),
    ("module_utils/_text", "from ._errors import FleetError", "_errors is not below _text"),
    ("plugin_utils/_plan/trees", "from .relay import planner", "_plan/relay is not below _plan"),
    ("plugin_utils/_plan/cut_through/model", "from ..staged import search", "_plan/staged is not below _plan/cut_through"),
    ("plugin_utils/_plan/service/manifest", "from ..relay.planner import relay_plan", "_plan/relay is not below _plan/service"),
    (
        "plugin_utils/_plan/staged/search",
        f"from {COLLECTION}filter import relay_plan",
        "filter is not below _plan/staged",
    ),
]


@pytest.mark.parametrize(("file", "line", "message"), NEW_ARROWS, ids=[f"{file}-{n}" for n, (file, _l, _m) in enumerate(NEW_ARROWS)])
def test_a_new_upward_arrow_is_found(sources: dict[str, str], file: str, line: str, message: str) -> None:
    assert file in sources
    before = upward(arrows_of(sources))
    found = [arrow for arrow in upward(arrows_of({**sources, file: f"{sources[file]}\n{line}\n"})) if arrow not in before]
    assert len(found) == 1
    assert found[0].startswith(f"{file} imports ")
    assert found[0].endswith(message)


def test_a_new_circle_is_found(sources: dict[str, str]) -> None:
    file = "plugin_utils/_plan/staged/schedule"
    changed = {**sources, file: f"{sources[file]}\ndef f():\n    from . import search\n"}
    assert any({file, "plugin_utils/_plan/staged/search"} <= circle for circle in circles(arrows_of(changed)))


@pytest.mark.parametrize("line", ["import ansible.module_utils.basic", "from ansible.errors import AnsibleError", "import ansible"])
@pytest.mark.parametrize("file", ["plugin_utils/_plan/trees", "module_utils/_relay/wire/tls", "module_utils/_base_format/file_digest"])
def test_ansible_in_a_room_without_it_is_found(sources: dict[str, str], file: str, line: str) -> None:
    assert with_ansible({file: f"{sources[file]}\n{line}\n"}) == [f"{file} imports ansible"]


def test_names_are_resolved_as_python_does() -> None:
    lines = {
        "import os": ["os"],
        "from . import b": ["module_utils/_relay/wire/b"],
        "from ..errors import E": ["module_utils/_relay/errors/E"],
        "from ..._text import clean": ["module_utils/_text/clean"],
        f"from {COLLECTION}module_utils._disk import users as u": ["module_utils/_disk/users"],
        f"import {COLLECTION}module_utils._disk.users": ["module_utils/_disk/users"],
    }
    for line, names in lines.items():
        assert list(names_in("module_utils/_relay/wire/a", line)) == names, line


def test_tarjan_finds_circles_only() -> None:
    arrows: dict[str, t.Any] = {"a": "b", "b": "c", "c": "ad", "d": "e", "e": "", "f": "gf", "g": "f"}
    assert circles(arrows) == {frozenset("abc"), frozenset("fg")}
