# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Trees as parents by host, -1 for holders: what every room asks of them."""

from __future__ import annotations

from collections.abc import Sequence


def children_of(parent: Sequence[int]) -> list[list[int]]:
    """The hosts that each host serves."""
    children: list[list[int]] = [[] for _unused in parent]
    for v, p in enumerate(parent):
        if p >= 0:
            children[p].append(v)
    return children


def top_down(children: Sequence[Sequence[int]], roots: Sequence[int]) -> list[int]:
    """Hosts, every parent before its children."""
    order = list(roots)
    for v in order:
        order.extend(children[v])
    return order


def depths(parent: Sequence[int], roots: Sequence[int]) -> list[int]:
    """Links from a holder to each host, in one tree."""
    depth = [0] * len(parent)
    for v in top_down(children_of(parent), roots):
        if parent[v] >= 0:
            depth[v] = depth[parent[v]] + 1
    return depth
