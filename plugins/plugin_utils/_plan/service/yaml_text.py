# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""YAML text as plain data with the line of each part, in bounded time, whatever the text is.

YAML can say more than the manifest, JSON and the hosts can hold: dates, bytes, sets, infinite numbers, keys that are not
strings, aliases that unfold to more than fits into memory, structures that contain themselves. Each is a mistake with its line.
"""

from __future__ import annotations

import json
import math
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

import yaml

from ....module_utils._machine.user_data import yaml_problem

Path = tuple[str | int, ...]

MAX_CHARACTERS = 4 * 1024 * 1024
MAX_DEPTH = 50
# Values after all aliases have been followed.
MAX_VALUES = 200_000
MAX_INTEGER = 2**63 - 1
# Written in whatever base YAML knows, and with the sign: what is longer is too large.
MAX_DIGITS = 100

_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}
_ADVICE = {
    _TAG + "timestamp": "a date or time; put it in quotes to make it a string",
    _TAG + "binary": "binary data; write a string",
    _TAG + "set": "a set; write a list",
    _TAG + "omap": "an ordered mapping; write a mapping",
    _TAG + "pairs": "a list of pairs; write a mapping",
}
_TOO_LARGE = f"the number has more than 64 bits; at most {MAX_INTEGER} is accepted"
# YAML reads 0100 as 64, and 52:54:00:12:34:56 as a number in base 60.
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff￾￿]")


class YamlMistake(Exception):
    """What is wrong with the text: ``mistakes`` are sentences, each beginning with ``origin:line``."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = list(mistakes)


class _TooDeep(yaml.YAMLError):
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Composes no deeper than is accepted; the parser itself reads token by token."""

    depth = 0

    def compose_node(self, parent: t.Any, index: t.Any) -> t.Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooDeep(self.peek_event().start_mark.line + 1)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def read(text: str, origin: str) -> tuple[t.Any, dict[Path, int]]:
    """The document, and the line of each of its parts by path. An empty text gives None.

    :param origin: what messages call the text, usually the file's name.
    :raises YamlMistake: with all that is wrong.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_CHARACTERS:
        raise YamlMistake([f"{origin}: it has {len(text)} characters; at most {MAX_CHARACTERS} are accepted"])
    strange = _NOT_TEXT.search(text)
    if strange:
        line = text.count("\n", 0, strange.start()) + 1
        what = f"the character U+{ord(strange[0]):04X}" if not "\ud800" <= strange[0] <= "\udfff" else "a byte that is not UTF-8"
        raise YamlMistake([f"{origin}:{line}: {what} stands there; save the file as UTF-8 text"])
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        _check_size(node, origin)
        lines: dict[Path, int] = {}
        mistakes = [*_walk(node, (), lines, origin)]
        if mistakes:
            raise YamlMistake(mistakes)
        return loader.construct_document(node), lines
    except _TooDeep as error:
        raise YamlMistake([f"{origin}:{error.line}: more than {MAX_DEPTH} levels stand inside one another; write it flatter"]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        at = f"{origin}:{mark.line + 1}" if mark else origin
        raise YamlMistake([f"{at}: this is not YAML: {yaml_problem(error)}"]) from error
    except (ValueError, OverflowError) as error:
        raise YamlMistake([f"{origin}: a value cannot be read: {error}"]) from error
    finally:
        loader.dispose()


class _Extent(t.NamedTuple):
    """Values and levels of a node with all aliases written out."""

    values: int
    levels: int


def _check_size(root: yaml.Node, origin: str) -> None:
    """Aliases make the same node part of several others: count as if each were written out, without writing it out."""
    known: dict[int, _Extent] = {}
    open_: set[int] = set()

    def extent(node: yaml.Node) -> _Extent:
        if id(node) in known:
            return known[id(node)]
        at = f"{origin}:{node.start_mark.line + 1}"
        if id(node) in open_:
            raise YamlMistake([f"{at}: the structure that begins here contains itself; write it without the alias"])
        open_.add(id(node))
        parts = [extent(part) for part in _parts(node)]
        open_.discard(id(node))
        found = _Extent(1 + sum(part.values for part in parts), 1 + max((part.levels for part in parts), default=0))
        if found.values > MAX_VALUES:
            raise YamlMistake([f"{at}: with all aliases written out there are more than {MAX_VALUES} values; use fewer aliases"])
        if found.levels > MAX_DEPTH:
            raise YamlMistake([f"{at}: more than {MAX_DEPTH} levels stand inside one another; write it flatter"])
        known[id(node)] = found
        return found

    extent(root)


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], origin: str) -> Iterator[str]:
    """Notes the line of each part; what JSON could not hold, as sentences."""
    line = lines.setdefault(path, node.start_mark.line + 1)
    where = f"{origin}:{line}: {dotted(path)}" if path else f"{origin}:{line}"
    if node.tag not in _PLAIN:
        tag = node.tag.replace(_TAG, "!!")
        yield f"{where}: {_ADVICE.get(node.tag) or f'the tag {tag} is not accepted; {_without_tag(node)}'}"
    elif node.tag == _TAG + "int" and len(node.value) > MAX_DIGITS:
        yield f"{where}: {_TOO_LARGE}"  # Python itself would not convert it, and not say where it stands
    elif node.tag in (_TAG + "int", _TAG + "float") and ":" in node.value:
        yield f"{where}: YAML reads {node.value} as a number in base 60; put it in quotes to make it a string"
    # Permissions are written like this in cloud-config, and cloud-init takes them as numbers.
    elif node.tag == _TAG + "int" and _OCTAL.fullmatch(node.value) and not {"cloud_init", "ignition"} & set(path):
        yield f"{where}: YAML reads {node.value} as octal; write it without the leading zero, or in quotes to make it a string"
    elif isinstance(node, yaml.MappingNode):
        yield from _walk_mapping(node, path, lines, origin)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            yield from _walk(item, (*path, index), lines, origin)


