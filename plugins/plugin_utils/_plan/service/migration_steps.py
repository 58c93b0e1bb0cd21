# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The steps of a migration: which machines of which host go through the next one, after what became of the earlier ones."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from .report import one_line
from .status_text import size

FORMAT = 1
# In this order. Until ``handed_over`` a machine is the source's, from then on the target's.
PREPARED, SENT, RECEIVED, HANDED_OVER, FINISHED, REMOVED = "prepared", "sent", "received", "handed_over", "finished", "removed"
FORWARD = (PREPARED, SENT, RECEIVED, HANDED_OVER, FINISHED, REMOVED)
UNDONE_THERE, UNDONE_HERE = "undone_there", "undone_here"
RELOCATED = "relocated"  # the one step of a machine that stays on its host and moves to another pool
RECORDED = "recorded"
_ON_SOURCE = (SENT, HANDED_OVER, REMOVED, UNDONE_HERE, RELOCATED)
_KEYS = ("tenant", "service", "machine")

Plan = Mapping[str, t.Any]
Move = Mapping[str, t.Any]
Results = Mapping[str, Mapping[str, Mapping[str, t.Any]]]


def key_of(machine: Mapping[str, t.Any]) -> tuple[str, ...]:
    return tuple(machine[key] for key in _KEYS)


def migration_steps(plan: Plan, results: Results, step: str) -> dict[str, list[dict[str, t.Any]]]:
    """``{host: machines}``, as the module of the step takes them.

    :param plan: as migration_plan returns it.
    :param results: ``{host: {step: {"machines": the module's, "port", "msg"}}}`` so far.
    """
    found: dict[str, list[dict[str, t.Any]]] = {}
    if step == RECORDED:
        return _recorded(plan, results)
    for move in plan["moves"]:
        if _is_next(move, results, step):
            host = move["source"] if step in _ON_SOURCE else move["target"]
            found.setdefault(host, []).append(_arguments(plan, move, results, step))
    return found


def _is_next(move: Move, results: Results, step: str) -> bool:
    if move.get("within") or step == RELOCATED:
        return bool(move.get("within")) and step == RELOCATED
    if step in FORWARD:
        first = FORWARD.index(move.get("from_step", PREPARED))
        earlier = FORWARD[first : FORWARD.index(step)] if FORWARD.index(step) >= first else None
        return earlier is not None and not move.get("undo") and all(_is_done(move, results, before) for before in earlier)
    if move.get("undo"):
        if move.get("target_lost"):
            return step == UNDONE_HERE
        return step == UNDONE_THERE or _is_done(move, results, UNDONE_THERE)
    if _is_done(move, results, RECEIVED) or not _is_known(move, results):
        return False
    if step == UNDONE_THERE:
        return _result(move, results, PREPARED) is not None
    return _is_done(move, results, SENT) and _is_done(move, results, UNDONE_THERE)


def _is_known(move: Move, results: Results) -> bool:
    """Whether it is certain that the source has the machine, as far as the steps up to the proof tell."""
    sent, received = _result(move, results, SENT), _result(move, results, RECEIVED)
    if sent is not None and sent["state"] == "unknown":
        return False
    return received is None or not (move["live"] or received["state"] == "unknown")


def _result(move: Move, results: Results, step: str) -> Mapping[str, t.Any] | None:
    """What became of the machine in a step; None where it did not come to it."""
    host = move["source"] if step in _ON_SOURCE else move["target"]
    told = (results.get(host) or {}).get(step)
    if told is None:
        return None
    for one in told.get("machines") or []:
        if key_of(one) == key_of(move):
            return one
    if told.get("msg") and key_of(move) in {tuple(key) for key in told.get("asked") or []}:
        # The host was lost, or the module with it: what it has done by then cannot be known.
        return {"state": "unknown", "problem": one_line(told["msg"])}
    return None


def _is_done(move: Move, results: Results, step: str) -> bool:
    found = _result(move, results, step)
    return found is not None and not found["problem"]


