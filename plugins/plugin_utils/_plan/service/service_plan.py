# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a deployment has to do: from a manifest and observed hosts to the work of each host.

Called twice by a deployment: before anything changes, and again when imports have told the digests of new bases.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ....module_utils._machine.user_data import unknown_keys
from ..placement import Observed, Settings, answers, disks_of, held_base, place_machines
from ..relay.fixed_paths import mistakes
from ..relay.needs import AS_USUAL, Relaying, base_metadata, record_conflicts, relays_of
from ..types import Manifest
from .adoption import Candidates, adoptions, wanted_files, with_held
from .claims import claims_of, with_rivals
from .drift import drift, machine_spec
from .identity import identity_problems, unreadable
from .preflight import clock_notes, host_problems, manifest_problems, overcommitted_pools
from .report import one_line
from .source_changes import difference, place_to_look, recorded

FORMAT = 1

# Stands for a digest that only the real run can tell (a URL or a file of the controller, in check mode).
UNKNOWN_DIGEST = "0" * 64


class Known(t.NamedTuple):
    """What is known beside the manifest and the hosts' capacity.

    :param imported: bases that this run has imported, by the manifest's name; each as base_disk_import returns it,
        with ``host`` and ``pool``.
    :param files: what ``stat`` says of the files that would be imported, or ``uri`` of those at URLs, by the base's name.
    :param candidates: what base_disk_source_info has found for ``wanted_files``, by host.
    :param adopted: bases that this run has adopted, by host; each as base_disk_import returns it.
    """

    imported: Mapping[str, Mapping[str, t.Any]] = {}
    files: Mapping[str, Mapping[str, t.Any]] = {}
    candidates: Candidates = {}
    adopted: Mapping[str, Sequence[Mapping[str, t.Any]]] = {}


class Options(t.TypedDict, total=False):
    """How to plan, and what is known: see ``Known``.

    :param memory_overcommit: how much of a host's memory its machines may be promised, where its facts do not say; 1.0 is all of it.
    :param fleet: all hosts that may have machines of the service, whether this run sees them or not; ``hosts`` by default.
    :param quotas: what each tenant may have altogether.
    :param skip_bad_hosts: plan without hosts that cannot do their part, instead of refusing.
    """

    memory_overcommit: float
    fleet: Sequence[str] | None
    skip_bad_hosts: bool
    relaying: Relaying
    quotas: Mapping[str, Mapping[str, t.Any]]
    imported: Mapping[str, Mapping[str, t.Any]]
    files: Mapping[str, Mapping[str, t.Any]]
    candidates: Candidates
    adopted: Mapping[str, Sequence[Mapping[str, t.Any]]]


def service_plan(
    manifest: Manifest,
    hosts: Observed,
    groups: Mapping[str, Sequence[str]] | None = None,
    **options: t.Unpack[Options],
) -> dict[str, t.Any]:
    """The whole deployment as data.

    :returns: ``format, service, tenant, bases {name: …}, machines [...], hosts {host: work}, surplus, notes, problems,
        bad_hosts {host: sentences}, wanted_files {host: files}, adoptions {host: files}``.
       ``problems`` are sentences for the user; while there is one, nothing may be changed.
        ``machines[].state`` is exists, create, unreachable, unknown (whether it exists), unfit (its host) or outside.
        ``claims[h]`` is what the plan is about to use of a host, as host_claim takes it.
        ``hosts[h]`` has ``fetch`` (bases that must cross the network to it), ``clones`` (bases that must be copied to
        another of its pools), ``references``, ``disks``, ``seeds``, ``machines`` and ``record``, each what the module of
        that step takes.
    """
    bad = _Bad({}, set())
    known = Known(options.get("imported") or {}, options.get("files") or {}, options.get("candidates") or {}, options.get("adopted") or {})
    settings = Settings(groups or {}, options.get("memory_overcommit", 1.0), quotas=options.get("quotas") or {})
    skip_bad_hosts, fleet = options.get("skip_bad_hosts", True), options.get("fleet") or list(hosts)
    hosts = with_rivals(manifest, hosts, settings.groups)
    while True:
        plan, found = _plan_without(bad, manifest, hosts, settings, known, options.get("relaying", AS_USUAL))
        if not skip_bad_hosts or not found:
            break
        bad.take(found)
    wanted = [machine for machine in plan["machines"] if machine["state"] in ("create", "unfit")]
    if skip_bad_hosts and wanted and all(machine["state"] == "unfit" for machine in wanted):
        # Nothing would be left to do: that is no bad host.
        found = bad.reasons
    if not skip_bad_hosts:
        found = {**_not_asked(plan["machines"], hosts), **found}
    problems = [
        *plan["problems"],
        *(sentence for told in found.values() for sentence in told),
        *_without_hosts(manifest, groups or {}, hosts),
        *_unseen(plan["machines"], manifest, hosts, groups or {}, fleet),
    ]
    return {**plan, "problems": list(dict.fromkeys(problems)), "bad_hosts": bad.reasons}


