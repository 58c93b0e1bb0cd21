# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Long sentences in lines that a terminal shows whole."""

from __future__ import annotations

import textwrap

WIDTH = 100
# Of tables and lists that stand in a task's result, which is indented and quoted.
NARROW = 88


def wrapped(text: str, first: str = "", further: str | None = None, width: int = WIDTH, cut: bool = False) -> list[str]:
    """The text in lines; one empty line where there is no text.

    :param first: what the first line begins with.
    :param further: what the other lines begin with; by default the blanks of the first, and two more.
    :param cut: whether words that are longer than a line are cut.
    """
    if further is None:
        further = " " * (len(first) - len(first.lstrip()) + 2)
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=further, break_long_words=cut, break_on_hyphens=False
    ) or [""]  # fmt: skip
