# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Who needs a base disk: names of tenants, tenants' references, pins, and disks in other pools, one small file each.

A file's name is derived from what it says, so that the same reference written twice, or by two runs at once, is one
file. References are written before the base they protect appears and removed after it has gone: a crash can leave
too many, never too few.

A name may stand for a template: then its file also says what machines made from the base are like (see _machine/template.py).
"""

from __future__ import annotations

import hashlib
import os
import stat
import typing as t

from .._errors import FleetError
from .._text import clean
from .._untrusted import Value
from . import file_io

FORMAT = 1
_LARGEST = 256 * 1024


class Reference(t.NamedTuple):
    """``kind`` is name, tenant, pin or disk. A name has tenant, name and version, a tenant only that, a pin its name, and a disk its
    tenant, its path as name, and the host that has it, by name and by what tells it from others of that name."""

    kind: str
    tenant: str = ""
    name: str = ""
    version: str = ""
    host: str = ""
    machine: str = ""

    def data(self) -> dict[str, t.Any]:
        if self.kind == "name":
            return {"format": FORMAT, "kind": "name", "tenant": self.tenant, "name": self.name, "version": self.version}
        if self.kind == "tenant":
            return {"format": FORMAT, "kind": "tenant", "tenant": self.tenant}
        if self.kind == "disk":
            keys = {"tenant": self.tenant, "path": self.name, "host": self.host, "machine": self.machine}
            return {"format": FORMAT, "kind": "disk", **keys}
        return {"format": FORMAT, "kind": "pin", "pin": self.name}

    def file_name(self) -> str:
        digest = hashlib.sha256(file_io.json_bytes(self.data())).hexdigest()
        return f"{self.kind}-{digest[:32]}.json"


def name_of(tenant: str, name: str, version: str) -> Reference:
    return Reference("name", tenant, name, version)


def tenant_of(tenant: str) -> Reference:
    return Reference("tenant", tenant)


def pin_of(pin: str) -> Reference:
    return Reference("pin", name=pin)


def disk_of(tenant: str, path: str, host: str, machine: str) -> Reference:
    return Reference("disk", tenant, path, host=host, machine=machine)


_FIELDS = {"name": ("tenant", "name", "version"), "tenant": ("tenant",), "pin": ("pin",), "disk": ("tenant", "path", "host", "machine")}
_LONGEST = {"path": 4096}


def parse(data: Value) -> Reference:
    """The reference that a file's content states. Malformed for anything else."""
    kind = data["kind"].choice(*_FIELDS)
    texts = [data[key].text(_LONGEST.get(key, 255)) for key in _FIELDS[kind]]
    if kind == "name":
        return name_of(*texts)
    if kind == "disk":
        return disk_of(*texts)
    return tenant_of(texts[0]) if kind == "tenant" else pin_of(texts[0])


def read(directory: str) -> list[Reference]:
    """All references in a base's directory, sorted. What cannot be understood counts as a pin: it may protect somebody's
    base, so nothing is removed on its account."""
    found = []
    try:
        if not stat.S_ISDIR(os.lstat(directory).st_mode):
            return [pin_of("unreadable:not a directory")]
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [pin_of(f"unreadable:{error.strerror}")]
    for name in names:
        if not name.endswith(".json") or name.startswith("."):
            continue
        try:
            found.append(parse(file_io.read_value(os.path.join(directory, name), _LARGEST)))
        except FileNotFoundError:
            continue
        except (OSError, FleetError):
            found.append(pin_of(f"unreadable:{clean(name, 300)}"))
    return sorted(found)


def template_of(directory: str, reference: Reference) -> str | None:
    """The template that a name stands for, as text; None where it is that of a base alone, or not there.

    :raises FleetError: the file cannot be understood.
    """
    try:
        found = file_io.read_value(os.path.join(directory, reference.file_name()), _LARGEST).get("template")
    except FileNotFoundError:
        return None
    return None if found is None else found.text(_LARGEST)


def write(directory: str, reference: Reference, template: str | None = None) -> bool:
    """True when it was not there, or was no template. ``directory`` and the one above it are made.

    :param template: what the name stands for besides.
    """
    path = os.path.join(directory, reference.file_name())
    if os.path.lexists(path) and (template is None or template_of(directory, reference) is not None):
        return False
    file_io.ensure_directory(os.path.dirname(directory))
    file_io.ensure_directory(directory)
    # Firmware variables of a template may hold secrets, such as those of iSCSI; machines have theirs in files of root alone.
    more, mode = ({}, 0o644) if template is None else ({"template": template}, 0o600)
    file_io.replace_file(path, file_io.json_bytes({**reference.data(), **more}), mode)
    file_io.sync_directory(os.path.dirname(directory))
    return True


def remove(directory: str, reference: Reference) -> bool:
    """True when it was there."""
    removed = file_io.remove_file(os.path.join(directory, reference.file_name()))
    if removed:
        file_io.sync_directory(directory)
        try:
            os.rmdir(directory)
        except OSError:
            pass
    return removed
