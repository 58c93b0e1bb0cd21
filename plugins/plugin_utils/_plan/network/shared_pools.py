# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Hosts whose pool is the same storage: what comes to one of them, all of them have.

A plan brings the base to one host of each such group. The others are in it with the same parents, so that each of them can
go on where that one dies.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence

from .matrix import INF, Matrix
from .shortest_paths import shortest


class Apart(t.NamedTuple):
    """Targets to be planned for, and for each other one the host whose copy it shares."""

    targets: list[str]
    shares: dict[str, str]


def apart(
    matrix: Matrix,
    holders: Sequence[str],
    targets: Sequence[str],
    left: Mapping[str, float] | None = None,
    receiving: Collection[str] = (),
) -> Apart:
    """One target of each group: of those that lack least, and receive it already, the nearest to a holder.

    :param holders: with their mates, see ``with_mates``.
    :param left: the share of the base that a host still lacks; all of it by default.
    """
    if not matrix.shared_pools:
        return Apart(list(targets), {})
    near = _seconds(matrix, holders, targets)
    wanted, shares = set(targets), {}
    for group in matrix.shared_pools:
        members = [host for host in group if host in wanted]
        keys = {
            host: (near[host] == INF, (left or {}).get(host, 1.0), host not in receiving, near[host], matrix.index[host])
            for host in members
        }
        for host in members:
            first = min(members, key=keys.__getitem__)
            if host != first:
                shares[host] = first
    found = [host for host in targets if host not in shares]
    alone = _seconds(matrix, holders, found)
    if any(near[host] < alone[host] == INF for host in found):
        # One of a group is on the only way to others: all that can be reached receive for themselves.
        shares = {host: first for host, first in shares.items() if near[host] == INF}
    return Apart([host for host in targets if host not in shares], shares)


def _seconds(matrix: Matrix, holders: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    """How far each target is from a holder: along the shortest path, in large fleets over the direct link."""
    if not matrix.dense:
        held = [matrix.index[host] for host in holders]
        return {host: min(matrix.seconds(i, matrix.index[host]) for i in held) for host in targets}
    hosts = [*holders, *targets]
    found = shortest(matrix.sub([matrix.index[host] for host in hosts], None), dict.fromkeys(range(len(holders)), 0.0))
    return dict(zip(hosts, found.seconds, strict=True))


def with_mates(matrix: Matrix, holders: Sequence[str], others: Collection[str]) -> list[str]:
    """The holders, and those of the others that share their pools with one of them."""
    there = set(holders)
    mates = [host for group in matrix.shared_pools if there.intersection(group) for host in group if host in others]
    return list(dict.fromkeys([*holders, *mates]))


def told(plan: dict[str, t.Any], shares: Mapping[str, str]) -> dict[str, t.Any]:
    """The plan with those who share: ``shares`` {host: whose copy}, and their parents."""
    if not shares:
        return plan
    parents = plan["parents"]
    same = {host: parents[first] for host, first in shares.items() if first in parents}
    return {**plan, "shares": dict(shares), "parents": {**parents, **same}}


def also(hosts: Sequence[str], shares: Mapping[str, str]) -> list[str]:
    """The hosts, and those who share with one of them."""
    return [*hosts, *(host for host, first in shares.items() if first in hosts)]
