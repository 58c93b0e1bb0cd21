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
from collections.abc import Callable, Mapping

from ....module_utils._names import is_host_label, is_name
from ....module_utils._untrusted import MAX_DEPTH, Malformed, Value

Check = Callable[[Value], object]

# The record of a service may be large, and hold files.
MAX_TEXT, MAX_VALUES = 1 << 24, 2_000_000

_NAME, _PATH = 255, 4096
_MOST = 100_000
_MAX_RATE = 1e9


def checked(observation: object, host: str) -> dict[str, t.Any]:
    """The same, which is bounded. :raises Malformed: the first thing that cannot be so, with its place."""
    value = Value(observation, f"what {host} tells")
    _HOST(value)
    return t.cast("dict[str, t.Any]", observation)


def bounded(observation: object, host: str) -> t.Any:
    """The same, looked at without recursion. :raises Malformed: it is too large, too deep, or not JSON."""
    place = f"what {host} tells"
    waiting, values = [(observation, 1)], 0
    while waiting:
        item, depth = waiting.pop()
        inner: t.Iterable[t.Any] = ()
        if isinstance(item, Mapping):
            if not all(isinstance(key, str) for key in item):
                raise Malformed(place, "a key is no text")
            inner = [*item, *item.values()]
        elif isinstance(item, (list, tuple)):
            inner = item
        elif isinstance(item, str) and len(item) > MAX_TEXT:
            raise Malformed(place, f"a text has {len(item)} characters; at most {MAX_TEXT} are accepted")
        elif isinstance(item, int) and abs(item) >= 1 << 64:
            raise Malformed(place, "a number has more than 64 bits")
        elif isinstance(item, float) and not abs(item) < float("inf"):
            raise Malformed(place, f"{item} is no number")
        below = [(one, depth + 1) for one in inner]
        values += len(below)
        if values > MAX_VALUES or (below and depth > MAX_DEPTH):
            raise Malformed(place, f"it has more than {MAX_VALUES} values, or is nested more than {MAX_DEPTH} deep")
        waiting += below
    return observation


def _list(check: Check, most: int = _MOST) -> Check:
    return lambda value: [check(one) for one in value.items(most)]


def _by_name(check: Check, most: int = 1000) -> Check:
    return lambda value: [check(one) for one in value.entries(most).values()]


def _fields(**checks: Check) -> Check:
    """A mapping in which each of these is null, absent, or as it should be."""

    def check(value: Value) -> None:
        value.mapping()
        for key, one in checks.items():
            found = value.get(key)
            if found is not None:
                one(found)

    return check


def _all_of(*checks: Check) -> Check:
    return lambda value: [check(value) for check in checks]


def _has(**checks: Check) -> Check:
    """A mapping in which each of these is there."""
    return lambda value: [check(value[key]) for key, check in checks.items()]


def _line(value: Value) -> None:
    value.cleaned(MAX_TEXT)


def _name(value: Value) -> None:
    value.text(_NAME)


def _path(value: Value) -> None:
    value.cleaned(_PATH)


def _count(value: Value) -> None:
    value.integer()


def _flag(value: Value) -> None:
    value.flag()


def _mapping(value: Value) -> None:
    value.mapping()


def _digest(value: Value) -> None:
    value.digest()


def _rate(value: Value) -> None:
    value.number(0.0, _MAX_RATE)


def _time(value: Value) -> None:
    value.number(-1e12, 1e12)


