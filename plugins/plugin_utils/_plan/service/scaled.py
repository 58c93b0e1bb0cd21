# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""How many machines groups have been given since their manifest was written: what hosts remember of it, and what then counts.

A number that was remembered holds for as long as the manifest says the same ``count`` as when it was given. Who changes the
manifest's count since then means the new one.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

Scaled = Mapping[str, t.Any]
# As service_manifest returns them.
Manifest = Mapping[str, t.Any]
Group = Mapping[str, t.Any]
Hosts = Mapping[str, Mapping[str, t.Any]]


def remembered(service: str, hosts: Hosts, own: Scaled | None = None) -> dict[str, t.Any]:
    """The newest of what hosts remember: ``{"generation", "groups": {name: {"count", "of", "at"}}}``; empty if none does.

    :param hosts: with ``record``, as the survey tells it.
    :param own: what this run is about to have them remember.
    """
    records = [facts.get("record") or {} for facts in hosts.values()]
    found = [record["scaled"] for record in records if record.get("service") == service and record.get("scaled")]
    found += [own] if own else []
    return dict(max(found, key=_age, default={}))


def _age(scaled: Scaled) -> tuple[t.Any, ...]:
    """What lets all who see the same agree on the newest."""
    groups = scaled.get("groups") or {}
    return (scaled.get("generation") or 0, max((entry["at"] for entry in groups.values()), default=0), str(sorted(groups.items())))


def in_force(group: Group, scaled: Scaled) -> dict[str, t.Any] | None:
    """What is remembered of a group of the manifest; None if its own count holds."""
    entry = (scaled.get("groups") or {}).get(group["name"])
    if not entry or not group.get("count") or entry["of"] != group["count"]:
        return None
    return dict(entry)


def with_counts(manifest: Manifest, hosts: Hosts, own: Scaled | None = None) -> tuple[dict[str, t.Any], list[str]]:
    """The manifest with the numbers that are in force, and a sentence for each that is not its own.

    What is remembered stands in its ``scaled``, for the records of its hosts.
    """
    scaled = remembered(manifest["service"], hosts, own)
    if not scaled:
        return dict(manifest), []
    groups, notes = [], []
    for group in manifest["machines"]:
        entry = in_force(group, scaled)
        if entry is not None and entry["count"] != group["count"]:
            notes.append(
                f"{group['name']}: its count is {entry['count']}, as the playbook scale has set it; the manifest says {group['count']}."
                f" To go back: basecast.fleet.scale -e role={group['name']} -e count={group['count']}"
            )
        groups.append(group if entry is None else {**group, "count": entry["count"]})
    return {**manifest, "machines": groups, "scaled": scaled}, notes
