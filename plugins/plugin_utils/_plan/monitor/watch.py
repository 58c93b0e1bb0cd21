# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Watching a relay: what its progress says, and whether somebody has to be asked or the rest be planned again.

Nodes mend what they can by themselves: a child whose parent dies goes to the next one of its list. What is decided here is
what they cannot know: that another order is better now, that a host is back, that nobody holds the base any more.

The state of a watch is plain data:

- ``relays`` and ``plans`` (as relay_plans takes and gives them), ``measured`` and ``sites`` (what they were made from),
  ``began`` and ``watched_from`` (seconds since the epoch: the first, and every host had its part), ``settings``
  (see ``DEFAULTS``), ``paths`` (whether new plans come with tables of preferred paths);
- what was seen: ``fleet`` (the last news), ``lost`` ({host: {"since", "next", "why"}}), ``lost_links`` ([from, to]) and
  ``rates`` ([from, to, mbps], over what was measured before);
- what is to be done next: ``watcher`` (whom to ask for news), ``ask`` (hosts to be asked themselves), ``rounds`` (links to be
  measured), ``concerned`` (hosts with new ``parts``), ``lines`` (for people), ``done``, and ``failed`` (why nothing more can be
  delivered); ``history`` has all lines so far, and which hosts stalled.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ....module_utils._errors import InvalidOption
from ..relay.parts import members
from ..relay.plan_format import moves_of
from ..types import Part, Plan, Relay

State = dict[str, t.Any]
Fleet = Mapping[str, Mapping[str, t.Any]]

# What a watch waits for, and from where on something counts. All of it can be set.
#
# patience_s, timeout_s: how long nodes look for a living parent, and the whole relay may take.
# retry_s: how often a lost host is tried. measure_s: how often links are measured while bases are on their way; 0: never.
# changed_factor: a link counts as changed from this factor on, up or down; less is noise, and a plan is not that exact.
# settled_s: the rate of a transfer is that of some seconds, and its host has to hear of the plan first; until then it says nothing.
# worth_s: nothing is planned again for a transfer that ends sooner.
# follow_s, first_parent_s: how long a host may take to follow its plan, if it has another parent, and if it has none as yet.
# ahead_bytes: a child that has almost all that its parent has waits for that, not for the link.
# most_plans, most_looks: what changes more often than this cannot be planned; the hosts' own jobs go on.
DEFAULTS: dict[str, float] = {
    "patience_s": 60.0,
    "timeout_s": 7200.0,
    "retry_s": 30.0,
    "measure_s": 30.0,
    "changed_factor": 1.5,
    "settled_s": 12.0,
    "worth_s": 5.0,
    "follow_s": 3.0,
    "first_parent_s": 10.0,
    "ahead_bytes": 8 * 1024 * 1024,
    "most_plans": 50,
    "most_looks": 200,
}


def settings_of(given: object) -> dict[str, float]:
    """All settings of a watch; InvalidOption for a name or value that is none."""
    if not isinstance(given, Mapping):
        raise InvalidOption("settings", given, f"a dictionary with any of {', '.join(DEFAULTS)} is")
    for key, value in given.items():
        if key not in DEFAULTS:
            raise InvalidOption(f"settings.{key}", value, f"any of {', '.join(DEFAULTS)} is; {key} is not")
        least = 1.0 if key == "changed_factor" else 0.0
        if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not _number(value) >= least:
            raise InvalidOption(f"settings.{key}", value, f"a number of at least {least:g} is")
    return {**DEFAULTS, **{key: _number(value) for key, value in given.items()}}