class _Bad(t.NamedTuple):
    """Hosts that cannot do their part: first they get no new machines, and if that does not suffice no part at all."""

    reasons: dict[str, list[str]]
    out: set[str]

    def take(self, found: Mapping[str, Sequence[str]]) -> None:
        for host, sentences in found.items():
            if host in self.reasons:
                self.out.add(host)
            known = self.reasons.setdefault(host, [])
            known += [sentence for sentence in sentences if sentence not in known]


def _plan_without(
    bad: _Bad,
    manifest: Manifest,
    hosts: Observed,
    settings: Settings,
    known: Known,
    relaying: Relaying,
) -> tuple[dict[str, t.Any], dict[str, list[str]]]:
    """A plan without bad hosts, and what stands in the way of its other hosts."""
    placement = place_machines(manifest, hosts, settings=settings)
    problems: list[str] = list(placement["problems"])
    problems += identity_problems(manifest, placement["assignments"], hosts)
    groups_by_name = {group["name"]: group for group in manifest["machines"]}
    machines = [_machine(entry, groups_by_name[entry["group"]], manifest, hosts) for entry in placement["assignments"]]
    for machine in machines:
        if machine["state"] == "create" and machine["host"] in bad.reasons:
            machine.update(state="unfit", reason="; ".join(bad.reasons[machine["host"]]))
    # What takes no part serves no base either.
    able: Observed = {
        host: {**facts, "reachable": False, "msg": "; ".join(bad.reasons[host]), "pools": {}} if host in bad.out else facts
        for host, facts in hosts.items()
    }
    able = with_held(able, {host: [(base["pool"], base) for base in bases] for host, bases in known.adopted.items()})
    needs = _needs(machines, manifest, able, known, relaying)
    wanted = wanted_files(needs.bases, needs.relays)
    adopting = adoptions(needs.bases, needs.work, needs.relays, known.candidates, manifest["tenant"])
    if adopting:
        able = with_held(able, {host: [(item["pool"], item["entry"]) for item in items] for host, items in adopting.items()})
        needs = _needs(machines, manifest, able, known, relaying)
    bases, work, relays, creating = needs.bases, needs.work, needs.relays, needs.creating
    problems += needs.problems
    for host, record in _records(manifest, placement, hosts, work, bases).items():
        work[host]["record"] = record
    problems += record_conflicts(bases.values(), hosts)
    members = {host for relay in relays for host in [*relay["sources"], *relay["targets"], *relay["helpers"]]}
    relay_hosts = sorted(members, key=list(hosts).index)
    problems += manifest_problems(creating, groups_by_name, bases)
    plan = {
        "format": FORMAT,
        "service": manifest["service"],
        "tenant": manifest["tenant"],
        "machines": machines,
        "bases": bases,
        "hosts": work,
        "relays": relays,
        "relay_hosts": relay_hosts,
        "ratings": placement["ratings"],
        "group_ratings": placement["group_ratings"],
        "unplaced": placement["unplaced"],
        "binds": placement["binds"],
        "surplus": placement["surplus"],
        "claims": claims_of(creating, groups_by_name, bases, work, hosts),
        "wanted_files": wanted,
        "adoptions": {
            host: [{key: value for key, value in item.items() if key != "entry"} for item in items] for host, items in adopting.items()
        },
        "notes": [
            *needs.notes,
            *_misspelt(manifest),
            *overcommitted_pools(creating, groups_by_name, bases, hosts),
            *clock_notes(relay_hosts, hosts),
        ],
        "problems": problems,
    }
    return plan, host_problems(creating, groups_by_name, bases, work, relay_hosts, able, settings.memory_overcommit or 1.0, adopting)


