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
from ..placement import Observed, Settings, answers, disks_of, place_machines
from ..placement.numbering import silent_witnesses
from ..relay.fixed_paths import mistakes
from ..relay.needs import AS_USUAL, Relaying, record_conflicts, relays_of
from ..types import Manifest
from . import customization, resources
from .addresses import address_problems
from .adoption import Candidates, adoptions, sound, wanted_files, with_held
from .bases import base_of, look_at_files, note_demand
from .claims import claims_of, with_rivals
from .dns_entries import dns_problems, missing_entries
from .drift import drift, machine_spec
from .host_work import work_of
from .identity import identity_problems, unreadable
from .machine_values import left_alone, sample_of, seed_of
from .networks import mac_problems, networks_of
from .preflight import clock_notes, host_problems, manifest_problems, overcommitted_pools, tight_pools, unfit_hosts
from .records import records_of, witness_records
from .report import one_line
from .scaled import Scaled, with_counts
from .start_order import add_turns, order_of
from .yaml_text import dotted

FORMAT = 1


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
    :param links: that the user states, as deployment_matrix takes them, instead of those that hosts have measured.
    :param skip_bad_hosts: plan without hosts that cannot do their part, instead of refusing.
    :param scaled: how many machines groups are to have from now on, as scale_plan returns it.
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
    links: t.Any
    scaled: Scaled | None


def service_plan(
    manifest: Manifest,
    hosts: Observed,
    groups: Mapping[str, Sequence[str]] | None = None,
    **options: t.Unpack[Options],
) -> dict[str, t.Any]:
    """The whole deployment as data.

    :returns: ``format, service, tenant, bases {name: …}, machines [...], hosts {host: work}, surplus, notes, problems,
        bad_hosts {host: sentences}, silent [hosts that could not be asked], wanted_files {host: files}, adoptions {host: files}``.
       ``problems`` are sentences for the user; while there is one, nothing may be changed.
        ``machines[].state`` is exists, create, unreachable, unknown (whether it exists), unfit (its host) or outside.
        ``witnesses[h]`` is the record that a host without a part keeps, where it has to be written.
        ``order`` is what ``order_of`` tells, with ``turns``: roles of which hosts have to hear from others.
        ``claims[h]`` is what the plan is about to use of a host, as host_claim takes it.
        ``hosts[h]`` has ``fetch`` (bases that must cross the network to it), ``clones`` (bases that must be copied to
        another of its pools), ``references``, ``disks``, ``seeds``, ``machines`` and ``record``, each what the module of
        that step takes, and, where machines of it wait for others, ``turns`` as host_job takes it.
    """
    bad = _Bad({}, set())
    counted, scale_notes = with_counts(manifest, hosts, options.get("scaled"))
    manifest = t.cast("Manifest", counted)
    candidates, notes = sound(options.get("candidates") or {})
    # What a host has imported and taken with it when it was lost has to be imported once more.
    silent = {host for host, facts in hosts.items() if not facts.get("reachable")}
    imported = {name: base for name, base in (options.get("imported") or {}).items() if base.get("host") not in silent}
    known = Known(imported, options.get("files") or {}, candidates, options.get("adopted") or {})
    # Of a service that is there as a whole or not at all, no part is begun that cannot become the whole.
    skip_bad_hosts = options.get("skip_bad_hosts", True) and order_of(manifest)["on_failure"] != "roll_back"
    fleet = options.get("fleet") or list(hosts)
    settings = Settings(
        groups or {},
        options.get("memory_overcommit", 1.0),
        quotas=options.get("quotas") or {},
        fleet=fleet,
        links=options.get("links"),
        unfit=unfit_hosts(manifest, hosts),
    )
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
    return {
        **plan,
        "problems": list(dict.fromkeys(problems)),
        "notes": [*scale_notes, *plan["notes"], *notes],
        "bad_hosts": bad.reasons,
        "silent": [host for host, facts in hosts.items() if not answers(facts)],
    }


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
    problems += [*address_problems(manifest, machines, hosts), *dns_problems(manifest, machines, hosts)]
    of_cards, card_notes = mac_problems(manifest, machines, hosts)
    problems += of_cards
    for machine in machines:
        if machine["state"] == "create" and machine["host"] in bad.reasons:
            machine.update(state="unfit", reason="; ".join(bad.reasons[machine["host"]]))
    # What takes no part serves no base either.
    able: Observed = {
        host: {**facts, "reachable": False, "msg": "; ".join(bad.reasons[host]), "pools": {}} if host in bad.out else facts
        for host, facts in hosts.items()
    }
    able = {host: {**facts, "asked_by": manifest["tenant"]} for host, facts in able.items()}
    able = with_held(able, {host: [(base["pool"], base) for base in bases] for host, bases in known.adopted.items()})
    # With their chains: what a host lacks of the parents has to come too.
    for base in known.imported.values():
        if base.get("sha256") and base.get("host"):
            able = with_held(able, {base["host"]: [(base["pool"], base)]})
    needs = _needs(machines, manifest, able, known, relaying)
    wanted = wanted_files(needs.bases, needs.relays)
    adopting = adoptions(needs.bases, needs.work, needs.relays, known.candidates, manifest["tenant"])
    if adopting:
        able = with_held(able, {host: [(item["pool"], item["entry"]) for item in items] for host, items in adopting.items()})
        needs = _needs(machines, manifest, able, known, relaying)
    bases, work, relays, creating = needs.bases, needs.work, needs.relays, needs.creating
    problems += needs.problems
    for host, record in records_of(manifest, placement, hosts, work, bases).items():
        work[host]["record"] = record
    problems += record_conflicts(bases.values(), hosts)
    members = {host for relay in relays for host in [*relay["sources"], *relay["targets"], *relay["helpers"]]}
    relay_hosts = sorted(members, key=list(hosts).index)
    problems += manifest_problems(creating, groups_by_name, bases)
    problems += resources.shared_twice(machines, groups_by_name, hosts)
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
        "witnesses": witness_records(manifest, placement, hosts, settings.groups, work) if creating else {},
        "order": {**order_of(manifest), "turns": add_turns(work, machines, manifest, hosts, placement["unplaced"])},
        "claims": claims_of(creating, groups_by_name, bases, work, hosts, relays, bool((settings.quotas or {}).get(manifest["tenant"]))),
        "wanted_files": wanted,
        "adoptions": {
            host: [{key: value for key, value in item.items() if key != "entry"} for item in items] for host, items in adopting.items()
        },
        "notes": [
            *needs.notes,
            *_misspelt(manifest),
            *overcommitted_pools(creating, groups_by_name, bases, hosts),
            *tight_pools(work, bases, hosts),
            *clock_notes(relay_hosts, hosts),
            *card_notes,
            *missing_entries(machines, hosts),
        ],
        "problems": problems,
    }
    return plan, host_problems(creating, groups_by_name, bases, work, relay_hosts, able, settings.memory_overcommit or 1.0, adopting)


