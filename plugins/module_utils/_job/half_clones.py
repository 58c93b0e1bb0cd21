# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Clones whose runs were interrupted before all disks were there. The machine's QEMU may still copy into them.

<pool>/machines/<service>/<clone>/.clone.json     of which machine, and whether all disks are there
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._disk import file_io, layout
from .._errors import FleetError
from .._machine import disk_mirror
from .._machine.files import remove_leftovers
from .._machine.libvirt_host import Domain, LibvirtHost
from .._machine.owner import Owner
from .._names import is_host_label

FORMAT = 1
_LARGEST_NOTE = 64 * 1024


class HalfClone(t.NamedTuple):
    """
    :param of: the machine; directories: of the clone, by pool.
    """

    name: str
    of: str
    directories: dict[str, str]


def write_note(directory: str, source: str, complete: bool) -> None:
    note = file_io.json_bytes({"format": FORMAT, "source": source, "complete": complete})
    file_io.replace_file(layout.clone_path(directory), note, 0o644)


def read_note(directory: str) -> dict[str, t.Any] | None:
    try:
        note = file_io.read_value(layout.clone_path(directory), _LARGEST_NOTE)
    except FileNotFoundError:
        return None
    return {"source": note["source"].text(255), "complete": note["complete"].flag()}


def complete(directories: t.Iterable[str], source: str) -> None:
    """All of its disks are there."""
    for directory in dict.fromkeys(directories):
        note = read_note(directory)
        if note is None or not note["complete"]:
            write_note(directory, source, True)


def note_of(directories: t.Iterable[str]) -> dict[str, t.Any] | None:
    """Of a clone, whose notes are completed one after another once all of its disks are there."""
    notes = [note for note in map(read_note, directories) if note is not None]
    return next((note for note in notes if note["complete"]), notes[0] if notes else None)


def find(pools: t.Mapping[str, str], service: str) -> list[HalfClone]:
    """Those of a service. A run may be at work on them, unless the caller has the service to itself."""
    found: dict[str, HalfClone] = {}
    complete = set()
    for pool, path in pools.items():
        directory = layout.service_directory(path, service)
        for name in filter(is_host_label, file_io.names_in(directory)):
            try:
                note = read_note(os.path.join(directory, name))
            except (OSError, FleetError):
                continue  # it is not known to be a clone
            if note is not None and not note["complete"]:
                found.setdefault(name, HalfClone(name, note["source"], {})).directories[pool] = os.path.join(directory, name)
            elif note is not None:
                complete.add(name)
    return [clone for clone in found.values() if clone.name not in complete]


def end_all(host: LibvirtHost, domain: Domain | None, pools: t.Mapping[str, str], owner: Owner, but: str = "") -> None:
    """Undo the half clones of a machine, and end what an interrupted run has its QEMU copy besides, such as a capture. The caller has
    the service to itself on the host that has the machine.

    :param domain: where the machine runs.
    :param but: the name of one that is to stay.
    """
    if domain is not None:
        disk_mirror.end_left(domain, pools.values(), owner.service)
    for clone in find(pools, owner.service):
        is_machine = host.domain(owner.named(clone.name).domain_uuid) is not None
        if clone.of == owner.machine and clone.name != but and not is_machine:
            end(domain, clone.directories.values())


def end(domain: Domain | None, directories: t.Iterable[str]) -> None:
    """Remove what was made of a clone. The notes go last, so that what interrupts this is undone again."""
    places = list(dict.fromkeys(directories))
    if domain is not None:
        disk_mirror.abandon_all(domain, places)
    for directory in places:
        for name in file_io.names_in(directory):
            is_disk = os.path.splitext(name)[1] in layout.EXTENSIONS.values()
            if is_disk or (layout.is_unfinished(name) and name != os.path.basename(layout.clone_path(""))):
                file_io.remove_file(os.path.join(directory, name))
        with contextlib.suppress(OSError):
            remove_leftovers(directory)  # firmware variables
    for directory in places:
        file_io.remove_file(layout.clone_path(directory))
        with contextlib.suppress(OSError):
            os.rmdir(directory)
