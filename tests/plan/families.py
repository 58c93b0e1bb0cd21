# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draws networks of the kinds that the recorded instances come from, of any size and seed.

An instance has the recorded ones' form, without their best known plans: ``name``, ``family``, ``n``, ``hosts``,
``source``, ``image_mib``, ``matrix_s`` (null: no link) and, where ports have limits of their own, ``uplink_mbps`` and
``downlink_mbps``.
"""

from __future__ import annotations

import math
import random
import typing as t

IMAGE_MIB = 8192
BITS = IMAGE_MIB * 8.388608  # 10^6 bit
Draw = random.Random
Rows = list[list[t.Any]]


def _rows(n: int, seconds: t.Callable[[int, int], float | None]) -> Rows:
    """Seconds to four digits, 0 on the diagonal."""
    out: Rows = []
    for i in range(n):
        row: list[t.Any] = []
        for j in range(n):
            x = 0 if i == j else seconds(i, j)
            row.append(x if x is None or i == j else float(f"{x:.4g}"))
        out.append(row)
    return out


def _groups(draw: Draw, n: int, count: int) -> list[int]:
    return [draw.randrange(count) for _unused in range(n)]


def homogeneous(draw: Draw, n: int) -> dict[str, t.Any]:
    each = draw.choice((30, 60, 90))
    return {"matrix_s": _rows(n, lambda i, j: each)}


def racks(draw: Draw, n: int) -> dict[str, t.Any]:
    """Quick inside a rack, one slower rate among all racks."""
    of = _groups(draw, n, max(2, n // draw.choice((5, 8, 16))))
    inside, outside = draw.uniform(10, 25), draw.uniform(80, 140)
    return {"matrix_s": _rows(n, lambda i, j: (inside if of[i] == of[j] else outside) * draw.uniform(0.9, 1.1))}


def wan(draw: Draw, n: int) -> dict[str, t.Any]:
    """Sites, each pair with a rate of its own."""
    count = max(2, round(math.sqrt(n) * draw.uniform(0.7, 1.2)))
    of = _groups(draw, n, count)
    inside = [draw.uniform(14, 30) for _unused in range(count)]
    between = [[math.exp(draw.uniform(math.log(100), math.log(1200))) for _b in range(count)] for _a in range(count)]

    def seconds(i: int, j: int) -> float:
        a, b = sorted((of[i], of[j]))
        return (inside[a] if a == b else between[a][b]) * draw.uniform(0.85, 1.15)

    return {"matrix_s": _rows(n, seconds)}


def log_uniform(draw: Draw, n: int) -> dict[str, t.Any]:
    return {"matrix_s": _rows(n, lambda i, j: math.exp(draw.uniform(math.log(10), math.log(1000))))}


def stragglers(draw: Draw, n: int) -> dict[str, t.Any]:
    """Alike but for some hosts that receive slowly."""
    slow = {v: draw.uniform(4, 8) for v in range(1, n) if draw.random() < 0.1} or {n - 1: 5.0}
    return {"matrix_s": _rows(n, lambda i, j: 40 * draw.uniform(0.9, 1.1) * slow.get(j, 1.0))}


def sparse(draw: Draw, n: int) -> dict[str, t.Any]:
    """A few links for each host, most of them both ways."""
    near: list[set[int]] = [set() for _unused in range(n)]
    for v in range(1, n):
        u = draw.randrange(v)
        near[u].add(v)
        near[v].add(u)
    for _unused in range(n * 2):
        u, v = draw.sample(range(n), 2)
        near[u].add(v)
    return {"matrix_s": _rows(n, lambda i, j: math.exp(draw.uniform(math.log(9), math.log(110))) if j in near[i] else None)}


def hub(draw: Draw, n: int) -> dict[str, t.Any]:
    """One or a few hosts with good links, which the source reaches like everybody else."""
    hubs = set(draw.sample(range(1, n), max(1, n // 24)))

    def seconds(i: int, j: int) -> float:
        if i in hubs:
            return draw.uniform(8, 16)
        return draw.uniform(15, 40) if j in hubs else draw.uniform(200, 400)

    return {"matrix_s": _rows(n, seconds)}


def line(draw: Draw, n: int) -> dict[str, t.Any]:
    """Seconds grow with the distance."""
    at = [draw.uniform(0, 1) for _unused in range(n)]
    scale = draw.uniform(120, 320)
    return {"matrix_s": _rows(n, lambda i, j: 10 + scale * abs(at[i] - at[j]) * draw.uniform(0.95, 1.05))}


def _ports(up: list[float], down: list[float], link: t.Callable[[int, int], float]) -> dict[str, t.Any]:
    rows = _rows(len(up), lambda i, j: BITS / min(up[i], down[j], link(i, j)))
    return {
        "matrix_s": rows,
        "uplink_mbps": [float(f"{x:.4g}") for x in up],
        "downlink_mbps": [float(f"{x:.4g}") for x in down],
    }


def nic(draw: Draw, n: int) -> dict[str, t.Any]:
    """Network cards of three speeds, and some links slower than both ends."""
    speed = [draw.choice((940.0, 2400.0, 9400.0)) for _unused in range(n)]
    up, down = ([s * draw.uniform(0.9, 1.06) for s in speed] for _unused in range(2))
    return _ports(up, down, lambda i, j: 9900.0 if draw.random() < 0.8 else draw.uniform(400, 4000))


def residential(draw: Draw, n: int) -> dict[str, t.Any]:
    """Down much faster than up."""
    up = [math.exp(draw.uniform(math.log(110), math.log(2000))) for _unused in range(n)]
    up[0] = 1500.0
    return _ports(up, [u * draw.uniform(2, 5.5) for u in up], lambda i, j: 1e6)


def tiered(draw: Draw, n: int) -> dict[str, t.Any]:
    """Racks inside rooms inside sites."""
    rack, room = max(2, n // 8), max(2, n // 32)
    of = _groups(draw, n, rack)
    room_of = [draw.randrange(room) for _unused in range(rack)]
    site_of = [draw.randrange(2) for _unused in range(room)]

    def seconds(i: int, j: int) -> float:
        a, b = of[i], of[j]
        x = 15.0 if a == b else 60.0
        if room_of[a] != room_of[b]:
            x = 160.0 if site_of[room_of[a]] == site_of[room_of[b]] else 700.0
        return x * draw.uniform(0.9, 1.1)

    return {"matrix_s": _rows(n, seconds)}


FAMILIES: dict[str, t.Callable[[Draw, int], dict[str, t.Any]]] = {
    "homogeneous": homogeneous, "racks": racks, "wan": wan, "log_uniform": log_uniform, "stragglers": stragglers,
    "sparse": sparse, "hub": hub, "line": line, "nic": nic, "residential": residential, "tiered": tiered,
}  # fmt: skip


def instance(family: str, n: int, seed: int) -> dict[str, t.Any]:
    """One network; the same arguments always give the same."""
    drawn = FAMILIES[family](random.Random(f"{family} {n} {seed}"), n)
    return {
        "name": f"{family}-n{n}-s{seed}", "family": family, "n": n, "hosts": [f"h{v}" for v in range(n)], "source": "h0",
        "image_mib": IMAGE_MIB, **drawn,
    }  # fmt: skip


def hierarchical(classes: int, n: int, seed: int) -> dict[str, t.Any]:
    """A matrix by classes of hosts: racks that differ a little, or sites with a rate for each pair (up to 60)."""
    draw = random.Random(f"hierarchical {classes} {n} {seed}")
    apart = classes <= 60
    inside = [draw.uniform(12, 24) for _unused in range(classes)]
    table: Rows = [[None] * classes for _unused in range(classes)]
    for a in range(classes):
        table[a][a] = inside[a]
        for b in range(a):
            x = math.exp(draw.uniform(math.log(100), math.log(900))) if apart else draw.uniform(60, 140)
            table[a][b], table[b][a] = x, x * draw.uniform(0.9, 1.1)
    return {
        "format": 1, "hosts": [f"h{v}" for v in range(n)], "class_of": [draw.randrange(classes) for _unused in range(n)],
        "class_seconds": table, "size_bytes": IMAGE_MIB << 20,
    }  # fmt: skip
