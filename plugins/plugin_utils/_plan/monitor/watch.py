# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Watching a relay: what its progress says, and whether somebody has to be asked or the rest be planned again.

Nodes mend what they can by themselves: a child whose parent dies goes to the next one of its list. What is decided here is
what they cannot know: that another order is better now, that a host is back, that nobody holds the base any more.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..relay.parts import members
from ..relay.plan_format import moves_of
from ..types import Part, Plan, Relay
from .state import Actions, Answers, Lost, News, Watch, base_of, hosts_of


def look(watch: Watch, news: News) -> tuple[Watch, Actions]:
    """What is to be done after one answer of the watcher."""
    lost, now, fleet = watch.lost, news.at, news.fleet
    watch = replace(watch, looks=watch.looks + 1)
    if now - watch.began > watch.settings.timeout_s or watch.looks > watch.settings.most_looks:
        return replace(watch, done=True), Actions(act=True)
    hosts = hosts_of(watch)
    due = [host for host, entry in lost.items() if now >= entry.next]
    if not fleet:
        silent = [watch.watcher] if watch.watcher in hosts and watch.watcher not in lost else []
        left = [host for host in hosts if host not in lost and host not in silent]
        return replace(watch, watcher=next(iter(left), None), fleet_is_new=False), Actions(act=True, ask=[*silent, *due])
    watch = replace(watch, fleet=fleet, fleet_is_new=True)
    watch, ask = _suspects(watch, hosts, now)
    changed = _changed_rates(watch, now)
    if _settled(watch):
        return _ending(watch, ask)
    rounds = _rounds_due(watch, now) if not (ask or changed) else []
    act = bool(ask or due or changed or rounds or watch.pending)
    watch = replace(
        watch,
        observed_rates=changed,
        series=watch.series + bool(rounds),
        probed_links=watch.probed_links + sum(map(len, rounds)),
        measured_at=now if rounds else watch.measured_at,
    )
    return watch, Actions(act, [*ask, *due], rounds)


def _ending(watch: Watch, ask: Sequence[str]) -> tuple[Watch, Actions]:
    """All who live have come to an end. Before the watch does, everybody who was lost gets one more chance."""
    last = [host for host, entry in watch.lost.items() if not entry.last]
    lost = {host: replace(entry, last=True) for host, entry in watch.lost.items()}
    done = not (ask or last)
    # The nodes may have given up before the watch did.
    failed = nobody_holds(lost) if done and _is_orphaned(watch) else watch.failed
    return replace(watch, lost=lost, done=done, failed=failed), Actions(act=True, ask=[*ask, *last])


def _settled(watch: Watch) -> bool:
    return all(
        base_of(watch.fleet, host, relay["sha256"]).state in ("holding", "failed")
        for relay in watch.relays
        for host in relay["targets"]
        if host not in watch.lost
    )


def _is_orphaned(watch: Watch) -> bool:
    """Whether hosts lack a base that nobody holds who can be reached."""
    for relay in watch.relays:
        hosts = [h for h in [*relay["sources"], *relay["targets"]] if h not in watch.lost]
        states = {host: base_of(watch.fleet, host, relay["sha256"]).state for host in hosts}
        held = any(told == "holding" or (host in relay["sources"] and told != "failed") for host, told in states.items())
        if hosts and not held:
            return True
    return False


def nobody_holds(lost: Iterable[str]) -> str:
    names = ", ".join(lost) or "none"
    return f"no host that can still be reached holds the base (lost: {names}); nothing more can be delivered"


def _suspects(watch: Watch, hosts: Sequence[str], now: float) -> tuple[Watch, list[str]]:
    """Hosts to be asked themselves: silent ones, and those that do not fetch from whom the plan says. Once for each reason."""
    heard = dict(watch.heard)
    ask = []
    for host in hosts:
        if host in watch.lost:
            continue
        reason = _suspicion(watch, host, now)
        if reason is None:
            heard.pop(host, None)
        elif heard.get(host) != reason:
            heard[host] = reason
            ask.append(host)
    stalls = [{"at_s": round(now - watch.began, 1), "kind": "stall", "text": _stall(host, heard[host])} for host in ask]
    return replace(watch, heard=heard, history=[*watch.history, *stalls]), ask


