# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A store at one glance: for a look at all of its bases, which ask for the same files again and again."""

from __future__ import annotations

import typing as t

from .references import Reference
from .store import Store


class Glance(Store):
    """A store whose small files are read once each, however many bases have the same parents. Only for looking, and only for a moment."""

    def __init__(self, store: Store) -> None:
        self.__dict__.update(store.__dict__)
        self._metadata_of: dict[tuple[str, bool], tuple[dict[str, t.Any], str]] = {}
        self._references_of: dict[str, list[Reference]] = {}
        self._record_of: dict[str, dict[str, t.Any] | None] = {}

    def references(self, sha256: str) -> list[Reference]:
        if sha256 not in self._references_of:
            self._references_of[sha256] = super().references(sha256)
        return self._references_of[sha256]

    def _metadata(self, sha256: str, changed: bool = False) -> tuple[dict[str, t.Any], str]:
        if (sha256, changed) not in self._metadata_of:
            self._metadata_of[sha256, changed] = super()._metadata(sha256, changed)
        return self._metadata_of[sha256, changed]

    def _recorded(self, sha256: str) -> dict[str, t.Any] | None:
        if sha256 not in self._record_of:
            self._record_of[sha256] = super()._recorded(sha256)
        return self._record_of[sha256]
