# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a watch over a running relay knows, what it can be told, and what it can want: values that never change.

Between two tasks a watch is plain data, the fields of ``Watch`` and of ``Actions`` side by side; see ``watch_of`` and ``data_of``.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import InvalidOption
from ..json_schema import Schema, check
from ..relay.parts import members
from ..types import Part, Plan, Relay

Fleet = Mapping[str, Mapping[str, t.Any]]
Pair = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a watch waits for, and from where on something counts. All of it can be set.

    ``patience_s``, ``timeout_s``: how long nodes look for a living parent, and the whole relay may take.
    ``retry_s``: how often a lost host is tried. ``measure_s``: how often links are measured while bases are on their way; 0: never.
    ``changed_factor``: a link counts as changed from this factor on, up or down; less is noise, and a plan is not that exact.
    ``settled_s``: the rate of a transfer is that of some seconds, and its host has to hear of the plan first; until then it
    says nothing. ``worth_s``: nothing is planned again for a transfer that ends sooner.
    ``follow_s``, ``first_parent_s``: how long a host may take to follow its plan, if it has another parent, and if it has none
    as yet. ``ahead_bytes``: a child that has almost all that its parent has waits for that, not for the link.
    ``most_plans``, ``most_looks``: what changes more often than this cannot be planned; the hosts' own jobs go on.
    """

    patience_s: float = 60.0
    timeout_s: float = 7200.0
    retry_s: float = 30.0
    measure_s: float = 30.0
    changed_factor: float = 1.5
    settled_s: float = 12.0
    worth_s: float = 5.0
    follow_s: float = 3.0
    first_parent_s: float = 10.0
    ahead_bytes: float = 8 * 1024 * 1024
    most_plans: float = 50
    most_looks: float = 200


def settings_of(given: object) -> Settings:
    """All settings of a watch. :raises InvalidOption: for a name or value that is none."""
    known = [field.name for field in dataclasses.fields(Settings)]
    if not isinstance(given, Mapping):
        raise InvalidOption("settings", given, f"a dictionary with any of {', '.join(known)} is wanted")
    for key, value in given.items():
        if key not in known:
            raise InvalidOption("settings", key, f"any of {', '.join(known)} is wanted")
        least = 1.0 if key == "changed_factor" else 0.0
        if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not _number(value) >= least:
            raise InvalidOption(f"settings.{key}", value, f"a number of at least {least:g} is wanted")
    return Settings(**{key: _number(value) for key, value in given.items()})


def _number(value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan


@dataclasses.dataclass(frozen=True)
class Lost:
    """A host that does not answer: since when, when it is tried next (epoch seconds), why, and whether for the last time."""

    since: float
    next: float
    why: str = ""
    last: bool = False


@dataclasses.dataclass(frozen=True)
class Watch:
    """What is known of a running relay. Times are epoch seconds.

    ``relays`` and ``plans``: as relay_plans takes and gives them. ``began``, ``watched_from``: the first host, and every host, had its
    part. ``measured``, ``sites``: what the plans were made from. ``paths``: whether new plans come with tables of preferred paths.
    ``watcher``: whom to ask for news. ``fleet``: the last news, ``fleet_is_new``: they came since the hosts were asked last.
    ``lost_links``: [from, to]. ``rates``: [from, to, mbps], over what was measured before. ``observed_rates``: [from, to, mbps, mbps
    before], of transfers that are not as quick as planned. ``heard``: why each host was asked last. ``pending``: reasons to plan
    again that wait for news. ``restarted``: hosts that know nothing of the plan. ``hopeless_since``: since when nobody holds the
    base. ``expected``: by plan, 10^6 bit/s by receiver. ``first_predicted_s``: what was foreseen at first. ``history``: what
    happened, for the report. ``done``: whether the watch is over. ``failed``: why nothing more can be delivered.
    """

    relays: Sequence[Relay]
    plans: Sequence[Plan]
    began: float = 0.0
    watched_from: float = 0.0
    measured: object = None
    sites: Mapping[str, str] | None = None
    paths: bool = False
    settings: Settings = Settings()
    watcher: str | None = None
    fleet: Fleet = dataclasses.field(default_factory=dict)
    fleet_is_new: bool = False
    lost: Mapping[str, Lost] = dataclasses.field(default_factory=dict)
    lost_links: Sequence[Pair] = ()
    rates: Sequence[Sequence[t.Any]] = ()
    observed_rates: Sequence[Sequence[t.Any]] = ()
    heard: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pending: Sequence[str] = ()
    restarted: Sequence[str] = ()
    hopeless_since: float | None = None
    expected: Sequence[Mapping[str, float]] = ()
    first_predicted_s: Sequence[float] = ()
    looks: int = 0
    replans: int = 0
    series: int = 0
    probed_links: int = 0
    measured_at: float | None = None
    history: Sequence[Mapping[str, t.Any]] = ()
    done: bool = False
    failed: str | None = None


class News(t.NamedTuple):
    """What the watcher tells of the fleet at a time; nothing if it did not answer."""

    fleet: Fleet
    at: float


class Answers(t.NamedTuple):
    """What came of asking hosts themselves, and of measuring links, at a time.

    ``alive``: what each node tells. ``lost``: why each of the others did not answer. ``links``: rows of measured links.
    ``hosts``: by host, what else a probe tells (load, memory, disks).
    """

    alive: Mapping[str, Mapping[str, t.Any]]
    lost: Mapping[str, str]
    at: float
    links: Sequence[Mapping[str, t.Any]] = ()
    hosts: Mapping[str, Mapping[str, t.Any]] = {}


Event = News | Answers


class Actions(t.NamedTuple):
    """What is to be done next. ``act``: whether anything is; the same host can be asked again otherwise.

    ``ask``: hosts to be asked themselves. ``rounds``: links to be measured. ``concerned``: hosts with new ``parts``.
    ``lines``: what happened, for people.
    """

    act: bool = False
    ask: Sequence[str] = ()
    rounds: Sequence[Sequence[Pair]] = ()
    concerned: Sequence[str] = ()
    parts: Mapping[str, Sequence[Part]] = {}
    lines: Sequence[str] = ()


# ---- from and to plain data


def _of(kind: str | list[str], description: str, **more: t.Any) -> Schema:
    return {"type": kind, "description": description, **more}


_NUMBER = _of(["number", "null"], "a number")
_MAPPING = _of(["object", "null"], "a dictionary")
_LIST = _of(["array", "null"], "a list")
_TEXT = _of(["string", "null"], "text")
_FLAG = _of(["boolean", "null"], "true or false")
_KINDS: dict[str, Schema] = {
    **dict.fromkeys(("watched_from", "hopeless_since", "looks", "replans", "series", "probed_links", "measured_at"), _NUMBER),
    **dict.fromkeys(("sites", "fleet", "heard", "parts"), _MAPPING),
    **dict.fromkeys(("pending", "restarted", "expected", "first_predicted_s", "history", "ask", "concerned", "lines"), _LIST),
    **dict.fromkeys(("paths", "fleet_is_new", "done", "act"), _FLAG),
    **dict.fromkeys(("watcher", "failed"), _TEXT),
    **{key: {**_LIST, "items": _of("array", "a list")} for key in ("lost_links", "rates", "observed_rates", "rounds")},
    "relays": _of("array", "a list of relays, as service_plan names them,", items=_of("object", "a relay with sha256, sources and targets",
                  required=["sha256", "sources", "targets"])),
    "plans": _of("array", "a list of plans, as relay_plans makes them,", items=_of("object", "a plan of relay_plans")),
    "began": _of("number", "a number of seconds since the epoch"),
    "lost": {**_MAPPING, "additionalProperties": _of("object", "a dictionary with since, next and why")},
    "settings": {"description": "a dictionary"},
    "measured": {"description": "measured links"},
}  # fmt: skip
STAGED: Schema = _of(
    "object", "a state of relay_watch, with relays and plans,", properties=_KINDS, additionalProperties=False, required=["relays", "plans"]
)
WATCHED: Schema = {
    **STAGED,
    "description": "a state of relay_watch, with relays, plans and began,",
    "required": ["relays", "plans", "began"],
}


def watch_of(data: object, schema: Schema = WATCHED) -> Watch:
    """From plain data: what ``data_of`` gave, or the fields that are known at first; what is left out is as at the beginning.

    :raises InvalidOption: names the field.
    """
    check("watch", data, schema)
    given = {key: value for key, value in t.cast("Mapping[str, t.Any]", data).items() if value is not None}
    began = float(given.get("began", 0.0))
    fields = {field.name: given[field.name] for field in dataclasses.fields(Watch) if field.name in given}
    plans = given["plans"]
    if len(plans) != len(given["relays"]):
        raise InvalidOption("watch.plans", len(plans), f"one for each of the {len(given['relays'])} relays is wanted")
    return Watch(
        **{
            "watched_from": began,
            "measured_at": began,
            "first_predicted_s": [plan.get("predicted_s", 0.0) for plan in plans],
            **fields,
            "settings": settings_of(given.get("settings") or {}),
            "lost": {host: _lost(entry, began) for host, entry in (given.get("lost") or {}).items()},
        }
    )


def _lost(entry: Mapping[str, t.Any], began: float) -> Lost:
    """A host that was lost before the watch began has an outcome of the run here, and is tried as soon as the watch begins."""
    why = str(entry.get("why", entry.get("msg", "")))
    return Lost(float(entry.get("since", began)), float(entry.get("next", began)), why, bool(entry.get("last", False)))


def data_of(watch: Watch, actions: Actions) -> dict[str, t.Any]:
    """Plain data: the watch, and what is to be done."""
    fields = {field.name: getattr(watch, field.name) for field in dataclasses.fields(Watch)}
    plain = {**fields, "settings": dataclasses.asdict(watch.settings), "lost": {h: dataclasses.asdict(e) for h, e in watch.lost.items()}}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in {**plain, **actions._asdict()}.items()}


# ---- questions to a watch


class Base(t.NamedTuple):
    """One base of a relay on one host, as the fleet's news tell it."""

    state: str
    bytes: int
    rate_mbps: float
    remaining_s: float | None
    parents: list[str]


NOTHING = Base("waiting", 0, 0.0, None, [])


def base_of(fleet: Fleet, host: str, sha256: str) -> Base:
    told = ((fleet.get(host) or {}).get("bases") or {}).get(sha256)
    if not told:
        return NOTHING
    parents = [str(parent) for parent in told.get("parents") or []]
    return Base(told["state"], told["bytes"], told.get("rate_mbps") or 0.0, told.get("remaining_s"), parents)


def hosts_of(watch: Watch) -> list[str]:
    """Every host that takes part, or may."""
    pairs = zip(watch.relays, watch.plans, strict=True)
    return list(dict.fromkeys(host for relay, plan in pairs for host in members(relay, plan)))
