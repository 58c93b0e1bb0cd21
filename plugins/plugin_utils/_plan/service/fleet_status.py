# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The status of a fleet, from what each host has told: machines, bases, what has lost its owner, what cannot be known."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._names import NAME_RULE, is_name
from ....module_utils._untrusted import Malformed
from ..placement.numbering import Numbers, candidates, known_numbers
from ..placement.storage import likely_storage_of
from ..types import Manifest
from .drift import dns_drift, drift, machine_spec
from .networks import networks_of
from .observation import checked_status
from .report import one_line
from .scaled import remembered, with_counts
from .status_text import status_text

FORMAT = 1

Told = Mapping[str, t.Any]
Looks = Mapping[str, Told]
Entry = dict[str, t.Any]
Key = tuple[str, str, str]  # tenant, service, machine


class Options(t.TypedDict, total=False):
    """
    :param manifest: what one of the services is meant to be.
    :param groups: of the inventory.
    :param service: tell of this one alone.
    :param fail_on_drift: whether a service that is not as its manifest wants it is a failure.
    """

    manifest: Manifest | None
    groups: Mapping[str, Sequence[str]] | None
    service: str | None
    fail_on_drift: bool


def fleet_status(looks: Looks, **options: t.Unpack[Options]) -> Entry:
    """
    :param looks: ``{host: {"status": host_status_info's}}``, or ``{"msg": why it could not be asked}``; ``address`` besides.
    :returns: ``{"format", "ok", "hosts", "services", "machines", "bases", "orphans", "unknown": {host: why}, "failures", "text"}``.
    """
    seen, unknown = sorted_out(looks)
    manifest, service = options.get("manifest"), options.get("service")
    fleet = _Fleet(seen, unknown)
    machines = fleet.machines(looks)
    services = _services(fleet, machines)
    if manifest is not None:
        _compare(fleet, manifest, options.get("groups") or {}, machines, services)
    orphans = list(fleet.orphans())
    bases = fleet.bases()
    elsewhere: list[str] = []
    if service:
        elsewhere = [one["service"] for one in services if one["service"] != service]
        machines = [one for one in machines if one["service"] == service]
        services = [one for one in services if one["service"] == service]
        orphans = [one for one in orphans if one["service"] == service]
    failures = [*_mistakes(service)] + [f"{host} cannot be known: {why}" for host, why in unknown.items()]
    if options.get("fail_on_drift"):
        failures += [f"{one['service']} is not as its manifest wants it." for one in services if one["differs"]]
    status = {
        "format": FORMAT,
        "ok": not failures,
        "hosts": fleet.hosts(machines),
        "services": services,
        "machines": machines,
        "bases": bases,
        "orphans": orphans,
        "unknown": unknown,
        "failures": failures,
    }
    return {**status, "text": status_text(status, service, elsewhere)}


def _mistakes(service: object) -> Iterator[str]:
    if service and not (isinstance(service, str) and is_name(service)):
        yield f"service: invalid value {service!r}; expected a name, which has {NAME_RULE}"


def sorted_out(looks: Looks) -> tuple[dict[str, Told], dict[str, str]]:
    """What hosts have told, and why that is not all, or nothing. A host may be in both."""
    seen: dict[str, Told] = {}
    unknown: dict[str, str] = {}
    for host, look in looks.items():
        if not look.get("status"):
            unknown[host] = ("cannot be reached: " if look.get("unreachable") else "") + one_line(look.get("msg"))
            continue
        try:
            seen[host] = checked_status(look["status"], host)
        except Malformed as error:
            unknown[host] = error.message
            continue
        if not seen[host]["known"]:
            unknown[host] = one_line(seen[host].get("reason"))
    return seen, unknown


def _key(one: Told) -> Key:
    return (str(one.get("tenant")), str(one.get("service")), str(one.get("machine")))


