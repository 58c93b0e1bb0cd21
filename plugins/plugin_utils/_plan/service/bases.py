# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The bases of a manifest: who holds each, who needs it, where it is imported, and what its file has become."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterator, Mapping

from ....module_utils._untrusted import Malformed
from ..placement import Observed, answers, disks_of, held_base
from ..placement.fleet import usable_bytes
from ..relay.needs import base_metadata
from ..types import Manifest
from .machine_search import maybe_elsewhere
from .observation import check_file
from .preflight import Groups, Machines
from .report import one_line
from .source_changes import checksum_problem, difference, is_packed, place_to_look, recorded, shown

# A base of service_plan, as the plan learns of it.
Base = dict[str, t.Any]
Bases = dict[str, Base]
Files = Mapping[str, Mapping[str, t.Any]]


def base_of(
    base: Mapping[str, t.Any],
    manifest: Manifest,
    hosts: Observed,
    imported: Mapping[str, t.Any] | None,
    problems: list[str],
) -> dict[str, t.Any]:
    """What is known of one base: its digest, its metadata and who holds it."""
    tenant = manifest["tenant"]
    title = f"{base['name']} {base['version']}"
    known = imported.get("sha256") if imported else None
    holders: dict[str, str] = {}
    digests: dict[str, list[str]] = {}
    metadata: Mapping[str, t.Any] | None = imported
    found: list[Mapping[str, t.Any]] = []
    for host, facts in hosts.items():
        held = held_base(facts, base, tenant, known)
        if held is None:
            continue
        digests.setdefault(held["sha256"], []).append(host)
        holders[host] = held["pool"]
        found.append(held)
        metadata = metadata or held
        if base["sha256"] and base["sha256"] not in (held["sha256"], held.get("source_sha256")):
            problems.append(
                f"{base['place']}.sha256: the manifest says {base['sha256']}, but {title} on {host} is {held['sha256']}"
                f" (imported from a file with {held.get('source_sha256')}); another content needs another version"
            )
    if imported and imported.get("host"):
        holders.setdefault(imported["host"], imported["pool"])
    if len(digests) > 1:
        places = " and ".join(f"{digest} on {', '.join(where)}" for digest, where in sorted(digests.items()))
        problems.append(f"{base['place']}: {title} names different bytes: {places}; another content needs another version")
    sha256 = known or next(iter(digests), None)
    # A name for different bytes is told of above, and what this run has imported is what it has seen.
    origin = recorded(found) if len(digests) == 1 and not imported else None
    source = shown(base["source"])
    wrong = checksum_problem({**base, "title": title}, origin)
    problems += [wrong] if wrong else []
    return {
        "name": base["name"],
        "version": base["version"],
        "title": title,
        "sha256": sha256,
        # What the name of the first disk of a template stands for besides, as its host has captured it.
        "template": imported.get("template") if imported else None,
        "wanted_sha256": base["sha256"],
        "pool": base.get("pool"),
        "metadata": base_metadata(metadata) if metadata and metadata.get("chunks_sha256") else None,
        "source": source,
        "parent": base.get("parent"),
        "parent_sha256": None,
        # Of a file that would be adopted, as long as nobody holds the base.
        "source_bytes": next((held["size_bytes"] for held in found), None),
        "place": base["place"],
        "anywhere": _is_anywhere(source),
        "holders": holders,
        "needed_on": [],
        "import_on": None,
        "import_pool": None,
        "recorded": origin,
        "look": None,
    }


def _is_anywhere(source: Mapping[str, t.Any]) -> bool:
    """Whether any host can import it: where one cannot, another one may."""
    return source["kind"] == "controller" or (source["kind"] == "url" and not source["host"])


def note_demand(
    bases: Bases,
    creating: Machines,
    hosts: Observed,
    manifest: Manifest,
    files: Files,
    problems: list[str],
) -> None:
    """Who needs which base, and where a base that nobody holds has to be imported."""
    tenant = manifest["tenant"]

    def usual_pool(base: Base, host: str) -> str:
        return _import_pool(base, host, hosts, creating, groups)

    groups = {group["name"]: group for group in manifest["machines"]}
    for machine in creating:
        for disk in disks_of(machine, groups):
            if disk["base"] and machine["host"] not in bases[disk["base"]]["needed_on"]:
                bases[disk["base"]]["needed_on"].append(machine["host"])
    for base in bases.values():
        base["look"] = place_to_look(base, hosts)
        if base["needed_on"] and not base["holders"]:
            _with_room_first(base, hosts, files.get(base["name"]), usual_pool)
            problems += _place_import(base, bases, hosts, tenant, usual_pool)


