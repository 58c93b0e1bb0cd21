# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the host has of what a manifest wants to use in place: disks from outside of the store, devices, directories.

Only what its administrator permits is told of, so that who writes a manifest does not learn what else there is.
"""

from __future__ import annotations

import glob
import itertools
import os
import typing as t

from .._disk import outside
from .._disk.store import Store
from .._errors import InvalidOption
from .._machine.hardware.attached import ANOTHER, BLOCK, DEVICE, SHARE, VARIABLES, VOLUME
from .._machine.hardware.host_devices import KINDS as DEVICE_KINDS

KINDS = tuple(VARIABLES)
EVERYBODY = "*"

_MOST_MATCHES = 1000
_BEGINNINGS = {**dict.fromkeys((BLOCK, VOLUME, SHARE), ("/",)), DEVICE: tuple(f"{kind}/" for kind in DEVICE_KINDS)}
_PATTERNS = {
    **dict.fromkeys((BLOCK, VOLUME, SHARE), "absolute paths"),
    DEVICE: "devices, such as pci/0000:65:00.*, usb/0951:1666 or mediated/*",
}

Asked = t.Mapping[str, t.Any]


class Permits(t.NamedTuple):
    """Patterns by kind, of one tenant."""

    patterns: t.Mapping[str, tuple[str, ...]]

    def allows(self, kind: str, name: str) -> bool:
        return outside.is_permitted(name, self.patterns.get(kind, ()))


def checked_permits(permitted: t.Mapping[str, t.Any], tenant: str) -> Permits:
    """
    :param permitted: by kind, patterns for every tenant, or by the tenant's name (``*`` for every one).
    """
    return Permits({kind: tuple(_patterns(kind, permitted.get(kind), tenant)) for kind in KINDS})


def _patterns(kind: str, given: t.Any, tenant: str) -> list[str]:
    by_tenant = given if isinstance(given, t.Mapping) else {EVERYBODY: given or []}
    for one in by_tenant.values():
        if not isinstance(one, (list, tuple)) or not all(isinstance(text, str) and text.startswith(_BEGINNINGS[kind]) for text in one):
            wanted = f"a list of patterns of {_PATTERNS[kind]}, or a mapping of tenants and such lists, is needed"
            raise InvalidOption(f"permitted.{kind}", given, f"{wanted} (the host variable {VARIABLES[kind]})")
    return [text for name, one in by_tenant.items() if name in (tenant, EVERYBODY) for text in one]


def resources(asked: t.Sequence[Asked], permits: Permits, stores: t.Mapping[str, Store], service: str) -> list[dict[str, t.Any]]:
    """``[{"kind", "name", "pool", "path", "size_bytes", "problem", "used_by", "beside"}]`` of all that is there and permitted.

    :param asked: ``kind``, ``name`` (in which a star stands for what differs from machine to machine), and ``pool`` and ``format`` of
        a volume.
    :param service: whose domains are told by name.
    """
    found: list[dict[str, t.Any]] = []
    for one in asked:
        if one["kind"] == DEVICE:
            found += _devices(one, permits, service)
            continue
        pool = stores.get(one.get("pool") or "")
        if one["kind"] == VOLUME and pool is None:
            continue  # told as what is not there
        top = pool.pool_path if one["kind"] == VOLUME and pool is not None else ""
        for path in _matches(os.path.join(top, one["name"])):
            told = _one(one, path, permits, stores, service)
            if told is not None:
                found.append({**told, "name": os.path.relpath(path, top) if top else path})
    return found


def _devices(asked: Asked, permits: Permits, service: str) -> t.Iterator[dict[str, t.Any]]:
    from .._machine import host_devices  # noqa: PLC0415 - a host compiles all that is imported, and few need this

    for name in host_devices.matches(asked["name"])[:_MOST_MATCHES]:
        # By no other name than the asked: what has another name today may have another device behind it after a restart.
        look = host_devices.look(name) if permits.allows(DEVICE, name) else None
        if look is not None:
            yield {
                "kind": DEVICE,
                "name": name,
                "pool": None,
                "path": look.path,
                "size_bytes": 0,
                "problem": look.problem,
                "used_by": sorted({_user(user, service) for user in look.used_by}),
                "beside": list(look.beside),
            }


def _matches(path: str) -> list[str]:
    if "*" not in path:
        return [path] if os.path.lexists(path) else []
    return sorted(itertools.islice(glob.iglob(path), _MOST_MATCHES))


def _one(asked: Asked, path: str, permits: Permits, stores: t.Mapping[str, Store], service: str) -> dict[str, t.Any] | None:
    true = os.path.realpath(path)
    # A link in a pool may be anybody's. One below /dev is the kernel's or the administrator's, and may lead elsewhere after a restart:
    # so it is permitted by its own name.
    if not permits.allows(asked["kind"], os.path.normpath(path) if asked["kind"] == BLOCK else true):
        return None
    look = _look(asked, path, stores)
    if look is None:
        return None
    return {
        "kind": asked["kind"],
        "pool": asked.get("pool"),
        # A device keeps its name when it is found at another place after a reboot.
        "path": path if asked["kind"] == BLOCK else look.path,
        "size_bytes": look.size_bytes,
        "problem": look.problem,
        "used_by": sorted({_user(user, service) for user in look.used_by}),
    }


def _look(asked: Asked, path: str, stores: t.Mapping[str, Store]) -> outside.Outside | None:
    if asked["kind"] == SHARE:
        from .._machine import shares  # noqa: PLC0415 - a host compiles all that is imported, and few need this

        return shares.look(path, stores)
    return outside.look(asked["kind"], path, asked.get("format") or "raw", stores)


def _user(user: str, service: str) -> str:
    """Names of other services' machines are theirs."""
    return user if user.startswith(f"domain {service}-") else ANOTHER
