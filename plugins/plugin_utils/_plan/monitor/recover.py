# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Planning a running relay again, after what a watch has found."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ....module_utils._errors import FleetError
from ..network import matrix as mx
from ..relay.fleet import copies_of, matrix_of, overview, paths_of, with_copy_times, with_standbys
from ..relay.parts import members, relay_parts
from ..relay.plan_format import guessed_links, moves_of
from ..relay.replan import relay_replan
from ..relay.text import paths_text
from ..types import Part, Plan, Relay
from .state import Actions, Answers, Fleet, Watch, base_of, hosts_of
from .watch import expected_rates, first_parents, hear, nobody_holds, parents_now

# What a probe tells of a host beside its links, as deployment_matrix takes it.
OF_HOSTS = ("cpus", "load_1m", "memory_available_mib", "disk_read_mbps", "disk_write_mbps", "disks_age_s")


def decide(watch: Watch, answers: Answers) -> tuple[Watch, Actions]:
    """The watch after hosts were asked and links measured; new plans and parts where that is called for."""
    watch, reasons = hear(replace(watch, measured=_with_hosts(watch.measured, answers.hosts)), answers)
    told = [*watch.pending, *reasons]
    matrices = [_matrix(watch, relay, plan) for relay, plan in zip(watch.relays, watch.plans, strict=True)]
    for a, b, mbps, before in watch.observed_rates:
        # A transfer may have only a share of its link: the link changes by the same factor.
        watch = _knowing(watch, a, b, mbps / before * _believed(watch, matrices, a, b))
        told.append(f"the link from {a} to {b} carries {_rate(mbps)} Mbit/s instead of {_rate(before)}")
    for row in answers.links:
        watch, more = _heard_of_link(watch, matrices, row)
        told += more
    watch = replace(watch, observed_rates=[], pending=[], watcher=_watcher(watch))
    if watch.watcher is None:
        # There is nobody to ask any more, whoever holds the base.
        return _hopeless(replace(watch, pending=told), answers.at)
    if not watch.fleet_is_new:
        # Who holds what is not known: the next host is asked first.
        return replace(watch, pending=told), Actions()
    if (told or watch.hopeless_since) and watch.replans < watch.settings.most_plans:
        return _planned(watch, told, answers.at)
    # No plan is left that would end it: with somebody to ask it is over, and the next time all are lost counts anew.
    return replace(watch, hopeless_since=None), Actions()


def _rate(mbps: float) -> str:
    """A rate as people read it; those of slow links, told beside each other, differ in their first two digits."""
    return f"{mbps:.0f}" if mbps >= 10 else f"{mbps:.2g}"


def _with_hosts(known: object, hosts: Mapping[str, Mapping[str, t.Any]]) -> t.Any:
    """What is known of the network with what was read of hosts since: their load is not that of the start."""
    news = {host: {key: facts[key] for key in OF_HOSTS if key in facts} for host, facts in hosts.items()}
    if not any(news.values()) or not isinstance(known, Mapping) or "links" in known:
        return known
    return {host: {**entry, **news.get(host, {})} if isinstance(entry, Mapping) else entry for host, entry in known.items()}


def _heard_of_link(watch: Watch, matrices: Sequence[Mapping[str, t.Any]], row: Mapping[str, t.Any]) -> tuple[Watch, list[str]]:
    """Take in one measured link; why that is a reason to plan again, if it is one."""
    a, b, mbps = row["from"], row["to"], row["mbps"]
    if not mbps or all(b in relay["sources"] for relay in watch.relays):
        return watch, []  # nothing new, or nobody will send anything there
    factor = watch.settings.changed_factor
    if [a, b] in watch.lost_links:
        # One direction was measured; that a node could not use the other was only its guess.
        left = [pair for pair in watch.lost_links if sorted(pair) != sorted([a, b])]
        back = f"the link between {a} and {b} is back ({_rate(mbps)} Mbit/s)"
        return _knowing(replace(watch, lost_links=left), a, b, mbps), [back]
    before = _believed(watch, matrices, a, b)
    if not before or 1 / factor < mbps / before < factor:
        return watch, []
    if mbps < before and any(plan["mode"] == "cut_through" for plan in watch.plans):
        return watch, []  # the ports at its ends are busy with transfers, which share them with a probe
    return _knowing(watch, a, b, mbps), [f"the link from {a} to {b} was measured at {_rate(mbps)} Mbit/s instead of {_rate(before)}"]


