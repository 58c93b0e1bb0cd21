# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""How a run came to its result: what was foreseen, what was measured, and why things are where they are.

Times are seconds since ``zero``, when the relay began; hosts' own clocks are corrected by what the survey saw of them. No
user data, passwords or queries of URLs come into it.
"""

from __future__ import annotations

import calendar
import re
import time
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ....module_utils._urls import public_url
from ..relay.fleet import shares_of
from ..relay.plan_format import guessed_links, moves_of
from ..types import Plan
from .preflight import CLOCK_NOTE_S

Data = Mapping[str, t.Any]

_TIMES = ("base_there_at", "disks_at", "started_at", "reported_at")
# Hosts that are listed for a machine, best first; reasons why hosts cannot take it.
MOST_RATINGS, MOST_REASONS = 12, 8
# What says nothing of a run, or is told elsewhere.
_NO_SETTINGS = {"links", "changed", "failed", "invocation", "ansible_facts", "manifest", "warnings", "deprecations"}
_NO_SETTINGS |= {"report_file", "plan_file", "saved_plan_file", "place_file", "links_file", "matrix_file"}  # of the controller


class Run(t.NamedTuple):
    """What the controller knows at the end of a run.

    ``kind``: plan or deploy. ``version``: of the collection. ``name``: begins with when it began. ``now``: seconds since the epoch.
    ``settings``, ``measured`` and ``relayed``: by host. ``watch``: as relay_watch leaves it. ``first_plans``: the relay's plans before
    anything happened.
    """

    kind: str = "deploy"
    version: str = ""
    name: str = ""
    now: float = 0.0
    settings: Mapping[str, Data] = {}
    observed: Mapping[str, Data] = {}
    measured: Mapping[str, Data] = {}
    relayed: Mapping[str, Data] = {}
    watch: Data = {}
    first_plans: Sequence[Data] = ()


def run_of(given: Data) -> Run:
    """From plain data; what is missing or empty is as above."""
    return Run(**{key: value for key, value in given.items() if key in Run._fields and value})


class _Clock:
    """From epoch seconds to seconds of the run."""

    def __init__(self, run: Run, outcomes: Mapping[str, Data]) -> None:
        self._ahead = {host: float((facts.get("clock") or {}).get("ahead_s") or 0.0) for host, facts in run.observed.items()}
        self.began = _began(run.name) or run.now
        jobs = [float(outcome["began_at"]) - self._off(host) for host, outcome in outcomes.items() if outcome.get("began_at")]
        self.zero = float((run.watch or {}).get("began") or min(jobs, default=self.began))

    def _off(self, host: str) -> float:
        """Asking takes some seconds, which look as if the host were ahead: only more than that is a clock that is off."""
        ahead = self._ahead.get(host, 0.0)
        return ahead if abs(ahead) > CLOCK_NOTE_S else 0.0

    def of_host(self, host: str, at: float | str | None) -> float | None:
        return None if not at else round(float(at) - self._off(host) - self.zero, 1)

    def of_controller(self, at: float) -> float:
        return round(at - self.zero, 1)


def _began(name: str) -> float | None:
    found = re.match(r"\d{8}T\d{6}", name)
    return float(calendar.timegm(time.strptime(found.group(), "%Y%m%dT%H%M%S"))) if found else None


def run_details(plan: Data, outcomes: Mapping[str, Data], relay_plans: Sequence[Data] | None, run: Run) -> dict[str, t.Any]:
    """What a report has beside its result.

    :param plan: as service_plan returns it.
    :param outcomes: as deploy_report takes them.
    :param relay_plans: those in force at the end.
    """
    clock = _Clock(run, outcomes)
    plans = list(relay_plans or [])
    transfers = [row for number, relay in enumerate(plan["relays"]) for row in _transfers(number, relay, outcomes, plans, run, clock)]
    return {
        "kind": run.kind,
        "run": run.name,
        "version": run.version,
        "tenant": plan["tenant"],
        "manifest_file": _manifest_file(run.settings),
        "began_at": round(clock.began),
        "ended_at": round(run.now),
        "zero_s": round(clock.zero - clock.began, 1),
        "took_s": round(run.now - clock.began, 1),
        "bases": [_base(base) for base in plan["bases"].values()],
        "fleet": {host: _host(facts, outcomes.get(host) or {}, clock, host) for host, facts in run.observed.items()},
        "relays": [{**_relay(number, relay, plans, run), **_took(relay, transfers)} for number, relay in enumerate(plan["relays"])],
        "transfers": transfers,
        "digests": list(_digests(outcomes, transfers)),
        "traffic": _traffic(plan["relays"], transfers),
        "links": _links(run),
        "events": _events(run.watch or {}, clock),
        "placement": _placement(plan),
        "notes": [*plan.get("notes", []), *(text for told in (plan.get("bad_hosts") or {}).values() for text in told)],
        "settings": _settings(run.settings),
    }


def machine_details(plan: Data, outcomes: Mapping[str, Data], run: Run) -> dict[str, dict[str, t.Any]]:
    """By machine: what it is, and when it came how far."""
    clock = _Clock(run, outcomes)
    told = {(host, one.get("machine")): one for host, outcome in outcomes.items() for one in outcome.get("machines") or []}
    found = {}
    for machine in plan["machines"]:
        spec, seen = machine.get("spec") or {}, told.get((machine["host"], machine["machine"])) or {}
        found[machine["machine"]] = {
            "group": machine["group"],
            "cpus": spec.get("cpus"),
            "memory_mib": spec.get("memory_mib"),
            "disks": {
                name: {key: disk.get(key) for key in ("base", "pool", "size_bytes")} for name, disk in (spec.get("disks") or {}).items()
            },
            "step": seen.get("step"),
            "times": {key.removesuffix("_at") + "_s": clock.of_host(machine["host"], seen.get(key)) for key in _TIMES},
        }
    return found


# --- bases and hosts ---------------------------------------------------------------------------


def _base(base: Data) -> dict[str, t.Any]:
    source = base.get("source") or {}
    place = str(source.get("url") or source.get("path") or source.get("machine") or "")
    return {
        "name": base["name"],
        "title": base["title"],
        "sha256": base["sha256"],
        "size_bytes": (base.get("metadata") or {}).get("size_bytes") or base.get("source_bytes"),
        "holders": dict(base.get("holders") or {}),
        "import_on": base.get("import_on"),
        "source": {"kind": source.get("kind"), "place": public_url(place) if "://" in place else place, "host": source.get("host")},
    }


def _host(facts: Data, outcome: Data, clock: _Clock, host: str) -> dict[str, t.Any]:
    capacity = facts.get("capacity") or {}
    pools = {
        name: {
            "path": (entry or {}).get("path"),
            "free_bytes": (entry or {}).get("free_bytes"),
            "size_bytes": (entry or {}).get("size_bytes") or (entry or {}).get("total_bytes"),
            "bases": [held.get("sha256") for held in ((facts.get("pools") or {}).get(name) or {}).get("bases") or []],
        }
        for name, entry in (capacity.get("pools") or {}).items()
    }
    return {
        "site": facts.get("site"),
        "labels": list(facts.get("labels") or []),
        "maintenance": bool(facts.get("maintenance")),
        "reachable": bool(facts.get("reachable")),
        "msg": facts.get("msg") or facts.get("reason") or "",
        "clock_ahead_s": (facts.get("clock") or {}).get("ahead_s"),
        "cpus": capacity.get("cpus"),
        "memory_mib": capacity.get("memory_mib") or capacity.get("memory_total_mib"),
        "pools": pools,
        "job_began_s": clock.of_host(host, outcome.get("began_at")),
        "job_ended_s": clock.of_host(host, outcome.get("ended_at")),
    }


# --- the relay ---------------------------------------------------------------------------------


def _relay(number: int, relay: Data, plans: Sequence[Data], run: Run) -> dict[str, t.Any]:
    last = plans[number] if number < len(plans) else None
    first = run.first_plans[number] if number < len(run.first_plans) else last
    return {
        "base": relay["base"],
        "sha256": relay["sha256"],
        "size_bytes": relay["size_bytes"],
        "sources": list(relay["sources"]),
        "targets": list(relay["targets"]),
        "helpers": list((last or {}).get("helpers") or []),
        "shared_pools": list(relay.get("shared_pools") or []),
        "first": _foreseen(t.cast("Plan | None", first)),
        "last": _foreseen(t.cast("Plan | None", last)),
        "replanned": bool(last and last.get("at_s")),
    }


def _took(relay: Data, transfers: Sequence[Data]) -> dict[str, float | None]:
    """When the last host had the base, and how long bases moved until then, which is what a plan predicts.

    What the controller did before is in the first of them alone: it connects, starts nodes and gives them their parts.
    """
    rows = [row for row in transfers if row["sha256"] == relay["sha256"] and row["ended_s"] is not None]
    ended = max((row["ended_s"] for row in rows), default=None)
    began = min((row["started_s"] if row["started_s"] is not None else row["ended_s"] for row in rows), default=None)
    return {"ended_s": ended, "moving_s": None if ended is None or began is None else round(ended - began, 1)}


def _foreseen(plan: Plan | None) -> dict[str, t.Any] | None:
    if plan is None:
        return None
    shares = shares_of(plan)
    return {
        "mode": plan.get("mode"),
        "strategy": plan.get("strategy"),
        "assumed": bool(plan.get("assumed")),
        "estimated_links": [list(pair) for pair in sorted(guessed_links(plan))],
        "predicted_s": plan.get("predicted_s"),
        "lower_bound_s": plan.get("lower_bound_s"),
        "unreachable": list(plan.get("unreachable") or []),
        "standby": list(plan.get("standby") or []),
        "trees": [
            {"weight": tree["weight"], "edges": [[edge["from"], edge["to"]] for edge in tree["edges"]]} for tree in plan.get("trees") or []
        ],
        "moves": [[move["from"], move["to"], round(move["start_s"], 2), round(move["end_s"], 2)] for move in moves_of(plan).values()],
        "shares": [[a, b, round(share, 4)] for (a, b), share in shares.items()],
        "paths": list(plan.get("paths") or []),
        "local": list(plan.get("local") or []),
    }


def _transfers(
    number: int, relay: Data, outcomes: Mapping[str, Data], plans: Sequence[Data], run: Run, clock: _Clock
) -> Iterator[dict[str, t.Any]]:
    """What each target got, from whom, and when; nothing of a host that told nothing."""
    fleet = (run.watch or {}).get("fleet") or {}
    last = plans[number] if number < len(plans) else {}
    for host in dict.fromkeys([*relay["targets"], *(last.get("helpers") or [])]):
        outcome = outcomes.get(host) or {}
        node = outcome.get("relay") or run.relayed.get(host) or {}
        told = (node.get("bases") or {}).get(relay["sha256"]) or ((fleet.get(host) or {}).get("bases") or {}).get(relay["sha256"]) or {}
        there = next((base.get("there_at") for base in outcome.get("bases") or [] if base.get("sha256") == relay["sha256"]), None)
        ended, seconds = clock.of_host(host, there), told.get("seconds")
        received = int(told.get("received_bytes") or 0)
        yield {
            "base": relay["base"],
            "sha256": relay["sha256"],
            "to": host,
            "state": told.get("state") or ("holding" if there else None),
            "bytes": told.get("bytes"),
            "received_bytes": received if told else None,
            "received_from": {str(sender): count for sender, count in (told.get("received_from") or {}).items() if count},
            "seconds": seconds,
            "mbps": round(received * 8e-6 / seconds, 1) if seconds and received else None,
            "ended_s": ended,
            "started_s": round(max(ended - seconds, 0.0), 1) if ended is not None and seconds else None,
            "attempts": [{"parent": one.get("parent"), "error": one.get("error")} for one in told.get("attempts") or []],
            "msg": told.get("msg") or "",
        }


def _digests(outcomes: Mapping[str, Data], transfers: Iterable[Data]) -> Iterator[dict[str, t.Any]]:
    """Which base is on which host, and how that is known: fetched ones were hashed whole by the host that published them."""
    fetched = {(row["to"], row["sha256"]) for row in transfers if row["received_bytes"]}
    for host, outcome in outcomes.items():
        for base in outcome.get("bases") or []:
            here = base.get("state") == "here"
            how = "" if not here else "hashed" if (host, base.get("sha256")) in fetched else "held"
            yield {
                "host": host,
                "sha256": base.get("sha256"),
                "pool": base.get("pool"),
                "here": here,
                "how": how,
                "msg": base.get("msg") or "",
            }


def _traffic(relays: Sequence[Data], transfers: Sequence[Data]) -> dict[str, t.Any]:
    """Bytes over the network, and the fewest with which every storage that lacked a base could get it once."""
    minimum = 0
    for relay in relays:
        sharing = [len(hosts) - 1 for hosts in relay.get("shared_pools") or []]
        minimum += int(relay["size_bytes"] or 0) * max(0, len(relay["targets"]) - sum(sharing))
    known = [row["received_bytes"] for row in transfers if row["received_bytes"] is not None]
    links: dict[tuple[str, str], int] = {}
    for row in transfers:
        for sender, count in row["received_from"].items():
            links[sender, row["to"]] = links.get((sender, row["to"]), 0) + count
    return {
        "received_bytes": sum(known) if known else None,
        "minimum_bytes": minimum,
        "links": [{"from": a, "to": b, "bytes": count} for (a, b), count in links.items()],
    }


def _links(run: Run) -> list[list[t.Any]]:
    """[from, to, 10^6 bit/s], as they were measured or given; of a link that was measured again the last."""
    given = next((settings.get("links") for settings in run.settings.values()), None)
    rows = given if given is not None else [row for facts in run.measured.values() for row in facts.get("links") or []]
    found = {(row["from"], row["to"]): round(float(row["mbps"]), 1) for row in rows or [] if row.get("mbps")}
    return [[a, b, mbps] for (a, b), mbps in found.items()]


def _events(watch: Data, clock: _Clock) -> list[dict[str, t.Any]]:
    """What happened on the way, the earliest first."""
    lost = [
        {"at_s": clock.of_controller(float(entry["since"])), "kind": "lost", "host": host, "text": f"{host} was lost: {_why(entry)}"}
        for host, entry in (watch.get("lost") or {}).items()
    ]
    replans = [
        {"at_s": round(entry["at_s"], 1), "kind": entry["kind"], "host": None, "text": entry["text"].replace("Task failed: ", "")}
        for entry in watch.get("history") or []
    ]
    return sorted([*lost, *replans], key=lambda event: event["at_s"])


def _why(entry: Data) -> str:
    return str(entry.get("why") or "no answer").removeprefix("Task failed: ")


# --- placement and settings --------------------------------------------------------------------


def _placement(plan: Data) -> dict[str, t.Any]:
    ratings = {}
    for machine, rated in (plan.get("ratings") or {}).items():
        fitting = [entry for entry in rated if entry.get("fits")]
        others: dict[str, list[str]] = {}
        for entry in rated:
            if not entry.get("fits"):
                others.setdefault("; ".join(entry["reasons"]), []).append(entry["host"])
        ratings[machine] = {
            "hosts": [
                {key: entry.get(key) for key in ("host", "pool", "rating", "reasons", "lost_by")} for entry in fitting[:MOST_RATINGS]
            ],
            "more": max(0, len(fitting) - MOST_RATINGS),
            "not": [{"reason": reason, "hosts": hosts} for reason, hosts in list(others.items())[:MOST_REASONS]],
        }
    return {
        "ratings": ratings,
        "groups": list(plan.get("group_ratings") or []),
        "unplaced": list(plan.get("unplaced") or []),
        "binds": list(plan.get("binds") or []),
    }


def _settings(settings: Mapping[str, Data]) -> list[dict[str, t.Any]]:
    """Each setting with the value that most hosts have, and those of the others."""
    rows = []
    for key in sorted({key for values in settings.values() for key in values} - _NO_SETTINGS):
        by_value: dict[str, tuple[t.Any, list[str]]] = {}
        for host, values in settings.items():
            value = values.get(key)
            by_value.setdefault(repr(value), (value, []))[1].append(host)
        common, *others = sorted(by_value.values(), key=lambda entry: -len(entry[1]))
        told = [{"value": value, "hosts": hosts} for value, hosts in others[:MOST_REASONS]]
        rows.append({"name": f"basecast_{key}", "value": common[0], "others": told, "more": max(0, len(others) - MOST_REASONS)})
    return rows


def _manifest_file(settings: Mapping[str, Data]) -> str | None:
    """As it was given; a manifest that is given as its content has none."""
    given = next((values.get("manifest") for values in settings.values()), None)
    return given if isinstance(given, str) and given and "\n" not in given else None