def _arguments(plan: Plan, move: Move, results: Results, step: str) -> dict[str, t.Any]:
    told: dict[str, t.Any] = {key: move[key] for key in _KEYS}
    begun_by = (move.get("begun_by") or {}).get("source" if step in _ON_SOURCE else "target")
    if begun_by:
        told["begun_by"] = begun_by
    if step == RELOCATED:
        return told if move.get("undo") else {**told, "pool": move["within"], "live": move["live"]}
    if step in (PREPARED, RECEIVED):
        return {**told, **move["arrival"]}
    if step == SENT:
        prepared = _result(move, results, PREPARED) or {}
        port = results[move["target"]][PREPARED].get("port")
        peer = {"host": move["target"], "address": plan["addresses"].get(move["target"]), "port": port}
        return {**told, "live": move["live"], "peer": peer, "place": prepared.get("place"), "shared": move.get("shared") or []}
    if step in (FINISHED, REMOVED):
        return {**told, **_numbers(plan, results, move["tenant"], move["service"])}
    if step == UNDONE_HERE:
        return {**told, "certain": not move.get("target_lost")}
    return told


def _numbers(plan: Plan, results: Results, tenant: str, service: str) -> dict[str, t.Any]:
    """Where the machines of the service are, when those have left that were handed over."""
    record = next((one for one in plan["records"] if (one["tenant"], one["service"]) == (tenant, service)), None)
    assignments = dict(record["assignments"]) if record else {}
    for move in plan["moves"]:
        if (move["tenant"], move["service"]) == (tenant, service) and is_handed_over(move, results):
            entry = assignments.get(move["machine"]) or {"group": move["group"], "number": move["number"]}
            assignments[move["machine"]] = {**entry, "host": move["target"]}
    return {"generation": (record["generation"] if record else 0) + 1, "assignments": assignments}


def is_handed_over(move: Move, results: Results) -> bool:
    if move.get("undo") or move.get("within"):
        return False
    return move.get("from_step") in (FINISHED, REMOVED) or _is_done(move, results, HANDED_OVER)


def _recorded(plan: Plan, results: Results) -> dict[str, list[dict[str, t.Any]]]:
    """The other hosts of the services, whose records name the hosts of all machines."""
    found: dict[str, list[dict[str, t.Any]]] = {}
    for record in plan["records"]:
        moved = [
            move
            for move in plan["moves"]
            if (move["tenant"], move["service"]) == (record["tenant"], record["service"]) and is_handed_over(move, results)
        ]
        if moved:
            numbers = _numbers(plan, results, record["tenant"], record["service"])
            told = {key: moved[0][key] for key in _KEYS}
            for host in record["hosts"]:
                if host not in {side for move in moved for side in (move["source"], move["target"])}:
                    found.setdefault(host, []).append({**told, **numbers})
    return found


# --- what became of it -------------------------------------------------------------------------


def migration_report(plan: Plan, results: Results, predicted: bool = False) -> dict[str, t.Any]:
    """
    :returns: ``{"format", "predicted", "ok", "machines": [{"tenant", "service", "machine", "source", "target", "live", "state",
        "bytes", "seconds", "downtime_ms", "memory_bytes", "disk_bytes", "reason"}], "failures": [str], "text": [str]}``; states are
        moved, as before, unfinished, unknown.
    """
    machines = [_outcome(move, results, predicted) for move in plan["moves"]]
    failures = [f"{one['machine']} {_way(one)}: {one['reason']}" for one in machines if one["state"] not in ("moved", "undone")]
    failures += [
        f"{host}: the record of the service was not changed: {one_line(told[RECORDED].get('msg'))}"
        for host, told in results.items()
        if RECORDED in told and told[RECORDED].get("msg")
    ]
    report = {
        "format": FORMAT,
        "predicted": predicted,
        "ok": not failures,
        "machines": machines,
        "stays": list(plan.get("stays") or ()),
        "failures": failures,
    }
    return {**report, "text": list(_report_text(report))}


def _way(one: Move) -> str:
    return f"on {one['source']} to the pool {one['pool']}" if one.get("pool") else f"from {one['source']} to {one['target']}"