def _misspelt(manifest: Manifest) -> Iterator[str]:
    """cloud-init passes over keys that it does not know."""
    for group in manifest["machines"]:
        for part in ("user_data", "vendor_data"):
            for sentence in unknown_keys((group["cloud_init"] or {}).get(part)):
                yield f"{group['place']}.cloud_init.{part}: {sentence}"


class _Needs(t.NamedTuple):
    """What follows from where bases are: what each host has to do, and what crosses the network."""

    bases: dict[str, dict[str, t.Any]]
    work: dict[str, dict[str, t.Any]]
    relays: list[dict[str, t.Any]]
    creating: list[dict[str, t.Any]]
    problems: list[str]
    notes: list[str]


def _needs(
    machines: Sequence[dict[str, t.Any]],
    manifest: Manifest,
    hosts: Observed,
    known: Known,
    relaying: Relaying,
) -> _Needs:
    groups = {group["name"]: group for group in manifest["machines"]}
    problems: list[str] = []
    notes: list[str] = []
    bases = {base["name"]: _base(base, manifest, hosts, known.imported.get(base["name"]), problems) for base in manifest["bases"]}
    creating = [machine for machine in machines if machine["state"] == "create"]
    _demand(bases, creating, hosts, manifest, problems)
    problems += _look_at_files(bases, known.files, notes)
    work = {
        host: _work(host, [m for m in machines if m["host"] == host], bases, groups, hosts, manifest)
        for host in dict.fromkeys(m["host"] for m in machines if m["state"] in ("exists", "create"))
    }
    problems += [*unknown_relays(relaying.relays, hosts), *mistakes(relaying.paths, hosts)]
    relays = relays_of(bases, work, hosts, relaying if not problems else AS_USUAL)
    return _Needs(bases, work, relays, creating, problems, notes)


def _not_asked(machines: Sequence[Mapping[str, t.Any]], hosts: Observed) -> dict[str, list[str]]:
    """Hosts of the plan that could not be asked."""
    return {
        machine["host"]: [f"{machine['host']}: {machine['reason']}"]
        for machine in machines
        if machine["state"] in ("unreachable", "unknown") and machine["host"] in hosts
    }


def _unseen(
    machines: Sequence[Mapping[str, t.Any]],
    manifest: Manifest,
    hosts: Observed,
    groups: Mapping[str, Sequence[str]],
    fleet: Sequence[str],
) -> Iterator[str]:
    """A new machine's number may be that of a machine on a host that this run does not see; it would exist twice then.

    That holds for ``per_host`` too: numbers are given over all hosts of a group, and to whom depends on what was there before.
    """
    newest: Mapping[str, t.Any] = max(
        (facts.get("record") or {} for facts in hosts.values()), key=lambda record: record.get("generation", 0), default={}
    )
    recorded = newest.get("assignments") or {}
    for group in manifest["machines"]:
        names = [name for given in group["hosts"] or fleet for name in ([given] if given in fleet else groups.get(given, ()))]
        unseen = [host for host in dict.fromkeys(names) if host in fleet and host not in hosts]
        new = [
            machine["machine"]
            for machine in machines
            if machine["group"] == group["name"]
            and machine["state"] in ("create", "unfit")
            and (recorded.get(machine["machine"]) or {}).get("host") != machine["host"]
        ]
        if new and unseen:
            yield (
                f"{group['places']['count' if group['count'] else 'per_host']}: {', '.join(new)} may exist on hosts of the fleet that are"
                f" outside this run ({', '.join(unseen)}); run without --limit, or set basecast_fleet to the hosts that may have"
                " machines of the service"
            )


