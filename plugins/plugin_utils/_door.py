# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The door of a filter: what a template hands over is checked before it is used, and whatever is wrong with it is told as such."""

from __future__ import annotations

import functools
import inspect
import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleError, AnsibleFilterError

from ..module_utils._errors import FleetError
from ._plan.json_schema import Schema, check

P = t.ParamSpec("P")
R = t.TypeVar("R")
# What code meets in data whose depths no schema describes.
SHAPELESS = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def door(name: str, /, **schemas: Schema) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For the function of a filter, named in the collection. Each parameter is checked against the schema of its name.

    Mistakes are an AnsibleFilterError that names the parameter, and the place in it.
    """

    def guarded(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                given = signature.bind(*args, **kwargs).arguments
            except TypeError as error:
                raise AnsibleFilterError(
                    f"basecast.fleet.{name}: called with other parameters than it has: {error}{_expected(name)}"
                ) from None
            try:
                for option, schema in schemas.items():
                    if option in given:
                        check(option, given[option], schema)
                return function(*args, **kwargs)
            except AnsibleError:
                raise
            except FleetError as error:
                raise AnsibleFilterError(f"basecast.fleet.{name}: {error}") from error
            except SHAPELESS as error:
                found = f"{type(error).__name__}: {error}"
                raise AnsibleFilterError(
                    f"basecast.fleet.{name}: given data of another form than it takes: {found}{_expected(name)}"
                ) from error

        return checked

    return guarded


def _expected(name: str) -> str:
    return f"; expected what ansible-doc -t filter basecast.fleet.{name} tells"