class _Fleet:
    """What all hosts have told together.

    :param seen: what each host has told that could be asked.
    :param unknown: why a host has not told all.
    """

    def __init__(self, seen: Looks, unknown: Mapping[str, str]) -> None:
        self.seen = seen
        self.unknown = unknown
        self._records = self._newest_records()
        self._known_bases = self._join_bases()
        self._disks = {(host, disk["path"]): {**disk, "pool": name} for host, name, pool in self._pools() for disk in pool["disks"]}
        self._living = {_key(machine) for told in seen.values() for machine in told["machines"]}
        self._sites: dict[str, set[str]] = {}
        for host, name, pool in self._pools():
            self._sites.setdefault(likely_storage_of(host, name, pool), set()).add(host)

    def _pools(self) -> Iterator[tuple[str, str, Told]]:
        """Host, name and contents of each pool that is known."""
        for host, told in self.seen.items():
            for name, pool in told["pools"].items():
                if pool.get("known"):
                    yield host, name, pool

    def _stores(self) -> Iterator[tuple[str, str, Told]]:
        """Each storage once, though several hosts may see it."""
        told: set[str] = set()
        for host, name, pool in self._pools():
            storage = likely_storage_of(host, name, pool)
            if storage not in told:
                told.add(storage)
                yield host, name, pool

    def _newest_records(self) -> dict[tuple[str, str], Told]:
        newest: dict[tuple[str, str], Told] = {}
        for told in self.seen.values():
            for record in told["services"]:
                key = (record["tenant"], record["service"])
                if not record.get("problem") and (record.get("generation") or 0) >= (newest.get(key, {}).get("generation") or 0):
                    newest[key] = record
        return newest

    def record(self, tenant: str, service: str) -> Told:
        return self._records.get((tenant, service), {})

    # -- machines

    def machines(self, looks: Looks) -> list[Entry]:
        """Those that exist, and those that were recorded for a host that cannot be known."""
        found = [self._machine(host, looks[host], machine) for host, told in self.seen.items() for machine in told["machines"]]
        for (tenant, service), record in self._records.items():
            for name, entry in (record.get("assignments") or {}).items():
                host = entry.get("host")
                if (tenant, service, name) not in self._living and host in self.unknown:
                    found.append(_unseen(tenant, service, name, entry, self.unknown[host]))
        return sorted(found, key=lambda one: (one["tenant"], one["service"], one["role"], one["number"] or 0, one["machine"], one["host"]))

    def _machine(self, host: str, look: Told, told: Told) -> Entry:
        addresses = told.get("addresses") or []
        disks = [self._disk(host, path) for path in told["disks"]]
        return {
            "tenant": told["tenant"],
            "service": told["service"],
            "machine": told["machine"],
            "role": told.get("group") or "",
            "number": told.get("number"),
            "host": host,
            "host_address": look.get("address") or host,
            "domain": told.get("domain"),
            "known": True,
            "state": told.get("state") or ("running" if told["running"] else "off"),
            "running": told["running"],
            "address": addresses[0]["address"] if addresses else None,
            "addresses": [{key: one.get(key) or "" for key in ("address", "mac", "source")} for one in addresses],
            "macs": list(told.get("macs") or []),
            "cpus": told.get("cpus"),
            "memory_mib": told.get("memory_mib"),
            "disks": disks,
            "bases": list(dict.fromkeys(disk["chain"][-1]["title"] for disk in disks if disk["chain"])),
            "reported": (told.get("report") or {}).get("status"),
            "spec": dict(told.get("spec") or {}),
            "dns_missing": list(told.get("dns_missing") or []),
            "flattening": told.get("flattening"),
            "drift": [],
            "surplus": False,
            "problem": told.get("problem"),
        }

    def _disk(self, host: str, path: str) -> Entry:
        found = self._disks.get((host, path))
        if found is None:
            return {"name": path.rpartition("/")[2], "path": path, "pool": None, "bytes": None, "virtual_bytes": None, "chain": []}
        chain: list[Entry] = [{"sha256": one, "title": self._title(one)} for one in self._chain(found.get("base"))]
        if found.get("parent"):
            chain = [{"sha256": None, "title": found["parent"]}]
        return {**{key: found.get(key) for key in ("name", "path", "pool", "bytes", "virtual_bytes")}, "chain": chain}

    # -- bases

    def _join_bases(self) -> dict[str, Entry]:
        joined: dict[str, Entry] = {}
        for host, name, pool in self._pools():
            for base in pool["bases"]:
                sha256 = base["sha256"]
                one = joined.setdefault(
                    sha256,
                    {
                        "sha256": sha256,
                        "names": [],
                        "size_bytes": base["size_bytes"],
                        "chain": list(base.get("chain") or [sha256]),
                        "hosts": {},
                        "disks": 0,
                        "services": [],
                        "pins": [],
                        "referred": False,
                    },
                )
                one["hosts"].setdefault(host, []).append(name)
                one["names"] = sorted({*one["names"], *(f"{told['name']} {told['version']}" for told in base.get("names") or [])})
                one["pins"] = sorted({*one["pins"], *(base.get("pins") or [])})
                one["referred"] = one["referred"] or bool(base.get("tenants"))
        return joined

    def bases(self) -> list[Entry]:
        """Each base once, with how many disks need it, directly or as a part of their chains."""
        for base in self._known_bases.values():
            base["disks"] = 0
        for disk in self._once():
            for sha256 in self._chain(disk.get("base")):
                if sha256 in self._known_bases:
                    self._known_bases[sha256]["disks"] += 1
        for (_tenant, service), record in self._records.items():
            for base in record.get("bases") or []:
                known = self._known_bases.get(base.get("sha256") or "")
                if known is not None and service not in known["services"]:
                    known["services"].append(service)
        return sorted(self._known_bases.values(), key=lambda one: (one["names"][:1] or ["~"], one["sha256"]))

    def _chain(self, sha256: str | None) -> list[str]:
        """Root first; a base that is not known, or not told of, stands for itself."""
        if not sha256:
            return []
        return list(self._known_bases[sha256]["chain"]) if sha256 in self._known_bases else [sha256]

    def _title(self, sha256: str) -> str:
        names = self._known_bases.get(sha256, {}).get("names") or []
        return names[0] if names else sha256[:12]

    def _once(self) -> Iterator[Told]:
        """Every disk once, though several hosts may see it."""
        told: set[tuple[str, str]] = set()
        for host, name, pool in self._pools():
            storage = likely_storage_of(host, name, pool)
            for disk in pool["disks"]:
                place = (storage, disk["path"].removeprefix(pool.get("path") or ""))
                if place not in told:
                    told.add(place)
                    yield {**disk, "host": host, "pool": name, "storage": storage}

    # -- what has lost its owner

    def orphans(self) -> Iterator[Entry]:
        yield from self._lost_disks()
        yield from self._lost_machines()
        yield from self._lost_records()
        yield from self._lost_references()
        for host, name, pool in self._stores():
            for partial in pool.get("partials") or []:
                if not partial.get("in_use"):
                    yield _orphan(
                        "partial", host, name, self._title(partial["sha256"]), partial.get("allocated_bytes") or 0, "no run is fetching it"
                    )
            for clone in pool.get("half_clones") or []:
                if _key(clone) in self._living:
                    continue
                why = f"a clone of {clone['of']} was interrupted; the same run finishes it, the next clone of {clone['of']} removes it"
                yield {**_orphan("clone", host, name, clone["path"], clone["bytes"], why, clone), "of": clone["of"]}
            for place in pool.get("unfinished") or []:
                yield _orphan("upload", host, name, place["path"], place["bytes"], "no run is at work on it")

    def _lost_disks(self) -> Iterator[Entry]:
        half = {(host, clone["path"]) for host, _name, pool in self._pools() for clone in pool.get("half_clones") or []}
        used = {(host, path) for host, told in self.seen.items() for machine in told["machines"] for path in machine["disks"]}
        for disk in self._once():
            if disk.get("machine") is None or _key(disk) in self._living or (disk["host"], disk["path"]) in used:
                continue
            if self._may_be_elsewhere(disk["storage"], disk["host"]) or (disk["host"], disk["path"].rpartition("/")[0]) in half:
                continue
            why = f"{disk['service']} has no machine {disk['machine']}"
            yield _orphan("disk", disk["host"], disk["pool"], disk["path"], disk["bytes"], why, disk)

    def _may_be_elsewhere(self, storage: str, host: str) -> bool:
        """Whether a host that cannot be known may have the machine of a disk: the disk's own, and for shared storage any."""
        shared = storage.startswith("net:") or len(self._sites[storage]) > 1
        return bool(self.unknown) if shared else host in self.unknown

    def _lost_machines(self) -> Iterator[Entry]:
        for host, told in self.seen.items():
            known = [pool["path"] + "/machines/" for pool in told["pools"].values() if pool.get("known") and pool.get("path")]
            for machine in told["machines"]:
                for path in machine["disks"]:
                    is_ours = path.endswith((".qcow2", ".raw")) and any(path.startswith(directory) for directory in known)
                    if is_ours and (host, path) not in self._disks:
                        why = f"the disk of {machine['machine']} is not there"
                        yield _orphan("machine", host, "", path, 0, why, machine)

    def _lost_records(self) -> Iterator[Entry]:
        for (tenant, service), record in self._records.items():
            for name, entry in (record.get("assignments") or {}).items():
                host = entry.get("host") or ""
                is_known = host in self.seen and host not in self.unknown
                if (tenant, service, name) not in self._living and is_known and not self._is_deployed(tenant, service, host):
                    whose = {"tenant": tenant, "service": service, "machine": name}
                    yield _orphan("record", host, "", name, 0, "it was recorded for this host, and is not there", whose)

    def _is_deployed(self, tenant: str, service: str, host: str) -> bool:
        """Whether a run works on the service there now: its machines may be on their way."""
        return any((job["tenant"], job["service"]) == (tenant, service) for job in self.seen[host].get("jobs") or [])

    def _lost_references(self) -> Iterator[Entry]:
        coming = {partial["sha256"] for _host, _name, pool in self._pools() for partial in pool.get("partials") or []}
        for host, name, pool in self._stores():
            for one in pool.get("references") or []:
                if one["sha256"] not in coming and not self.seen[host].get("jobs"):
                    title = ", ".join(one["names"]) or one["sha256"][:12]
                    yield _orphan("reference", host, name, title, 0, "the base is not there")
        if self.unknown:
            return  # who needs a base is not known
        parents = {parent for base in self._known_bases.values() for parent in base["chain"][:-1]}
        for base in self.bases():
            needed = base["disks"] or base["services"] or base["pins"] or base["sha256"] in parents
            if base["referred"] and not needed:
                why = "no disk and no service needs the base"
                yield _orphan("reference", ", ".join(base["hosts"]), "", self._title(base["sha256"]), base["size_bytes"], why)

    # -- hosts

    def hosts(self, machines: Sequence[Entry]) -> dict[str, Entry]:
        told: dict[str, Entry] = {}
        for host in [*self.seen, *(name for name in self.unknown if name not in self.seen)]:
            look = self.seen.get(host, {})
            mine = [one for one in machines if one["host"] == host and one["known"]]
            told[host] = {
                **(look.get("host") or {}),
                "known": host not in self.unknown,
                "machines": len(mine),
                "running": sum(one["running"] for one in mine),
                "others": look.get("others"),
                "jobs": list(look.get("jobs") or []),
                "pools": {
                    name: {key: pool.get(key) for key in ("path", "known", "free_bytes", "total_bytes")}
                    for name, pool in (look.get("pools") or {}).items()
                },
                "damaged": [{"pool": name, **one} for name, pool in (look.get("pools") or {}).items() for one in pool.get("damaged") or []],
            }
        return told