def _misspelt(manifest: Manifest) -> Iterator[str]:
    """cloud-init passes over keys that it does not know, and so does the guest over braces."""
    for group in manifest["machines"]:
        cloud_init = group["cloud_init"] or {}
        seed = seed_of(cloud_init, sample_of(group["name"], manifest))
        for part in ("user_data", "vendor_data"):
            for sentence in unknown_keys(seed[part]):
                yield f"{group['place']}.cloud_init.{part}: {sentence}"
        for path, sentence in left_alone(customization.content_of(group) or {}):
            yield f"{group['place']}.{customization.kind_of(group)}.{dotted(path)}: {sentence}"


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
    bases = {base["name"]: base_of(base, manifest, hosts, known.imported.get(base["name"]), problems) for base in manifest["bases"]}
    creating = [machine for machine in machines if machine["state"] == "create"]
    note_demand(bases, creating, hosts, manifest, known.files, problems)
    problems += look_at_files(bases, known.files, notes)
    work = {
        host: work_of(host, [m for m in machines if m["host"] == host], bases, groups, hosts, manifest)
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
        (facts.get("record") or {} for facts in hosts.values()), key=lambda record: record.get("generation") or 0, default={}
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
        silent = silent_witnesses(group, hosts, groups)
        if new and silent and not unseen:
            yield (
                f"{group['places']['count' if group['count'] else 'per_host']}: {', '.join(new)} may exist on hosts that cannot be asked"
                f" ({', '.join(silent)}), and too few others know the numbers of {group['name']}; run again when they answer, or"
                f" leave them out of {'basecast_fleet' if group['hosts'] is None else 'hosts'} if they have no machine of {group['name']}"
            )


def _without_hosts(manifest: Manifest, groups: Mapping[str, Sequence[str]], hosts: Observed) -> Iterator[str]:
    """Groups of machines all of whose hosts are empty groups of the inventory: nothing would be made, and that be all right."""
    for group in manifest["machines"]:
        names = group["hosts"] or ()
        if names and all(name in groups and name not in hosts and not groups[name] for name in names):
            place = group["places"]["hosts"]
            yield f"{place}: {', '.join(names)} has no host in the inventory; expected at least one host for {group['name']}"


def unknown_relays(relays: object, hosts: Observed) -> Iterator[str]:
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
    found = next((one for one in (facts or {}).get("machines") or () if one["machine"] == entry["machine"]), None)
    if facts is None:
        state, reason = "outside", "the host is outside this run (--limit, or the fleet's pattern)"
    elif not facts.get("reachable"):
        state, reason = "unreachable", one_line(facts.get("msg"))
    elif not answers(facts):
        state, reason = "unknown", one_line(facts.get("reason"))
    elif hidden := unreadable(facts, manifest, entry["machine"]):
        state, reason = "unknown", hidden
    elif entry["exists"] and found is None:
        state, reason = "unknown", f"the host has its number under another name than {entry['machine']}; see virsh list --all there"
    elif entry["exists"]:
        state, reason = "exists", ""
    else:
        state, reason = "create", ""
    spec = machine_spec(
        {**group, "disks": disks_of(entry, {entry["group"]: group}), "networks": networks_of(group, entry["machine"])}, manifest
    )
    machine = {**entry, "state": state, "reason": reason, "spec": spec, "drift": []}
    if state == "exists" and found is not None:
        machine["drift"] = drift(found.get("spec") or {}, spec)
    return machine
