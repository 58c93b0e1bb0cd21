# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Planning a running relay again, after what a watch has found; see watch.py for the state."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import FleetError
from ..network import matrix as mx
from ..relay.fleet import copies_of, matrix_of, overview, paths_of, with_copy_times, with_standbys
from ..relay.parts import members, relay_parts
from ..relay.plan_format import moves_of
from ..relay.replan import relay_replan
from ..relay.text import paths_text
from ..types import Part, Plan, Relay
from . import watch

State = dict[str, t.Any]


class Measured(t.NamedTuple):
    """What was measured since: rows of ``links``, and by host what else a probe tells (load, memory, disks)."""

    links: Sequence[Mapping[str, t.Any]] = ()
    hosts: Mapping[str, Mapping[str, t.Any]] = {}


NOTHING_MEASURED = Measured()
# What a probe tells of a host beside its links, as deployment_matrix takes it.
OF_HOSTS = ("cpus", "load_1m", "memory_available_mib", "disk_read_mbps", "disk_write_mbps", "disks_age_s")


def decide(state: Mapping[str, t.Any], answers: watch.Answers, now: float, measured: Measured = NOTHING_MEASURED) -> State:
    """The state after hosts were asked and links measured: with new plans and parts where that is called for."""
    probed = measured.links
    out = {**state, "concerned": [], "lines": [], "lost": dict(state["lost"])}
    out["measured"] = _with_hosts(state.get("measured"), measured.hosts)
    told = [*out.get("pending", []), *watch.hear(out, answers, now)]
    matrices = [_matrix(out, relay, plan) for relay, plan in zip(out["relays"], out["plans"], strict=True)]
    for a, b, mbps, before in out.get("observed_rates") or []:
        # A transfer may have only a share of its link: the link changes by the same factor.
        _know(out, a, b, mbps / before * _believed(out, matrices, a, b))
        told.append(f"the link from {a} to {b} carries {mbps:.0f} Mbit/s instead of {before:.0f}")
    for row in probed:
        told += _heard_of_link(out, matrices, row)
    out.update(ask=[], rounds=[], observed_rates=[], act=False, pending=[], watcher=_watcher(out))
    if not out.get("fleet_is_new"):
        # Who holds what is not known: the next host is asked first.
        return {**out, "pending": told}
    if (told or out.get("hopeless_since")) and out.get("replans", 0) < out["settings"]["most_plans"]:
        return _planned(out, told, now - out["began"], now)
    return out


def _with_hosts(known: t.Any, hosts: Mapping[str, Mapping[str, t.Any]]) -> t.Any:
    """What is known of the network with what was read of hosts since: their load is not that of the start."""
    news = {host: {key: facts[key] for key in OF_HOSTS if key in facts} for host, facts in hosts.items()}
    if not any(news.values()) or not isinstance(known, Mapping) or "links" in known:
        return known
    return {host: {**entry, **news.get(host, {})} if isinstance(entry, Mapping) else entry for host, entry in known.items()}


def _heard_of_link(out: State, matrices: Sequence[Mapping[str, t.Any]], row: Mapping[str, t.Any]) -> list[str]:
    """Take in one measured link; why that is a reason to plan again, if it is one."""
    a, b, mbps = row["from"], row["to"], row["mbps"]
    if not mbps or all(b in relay["sources"] for relay in out["relays"]):
        return []  # nothing new, or nobody will send anything there
    factor = out["settings"]["changed_factor"]
    if [a, b] in out["lost_links"]:
        # One direction was measured; that a node could not use the other was only its guess.
        out["lost_links"] = [pair for pair in out["lost_links"] if sorted(pair) != sorted([a, b])]
        _know(out, a, b, mbps)
        return [f"the link between {a} and {b} is back ({mbps:.0f} Mbit/s)"]
    before = _believed(out, matrices, a, b)
    if not before or 1 / factor < mbps / before < factor:
        return []
    if mbps < before and any(plan["mode"] == "cut_through" for plan in out["plans"]):
        return []  # the ports at its ends are busy with transfers, which share them with a probe
    _know(out, a, b, mbps)
    return [f"the link from {a} to {b} was measured at {mbps:.0f} Mbit/s instead of {before:.0f}"]


