# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Cells of the report's tables, and what they are sorted by."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from . import texts

Data = Mapping[str, t.Any]


class Cell(t.NamedTuple):
    """One cell of a table: what it shows, by what it is sorted, and its kind (good, bad, warn, number, code)."""

    text: str
    sort: t.Any = None
    kind: str = ""


def table(name: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[t.Any]]) -> dict[str, t.Any]:
    """A table; cells that are plain texts become cells."""
    cells = [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row] for row in rows]
    return {"name": name, "caption": caption, "columns": list(columns), "rows": cells}


def long_cell(text: str) -> Cell:
    """A sentence, which needs room."""
    return Cell(text or texts.NONE, None, "long" if text else "")


def size_cell(amount: float | None) -> Cell:
    return Cell(texts.size(amount), -1 if amount is None else amount, "number")


def seconds_cell(value: float | None) -> Cell:
    return Cell(texts.seconds(value), -1 if value is None else value, "number")


def rate_cell(value: float | None) -> Cell:
    return Cell(texts.rate(value), -1 if value is None else value, "number")


def number_cell(value: float | None) -> Cell:
    return Cell(texts.NONE if value is None else f"{value:g}", -1 if value is None else value, "number")


def code_cell(value: t.Any) -> Cell:
    return Cell(str(value), None, "code")
