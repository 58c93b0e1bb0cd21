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

from . import kernels
from .arrays import Arrays
from .build import Wish, build, placement_of
from .explain import why_not
from .fleet import HostFacts, claimed_text
from .kernels import NEVER
from .layers import Layers
from .observed import Observed

Group = Mapping[str, t.Any]

# How reasons begin or end that the preflight tells too, with their own places.
PREFLIGHT = ("memory: ", "it has no usable pool", "it has: ", "would be written at once")


def named_problems(
    manifest: Mapping[str, t.Any],
    fleet: Sequence[HostFacts],
    layers: Layers,
    groups: Mapping[str, Mapping[str, int]],
    hosts: Observed,
) -> list[str]:
    """Sentences for new machines that do not fit on the host that the manifest names.

    :param groups: ``{group: {host: new machines}}``.
    """
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
            problems += [told + end for told in _of_host(manifest, known[name], layers, wanted)]
    return problems + list(_spread_problems(manifest, fleet, groups))


def _of_host(manifest: Mapping[str, t.Any], host: HostFacts, layers: Layers, wanted: Sequence[tuple[Group, int]]) -> Iterator[str]:
    """One host at a time: the problem of placing its machines there and nowhere else."""
    built = build(manifest, [host], layers, [Wish(group, (host.name,), count) for group, count in wanted])
    arrays = Arrays(built.problem, fast=False)
    machines = built.problem.machines
    for role, (group, count) in enumerate(wanted):
        options = range(arrays.world.option_from[role], arrays.world.option_from[role + 1])
        placed = 0
        for machine in (at for at, other in enumerate(machines) if other == role):
            option = next((at for at in options if kernels.missing(arrays.world, arrays.state, role, at, NEVER) >= 0), None)
            if option is None:
                break
            kernels.put(arrays.world, arrays.state, machine, option)
            placed += 1
        if placed < count:
            why = why_not(built, arrays, role).get(host.name, "")
            told = [part for part in why.split("; ") if part and not any(known in part for known in PREFLIGHT)]
            if told:
                left = f"{count - placed} of {count} machines of {group['name']} do not fit"
                yield f"{group['place']}: {left} on {host.name}: {'; '.join(told)}"


def _spread_problems(manifest: Mapping[str, t.Any], fleet: Sequence[HostFacts], groups: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
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
