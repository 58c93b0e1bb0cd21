# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks and replays any relay plan. It shares no code with the planner and reads only the documented formats.

Staged: walks through the transfers in time. Cut-through: moves every chunk through every tree.
"""

from __future__ import annotations

import bisect
import collections
import heapq
import itertools
import math
import typing as t

SLACK = 1e-6


class BadPlan(AssertionError):
    """The plan cannot be carried out, and why."""


def _links(matrix: dict[str, t.Any]) -> dict[tuple[str, str], float]:
    """Seconds by link, from the dense or the hierarchical form."""
    hosts = matrix["hosts"]
    found: dict[tuple[str, str], float] = {}
    for i, a in enumerate(hosts):
        for j, b in enumerate(hosts):
            if i == j:
                continue
            if "seconds" in matrix:
                seconds = matrix["seconds"][i][j]
            else:
                seconds = matrix["class_seconds"][matrix["class_of"][i]][matrix["class_of"][j]]
            if seconds is not None:
                found[a, b] = float(seconds)
    for a, b, seconds in matrix.get("exceptions") or []:
        if seconds is None:
            found.pop((a, b), None)
        else:
            found[a, b] = float(seconds)
    return found


def transfers(plan: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [move for stage in plan["stages"] for move in stage]


def staged(matrix: dict[str, t.Any], plan: dict[str, t.Any], *, at: float = 0.0) -> float:
    """The finish of a staged plan, or BadPlan."""
    links = _links(matrix) if len(matrix["hosts"]) <= 2000 else None
    number = {h: i for i, h in enumerate(matrix["hosts"])}
    special = {(a, b): x for a, b, x in matrix.get("exceptions") or []}

    def seconds(a: str, b: str) -> float | None:
        if links is not None:
            return links.get((a, b))
        if (a, b) in special:
            return special[a, b]
        return matrix["class_seconds"][matrix["class_of"][number[a]]][matrix["class_of"][number[b]]]

    has = dict.fromkeys(plan["sources"], at)
    busy: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
    moves = sorted(transfers(plan), key=lambda m: (m["end_s"], m["start_s"]))
    for move in moves:
        a, b, start, end = move["from"], move["to"], move["start_s"], move["end_s"]
        need = seconds(a, b)
        if need is None or a == b:
            raise BadPlan(f"{a} > {b}: there is no such link")
        if b in has:
            raise BadPlan(f"{b} is served twice, or although it holds the base")
        if (a not in has or start < has[a] - SLACK * (1 + has[a])) and start >= at:
            raise BadPlan(f"{a} sends at {start} before it has the base ({has.get(a)})")
        if start >= at and end - start < need * move.get("share", 1.0) * (1 - SLACK) - SLACK:
            raise BadPlan(f"{a} > {b} takes {end - start}, less than {need}")
        has[b] = end
        busy[a].append((start, end))
    if plan["contention"] == "port":
        limits = plan.get("limits") or {}
        for host, spans in busy.items():
            up = ((limits.get("hosts") or {}).get(host) or {}).get("up_mbps")
            if plan.get("streams", 1) > 1 and up:
                _carried(f"{host}'s port", spans, plan["size_bytes"] * 8e-6 / up, plan["streams"])
                continue
            spans.sort()
            for (_begin, end), (start, _end) in itertools.pairwise(spans):
                if start < end - SLACK * (1 + end):
                    raise BadPlan(f"{host} sends twice at {start}")
        for name, seconds_, inside in _site_ports(matrix, plan):
            _carried(name, [(m["start_s"], m["end_s"]) for m in moves if inside(m["from"], m["to"])], seconds_, len(moves))
    shared = sharing(matrix, plan)
    if shared & set(has):
        raise BadPlan(f"served although they share: {sorted(shared & set(has))[:5]}")
    missing = set(plan["targets"]) - set(has) - set(plan["unreachable"]) - shared
    if missing:
        raise BadPlan(f"never served: {sorted(missing)[:5]}")
    stage_of = dict.fromkeys(plan["sources"], 0)
    for number_, stage in enumerate(plan["stages"], 1):
        for move in stage:
            if stage_of[move["from"]] != number_ - 1:
                raise BadPlan(f"{move['to']} is not in the stage after its sender's")
            stage_of[move["to"]] = number_
    check_parents(plan)
    return max((m["end_s"] for m in moves), default=at)


Inside = t.Callable[[str, str], bool]


def _site_ports(matrix: dict[str, t.Any], plan: dict[str, t.Any]) -> list[tuple[str, float, Inside]]:
    """Name, seconds of the whole base, and which links go through it, of each port that sites share."""
    limits, site = plan.get("limits") or {}, matrix.get("sites") or {}
    ports: list[tuple[str, float, Inside]] = []

    def port(name: str, mbps: float | None, inside: Inside) -> None:
        if mbps:
            ports.append((name, plan["size_bytes"] * 8e-6 / mbps, inside))

    for s, both in (limits.get("sites") or {}).items():
        port(f"out of {s}", both.get("up_mbps"), lambda a, b, s=s: site.get(a) == s != site.get(b))  # type: ignore[misc]
        port(f"into {s}", both.get("down_mbps"), lambda a, b, s=s: site.get(a) != s == site.get(b))  # type: ignore[misc]
    for s, o, mbps in limits.get("between") or []:
        port(f"{s} > {o}", mbps, lambda a, b, s=s, o=o: site.get(a) == s and site.get(b) == o)  # type: ignore[misc]
    return ports


def _carried(name: str, spans: list[tuple[float, float]], whole: float, most: int) -> None:
    """Whether a port that takes ``whole`` seconds for the base carries all of these transfers at full speed."""
    changes = sorted([(end, 0, start) for start, end in spans] + [(start, 1, end) for start, end in spans])
    used, count = 0.0, 0
    for at, begins, other in changes:
        share = 1.0 / abs(at - other) if at != other else 0.0
        used += share if begins else -share
        count += 1 if begins else -1
        if begins and (count > most or (count > 1 and used > (1 + SLACK) / whole)):
            raise BadPlan(f"{name} carries {count} transfers at {at}, {used * whole:.3f} of what it can")


def sharing(matrix: dict[str, t.Any], plan: dict[str, t.Any]) -> set[str]:
    """The targets that have the base because another host of their shared pool has it."""
    shares = plan.get("shares") or {}
    for host, first in shares.items():
        if not any({host, first} <= set(group) for group in matrix.get("shared_pools") or []):
            raise BadPlan(f"{host} and {first} do not share a pool")
        if host not in plan["targets"] or first in shares or first not in [*plan["targets"], *plan["sources"]]:
            raise BadPlan(f"{host} shares with {first}, who gets no copy")
    return set(shares)


def check_parents(plan: dict[str, t.Any]) -> None:
    """The first choice of every stripe is the tree's parent; no list repeats itself; no dead end."""
    for number, tree in enumerate(plan["trees"]):
        parent = {e["to"]: e["from"] for e in tree["edges"]}
        if len(parent) != len(tree["edges"]):
            raise BadPlan(f"tree {number} serves a host twice")
        for host, sender in parent.items():
            choices = plan["parents"][host][number]
            if choices[0] != sender:
                raise BadPlan(f"{host}: stripe {number} starts with {choices[0]}, not {sender}")
            if len(set(choices)) != len(choices) or host in choices:
                raise BadPlan(f"{host}: choices {choices} repeat")
            walk, seen = host, set()
            while walk in parent:
                if walk in seen:
                    raise BadPlan(f"tree {number} has a circle at {walk}")
                seen.add(walk)
                walk = parent[walk]
            if walk not in plan["sources"]:
                raise BadPlan(f"tree {number} does not start at a source for {host}")


