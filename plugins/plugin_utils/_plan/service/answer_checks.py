# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Checks from which the shape of a host's answer is put together. Each raises Malformed with the place of what cannot be so."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ....module_utils._untrusted import MAX_DEPTH, Malformed, Value

Check = Callable[[Value], object]

# The record of a service may be large, and hold files.
MAX_TEXT, MAX_VALUES = 1 << 24, 2_000_000

MOST = 100_000
_NAME, _PATH = 255, 4096
_MAX_RATE = 1e9


def bounded(observation: object, host: str) -> t.Any:
    """The same, looked at without recursion. :raises Malformed: it is too large, too deep, or not JSON."""
    place = f"what {host} tells"
    waiting, values = [(observation, 1)], 0
    while waiting:
        item, depth = waiting.pop()
        inner: t.Iterable[t.Any] = ()
        if isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                raise Malformed(place, "a key is not text")
            inner = [*item, *item.values()]
        elif isinstance(item, (list, tuple)):
            inner = item
        elif isinstance(item, str) and len(item) > MAX_TEXT:
            raise Malformed(place, f"a text has {len(item)} characters; at most {MAX_TEXT} are accepted")
        elif isinstance(item, int) and abs(item) >= 1 << 64:
            raise Malformed(place, "a number has more than 64 bits")
        elif isinstance(item, float) and not abs(item) < float("inf"):
            raise Malformed(place, f"{item} is not a number")
        below = [(one, depth + 1) for one in inner]
        values += len(below)
        if values > MAX_VALUES or (below and depth > MAX_DEPTH):
            raise Malformed(place, f"it has more than {MAX_VALUES} values, or is nested more than {MAX_DEPTH} deep")
        waiting += below
    return observation


def list_of(check: Check, most: int = MOST) -> Check:
    return lambda value: [check(one) for one in value.items(most)]


def by_name(check: Check, most: int = 1000) -> Check:
    return lambda value: [check(one) for one in value.entries(most).values()]


def fields(**checks: Check) -> Check:
    """A mapping in which each of these is null, absent, or as it should be."""

    def check(value: Value) -> None:
        value.mapping()
        for key, one in checks.items():
            found = value.get(key)
            if found is not None:
                one(found)

    return check


def all_of(*checks: Check) -> Check:
    return lambda value: [check(value) for check in checks]


def has(**checks: Check) -> Check:
    """A mapping in which each of these is there."""
    return lambda value: [check(value[key]) for key, check in checks.items()]


def there(*names: str) -> Check:
    """A mapping in which each of these is told, be it as null."""

    def check(value: Value) -> None:
        missing = [name for name in names if name not in value.mapping()]
        if missing:
            raise value[missing[0]].wrong("it, or null")

    return check


def line(value: Value) -> None:
    value.cleaned(MAX_TEXT)


def name(value: Value) -> None:
    value.text(_NAME)


def path(value: Value) -> None:
    value.cleaned(_PATH)


def count(value: Value) -> None:
    value.integer()


def flag(value: Value) -> None:
    value.flag()


def mapping(value: Value) -> None:
    value.mapping()


def digest(value: Value) -> None:
    value.digest()


def rate(value: Value) -> None:
    value.number(0.0, _MAX_RATE)


def speed(value: Value) -> None:
    """By which something is divided."""
    value.number(1e-6, _MAX_RATE)


def moment(value: Value) -> None:
    value.number(-1e12, 1e12)
