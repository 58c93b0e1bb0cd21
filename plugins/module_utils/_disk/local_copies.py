# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Base disks in a further pool of the host: which copies that takes, and making them."""

from __future__ import annotations

import typing as t

from . import references, transfer
from .base import Base
from .errors import BaseMissing
from .store import Store


def find(stores: t.Mapping[str, Store], sha256: str, pools: t.Iterable[str]) -> Base | None:
    """The base in the first of these pools that has it."""
    for pool in pools:
        base = stores[pool].find(sha256)
        if base is not None:
            return base
    return None


class LocalCopies:
    """
    :param from_pool: the only pool to copy from; any when None.
    :param wait_s: how long to wait for somebody else who writes the same base.
    """

    def __init__(
        self, stores: t.Mapping[str, Store], tenant: str, wait_s: float, from_pool: str | None = None, check: bool = False
    ) -> None:
        self._stores = stores
        self._tenant = tenant
        self._wait_s = wait_s
        self._from_pool = from_pool
        self._check = check

    def present(self, pool: str, sha256: str) -> list[str]:
        """Have the base in the pool, with the tenant's names and reference; what was done for it.

        :raises BaseMissing: it is in none of the pools. In check mode it then counts as copied: an earlier step would
            have brought it.
        """
        target = self._stores[pool]
        elsewhere = [self._from_pool] if self._from_pool else [name for name in self._stores if name != pool]
        base = find(self._stores, sha256, [pool, *elsewhere])
        if base is None:
            if self._check:
                return [f"clone base disk {sha256} to pool {pool}"]
            raise BaseMissing(sha256, [pool, *elsewhere])
        own = references.tenant_of(self._tenant)
        wanted = [own, *(item for item in base.references if item.kind == "name" and item.tenant == self._tenant)]
        if base.pool == pool:
            if own in base.references:
                return []
            if not self._check:
                with target.changing():
                    target.refer(base.sha256, wanted)
            return [f"add reference of tenant {self._tenant} to base disk {base.sha256}"]
        actions = [f"clone base disk {missing} from pool {base.pool} to pool {pool}" for missing in transfer.missing_in(base, target)]
        if not self._check:
            transfer.clone_base(base, self._stores[base.pool], target, wanted, self._wait_s)
        return actions
