# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The version of this collection: of an installed one, or of a checkout."""

from __future__ import annotations

import json
import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def version(root: Path = _ROOT) -> str:
    """Empty where nothing tells it."""
    try:
        return str(json.loads((root / "MANIFEST.json").read_text(encoding="utf-8"))["collection_info"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a checkout has none
    try:
        found = re.search(r"(?m)^version: *(\S+)", (root / "galaxy.yml").read_text(encoding="utf-8"))
    except OSError:
        return ""
    return found[1] if found else ""
