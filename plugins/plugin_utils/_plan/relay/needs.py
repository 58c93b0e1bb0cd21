# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What has to cross the network: from a deployment's needs to one relay for each base disk."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ..placement import Observed

_METADATA = (
    "format", "sha256", "source_sha256", "size_bytes", "virtual_size_bytes", "image_format", "parent", "chunk_bytes",
    "chunks_sha256", "imported_at", "imported_from", "signatures",
)  # fmt: skip


def base_metadata(base: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """base.json's own part of what base_disk_info tells: this travels with the base, unchanged."""
    return {key: base[key] for key in _METADATA if key in base}


def relays_of(
    bases: Mapping[str, Mapping[str, t.Any]], work: Mapping[str, Mapping[str, t.Any]], hosts: Observed
) -> list[dict[str, t.Any]]:
    """What has to cross the network: per base disk its sources and targets, ``{host: pool}`` each; parents come first.

    A base that is still to be imported has no ``sha256``, is ``estimated``, and its ``size_bytes`` are those of the source or
    None: a conversion changes them. ``shared_pools``: lists of targets whose pool is the same storage; a host that shares
    it with a source is one too.
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
            storage = {_storage(hosts, host, pool) for host, pool in sources.items()} - {None}
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
                },
            )
            relay["targets"].update(lacking)
            relay["shared_pools"] = _shared_pools(relay["targets"], hosts)
            # More sources than targets cannot help; with many holders only some are bothered.
            relay["sources"] = dict(list(sources.items())[: len(relay["targets"]) + 2])
    return list(relays.values())


def _chain(base: Mapping[str, t.Any], hosts: Observed) -> list[t.Any]:
    """Digests of a base chain, root first; the base itself last."""
    for facts in hosts.values():
        for content in (facts.get("pools") or {}).values():
            for held in content.get("bases") or []:
                if held["sha256"] == base["sha256"] and held.get("chain"):
                    return list(held["chain"])
    return [base["sha256"]]


def _storage(hosts: Observed, host: str, pool: str) -> str | None:
    """What the pools of two hosts have in common if they are the same storage."""
    content = ((hosts.get(host) or {}).get("pools") or {}).get(pool) or {}
    return (content.get("filesystem") or {}).get("identity")


def _shared_pools(targets: Mapping[str, str], hosts: Observed) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for host, pool in targets.items():
        storage = _storage(hosts, host, pool)
        if storage is not None:
            groups.setdefault(storage, []).append(host)
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


def chunk_list_conflicts(bases: Iterable[Mapping[str, t.Any]], hosts: Observed) -> list[str]:
    """Sentences on holders that have different chunk lists for the same bytes, as at most one of them can be right."""
    found = []
    for base in bases:
        for digest in _chain(base, hosts):
            lists: dict[str, list[str]] = {}
            for host, facts in hosts.items():
                for pool, content in (facts.get("pools") or {}).items():
                    for held in content.get("bases") or []:
                        if digest and held["sha256"] == digest and held.get("chunks_sha256"):
                            lists.setdefault(held["chunks_sha256"], []).append(f"{host} (pool {pool})")
            if len(lists) > 1:
                places = " and ".join(f"{chunks} on {', '.join(where)}" for chunks, where in sorted(lists.items()))
                found.append(
                    f"{base['place']}: the holders of {digest} have different chunk lists: {places}; compare their base disks "
                    "with their digests (playbook basecast.fleet.verify), and remove the wrong ones"
                )
    return found
