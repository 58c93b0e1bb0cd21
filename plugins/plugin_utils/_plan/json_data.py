# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Plain data from whatever a template engine hands over, and the checks that name what is wrong with it."""

from __future__ import annotations

import json
import math
import pathlib
import typing as t
from collections.abc import Mapping, Sequence

from ...module_utils._errors import InvalidOption


def plain(value: object) -> t.Any:
    """Exact built-in types from whatever subclasses a template engine wraps data in."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    raise InvalidOption("data", type(value).__name__, "only JSON-like data is wanted")


def shown(value: object) -> t.Any:
    """A value short enough for a message."""
    text = repr(value)
    return value if len(text) <= 80 else text[:77] + "..."


def number(option: str, value: object, *, zero: bool = True, integer: bool = False) -> float:
    """A finite, non-negative number (positive unless ``zero``), or InvalidOption naming the option."""
    accepted = f"{'an integer' if integer else 'a number'} {'of at least' if zero else 'above'} 0 is wanted"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidOption(option, shown(value), accepted)
    if value < 0 or (not zero and value == 0) or (integer and int(value) != value):
        raise InvalidOption(option, value, accepted)
    return int(value) if integer else float(value)


def names(option: str, value: object, known: Mapping[str, int] | None = None) -> list[str]:
    """A list of distinct host names (one name may stand alone), all of them known if ``known`` is given."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
        raise InvalidOption(option, shown(value), "a list of host names is wanted")
    found = [str.__str__(item) for item in value]
    if len(set(found)) != len(found):
        twice = next(item for item in found if found.count(item) > 1)
        raise InvalidOption(option, twice, "each host may be named once")
    if known is not None:
        for item in found:
            if item not in known:
                hosts = list(known)
                few = ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")
                raise InvalidOption(option, item, f"the matrix has the hosts {few or '(none)'}")
    return found


def choice(option: str, value: object, accepted: Sequence[str]) -> str:
    """One of the accepted words."""
    if not isinstance(value, str) or value not in accepted:
        raise InvalidOption(option, shown(value), f"one of {', '.join(accepted)} is wanted")
    return str.__str__(value)


def read_input(option: str, value: object) -> t.Any:
    """The value itself, or the content of the JSON file that it names."""
    if not isinstance(value, (str, pathlib.PurePath)):
        return value
    path = pathlib.Path(value).expanduser()
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidOption(option, str(value), f"a structure or the path of a readable JSON file is ({error})")
    except (ValueError, RecursionError) as error:
        raise InvalidOption(option, str(value), f"the file must hold JSON ({error})")