def _spanning_trees(plan: dict[str, t.Any], links: t.Container[tuple[str, str]], targets: list[str]) -> list[dict[str, str]]:
    """Each tree as the sender of each receiver, or BadPlan."""
    trees = [{e["to"]: e["from"] for e in tree["edges"]} for tree in plan["trees"]]
    for tree in trees:
        if set(tree) != set(targets):
            raise BadPlan(f"a tree leaves out {sorted(set(targets) - set(tree))[:5]}")
        for child, sender in tree.items():
            if (sender, child) not in links:
                raise BadPlan(f"{sender} > {child}: there is no such link")
    return trees


def _quota(plan: dict[str, t.Any], chunks: int) -> list[int]:
    """How many of the chunks go along each tree."""
    total = math.fsum(tree["weight"] for tree in plan["trees"])
    wanted = [tree["weight"] / total * chunks for tree in plan["trees"]]
    quota = [math.floor(w) for w in wanted]
    for k in sorted(range(len(quota)), key=lambda k: quota[k] - wanted[k])[: chunks - sum(quota)]:
        quota[k] += 1
    return quota


def cut_through(
    matrix: dict[str, t.Any],
    plan: dict[str, t.Any],
    chunks: int,
    ports: dict[str, tuple[float, float]] | None = None,
) -> tuple[float, float]:
    """Simulated finish, and the time the busiest port or link is busy, of a cut-through plan; or BadPlan.

    :param ports: seconds of the whole base at each host's sending and receiving limit. Without it a port is
        shared by time: a chunk occupies it as long as the link.
    """
    links = _links(matrix)
    check_parents(plan)
    shared = sharing(matrix, plan)
    targets = [h for h in plan["targets"] if h not in plan["unreachable"] and h not in shared]
    trees = _spanning_trees(plan, links, targets)
    if not targets:
        return 0.0, 0.0
    quota = _quota(plan, chunks)

    def send_s(a: str, b: str) -> float:
        return links[a, b] if ports is None else ports[a][0]

    def take_s(a: str, b: str) -> float:
        return links[a, b] if ports is None else ports[b][1]

    shared = _site_ports(matrix, plan)
    through = {pair: [p for p in shared if p[2](*pair)] for tree in trees for pair in ((u, v) for v, u in tree.items())}
    site_free: collections.Counter[str] = collections.Counter()
    load: collections.Counter[tuple[str, ...]] = collections.Counter()
    lanes: dict[str, list[list[t.Any]]] = collections.defaultdict(list)
    for k, tree in enumerate(trees):
        if not quota[k]:
            continue
        for child, sender in tree.items():
            part = quota[k] / chunks
            load["out", sender] += part * send_s(sender, child)
            load["in", child] += part * take_s(sender, child)
            load["link", sender, child] += part * links[sender, child]
            for name, seconds, _inside in through[sender, child]:
                load["site", name] += part * seconds
            lanes[sender].append([k, child, 0])
    stock: dict[tuple[str, int], int] = collections.Counter()
    for source in plan["sources"]:
        for k, amount in enumerate(quota):
            stock[source, k] = amount
    open_from: collections.Counter[str] = collections.Counter()
    idle_from: collections.Counter[tuple[str, str]] = collections.Counter()
    take_from: collections.Counter[str] = collections.Counter()
    missing = dict.fromkeys(targets, chunks)
    finish = 0.0
    # Events: an arrival (host, tree) or a look (host, -1); of several looks of a host only the next one counts.
    looks: dict[str, float] = dict.fromkeys(plan["sources"], 0.0)
    events: list[tuple[float, int, str, int]] = [(0.0, k, h, -1) for k, h in enumerate(plan["sources"])]
    ticket = len(events)
    while events:
        now, _order, host, k = heapq.heappop(events)
        if k < 0:
            if looks.get(host) != now:
                continue
            del looks[host]
        else:
            stock[host, k] += 1
            missing[host] -= 1
            if not missing[host]:
                finish = now
        ready = [lane for lane in lanes[host] if lane[2] < stock[host, lane[0]]]
        if not ready:
            continue
        if open_from[host] > now + 1e-12:
            after = open_from[host]
        else:
            idle = [max([idle_from[host, lane[1]], *(site_free[p[0]] for p in through[host, lane[1]])]) for lane in ready]
            free = [lane for lane, at in zip(ready, idle, strict=True) if at <= now + 1e-12]
            if not free:
                after = min(idle)
            else:
                lane = min(free, key=lambda lane: lane[2] / quota[lane[0]])
                child = lane[1]
                lane[2] += 1
                open_from[host] = after = now + send_s(host, child) / chunks
                idle_from[host, child] = now + links[host, child] / chunks
                for name, seconds, _inside in through[host, child]:
                    site_free[name] = now + seconds / chunks
                arrives = max(idle_from[host, child], take_from[child] + take_s(host, child) / chunks)
                take_from[child] = arrives
                ticket += 1
                heapq.heappush(events, (arrives, ticket, child, lane[0]))
        if after < looks.get(host, math.inf):
            looks[host] = after
            ticket += 1
            heapq.heappush(events, (after, ticket, host, -1))
    if any(missing.values()):
        raise BadPlan("some chunks never arrive")
    return finish, max(load.values())


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, bisect.bisect_left(range(len(ordered)), share * len(ordered)))]
