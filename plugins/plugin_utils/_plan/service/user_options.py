# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What users give with -e: texts where something else is meant, and nothing where a list or a variable was empty."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

Request = Mapping[str, t.Any]

_TRUE = ("true", "yes", "on", "y", "t", "1")  # what Ansible takes for a boolean
_FALSE = ("false", "no", "off", "n", "f", "0")

# Options of other playbooks by which users may mean to have named a part of a service.
_OF_OTHERS = {"machine": "name machines with machines=NAME,NAME", "host": "choose hosts with --limit"}


def flag(value: object) -> bool | None:
    """None for what is neither; Ansible's own filter takes that for false."""
    text = str(value).lower()
    return True if text in _TRUE else False if text in _FALSE else None


def flag_mistakes(request: Request, options: Sequence[str]) -> Iterator[str]:
    for option in options:
        value = request.get(option)
        if value not in (None, "") and flag(value) is None:
            yield f"{option}: invalid value {value!r}; expected true or false"


def empty_mistakes(request: Request, options: Sequence[str], otherwise: str) -> Iterator[str]:
    """Where all were left out, everything is meant; where one was given and is empty, that may be a mistake.

    :param request: with ``given``, the names of those that were given at all.
    :param otherwise: what happens without them.
    """
    if any(request.get(option) for option in options):
        return
    for option in options:
        if option in (request.get("given") or ()):
            yield f"{option}: given and empty; without it, {otherwise}. Expected a value, or leave it out"


def foreign_mistakes(request: Request) -> Iterator[str]:
    """
    :param request: with ``given``, the names of those that were given at all.
    """
    for option, instead in _OF_OTHERS.items():
        if option in (request.get("given") or ()):
            yield f"{option}: this playbook has no such option, and would do more than was meant; {instead}"
