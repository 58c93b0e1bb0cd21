# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The one door for structures that another party wrote: files of a store, messages of peers, reports of guests, answers of
servers and of programs.

``parse`` bounds size, depth and number of values before anything is built from them; ``Value`` is then read field by field,
each time saying what is expected. Whatever is wrong is a Malformed that names the place, never another exception.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import typing as t

from ._errors import FleetError
from ._names import is_sha256
from ._text import clean, shown

MAX_BYTES = 1 << 22
MAX_DEPTH = 32
MAX_VALUES = 200_000
MAX_TEXT = 1 << 16
MAX_INTEGER = (1 << 63) - 1

_BRACKETS = b"[]{}"
_NOT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_LONG_NUMBER = re.compile(rb"[0-9]{64}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_DECIMAL = re.compile(r"[0-9]{1,19}\Z")
# Controls, lone surrogates, separators of lines, and marks that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_MISSING: t.Any = object()


class Malformed(FleetError, ValueError):
    """Something that another party wrote is not what was agreed upon; ``fields.place`` says where."""

    kind = "malformed"

    def __init__(self, place: str, problem: str) -> None:
        self.place = clean(place, 300)
        self.problem = problem
        super().__init__(f"{self.place}: {problem}", place=self.place)


def parse(
    data: bytes | bytearray | memoryview | str,
    place: str,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_values: int = MAX_VALUES,
) -> t.Any:
    """What a JSON text says. UTF-8 without repeated keys, NaN, infinity or half characters.

    :param place: what the text is, as messages name it.
    :raises Malformed: for every other text.
    """
    if isinstance(data, str):
        try:
            data = data.encode("utf-8")
        except UnicodeEncodeError:
            raise Malformed(place, "the text is not UTF-8")
    if len(data) > max_bytes:
        raise Malformed(place, f"it has {len(data)} bytes; at most {max_bytes} are accepted")
    data = bytes(data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(place, f"byte {error.start} is not UTF-8")
    _check_shape(data, place, max_depth, max_values)
    try:
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique(pairs, place),
            parse_float=lambda number: _finite(number, place),
            parse_constant=lambda name: _refuse_constant(name, place),
        )
    except Malformed:
        raise
    except json.JSONDecodeError as error:
        raise Malformed(place, f"it is not JSON: {error.msg} at line {error.lineno}, column {error.colno}")
    except ValueError as error:
        raise Malformed(place, f"it is not JSON: {clean(error, 200)}")
    if _SURROGATE.search(data):
        _check_characters(value, place)
    return value


def read(
    data: bytes | bytearray | memoryview | str,
    place: str,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_values: int = MAX_VALUES,
) -> Value:
    """The same, to be read field by field."""
    return Value(parse(data, place, max_bytes, max_depth, max_values), place)


def decimal(text: t.Any, place: str, low: int = 0, high: int = MAX_INTEGER) -> int:
    """A whole number that is written in decimal digits and nothing else: no sign, space, exponent or other alphabet."""
    if isinstance(text, str) and _DECIMAL.match(text) and low <= int(text) <= high:
        return int(text)
    raise Malformed(place, f"{shown(text)} is not accepted; a whole number from {low} to {high} is expected")


class Value:
    """One value of a structure and its place in it. Every method returns what is expected or raises Malformed.

    ``value["key"]`` and ``value.items()`` go down, ``value.get("key")`` is None for a key that is absent or null.
    """

    __slots__ = ("place", "raw")

    def __init__(self, raw: t.Any, place: str) -> None:
        self.raw = raw
        self.place = place

    def __getitem__(self, key: str) -> Value:
        return Value(self.mapping().get(key, _MISSING), f"{self.place}: {key}")

    def get(self, key: str) -> Value | None:
        found = self.mapping().get(key)
        return None if found is None else Value(found, f"{self.place}: {key}")

    def mapping(self, limit: int = MAX_VALUES) -> dict[str, t.Any]:
        """All of it as it is, for a mapping with names that are not known beforehand see ``entries``."""
        if not isinstance(self.raw, dict):
            raise self.wrong("a mapping")
        if len(self.raw) > limit:
            raise Malformed(self.place, f"it has {len(self.raw)} keys; at most {limit} are accepted")
        return self.raw

    def entries(self, limit: int) -> dict[str, Value]:
        """Keys are checked as ``text`` is."""
        return {
            Value(key, f"{self.place}: a key").text(): Value(item, f"{self.place}: {clean(key, 80)}")
            for key, item in self.mapping(limit).items()
        }

    def items(self, limit: int) -> list[Value]:
        if not isinstance(self.raw, (list, tuple)):
            raise self.wrong("a list")
        if len(self.raw) > limit:
            raise Malformed(self.place, f"it has {len(self.raw)} entries; at most {limit} are accepted")
        return [Value(item, f"{self.place}[{number}]") for number, item in enumerate(self.raw)]

    def text(self, limit: int = 1024, pattern: str | None = None, what: str = "") -> str:
        """A text of one line without control characters.

        :param pattern: regular expression that the whole text has to match; ``what`` then says it in words.
        """
        if not isinstance(self.raw, str) or len(self.raw) > limit or _CONTROLS.search(self.raw):
            raise self.wrong(what or f"a line of at most {limit} characters")
        if pattern is not None and re.fullmatch(pattern, self.raw) is None:
            raise self.wrong(what or f"a text of the form {pattern}")
        return self.raw

    def cleaned(self, limit: int = 500, lines: bool = False) -> str:
        """A text to be shown, whatever is in it."""
        if not isinstance(self.raw, str):
            raise self.wrong("a text")
        return clean(self.raw, limit, lines)

    def choice(self, *names: str) -> str:
        if not isinstance(self.raw, str) or self.raw not in names:
            raise self.wrong(f"one of {', '.join(names)}" if len(names) > 1 else names[0])
        return self.raw

    def digest(self) -> str:
        if not is_sha256(self.raw):
            raise self.wrong("64 lower-case hexadecimal digits")
        return t.cast(str, self.raw)

    def integer(self, low: int = 0, high: int = MAX_INTEGER) -> int:
        """true and false are no numbers, and 1.0 is no whole one."""
        if isinstance(self.raw, int) and not isinstance(self.raw, bool) and low <= self.raw <= high:
            return self.raw
        raise self.wrong(f"a whole number from {low} to {high}")

    def number(self, low: float = 0.0, high: float = 1e18) -> float:
        if isinstance(self.raw, (int, float)) and not isinstance(self.raw, bool) and low <= self.raw <= high:
            return float(self.raw)
        raise self.wrong(f"a number from {low:g} to {high:g}")

    def flag(self) -> bool:
        if isinstance(self.raw, bool):
            return self.raw
        raise self.wrong("true or false")

    def wrong(self, expected: str) -> Malformed:
        """The error to raise where something else than this was expected."""
        if self.raw is _MISSING:
            return Malformed(self.place, f"missing; expected {expected}")
        return Malformed(self.place, f"{shown(self.raw)} is not accepted; expected {expected}")


def _check_shape(data: bytes, place: str, max_depth: int, max_values: int) -> None:
    """Depth and number of values, from the characters that are not inside of strings."""
    outside = data
    if b'"' in data:
        # In a string only \\ and \" hide a quote; elsewhere a backslash ends the parser at once.
        outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    values = outside.count(b",") + outside.count(b"[") + outside.count(b"{")
    if values > max_values:
        raise Malformed(place, f"it has {values} values; at most {max_values} are accepted")
    steps = map(_STEPS.__getitem__, outside.translate(None, _NOT_BRACKETS))
    depth = max(itertools.accumulate(steps), default=0)
    if depth > max_depth:
        raise Malformed(place, f"it is nested {depth} deep; at most {max_depth} is accepted")
    if _LONG_NUMBER.search(outside):
        raise Malformed(place, "it has a number of 64 digits or more")


def _unique(pairs: list[tuple[str, t.Any]], place: str) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise Malformed(place, f"the key {shown(key)} is there twice")
            seen.add(key)
    return found


def _finite(number: str, place: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise Malformed(place, f"the number {clean(number, 40)} is too large")
    return value


def _refuse_constant(name: str, place: str) -> t.NoReturn:
    raise Malformed(place, f"{name} is not a number")


def _check_characters(value: t.Any, place: str) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if any("\ud800" <= character <= "\udfff" for character in item):
                raise Malformed(place, "it has half of a character (a lone surrogate)")
        elif isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