def _without_tag(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"leave it out: write {json.dumps(node.value)} for a string" if node.value else "leave it out"
    return f"leave it out: a {'list' if isinstance(node, yaml.SequenceNode) else 'mapping'} needs none"


def _walk_mapping(node: yaml.MappingNode, path: Path, lines: dict[Path, int], origin: str) -> Iterator[str]:
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (_TAG + "str", _TAG + "merge"):
            if isinstance(key, yaml.ScalarNode):
                yield f"{origin}:{line}: {dotted((*path, name))}: the key is not a string; put it in quotes"
            else:
                kind = "list" if isinstance(key, yaml.SequenceNode) else "mapping"
                yield f"{origin}:{line}: {dotted((*path, f'a {kind}'))}: the key is not a string; write a string, such as name: value"
            continue
        if name in seen and key.tag != _TAG + "merge":
            yield f"{origin}:{line}: {dotted((*path, name))}: the key stands twice, first in line {seen[name]}"
        seen[name] = line
        lines[(*path, name)] = line
        yield from _walk(value, (*path, name), lines, origin)


def foreign_values(value: object, path: Path = (), depth: int = 0) -> Iterator[tuple[Path, str]]:
    """Paths of values that JSON does not have, each with what is wrong; for data that did not come as text, too."""
    if depth > MAX_DEPTH:
        yield path, f"more than {MAX_DEPTH} levels stand inside one another; write it flatter"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield (*path, str(key)), "the key is not a string; put it in quotes"
            else:
                yield from foreign_values(item, (*path, str(key)), depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from foreign_values(item, (*path, index), depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, "the number is not finite; write a number"
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        yield path, _TOO_LARGE
    elif isinstance(value, str) and _NOT_TEXT.search(value):
        yield path, "the text has control characters; remove them"
    elif value is not None and not isinstance(value, (str, int, float)):
        yield path, f"a value of type {type(value).__name__} is not accepted; write it as a string"


def dotted(path: Path) -> str:
    """``("machines", 0, "name")`` as ``machines[0].name``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