def _without_hosts(manifest: Manifest, groups: Mapping[str, Sequence[str]], hosts: Observed) -> Iterator[str]:
    """Groups of machines all of whose hosts are empty groups of the inventory: nothing would be made, and that be all right."""
    for group in manifest["machines"]:
        names = group["hosts"] or ()
        if names and all(name in groups and name not in hosts and not groups[name] for name in names):
            place = group["places"]["hosts"]
            yield f"{place}: {', '.join(names)} has no host in the inventory; expected at least one host for {group['name']}"


def unknown_relays(relays: t.Any, hosts: Observed) -> Iterator[str]:
    """What is wrong with the permission to relay, as sentences."""
    if relays in ("targets", "all"):
        return
    if isinstance(relays, str) or not isinstance(relays, Sequence):
        yield f"basecast_relays: invalid value {relays!r}; expected targets, all or a list of hosts"
        return
    unknown = [str(host) for host in relays if host not in hosts]
    if unknown:
        yield f"basecast_relays: invalid value {', '.join(unknown)}; expected hosts of this run: {', '.join(hosts)}"


# --- machines ----------------------------------------------------------------------------------


def _machine(entry: Mapping[str, t.Any], group: Mapping[str, t.Any], manifest: Manifest, hosts: Observed) -> dict[str, t.Any]:
    facts = hosts.get(entry["host"])
    if facts is None:
        state, reason = "outside", "the host is outside this run (--limit, or the fleet's pattern)"
    elif not facts.get("reachable"):
        state, reason = "unreachable", one_line(facts.get("msg"))
    elif not answers(facts):
        state, reason = "unknown", one_line(facts.get("reason"))
    elif hidden := unreadable(facts, manifest, entry["machine"]):
        state, reason = "unknown", hidden
    elif entry["exists"]:
        state, reason = "exists", ""
    else:
        state, reason = "create", ""
    spec = machine_spec({**group, "disks": disks_of(entry, {entry["group"]: group})}, manifest)
    machine = {**entry, "state": state, "reason": reason, "spec": spec, "drift": []}
    if state == "exists":
        found = next(m for m in (facts or {})["machines"] if m["machine"] == entry["machine"])
        machine["drift"] = drift(found.get("spec") or {}, spec)
    return machine


# --- bases -------------------------------------------------------------------------------------


def _base(
    base: Mapping[str, t.Any],
    manifest: Manifest,
    hosts: Observed,
    imported: Mapping[str, t.Any] | None,
    problems: list[str],
) -> dict[str, t.Any]:
    """What is known of one base: its digest, its metadata and who holds it."""
    tenant = manifest["tenant"]
    title = f"{base['name']} {base['version']}"
    known = imported.get("sha256") if imported else None
    holders: dict[str, str] = {}
    digests: dict[str, list[str]] = {}
    metadata: Mapping[str, t.Any] | None = imported
    found: list[Mapping[str, t.Any]] = []
    for host, facts in hosts.items():
        held = held_base(facts, base, tenant, known)
        if held is None:
            continue
        digests.setdefault(held["sha256"], []).append(host)
        holders[host] = held["pool"]
        found.append(held)
        metadata = metadata or held
        if base["sha256"] and base["sha256"] not in (held["sha256"], held.get("source_sha256")):
            problems.append(
                f"{base['place']}.sha256: the manifest says {base['sha256']}, but {title} on {host} is {held['sha256']}"
                f" (imported from a file with {held.get('source_sha256')}); another content needs another version"
            )
    if imported and imported.get("host"):
        holders.setdefault(imported["host"], imported["pool"])
    if len(digests) > 1:
        places = " and ".join(f"{digest} on {', '.join(where)}" for digest, where in sorted(digests.items()))
        problems.append(f"{base['place']}: {title} names different bytes: {places}; another content needs another version")
    sha256 = known or next(iter(digests), None)
    return {
        "name": base["name"],
        "version": base["version"],
        "title": title,
        "sha256": sha256,
        "wanted_sha256": base["sha256"],
        "pool": base.get("pool"),
        "metadata": base_metadata(metadata) if metadata and metadata.get("chunks_sha256") else None,
        "source": base["source"],
        # Of a file that would be adopted, as long as nobody holds the base.
        "source_bytes": next((held["size_bytes"] for held in found), None),
        "place": base["place"],
        "holders": holders,
        "needed_on": [],
        "import_on": None,
        "import_pool": None,
        # A name for different bytes is told of above, and what this run has imported is what it has seen.
        "recorded": recorded(found) if len(digests) == 1 and not imported else None,
        "look": None,
    }