def _orphan(kind: str, host: str, pool: str, what: str, size: int, why: str, whose: Told | None = None) -> Entry:
    """
    :param whose: has the tenant, service and machine that it belonged to.
    """
    owner = {key: (whose or {}).get(key) for key in ("tenant", "service", "machine")}
    return {"kind": kind, "host": host, "pool": pool, "what": what, "bytes": size, "why": why, **owner}


def _unseen(tenant: str, service: str, name: str, entry: Told, why: str) -> Entry:
    """A machine of which only a record on other hosts tells."""
    return {
        "tenant": tenant,
        "service": service,
        "machine": name,
        "role": entry.get("group") or "",
        "number": entry.get("number"),
        "host": entry["host"],
        "host_address": entry["host"],
        "domain": f"{service}-{name}",
        "known": False,
        "state": "unknown",
        "running": False,
        "address": None,
        "addresses": [],
        "macs": [],
        "cpus": None,
        "memory_mib": None,
        "disks": [],
        "bases": [],
        "reported": None,
        "spec": {},
        "dns_missing": [],
        "flattening": None,
        "drift": [],
        "surplus": False,
        "problem": f"cannot be known: {why}",
    }


# --- services, and what they are meant to be -------------------------------------------------------


def _services(fleet: _Fleet, machines: Sequence[Entry]) -> list[Entry]:
    names = {(one["tenant"], one["service"]): None for one in machines}
    names.update({(record["tenant"], record["service"]): None for told in fleet.seen.values() for record in told["services"]})
    found = []
    for tenant, service in sorted(names):
        mine = [one for one in machines if (one["tenant"], one["service"]) == (tenant, service)]
        found.append(_told(tenant, service, mine, fleet.seen))
    return found


