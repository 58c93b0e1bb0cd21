# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""Values of a manifest that are written as texts: templates and surveys know nothing else."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ....module_utils._machine.hardware.processor import SET_PATTERN
from .user_options import flag


def as_meant(value: object, schema: Mapping[str, t.Any]) -> t.Any:
    """The same with numbers and truth values where the schema wants them and the text is one; anything else stays as it is.

    A number becomes a text only where that is one of the accepted ones, such as a version without quotes, or a set of numbers.
    """
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        rest = others if isinstance(others, Mapping) else {}
        return {key: as_meant(inner, known.get(key, rest)) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_meant(inner, schema.get("items", {})) for inner in value]
    kind = schema.get("type")
    if isinstance(value, str):
        return _from_text(value, kind)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        is_set = isinstance(value, int) and value >= 0 and schema.get("pattern") == SET_PATTERN
        return str(value) if is_set or str(value) in schema.get("enum", ()) else value
    return value


def _from_text(text: str, kind: t.Any) -> t.Any:
    if kind == "boolean":
        return text if flag(text) is None else flag(text)
    if kind in ("integer", "number") and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if kind == "number" and re.fullmatch(r"-?[0-9]{1,18}\.[0-9]{1,18}", text):
        return float(text)
    return text
