# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host has of a tenant's services, or of all: machines, disks, bases and records, each part answered for itself.

Nothing is judged here. Whether a disk has lost its machine is known only where all hosts have told what they have.
"""

from __future__ import annotations

import functools
import os
import time
import typing as t

from .._disk import capacity, file_io, filesystem, layout, staging, uploads, users
from .._disk.listing import listing_problem
from .._disk.store import Store
from .._disk.survey import pool_contents
from .._errors import FleetError
from .._machine import inquiry
from .._machine.moves import unended
from .._machine.owner import Owner
from .._machine.records import RecordUnreadable, ServiceRecords, scaled_of, tenants_of
from .._names import is_host_label, is_name
from . import half_clones
from .alone import at_work
from .journal import RUNNING, Journal
from .questions import Answer, Question, ask_all

FORMAT = 1


class Request(t.NamedTuple):
    """
    :param pools: paths by name.
    :param tenant: None for all tenants.
    :param limit_s: how long one part may take.
    """

    pools: t.Mapping[str, str]
    tenant: str | None
    uri: str
    state_dir: str
    runtime_dir: str
    limit_s: float = 30.0


def look(request: Request) -> dict[str, t.Any]:
    """The host's part of the fleet's status."""
    asked = _questions(request)
    answers = ask_all(asked, dict.fromkeys(asked, request.limit_s))
    machines, addresses = answers["machines"], answers["addresses"]
    known_machines = machines.value["machines"] if machines.known else []
    for machine in known_machines:
        machine["problem"] = machine["problem"] or unended(request.state_dir, _owner(machine)) or _stands(request, machine)
        machine["addresses"] = _with_reported(machine, addresses.value.get(machine["domain"], []) if addresses.known else [])
    reasons = list(_unknown(answers))
    records = answers["records"].value if answers["records"].known else {"services": [], "jobs": []}
    return {
        "format": FORMAT,
        "known": not reasons,
        "reason": " ".join(reasons),
        "seen_at": round(time.time(), 3),
        "host": answers["host"].value if answers["host"].known else {},
        "machines": known_machines,
        "others": machines.value["others"] if machines.known else None,
        **records,
        "pools": {name: _pool_told(path, answers[f"pool:{name}"]) for name, path in request.pools.items()},
        "parts": {name: answer.told() for name, answer in answers.items()},
    }


def _owner(machine: t.Mapping[str, t.Any]) -> Owner:
    return Owner(machine["tenant"], machine["service"], machine["machine"])


def _stands(request: Request, machine: dict[str, t.Any]) -> str | None:
    """Why a guest is paused or frozen after an interrupted run; None if it is not."""
    if not machine.pop("stands") or at_work(Journal(request.runtime_dir, machine["tenant"], machine["service"])) is not None:
        return None
    return (
        "its guest stands still since a clone or a capture of it was interrupted; run that again, or let it go on (virsh resume, or virsh"
        " domfsthaw where it has a guest agent)"
    )


def _with_reported(machine: t.Mapping[str, t.Any], found: list[dict[str, str]]) -> list[dict[str, str]]:
    """With what the guest itself has written of its addresses, which comes last: it was true when it started."""
    there = {one["address"] for one in found}
    said = (machine["report"] or {}).get("addresses") or () if machine["running"] else ()
    return [*found, *({"address": one, "mac": "", "source": "report"} for one in said if one not in there)]


def _unknown(answers: t.Mapping[str, Answer]) -> t.Iterator[str]:
    subjects = {"machines": "libvirt", "records": "The services' records", "host": "The host"}
    for name, answer in answers.items():
        what, _colon, of = name.partition(":")
        if what == "addresses":
            continue  # machines without an address are shown as such
        if not answer.known:
            yield f"{'The pool ' + of if what == 'pool' else subjects[what]}: {answer.error}.".replace("..", ".")
        elif what == "machines" and not answer.value["known"]:
            yield answer.value["reason"]
        elif what == "machines" and (answer.value["others"] or {}).get("unread"):
            yield f"libvirt: {answer.value['others']['unread']} domains cannot be read, so machines may be missing."
        elif what == "records":
            yield from (one["problem"] for one in answer.value["services"] if one["problem"])


def _questions(request: Request) -> dict[str, Question]:
    asked: dict[str, Question] = {
        "host": _host,
        "machines": lambda: inquiry.roster(request.uri, request.pools, request.tenant),
        "addresses": lambda: inquiry.addresses(request.uri, request.tenant),
        "records": lambda: _records(request),
    }
    for name, path in request.pools.items():
        asked[f"pool:{name}"] = functools.partial(_pool, name, path, request)
    return asked


def _host() -> dict[str, t.Any]:
    found = capacity.survey({})
    return {key: found.get(key) for key in ("cpus", "memory_mib", "memory_available_mib", "load_1m")}


# --- records -----------------------------------------------------------------------------------


def _records(request: Request) -> dict[str, t.Any]:
    """Names and numbers only: a record may hold passwords."""
    services: list[dict[str, t.Any]] = []
    jobs: list[dict[str, str]] = []
    for tenant in [request.tenant] if request.tenant is not None else tenants_of(request.state_dir):
        records = ServiceRecords(request.state_dir, tenant)
        for service in records.services():
            services.append(_service(tenant, service, records))
            jobs += [{"tenant": tenant, "service": service, "run": run} for run in _running(request, tenant, service)]
    return {"services": services, "jobs": jobs}


def _service(tenant: str, service: str, records: ServiceRecords) -> dict[str, t.Any]:
    told: dict[str, t.Any] = {"tenant": tenant, "service": service, "generation": 0, "assignments": {}, "bases": [], "problem": None}
    try:
        record = records.read(service) or {}
    except RecordUnreadable as error:
        return {**told, "problem": error.message}
    told["generation"] = record.get("generation") if isinstance(record.get("generation"), int) else 0
    scaled = scaled_of(record)
    if scaled is not None:
        told["scaled"] = scaled
    manifest, assignments = record.get("manifest"), record.get("assignments")
    for name, entry in assignments.items() if isinstance(assignments, dict) else ():
        if is_host_label(name) and _is_place(entry):
            told["assignments"][name] = {key: entry[key] for key in ("host", "group", "number")}
    bases = manifest.get("bases") if isinstance(manifest, dict) else None
    for base in bases if isinstance(bases, list) else ():
        if isinstance(base, dict):
            told["bases"].append({key: base.get(key) for key in ("name", "version", "sha256")})
    return told


def _is_place(entry: t.Any) -> bool:
    """The controller counts on all of it: one entry that is damaged must not make the host's whole answer useless."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("host", "group")):
        return False
    return isinstance(entry.get("number"), int) and entry["number"] >= 0


