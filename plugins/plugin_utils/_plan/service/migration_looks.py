# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What hosts tell of their machines and migrations, as migration_info returns it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .report import one_line

FORMAT = 1

Looks = Mapping[str, Mapping[str, t.Any]]
Request = Mapping[str, t.Any]


def seen_of(looks: Looks) -> dict[str, Mapping[str, t.Any]]:
    return {host: look["migration"] for host, look in looks.items() if look.get("migration")}


def unknown_of(looks: Looks) -> dict[str, str]:
    return {host: one_line(look.get("msg")) for host, look in looks.items() if not look.get("migration")}


def records_of(looks: Looks) -> list[dict[str, t.Any]]:
    """For each service its newest assignments, and the hosts that have a record."""
    found: dict[tuple[str, str], dict[str, t.Any]] = {}
    for host, look in seen_of(looks).items():
        for service in look["services"]:
            key = (service["tenant"], service["service"])
            record = found.setdefault(key, {"tenant": key[0], "service": key[1], "generation": -1, "assignments": {}, "hosts": []})
            record["hosts"].append(host)
            if service["generation"] > record["generation"]:
                record.update(generation=service["generation"], assignments=service["assignments"])
    return list(found.values())
