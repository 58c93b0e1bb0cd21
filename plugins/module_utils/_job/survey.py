# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""One look at a host: everything that a plan needs to know of it, each part answered for itself."""

from __future__ import annotations

import functools
import os
import time
import typing as t

from .._disk import capacity, users
from .._disk.room import RESERVE_PERCENT
from .._disk.runner import Runner
from .._disk.store import Store
from .._disk.survey import pool_contents
from .._machine import inquiry
from .._machine.moves import MoveJournal
from .._machine.records import ServiceRecords
from .._machine.xml_check import xml_problems
from .._relay.measure.link_history import LinkHistory
from .claims import Claim, Claims, totals, without_machines
from .questions import Answer, Question, ask_all

if t.TYPE_CHECKING:
    from .resources import Permits

FORMAT = 1


class Request(t.NamedTuple):
    """What is asked of the host.

    :param pools: paths by name.
    :param ports: first and last that the relay may use; port_range as the user wrote it.
    :param bases: digests that the tenant names: such bases are told of even where only others need them.
    :param reserve_percent: so much of each pool's file system stays free.
    :param limit_s: how long one part may take.
    :param sources: what machines are made from, see template_sources.
    :param resources: what machines would use in place, see resources; ``permits`` says what of it they may.
    :param check_xml: groups of machines to which XML is added, see xml_problems; ``run`` runs what checks it.
    """

    pools: t.Mapping[str, str]
    tenant: str
    service: str
    uri: str
    state_dir: str
    address: str | None
    ports: tuple[int, int]
    port_range: str
    limit_s: float = 30.0
    bases: t.Sequence[str] = ()
    reserve_percent: float = RESERVE_PERCENT
    check_xml: t.Sequence[t.Mapping[str, t.Any]] = ()
    sources: t.Sequence[t.Mapping[str, t.Any]] = ()
    source_domains: tuple[str, ...] = ()
    resources: t.Sequence[t.Mapping[str, t.Any]] = ()
    permits: Permits | None = None
    run: Runner | None = None


def observe(request: Request) -> dict[str, t.Any]:
    """The observation that service_plan takes."""
    # Before anything else: what is claimed now may have come true when it is looked at, and is never counted not at all.
    claims = ask_all({"claims": lambda: _claims(request)}, {"claims": request.limit_s})
    questions = _questions(request)
    answers = {**claims, **ask_all(questions, dict.fromkeys(questions, request.limit_s))}
    pools = _pools(request.pools, answers)
    host, machines = answers["host"], answers["machines"]
    links = answers["links"].value if answers["links"].known else {}
    unknown = _unknown(answers)
    return {
        "format": FORMAT,
        "reachable": True,
        "known": not unknown,
        "reason": " ".join(unknown) or _of(machines, "reason", None) or "",
        "capacity": {**_capacity(host, machines), "pools": {name: pool["capacity"] for name, pool in pools.items()}},
        "packages": _of(host, "packages", {}),
        "missing": _of(host, "missing", []),
        "address": _of(host, "address", request.address),
        "address_local": _of(host, "address_local", None),
        "port_range": request.port_range,
        "ports_free": _of(host, "ports_free", []),
        "clock_s": _of(host, "clock_s", None),
        "pools": {name: pool["contents"] for name, pool in pools.items()},
        "machines": _of(machines, "machines", []),
        "domains": _of(machines, "domains", []),
        "networks": _of(machines, "networks", None),
        "bridges": _of(machines, "bridges", []),
        "offers": _of(machines, "offers", None),
        "xml_problems": answers["xml"].value if answers["xml"].known else None,
        "sources": _of_those_asked(answers.get("sources"), {}),
        "resources": _of_those_asked(answers.get("resources"), []),
        "record": answers["record"].value,
        "moves": answers["moves"].value if answers["moves"].known else [],
        "claims": [
            totals(without_machines(Claim(**claim), set(_of(machines, "uuids", ()))), request.tenant)
            for claim in _of(answers["claims"], "others", [])
        ],
        "own_claims": _of(answers["claims"], "own", []),
        "claims_generation": _of(answers["claims"], "generation", None),
        "measured": {**links, **{key: _of(host, "capacity", {}).get(key) for key in _LOAD}} if links else {},
        "parts": {name: answer.told() for name, answer in answers.items()},
    }


_LOAD = ("cpus", "load_1m", "memory_available_mib")


def _of(answer: Answer, key: str, otherwise: t.Any) -> t.Any:
    return answer.value[key] if answer.known else otherwise


def _capacity(host: Answer, machines: Answer) -> dict[str, t.Any]:
    """Processors, memory and load. libvirt starts no machine with more memory than it counts, whatever the kernel has."""
    told = dict(_of(host, "capacity", {}))
    counted = _of(machines, "memory_mib", None)
    if counted and told.get("memory_mib"):
        told["memory_mib"] = min(told["memory_mib"], counted)
    return told


def _unknown(answers: t.Mapping[str, Answer]) -> list[str]:
    """Why not all is known that decides where machines are, or can be. What is missing elsewhere is told by its part."""
    reasons = []
    for name, answer in answers.items():
        what, _colon, of = name.partition(":")
        if what not in ("pool", "machines", "record", "moves", "host", "claims"):
            continue
        if not answer.known:
            subject = {
                "pool": f"The pool {of}",
                "machines": "libvirt",
                "record": "The service's record",
                "moves": "Machines on their way",
                "host": "The host",
                "claims": "What other deployments are about to use",
            }[what]
            reasons.append(f"{subject}: {answer.error}.".replace("..", "."))
        elif what == "machines" and not answer.value["known"]:
            reasons.append(answer.value["reason"])
    return reasons


