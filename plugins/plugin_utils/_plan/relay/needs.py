# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What has to cross the network: from a deployment's needs to one relay for each base disk."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ..placement import Observed, storage_of
from ..types import Relay
from . import fixed_paths

_METADATA = (
    "format", "sha256", "source_sha256", "size_bytes", "virtual_size_bytes", "image_format", "parent", "chunk_bytes",
    "chunks_sha256", "imported_at", "imported_from", "signatures",
)  # fmt: skip


def base_metadata(base: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """base.json's own part of what base_disk_info tells: this travels with the base, unchanged."""
    return {key: base[key] for key in _METADATA if key in base}


class Relaying(t.NamedTuple):
    """What a user says of the relay's ways.

    ``relays``: who may pass a base on beside its holders: ``targets``, ``all``, or names of hosts. ``paths``: see
    ``fixed_paths``.
    """

    relays: str | list[str] = "targets"
    paths: list[list[str]] = []

    def permits(self, host: str) -> bool:
        return self.relays == "all" or (self.relays != "targets" and host in self.relays)


AS_USUAL = Relaying()


def relays_of(
    bases: Mapping[str, Mapping[str, t.Any]],
    work: Mapping[str, Mapping[str, t.Any]],
    hosts: Observed,
    relaying: Relaying = AS_USUAL,
) -> list[dict[str, t.Any]]:
    """What has to cross the network: per base disk its sources and targets, ``{host: pool}`` each; parents come first.

    A base that is still to be imported has no ``sha256``, is ``estimated``, and its ``size_bytes`` are those of the source or
    None: a conversion changes them. ``shared_pools``: lists of targets whose pool is the same storage; a host that shares
    it with a source is one too. ``helpers``: hosts that may pass the base on without needing it, {host: pool}.
    ``fixed``: links (from, to) that the user chose. ``copies``: whole copies that stay on a host, {host: {pool: count}}.
    """
    relays: dict[str, dict[str, t.Any]] = {}
    for name, base in bases.items():
        targets = {
            host: fetch["pool"]
            for host, todo in work.items()
            for fetch in todo["fetch"]
            if fetch["base"] == name and host != base["import_on"]
        }
        if not targets:
            continue
        holders = dict(base["holders"]) or ({base["import_on"]: base["import_pool"]} if base["import_on"] else {})
        for digest in _chain(base, hosts):
            own = digest == base["sha256"]
            held = {host: pool for host in hosts if (pool := _pool_holding(hosts[host], digest)) is not None}
            sources = {**held, **(holders if own else {})}
            metadata = base["metadata"] if own else _metadata_of(digest, hosts)
            storage = {_storage(hosts, host, pool) for host, pool in sources.items()}
            sources |= {host: pool for host, pool in targets.items() if _storage(hosts, host, pool) in storage and host not in sources}
            lacking = {host: pool for host, pool in targets.items() if host not in sources}
            if not lacking:
                continue
            relay = relays.setdefault(
                digest or name,
                {
                    "base": base["title"] if own else f"{base['title']} (parent {digest[:12]})",
                    "sha256": digest,
                    "size_bytes": metadata["size_bytes"] if metadata else base["source_bytes"] if own else None,
                    "estimated": metadata is None,
                    "metadata": metadata,
                    "sources": {},
                    "targets": {},
                    "shared_pools": [],
                    "copies": {},
                },
            )
            relay["targets"].update(lacking)
            relay["shared_pools"] = _shared_pools(relay["targets"], hosts)
            relay["sources"] = candidates(sources, relay["targets"], hosts)
            relay["helpers"] = _helpers(t.cast("Relay", relay), hosts, relaying)
            relay["fixed"] = fixed_paths.links_of(relaying.paths)
            if own:
                relay["copies"] = _copies(digest, work, {**relay["sources"], **relay["targets"]})
    return list(relays.values())


def _helpers(relay: Relay, hosts: Observed, relaying: Relaying) -> dict[str, str]:
    """Permitted hosts that neither hold nor need the base, and the pool in which it would stay there."""
    usual = next(iter(relay["targets"].values()))
    found = {}
    for host, facts in hosts.items():
        pools = list(facts.get("pools") or {})
        if host not in relay["sources"] and host not in relay["targets"] and facts.get("reachable") and pools and relaying.permits(host):
            found[host] = next((pool for pool in (usual, "default") if pool in pools), pools[0])
    return found


def _copies(digest: str | None, work: Mapping[str, Mapping[str, t.Any]], pools_of: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Whole copies of the base that each host makes for its machines, by pool, the base's own pool first.

    :param pools_of: where each host has the base, or will have it.
    """
    found: dict[str, dict[str, int]] = {}
    for host, pool in pools_of.items():
        for disk in (work.get(host) or {}).get("disks") or []:
            if not disk["differencing"] and (disk["base"] == digest or digest is None) and disk["base"]:
                pools = found.setdefault(host, {pool: 0})
                pools[disk["pool"]] = pools.get(disk["pool"], 0) + 1
    return found


# Up to so many hosts every pair of which is measured. More holders than this are not asked to take part.
MOST_HOLDERS = 64


def candidates(holders: Mapping[str, str], targets: t.Container[str], hosts: Observed) -> dict[str, str]:
    """The holders that take part until their links are known: which of them serve is for the plan to say.

    All of them, up to ``MOST_HOLDERS``; of more, first those that are known to reach a target fastest (``measured.links``
    of the host), then evenly along the inventory, so that no rack or site is left out because of its name.
    """
    if len(holders) <= MOST_HOLDERS:
        return dict(holders)
    known = {host: rate for host in holders if (rate := _known_mbps(hosts.get(host) or {}, targets)) > 0}
    chosen = sorted(known, key=lambda host: -known[host])[: MOST_HOLDERS // 2]
    rest = [host for host in holders if host not in chosen]
    room = MOST_HOLDERS - len(chosen)
    kept = {*chosen, *(rest[k * len(rest) // room] for k in range(room))}
    return {host: pool for host, pool in holders.items() if host in kept}


def _known_mbps(facts: Mapping[str, t.Any], targets: t.Container[str]) -> float:
    """The best rate at which this host is known to have reached one of the targets, in 10^6 bit/s; 0: none is known."""
    links = (facts.get("measured") or {}).get("links") or []
    return max((float(link.get("mbps") or 0) for link in links if link.get("to") in targets), default=0.0)


def _chain(base: Mapping[str, t.Any], hosts: Observed) -> list[t.Any]:
    """Digests of a base chain, root first; the base itself last."""
    for facts in hosts.values():
        for content in (facts.get("pools") or {}).values():
            for held in content.get("bases") or []:
                if held["sha256"] == base["sha256"] and held.get("chain"):
                    return list(held["chain"])
    return [base["sha256"]]


def _storage(hosts: Observed, host: str, pool: str) -> str:
    return storage_of(host, pool, ((hosts.get(host) or {}).get("pools") or {}).get(pool) or {})


def _shared_pools(targets: Mapping[str, str], hosts: Observed) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for host, pool in targets.items():
        groups.setdefault(_storage(hosts, host, pool), []).append(host)
    return [group for group in groups.values() if len(group) > 1]


def _pool_holding(facts: Mapping[str, t.Any], digest: str | None) -> str | None:
    for pool, content in (facts.get("pools") or {}).items():
        if facts.get("reachable") and digest and any(held["sha256"] == digest for held in content.get("bases") or []):
            return pool
    return None


def _metadata_of(digest: str, hosts: Observed) -> dict[str, t.Any] | None:
    for facts in hosts.values():
        for content in (facts.get("pools") or {}).values():
            for held in content.get("bases") or []:
                if held["sha256"] == digest:
                    return base_metadata(held)
    return None


# What the record of a base says of its bytes, and what a message calls it. Which of two is right only the bytes can tell.
_OF_BYTES = {
    "chunks_sha256": "chunk lists",
    "size_bytes": "sizes",
    "virtual_size_bytes": "virtual sizes",
    "image_format": "image formats",
    "parent": "parents",
    "chunk_bytes": "chunk sizes",
}


def record_conflicts(bases: Iterable[Mapping[str, t.Any]], hosts: Observed) -> list[str]:
    """Sentences on holders whose records of the same bytes differ, as at most one of them can be right."""
    found = []
    for base in bases:
        for digest in _chain(base, hosts):
            holders = [
                (f"{host} (pool {pool})", held)
                for host, facts in hosts.items()
                for pool, content in (facts.get("pools") or {}).items()
                for held in content.get("bases") or []
                if digest and held["sha256"] == digest
            ]
            for key, what in _OF_BYTES.items():
                told: dict[str, list[str]] = {}
                for place, held in holders:
                    if key in held and (key == "parent" or held[key]):
                        told.setdefault(str(held[key] if held[key] is not None else "none"), []).append(place)
                if len(told) > 1:
                    places = " and ".join(f"{value} on {', '.join(where)}" for value, where in sorted(told.items()))
                    found.append(
                        f"{base['place']}: the holders of {digest} have different {what}: {places}; compare their base disks "
                        "with their digests (playbook basecast.fleet.verify), and remove the wrong ones"
                    )
    return found
