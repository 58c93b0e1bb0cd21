# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Which layers a base consists of, where each is, and how long it takes to bring it elsewhere."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence

from .fleet import HostFacts
from .observed import Observed, held_base

# Bytes a second that an unmeasured link is taken for: only the order of hosts follows from it, never a promise of time.
ASSUMED_RATE = 125_000_000

# {layer: {storage or host: seconds}}
Bring = Mapping[str, Mapping[str, float]]


class Layer(t.NamedTuple):
    """One file of a base's chain."""

    id: str  # its digest where it is known, else the base's name
    size: int  # bytes
    virtual: int  # bytes of a disk over it


class Layers:
    """The bases of a manifest, as layers; found once, asked often."""

    def __init__(
        self, manifest: Mapping[str, t.Any], hosts: Observed, fleet: Sequence[HostFacts], bring: Bring | None = None, beside: bool = False
    ) -> None:
        self.bring = bring or {}
        self.beside = beside  # whether each pool needs its own copy, even where another pool of the host has one
        self.of_base: dict[str, list[Layer]] = {}
        self.holders: dict[str, set[str]] = {}  # by layer: hosts that have it, in whichever pool
        self.at: dict[str, set[str]] = {}  # by layer: storages that have it
        self.parents: dict[str, dict[str, str]] = {}  # by layer and host: from whom it would come, where links are known
        digests = {digest: held for facts in hosts.values() for held, digest in _bases_of(facts)}
        for base in manifest["bases"]:
            self.of_base[base["name"]] = _layers(base, manifest["tenant"], hosts, digests)
        known = {layer.id for layers in self.of_base.values() for layer in layers}
        for host in fleet:
            for pool in host.pools.values():
                for layer in known & pool.held:
                    self.holders.setdefault(layer, set()).add(host.name)
                    self.at.setdefault(layer, set()).add(pool.storage)
        for base in manifest["bases"]:
            # The host from which a base is imported will have it before anything is relayed.
            layers, source = self.of_base[base["name"]], base.get("source") or {}
            if layers and layers[-1].id not in self.holders and source.get("kind") == "host":
                self.holders[layers[-1].id] = {source["host"]}

    def lacking(self, base: str, host: str, storage: str) -> list[Layer]:
        """The layers that would have to be brought for a disk over the base there."""
        return [
            layer
            for layer in self.of_base.get(base, [])
            if storage not in self.at.get(layer.id, ()) and (self.beside or host not in self.holders.get(layer.id, ()))
        ]

    def seconds(self, layer: Layer, storage: str, host: str) -> int | None:
        """Seconds until a layer has come to the storage; None where it cannot be brought."""
        times = self.bring.get(layer.id)
        if times is None:
            return math.ceil(layer.size / ASSUMED_RATE)
        found = times.get(storage, times.get(host))
        return None if found is None else math.ceil(found)


def _bases_of(facts: Mapping[str, t.Any]) -> list[tuple[Mapping[str, t.Any], str]]:
    return [
        (held, held["sha256"])
        for content in (facts.get("pools") or {}).values()
        for held in content.get("bases") or []
        if held.get("sha256")
    ]


def _layers(base: Mapping[str, t.Any], tenant: str, hosts: Observed, digests: Mapping[str, Mapping[str, t.Any]]) -> list[Layer]:
    if base.get("layers"):
        return [
            Layer(str(layer["id"]), int(layer.get("size_bytes") or 0), int(layer.get("virtual_size_bytes") or 0))
            for layer in base["layers"]
        ]
    held = next((found for facts in hosts.values() if (found := held_base(facts, base, tenant)) is not None), None)
    if held is None:
        return [Layer(base.get("sha256") or base["name"], int(base.get("size_bytes") or 0), int(base.get("virtual_size_bytes") or 0))]
    chain = list(held.get("chain") or [held["sha256"]])
    return [
        Layer(digest, int(about.get("size_bytes") or 0), int(about.get("virtual_size_bytes") or 0))
        for digest in chain
        for about in [held if digest == held["sha256"] else digests.get(digest, {})]
    ]