def _believed(watch: Watch, matrices: Sequence[Mapping[str, t.Any]], a: str, b: str) -> float:
    """10^6 bit/s that the plans take a link for; 0 if none uses it."""
    for relay, matrix in zip(watch.relays, matrices, strict=True):
        parsed = mx.parse(matrix)
        if a in parsed.index and b in parsed.index:
            seconds = parsed.seconds(parsed.index[a], parsed.index[b])
            return relay["size_bytes"] * 8e-6 / seconds if 0 < seconds < mx.INF else 0.0
    return 0.0


def _knowing(watch: Watch, a: str, b: str, mbps: float) -> Watch:
    return replace(watch, rates=[*(row for row in watch.rates if row[:2] != [a, b]), [a, b, mbps]])


def _planned(watch: Watch, told: Sequence[str], now: float) -> tuple[Watch, Actions]:
    """The watch with new plans for what is left, and the parts of hosts that they concern."""
    at = now - watch.began
    plans: list[Plan] = []
    expected = []
    try:
        for relay, plan in zip(watch.relays, watch.plans, strict=True):
            matrix = _matrix(watch, relay, plan)
            hosts = members(relay, plan)
            options = {"copies": copies_of(relay, hosts), "limits": _limits_among(plan, hosts)}
            new = relay_replan(plan, matrix, _observed(watch, relay, plan, at), **options)
            new = with_copy_times(with_standbys(new, matrix), watch.measured)
            tables = paths_of(new, matrix) if watch.paths else {}
            plans.append(t.cast("Plan", {**new, "assumed": plan.get("assumed", False), **overview(new), **tables}))
            expected.append(_expected(new, relay, mx.parse(matrix)))
    except FleetError as error:
        if error.fields.get("kind") != "no_holder":
            raise
        return _hopeless(watch, now)
    before, after = relay_parts(watch.relays, watch.plans), relay_parts(watch.relays, plans)
    changed = [
        host
        for host, parts in after.items()
        if host not in watch.lost and (host in watch.restarted or _concerned(watch.fleet, host, before.get(host) or [], parts))
    ]
    heads, old = parents_now(after), parents_now(before)
    moved = [f"{host} from {heads[host]}" for host in changed if heads[host] and heads[host] != old.get(host)]
    line = f"After {at:.0f} s: {'; '.join(told)}. {_order(watch.plans, plans, moved)}."
    watch = replace(
        watch,
        plans=plans,
        expected=expected,
        restarted=[],
        hopeless_since=None,
        history=_remembered(watch, at, line),
        replans=watch.replans + 1,
    )
    return watch, Actions(concerned=changed, parts={host: after[host] for host in changed}, lines=[line, *_tables(plans)])


def _order(before: Sequence[Plan], plans: Sequence[Plan], moved: Sequence[str]) -> str:
    """What has become of the order, in words."""
    told = f"Planned again: {', '.join(moved)}" if moved else "The order stays"
    if any(plan.get("assumed") for plan in plans):
        return told
    return f"{told}; the last host is predicted to have its bases after {_finish(plans)} (before: {_finish(before)})"


def _remembered(watch: Watch, at: float, line: str) -> list[Mapping[str, t.Any]]:
    """What was told so far, for the report, which says when by itself; ``lines`` only hold the last of it."""
    text = line.removeprefix(f"After {at:.0f} s: ")
    return [*watch.history, {"at_s": round(at, 1), "kind": "replan", "text": text}]


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


