# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which bases of a host nothing needs, with what keeps the others; and the end of those that a policy has chosen.

What keeps a base is looked at twice: for the plan, and again under the store's lock right before it is deleted. Whatever
cannot be known keeps everything.
"""

from __future__ import annotations

import os
import time
import typing as t

from .._disk import disk_records, file_io, file_trees, filesystem, holds, in_use, last_use, layout, needs, staging, uploads
from .._disk.errors import DiskBusy, StoreBusy
from .._disk.listing import listing_problem
from .._disk.needs import Needs
from .._disk.references import Reference
from .._disk.store import Store
from .._errors import FleetError
from .._machine.domain_disks import DomainDisk, domain_disks
from .._machine.records import ServiceRecords, tenants_of
from .._names import is_name, is_sha256
from .._relay.errors import ControlFailed, RelayError
from .._relay.node.run_directory import RunDirectory

FORMAT = 1
_EXPORTS = "/var/lib/nfs/etab"
_MOST_NAMED = 3
#: What is left of a base that is not there: its names and references.
REFERENCE = "reference"

DomainDisks = t.Callable[[str], t.Tuple[t.List[DomainDisk], t.List[str]]]
Reasons = t.Dict[str, t.List[str]]


class Request(t.NamedTuple):
    """
    :param bases: digests to remove, by pool; None to only look.
    :param used_at: when bases were last of use as far as the plan knew; one that was since then is kept.
    :param left: partials and what was left of uploads to remove, by pool: digests and paths.
    :param left_age_s: how long nothing may have changed in those.
    """

    pools: t.Mapping[str, str]
    uri: str
    state_dir: str
    runtime_dir: str
    bases: t.Mapping[str, t.Sequence[str]]
    left: t.Mapping[str, t.Sequence[str]]
    left_age_s: float
    check: bool = False
    used_at: t.Mapping[str, float] = {}


class Prune:
    """
    :param stores: all pools of the host by name.
    :param disks_of_domains: asks libvirt.
    """

    def __init__(self, request: Request, stores: t.Mapping[str, Store], disks_of_domains: DomainDisks = domain_disks) -> None:
        self._request = request
        self._stores = stores
        self._disks_of_domains = disks_of_domains

    # -- looking

    def look(self) -> dict[str, t.Any]:
        """Every base with what keeps it, and what is left of transfers and uploads."""
        kept = Kept(self._request, self._stores, self._disks_of_domains)
        return {
            "format": FORMAT,
            "unknown": kept.unknown,
            "pools": {name: self._pool(name, store, kept) for name, store in self._stores.items()},
        }

    def _pool(self, name: str, store: Store, kept: Kept) -> dict[str, t.Any]:
        problem = listing_problem(store)
        if problem or not os.path.isdir(store.pool_path):
            return {"path": store.pool_path, "known": False, "error": problem or f"{store.pool_path} does not exist"}
        about = filesystem.describe(store.pool_path)
        space = os.statvfs(store.pool_path)
        return {
            "path": store.pool_path,
            "known": True,
            "error": None,
            "identity": about.identity,
            "shared": about.shared or _is_exported(store.pool_path),
            "free_bytes": space.f_bavail * space.f_frsize,
            "total_bytes": space.f_blocks * space.f_frsize,
            "bases": [self._base(name, store, sha256, kept) for sha256 in store.ids()],
            "left": self._left(store, kept),
        }

    def _base(self, name: str, store: Store, sha256: str, kept: Kept) -> dict[str, t.Any]:
        base, used_at = store.find(sha256), last_use.at(store.directory, sha256)
        named = [one for one in store.references(sha256) if one.kind == "name"]
        return {
            "sha256": sha256,
            "names": [{"tenant": one.tenant, "name": one.name, "version": one.version} for one in named],
            "bytes": file_trees.tree_about(store.base_directory(sha256))["bytes"],
            "unused_s": round(max(0.0, time.time() - used_at), 1),
            "used_at": used_at,
            "usable": base is not None,
            "children": kept.children(name, sha256),
            "kept": kept.reasons(name, sha256),
        }

    def _left(self, store: Store, kept: Kept) -> list[dict[str, t.Any]]:
        found = []
        for partial in store.partials():
            about = file_trees.tree_about(store.partial_directory(partial["sha256"]))
            busy = "a run is fetching it" if partial["in_use"] else kept.run_of(store.pool, partial["sha256"])
            found.append({**_place(about), "kind": "partial", "sha256": partial["sha256"], "kept": [busy] if busy else []})
        for about in [*uploads.places(store), *staging.places(store)]:
            kind = "upload" if os.path.dirname(about["path"]).endswith(".incoming") else "import"
            found.append({**_place(about), "kind": kind, "sha256": None, "kept": _open_files(about["path"])})
        for sha256 in store.referred_ids():
            if not any(os.path.lexists(path) for path in (store.base_directory(sha256), store.partial_directory(sha256))):
                about = file_trees.tree_about(store.references_directory(sha256))
                title = ", ".join(f"{one.name} {one.version}" for one in store.references(sha256) if one.kind == "name")
                kept_by = kept.reasons_of_missing(store.pool, sha256)
                found.append({**_place(about), "kind": REFERENCE, "sha256": None, "title": title or sha256[:12], "kept": kept_by})
        return found

    # -- removing

    def perform(self) -> dict[str, t.Any]:
        """Remove what the request names, unless something has come to need it meanwhile."""
        results: list[dict[str, t.Any]] = []
        for name, store in self._stores.items():
            wanted = self._request.bases.get(name) or ()
            if wanted:
                results += self._remove_bases(name, store, wanted)
            for what in self._request.left.get(name) or ():
                results.append(self._remove_left(name, store, what))
        if not self._request.check:
            self._note_use()
        return {"format": FORMAT, "results": results, "changed": any(one["state"] == "removed" for one in results)}

    def _remove_bases(self, name: str, store: Store, wanted: t.Sequence[str]) -> list[dict[str, t.Any]]:
        there = [sha256 for sha256 in wanted if sha256 in store.ids()]
        gone = [_result(name, sha256, "absent") for sha256 in wanted if sha256 not in there]
        if not there:
            return gone
        if self._request.check:
            return [*gone, *self._decide(name, store, there, None)]
        with store.changing() as held:
            return [*gone, *self._decide(name, store, there, held.check)]

    def _decide(self, name: str, store: Store, there: t.Sequence[str], check: t.Callable[[], None] | None) -> list[dict[str, t.Any]]:
        """Children before their parents, which they keep for as long as they are there."""
        kept = Kept(self._request, self._stores, self._disks_of_domains)
        results: list[dict[str, t.Any]] = []
        gone: set[str] = set()
        left = list(there)
        while left:
            ready = [one for one in left if not set(kept.children(name, one)) & (set(left) - {one})] or left
            for sha256 in ready:
                left.remove(sha256)
                reasons = [*kept.all_reasons(name, sha256, gone), *self._used_since(store, sha256)]
                size = file_trees.tree_about(store.base_directory(sha256))["bytes"]
                if reasons:
                    results.append(_result(name, sha256, "kept", "; ".join(reasons), size))
                    continue
                if check is not None:
                    check()
                    store.remove(sha256)
                gone.add(sha256)
                results.append(_result(name, sha256, "removed", "", size))
        if check is not None:
            store.sweep()
        return results

    def _used_since(self, store: Store, sha256: str) -> list[str]:
        """A disk in a pool that only another host sees, made since the plan, has left its stamp in the store."""
        planned = self._request.used_at.get(sha256)
        if planned is None or last_use.at(store.directory, sha256) <= planned:
            return []
        return ["it was of use after the plan was made"]

    def _remove_left(self, name: str, store: Store, what: str) -> dict[str, t.Any]:
        # References are written, and bases appear, under this lock or in the course of a run, which is young then.
        is_reference = os.path.dirname(what) == os.path.join(store.directory, ".refs")
        if is_reference and not self._request.check:
            with store.changing():
                return self._decide_left(name, store, what, True)
        return self._decide_left(name, store, what, is_reference)

    def _decide_left(self, name: str, store: Store, what: str, domains: bool) -> dict[str, t.Any]:
        kept = Kept(self._request, self._stores, self._disks_of_domains, domains)
        for one in self._left(store, kept):
            if what not in (one["sha256"], one["path"]):
                continue
            if one["kept"]:
                return _result(name, what, "kept", "; ".join(one["kept"]), one["bytes"])
            if one["age_s"] < self._request.left_age_s:
                return _result(name, what, "kept", f"something in it was changed {one['age_s']:.0f} s ago", one["bytes"])
            if not self._request.check:
                problem = _discard(store, one)
                if problem:
                    return _result(name, what, "kept", problem, one["bytes"])
            return _result(name, what, "removed", "", one["bytes"])
        return _result(name, what, "absent")

    def _note_use(self) -> None:
        """Bases that are needed now count as used now: a disk may go later in a way that leaves no trace."""
        kept = Kept(self._request, self._stores, self._disks_of_domains)
        for name, store in self._stores.items():
            last_use.note(store.directory, [sha256 for sha256 in store.ids() if kept.reasons(name, sha256)])


def _result(pool: str, what: str, state: str, reason: str = "", size: int = 0) -> dict[str, t.Any]:
    return {"pool": pool, "what": what, "state": state, "reason": reason, "bytes": size}


def _place(about: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"path": about["path"], "bytes": about["bytes"], "age_s": round(max(0.0, time.time() - about["changed_at"]), 1)}


def _discard(store: Store, one: t.Mapping[str, t.Any]) -> str:
    """Why it is still there, empty if it has gone."""
    try:
        if one["kind"] == "partial":
            store.partial(one["sha256"]).discard()
        elif one["kind"] in ("upload", REFERENCE):
            file_trees.remove_tree_or_file(one["path"])
        else:
            staging.sweep(store)
    except StoreBusy:
        return "a run is at work on it"
    return ""


def _open_files(path: str) -> list[str]:
    """Who has a file below the path open: an upload of which nothing has come for a while may still be under way."""
    if not os.path.isdir(path):
        return []
    for entry in os.scandir(path):
        if not entry.is_file(follow_symlinks=False):
            continue
        try:
            in_use.refuse(entry.path, "removed")
        except DiskBusy as error:
            return [error.message]
    return []


def _is_exported(path: str) -> bool:
    """Whether the host serves the pool to others over NFS: they have it under other names."""
    try:
        with open(_EXPORTS, encoding="utf-8", errors="replace") as file:
            exported = [os.path.realpath(line.split()[0].encode().decode("unicode_escape")) for line in file if line.strip()]
    except OSError:
        return False
    here = os.path.realpath(path) + "/"
    return any(here.startswith(one.rstrip("/") + "/") or one.startswith(here) for one in exported)


class Kept:
    """What keeps bases on this host at this moment. ``unknown``: why that may not be all; it keeps everything.

    :param domains: whether disks are looked at.
    """

    def __init__(
        self, request: Request, stores: t.Mapping[str, Store], disks_of_domains: DomainDisks = domain_disks, domains: bool = True
    ) -> None:
        self.unknown: list[str] = []
        self._request = request
        self._stores = stores
        self._needs = Needs()
        self._children: dict[tuple[str, str], list[str]] = {}
        self._runs: dict[tuple[str, str], str] = {}
        self._records: Reasons = {}
        if domains:
            self._look_at_disks(disks_of_domains)
            self._look_at_children()
            self._look_at_records()
        self._look_at_holds()
        self._look_at_nodes()
        self.unknown += list(dict.fromkeys(self._needs.unknown))

    def children(self, pool: str, sha256: str) -> list[str]:
        return self._children.get((pool, sha256), [])

    def run_of(self, pool: str, sha256: str) -> str:
        return self._runs.get((pool, sha256)) or self._runs.get((pool, "")) or ""

    def reasons(self, pool: str, sha256: str, references: bool = True) -> list[str]:
        """What keeps the base whatever the policy; its children and what is not known apart.

        :param references: whether tenants' references count.
        """
        store = self._stores[pool]
        found = []
        users_of = self._needs.of(os.path.join(store.base_directory(sha256), "disk"), sha256)
        if users_of:
            found.append(f"needed by {_named(users_of)}")
        found += [f"needed by the service {service}" for service in self._records.get(sha256, ())]
        held = disk_records.in_force(store, sha256)
        recorded = [disk_records.title(one) for one in held if one.kind == "disk"]
        found += [f"needed by {disk}" for disk in recorded if disk not in users_of]
        found += [f"the pin {one.name} keeps it" for one in held if one.kind == "pin"]
        if references:
            found += _kept_by_tenants(held)
        run = self.run_of(pool, sha256)
        return found + ([run] if run else [])

    def reasons_of_missing(self, pool: str, sha256: str) -> list[str]:
        """What keeps the references of a base that is not there: those that may bring it again, or need it."""
        found = self.reasons(pool, sha256, references=False)
        found += [f"the base disk {child} is based on it" for child in self.children(pool, sha256)]
        return found + [f"not everything is known: {one}" for one in self.unknown[:1]]

    def all_reasons(self, pool: str, sha256: str, gone: t.Collection[str]) -> list[str]:
        """Right before it is deleted."""
        found = self.reasons(pool, sha256)
        found += [f"the base disk {child} is based on it" for child in self.children(pool, sha256) if child not in gone]
        found += [f"not everything is known: {one}" for one in self.unknown[:1]]
        try:
            in_use.refuse_entry(self._stores[pool].base_directory(sha256), "removed")
        except DiskBusy as error:
            found.append(error.message)
        except OSError as error:
            found.append(f"whether it is in use cannot be known: {error.strerror}")
        return found

    def _look_at_disks(self, disks_of_domains: DomainDisks) -> None:
        disks, unknown = disks_of_domains(self._request.uri)
        self.unknown += unknown
        for disk in disks:
            self._needs.add(disk.path, f"the domain {disk.domain}", disk.image_format)
        for store in self._stores.values():
            problem = listing_problem(store)
            if problem:
                self.unknown.append(problem)
            elif not os.path.isdir(store.pool_path):
                self.unknown.append(f"the pool {store.pool} is not there: {store.pool_path} is not a directory; create or mount it")
            else:
                self._needs.add_pool(store, self._stores.values())

    def _look_at_children(self) -> None:
        """By their records and by their headers: what a damaged base was based on is still part of it."""
        for pool, store in self._stores.items():
            for sha256 in store.ids():
                directory = store.base_directory(sha256)
                parents: set[str] = set()
                try:
                    told = file_io.read_value(os.path.join(directory, "base.json")).get("parent")
                    parents.update([told.raw] if told is not None and is_sha256(told.raw) else [])
                except (OSError, FleetError):
                    pass  # its header says it too
                try:
                    below = [layout.base_of(path) for path in needs.parents_of(os.path.join(directory, "disk"))]
                    parents.update(one for one in below if one is not None)
                except needs.Unknown as error:
                    self.unknown.append(str(error))
                for parent in parents:
                    self._children.setdefault((pool, parent), []).append(sha256)

    def _look_at_records(self) -> None:
        try:
            for tenant in tenants_of(self._request.state_dir):
                records, unreadable = ServiceRecords(self._request.state_dir, tenant).read_all()
                self.unknown += unreadable.values()
                for service, record in records.items():
                    for sha256 in _bases_of(record):
                        self._records.setdefault(sha256, []).append(f"{service} (tenant {tenant})")
        except (FleetError, OSError) as error:
            self.unknown.append(str(error))

    def _look_at_holds(self) -> None:
        for pool, store in self._stores.items():
            try:
                for hold in holds.standing(store, sweep=not self._request.check):
                    for sha256 in hold.bases:
                        self._runs[pool, sha256] = f"the run {hold.run} is about to use it"
            except (FleetError, OSError) as error:
                self.unknown.append(f"what runs are about to use in pool {pool} cannot be known: {error}")

    def _look_at_nodes(self) -> None:
        """A relay node that is alive may be asked for any of its bases."""
        try:
            runs = [name for name in os.listdir(self._request.runtime_dir) if is_name(name)]
        except FileNotFoundError:
            return
        except OSError as error:
            self.unknown.append(f"relay nodes cannot be listed: {error}")
            return
        for run in runs:
            runtime = RunDirectory(self._request.runtime_dir, run)
            if runtime.process() is None:
                continue
            why = f"the relay of the run {run} is at work"
            try:
                told = runtime.ask("progress", timeout=10.0)
                bases = list(told["bases"]) if told.get("started") else [""]
            except (ControlFailed, RelayError, OSError, KeyError, TypeError):
                bases = [""]  # it has only begun, or is about to end: any base may be its own
            for pool in self._stores:
                for sha256 in bases:
                    self._runs.setdefault((pool, sha256), why)


def _kept_by_tenants(held: t.Sequence[Reference]) -> list[str]:
    """A tenant's name for a base is a label, which the policy judges; a reference without a name was made to keep it."""
    named = {one.tenant for one in held if one.kind == "name"}
    return [f"the tenant {one.tenant} has a reference to it" for one in held if one.kind == "tenant" and one.tenant not in named]


def _bases_of(record: t.Any) -> t.Iterator[str]:
    manifest = record.get("manifest") if isinstance(record, dict) else None
    for base in (manifest.get("bases") if isinstance(manifest, dict) else None) or ():
        if isinstance(base, dict) and is_sha256(base.get("sha256")):
            yield base["sha256"]


def _named(names: t.Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