_BASE = _all_of(
    _has(sha256=_digest, size_bytes=_count),
    _fields(
        source_sha256=_digest,
        chunks_sha256=_digest,
        parent=_digest,
        virtual_size_bytes=_count,
        chunk_bytes=_count,
        image_format=lambda value: value.choice("raw", "qcow2"),
        imported_from=_fields(
            kind=_name, name=_line, image_format=_name, size_bytes=_count, checksum=_name, etag=_line, last_modified=_line
        ),
        chain=_list(_digest, 1000),
        names=_list(_has(tenant=_name, name=_name, version=_name), 10_000),
        tenants=_list(_name, 10_000),
        pins=_list(_line, 10_000),
        users=_list(_path),
        sources=_list(_digest, 10_000),
        path=_path,
    ),
)
_POOL = _fields(
    path=_path,
    exists=_flag,
    writable=_flag,
    known=_flag,
    reason=_line,
    error=_line,
    filesystem=_fields(type=_name, identity=_path, shared=_flag, reflink=_flag, immutable=_flag),
    bases=_list(_BASE),
    partials=_list(_all_of(_has(sha256=_digest), _fields(allocated_bytes=_count, size_bytes=_count))),
    damaged=_list(_all_of(_has(sha256=_digest), _fields(damage=_line, path=_path, parent=_digest, users=_list(_path)))),
)
_POOL_CAPACITY = _fields(
    path=_path,
    exists=_flag,
    writable=_flag,
    known=_flag,
    error=_line,
    total_bytes=_count,
    free_bytes=_count,
    promised_bytes=_count,
    qemu_problem=_line,
    write_mbps=_rate,
)
_CAPACITY = _fields(
    cpus=lambda value: value.number(0, 1e6),
    memory_mib=_count,
    memory_available_mib=_count,
    load_1m=_rate,
    pools=_by_name(_POOL_CAPACITY),
)
_MACHINE = _all_of(
    _has(machine=_name),
    _fields(
        domain=_name,
        uuid=_name,
        running=_flag,
        number=_count,
        group=_name,
        spec=_mapping,
        memory_mib=_count,
        cpus=_count,
        macs=_list(_name, 1000),
        report=_mapping,
        report_expected=_flag,
        problem=_line,
    ),
)
_DOMAIN = _fields(
    domain=_line,
    uuid=_name,
    service=_name,
    tenant=_name,
    machine=_name,
    macs=_list(_name, 1000),
    memory_mib=_count,
    cpus=_count,
    disk_bytes=_count,
    running=_flag,
    problem=_line,
)
_USED = _by_name(_fields(bytes=_count, growth_bytes=_count))
_HOST = _fields(
    reachable=_flag,
    known=_flag,
    reason=_line,
    capacity=_CAPACITY,
    packages=_mapping,
    missing=_list(_fields(what=_line, package=_line), 100),
    address=_name,
    address_local=_flag,
    port_range=_name,
    ports_free=_list(lambda value: value.integer(1, 65535)),
    clock=_fields(utc=_name, controller_utc=_name, ahead_s=_time),
    clock_s=_time,
    pools=_by_name(_POOL),
    machines=_list(_MACHINE),
    domains=_list(_DOMAIN),
    networks=_by_name(_flag, 10_000),
    bridges=_list(_name, 10_000),
    offers=_fields(
        firmware=_list(_name, 10),
        tpm=_list(_name, 10),
        machine_types=_list(_name, 1000),
        interfaces=_list(_name, 10_000),
        open_vswitch=_list(_name, 10_000),
        disk_buses=_list(_name, 100),
        graphics=_list(_name, 100),
        cpu_models=_list(_name, 1000),
        cpus=_list(_count, 10_000),
        nodes=_list(_count, 1024),
        hugepages_mib=_by_name(_count, 10),
    ),
    record=_mapping,
    moves=_list(_has(machine=_name, side=lambda value: value.choice("source", "target"), peer=_line)),
    own_claims=_list(
        _all_of(
            _has(run=_name, uses=_list(_all_of(_has(name=_name, cpus=_count, memory_mib=_count, disk_bytes=_count), _fields(pools=_USED)))),
            _has(places=_by_name(_has(host=_name, group=_name, number=_count, pools=_by_name(_name)), _MOST)),
        ),
        1000,
    ),
    measured=_fields(
        links=_list(_all_of(_has(**{"from": _name, "to": _name, "mbps": _rate}), _fields(latency_s=_rate, age_s=_time, by=_name))),
        disks_age_s=_time,
        cpus=_rate,
        load_1m=_rate,
        memory_available_mib=_rate,
    ),
    parts=_mapping,
)


def _size(value: Value) -> None:
    if not (isinstance(value.raw, str) and re.fullmatch("[0-9]{1,18}", value.raw)):  # as a header has it
        value.integer()


_FILE = _fields(
    isreg=_flag,
    size=_size,
    problem=_line,
    note=_line,
    sha256=_name,
    checksum=_name,
    etag=_line,
    last_modified=_line,
    listed=_name,
)


_CANDIDATES = _list(_has(sha256=_digest, path=_path, size_bytes=_count))


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


_STATUS_MACHINE = _all_of(
    _has(tenant=_service_name, service=_service_name, machine=_machine_name, running=_flag, disks=_list(_path, 1000)),
    _fields(
        domain=_name,
        number=_count,
        group=_name,
        state=_name,
        spec=_mapping,
        memory_mib=_count,
        cpus=_count,
        macs=_list(_name, 1000),
        addresses=_list(_has(address=_address, source=_name), 1000),
        report=_fields(hostname=_line, status=_line),
        problem=_line,
    ),
)
_STATUS_DISK = _all_of(
    _has(path=_path, bytes=_count),
    _fields(
        tenant=_service_name,
        service=_service_name,
        machine=_machine_name,
        name=_line,
        virtual_bytes=_count,
        base=_digest,
        parent=_path,
        base_path=_path,
        has_parent=_flag,
    ),
)
_PLACE = _has(path=_path, bytes=_count, changed_at=_time)
_STATUS_POOL = _all_of(
    _POOL,
    _fields(
        free_bytes=_count,
        total_bytes=_count,
        disks=_list(_STATUS_DISK),
        others=_has(disks=_count, bytes=_count),
        unfinished=_list(_PLACE),
        references=_list(_has(sha256=_digest, names=_list(_line))),
    ),
)
_STATUS_SERVICE = _all_of(
    _has(tenant=_service_name, service=_service_name),
    _fields(
        generation=_count,
        assignments=_by_name(_fields(host=_line, group=_line, number=_count), _MOST),
        bases=_list(_fields(name=_line, version=_line, sha256=_digest)),
        problem=_line,
    ),
)
_STATUS = _all_of(
    _has(known=_flag, pools=_by_name(_STATUS_POOL), machines=_list(_STATUS_MACHINE), services=_list(_STATUS_SERVICE)),
    _fields(
        reason=_line,
        seen_at=_time,
        host=_fields(cpus=_rate, memory_mib=_count, memory_available_mib=_count, load_1m=_rate),
        others=_has(domains=_count, running=_count, memory_mib=_count, unread=_count),
        jobs=_list(_has(tenant=_service_name, service=_service_name, run=_service_name)),
    ),
)