def _running(request: Request, tenant: str, service: str) -> list[str]:
    journal = Journal(request.runtime_dir, tenant, service)
    found = []
    for run in journal.runs():
        try:
            told = journal.read(run)
        except (OSError, FleetError):
            continue  # what a job has left that cannot be read tells of no machine
        if told is not None and told["state"] == RUNNING:
            found.append(run)
    return found


# --- pools -------------------------------------------------------------------------------------


def _pool(name: str, path: str, request: Request) -> dict[str, t.Any]:
    tenant = request.tenant
    store = Store(path, pool=name)
    problem = listing_problem(store)
    if problem:
        raise FleetError(problem)
    disks = users.scan({name: store})
    root = os.path.realpath(store.directory)
    contents = pool_contents(store, (), False, {}, tenant)
    space = os.statvfs(filesystem.existing_parent(path))
    owners: dict[str, str | None] = {}
    told = [_disk(disk, root, owners) for disk in disks]
    mine = [disk for disk in told if tenant in (None, disk["tenant"])]
    return {
        **contents,
        "free_bytes": space.f_bavail * space.f_frsize,
        "total_bytes": space.f_blocks * space.f_frsize,
        "disks": mine,
        # Whose they are is not said; that there are some, and how large, is what capacity tells anyway.
        "others": {"disks": len(told) - len(mine), "bytes": sum(disk["bytes"] for disk in told) - sum(disk["bytes"] for disk in mine)},
        "unfinished": [*uploads.places(store), *staging.places(store)] if tenant is None else [],
        "half_clones": list(_half_clones(name, path, request)),
        "references": [
            {"sha256": sha256, "names": _names(store, sha256, tenant)}
            for sha256 in store.referred_ids()
            if not os.path.lexists(store.base_directory(sha256)) and not store.is_foreign(sha256, tenant)
        ],
    }


def _half_clones(pool: str, path: str, request: Request) -> t.Iterator[dict[str, t.Any]]:
    """Those that no run is at work on."""
    for service in filter(is_name, file_io.names_in(layout.machines_directory(path))):
        clones = half_clones.find({pool: path}, service)
        try:
            tenant = layout.owner_of(layout.service_directory(path, service)) if clones else None
        except (OSError, FleetError):
            continue  # their owner cannot be read
        if tenant is None or request.tenant not in (None, tenant) or at_work(Journal(request.runtime_dir, tenant, service)) is not None:
            continue
        for clone in clones:
            directory = clone.directories[pool]
            size = sum(file_io.allocated_bytes(os.path.join(directory, name)) for name in file_io.names_in(directory))
            yield {"path": directory, "bytes": size, "tenant": tenant, "service": service, "machine": clone.name, "of": clone.of}


def _names(store: Store, sha256: str, tenant: str | None) -> list[str]:
    found = [one for one in store.references(sha256) if one.kind == "name" and tenant in (None, one.tenant)]
    return [f"{one.name} {one.version}" for one in found]


def _disk(disk: users.FoundDisk, root: str, owners: dict[str, str | None]) -> dict[str, t.Any]:
    """Where it belongs follows from its place, and from whose the service's directory is."""
    machine_path = os.path.dirname(disk.path)
    service_path = os.path.dirname(machine_path)
    in_place = os.path.basename(os.path.dirname(service_path)) == "machines"
    if service_path not in owners:
        try:
            owners[service_path] = layout.owner_of(service_path) if in_place else None
        except (OSError, FleetError):
            owners[service_path] = None
    service, machine = os.path.basename(service_path), os.path.basename(machine_path)
    named = in_place and is_name(service) and is_host_label(machine)
    base = layout.base_of(disk.backing_path)
    return {
        "path": disk.path,
        "tenant": owners[service_path],
        "service": service if named else None,
        "machine": machine if named else None,
        "name": os.path.splitext(os.path.basename(disk.path))[0],
        "bytes": disk.allocated_bytes,
        "virtual_bytes": disk.virtual_size_bytes,
        "base": base,
        # A base of another pool of the host is found by its digest as well.
        "parent": None if base else disk.backing_path or disk.backing,
        "base_path": disk.backing_path if base else None,
        "has_parent": None if disk.backing_path is None else os.path.lexists(disk.backing_path),
        "in_store": bool(base and disk.backing_path and disk.backing_path.startswith(root + os.sep)),
    }


def _pool_told(path: str, answer: Answer) -> dict[str, t.Any]:
    state = {"path": path, "known": answer.known, "error": answer.error or None}
    return {**answer.value, **state} if answer.known else state
