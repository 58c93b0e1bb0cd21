# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What hosts answer to single steps of a run, before anything on the controller uses it: bounded, and field by field."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._untrusted import Malformed, Value
from . import observation as seen
from .answer_checks import (
    MAX_TEXT,
    Check,
    all_of,
    bounded,
    by_name,
    count,
    digest,
    fields,
    flag,
    has,
    line,
    list_of,
    mapping,
    moment,
    name,
    path,
    rate,
    speed,
    there,
)
from .manifest import plain

_MACHINE = has(machine=name)
_TEXTS = list_of(line)
_BASE = all_of(seen.BASE, fields(pool=name))
_REMOVED = all_of(
    _MACHINE,
    fields(
        group=name,
        number=count,
        domain=line,
        running=flag,
        wanted=flag,
        actions=_TEXTS,
        left=list_of(path),
        problem=line,
        moving=flag,
        disks=list_of(fields(path=path, name=line, action=line, pool=name)),
    ),
)


def _recorded_base(value: Value) -> None:
    """Of a manifest as its user wrote it; what has a digest is shown by its name and version, and that may be a number."""
    if value.get("sha256") is not None:
        has(sha256=digest, name=line)(value)
        if isinstance(value["version"].raw, str):
            line(value["version"])
        else:
            value["version"].number(-1e12, 1e12)


_MOVING_DISK = all_of(
    has(name=line, pool=name, path=path, image_format=name, allocated_bytes=count, size_bytes=count),
    there("base"),
    fields(base=digest),
)
_MOVING = all_of(
    _MACHINE,
    has(tenant=name, service=name, state=name, problems=_TEXTS, networks=list_of(mapping, 1000), disks=list_of(_MOVING_DISK)),
    there("group", "number", "autostart", "cpus", "memory_mib", "domain_type", "machine_type", "arch", "home"),
    fields(
        group=name,
        number=count,
        autostart=flag,
        cpus=count,
        memory_mib=count,
        domain_type=name,
        machine_type=name,
        arch=name,
        home=name,
        problem=line,
        bound=_TEXTS,
        bound_off=_TEXTS,
        dns=list_of(has(network=line, address=name, names=list_of(line, 10)), 1000),
    ),
)
# The names of what was moved stand in ``disks``.
_MOVED = all_of(
    _MACHINE,
    has(tenant=name, service=name),
    fields(state=name, problem=line, place=mapping, disks=_TEXTS, bases=_TEXTS, bytes=count),
)
_STOPPED = list_of(all_of(_MACHINE, fields(running=flag, actions=_TEXTS, problem=line)))
_LINK = all_of(
    has(**{"from": name, "to": name}),
    fields(mbps=rate, latency_s=moment, by=name, age_s=moment),
)

KINDS: dict[str, Check] = {
    "captured": all_of(
        fields(base=_BASE, running=flag, quiesced=flag, actions=_TEXTS),
        fields(disk=fields(machine=name, name=line, path=path, pool=name)),
        fields(template=seen.TEMPLATE, bases=by_name(_BASE)),
    ),
    "grown": has(disks=list_of(fields(machine=name, name=line, path=path, before_bytes=count, size_bytes=count))),
    "imported": fields(base=_BASE, template=seen.TEMPLATE),
    "job": fields(job=seen.OUTCOME),
    "measured": fields(
        links=list_of(_LINK),
        disk_write_mbps=speed,
        disk_read_mbps=speed,
        disks_age_s=moment,
        cpus=lambda value: value.number(0, 1e6),
        load_1m=lambda value: value.number(0, 1e9),
        memory_available_mib=count,
    ),
    "mended": fields(actions=_TEXTS),
    "migration": has(
        migration=all_of(
            has(
                machines=list_of(_MOVING),
                others=_TEXTS,
                services=list_of(
                    all_of(
                        has(tenant=name, service=name, assignments=mapping, jobs=_TEXTS, bases=list_of(_recorded_base)),
                        has(generation=lambda value: value.integer(-1)),
                    )
                ),
                journal=list_of(_MACHINE),
            ),
            there("cpu"),
            fields(arch=name, cpu=lambda value: value.cleaned(MAX_TEXT)),
        )
    ),
    "moved": fields(machines=list_of(_MOVED), port=lambda value: value.integer(1, 65535)),
    "node": has(
        node=fields(
            host=name,
            address=name,
            port=lambda value: value.integer(1, 65535),
            bases=by_name(seen.BASE_STATUS, 10_000),
        )
    ),
    "prune": has(prune=seen.PRUNE),
    "pruned": has(prune=has(results=list_of(fields(pool=name, what=path, state=name, reason=line, bytes=count)))),
    "removal": has(
        removal=all_of(
            has(machines=list_of(_REMOVED)),
            fields(
                record=line,
                recorded=flag,
                after=by_name(list_of(name, 10_000), 10_000),
                scaled=seen.SCALED,
                references=list_of(mapping),
                jobs=_TEXTS,
                problem=line,
                warnings=_TEXTS,
                changed=flag,
            ),
        )
    ),
    "stopped": fields(machines=_STOPPED, failure=fields(machines=_STOPPED)),
    "upkeep": has(
        faults=list_of(has(kind=name, pool=name, place=path, found=line, repair=line, mends=flag, is_wrong=flag, mended=flag), 100_000)
    ),
    "verified": has(pools=by_name(seen.POOL)),
}


