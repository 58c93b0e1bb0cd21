# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The status of a fleet as tables that fit a terminal of 100 columns, with what Ansible sets around each line."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from .drift import drift_text, in_short
from .wrapped_text import NARROW, wrapped

Entry = Mapping[str, t.Any]


def status_text(status: Entry, wanted: str | None = None, elsewhere: Sequence[str] = ()) -> list[str]:
    """
    :param wanted: the service that was asked for; elsewhere: the others that there are.
    """
    lines: list[str] = []
    for service in status["services"]:
        lines += _service(service, [one for one in status["machines"] if _is_of(one, service)])
    if not status["services"]:
        others = f"; there are: {', '.join(dict.fromkeys(elsewhere))}" if elsewhere else ""
        lines += _wrapped(f"No service{f' {wanted}' if wanted else ''} on the hosts that were asked{others}", "")
    lines += _section("Hosts", _hosts(status["hosts"]))
    lines += _section("Bases", _bases(status["bases"]))
    lines += _section("Without an owner", _orphans(status["orphans"]))
    for host, about in status["hosts"].items():
        for one in about["damaged"]:
            lines += _wrapped(f"{host}: the base {one['sha256'][:12]} in pool {one['pool']} is damaged: {one.get('damage') or ''}")
    for host, why in status["unknown"].items():
        lines += _wrapped(f"{host} cannot be known: {why}")
    return lines


def _is_of(machine: Entry, service: Entry) -> bool:
    return (machine["tenant"], machine["service"]) == (service["tenant"], service["service"])


def _service(service: Entry, machines: Sequence[Entry]) -> Iterator[str]:
    counts = f"{_count(service['machines'], 'machine')}, {service['running']} running"
    counts += f", {service['unknown']} cannot be known" if service["unknown"] else ""
    counts += f", run {', '.join(service['runs'])} at work" if service["runs"] else ""
    yield from _wrapped(f"Service {service['service']} (tenant {service['tenant']}): {counts}", "")
    yield from _table(
        ("machine", "host", "state", "address", "cpu", "MiB", "disk", "base"),
        [
            (
                one["machine"],
                one["host"],
                one["state"],
                _address(one),
                _number(one["cpus"]),
                _number(one["memory_mib"]),
                size(sum(disk["bytes"] or 0 for disk in one["disks"])) if one["known"] else "-",
                ", ".join(one["bases"]) or "-",
            )
            for one in machines
        ],
    )
    for one in machines:
        if one["problem"]:
            yield from _wrapped(f"{one['machine']}: {one['problem']}")
    for one in machines:
        if one["flattening"]:
            yield from _wrapped(f"{one['machine']}: {_flattening(one['flattening'])}")
    for line in drift_text(machines):
        yield from _wrapped(line)
    extra = [one["machine"] for one in machines if one["surplus"]]
    if extra:
        yield from _wrapped(f"surplus: {in_short(extra)}")
    for role, missing in service["missing"].items():
        yield from _wrapped(f"missing: {_count(missing, 'machine')} of {role}")
    if service["compared"] and not service["differs"]:
        yield "  as the manifest wants it"


def _flattening(progress: Entry) -> str:
    if progress["going_on"]:
        return f"its disks are being flattened, {progress['percent']} %"
    return "the flattening of its disks waits for a run that lets it go on (basecast.fleet.verify -e basecast_repair=true)"


def _address(machine: Entry) -> str:
    further = len(machine["addresses"]) - 1
    return (machine["address"] or "-") + (f" +{further}" if further > 0 else "")


def _hosts(hosts: Mapping[str, Entry]) -> Iterator[str]:
    rows = []
    for host, about in hosts.items():
        others = about.get("others") or {}
        memory = about.get("memory_mib")
        pools = [f"{name} {size(pool['free_bytes'])}" for name, pool in about["pools"].items() if pool.get("free_bytes") is not None]
        rows.append(
            (
                host,
                f"{about['running']}/{about['machines']}" if about["known"] else "?",
                _number(others.get("domains")),
                f"{about.get('memory_available_mib')}/{memory}" if memory else "-",
                _number(about.get("load_1m")),
                ", ".join(pools) or "-",
            )
        )
    yield from _table(("host", "running", "others", "MiB free", "load", "pools, free"), rows)


def _bases(bases: Sequence[Entry]) -> Iterator[str]:
    yield from _table(
        ("base", "digest", "size", "disks", "hosts"),
        [
            (
                ", ".join(one["names"]) or "(no name)",
                one["sha256"][:12],
                size(one["size_bytes"]),
                str(one["disks"]),
                in_short(list(one["hosts"])),
            )
            for one in bases
        ],
    )


def _orphans(orphans: Sequence[Entry]) -> Iterator[str]:
    for one in orphans:
        where = f"{one['host']}{' pool ' + one['pool'] if one['pool'] else ''}"
        yield from _wrapped(f"{one['kind']} on {where}: {one['what']}{', ' + size(one['bytes']) if one['bytes'] else ''}: {one['why']}")


def _section(title: str, lines: Iterator[str]) -> list[str]:
    found = list(lines)
    return [title, *found] if found else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they need to be; where that is too wide, the widest gives way, and what is cut ends with dots."""
    if not rows:
        return
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    room = NARROW - 2 - 2 * (len(head) - 1)
    while sum(widths) > room:
        widest = widths.index(max(widths))
        widths[widest] -= 1
    for row in [head, *rows]:
        cells = [_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"  {'  '.join(cells)}".rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _wrapped(text: str, first: str = "  ") -> list[str]:
    return wrapped(text, first, width=NARROW, cut=True)


def _number(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """Bytes in a unit that leaves few digits."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if amount >= 100 or unit == "B" else f"{amount:.1f} {unit}"