def _told(tenant: str, service: str, machines: Sequence[Entry], seen: Looks) -> Entry:
    jobs = [job for told in seen.values() for job in told.get("jobs") or []]
    return {
        "tenant": tenant,
        "service": service,
        "machines": len(machines),
        "running": sum(one["running"] for one in machines),
        "unknown": sum(not one["known"] for one in machines),
        "hosts": list(dict.fromkeys(one["host"] for one in machines)),
        "compared": False,
        "differs": False,
        "missing": {},
        "runs": sorted({job["run"] for job in jobs if (job["tenant"], job["service"]) == (tenant, service)}),
    }


def _compare(
    fleet: _Fleet, manifest: Manifest, groups: Mapping[str, Sequence[str]], machines: Sequence[Entry], services: list[Entry]
) -> None:
    """Notes in machines and services where they differ from the manifest, as a deployment would report it."""
    tenant, service = manifest["tenant"], manifest["service"]
    told = next((one for one in services if (one["tenant"], one["service"]) == (tenant, service)), None)
    if told is None:
        told = _told(tenant, service, [], {})
        services.append(told)
    mine = [one for one in machines if (one["tenant"], one["service"]) == (tenant, service)]
    roles = {group["name"]: group for group in manifest["machines"]}
    for machine in mine:
        group = roles.get(machine["role"])
        if machine["known"] and group is not None and not group.get("from_source"):  # what its template is, is not known here
            machine["drift"] = [*drift(machine["spec"], _spec(machine, group, manifest)), *dns_drift(machine)]
    hosts = _as_observed(fleet, tenant, service, mine)
    manifest = t.cast("Manifest", with_counts(manifest, hosts)[0])
    known = known_numbers(service, hosts)
    surplus: set[tuple[str, int]] = set()
    for group in manifest["machines"]:
        usable, _wrong = candidates(group, hosts, groups)
        numbers = Numbers.of(group, usable, known.pop(group["name"], {}), hosts)
        surplus.update((group["name"], number) for number in numbers.surplus)
        missing = _missing(group, usable, numbers, fleet)
        if missing:
            told["missing"][group["name"]] = missing
    surplus.update((role, number) for role, numbered in known.items() for number, (_host, exists) in numbered.items() if exists)
    for machine in mine:
        machine["surplus"] = machine["known"] and (machine["role"], machine["number"]) in surplus
    told["compared"] = True
    told["differs"] = bool(told["missing"]) or any(one["drift"] or one["surplus"] for one in mine)