def _with_room_first(base: dict[str, t.Any], hosts: Observed, file: object, usual_pool: Callable[[Base, str], str]) -> None:
    """Hosts whose pool has no room for the source come last among those that need the base: the first one imports it."""
    size = file.get("size") if isinstance(file, Mapping) else None
    if not isinstance(size, int):
        return

    def is_full(host: str) -> bool:
        pools = (hosts[host].get("capacity") or {}).get("pools") or {}
        free = usable_bytes(pools.get(usual_pool(base, host)) or {})
        return free is not None and free < size

    base["needed_on"].sort(key=is_full)


def _place_import(
    base: Base,
    bases: Bases,
    hosts: Observed,
    tenant: str,
    usual_pool: Callable[[Base, str], str],
) -> Iterator[str]:
    """Where a base that nobody holds is imported; what stands in the way of it, as sentences."""
    source, place = base["source"], f"{base['place']}.source"
    if source["kind"] == "held":
        yield f"{base['place']}: no host of this run holds {base['title']}, and it has no source; give one, or capture or import it first"
        return
    if source["kind"] == "machine":
        base["import_on"], problem = _host_of_machine(base, hosts, tenant)
        if problem:
            yield f"{place}.machine: {problem}"
        else:
            base["import_pool"] = usual_pool(base, base["import_on"])
        return
    parents: dict[str, str] | None = None
    if base["parent"]:
        yield from _place_parent(base, bases, hosts, tenant, usual_pool)
        base["parent_sha256"], parents = _parent_of(base, bases, hosts, tenant)
        if not parents:
            return
    if base["anywhere"]:
        # The first host that needs it gets it; the relay does the rest.
        first = base["needed_on"][0]
        on = first if parents is None or first in parents else next(iter(parents), first)
    else:
        facts = hosts.get(source["host"])
        if facts is None:
            yield f"{place}.host: {source['host']!r} is not a host of this run; these are: {', '.join(hosts)}"
            return
        if not facts.get("reachable"):
            yield (
                f"{place}.host: {source['host']} cannot be used ({one_line(facts.get('msg'))})"
                f" and no other host of this run holds {base['title']}"
            )
            return
        on = source["host"]
    if parents is not None and on not in parents:
        title = f"{base['parent']['name']} {base['parent']['version']}"
        yield (
            f"{place}.host: {on} does not hold {title}, the parent of {base['title']}, which is on"
            f" {', '.join(parents)}; import it on one of these"
        )
        return
    base["import_on"], base["import_pool"] = on, usual_pool(base, on) if parents is None else parents[on]
    if parents is not None and base["pool"] not in (None, base["import_pool"]):
        yield f"{base['place']}.pool: {base['pool']!r} is not where its parent is on {on}; expected {base['import_pool']}"
    base["look"] = place_to_look(base, hosts)
    pools = (hosts[on].get("capacity") or {}).get("pools") or {}
    if source["pool"] and source["pool"] not in pools:
        yield f"{place}.pool: {source['pool']!r} is not a pool of {on}; these are: {', '.join(pools)}"


def _host_of_machine(base: Base, hosts: Observed, tenant: str) -> tuple[str | None, str]:
    """The host on which the machine is that a base is captured from; or why there is none."""
    source = base["source"]
    silent = [host for host, facts in hosts.items() if not answers(facts)]
    elsewhere = maybe_elsewhere(f"the base {base['title']}", silent) if silent else ""
    if source.get("domain"):
        return (None, elsewhere) if elsewhere else (source["host"], "")  # it was asked, and has it
    title = f"{source['machine']} of service {source['service']}"
    wanted = (tenant, source["service"], source["machine"])
    found = [
        host
        for host, facts in hosts.items()
        if facts.get("reachable")
        and any((one.get("tenant"), one.get("service"), one.get("machine")) == wanted for one in facts.get("domains") or [])
    ]
    if len(found) == 1:
        return (None, elsewhere) if elsewhere else (found[0], "")
    if found:
        return None, f"{title} is on {' and on '.join(found)}; remove the wrong one first"
    return None, f"{title} is on no host that could be asked" + (f"; not asked: {', '.join(silent)}" if silent else "")


