# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What went wrong in a run, each cause once, with the hosts and machines it concerns and the commands to try next."""

from __future__ import annotations

import shlex
import typing as t
from collections.abc import Iterator, Mapping

Data = Mapping[str, t.Any]

_THERE = ("deployed", "started", "present")
_TITLES = {
    "failed": "machines could not be made",
    "unreachable": "out of reach",
    "unknown": "whether its machines are there cannot be known",
    "unfit": "machines were not made, since the host cannot take them",
    "outside": "outside this run",
    "unplaced": "no host has room",
}


def problems_of(report: Data) -> list[dict[str, t.Any]]:
    """``[{"title", "cause", "host", "machines", "try": [commands]}]``, the causes with most machines first.

    :param report: as deploy_report makes it, with what run_details adds.
    """
    groups: dict[tuple[str, str, str], list[str]] = {}
    for machine in report["machines"]:
        if machine["state"] not in _THERE:
            groups.setdefault((machine["state"], machine["host"], machine["reason"]), []).append(machine["machine"])
    found = [
        {
            "title": _TITLES.get(state, state),
            "cause": reason or "no reason given",
            "host": host,
            "machines": machines,
            "try": list(_steps(report, state, host, reason, machines)),
        }
        for (state, host, reason), machines in groups.items()
    ]
    found.sort(key=lambda problem: -len(problem["machines"]))
    others = [text for text in report["failures"] if not text.startswith("Missing: ")]
    again = [
        {"title": "the run as a whole", "cause": text, "host": "", "machines": [], "try": [_playbook(report, "plan")]} for text in others
    ]
    return [*again, *found]


def _playbook(report: Data, name: str, *options: str) -> str:
    manifest = shlex.quote(report.get("manifest_file") or "MANIFEST.yml")
    given = "" if name == "prepare" else f" -e manifest={manifest}"
    return " ".join([f"ansible-playbook -i INVENTORY basecast.fleet.{name}{given}", *options])


def _steps(report: Data, state: str, host: str, reason: str, machines: list[str]) -> Iterator[str]:
    """Commands for the user's shell; names are quoted for it."""
    quoted = shlex.quote(host)
    if state == "unplaced":
        yield _playbook(report, "place")
        return
    if state == "outside":
        yield _playbook(report, "deploy")
        return
    if state == "unreachable":
        yield f"ansible -i INVENTORY {quoted} -m ansible.builtin.ping"
    elif state == "unknown":
        yield f"ansible -i INVENTORY {quoted} -b -a 'virsh list --all'"
    elif state == "unfit":
        if "package" in reason:
            yield _playbook(report, "prepare", f"--limit {quoted}")
        else:
            yield _playbook(report, "plan")
    elif "reported" in reason or "console" in reason:
        for path in _consoles(report, host, machines):
            yield f"ansible -i INVENTORY {quoted} -b -a {shlex.quote(f'tail -n 50 {shlex.quote(path)}')}"
    elif "basecast.fleet.verify" in reason or "no such base" in reason:
        yield "ansible-playbook -i INVENTORY basecast.fleet.verify"
    elif any(word in reason for word in ("base", "lost", "Timed out")):
        yield f"ansible -i INVENTORY {quoted} -m ansible.builtin.ping"
    yield _playbook(report, "deploy")


def _consoles(report: Data, host: str, machines: list[str]) -> Iterator[str]:
    """Where the console of the first of the machines is kept; it lies in the pool of its first disk."""
    pools = ((report.get("fleet") or {}).get(host) or {}).get("pools") or {}
    for machine in report["machines"]:
        if machine["machine"] == machines[0]:
            disks = list((machine.get("disks") or {}).values())
            pool = pools.get(disks[0]["pool"] if disks else "default") or {}
            if pool.get("path"):
                yield f"{pool['path']}/machines/{report['service']}/{machine['machine']}/console.log"
