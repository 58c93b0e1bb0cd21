# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The one place where text that others wrote is made fit for a terminal, a log and a report.

Nothing is hidden: only colours are dropped, everything else that a terminal would obey, or that would change the order
or the look of its neighbours, is written out as ``\\x1b`` or ``\\u202e``.
"""

from __future__ import annotations

import re
import typing as t
import unicodedata

LIMIT = 2000
DEPTH = 64

# Candidates; str.isprintable decides: it refuses controls, marks and overrides of direction, invisible characters, separators,
# lone surrogates, and what Unicode has not assigned yet.
_STRANGE = re.compile("[^\x20-\x7e]")
_JOINERS = "\u200c\u200d"  # Persian and Indian scripts, and emoji, need them inside of words
_COLOUR = re.compile("(?:\x1b\\[|\x9b)[0-9;:]{0,40}m")
_LINE_ENDS = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Marks of any script upon marks reach into the lines above and below.
_MOST_MARKS = 4
_MAYBE_MARKS = re.compile(f"[^\x20-\x7e]{{{_MOST_MARKS + 1},}}")


def clean(text: t.Any, limit: int = LIMIT, lines: bool = False) -> str:
    """The text as it may be shown, at most ``limit`` characters of it and a note of how many were left out.

    :param text: bytes are read as UTF-8; anything else that is not text is shown as Python writes it.
    :param lines: line ends and tabs stay; otherwise they become spaces, so that the text is one line.
    """
    if isinstance(text, (bytes, bytearray, memoryview)):
        text = bytes(text[: 4 * limit + 4]).decode("utf-8", "backslashreplace")
    elif not isinstance(text, str):
        text = str(text)
    left_out = len(text) - limit
    if left_out > 0:
        text = text[:limit]
    if text.isprintable():
        shown = text if text.isascii() else _MAYBE_MARKS.sub(_few_marks, text)
    else:
        shown = _MAYBE_MARKS.sub(_few_marks, _COLOUR.sub("", text))
        shown = shown.replace("\r\n", "\n") if lines else _LINE_ENDS.sub(" ", shown).replace("\t", " ")
        shown = _STRANGE.sub(_kept_in_lines if lines else _written_out, shown)
    return f"{shown} … ({left_out} more characters)" if left_out > 0 else shown


def clean_data(value: t.Any, limit: int = 1 << 18, depth: int = DEPTH) -> t.Any:
    """A structure with every text in it, keys included, fit to be shown; lines are kept. Deeper parts are left out."""
    if isinstance(value, str):
        return clean(value, limit, lines=True)
    if isinstance(value, (bytes, bytearray)):
        return clean(value, limit, lines=True)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth <= 0:
        return "…"
    if isinstance(value, t.Mapping):
        return {clean(key, 1000) if isinstance(key, str) else key: clean_data(item, limit, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [clean_data(item, limit, depth - 1) for item in value]
    return value


def shown(value: t.Any, limit: int = 100) -> str:
    """A value as an error message names it: what it is, and no more of it than fits."""
    if isinstance(value, str):
        return clean(repr(value[: limit + 1]) if len(value) <= limit else repr(value[:limit]) + "…", 8 * limit)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"a mapping of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    return clean(repr(value), limit)


def _few_marks(match: re.Match[str]) -> str:
    text = match.group()
    if text.isalpha():
        return text  # most of what is written in other scripts, at once
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if character in _JOINERS or unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def _written_out(match: re.Match[str]) -> str:
    character = match.group()
    if character.isprintable() or character in _JOINERS:
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _kept_in_lines(match: re.Match[str]) -> str:
    return match.group() if match.group() in "\n\t" else _written_out(match)
