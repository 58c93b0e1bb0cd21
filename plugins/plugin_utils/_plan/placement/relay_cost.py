# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Placement and relay as one problem: what it costs to bring a base follows from the relay that would result.

Before anything is placed, a layer takes as long as its shortest way from a holder. Once it is known who receives it, the relay
plan tells when each of them has it: receivers serve each other, or wait for each other. With those times it is placed once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..network.matrix import INF, Matrix, parse
from ..network.shortest_paths import shortest
from .layers import Bring, Layer, Layers
from .measured_links import measured_matrix
from .model import Assignment, Problem
from .observed import Observed

Times = dict[str, dict[str, float]]  # {layer: {host: seconds}}


class RelayCost:
    """Seconds to bring layers over the links of a matrix."""

    def __init__(self, matrix: object) -> None:
        self.matrix: Matrix = parse(matrix)

    def direct(self, layers: Layers) -> Times:
        """For each layer and host, by the shortest way from a holder. Hosts that none reaches are left out; ``layers`` keep from whom."""
        found: Times = {}
        for layer in _all(layers):
            holders = self._holders(layer, layers)
            if not holders:
                continue
            rows = self.matrix.sub(list(range(len(self.matrix.hosts))), layer.size or None)
            ways = shortest(rows, {self.matrix.index[host]: 0.0 for host in holders})
            found[layer.id] = {host: time for host, time in zip(self.matrix.hosts, ways.seconds, strict=True) if time < INF}
            layers.parents[layer.id] = {
                host: self.matrix.hosts[parent] for host, parent in zip(self.matrix.hosts, ways.parent, strict=True) if parent >= 0
            }
        return found

    def relayed(self, layers: Layers, receivers: Mapping[str, Sequence[str]], times: Times) -> Times:
        """The same times, with those of the relay plan for the hosts that receive.

        :param receivers: ``{layer: hosts}`` of a placement.
        """
        from ..relay.planner import relay_plan  # noqa: PLC0415 - its compiled parts take a second to load, and most plans do without

        found = {layer: dict(hosts) for layer, hosts in times.items()}
        for layer in _all(layers):
            targets = [host for host in receivers.get(layer.id, ()) if host in self.matrix.index]
            holders = self._holders(layer, layers)
            if targets and holders:
                plan = relay_plan(self.matrix, holders, targets, mode="staged", **({"size_bytes": layer.size} if layer.size else {}))
                for edge in (edge for stage in plan["stages"] for edge in stage):
                    found[layer.id][edge["to"]] = edge["end_s"]
                    layers.parents.setdefault(layer.id, {})[edge["to"]] = edge["from"]
        return found

    def _holders(self, layer: Layer, layers: Layers) -> list[str]:
        return [host for host in self.matrix.hosts if host in layers.holders.get(layer.id, ())]


def cost_of(hosts: Observed, bring: Bring | None, matrix: object = None, stated: object = None) -> RelayCost | None:
    """What links cost: by the matrix that is given, else by what hosts have measured; None where neither is known.

    :param bring: seconds that are given; then nothing that was measured counts.
    :param stated: links that the user states.
    """
    if matrix is None and bring is None:
        matrix = measured_matrix(hosts, stated)
    return None if matrix is None else RelayCost(matrix)


def _all(layers: Layers) -> list[Layer]:
    return list(dict.fromkeys(layer for chain in layers.of_base.values() for layer in chain))


def receivers_of(problem: Problem, assignment: Assignment) -> dict[str, list[str]]:
    """``{layer: hosts}``: who has to get what; of a shared storage the first host that uses it."""
    found: dict[str, list[str]] = {}
    served: set[int] = set()
    roles = problem.machines
    for machine, option in enumerate(assignment):
        if option < 0:
            continue
        chosen = problem.roles[roles[machine]].options[option]
        for part in chosen.parts:
            for copy in problem.parts[part].copies:
                if copy not in served:
                    served.add(copy)
                    hosts = found.setdefault(problem.bases[problem.copies[copy].base], [])
                    name = problem.hosts[chosen.host].name
                    hosts += [] if name in hosts else [name]
    return found
