# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Numbers and states as the page shows them."""

from __future__ import annotations

import time
import typing as t

NONE = "–"

# State: (class for its colour, sign, word). The sign and the word say it without the colour.
MACHINE_STATES = {
    "deployed": ("good", "✓", "deployed"),
    "started": ("good", "▲", "started"),
    "present": ("good", "=", "already there"),
    "failed": ("bad", "✗", "failed"),
    "unreachable": ("bad", "✗", "unreachable"),
    "unknown": ("warn", "?", "unknown"),
    "unfit": ("bad", "✗", "host unfit"),
    "outside": ("warn", "?", "outside the run"),
    "unplaced": ("bad", "✗", "not placed"),
}
PREDICTED = {
    "deployed": ("plan", "+", "to be deployed"),
    "started": ("plan", "▲", "to be started"),
}


def machine_state(state: str, predicted: bool) -> tuple[str, str, str]:
    return (PREDICTED.get(state) if predicted else None) or MACHINE_STATES.get(state, ("warn", "?", str(state)))


def size(amount: float | None) -> str:
    if amount is None:
        return NONE
    value = float(amount)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def seconds(value: float | None) -> str:
    if value is None:
        return NONE
    if abs(value) < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if abs(value) < 7200 else f"{value / 3600:.1f} h"


def rate(mbps: float | None) -> str:
    if mbps is None:
        return NONE
    if mbps >= 1000:
        return f"{mbps / 1000:.1f} Gbit/s"
    return f"{mbps:.0f} Mbit/s" if mbps >= 10 else f"{mbps:.1f} Mbit/s"


def share(part: float, whole: float) -> str:
    """How much more than the whole, as people say it."""
    more = part / whole - 1 if whole else 0.0
    return "no more" if abs(more) < 0.0005 else f"{abs(more):.1%} {'more' if more > 0 else 'less'}"


def moment(epoch: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch)) if epoch else NONE


def short(text: t.Any, most: int = 28) -> str:
    """A name that has to fit into a figure; its title has all of it."""
    told = str(text)
    return told if len(told) <= most else f"{told[: most - 1]}…"


def several(names: t.Sequence[str], most: int = 6) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def retries(attempts: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """Why senders were left, each by its name; an error that begins with the name says it already."""
    told = [one["error"] if one["error"].startswith(one["parent"]) else f"{one['parent']}: {one['error']}" for one in attempts]
    return "; ".join(text.removesuffix(".") for text in told)


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
