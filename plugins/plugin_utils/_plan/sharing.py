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
from collections.abc import Collection, Iterable, Mapping, Sequence

from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.matrix import INF, Matrix


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
    """One target of each group that has no holder: of those that lack least, and receive it already, the one nearest to a
    holder.

    :param left: the share of the base that a host still lacks; all of it by default.
    """
    wanted, shares = set(targets), {}
    for group in matrix.shared_pools:
        members = [host for host in group if host in wanted]
        held = [host for host in group if host in holders]
        if not members:
            continue
        keys = {host: ((left or {}).get(host, 1.0), host not in receiving, *_nearness(matrix, holders, host)) for host in members}
        first = held[0] if held else min(members, key=keys.__getitem__)
        shares.update({host: first for host in members if host != first})
    return Apart([host for host in targets if host not in shares], shares)


def _nearness(matrix: Matrix, holders: Iterable[str], host: str) -> tuple[float, int]:
    j = matrix.index[host]
    return min((matrix.seconds(matrix.index[h], j) for h in holders if h in matrix.index), default=INF), j


def with_mates(matrix: Matrix, hosts: Sequence[str]) -> list[str]:
    """The hosts, and all that share their pools with one of them."""
    there = set(hosts)
    mates = [host for group in matrix.shared_pools if there.intersection(group) for host in group]
    return list(dict.fromkeys([*hosts, *mates]))


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
