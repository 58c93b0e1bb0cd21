# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Whether inner loops are compiled (Numba, if it is installed) or interpreted, and the arrays they work on.

The loops are written in what both understand, over flat arrays; interpreted they work on lists, as indexing NumPy
arrays from Python is slower. Both do the same arithmetic, so that the same number of moves gives the same plan;
the interpreted engine is given fewer moves.

Numba takes half a second to import, and SciPy another one. They are imported where they are used (PLC0415), so that other
plans and filters do not wait for them.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, MutableSequence

try:
    import numba
    import numpy as np

    COMPILED = not numba.config.DISABLE_JIT
except ImportError:
    COMPILED = False

NAME = "compiled" if COMPILED else "interpreted"
F = t.TypeVar("F", bound=Callable[..., t.Any])
# What the loops work on: NumPy arrays, or lists where nothing is compiled.
Floats: t.TypeAlias = MutableSequence[float]
Ints: t.TypeAlias = MutableSequence[int]


def kernel(function: F) -> F:
    """Compiles a function where that is possible; the result is cached on disk.

    It makes no lists or arrays itself, so it need not count the references to those that it is given. That would take most of
    the time where named tuples of many arrays are passed on.
    """
    return _compiled(function, {"_nrt": False})


def inlined(function: F) -> F:
    """A kernel that becomes part of each one that calls it: passing many arrays on would take longer than its own work."""
    return _compiled(function, {"_nrt": False, "inline": "always"})


def _compiled(function: F, options: dict[str, t.Any]) -> F:
    if not COMPILED:
        return function
    try:
        return t.cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # neither beside the code nor in the user's home may anything be written
        return t.cast(F, numba.njit(**options)(function))


def floats(values: Iterable[float]) -> Floats:
    """A flat array of floats."""
    if COMPILED:
        return t.cast(Floats, np.array(list(values), dtype=np.float64))
    return [float(x) for x in values]


def ints(values: Iterable[int]) -> Ints:
    """A flat array of integers."""
    if COMPILED:
        return t.cast(Ints, np.array(list(values), dtype=np.int64))
    return list(values)


def fill_floats(count: int, value: float = 0.0) -> Floats:
    """``count`` times the value."""
    return t.cast(Floats, np.full(count, value, dtype=np.float64)) if COMPILED else [value] * count


def fill_ints(count: int, value: int = 0) -> Ints:
    """``count`` times the value."""
    return t.cast(Ints, np.full(count, value, dtype=np.int64)) if COMPILED else [value] * count


def flat(rows: t.Sequence[t.Sequence[float]]) -> Floats:
    """All rows one after another."""
    if COMPILED:
        return t.cast(Floats, np.array(rows, dtype=np.float64).reshape(-1))
    return [float(x) for row in rows for x in row]


@kernel
def start_random(random: Ints, seed: int, stream: int) -> None:
    """Starts the generator whose state is ``random[0]``; searches with different ``stream`` draw different numbers."""
    x = (seed * 2654435761 + stream) & 4294967295
    random[0] = x if x != 0 else 1


@kernel
def draw(random: Ints) -> int:
    """The next random number, 1 to 2^32 - 1 (xorshift: Marsaglia 2003)."""
    x = random[0]
    x ^= (x << 13) & 4294967295
    x ^= x >> 17
    x ^= (x << 5) & 4294967295
    random[0] = x
    return x
