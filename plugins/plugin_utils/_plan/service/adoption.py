# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Files that hosts have already: what is looked for, and which hosts then need not fetch a base.

A host that will adopt a file is planned as a holder: nothing is relayed to it, and it may serve others. Adoption comes before
the relay is planned, so a file that has changed meanwhile only makes its host fetch the base after all.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._disk.image_header import extension_format
from ....module_utils._untrusted import Malformed
from ..placement import Observed
from ..relay.needs import base_metadata
from .observation import check_candidates

Candidates = Mapping[str, Sequence[Mapping[str, t.Any]]]


def wanted_files(bases: Mapping[str, Mapping[str, t.Any]], relays: Sequence[Mapping[str, t.Any]]) -> dict[str, list[dict[str, t.Any]]]:
    """What each host is to look for, as base_disk_source_info takes it: what it would fetch, or import from elsewhere.

    Without a digest nothing can be adopted, and what has a parent never lies about as a file of its own.
    """
    found: dict[str, dict[str, dict[str, t.Any]]] = {}
    for relay in relays:
        metadata = relay["metadata"]
        if metadata and not metadata["parent"]:
            item = {"sha256": relay["sha256"], "size_bytes": relay["size_bytes"], "format": metadata["image_format"]}
            for host in relay["targets"]:
                found.setdefault(host, {})[item["sha256"]] = item
    for base in bases.values():
        source = base["source"]
        if not base["import_on"] or not base["wanted_sha256"] or not base["source_bytes"]:
            continue
        name = source["path"] or source["url"] or ""
        item = {
            "sha256": base["wanted_sha256"],
            "size_bytes": base["source_bytes"],
            "format": source["format"] or extension_format(name.partition("?")[0]),
        }
        for host in base["needed_on"]:
            # A host that imports its own file looks for it only where others may make the import needless.
            if host != base["import_on"] or source["kind"] != "host" or len(base["needed_on"]) > 1:
                found.setdefault(host, {})[item["sha256"]] = item
    return {host: list(items.values()) for host, items in found.items()}


def sound(candidates: Candidates) -> tuple[Candidates, list[str]]:
    """What can be planned with, and a note on each host that tells nonsense: it fetches what it lacks."""
    found: dict[str, Sequence[Mapping[str, t.Any]]] = {}
    notes: list[str] = []
    for host, files in candidates.items():
        try:
            check_candidates(files, host)
            found[host] = files
        except Malformed as error:
            notes.append(error.message)
    return found, notes


def adoptions(
    bases: Mapping[str, Mapping[str, t.Any]],
    work: Mapping[str, Mapping[str, t.Any]],
    relays: Sequence[Mapping[str, t.Any]],
    candidates: Candidates,
    tenant: str,
) -> dict[str, list[dict[str, t.Any]]]:
    """What each host adopts: ``{host: [{"sha256", "pool", "path", "format", "title", "base", "metadata", "entry"}]}``.

    ``entry`` is what base_disk_info would tell of it, as far as that is known before.
    """
    wanted = wanted_files(bases, relays)
    found: dict[str, list[dict[str, t.Any]]] = {}
    for host, files in candidates.items():
        formats = {item["sha256"]: item["format"] for item in wanted.get(host, [])}
        for file in files:
            sha256 = file["sha256"]
            relay = next((one for one in relays if one["sha256"] == sha256 and host in one["targets"]), None)
            mine = (one for one in bases.values() if host in one["needed_on"])
            base = next((one for one in mine if sha256 in (one["sha256"], one["wanted_sha256"])), None)
            if sha256 not in formats or not (relay or base):
                continue
            pool = relay["targets"][host] if relay else _pool(base, work[host])
            known = relay["metadata"] if relay else None
            names = [{"tenant": tenant, "name": base["name"], "version": base["version"]}] if base else []
            entry = {"sha256": sha256, "source_sha256": sha256, "size_bytes": file["size_bytes"], "parent": None, **(known or {})}
            found.setdefault(host, []).append(
                {
                    "sha256": sha256,
                    "pool": pool,
                    "path": file["path"],
                    "format": formats[sha256],
                    "title": base["title"] if base else (relay or {})["base"],
                    "base": {"name": base["name"], "version": base["version"]} if base else None,
                    "metadata": base_metadata(known) if known else None,
                    "entry": {**entry, "chain": [sha256], "names": names},
                }
            )
    for base in bases.values():
        adopters = [host for host, items in found.items() if any((item["base"] or {}).get("name") == base["name"] for item in items)]
        if base["source"]["kind"] == "host" and adopters == [base["import_on"]]:
            # Its own file: that is the import.
            found[adopters[0]] = [item for item in found[adopters[0]] if (item["base"] or {}).get("name") != base["name"]]
    return {host: items for host, items in found.items() if items}


def _pool(base: t.Any, work: Mapping[str, t.Any]) -> str:
    return next((str(fetch["pool"]) for fetch in work["fetch"] if fetch["base"] == base["name"]), "default")


def with_held(hosts: Observed, held: Mapping[str, Sequence[tuple[str, Mapping[str, t.Any]]]]) -> dict[str, Mapping[str, t.Any]]:
    """The hosts as they are once they hold further bases: ``{host: [(pool, base)]}``."""
    seen: dict[str, Mapping[str, t.Any]] = dict(hosts)
    for host, entries in held.items():
        facts = seen.get(host) or {}
        pools = dict(facts.get("pools") or {})
        for pool, base in entries:
            if facts.get("reachable") and pool in pools:
                others = [one for one in pools[pool].get("bases") or [] if one["sha256"] != base["sha256"]]
                pools[pool] = {**pools[pool], "bases": [*others, base]}
        seen[host] = {**facts, "pools": pools}
    return seen