def _believed(out: State, matrices: Sequence[Mapping[str, t.Any]], a: str, b: str) -> float:
    """10^6 bit/s that the plans take a link for; 0 if none uses it."""
    for relay, matrix in zip(out["relays"], matrices, strict=True):
        parsed = mx.parse(matrix)
        if a in parsed.index and b in parsed.index:
            seconds = parsed.seconds(parsed.index[a], parsed.index[b])
            return relay["size_bytes"] * 8e-6 / seconds if 0 < seconds < mx.INF else 0.0
    return 0.0


def _know(out: State, a: str, b: str, mbps: float) -> None:
    out["rates"] = [*(row for row in out["rates"] if row[:2] != [a, b]), [a, b, mbps]]


def _planned(out: State, told: list[str], at: float, now: float) -> State:
    fleet: watch.Fleet = out.get("fleet") or {}
    plans: list[Plan] = []
    expected = []
    try:
        for relay, plan in zip(out["relays"], out["plans"], strict=True):
            matrix = _matrix(out, relay, plan)
            hosts = members(relay, plan)
            options = {"copies": copies_of(relay, hosts), "limits": _limits_among(plan, hosts)}
            new = relay_replan(plan, matrix, _observed(out, relay, plan, fleet, at), **options)
            new = with_copy_times(with_standbys(new, matrix), out.get("measured"))
            tables = paths_of(new, matrix) if out.get("paths") else {}
            plans.append(t.cast("Plan", {**new, "assumed": plan.get("assumed", False), **overview(new), **tables}))
            expected.append(_expected(new, relay, mx.parse(matrix)))
    except FleetError as error:
        if error.fields.get("kind") != "no_holder":
            raise
        return _hopeless(out, watch.nobody_holds(out["lost"]), now)
    out.pop("hopeless_since", None)
    before, after = relay_parts(out["relays"], out["plans"]), relay_parts(out["relays"], plans)
    restarted = out.get("restarted") or []
    changed = [
        host
        for host, parts in after.items()
        if host not in out["lost"] and (host in restarted or _concerned(fleet, host, before.get(host) or [], parts))
    ]
    finish, was = _finish(plans), _finish(out["plans"])
    heads, old = watch.parents_now(after), watch.parents_now(before)
    moved = [f"{host} from {heads[host]}" for host in changed if heads[host] and heads[host] != old.get(host)]
    line = f"After {at:.0f} s: {'; '.join(told)}. "
    line += f"Planned again: {', '.join(moved)}" if moved else "The order stays"
    if not any(plan.get("assumed") for plan in plans):
        line += f"; the last host is predicted to have its bases after {finish:.0f} s (before: {was:.0f} s)"
    line += "."
    return {
        **out,
        "plans": plans,
        "expected": expected,
        "parts": {host: after[host] for host in changed},
        "concerned": changed,
        "restarted": [],
        "lines": [line, *_tables(plans)],
        "history": _remembered(out, at, line),
        "replans": out.get("replans", 0) + 1,
    }


def _remembered(out: State, at: float, line: str) -> list[dict[str, t.Any]]:
    """What was told so far, for the report; ``lines`` only hold the last of it."""
    return [*(out.get("history") or []), {"at_s": round(at, 1), "kind": "replan", "text": line}]


def _limits_among(plan: Plan, hosts: Sequence[str]) -> dict[str, t.Any] | None:
    """The plan's limits without those of hosts that did not come to take part."""
    limits = plan.get("limits")
    if not limits:
        return None
    ports = {host: port for host, port in (limits.get("hosts") or {}).items() if host in hosts}
    return {**limits, "hosts": ports, "links": [row for row in limits.get("links") or [] if {row[0], row[1]} <= set(hosts)]}


def _tables(plans: Sequence[Plan]) -> list[str]:
    """The preferred paths to those who still lack something."""
    return [line for plan in plans if plan.get("paths") for line in [f"{plan['base']}:", *paths_text(plan)]]