def _suspicion(watch: Watch, host: str, now: float) -> str | None:
    """Why a host is to be asked itself; None if it need not."""
    if (watch.fleet.get(host) or {}).get("stale"):
        return "silent"
    reason = None
    for relay, plan in zip(watch.relays, watch.plans, strict=True):
        base = base_of(watch.fleet, host, relay["sha256"])
        if base.state != "fetching" or host not in relay["targets"] or host in plan.get("shares", {}):
            continue
        first = first_parents(plan, host)
        known_s = now - max(watch.watched_from, watch.began + plan.get("at_s", 0.0))
        given_s = watch.settings.follow_s if base.parents else watch.settings.first_parent_s
        if first and not (set(base.parents) & first) and known_s > given_s:
            reason = f"{relay['sha256']} from {', '.join(base.parents) or 'nobody'} instead of {', '.join(sorted(first))}"
    return reason


def _stall(host: str, reason: str) -> str:
    """Why a host is asked, in words."""
    return f"{host} is silent." if reason == "silent" else f"{host} fetches {reason.partition(' ')[2]}."


def first_parents(plan: Plan, host: str) -> set[str]:
    choices = (plan.get("parents") or {}).get(host) or []
    return {stripe[0] for stripe in choices if isinstance(stripe, list) and stripe}


def expected_rates(plan: Plan, size_bytes: int) -> dict[str, float]:
    """10^6 bit/s by receiver, as a plan that was made from measured links foresees them."""
    if plan.get("assumed"):
        return {}
    return {
        host: size_bytes * 8e-6 * move.get("share", 1.0) / (move["end_s"] - move["start_s"])
        for host, move in moves_of(plan).items()
        if move["end_s"] > move["start_s"]
    }


def _changed_rates(watch: Watch, now: float) -> list[list[t.Any]]:
    """[from, to, mbps, mbps before] of transfers that are much slower or faster than planned."""
    at, settings, fleet = now - watch.began, watch.settings, watch.fleet
    found = []
    for number, (relay, plan) in enumerate(zip(watch.relays, watch.plans, strict=True)):
        expected = watch.expected[number] if watch.expected else expected_rates(plan, relay["size_bytes"])
        since = max(plan.get("at_s", 0.0), watch.watched_from - watch.began)
        for host, move in moves_of(plan).items():
            base = base_of(fleet, host, relay["sha256"])
            if base.state != "fetching" or base.parents != [move["from"]] or host in watch.lost:
                continue
            before = expected.get(host)
            if not before or at - max(move["start_s"], since) < settings.settled_s:
                continue
            parent = base_of(fleet, move["from"], relay["sha256"])
            if parent.state != "holding" and parent.bytes - base.bytes < settings.ahead_bytes:
                continue
            left = relay["size_bytes"] - base.bytes
            rate = max(base.rate_mbps, 0.01)
            if left * 8e-6 / min(rate, before) < settings.worth_s:
                continue
            if rate * settings.changed_factor < before or rate > before * settings.changed_factor:
                found.append([move["from"], host, rate, before])
    return found


# Rounds of disjoint pairs that are measured at a time, and links that are looked at for them.
MOST_ROUNDS, MOST_PAIRS = 6, 64


def _rounds_due(watch: Watch, now: float) -> list[list[list[str]]]:
    """Links to be measured anew, in rounds of disjoint pairs: those that could serve a host that still lacks a base, and do
    not. Links that were lost come first: they may be back. Of many links each series takes the next ones."""
    interval = watch.settings.measure_s
    since = watch.began if watch.measured_at is None else watch.measured_at
    if not interval or now - since < max(interval, (now - watch.began) / 10):
        return []
    links: dict[tuple[str, str], None] = {}
    for relay, plan in zip(watch.relays, watch.plans, strict=True):
        links.update(dict.fromkeys(_idle_links(watch, relay, plan)))
    lost = set(map(tuple, watch.lost_links))
    back, others = [pair for pair in links if pair in lost], [pair for pair in links if pair not in lost]
    start = watch.probed_links % len(others) if others else 0
    return _disjoint([*back, *others[start:], *others[:start]][: len(back) + MOST_PAIRS])


