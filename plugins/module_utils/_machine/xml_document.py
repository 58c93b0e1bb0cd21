# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""XML from libvirt, in which users and other programs have written: bounded in size, depth and number of elements."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .._text import clean
from .._untrusted import Malformed

MAX_CHARACTERS = 4 << 20
_MAX_DEPTH = 64
_MAX_ELEMENTS = 50_000
_MAX_PLAIN = 5_000  # tags and the like: so many bound the number of elements and the depth by themselves


def _too_deep(place: str) -> Malformed:
    return Malformed(place, f"it is nested more than {_MAX_DEPTH} deep")


class _Bounded(ET.TreeBuilder):
    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place
        self._depth = 0
        self._elements = 0

    def start(self, tag: t.Any, attrs: t.Any) -> t.Any:
        self._depth += 1
        self._elements += 1
        if self._depth > _MAX_DEPTH:
            raise _too_deep(self._place)
        if self._elements > _MAX_ELEMENTS:
            raise Malformed(self._place, f"it has more than {_MAX_ELEMENTS} elements")
        return super().start(tag, attrs)

    def end(self, tag: t.Any) -> t.Any:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, *_declaration: t.Any) -> None:
        """No libvirt writes one, and with it come entities that grow."""
        raise Malformed(self._place, "it has a document type")


def parse_xml(text: str, place: str = "the XML of libvirt") -> ET.Element:
    """
    :raises Malformed: what is wrong with it.
    """
    if len(text) > MAX_CHARACTERS:
        raise Malformed(place, f"it has {len(text)} characters; at most {MAX_CHARACTERS} are accepted")
    # A host has hundreds of definitions, and none of them comes near a bound: then no callback in Python is needed to hold it.
    near = text.count("<") > _MAX_PLAIN or "<!DOCTYPE" in text
    parser = ET.XMLParser(target=_Bounded(place)) if near else ET.XMLParser()
    try:
        parser.feed(text)
        root = parser.close()
    except ET.ParseError as error:
        raise Malformed(place, f"it is not XML: {clean(error, 200)}")
    except (ValueError, UnicodeEncodeError) as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed(place, f"it is not XML: {clean(error, 200)}")
    if not near and _depth(root) > _MAX_DEPTH:
        raise _too_deep(place)
    return root


def _depth(root: ET.Element) -> int:
    level, depth = [root], 0
    while level:
        level, depth = [child for element in level for child in element], depth + 1
    return depth