def _concerned(fleet: watch.Fleet, host: str, before: Sequence[Part], after: Sequence[Part]) -> bool:
    """Whether a host's part is another one. Who has the base does not care for parents any more, only for children."""
    if len(before) != len(after):
        return True
    for old, new in zip(before, after, strict=True):
        held = watch.base_of(fleet, host, new["metadata"]["sha256"]).state == "holding"
        same = ("children",) if held else tuple(new)
        if any(old.get(key) != new.get(key) for key in same):
            return True
    return False


def _finish(plans: Sequence[Plan]) -> float:
    return max((plan["predicted_s"] for plan in plans), default=0.0)


def _hopeless(out: State, why: str, now: float) -> State:
    """Nobody holds the base. Who is back within the patience of the nodes may still serve."""
    since = out.get("hopeless_since") or now
    out["hopeless_since"] = since
    if now - since >= out["settings"]["patience_s"]:
        line = f"After {now - out['began']:.0f} s: {why}."
        return {**out, "done": True, "failed": why, "lines": [line], "history": _remembered(out, now - out["began"], line)}
    soon = min(out["settings"]["retry_s"], max(1.0, out["settings"]["patience_s"] / 2))
    for host, entry in out["lost"].items():
        out["lost"][host] = {**entry, "next": min(entry["next"], now + soon)}
    return out


def _matrix(out: State, relay: Relay, plan: Plan) -> dict[str, t.Any]:
    """What was measured, and over it what was observed since. Fixed paths over what was lost are given up."""
    hosts = members(relay, plan)
    gone = set(map(tuple, out["lost_links"])) | {(a, b) for a in out["lost"] for b in hosts}
    matrix = matrix_of(out.get("measured"), relay, hosts, out.get("sites"), gone)
    if "seconds" in matrix:
        index = {host: number for number, host in enumerate(hosts)}
        for a, b, mbps in out["rates"]:
            if a in index and b in index:
                matrix["seconds"][index[a]][index[b]] = mx.mbps_seconds(relay["size_bytes"], mbps)
    lost = [[a, b, None] for a, b in out["lost_links"] if a in hosts and b in hosts]
    return {**matrix, "exceptions": [*matrix.get("exceptions", []), *lost]}


def _expected(plan: Plan, relay: Relay, matrix: mx.Matrix) -> dict[str, float]:
    """Rates by receiver. Those of transfers that go on from an earlier plan are the links'."""
    rates = watch.expected_rates(plan, relay["size_bytes"])
    if plan["mode"] == "staged":
        for host, move in moves_of(plan).items():
            seconds = matrix.sub([matrix.index[move["from"]], matrix.index[host]], relay["size_bytes"])[0][1]
            if 0 < seconds < mx.INF:
                rates[host] = relay["size_bytes"] * 8e-6 / seconds
    return rates


def _observed(out: State, relay: Relay, plan: Plan, fleet: watch.Fleet, at: float) -> dict[str, t.Any]:
    hosts = members(relay, plan)
    bases = {host: watch.base_of(fleet, host, relay["sha256"]) for host in hosts}
    gone = [host for host in hosts if host in out["lost"] or bases[host].state == "failed"]
    holders = [h for h in hosts if h not in gone and (bases[h].state == "holding" or h in relay["sources"])]
    progress = {}
    for host, base in bases.items():
        if host in gone or host in holders or host in relay["sources"]:
            continue
        # A transfer that the plan did not foresee is a node's own way out, not one to be kept.
        sender = next((p for p in base.parents if p in watch.first_parents(plan, host)), None)
        if base.bytes or sender:
            progress[host] = {"bytes": base.bytes, "from": sender}
    new = [h for h in relay["targets"] if h not in gone and h not in holders and h not in plan["targets"]]
    return {
        "at_s": at,
        "holders": list(dict.fromkeys(holders)),
        "progress": progress,
        "lost_hosts": gone,
        "new_targets": new,
    }


def _watcher(out: State) -> str | None:
    """Who is asked next: the one before if it lives, else a host that is not known to be lost."""
    if out["watcher"] and out["watcher"] not in out["lost"]:
        return str(out["watcher"])
    return next((host for host in watch.hosts_of(out) if host not in out["lost"]), None)
