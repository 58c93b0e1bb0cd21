# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What libvirt tells of a host: a service's machines, what all domains take, networks and bridges."""

from __future__ import annotations

import typing as t

from .._errors import FleetError
from .libvirt_host import LibvirtHost, LibvirtMissing, bridges, may_have_domains
from .machines import Machines

_CHANGES = ("drift", "actions")


def inquire(uri: str, pools: t.Mapping[str, str], tenant: str, service: str | None) -> dict[str, t.Any]:
    """``{"known", "reason", "machines", "domains", "networks", "bridges"}``; nothing is changed.

    :param service: None for all services of the tenant.
    :returns: ``known`` is false where libvirt may have domains and cannot be asked for them; ``reason`` says why libvirt
        gave no answer, also where it has none.
    """
    nothing: dict[str, t.Any] = {"machines": [], "domains": [], "networks": None, "bridges": bridges()}
    try:
        with LibvirtHost(uri) as host:
            machines = Machines(host, pools=pools.values())
            found = [machine.result() for machine in machines.query(tenant, service)]
            return {
                **nothing,
                "known": True,
                "reason": None,
                "machines": [{key: value for key, value in one.items() if key not in _CHANGES} for one in found],
                "domains": machines.every_domain(tenant, service, anew=False),
                "networks": host.networks(),
            }
    except LibvirtMissing as error:
        return {**nothing, "known": not may_have_domains(uri), "reason": error.message}
    except FleetError as error:
        return {**nothing, "known": False, "reason": error.message}
