# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What to do with migrations that were interrupted: each is finished or undone, by what both hosts say."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from .migration_looks import FORMAT, Looks, Request, records_of, seen_of, unknown_of
from .migration_steps import FINISHED, HANDED_OVER, REMOVED, key_of
from .removal_plan import names_of

Seen = Mapping[str, Mapping[str, t.Any]]


class _Journaled(t.NamedTuple):
    """What both hosts say of one machine that is on its way."""

    key: tuple[str, ...]
    source: str
    target: str
    source_says: Mapping[str, t.Any] | None
    target_says: Mapping[str, t.Any] | None


def migration_recovery(looks: Looks, request: Request | None = None) -> dict[str, t.Any]:
    """How migrations are ended that an earlier run has begun.

    :returns: a plan as migration_plan's, whose moves begin at a later step (``from_step``) or are undone (``undo``); ``problems``
        name what cannot be known.
    """
    seen, unknown = seen_of(looks), unknown_of(looks)
    moves: list[dict[str, t.Any]] = []
    problems: list[str] = []
    for move, problem in _relocations(seen, request):
        moves += [move] if move else []
        problems += [problem] if problem else []
    for found in _journaled(seen):
        if request is not None and not _is_meant(found, request):
            continue
        move, problem = _decision(found, seen, unknown)
        moves += [move] if move else []
        problems += [problem] if problem else []
    return {
        "format": FORMAT,
        "moves": moves,
        "records": records_of(looks),
        "addresses": {},
        "stays": [],
        "problems": problems,
        "text": list(_recovery_text(moves)),
    }


def _relocations(seen: Seen, request: Request | None) -> Iterator[tuple[dict[str, t.Any] | None, str | None]]:
    """Moves to another pool of a host. What the machine's definition names there, stays; the host itself sees to that."""
    for host, look in seen.items():
        for entry in look["journal"]:
            found = _Journaled(key_of(entry), host, host, entry, None)
            if entry["side"] != "within" or (request is not None and not _is_meant(found, request)):
                continue
            if entry.get("process") is not None:
                yield (
                    None,
                    f"{found.key[2]}: its migration to the pool {entry['peer']} of {host} has not ended: process {entry['process']} of"
                    f" {host} is still at work on it; run again when that has ended",
                )
                continue
            names = dict(zip(("tenant", "service", "machine"), found.key, strict=True))
            ways = {"source": host, "target": host, "live": entry["live"], "within": entry["peer"]}
            yield {**names, **ways, "group": None, "number": None, "undo": True}, None


def _is_meant(found: _Journaled, request: Request) -> bool:
    if request.get("host"):
        return request["host"] in (found.source, found.target)
    return found.key[2] in names_of(request.get("machine"))


def _journaled(seen: Seen) -> Iterator[_Journaled]:
    ends: dict[tuple[tuple[str, ...], str, str], dict[str, t.Any]] = {}
    for host, look in seen.items():
        for entry in look["journal"]:
            if entry["side"] == "within":
                continue
            source, target = (host, entry["peer"]) if entry["side"] == "source" else (entry["peer"], host)
            ends.setdefault((key_of(entry), source, target), {})[entry["side"]] = entry
    for (key, source, target), sides in ends.items():
        yield _Journaled(key, source, target, sides.get("source"), sides.get("target"))


def _decision(found: _Journaled, seen: Seen, unknown: Mapping[str, str]) -> tuple[dict[str, t.Any] | None, str | None]:
    """What ends it, or why that cannot be known."""
    name, source, target = found.key[2], found.source, found.target
    begun = f"{name}: its migration from {source} to {target} has not ended"
    for host, says in ((source, found.source_says), (target, found.target_says)):
        if says is not None and says.get("process") is not None:
            return None, f"{begun}: process {says['process']} of {host} is still at work on it; run again when that has ended"
    says = found.source_says or found.target_says or {}
    move = {
        **dict(zip(("tenant", "service", "machine"), found.key, strict=True)),
        "source": source,
        "target": target,
        "live": says["live"],
        "group": None,
        "number": None,
        "begun_by": {"source": (found.source_says or says)["run"], "target": (found.target_says or says)["run"]},
    }
    undo = {**move, "undo": True}
    file = f"migrations/{'/'.join(found.key)}.json in basecast_state_dir"
    for host, other in ((source, target), (target, source)):
        if host not in seen:
            if host == target and _is_surely_here(found, seen):
                return {**undo, "target_lost": True}, None
            why = unknown.get(host, "it is not a host of this run")
            return None, (
                f"{begun}, and {host} cannot be asked ({why}); run again when it answers. Start {name} on neither host before."
                f" If {host} is gone for good, {other} keeps what it has once you remove {file} there"
            )
    here, there = _state(seen[source], found.key), _state(seen[target], found.key)
    states = f"it is {here} on {source} and {there} on {target}"
    by_hand = f"{begun}: {states}; see on which host it works, stop it on the other (virsh destroy), and run again"
    if here == there == "absent":
        by_hand = f"{begun}: neither has its domain; define it again (virsh define), or give it up: remove {file} on both hosts"
    if found.source_says is None:
        # The source's file is the first to be written and the last to go, but for the room that was made before, and for what is
        # left on a target that was lost. The machine may have moved on since.
        elsewhere = any(_state(look, found.key) != "absent" for host, look in seen.items() if host != target)
        return (undo, None) if elsewhere and there != "running" else (None, by_hand)
    if found.source_says["phase"] != "leaving":
        if found.target_says is None:
            return ({**move, "from_step": REMOVED}, None) if there != "absent" else (None, by_hand)
        return ({**move, "from_step": FINISHED}, None) if there != "absent" and here in ("off", "absent") else (None, by_hand)
    if here == "absent":
        return None, by_hand
    if not found.source_says["live"]:
        return (undo, None) if there != "running" else (None, by_hand)
    if here == "running":
        return (undo, None) if there != "running" else (None, by_hand)
    if here == "off" and found.target_says is not None:
        # libvirt ends the source when the target has the machine, and defines it there before.
        return (
            ({**move, "from_step": HANDED_OVER}, None)
            if there in ("running", "off")
            else (undo, None)
            if there == "absent"
            else (None, by_hand)
        )
    return None, by_hand


def _is_surely_here(found: _Journaled, seen: Seen) -> bool:
    """Whether the source has the machine whatever the target says: it was not handed over, and if it moved live, it still runs here."""
    if found.source not in seen or found.source_says is None or found.source_says["phase"] != "leaving":
        return False
    here = _state(seen[found.source], found.key)
    return here == "running" or (here == "off" and not found.source_says["live"])


def _state(look: Mapping[str, t.Any], key: tuple[str, ...]) -> str:
    return next((str(one["state"]) for one in look["machines"] if key_of(one) == key), "absent")


def _recovery_text(moves: Sequence[Mapping[str, t.Any]]) -> Iterator[str]:
    for move in moves:
        if move.get("within"):
            yield (
                f"An earlier migration of {move['machine']} to the pool {move['within']} of {move['source']} had not ended; it is ended,"
                " and what the machine's definition names is kept."
            )
            continue
        what = "is undone" if move.get("undo") else "is finished"
        if move.get("target_lost"):
            what += f", on {move['source']} alone since {move['target']} cannot be asked; what has come there goes when it can"
        yield f"An earlier migration of {move['machine']} from {move['source']} to {move['target']} had not ended; it {what}."