#: What Ansible adds to a result, and nothing here uses.
_ASIDE = ("invocation", "diff", "exception", "ansible_facts", "deprecations")


def checked_answer(answer: object, kind: str, host: str, sha256: str = "") -> dict[str, t.Any]:
    """A host's answer as it may be used. :raises Malformed: with the place of what cannot be.

    :param sha256: of what was asked for: the base, or the file that it was made from.
    """
    place = f"what {host} tells"
    if isinstance(answer, Mapping):
        answer = {key: value for key, value in answer.items() if key not in _ASIDE}
    KINDS[kind](Value(bounded(answer, host), place))
    told = t.cast("dict[str, t.Any]", plain(answer))
    if kind == "measured":
        for number, link in enumerate(told.get("links") or []):
            if link["from"] != host:
                raise Malformed(f"{place}: links[{number}].from", f"{link['from']} is another host, which tells of its links itself")
    if kind == "node" and told["node"].get("host") not in (None, host):
        raise Malformed(f"{place}: node.host", f"{told['node']['host']} is another host")
    base = told.get("base")
    if sha256 and base and sha256 not in (base["sha256"], base.get("source_sha256")):
        raise Malformed(f"{place}: base.sha256", f"{base['sha256']} was not asked for, {sha256} was")
    return told


def adopted(results: Sequence[Mapping[str, t.Any]], host: str) -> dict[str, t.Any]:
    """The bases that a host has adopted as it was asked to, and a sentence for each other one.

    :param results: of a loop over adoptions.
    """
    bases: list[t.Any] = []
    notes: list[str] = []
    for result in results:
        asked = result["item"]
        note = "is not there any more, or is another file now"
        base = None
        try:
            if result.get("failed"):
                note = f"cannot be adopted: {Value(str(result.get('msg') or 'no reason given'), 'msg').cleaned(MAX_TEXT)}"
            elif "base" in result:
                base = checked_answer({"base": result["base"]}, "imported", host, str(asked["sha256"]))["base"]
        except Malformed as error:
            note = f"cannot be adopted: {error.message}"
        if base:
            bases.append(base)
        else:
            notes.append(f"{host} fetches {asked['title']}: {asked['path']} {note}")
    return {"bases": bases, "notes": notes}


def files_of_hosts(results: Sequence[Mapping[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """By base, what the host that was asked for its source tells of it. What it tells of others is left out.

    :param results: of a loop over bases, each with the host in ``look.on``.
    """
    files: dict[str, dict[str, t.Any]] = {}
    for result in results:
        if "sources" not in result:
            continue
        base, host = str(result["item"]["name"]), str(result["item"]["look"]["on"])
        try:
            told = Value(bounded(result["sources"], host), f"what {host} tells").entries(1)
            seen.check_file(told[base].raw, host)
            files[base] = t.cast("dict[str, t.Any]", plain(told[base].raw))
        except KeyError:
            files[base] = {"isreg": False, "problem": f"what {host} tells is not about {base}, for which it was asked"}
        except Malformed as error:
            files[base] = {"isreg": False, "problem": error.message}
    return files
