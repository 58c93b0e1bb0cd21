# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host has of the templates from which machines are made."""

from __future__ import annotations

import typing as t

from .._disk.qemu_img import QemuImg
from .._disk.references import name_of
from .._disk.runner import Runner
from .._disk.store import Store, stores_of
from .._errors import FleetError
from .._machine import template
from .._machine.libvirt_host import LibvirtHost, LibvirtMissing, may_have_domains
from . import machine_source
from .machine_source import Wanted


class Asked(t.NamedTuple):
    """
    :param pools: paths by name.
    :param source_domains: domains that this collection has not made, of which templates may be made.
    :param run: runs qemu-img.
    """

    pools: t.Mapping[str, str]
    tenant: str
    uri: str
    source_domains: tuple[str, ...] = ()
    run: Runner | None = None


def template_sources(sources: t.Sequence[t.Mapping[str, t.Any]], asked: Asked) -> dict[str, dict[str, t.Any]]:
    """What this host has of the templates from which machines are made, by the group's name.

    :param sources: each has the ``name`` of the group, ``template`` and ``version``, and from what that is made: ``machine`` and
        ``service``, or ``domain``.
    :returns: ``stored`` is the template, where a pool has it; ``live`` what the machine would give that it is made of, where it is here
        and no pool has it; ``problem`` why it cannot be made here.
    """
    stores = stores_of(asked.pools)
    told: dict[str, dict[str, t.Any]] = {}
    for source in sources:
        found = told.setdefault(source["name"], {"stored": None, "live": None, "problem": None})
        try:
            found["stored"] = _stored(stores, asked.tenant, source)
            if found["stored"] is None and (source.get("machine") or source.get("domain")):
                found["live"] = _live(stores, asked, source)
        except (FleetError, OSError) as error:
            found["problem"] = error.message if isinstance(error, FleetError) else str(error)
    return told


def _stored(stores: t.Mapping[str, Store], tenant: str, source: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
    name = name_of(tenant, source["template"], source["version"])
    for store in stores.values():
        base = store.find_by_name(*name[1:4])
        text = None if base is None else store.template(base.sha256, name)
        if text is not None:
            return template.from_text(text, f"the template {source['template']} {source['version']}")
        if base is not None:
            raise FleetError(
                f"{source['template']} {source['version']} is a base disk and no template; name it as the base of a disk, or give another"
                " version."
            )
    return None


def _live(stores: t.Mapping[str, Store], asked: Asked, source: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
    wanted = Wanted(asked.tenant, source.get("service"), source.get("machine"), source.get("domain"), asked.source_domains)
    try:
        with LibvirtHost(asked.uri) as host:
            found = machine_source.find(host, wanted, stores, QemuImg(asked.run or nothing_runs))
            return None if found is None else found.template(source["template"]).content
    except LibvirtMissing:
        if may_have_domains(asked.uri):
            raise
        return None


def nothing_runs(arguments: t.Sequence[str]) -> tuple[int, str, str]:
    """A runner for what only looks."""
    raise NotImplementedError(arguments[0])