def _place_parent(
    base: Base,
    bases: Bases,
    hosts: Observed,
    tenant: str,
    usual_pool: Callable[[Base, str], str],
) -> Iterator[str]:
    """A parent that nobody holds is imported before its child, where that will be, unless its own source says where."""
    wanted = base["parent"]
    if _parent_of(base, bases, hosts, tenant).pools:
        return
    parent = _in_manifest(wanted, bases)
    if parent is None:
        yield (
            f"{base['place']}.parent: no host of this run holds {wanted['name']} {wanted['version']}; list it under bases with its source,"
            " or import it first"
        )
        return
    where = base["source"]["host"] if base["source"]["kind"] != "controller" else None
    parent["needed_on"] = parent["needed_on"] or [where or base["needed_on"][0]]
    yield from _place_import(parent, bases, hosts, tenant, usual_pool)


def _in_manifest(wanted: Mapping[str, str], bases: Bases) -> dict[str, t.Any] | None:
    return next((one for one in bases.values() if (one["name"], one["version"]) == (wanted["name"], wanted["version"])), None)


class _Parent(t.NamedTuple):
    """Where a parent is, or is about to be: the pool on each such host. Its digest is None until it is imported."""

    sha256: str | None
    pools: dict[str, str]


def _parent_of(base: Base, bases: Bases, hosts: Observed, tenant: str) -> _Parent:
    wanted = base["parent"]
    parent = _in_manifest(wanted, bases)
    if parent is not None:
        held = {host: pool for host, pool in parent["holders"].items() if (hosts.get(host) or {}).get("reachable")}
        return _Parent(parent["sha256"], held or ({parent["import_on"]: parent["import_pool"]} if parent["import_pool"] else {}))
    found = {host: held_base(facts, {**wanted, "sha256": None}, tenant) for host, facts in hosts.items() if facts.get("reachable")}
    there = {host: one for host, one in found.items() if one is not None}
    return _Parent(next((one["sha256"] for one in there.values()), None), {host: one["pool"] for host, one in there.items()})


def look_at_files(bases: Bases, files: Files, notes: list[str]) -> Iterator[str]:
    """Keeps the sizes of what would be imported; what stands in the way of it, and what has changed since, as sentences."""
    for name, file in files.items():
        base = bases.get(name)
        if base is None:
            continue  # nobody has asked the host for that
        try:
            check_file(file, (base["look"] or {}).get("on") or "the controller")
        except Malformed as error:
            if base["holders"]:
                notes.append(f"{base['place']}.source: {error.message}")
            else:
                yield f"{base['place']}.source: {error.message}"
            continue
        if base["holders"]:
            problem, note = difference(base, file)
            yield from [problem] if problem else []
            notes += [note] if note else []
            continue
        place, source, wanted = base["place"], base["source"], base["wanted_sha256"]
        path = source["path"]
        if source["kind"] == "controller" and not file.get("isreg"):
            yield f"{place}.source.controller: there is no file {path} on the controller; a relative path is resolved against the manifest"
            continue
        if file.get("problem"):
            yield f"{place}.source: {base['import_on']}: {' '.join(str(file['problem']).split())}"
            continue
        if source["kind"] == "host" and not file.get("isreg"):
            where = f"put it there; a relative path starts at the directory of the pool {source['pool'] or base['import_pool']}"
            yield f"{place}.source.path: there is no file {path} on {base['import_on']}; {where}"
            continue
        if file.get("note"):
            # Such as a server that does not answer, or not with the file: it may when the deployment asks.
            notes.append(f"{place}.source: {base['import_on']}: {' '.join(str(file['note']).split())}")
        if is_packed(source):
            continue  # neither its size nor its digest is the image's
        base["source_bytes"] = int(file.get("size") or 0) or None
        if wanted and file.get("checksum") and file["checksum"] != wanted:
            yield f"{place}.sha256: the manifest says {wanted}, but {path} of the controller has {file['checksum']}"


def _import_pool(
    base: Base,
    host: str,
    hosts: Observed,
    creating: Machines,
    groups: Groups,
) -> str:
    """The pool that the manifest names; else that of the first disk that needs the base there; else one that the host has."""
    if base["pool"]:
        return str(base["pool"])
    pools = list((hosts[host].get("capacity") or {}).get("pools") or {})
    wanted = [
        disk["pool"]
        for at_home in (True, False)
        for machine in creating
        if (machine["host"] == host) is at_home
        for disk in disks_of(machine, groups)
        if disk["base"] == base["name"] and disk["pool"] in pools
    ]
    if wanted:
        return wanted[0]
    return "default" if "default" in pools or not pools else pools[0]