def _number(value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


class Base(t.NamedTuple):
    """One base of a relay on one host, as the fleet's news tell it."""

    state: str
    bytes: int
    rate_mbps: float
    remaining_s: float | None
    parents: list[str]


NOTHING = Base("waiting", 0, 0.0, None, [])


def begin(state: Mapping[str, t.Any]) -> State:
    """The state with everything that the caller left out."""
    return {
        "lost_links": [],
        "rates": [],
        "heard": {},
        "series": 0,
        # What was foreseen at first, for comparison at the end.
        "first_predicted_s": [plan["predicted_s"] for plan in state["plans"]],
        "failed": None,
        "done": False,
        "watcher": None,
        "parts": {},
        "concerned": [],
        **state,
        "settings": settings_of(state.get("settings") or {}),
        "lost": {host: _entry(state, entry) for host, entry in (state.get("lost") or {}).items()},
        "act": False,
        "ask": [],
        "rounds": [],
        "lines": [],
    }


def _entry(state: Mapping[str, t.Any], entry: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A host that was lost before the watch began is tried as soon as it begins."""
    began = float(state["began"])
    return {"since": began, "next": began, "why": entry.get("msg", ""), **entry}


def base_of(fleet: Fleet, host: str, sha256: str) -> Base:
    told = ((fleet.get(host) or {}).get("bases") or {}).get(sha256)
    if not told:
        return NOTHING
    parents = [str(parent) for parent in told.get("parents") or []]
    return Base(told["state"], told["bytes"], told.get("rate_mbps") or 0.0, told.get("remaining_s"), parents)


def hosts_of(state: Mapping[str, t.Any]) -> list[str]:
    pairs = zip(state["relays"], state["plans"], strict=True)
    return list(dict.fromkeys(host for relay, plan in pairs for host in members(relay, plan)))


def look(state: Mapping[str, t.Any], news: Mapping[str, t.Any], now: float) -> State:
    """What is to be done after one answer of the watcher; ``act`` tells whether there is anything.

    :param news: the result of relay_info; without ``fleet`` the watcher did not answer.
    :param now: epoch seconds.
    """
    out = begin(state)
    settings, lost = out["settings"], out["lost"]
    hosts = hosts_of(out)
    fleet = news.get("fleet")
    out["looks"] = out.get("looks", 0) + 1
    if now - out["began"] > settings["timeout_s"] or out["looks"] > settings["most_looks"]:
        return {**out, "act": True, "done": True}
    due = [host for host, entry in lost.items() if now >= entry["next"]]
    if not fleet:
        silent = [out["watcher"]] if out["watcher"] in hosts and out["watcher"] not in lost else []
        left = [host for host in hosts if host not in lost and host not in silent]
        return {**out, "act": True, "ask": silent + due, "watcher": next(iter(left), None), "fleet_is_new": False}
    out["fleet"], out["fleet_is_new"] = fleet, True
    ask = [host for host in hosts if host not in lost and _is_suspect(out, fleet, host, now)]
    out["history"] = [
        *(out.get("history") or []),
        *({"at_s": round(now - out["began"], 1), "kind": "stall", "text": _stall(out, host)} for host in ask),
    ]
    changed = _changed_rates(out, fleet, now)
    if _settled(out, fleet):
        # Before the end everybody who was lost gets one more chance.
        last = [host for host in lost if not lost[host].get("last")]
        for host in last:
            lost[host] = {**lost[host], "last": True}
        done = not (ask or last)
        # The nodes may have given up before the watch did.
        failed = nobody_holds(lost) if done and _is_orphaned(out, fleet) else out["failed"]
        return {**out, "act": True, "ask": ask + last, "done": done, "failed": failed}
    rounds = _rounds_due(out, fleet, now) if not (ask or changed) else []
    return {
        **out,
        "act": bool(ask or due or changed or rounds or out.get("pending")),
        "ask": ask + due,
        "observed_rates": changed,
        "rounds": rounds,
        "series": out["series"] + bool(rounds),
        "probed_links": out.get("probed_links", 0) + sum(map(len, rounds)),
        "measured_at": now if rounds else out.get("measured_at", out["began"]),
    }


def _settled(state: Mapping[str, t.Any], fleet: Fleet) -> bool:
    return all(
        base_of(fleet, host, relay["sha256"]).state in ("holding", "failed")
        for relay in state["relays"]
        for host in relay["targets"]
        if host not in state["lost"]
    )


def _is_orphaned(state: Mapping[str, t.Any], fleet: Fleet) -> bool:
    """Whether hosts lack a base that nobody holds who can be reached."""
    for relay in state["relays"]:
        hosts = [h for h in [*relay["sources"], *relay["targets"]] if h not in state["lost"]]
        states = {host: base_of(fleet, host, relay["sha256"]).state for host in hosts}
        held = any(told == "holding" or (host in relay["sources"] and told != "failed") for host, told in states.items())
        if hosts and not held:
            return True
    return False


def nobody_holds(lost: Iterable[str]) -> str:
    names = ", ".join(lost) or "none"
    return f"no host that can still be reached holds the base (lost: {names}); nothing more can be delivered"


def _is_suspect(state: State, fleet: Fleet, host: str, now: float) -> bool:
    """Whether a host is to be asked itself: it is silent, or does not fetch from whom the plan says. Once for each reason."""
    told, settings = fleet.get(host) or {}, state["settings"]
    reason = None
    if told.get("stale"):
        reason = "silent"
    else:
        for relay, plan in zip(state["relays"], state["plans"], strict=True):
            base = base_of(fleet, host, relay["sha256"])
            if base.state != "fetching" or host not in relay["targets"] or host in plan.get("shares", {}):
                continue
            first = first_parents(plan, host)
            known_s = now - max(state.get("watched_from", state["began"]), state["began"] + plan.get("at_s", 0.0))
            given_s = settings["follow_s"] if base.parents else settings["first_parent_s"]
            if first and not (set(base.parents) & first) and known_s > given_s:
                reason = f"{relay['sha256']} from {', '.join(base.parents) or 'nobody'} instead of {', '.join(sorted(first))}"
    if reason is None:
        state["heard"].pop(host, None)
        return False
    if state["heard"].get(host) == reason:
        return False
    state["heard"] = {**state["heard"], host: reason}
    return True


def _stall(state: State, host: str) -> str:
    """Why a host is asked, in words."""
    reason = str(state["heard"][host])
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


def _changed_rates(state: State, fleet: Fleet, now: float) -> list[list[t.Any]]:
    """[from, to, mbps, mbps before] of transfers that are much slower or faster than planned."""
    at, settings = now - state["began"], state["settings"]
    found = []
    for number, (relay, plan) in enumerate(zip(state["relays"], state["plans"], strict=True)):
        known = state.get("expected")
        expected = known[number] if known else expected_rates(plan, relay["size_bytes"])
        since = max(plan.get("at_s", 0.0), state.get("watched_from", 0.0) - state["began"])
        for host, move in moves_of(plan).items():
            base = base_of(fleet, host, relay["sha256"])
            if base.state != "fetching" or base.parents != [move["from"]] or host in state["lost"]:
                continue
            before = expected.get(host)
            if not before or at - max(move["start_s"], since) < settings["settled_s"]:
                continue
            parent = base_of(fleet, move["from"], relay["sha256"])
            if parent.state != "holding" and parent.bytes - base.bytes < settings["ahead_bytes"]:
                continue
            left = relay["size_bytes"] - base.bytes
            rate = max(base.rate_mbps, 0.01)
            if left * 8e-6 / min(rate, before) < settings["worth_s"]:
                continue
            if rate * settings["changed_factor"] < before or rate > before * settings["changed_factor"]:
                found.append([move["from"], host, rate, before])
    return found


# Rounds of disjoint pairs that are measured at a time, and links that are looked at for them.
MOST_ROUNDS, MOST_PAIRS = 6, 64


def _rounds_due(state: Mapping[str, t.Any], fleet: Fleet, now: float) -> list[list[list[str]]]:
    """Links to be measured anew, in rounds of disjoint pairs: those that could serve a host that still lacks a base, and do
    not. Links that were lost come first: they may be back. Of many links each series takes the next ones."""
    interval = state["settings"]["measure_s"]
    since = state.get("measured_at", state["began"])
    if not interval or now - since < max(interval, (now - state["began"]) / 10):
        return []
    links: dict[tuple[str, str], None] = {}
    for relay, plan in zip(state["relays"], state["plans"], strict=True):
        links.update(dict.fromkeys(_idle_links(state, relay, plan, fleet)))
    lost = set(map(tuple, state["lost_links"]))
    back, others = [pair for pair in links if pair in lost], [pair for pair in links if pair not in lost]
    start = state.get("probed_links", 0) % len(others) if others else 0
    return _disjoint([*back, *others[start:], *others[:start]][: len(back) + MOST_PAIRS])


def _idle_links(state: Mapping[str, t.Any], relay: Relay, plan: Plan, fleet: Fleet) -> list[tuple[str, str]]:
    """Links from hosts that have something to give to hosts that need it and get nothing over them.

    Staged: only holders serve, and who is served by one is not disturbed. Chunk by chunk every host serves; those that
    are served may be served better.
    """
    alive = [host for host in members(relay, plan) if host not in state["lost"]]
    bases = {host: base_of(fleet, host, relay["sha256"]) for host in alive}
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


class Answers(t.NamedTuple):
    """What came of asking hosts themselves."""

    alive: dict[str, Mapping[str, t.Any]]
    lost: dict[str, str]


def hear(state: State, answers: Answers, now: float) -> list[str]:
    """Take in the answers; the reasons to plan again that follow from them."""
    reasons: list[str] = []
    retry = state["settings"]["retry_s"]
    for host, why in answers.lost.items():
        known = state["lost"].get(host)
        if known is None:
            reasons.append(f"{host} is lost ({why})")
            state["lost"][host] = {"since": now, "next": now + retry, "why": why}
        else:
            # The longer it is lost, the less often it is tried.
            state["lost"][host] = {**known, "next": now + max(retry, (now - known["since"]) / 5)}
    for host, node in answers.alive.items():
        if state["lost"].pop(host, None) is not None:
            reasons.append(f"{host} is back")
            state["restarted"] = [*state.get("restarted", []), host]
            state["lost_links"] = [pair for pair in state["lost_links"] if host not in pair]
        elif node.get("started") is False:
            # Its process had ended, for want of memory perhaps; asking has started another, which knows nothing of the plan.
            reasons.append(f"the relay node of {host} had to be started again")
            state["restarted"] = [*state.get("restarted", []), host]
        for a, b, error in _failed_links(state, host, node):
            if [a, b] not in state["lost_links"]:
                # What one end cannot reach is taken as lost both ways: a node cannot tell which direction is.
                state["lost_links"] = [*state["lost_links"], [a, b], [b, a]]
                reasons.append(f"the link between {a} and {b} is lost ({b} says: {error.rstrip('.')})")
    return reasons


SILENT = ("has been silent", "cannot be reached")


def _failed_links(state: Mapping[str, t.Any], host: str, node: Mapping[str, t.Any]) -> Iterable[tuple[str, str, str]]:
    """Links over which a host tried in vain to fetch, or left a parent from which nothing came, though the other end lives."""
    fleet = state.get("fleet") or {}
    for base in (node.get("bases") or {}).values():
        if base.get("state") != "fetching":
            continue
        for attempt in base.get("attempts") or []:
            parent = attempt["parent"]
            alive = parent not in state["lost"] and parent in fleet and not fleet[parent].get("stale")
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
