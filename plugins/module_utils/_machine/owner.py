# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Who a machine belongs to, and everything that follows from it: names, identifiers, places of its files."""

from __future__ import annotations

import hashlib
import os
import typing as t
import uuid
from dataclasses import dataclass

from .._errors import InvalidOption
from .._names import HOST_LABEL_RULE, check_name, is_host_label

# Never change: identifiers of machines that exist were made with it.
_NAMESPACE = uuid.UUID("6f0f5a0e-6f0b-5c0e-9d5c-7b1f6c0f1a52")


@dataclass(frozen=True)
class Owner:
    """A machine's full name. What is derived from it stays the same for as long as the names do."""

    tenant: str
    service: str
    machine: str

    @property
    def domain(self) -> str:
        return f"{self.service}-{self.machine}"

    @property
    def host_names(self) -> tuple[str, str]:
        """By which other machines may find it."""
        return host_names(self.domain, self.service, self.machine)

    @property
    def domain_uuid(self) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"domain/{self}"))

    @property
    def instance_id(self) -> str:
        """Stable through edits of the seed, so that a reboot does not run cloud-init's first boot again."""
        return str(uuid.uuid5(_NAMESPACE, f"instance/{self}"))

    def mac(self, index: int, attempt: int = 0) -> str:
        """Address of network card ``index``; a further attempt gives another one."""
        digest = hashlib.sha256(f"{self}/{index}/{attempt}".encode()).digest()
        return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])

    def directory(self, pool_path: str) -> str:
        return os.path.join(pool_path, "machines", self.service, self.machine)

    def named(self, machine: str) -> Owner:
        """Another machine of the service."""
        return Owner(self.tenant, self.service, machine)

    def __str__(self) -> str:
        return f"{self.tenant}/{self.service}/{self.machine}"


def host_names(name: str, service: str, machine: str) -> tuple[str, str]:
    """A machine's names in hosts files and in DNS: none of them can be one such as github.com, which others look for.

    :param name: that of its domain, with the tenant in front where two tenants have the same names.
    """
    return name, f"{machine}.{service}.internal"


def may_be_of(service: str, name: str) -> bool:
    """Whether a host name may be that of one of a service's machines."""
    return name.startswith(f"{service}-") or name.endswith(f".{service}.internal")


def checked_owner(tenant: t.Any, service: t.Any, machine: t.Any, option: str) -> Owner:
    """
    :param option: how the user wrote the machine's name, for the message.
    """
    check_name("tenant", tenant)
    check_name("service", service)
    if not is_host_label(machine):
        raise InvalidOption(option, machine, f"a machine's name has {HOST_LABEL_RULE}")
    return Owner(tenant, service, machine)