def _demand(
    bases: dict[str, dict[str, t.Any]],
    creating: Sequence[Mapping[str, t.Any]],
    hosts: Observed,
    manifest: Manifest,
    problems: list[str],
) -> None:
    """Who needs which base, and where a base that nobody holds has to be imported."""
    groups = {group["name"]: group for group in manifest["machines"]}
    for machine in creating:
        for disk in disks_of(machine, groups):
            if disk["base"] and machine["host"] not in bases[disk["base"]]["needed_on"]:
                bases[disk["base"]]["needed_on"].append(machine["host"])
    for base in bases.values():
        base["look"] = place_to_look(base, hosts)
        if not base["needed_on"] or base["holders"]:
            continue
        source = base["source"]
        place = f"{base['place']}.source"
        if source["kind"] == "controller" or (source["kind"] == "url" and not source["host"]):
            # The first host that needs it gets it; the relay does the rest.
            base["import_on"] = base["needed_on"][0]
        else:
            facts = hosts.get(source["host"])
            if facts is None:
                problems.append(f"{place}.host: {source['host']!r} is not a host of this run; these are: {', '.join(hosts)}")
                continue
            if not facts.get("reachable"):
                problems.append(
                    f"{place}.host: {source['host']} cannot be reached ({one_line(facts.get('msg'))})"
                    f" and no other host of this run holds {base['title']}"
                )
                continue
            base["import_on"] = source["host"]
        base["import_pool"] = _import_pool(base, base["import_on"], hosts, creating, groups)
        base["look"] = place_to_look(base, hosts)
        pools = (hosts[base["import_on"]].get("capacity") or {}).get("pools") or {}
        if source["pool"] and source["pool"] not in pools:
            problems.append(f"{place}.pool: {source['pool']!r} is not a pool of {base['import_on']}; these are: {', '.join(pools)}")


def _look_at_files(bases: dict[str, dict[str, t.Any]], files: Mapping[str, Mapping[str, t.Any]], notes: list[str]) -> Iterator[str]:
    """Keeps the sizes of what would be imported; what stands in the way of it, and what has changed since, as sentences."""
    for name, file in files.items():
        base = bases[name]
        if base["holders"]:
            problem, note = difference(base, file)
            yield from [problem] if problem else []
            notes += [note] if note else []
            continue
        place, source, wanted = base["place"], base["source"], base["wanted_sha256"]
        path = source["path"]
        if source["kind"] == "controller" and not file.get("isreg"):
            yield f"{place}.source.controller: there is no file {path} on the controller; a relative path is meant from the manifest"
            continue
        if file.get("problem"):
            yield f"{place}.source: {base['import_on']}: {' '.join(str(file['problem']).split())}"
            continue
        if source["kind"] == "host" and not file.get("isreg"):
            yield f"{place}.source.path: there is no file {path} on {base['import_on']}; a relative path is meant from the pool"
            continue
        base["source_bytes"] = int(file.get("size") or 0) or None
        if wanted and file.get("checksum") and file["checksum"] != wanted:
            yield f"{place}.sha256: the manifest says {wanted}, but {path} of the controller has {file['checksum']}"