def _concerned(fleet: Fleet, host: str, before: Sequence[Part], after: Sequence[Part]) -> bool:
    """Whether a host's part is another one. Who has the base does not care for parents any more, only for children."""
    if len(before) != len(after):
        return True
    for old, new in zip(before, after, strict=True):
        held = base_of(fleet, host, new["metadata"]["sha256"]).state == "holding"
        same = ("children",) if held else tuple(new)
        if any(old.get(key) != new.get(key) for key in same):
            return True
    return False


def _finish(plans: Sequence[Plan]) -> str:
    """When the last plan ends; a time that depends on links that nobody measured is marked, as in tables."""
    guessed = "~" if any(map(guessed_links, plans)) else ""
    return f"{guessed}{max((plan['predicted_s'] for plan in plans), default=0.0):.0f} s"


def _hopeless(watch: Watch, now: float) -> tuple[Watch, Actions]:
    """Nobody holds the base. Who is back within the patience of the nodes may still serve."""
    since, patience_s = watch.hopeless_since or now, watch.settings.patience_s
    watch = replace(watch, hopeless_since=since)
    if now - since >= patience_s:
        why = nobody_holds(watch.lost)
        line = f"After {now - watch.began:.0f} s: {why}."
        ended = replace(watch, done=True, failed=why, history=_remembered(watch, now - watch.began, line))
        return ended, Actions(lines=[line])
    soon = min(watch.settings.retry_s, max(1.0, patience_s / 2))
    lost = {host: replace(entry, next=min(entry.next, now + soon)) for host, entry in watch.lost.items()}
    return replace(watch, lost=lost), Actions()


def _matrix(watch: Watch, relay: Relay, plan: Plan) -> dict[str, t.Any]:
    """What was measured, and over it what was observed since. Fixed paths over what was lost are given up."""
    hosts = members(relay, plan)
    gone = {(link[0], link[1]) for link in watch.lost_links} | {(a, b) for a in watch.lost for b in hosts}
    matrix = matrix_of(watch.measured, relay, hosts, watch.sites, gone, watch.rates)
    lost = [[a, b, None] for a, b in watch.lost_links if a in hosts and b in hosts]
    return {**matrix, "exceptions": [*matrix["exceptions"], *lost]}


def _expected(plan: Plan, relay: Relay, matrix: mx.Matrix) -> dict[str, float]:
    """Rates by receiver. Those of transfers that go on from an earlier plan are the links'."""
    rates = expected_rates(plan, relay["size_bytes"])
    if plan["mode"] == "staged":
        for host, move in moves_of(plan).items():
            seconds = matrix.sub([matrix.index[move["from"]], matrix.index[host]], relay["size_bytes"])[0][1]
            if 0 < seconds < mx.INF:
                rates[host] = relay["size_bytes"] * 8e-6 / seconds
    return rates


def _observed(watch: Watch, relay: Relay, plan: Plan, at: float) -> dict[str, t.Any]:
    hosts = members(relay, plan)
    bases = {host: base_of(watch.fleet, host, relay["sha256"]) for host in hosts}
    gone = [host for host in hosts if host in watch.lost or bases[host].state == "failed"]
    holders = [h for h in hosts if h not in gone and (bases[h].state == "holding" or h in relay["sources"])]
    progress = {}
    for host, base in bases.items():
        if host in gone or host in holders or host in relay["sources"]:
            continue
        # A transfer that the plan did not foresee is a node's own way out, not one to be kept.
        sender = next((p for p in base.parents if p in first_parents(plan, host)), None)
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


def _watcher(watch: Watch) -> str | None:
    """Who is asked next: the one before if it lives, else a host that is not known to be lost."""
    if watch.watcher and watch.watcher not in watch.lost:
        return str(watch.watcher)
    return next((host for host in hosts_of(watch) if host not in watch.lost), None)