def _outcome(move: Move, results: Results, predicted: bool) -> dict[str, t.Any]:
    sent = _result(move, results, RELOCATED if move.get("within") else SENT) or {}
    state, reason = ("moved", "") if predicted else _end_of(move, results)
    return {
        **{key: move[key] for key in _KEYS},
        "source": move["source"],
        "target": move["target"],
        "live": move["live"],
        **({"pool": move["within"]} if move.get("within") else {}),
        "state": state,
        **{key: sent.get(key) for key in ("bytes", "seconds", "downtime_ms", "memory_bytes", "disk_bytes")},
        "reason": reason,
    }


def _end_within(move: Move, results: Results) -> tuple[str, str]:
    found = _result(move, results, RELOCATED)
    if found is None:
        return "as before", "the run ended before its turn"
    if not found["problem"]:
        return ("undone" if move.get("undo") else "moved"), ""
    return (found["state"], f"{found['problem']} Run again.") if found["state"] == "unknown" else ("as before", str(found["problem"]))


def _end_of(move: Move, results: Results) -> tuple[str, str]:
    if move.get("within"):
        return _end_within(move, results)
    back = (UNDONE_HERE,) if move.get("target_lost") else (UNDONE_THERE, UNDONE_HERE)
    steps = back if move.get("undo") else FORWARD[FORWARD.index(move.get("from_step", PREPARED)) :]
    failed = next((step for step in steps if not _is_done(move, results, step)), None)
    if failed is None:
        return ("undone" if move.get("undo") else "moved"), ""
    found = _result(move, results, failed)
    reason = str(found["problem"]) if found else "the run ended before its turn"
    if is_handed_over(move, results):
        return "unfinished", f"it is on {move['target']}, and not all is done: {reason} Run again."
    if not _is_known(move, results) or move.get("undo"):
        return "unknown", f"{reason} Which host has it is for the next run to find out."
    if failed == HANDED_OVER:
        return "unfinished", f"{reason} It was sent to {move['target']} and not handed over, so it does not run there; run again."
    backed_out = all(_is_done(move, results, step) for step in _undo_steps(move, results))
    left = "" if backed_out else f" What has come to {move['target']} is still there; run again."
    return "as before", f"{reason}{left}"


def _undo_steps(move: Move, results: Results) -> Iterator[str]:
    if _result(move, results, PREPARED) is not None:
        yield UNDONE_THERE
    if _is_done(move, results, SENT):
        yield UNDONE_HERE


def _report_text(report: Mapping[str, t.Any]) -> Iterator[str]:
    machines: Sequence[Mapping[str, t.Any]] = report["machines"]
    moved = [one for one in machines if one["state"] == "moved"]
    yield f"{len(moved)} of {len(machines)} machines {'would be moved' if report['predicted'] else 'were moved'}."
    width = max((len(one["machine"]) for one in machines), default=0)
    for one in machines:
        how = "live" if one["live"] else "off"
        way = f"{one['source']}, to the pool {one['pool']}" if one.get("pool") else f"{one['source']} > {one['target']}"
        line = f"  {one['machine']:<{width}}  {way}  {how}"
        if one["state"] == "undone":
            yield f"{line}  an earlier migration was {'ended' if one.get('pool') else 'undone'}"
        elif one["state"] != "moved":
            yield f"{line}  {one['state'].upper()}: {one['reason']}"
        else:
            yield line + _figures(one)
    yield from (f"  stays: {text}" for text in report["stays"])


def _figures(one: Move) -> str:
    parts = []
    if one["seconds"] is not None:
        parts.append(f"{one['seconds']:.1f} s")
    if one["bytes"] is not None:
        parts.append(f"{size(one['bytes'])} of files")
    if one["memory_bytes"] is not None:
        parts.append(f"{size(one['memory_bytes'])} of memory, {size(one['disk_bytes'] or 0)} of disks")
    if one["downtime_ms"] is not None:
        parts.append(f"stood still for {one['downtime_ms']} ms")
    return f"  {', '.join(parts)}" if parts else ""
