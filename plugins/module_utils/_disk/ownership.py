# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Adding and dropping references: look at all pools, decide everything, then write."""

from __future__ import annotations

import os
import typing as t

from .._errors import InvalidOption
from . import disk_records, references
from .errors import BaseMissing
from .references import Reference
from .store import Store


class Wish(t.NamedTuple):
    """One entry of the module's list. Without name and pin it is the tenant's own reference.

    :param template: what its name stands for besides the base.
    """

    sha256: str | None = None
    name: str | None = None
    version: str | None = None
    pin: str | None = None
    pool: str | None = None
    lost_host: str | None = None
    template: str | None = None


class Change(t.NamedTuple):
    pool: str
    sha256: str
    reference: Reference
    action: str
    template: str | None = None

    def as_dict(self) -> dict[str, t.Any]:
        return {"pool": self.pool, "sha256": self.sha256, "action": self.action, **self.reference.data()}


def plan_present(stores: t.Mapping[str, Store], tenant: str, wishes: t.Iterable[Wish], expected: bool, check_mode: bool) -> list[Change]:
    """Which references are to be added (action added) and which are there (none).

    :param expected: the bases may still be on their way; then each wish names its pool.
    :param check_mode: a base that is nowhere would have been brought by then.
    """
    changes = []
    for wish in wishes:
        if wish.sha256 is None:
            raise InvalidOption("references", wish._asdict(), "to add a reference, sha256 is needed")
        if wish.lost_host is not None:
            raise InvalidOption("references[].lost_host", wish.lost_host, "it can only be given with state: absent")
        if wish.name is not None and wish.version is not None:
            for store in stores.values():
                store.check_name_free(tenant, wish.name, wish.version, wish.sha256)
        for pool in _pools(stores, wish, expected, check_mode):
            have = stores[pool].references(wish.sha256)
            for reference in _wanted(tenant, wish):
                template = wish.template if reference.kind == "name" else None
                is_there = reference in have and (template is None or stores[pool].template(wish.sha256, reference) is not None)
                changes.append(Change(pool, wish.sha256, reference, "none" if is_there else "added", template))
    return _without_repeats(changes)


def _pools(stores: t.Mapping[str, Store], wish: Wish, expected: bool, check_mode: bool) -> list[str]:
    sha256 = t.cast(str, wish.sha256)
    asked = [wish.pool] if wish.pool is not None else sorted(stores)
    holding = [pool for pool in asked if stores[pool].find(sha256) is not None]
    if expected:
        if wish.pool is None:
            raise InvalidOption("references", wish._asdict(), "with expected: true, each entry needs a pool")
        return asked
    if not holding and check_mode:
        return asked
    if not holding:
        raise BaseMissing(sha256, asked)
    return holding


def _wanted(tenant: str, wish: Wish) -> list[Reference]:
    if wish.pin is not None:
        return [references.pin_of(wish.pin)]
    if wish.name is not None and wish.version is not None:
        return [references.tenant_of(tenant), references.name_of(tenant, wish.name, wish.version)]
    return [references.tenant_of(tenant)]


def plan_absent(stores: t.Mapping[str, Store], tenant: str, wishes: t.Iterable[Wish]) -> list[Change]:
    """Which references are to be dropped. A wish with neither name nor pin drops all that the tenant has on the base, one
    without a digest its name wherever it is. Other tenants' references are never among them."""
    changes = []
    for wish in wishes:
        for pool in [wish.pool] if wish.pool is not None else sorted(stores):
            store = stores[pool]
            for sha256 in [wish.sha256] if wish.sha256 is not None else referred(store):
                for reference in store.references(sha256):
                    if _is_meant(reference, tenant, wish):
                        changes.append(Change(pool, sha256, reference, "removed"))
    return _without_repeats(changes)


def plan_absent_tenant(stores: t.Mapping[str, Store], tenant: str) -> list[Change]:
    """All that a tenant has, on every base of every pool."""
    return [
        Change(pool, sha256, reference, "removed")
        for pool, store in sorted(stores.items())
        for sha256 in referred(store)
        for reference in store.references(sha256)
        if reference.kind in ("name", "tenant") and reference.tenant == tenant
    ]


def referred(store: Store) -> list[str]:
    """Digests with references, of bases that are there or not."""
    return sorted({*store.ids(), *store.referred_ids()})


def _is_meant(reference: Reference, tenant: str, wish: Wish) -> bool:
    if wish.pin is not None:
        return reference == references.pin_of(wish.pin)
    if wish.lost_host is not None:
        here = (reference.host, reference.machine) == disk_records.this_host()
        return reference.kind == "disk" and reference.tenant == tenant and reference.host == wish.lost_host and not here
    if reference.kind not in ("name", "tenant") or reference.tenant != tenant:
        return False
    if wish.name is not None:
        return reference.kind == "name" and (reference.name, reference.version) == (wish.name, wish.version)
    return True


def _without_repeats(changes: t.Iterable[Change]) -> list[Change]:
    return list(dict.fromkeys(changes))


def apply(stores: t.Mapping[str, Store], changes: t.Iterable[Change]) -> None:
    for change in changes:
        store = stores[change.pool]
        # What is left of a base that has gone counts as new from now on: a policy takes it only when it has been there for long.
        awaited = change.action == "none" and not os.path.lexists(store.base_directory(change.sha256))
        if change.action == "none" and not awaited:
            continue
        with store.changing():
            if change.action == "removed":
                store.unrefer(change.sha256, [change.reference])
                continue
            if change.reference.kind == "name":
                store.check_name_free(change.reference.tenant, change.reference.name, change.reference.version, change.sha256)
            store.refer(change.sha256, [change.reference], change.template)
            if awaited:
                os.utime(store.references_directory(change.sha256))