_VERIFIED_BASE = _all_of(
    _BASE, _has(damaged=_flag, chain=_list(_digest, 1000), names=_list(_has(tenant=_name, name=_name, version=_name), 10_000))
)
_VERIFIED = _has(
    pools=_by_name(_all_of(_POOL, _has(bases=_list(_VERIFIED_BASE), damaged=_list(_has(sha256=_digest, damage=_line, users=_list(_path))))))
)


def checked_verification(look: object, host: str) -> dict[str, t.Any]:
    """What a host tells of base disks that it has read. :raises Malformed:"""
    _VERIFIED(Value(bounded(look, host), f"what {host} tells"))
    return t.cast("dict[str, t.Any]", look)


def checked_status(status: object, host: str) -> dict[str, t.Any]:
    """The same. :raises Malformed: the first thing that cannot be so, with its place."""
    _STATUS(Value(bounded(status, host), f"what {host} tells"))
    return t.cast("dict[str, t.Any]", status)


_PRUNE = _has(
    unknown=_list(_line),
    pools=_by_name(
        _fields(
            path=_path,
            known=_flag,
            error=_line,
            identity=_path,
            shared=_flag,
            free_bytes=_count,
            total_bytes=_count,
            bases=_list(
                _has(
                    sha256=_digest,
                    names=_list(_has(tenant=_name, name=_name, version=_name), 10_000),
                    bytes=_count,
                    unused_s=_time,
                    used_at=_time,
                    usable=_flag,
                    children=_list(_digest),
                    kept=_list(_line),
                )
            ),
            left=_list(_all_of(_has(kind=_name, path=_path, bytes=_count, age_s=_time, kept=_list(_line)), _fields(sha256=_digest))),
        )
    ),
)


def checked_prune(seen: t.Any, host: str) -> dict[str, t.Any]:
    """The same. :raises Malformed: the first thing that cannot be so, with its place."""
    _PRUNE(Value(bounded(seen, host), f"what {host} tells"))
    return t.cast("dict[str, t.Any]", seen)


# --- while and after something is done ---------------------------------------------------------

_BASE_STATUS = _fields(
    state=_line,
    bytes=_count,
    size_bytes=_count,
    received_bytes=_count,
    rate_mbps=_rate,
    remaining_s=_time,
    seconds=_time,
    parents=_list(_name, 1000),
    received_from=_by_name(_count, 10_000),
    attempts=_list(_fields(parent=_line, error=_line), 10_000),
    msg=_line,
)
_FOLLOWED = _all_of(_has(state=_line, bytes=_count), _BASE_STATUS)
_DONE_MACHINE = _fields(
    machine=_name,
    running=_flag,
    actions=_list(_line, 1000),
    problem=_line,
    report=_fields(hostname=_line, instance_id=_line, status=_line, addresses=_list(_line, 1000), errors=_list(_line, 1000)),
    report_expected=_flag,
    console_tail=_list(_line, 10_000),
)
_OUTCOME = _fields(
    state=_name,
    step=_line,
    msg=_line,
    machines=_list(_DONE_MACHINE),
    failure=_fields(machines=_list(_DONE_MACHINE)),
    relay=_fields(bases=_by_name(_BASE_STATUS, 10_000)),
    bases=_list(_fields(sha256=_line, there_at=_time)),
    began_at=_time,
    ended_at=_time,
)
_NEWS = _fields(fleet=_by_name(_fields(bases=_by_name(_FOLLOWED, 10_000), stale=_flag), MAX_VALUES))


def checked_outcome(outcome: t.Any, host: str) -> t.Any:
    """What came of a host's work, or, where it cannot be understood, that it failed, and why."""
    try:
        _OUTCOME(Value(bounded(outcome, host), f"what {host} tells"))
    except Malformed as error:
        return {"state": "failed", "step": "Understand what the host tells", "msg": error.message}
    return outcome


def checked_news(news: t.Any, host: str) -> dict[str, t.Any]:
    """What a host tells of the progress of all; nothing where it cannot be understood, as of one that does not answer."""
    try:
        _NEWS(Value(bounded(news, host), f"what {host} tells"))
    except Malformed:
        return {}
    return t.cast("dict[str, t.Any]", news)


def unpacked(look: Mapping[str, object]) -> dict[str, object]:
    """What host_status_info tells with its option packed. A text that is no JSON stays one, which is no status."""
    status = look.get("status")
    try:
        return {**look, "status": json.loads(status) if isinstance(status, str) else status}
    except (ValueError, RecursionError):
        return dict(look)
