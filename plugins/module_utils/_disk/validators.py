# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""By what a server can say that a file has not changed; apart from downloads, since most who read records of them never download."""

from __future__ import annotations

import typing as t

MAX_VALIDATOR = 1024


class Validators(t.NamedTuple):
    """By which a server can say that a file has not changed; empty strings where it does not tell."""

    etag: str = ""
    last_modified: str = ""
    length: int = -1