def _idle_links(watch: Watch, relay: Relay, plan: Plan) -> list[tuple[str, str]]:
    """Links from hosts that have something to give to hosts that need it and get nothing over them.

    Staged: only holders serve, and who is served by one is not disturbed. Chunk by chunk every host serves; those that
    are served may be served better.
    """
    alive = [host for host in members(relay, plan) if host not in watch.lost]
    bases = {host: base_of(watch.fleet, host, relay["sha256"]) for host in alive}
    holders = [host for host, base in bases.items() if base.state == "holding" or host in relay["sources"]]
    senders = holders if plan["mode"] == "staged" else alive
    found = []
    for host in alive:
        base = bases[host]
        if host in holders or base.state not in ("waiting", "fetching"):
            continue
        if plan["mode"] == "staged" and set(base.parents) & set(holders):
            continue
        found += [(sender, host) for sender in senders if sender != host and sender not in base.parents]
    # Holders first: what they give is whole.
    return sorted(found, key=lambda pair: pair[0] not in holders)


def _disjoint(pairs: Sequence[tuple[str, str]]) -> list[list[list[str]]]:
    rounds: list[list[list[str]]] = []
    left = list(pairs)
    while left and len(rounds) < MOST_ROUNDS:
        busy: set[str] = set()
        chosen = []
        for a, b in left:
            if not {a, b} & busy:
                chosen.append((a, b))
                busy |= {a, b}
        rounds.append([[a, b] for a, b in chosen])
        left = [pair for pair in left if pair not in chosen]
    return rounds


def hear(watch: Watch, answers: Answers) -> tuple[Watch, list[str]]:
    """Take in the answers; the reasons to plan again that follow from them."""
    reasons: list[str] = []
    now, retry = answers.at, watch.settings.retry_s
    lost = dict(watch.lost)
    for host, why in answers.lost.items():
        known = lost.get(host)
        if known is None:
            reasons.append(f"{host} is lost ({why})")
            lost[host] = Lost(now, now + retry, why)
        else:
            # The longer it is lost, the less often it is tried.
            lost[host] = replace(known, next=now + max(retry, (now - known.since) / 5))
    watch = replace(watch, lost=lost)
    for host, node in answers.alive.items():
        watch, more = _hear_node(watch, host, node)
        reasons += more
    return watch, reasons


def _hear_node(watch: Watch, host: str, node: Mapping[str, t.Any]) -> tuple[Watch, list[str]]:
    """Take in what one node tells of itself and of its links."""
    reasons = []
    links, restarted = list(watch.lost_links), list(watch.restarted)
    if host in watch.lost:
        reasons.append(f"{host} is back")
        restarted.append(host)
        links = [pair for pair in links if host not in pair]
        watch = replace(watch, lost={name: entry for name, entry in watch.lost.items() if name != host})
    elif node.get("started") is False:
        # Its process had ended, for want of memory perhaps; asking has started another, which knows nothing of the plan.
        reasons.append(f"the relay node of {host} had to be started again")
        restarted.append(host)
    for a, b, error in _failed_links(watch, host, node):
        if [a, b] not in links:
            # What one end cannot reach is taken as lost both ways: a node cannot tell which direction is.
            links += [[a, b], [b, a]]
            reasons.append(f"the link between {a} and {b} is lost ({b} says: {error.rstrip('.')})")
    return replace(watch, lost_links=links, restarted=restarted), reasons


SILENT = ("has been silent", "cannot be reached")


def _failed_links(watch: Watch, host: str, node: Mapping[str, t.Any]) -> Iterator[tuple[str, str, str]]:
    """Links over which a host tried in vain to fetch, or left a parent from which nothing came, though the other end lives."""
    fleet = watch.fleet
    for base in (node.get("bases") or {}).values():
        if base.get("state") != "fetching":
            continue
        for attempt in base.get("attempts") or []:
            parent = attempt["parent"]
            alive = parent not in watch.lost and parent in fleet and not fleet[parent].get("stale")
            if alive and base.get("from") != parent and _is_cut(attempt):
                yield parent, host, attempt["error"]


def _is_cut(attempt: Mapping[str, t.Any]) -> bool:
    """A node leaves a slow parent sooner than silence is sure: then what came at last tells."""
    return attempt.get("mbps") == 0 or any(words in attempt["error"] for words in SILENT)


def parents_now(parts: Mapping[str, Sequence[Part]]) -> dict[str, str]:
    """From whom each host fetches, as text for comparison and for people."""
    first = {}
    for host, bases in parts.items():
        heads = [choices[0] for base in bases for choices in base["parents"] if choices]
        first[host] = ", ".join(dict.fromkeys(heads))
    return first
