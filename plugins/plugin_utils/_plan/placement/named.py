# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Machines whose host the manifest names: they go there, and what that would break is told.

The memory of such hosts, and what is written to their pools at once, are looked at by the preflight.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from .build import Wish, build, placement_of
from .explain import why_not
from .fleet import HostFacts, claimed_text
from .layers import Layers
from .observed import Observed
from .ranking import Ranking

Group = Mapping[str, t.Any]
Manifest = Mapping[str, t.Any]

# How reasons begin or end that the preflight tells too, with their own places.
PREFLIGHT = ("memory: ", "it has no usable pool", "it has: ", "would be written at once")


# {group: {host: the pools of each machine that fits, in their order}}
Pools = dict[str, dict[str, list[tuple[str, ...]]]]


def place_named(
    manifest: Manifest,
    fleet: Sequence[HostFacts],
    layers: Layers,
    groups: Mapping[str, Mapping[str, int]],
    hosts: Observed,
) -> tuple[Pools, list[str]]:
    """The pools of new machines on the hosts that the manifest names, and sentences for those that do not fit there.

    :param groups: ``{group: {host: new machines}}``.
    """
    pools: Pools = {}
    by_host: dict[str, list[tuple[Group, int]]] = {}
    for group in manifest["machines"]:
        for host, count in groups.get(group["name"], {}).items():
            by_host.setdefault(host, []).append((group, count))
    known = {host.name: host for host in fleet}
    problems: list[str] = []
    for name, wanted in by_host.items():
        if name in known and not known[name].why_not:
            claimed = claimed_text(hosts.get(name) or {})
            end = f" ({claimed})" if claimed else ""
            problems += [told + end for told in _of_host(manifest, known[name], layers, wanted, pools)]
    return pools, problems + list(_spread_problems(manifest, fleet, groups))


def _of_host(manifest: Manifest, host: HostFacts, layers: Layers, wanted: Sequence[tuple[Group, int]], pools: Pools) -> Iterator[str]:
    """One host at a time: the problem of placing its machines there and nowhere else."""
    built = build(manifest, [host], layers, [Wish(group, (host.name,), count) for group, count in wanted])
    ranking = Ranking(built, [host], {group["name"]: "spread" for group, _count in wanted})
    machines = built.problem.machines
    for role, (group, count) in enumerate(wanted):
        placed = pools.setdefault(group["name"], {}).setdefault(host.name, [])
        for machine in (at for at, other in enumerate(machines) if other == role):
            best = min((key for option in ranking.options_of(role) if (key := ranking.key(role, option)) is not None), default=None)
            if best is None:
                break
            ranking.put(machine, best[-1])
            placed.append(ranking.option(role, best[-1]).pools)
        if len(placed) < count:
            why = why_not(built, ranking.arrays, role).get(host.name, "")
            told = [part for part in why.split("; ") if part and not any(known in part for known in PREFLIGHT)]
            if told:
                left = f"{count - len(placed)} of {count} machines of {group['name']} do not fit"
                yield f"{group['place']}: {left} on {host.name}: {'; '.join(told)}"


def _spread_problems(manifest: Manifest, fleet: Sequence[HostFacts], groups: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Named hosts of one domain may together get more than the group's spread allows."""
    for group in manifest["machines"]:
        spread = placement_of(manifest, group).get("spread")
        if not spread or spread["by"] == "host":
            continue
        counts: dict[str, int] = {}
        for host in fleet:
            labels = (label for label in sorted(host.labels) if label.startswith(f"{spread['by']}="))
            domain = host.site if spread["by"] == "site" else next(labels, "")
            counts[domain] = counts.get(domain, 0) + groups.get(group["name"], {}).get(host.name, 0)
        for domain, count in counts.items():
            if count > spread["at_most"]:
                yield (
                    f"{group['place']}: the named hosts of {spread['by']} {domain or '(none)'} would get {count} machines of"
                    f" {group['name']}; its spread allows {spread['at_most']}"
                )
