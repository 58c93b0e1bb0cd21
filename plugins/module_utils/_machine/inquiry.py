# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What libvirt tells of a host: a service's machines, what all domains take, networks and bridges."""

from __future__ import annotations

import contextlib
import typing as t

from .._errors import FleetError
from . import disk_mirror, flattening
from .hardware.offers import offers_of
from .libvirt_host import PAUSED, DomainGone, LibvirtHost, LibvirtMissing, bridges, interfaces, may_have_domains, open_vswitch_bridges
from .machine import Machine
from .machines import Machines

_CHANGES = ("drift", "actions")


def inquire(uri: str, pools: t.Mapping[str, str], tenant: str, service: str | None) -> dict[str, t.Any]:
    """``{"known", "reason", "machines", "domains", "uuids", "networks", "bridges", "offers", "memory_mib"}``; nothing is changed.

    :param service: None for all services of the tenant.
    :returns: ``known`` is false where libvirt may have domains and cannot be asked for them; ``reason`` says why libvirt
        gave no answer, also where it has none. ``uuids`` are those of all domains, for the host itself: not for a tenant.
        ``memory_mib`` is the host's memory as libvirt counts it, None where it gave no answer.
    """
    nothing: dict[str, t.Any] = {"machines": [], "domains": [], "uuids": [], "networks": None, "offers": None, "memory_mib": None}
    nothing["bridges"] = bridges()
    try:
        with LibvirtHost(uri) as host:
            machines = Machines(host, pools=pools.values())
            found = [machine.result() for machine in machines.query(tenant, service)]
            return {
                **nothing,
                "known": True,
                "reason": None,
                "machines": [{key: value for key, value in one.items() if key not in _CHANGES} for one in found],
                "domains": machines.domains.every_domain(tenant, service),
                "uuids": machines.domains.uuids(),
                "networks": host.networks(),
                "memory_mib": host.memory_mib(),
                "offers": {
                    **offers_of(host),
                    **host.vlans(),
                    "dns": machines.dns(service),
                    "readonly_shares": host.readonly_shares(),
                    "interfaces": interfaces(),
                    "open_vswitch": open_vswitch_bridges(),
                },
            }
    except LibvirtMissing as error:
        return {**nothing, "known": not may_have_domains(uri), "reason": error.message}
    except FleetError as error:
        return {**nothing, "known": False, "reason": error.message}


# --- what runs where, for people -------------------------------------------------------------------

_SOURCES = ("agent", "lease", "arp")


def roster(uri: str, pools: t.Mapping[str, str], tenant: str | None) -> dict[str, t.Any]:
    """``{"known", "reason", "machines", "others"}``: the machines of a tenant, or of all, each with its state and its disks.

    :returns: ``others`` is what the host's other domains take, without names. ``known`` and ``reason`` as ``inquire`` has them.
    """
    nothing: dict[str, t.Any] = {"machines": [], "others": None}
    try:
        with LibvirtHost(uri) as host:
            machines = Machines(host, pools=pools.values())
            found = [_told(machine, pools) for machine in machines.query(tenant, None)]
            return {"known": True, "reason": None, "machines": found, "others": machines.domains.others(tenant)}
    except LibvirtMissing as error:
        return {**nothing, "known": not may_have_domains(uri), "reason": error.message}
    except FleetError as error:
        return {**nothing, "known": False, "reason": error.message}


def _told(machine: Machine, pools: t.Mapping[str, str]) -> dict[str, t.Any]:
    result = machine.result()
    state = "running" if machine.running else "off"
    try:
        state = machine.domain.state() if machine.domain else state
    except FleetError:
        pass  # it has just gone; what was seen a moment ago is as good
    flattened = None
    with contextlib.suppress(FleetError):  # it has just stopped
        flattened = flattening.progress(machine.domain if machine.running else None, pools, machine.owner)
    hardware = machine.found.hardware if machine.found else {}
    kept = ("machine", "domain", "running", "number", "group", "spec", "memory_mib", "cpus", "accelerator", "macs", "report", "problem")
    return {
        "tenant": machine.owner.tenant,
        "service": machine.owner.service,
        **{key: result[key] for key in kept},
        "state": state,
        "report_expected": result["report_expected"],
        "dns_missing": result["dns_missing"],
        "flattening": flattened and flattened._asdict(),
        "stands": _stands(machine),
        "disks": [disk["path"] for disk in hardware.get("disks") or () if disk["path"]],
        "networks": hardware.get("networks") or [],
    }


def _stands(machine: Machine) -> bool:
    """Whether a clone or a capture has paused or frozen its guest, and nobody has resumed it since."""
    if machine.domain is None or not machine.running:
        return False
    with contextlib.suppress(FleetError):  # it has just stopped
        how = machine.domain.stands()
        return how == disk_mirror.FROZEN or (how == disk_mirror.SUSPENDED and machine.domain.power() == PAUSED)
    return False


def addresses(uri: str, tenant: str | None) -> dict[str, list[dict[str, str]]]:
    """``{domain: [{"address", "mac", "source"}]}`` of the running machines of a tenant, or of all, the surest source first.

    Asked by itself: a guest whose agent does not answer holds this question, and no other.
    """
    found: dict[str, list[dict[str, str]]] = {}
    with LibvirtHost(uri) as host:
        for machine in Machines(host).query(tenant, None):
            if machine.domain and machine.running:
                found[machine.domain.name] = _addresses(machine.domain)
    return found


def _addresses(domain: t.Any) -> list[dict[str, str]]:
    known: dict[str, dict[str, str]] = {}
    for source in _SOURCES:
        try:
            for one in domain.addresses(source):
                known.setdefault(one["address"], {**one, "source": source})
        except DomainGone:
            break
    return list(known.values())