def _import_pool(
    base: Mapping[str, t.Any],
    host: str,
    hosts: Observed,
    creating: Sequence[Mapping[str, t.Any]],
    groups: Mapping[str, Mapping[str, t.Any]],
) -> str:
    """The pool that the manifest names; else that of the first disk that needs the base there; else one that the host has."""
    if base["pool"]:
        return str(base["pool"])
    pools = list((hosts[host].get("capacity") or {}).get("pools") or {})
    wanted = [
        disk["pool"]
        for at_home in (True, False)
        for machine in creating
        if (machine["host"] == host) is at_home
        for disk in disks_of(machine, groups)
        if disk["base"] == base["name"] and disk["pool"] in pools
    ]
    if wanted:
        return wanted[0]
    return "default" if "default" in pools or not pools else pools[0]


# --- hosts -------------------------------------------------------------------------------------


def _work(
    host: str,
    machines: Sequence[Mapping[str, t.Any]],
    bases: Mapping[str, Mapping[str, t.Any]],
    groups: Mapping[str, Mapping[str, t.Any]],
    hosts: Observed,
    manifest: Manifest,
) -> dict[str, t.Any]:
    work: dict[str, t.Any] = {"fetch": [], "clones": [], "references": [], "disks": [], "seeds": [], "machines": []}
    clones: dict[str, list[str]] = {}
    pool_of_base: dict[str, str] = {name: base["holders"][host] for name, base in bases.items() if host in base["holders"]}
    for machine in machines:
        group = groups[machine["group"]]
        new = machine["state"] == "create"
        disks = disks_of(machine, groups)
        first_pool = disks[0]["pool"]
        for disk in disks if new else []:
            base = bases[disk["base"]] if disk["base"] else None
            if base is not None:
                name = base["name"]
                if name not in pool_of_base:
                    pool_of_base[name] = base["pool"] or disk["pool"]
                    work["fetch"].append({"base": name, "pool": pool_of_base[name]})
                needs_own_pool = not disk["differencing"] or disk["backend"] == "reflink"
                if needs_own_pool and disk["pool"] != pool_of_base[name]:
                    cloned = clones.setdefault(disk["pool"], [])
                    if (base["sha256"] or UNKNOWN_DIGEST) not in cloned:
                        cloned.append(base["sha256"] or UNKNOWN_DIGEST)
            work["disks"].append(
                {
                    "machine": machine["machine"],
                    "name": disk["name"],
                    "pool": disk["pool"],
                    "base": (base["sha256"] or UNKNOWN_DIGEST) if base else None,
                    "size_bytes": disk["size_bytes"],
                    "differencing": disk["differencing"],
                    "backend": disk["backend"],
                }
            )
        if new and group["cloud_init"] is not None:
            work["seeds"].append(
                {
                    "machine": machine["machine"],
                    "pool": first_pool,
                    "meta_data": group["cloud_init"].get("meta_data") or {},
                    "user_data": group["cloud_init"].get("user_data"),
                    "vendor_data": group["cloud_init"].get("vendor_data"),
                    "network_config": group["cloud_init"].get("network_config"),
                }
            )
        work["machines"].append(
            {
                "machine": machine["machine"],
                "number": machine["number"],
                "group": machine["group"],
                "pool": first_pool,
                "cpus": group["cpus"],
                "memory_mib": group["memory_mib"],
                "networks": group["networks"],
                "seeded": group["cloud_init"] is not None,
                "allow_degraded": bool((group["cloud_init"] or {}).get("allow_degraded")),
                "new": new,
                "spec": machine["spec"],
            }
        )
    work["clones"] = [{"pool": pool, "bases": digests} for pool, digests in clones.items()]
    # Every base that a machine of the service has on this host stays referenced by the tenant.
    for name in dict.fromkeys(d["base"] for m in machines for d in groups[m["group"]]["disks"] if d["base"]):
        base = bases[name]
        if name in pool_of_base and (base["sha256"] or any(f["base"] == name for f in work["fetch"])):
            work["references"].append(
                {
                    "sha256": base["sha256"] or UNKNOWN_DIGEST,
                    "pool": pool_of_base[name],
                    "name": base["name"],
                    "version": base["version"],
                }
            )
    return work


