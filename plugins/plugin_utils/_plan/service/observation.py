# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a host tells of itself, before it is planned with: its root may tell anything, and that must not be the end of the plan.

Only kinds and ranges are checked here, of what planning reads. What is missing is not known; more than that is let through.
"""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t
from collections.abc import Mapping

from ....module_utils._machine.moves import SOURCE, TARGET, WITHIN
from ....module_utils._machine.template import LARGEST_TEXT
from ....module_utils._names import is_host_label, is_name
from ....module_utils._untrusted import Malformed, Value
from .answer_checks import (
    MAX_VALUES,
    MOST,
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
)


def checked(observation: object, host: str) -> dict[str, t.Any]:
    """The same, which is bounded. :raises Malformed: the first thing that cannot be so, with its place."""
    value = Value(observation, f"what {host} tells")
    _HOST(value)
    return t.cast("dict[str, t.Any]", observation)


BASE = all_of(
    has(sha256=digest, size_bytes=count),
    fields(
        source_sha256=digest,
        chunks_sha256=digest,
        parent=digest,
        virtual_size_bytes=count,
        chunk_bytes=count,
        image_format=lambda value: value.choice("raw", "qcow2"),
        imported_from=fields(
            kind=name, name=line, image_format=name, size_bytes=count, checksum=name, etag=line, last_modified=line, tenant=name
        ),
        chain=list_of(digest, 1000),
        names=list_of(has(tenant=name, name=name, version=name), 10_000),
        tenants=list_of(name, 10_000),
        pins=list_of(line, 10_000),
        users=list_of(path),
        sources=list_of(digest, 10_000),
        path=path,
    ),
)
POOL = fields(
    path=path,
    exists=flag,
    writable=flag,
    known=flag,
    reason=line,
    error=line,
    filesystem=fields(type=name, identity=path, shared=flag, reflink=flag, immutable=flag),
    bases=list_of(BASE),
    partials=list_of(all_of(has(sha256=digest), fields(allocated_bytes=count, size_bytes=count))),
    damaged=list_of(all_of(has(sha256=digest), fields(damage=line, path=path, parent=digest, users=list_of(path)))),
)
_POOL_CAPACITY = fields(
    path=path,
    exists=flag,
    writable=flag,
    known=flag,
    error=line,
    total_bytes=count,
    free_bytes=count,
    reserve_bytes=count,
    promised_bytes=count,
    qemu_problem=line,
    write_mbps=rate,
)
_CAPACITY = fields(
    cpus=lambda value: value.number(0, 1e6),
    memory_mib=count,
    memory_available_mib=count,
    load_1m=rate,
    pools=by_name(_POOL_CAPACITY),
)
#: What a host remembers of the numbers of machines.
SCALED = all_of(
    has(generation=lambda value: value.integer(0)),
    has(
        groups=by_name(
            has(count=lambda value: value.integer(1, 10_000), of=lambda value: value.integer(1, 10_000), at=moment),
        )
    ),
)
_MACHINE = all_of(
    has(machine=name),
    fields(
        domain=name,
        uuid=name,
        running=flag,
        number=count,
        group=name,
        spec=mapping,
        memory_mib=count,
        cpus=count,
        macs=list_of(name, 1000),
        report=mapping,
        report_expected=flag,
        dns_missing=list_of(name, 1000),
        problem=line,
    ),
)
_DOMAIN = fields(
    domain=line,
    uuid=name,
    service=name,
    tenant=name,
    machine=name,
    macs=list_of(name, 1000),
    addresses=list_of(fields(network=line, address=name), 1000),
    memory_mib=count,
    cpus=count,
    disk_bytes=count,
    hugepages=name,
    running=flag,
    problem=line,
)
TEMPLATE = all_of(
    has(
        cpus=count,
        memory_mib=count,
        hardware=mapping,
        networks=list_of(mapping, 1000),
        disks=list_of(has(name=name, base=name, size_bytes=count), 1000),
    ),
    fields(seeded=flag, variables=lambda value: value.text(LARGEST_TEXT)),
)
_USED = by_name(fields(bytes=count, growth_bytes=count))
_USE = all_of(has(name=name, cpus=count, memory_mib=count, disk_bytes=count), fields(hugepages=name, pools=_USED))


def _clock(value: Value) -> None:
    """Whoever tells how far the clocks are apart tells both."""
    both = has if value.get("ahead_s") is not None else fields
    all_of(both(utc=name, controller_utc=name), fields(ahead_s=moment))(value)


_HOST = fields(
    format=count,
    reachable=flag,
    known=flag,
    reason=line,
    capacity=_CAPACITY,
    packages=mapping,
    missing=list_of(fields(what=line, package=line), 100),
    address=name,
    address_local=flag,
    port_range=name,
    ports_free=list_of(lambda value: value.integer(1, 65535)),
    clock=_clock,
    clock_s=moment,
    pools=by_name(POOL),
    machines=list_of(_MACHINE),
    domains=list_of(_DOMAIN),
    networks=by_name(flag, 10_000),
    xml_problems=by_name(line, 10_000),
    resources=list_of(
        all_of(
            has(kind=name, name=path, path=path, size_bytes=count, problem=line, used_by=list_of(line, 1000)),
            fields(pool=name, beside=list_of(name, 1000)),
        ),
        100_000,
    ),
    bridges=list_of(name, 10_000),
    offers=fields(
        firmware=list_of(name, 10),
        tpm=list_of(name, 10),
        machine_types=list_of(name, 1000),
        interfaces=list_of(name, 10_000),
        open_vswitch=list_of(name, 10_000),
        vlan_networks=list_of(line, 10_000),
        dns=by_name(fields(problem=line, entries=list_of(has(address=name, names=list_of(line, 1000)), 10_000)), 10_000),
        watchdogs=list_of(name, 100),
        most_cpus=count,
        readonly_shares=flag,
        disk_buses=list_of(name, 100),
        graphics=list_of(name, 100),
        cpu_models=list_of(name, 1000),
        cpus=list_of(count, 10_000),
        nodes=list_of(count, 1024),
        hugepages_mib=by_name(count, 10),
    ),
    sources=by_name(fields(stored=TEMPLATE, live=TEMPLATE, problem=line)),
    record=fields(
        service=line,
        generation=lambda value: value.integer(-1),
        assignments=by_name(has(host=line, group=line, number=count), MOST),
        scaled=SCALED,
    ),
    moves=list_of(has(machine=name, side=lambda value: value.choice(SOURCE, TARGET, WITHIN), peer=line)),
    claims_generation=count,
    claims=list_of(
        all_of(
            has(cpus=count, memory_mib=count, pools=_USED),
            fields(hugepages_mib=by_name(count, 10), tenant=name, machines=count, disk_bytes=count),
        )
    ),
    own_claims=list_of(
        all_of(
            has(run=name, uses=list_of(_USE)),
            has(places=by_name(has(host=name, group=name, number=count, pools=by_name(name)), MOST)),
        ),
        1000,
    ),
    measured=fields(
        links=list_of(all_of(has(**{"from": name, "to": name, "mbps": rate}), fields(latency_s=rate, age_s=moment, by=name))),
        disk_write_mbps=speed,
        disk_read_mbps=speed,
        disks_age_s=moment,
        cpus=rate,
        load_1m=rate,
        memory_available_mib=rate,
    ),
    parts=mapping,
)


def _size(value: Value) -> None:
    if not (isinstance(value.raw, str) and re.fullmatch("[0-9]{1,18}", value.raw)):  # as a header has it
        value.integer()


_FILE = fields(
    isreg=flag,
    size=_size,
    problem=line,
    note=line,
    sha256=name,
    checksum=name,
    etag=line,
    last_modified=line,
    listed=name,
)


_CANDIDATES = list_of(has(sha256=digest, path=path, size_bytes=count))


def check_candidates(files: object, host: str) -> None:
    """What a host tells of files that it could adopt. :raises Malformed:"""
    _CANDIDATES(Value(bounded(files, host), f"what {host} tells of files that it could adopt"))


def check_file(file: object, host: str) -> None:
    """What a host tells of a file or a URL that a base has as its source. :raises Malformed:"""
    _FILE(Value(bounded(file, host), f"what {host} tells"))


# --- what runs where ---------------------------------------------------------------------------


def _service_name(value: Value) -> None:
    """It becomes a part of names: of groups of an inventory, for example."""
    if not is_name(value.raw):
        raise value.wrong("a name")


def _machine_name(value: Value) -> None:
    if not is_host_label(value.raw):
        raise value.wrong("a machine's name")


def _address(value: Value) -> None:
    """An address that programs are called with must be one: a text with a dash in front would be an option."""
    try:
        ipaddress.ip_address(value.text(64))
    except ValueError:
        raise value.wrong("an IP address") from None


_STATUS_MACHINE = all_of(
    has(tenant=_service_name, service=_service_name, machine=_machine_name, running=flag, disks=list_of(path, 1000)),
    fields(
        domain=name,
        number=count,
        group=name,
        state=name,
        spec=mapping,
        memory_mib=count,
        cpus=count,
        macs=list_of(name, 1000),
        addresses=list_of(has(address=_address, source=name), 1000),
        dns_missing=list_of(name, 1000),
        flattening=has(going_on=flag, percent=count),
        report=fields(hostname=line, status=line),
        problem=line,
    ),
)
_STATUS_DISK = all_of(
    has(path=path, bytes=count),
    fields(
        tenant=_service_name,
        service=_service_name,
        machine=_machine_name,
        name=line,
        virtual_bytes=count,
        base=digest,
        parent=path,
        base_path=path,
        has_parent=flag,
    ),
)


def _if_known(**checks: Check) -> Check:
    """Of a pool that is known, each of these is."""
    every = has(**checks)
    return lambda value: every(value) if value.get("known") is not None and value["known"].flag() else None


def _listed(value: Value) -> None:
    """What is in it is checked elsewhere."""
    value.items(MAX_VALUES)


_PLACE = has(path=path, bytes=count, changed_at=moment)
_STATUS_POOL = all_of(
    POOL,
    _if_known(bases=_listed, disks=_listed),
    fields(
        free_bytes=count,
        total_bytes=count,
        disks=list_of(_STATUS_DISK),
        others=has(disks=count, bytes=count),
        unfinished=list_of(_PLACE),
        half_clones=list_of(
            has(path=path, bytes=count, tenant=_service_name, service=_service_name, machine=_machine_name, of=_machine_name)
        ),
        references=list_of(has(sha256=digest, names=list_of(line))),
    ),
)
_STATUS_SERVICE = all_of(
    has(tenant=_service_name, service=_service_name),
    fields(
        generation=count,
        assignments=by_name(has(host=line, group=line, number=count), MOST),
        bases=list_of(fields(name=line, version=line, sha256=digest)),
        problem=line,
        scaled=SCALED,
    ),
)
_STATUS = all_of(
    has(known=flag, pools=by_name(_STATUS_POOL), machines=list_of(_STATUS_MACHINE), services=list_of(_STATUS_SERVICE)),
    fields(
        reason=line,
        seen_at=moment,
        host=fields(cpus=rate, memory_mib=count, memory_available_mib=count, load_1m=rate),
        others=has(domains=count, running=count, memory_mib=count, unread=count),
        jobs=list_of(has(tenant=_service_name, service=_service_name, run=_service_name)),
    ),
)


_VERIFIED_BASE = all_of(
    BASE, has(damaged=flag, chain=list_of(digest, 1000), names=list_of(has(tenant=name, name=name, version=name), 10_000))
)
_VERIFIED = has(
    pools=by_name(all_of(POOL, has(bases=list_of(_VERIFIED_BASE), damaged=list_of(has(sha256=digest, damage=line, users=list_of(path))))))
)


def checked_verification(look: object, host: str) -> dict[str, t.Any]:
    """What a host tells of base disks that it has read. :raises Malformed:"""
    _VERIFIED(Value(bounded(look, host), f"what {host} tells"))
    return t.cast("dict[str, t.Any]", look)


def checked_status(status: object, host: str) -> dict[str, t.Any]:
    """The same. :raises Malformed: the first thing that cannot be so, with its place."""
    _STATUS(Value(bounded(status, host), f"what {host} tells"))
    return t.cast("dict[str, t.Any]", status)


PRUNE = has(
    unknown=list_of(line),
    pools=by_name(
        all_of(
            _if_known(bases=_listed, left=_listed, free_bytes=count, total_bytes=count),
            fields(
                path=path,
                known=flag,
                error=line,
                identity=path,
                shared=flag,
                free_bytes=count,
                total_bytes=count,
                bases=list_of(
                    has(
                        sha256=digest,
                        names=list_of(has(tenant=name, name=name, version=name), 10_000),
                        bytes=count,
                        unused_s=moment,
                        used_at=moment,
                        usable=flag,
                        children=list_of(digest),
                        kept=list_of(line),
                    )
                ),
                left=list_of(
                    all_of(has(kind=name, path=path, bytes=count, age_s=moment, kept=list_of(line)), fields(sha256=digest, title=line))
                ),
            ),
        )
    ),
)


def checked_prune(seen: object, host: str) -> dict[str, t.Any]:
    """The same. :raises Malformed: the first thing that cannot be so, with its place."""
    PRUNE(Value(bounded(seen, host), f"what {host} tells"))
    return t.cast("dict[str, t.Any]", seen)


# --- while and after something is done ---------------------------------------------------------

BASE_STATUS = fields(
    state=line,
    bytes=count,
    size_bytes=count,
    received_bytes=count,
    rate_mbps=rate,
    remaining_s=moment,
    seconds=moment,
    parents=list_of(name, 1000),
    received_from=by_name(count, 10_000),
    attempts=list_of(fields(parent=line, error=line), 10_000),
    msg=line,
)
_FOLLOWED = all_of(has(state=line, bytes=count), BASE_STATUS)
_DONE_MACHINE = fields(
    machine=name,
    state=name,
    running=flag,
    actions=list_of(line, 1000),
    problem=line,
    report=fields(hostname=line, instance_id=line, status=line, addresses=list_of(line, 1000), errors=list_of(line, 1000)),
    report_expected=flag,
    console_tail=list_of(line, 10_000),
    new_disks=list_of(fields(name=name, pool=name), 1000),
    reason=line,
    health=list_of(fields(check=line, ok=flag, seconds=moment, reason=line), 1000),
)
OUTCOME = fields(
    state=name,
    step=line,
    msg=line,
    machines=list_of(_DONE_MACHINE),
    failure=fields(machines=list_of(_DONE_MACHINE)),
    relay=fields(bases=by_name(BASE_STATUS, 10_000)),
    bases=list_of(fields(sha256=line, there_at=moment)),
    began_at=moment,
    ended_at=moment,
)
_NEWS = fields(fleet=by_name(fields(bases=by_name(_FOLLOWED, 10_000), stale=flag), MAX_VALUES))


def checked_outcome(outcome: object, host: str) -> t.Any:
    """What came of a host's work, or, where it cannot be understood, that it failed, and why."""
    try:
        OUTCOME(Value(bounded(outcome, host), f"what {host} tells"))
    except Malformed as error:
        return {"state": "failed", "step": "Understand what the host tells", "msg": error.message}
    return outcome


def checked_news(news: object, host: str) -> dict[str, t.Any]:
    """What a host tells of the progress of all; nothing where it cannot be understood, as of one that does not answer."""
    try:
        _NEWS(Value(bounded(news, host), f"what {host} tells"))
    except Malformed:
        return {}
    return t.cast("dict[str, t.Any]", news)


def unpacked(look: Mapping[str, object]) -> dict[str, object]:
    """What host_status_info tells with its option packed. A text that is not JSON stays one, which is no status."""
    status = look.get("status")
    try:
        return {**look, "status": json.loads(status) if isinstance(status, str) else status}
    except (ValueError, RecursionError):
        return dict(look)
