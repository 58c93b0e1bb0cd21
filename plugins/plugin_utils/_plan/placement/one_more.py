# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Where one more machine of each group would go, beside all that exist: a new one, a clone, or one that leaves its host."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .observed import Observed
from .place import Settings, place_machines


def place_one_more(manifest: Mapping[str, t.Any], hosts: Observed, settings: Settings | None = None) -> dict[str, t.Any]:
    """The hosts for one more machine of each group, each group for itself.

    :param manifest: as parse_manifest returns it; how many machines it asks for does not matter.
    :returns: ``{group: {"machine", "host", "pools", "ratings": […], "problems": [str], "moves": [{"machine", "from", "to"}]}}``.
        ``machine`` is the name that it would get; ``host`` is None where it fits nowhere. ``moves`` has each machine that exists,
        with the best other host; ``to`` is None where there is none.
    """
    # What was only recorded takes no room.
    existing = {host: {**facts, "record": None} for host, facts in hosts.items()}
    return {group["name"]: _of_group(group["name"], manifest, existing, settings) for group in manifest["machines"]}


def _of_group(name: str, manifest: Mapping[str, t.Any], hosts: Observed, settings: Settings | None) -> dict[str, t.Any]:
    stands = {
        machine.get("machine") or machine.get("name"): host
        for host, facts in hosts.items()
        for machine in facts.get("machines") or []
        if machine.get("group") == name
    }
    groups = [
        {**group, "per_host": None, "count": _standing(group["name"], hosts) + (group["name"] == name)} for group in manifest["machines"]
    ]
    placed = place_machines({**manifest, "machines": groups}, hosts, settings=settings)
    new = next((entry for entry in placed["assignments"] if entry["group"] == name and not entry["exists"]), None)
    unplaced = next((entry for entry in placed["unplaced"] if entry["group"] == name), None)
    ratings = placed["ratings"].get(new["machine"], []) if new else []
    fitting = [rating["host"] for rating in ratings if rating["fits"]]
    place = next(group["place"] for group in groups if group["name"] == name)
    return {
        "machine": new["machine"] if new else unplaced["machine"] if unplaced else None,
        "host": new["host"] if new else None,
        "pools": new["pools"] if new else {},
        "ratings": ratings,
        "problems": unplaced["reasons"] if unplaced else [told for told in placed["problems"] if told.startswith(place)],
        "moves": [
            {"machine": machine, "from": host, "to": next((other for other in fitting if other != host), None)}
            for machine, host in stands.items()
        ],
    }


def _standing(name: str, hosts: Observed) -> int:
    return sum(machine.get("group") == name for facts in hosts.values() for machine in facts.get("machines") or [])
