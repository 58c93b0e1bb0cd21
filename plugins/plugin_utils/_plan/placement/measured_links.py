# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What hosts know of their links from earlier runs, as a matrix that decides where machines go.

No measurement is exact, and among hosts that are alike the inventory's order decides. So links that are nearly as fast count as
equally fast. A link over which nothing came is slow here; the relay finds out whether it still is.
"""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Iterable, Mapping

from ..network.estimate import deployment_matrix
from .observed import Observed

# The matrix tells the seconds for this size; layers of another size take longer or shorter in proportion.
SIZE_BYTES = 1 << 30
# A link belongs to a class if it takes at most this many times as long as the fastest of the class.
ALIKE = 1.5
# A link over which nothing came takes this many times as long as the slowest other link.
DEAD = 4.0
# What a host says of a link may be anything; a longer time than this decides nothing more.
MOST_S = 1e9
# A larger matrix costs more time than it saves.
MOST_HOSTS = 256


def measured_matrix(hosts: Observed, stated: object = None) -> dict[str, t.Any] | None:
    """The matrix; None where nothing was ever measured.

    :param stated: links that the user states, as deployment_matrix takes them: they count alone.
    """
    links = (
        stated if stated is not None else {host: _own(facts["measured"], host) for host, facts in hosts.items() if facts.get("measured")}
    )
    if not 1 < len(hosts) <= MOST_HOSTS or not links:
        return None
    matrix = deployment_matrix(links, SIZE_BYTES, hosts=list(hosts), estimate=True)
    matrix["seconds"] = [[seconds and min(seconds, MOST_S) for seconds in row] for row in matrix["seconds"]]
    known = sorted(seconds for row in matrix["seconds"] for seconds in row if seconds)
    if not known:
        return None
    classes = _classes(known)
    dead = known[-1] * DEAD
    rows = [
        [0.0 if i == j else dead if seconds is None else classes.get(seconds, seconds) for j, seconds in enumerate(row)]
        for i, row in enumerate(matrix["seconds"])
    ]
    return {**matrix, "seconds": rows}


def _own(measured: Mapping[str, t.Any], host: str) -> dict[str, t.Any]:
    """What a host tells of its own links. Of those of another, that host tells; and one that was renamed has some of its old name."""
    return {**measured, "links": [link for link in measured.get("links") or () if link["from"] == host]}


def _classes(known: Iterable[float]) -> dict[float, float]:
    """For each time that of its class.

    :param known: in ascending order.
    """
    classes: list[list[float]] = []
    for seconds in known:
        if not classes or seconds > ALIKE * classes[-1][0]:
            classes.append([])
        classes[-1].append(seconds)
    return {seconds: usual for mates in classes for usual in [statistics.median(mates)] for seconds in mates}
