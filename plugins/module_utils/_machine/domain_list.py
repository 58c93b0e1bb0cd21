# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The domains of a host as they were listed at one moment: whose they are, and what they take."""

from __future__ import annotations

import os
import typing as t

from .._untrusted import Malformed
from .domain import Description, describe, unread
from .hardware import cards
from .libvirt_host import Domain, DomainGone, LibvirtError, LibvirtHost
from .owner import Owner


class DomainList:
    """Listed once: to ask of each of hundreds again would take longer, and give a picture of no one moment."""

    def __init__(self, host: LibvirtHost) -> None:
        self._found = list(_listed(host))

    def __iter__(self) -> t.Iterator[tuple[Domain, Description]]:
        return iter(self._found)

    def uuids(self) -> list[str]:
        """Of all domains of the host, whose they may be."""
        return [about.uuid for _domain, about in self._found]

    def every_domain(self, tenant: str, service: str | None = None) -> list[dict[str, t.Any]]:
        """All domains of the host: the tenant's own as they are, all others as what they take, without names.

        :param service: another's domain keeps its name and UUID where the name may be one of this service's machines.
        """
        told = []
        for running, about in sorted(self._running(), key=lambda pair: pair[1].domain):
            owner = about.owner
            mine = owner is not None and owner.tenant == tenant
            named = mine or (service is not None and about.domain.startswith(f"{service}-"))
            told.append(
                {
                    "domain": about.domain if named else None,
                    "uuid": about.uuid if named or _may_be_copy(about) else None,
                    "service": owner.service if owner and mine else None,
                    "tenant": owner.tenant if owner and mine else None,
                    "machine": owner.machine if owner and mine else None,
                    "macs": list(about.macs),  # no two machines of a fleet may have the same
                    "addresses": _fixed_addresses(about),
                    "memory_mib": about.memory_mib,
                    "cpus": about.cpus,
                    "disk_bytes": _disk_bytes(about) if mine else None,
                    "hugepages": about.hugepages,
                    "running": running,
                    "problem": about.problem if named or not about.problem else "it cannot be read",
                }
            )
        return told

    def others(self, tenant: str | None) -> dict[str, int]:
        """What domains take that are not among the tenant's machines, without names, and how many cannot be read."""
        told = {"domains": 0, "running": 0, "memory_mib": 0, "unread": 0}
        for running, about in self._running():
            if about.owner is None or tenant not in (None, about.owner.tenant):
                told["domains"] += 1
                told["running"] += running
                told["memory_mib"] += about.memory_mib if running else 0
                told["unread"] += about.problem is not None
        return told

    def _running(self) -> t.Iterator[tuple[bool, Description]]:
        for domain, about in self._found:
            yield domain.was_running(), about

    def disks_elsewhere(self, directories: t.Collection[str]) -> list[tuple[str, str]]:
        """Domain and path of each disk outside these directories, of all domains of the host."""
        return [
            (about.domain, path)
            for _domain, about in self._found
            for path, _format in about.files
            if not any(path.startswith(directory + os.sep) for directory in directories)
        ]

    def of(self, owner: Owner) -> tuple[Domain, Description] | None:
        return next(((domain, about) for domain, about in self._found if about.owner == owner), None)

    def in_the_way(self, owner: Owner) -> tuple[str, str] | None:
        """Why a domain that has the machine's name or UUID, and is another's, is left alone."""
        for _domain, about in self._found:
            if about.domain == owner.domain or about.uuid == owner.domain_uuid:
                return _foreign(about, owner)
        return None


def _listed(host: LibvirtHost) -> t.Iterator[tuple[Domain, Description]]:
    """One domain that cannot be read hides no other."""
    for domain in host.domains():
        try:
            about = describe(domain.xml())
        except DomainGone:
            continue
        except (LibvirtError, Malformed) as error:
            about = unread(domain.name, domain.uuid, error.message)
        yield domain, about


def _disk_bytes(about: Description) -> int:
    """What the disks of a machine may grow to, as far as its description says so."""
    disks = about.spec.get("disks")
    sizes = [disk.get("size_bytes") for disk in disks.values() if isinstance(disk, dict)] if isinstance(disks, dict) else []
    return sum(size for size in sizes if isinstance(size, int) and size > 0)


def _fixed_addresses(about: Description) -> list[dict[str, str]]:
    """What its guest was told to use, of whichever tenant: no two machines may have the same address."""
    networks = about.spec.get("networks")
    told = []
    for card in networks if isinstance(networks, list) else ():
        kind = cards.kind_of(card) if isinstance(card, dict) else None
        for address in (card.get("address"), card.get("address6")) if kind else ():
            if isinstance(address, str) and kind:
                told.append({"network": cards.network_name(kind.name, card), "address": address})
    return told


def _may_be_copy(about: Description) -> bool:
    """Whether the UUID of a domain without owner is derived from names: a copy of a machine whose metadata was lost has such."""
    return about.owner is None and about.uuid[14:15] == "5"


def _foreign(about: Description, owner: Owner) -> tuple[str, str]:
    """Why a domain that has the machine's name or UUID is left alone."""
    what = f"The domain {about.domain} (UUID {about.uuid})"
    if about.problem:
        return "unknown", f"{what} cannot be read, so it may be {owner.machine} or not: {about.problem}"
    whose = "was not made by this collection"
    if about.owner:
        o = about.owner
        whose = f"belongs to machine {o.machine} of service {o.service}" if o.tenant == owner.tenant else "belongs to another tenant"
    return (
        "foreign_domain",
        f"{what} {whose} and is left alone. Choose another service or machine name than {owner.service} and "
        f"{owner.machine}, or rename that domain.",
    )