def _questions(request: Request) -> dict[str, Question]:
    questions: dict[str, Question] = {
        "host": lambda: _host(request),
        "machines": lambda: _machines(request),
        "record": lambda: ServiceRecords(request.state_dir, request.tenant).read(request.service),
        "moves": lambda: _moves(request),
        "xml": lambda: xml_problems(request.check_xml, request.run) if request.run is not None else {},
        "links": lambda: LinkHistory(request.state_dir).read(time.time()),
    }
    if request.sources:
        questions["sources"] = lambda: _template_sources(request)
    if request.resources:
        questions["resources"] = lambda: _resources(request)
    for name, path in request.pools.items():
        questions[f"pool:{name}"] = functools.partial(_pool, name, path, request)
    return questions


def _host(request: Request) -> dict[str, t.Any]:
    clock_s = time.time()
    found = capacity.packages()
    address = request.address or capacity.default_address()
    local = address is not None and capacity.is_local_address(address)
    return {
        "clock_s": round(clock_s, 3),
        "capacity": capacity.survey({}),
        "packages": found,
        "missing": capacity.missing(found),
        "address": address,
        "address_local": local,
        "ports_free": capacity.free_ports(address, *request.ports) if address is not None and local else [],
    }


def _of_those_asked(answer: Answer | None, nothing: t.Any) -> t.Any:
    if answer is None:
        return nothing  # was asked
    return answer.value if answer.known else None


def _template_sources(request: Request) -> dict[str, t.Any]:
    from .template_sources import Asked, template_sources  # noqa: PLC0415 - a host compiles all that is imported, and few need this

    asked = Asked(request.pools, request.tenant, request.uri, request.source_domains, request.run)
    return template_sources(request.sources, asked)


def _resources(request: Request) -> list[dict[str, t.Any]]:
    from .resources import Permits, resources  # noqa: PLC0415 - a host compiles all that is imported, and few need this

    stores = {name: Store(path, pool=name) for name, path in request.pools.items()}
    return resources(request.resources, request.permits or Permits({}), stores, request.service)


def _claims(request: Request) -> dict[str, t.Any]:
    book = Claims(request.state_dir).read()
    others, own = book.others(request.tenant, request.service), book.of_service(request.tenant, request.service)
    return {
        "generation": book.generation,
        "others": [claim._asdict() for claim in others],
        "own": [{"run": claim.run, "uses": list(claim.uses), "places": dict(claim.places)} for claim in own],
    }


def _moves(request: Request) -> list[dict[str, t.Any]]:
    """Machines of the service whose migration from here or to here has not ended."""
    journal = MoveJournal(request.state_dir, request.tenant, request.service)
    found = ((machine, journal.read(machine)) for machine in journal.machines())
    return [{"machine": machine, "side": entry.side, "peer": entry.peer} for machine, entry in found if entry is not None]


def _machines(request: Request) -> dict[str, t.Any]:
    found = inquiry.inquire(request.uri, request.pools, request.tenant, request.service)
    # A console is of use where something is wrong, and long.
    machines = [{key: value for key, value in machine.items() if key != "console_tail"} for machine in found["machines"]]
    return {**found, "machines": machines}


# --- pools -------------------------------------------------------------------------------------


def _pool(name: str, path: str, request: Request) -> dict[str, t.Any]:
    """One pool by itself; who in other pools uses its bases is joined later."""
    store = Store(path, pool=name, reserve_percent=request.reserve_percent)
    disks = users.scan({name: store})
    mine = set(users.of_tenant([disk.path for disk in disks], request.tenant))
    return {
        "capacity": capacity.pool_capacity(store, disks),
        "contents": pool_contents(store, (), False, {}, request.tenant, wanted=request.bases),
        "root": os.path.realpath(store.directory),
        "disks": disks,
        "tenants": [disk.path in mine for disk in disks],
    }


def _pools(paths: t.Mapping[str, str], answers: t.Mapping[str, Answer]) -> dict[str, dict[str, t.Any]]:
    known = {name: answers[f"pool:{name}"].value for name in paths if answers[f"pool:{name}"].known}
    in_use = _users(known)
    pools = {}
    for name, path in paths.items():
        answer = answers[f"pool:{name}"]
        if not answer.known:
            pools[name] = {
                "capacity": {"path": path, **dict.fromkeys(_CAPACITY), "known": False, "error": answer.error},
                "contents": {"path": path, **_NOTHING, "known": False, "error": answer.error},
            }
            continue
        contents = known[name]["contents"]
        for base in contents["bases"]:
            base["users"] = sorted({*base["users"], *in_use.get(os.path.join(known[name]["root"], base["sha256"], "disk"), ())})
        state = {"known": True, "error": None}
        pools[name] = {"capacity": {**known[name]["capacity"], **state}, "contents": {**contents, **state}}
    return pools


_CAPACITY = ("exists", "writable", "total_bytes", "free_bytes", "reserve_bytes", "promised_bytes", "qemu_problem", "write_mbps")
_NOTHING: dict[str, t.Any] = {
    "exists": None,
    "writable": None,
    "filesystem": None,
    "bases": [],
    "partials": [],
    "damaged": [],
}


def _users(known: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, set[str]]:
    """Paths of the tenant's disks by the file that they are directly based on."""
    found: dict[str, set[str]] = {}
    for pool in known.values():
        for row, is_tenants in zip(pool["disks"], pool["tenants"]):
            disk = users.FoundDisk(*row)
            if is_tenants and disk.backing_path:
                found.setdefault(disk.backing_path, set()).add(disk.path)
    return found
