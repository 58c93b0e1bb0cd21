# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The door of the filters: what a caller hands over is checked against a JSON Schema."""

from __future__ import annotations

import functools
import math
import sys
import typing as t
from collections.abc import Iterator, Mapping

from ...module_utils._errors import FleetError, InvalidOption
from .json_data import shown

try:
    import jsonschema
except ImportError:  # told to the user when something is checked
    jsonschema = None  # type: ignore[assignment]

Schema = Mapping[str, t.Any]


def mistakes(schema: Schema, value: object) -> Iterator[t.Any]:
    """The validator's errors. :raises FleetError: without jsonschema on the controller."""
    if jsonschema is None:
        raise FleetError(
            f"jsonschema: this Python package is missing on the controller; install it: {sys.executable} -m pip install jsonschema",
            kind="requirement",
        )
    yield from _validator()(schema).iter_errors(value)


@functools.cache
def _validator() -> t.Any:
    """To JSON infinity and what is not a number are no numbers; Python's reader lets them pass."""
    plain = jsonschema.Draft202012Validator
    types = plain.TYPE_CHECKER
    numbers = {
        kind: lambda checker, value, kind=kind: types.is_type(value, kind) and (isinstance(value, int) or math.isfinite(value))
        for kind in ("number", "integer")
    }
    return jsonschema.validators.extend(plain, type_checker=types.redefine_many(numbers))


def check(option: str, value: object, schema: Schema) -> None:
    """Refuses what the schema does not accept. Every part of the schema has a ``description`` of what is accepted.

    :raises InvalidOption: for the first mistake, with its place: ``hosts[kvm1].capacity.cpus``.
    """
    for error in mistakes(schema, value):
        found = error.instance if isinstance(error.instance, (str, int, float)) else shown(error.instance)
        missing = [key for key in error.schema["required"] if key not in error.instance] if error.validator == "required" else []
        lacking = f"; {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing" if missing else ""
        raise InvalidOption(_place(option, error.absolute_path), found, f"{error.schema['description']} is wanted{lacking}")


def _place(option: str, path: t.Iterable[object]) -> str:
    """The first step is a name of the caller's: a host, a tenant, a layer. A key of YAML may be a number."""
    steps = list(path)
    told = option + "".join(f"[{step}]" for step in steps[:1])
    return told + "".join(f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{step}]" for step in steps[1:])
