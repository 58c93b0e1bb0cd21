# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Lower bounds of cut-through plans, from what must pass through ports and sites."""

from __future__ import annotations

from collections.abc import Sequence

from ..network.matrix import INF
from .model import Net


def simple_bound(net: Net) -> float:
    """What must pass through ports and sites, in seconds.

    Every host must take the base in, and the holders must send it out once, over their best links; and once into and
    out of each site with limits. Where ports have limits of their own, all senders together must send it once for
    each target (Kumar, Ross 2006).
    """
    n, roots = net.n, net.roots
    bound = site_bound(net)
    for v in range(roots, n):
        bound = max(bound, min(net.rcv[u * n + v] for u in range(n) if net.D[u * n + v] < INF))
    if not net.nic:
        least = [min((net.D[r * n + v] for v in range(roots, n)), default=INF) for r in range(roots)]
        return _at_pace(1.0, [1.0 / x if x > 0 else INF for x in least], bound)
    # No link brings a host more than it takes in by the bound so far.
    rates = [[1.0 / x if (x := max(net.D[u * n + v], bound)) > 0 else INF for v in range(roots, n)] for u in range(n)]
    for v in range(roots, n):
        bound = _at_pace(1.0, [rates[u][v - roots] for u in range(n) if u != v], bound)
    out = []
    for u in range(n):
        # With links that are slower than the port several run at once.
        free = sum(x for k, x in enumerate(rates[u]) if k + roots != u)
        out.append(min(free, 1.0 / net.occ[u * n]) if net.occ[u * n] > 0 else free)
    return _at_pace(n - roots, out, _at_pace(1.0, out[:roots], bound))


def _at_pace(bases: float, rates: Sequence[float], bound: float) -> float:
    """The bound, or the seconds in which so many bases pass at these rates together, if that is more."""
    pace = sum(rates)
    return float(max(bound, bases / pace if pace > 0 else 0.0))


def site_bound(net: Net) -> float:
    """The base must come once into every site without a holder, and once out of those with all holders."""
    return max(sure_crossings(net), default=0.0)


def sure_crossings(net: Net) -> list[float]:
    """What every plan keeps limited ways busy for: into sites without a holder, and out of the only one that has any."""
    held = {int(net.of[r]) for r in range(net.roots)}
    wanted = {int(site) for site in net.of} - held
    out = [float(x) if len(held) == 1 and wanted and a in held else 0.0 for a, x in enumerate(net.sc[: net.sites])]
    into = [float(x) if b in wanted else 0.0 for b, x in enumerate(net.sc[net.sites : 2 * net.sites])]
    return [*out, *into, *[0.0] * (net.sites * net.sites)]