def _records(
    manifest: Manifest,
    placement: Mapping[str, t.Any],
    hosts: Observed,
    work: Mapping[str, t.Any],
    bases: Mapping[str, Mapping[str, t.Any]],
) -> dict[str, dict[str, t.Any]]:
    """What each host of the service keeps: the numbers of all machines, to number others while a host cannot be asked,
    and its own part of the manifest.

    The generation rises only when the numbers change, so that an unchanged deployment writes nothing.
    """
    assignments = {
        entry["machine"]: {"host": entry["host"], "group": entry["group"], "number": entry["number"]} for entry in placement["assignments"]
    }
    records = [facts["record"] for facts in hosts.values() if (facts.get("record") or {}).get("service") == manifest["service"]]
    newest: Mapping[str, t.Any] = max(records, key=lambda record: record.get("generation", 0), default={})
    common = {
        "format": FORMAT,
        "service": manifest["service"],
        "tenant": manifest["tenant"],
        "generation": newest.get("generation", 0) + (0 if newest.get("assignments") == assignments else 1),
        "assignments": assignments,
    }
    return {host: {**common, "manifest": host_manifest(manifest, _pools_of(mine["machines"]), bases)} for host, mine in work.items()}


def _pools_of(machines: Sequence[Mapping[str, t.Any]]) -> dict[str, dict[str, str]]:
    """The pool of each disk of a host's machines: ``{group: {disk: pool}}``."""
    return {machine["group"]: {name: disk["pool"] for name, disk in machine["spec"]["disks"].items()} for machine in machines}


def host_manifest(
    manifest: Manifest, groups: Mapping[str, Mapping[str, str]], bases: Mapping[str, Mapping[str, t.Any]]
) -> dict[str, t.Any]:
    """What a host needs to clone and customise its groups of machines without the controller, and nothing of other
    groups: user data holds secrets.

    :param groups: the pool of each disk on this host, by group.
    """
    mine = [group for group in manifest["machines"] if group["name"] in groups]
    needed = {disk["base"] for group in mine for disk in group["disks"]}
    return {
        "bases": [
            {"name": base["name"], "version": base["version"], "sha256": bases[base["name"]]["sha256"] or base["sha256"]}
            for base in manifest["bases"]
            if base["name"] in needed
        ],
        "machines": [
            {
                **{key: group[key] for key in ("name", "cpus", "memory_mib", "networks", "cloud_init")},
                "disks": [
                    {
                        **{key: value for key, value in disk.items() if key not in ("place", "pool_labels")},
                        "pool": groups[group["name"]].get(disk["name"]) or disk["pool"] or "default",
                    }
                    for disk in group["disks"]
                ],
            }
            for group in mine
        ],
    }


def machine_work(
    work: Mapping[str, t.Any], disks: Sequence[Mapping[str, t.Any]], seeds: Sequence[Mapping[str, t.Any]]
) -> list[dict[str, t.Any]]:
    """What the module machine takes: a host's machines joined with the disks and seeds that were made for them."""
    seed_of = {seed["machine"]: seed["path"] for seed in seeds}
    joined = []
    for machine in work["machines"]:
        mine = [disk for disk in disks if disk["machine"] == machine["machine"]]
        joined.append(
            {
                **{key: value for key, value in machine.items() if key not in ("new", "seeded")},
                # In the manifest's order: the first disk is the one to boot from.
                "disks": [{key: disk[key] for key in ("name", "path", "image_format")} for disk in mine],
                "seed": seed_of.get(machine["machine"]),
            }
        )
    return joined