def _spec(machine: Entry, group: Told, manifest: Manifest) -> Entry:
    """What it is meant to be; a disk whose pool the manifest leaves open is right where it is."""
    found = machine["spec"].get("disks")
    found = found if isinstance(found, Mapping) else {}

    def pool_of(name: str) -> t.Any:
        disk = found.get(name)
        return (disk.get("pool") if isinstance(disk, Mapping) else None) or "default"

    disks = [{**disk, "pool": disk["pool"] or pool_of(disk["name"])} for disk in group["disks"]]
    return machine_spec({**group, "disks": disks, "networks": networks_of(group, machine["machine"])}, manifest)


def _as_observed(fleet: _Fleet, tenant: str, service: str, machines: Sequence[Entry]) -> dict[str, Entry]:
    record = fleet.record(tenant, service)
    kept = {"service": service, "generation": record.get("generation") or 1, "assignments": record.get("assignments") or {}}
    told = [one for look in fleet.seen.values() for one in look["services"] if (one["tenant"], one["service"]) == (tenant, service)]
    kept["scaled"] = remembered(service, {str(at): {"record": one} for at, one in enumerate(told)}) or None
    hosts: dict[str, Entry] = {}
    for host in [*fleet.seen, *(name for name in fleet.unknown if name not in fleet.seen)]:
        hosts[host] = {
            "reachable": host in fleet.seen,
            "known": host not in fleet.unknown,
            "machines": [
                {"machine": one["machine"], "group": one["role"], "number": one["number"]}
                for one in machines
                if one["host"] == host and one["known"]
            ],
            "record": kept if record else None,
        }
    return hosts


def _missing(group: Told, usable: Sequence[str], numbers: Numbers, fleet: _Fleet) -> int:
    """How many machines the manifest asks for that are not there, those of hosts that cannot be known left out."""
    there = [host for number, host in numbers.kept.items() if numbers.exists(number)]
    if group["per_host"]:
        return sum(max(0, group["per_host"] - there.count(host)) for host in usable if host in fleet.seen and host not in fleet.unknown)
    unseen = sum(host in fleet.unknown for number, host in numbers.kept.items() if not numbers.exists(number))
    return max(0, (group["count"] or 0) - len(there) - unseen)
