# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Every machine of a manifest to a host and a pool for each disk: decided as pairs, told as two phases."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .build import Built, Standing, Wish, build, placement_of
from .explain import binding, sentences, why_not
from .fleet import HostFacts, claimed_text, read_fleet
from .greedy import even_out, place_greedily
from .layers import Bring, Layers
from .model import Assignment
from .named import place_named
from .numbering import Numbers, candidates, claimed_places, known_numbers
from .observed import Observed
from .pool_choices import first_pools
from .quota import within_quota
from .ranking import Ranking
from .rating import group_ratings, ratings
from .relay_cost import cost_of, receivers_of
from .search import place_all, solve

# How reasons begin that another deployment's claim can be the cause of.
CLAIMABLE = ("memory:", "cpu:", "pool ")


class Settings(t.NamedTuple):
    """What the caller knows beside the manifest and the hosts."""

    groups: Mapping[str, Sequence[str]] = {}  # the inventory's
    memory_overcommit: float | None = None  # for hosts that do not say otherwise
    bring: Bring | None = None  # seconds for each layer to each storage or host
    quotas: Mapping[str, Mapping[str, t.Any]] = {}  # by tenant
    beside: bool = False  # each pool needs its own copy of a base
    fleet: Sequence[str] = ()  # all hosts that may have machines of the service, seen or not
    matrix: t.Any = None  # a deployment-time matrix: seconds follow from the relay that would result
    unfit: Mapping[str, Mapping[str, str]] = {}  # by group: hosts that lack what its machines ask for, and why
    links: t.Any = None  # those that the user states; without, and without a matrix, those that hosts have measured count


def place_machines(
    manifest: Mapping[str, t.Any],
    hosts: Observed,
    groups: Mapping[str, Sequence[str]] | None = None,
    settings: Settings | None = None,
) -> dict[str, t.Any]:
    """The host, the pools and the number of every machine that the manifest asks for.

    :param manifest: as parse_manifest returns it.
    :param hosts: observed hosts by inventory name, in inventory order.
    :param groups: the inventory's groups, for a manifest that names groups.
    :returns: ``{"assignments": [{"machine", "group", "number", "host", "pools", "exists", "place"}], "ratings": {machine:
        [{"host", "pool", "rating", "fits", "reasons", "lost_by"}]}, "group_ratings": […], "unplaced": [{"machine", "group", "reasons"}],
        "binds": [limit], "surplus": [{"machine", "host"}], "problems": [str]}``.
    """
    settings = settings or Settings()
    settings = settings._replace(groups=groups or settings.groups)
    return _Placing(manifest, hosts, settings).run()


class _Placing:
    def __init__(self, manifest: Mapping[str, t.Any], hosts: Observed, settings: Settings) -> None:
        self.manifest, self.hosts, self.settings = manifest, hosts, settings
        self.fleet = read_fleet(hosts, settings.memory_overcommit)
        self.facts: dict[str, HostFacts] = {host.name: host for host in self.fleet}
        self.layers = Layers(manifest, hosts, self.fleet, settings.bring, settings.beside)
        self.cost = cost_of(hosts, settings.bring, settings.matrix, settings.links)
        if self.cost is not None:
            self.layers.bring = self.cost.direct(self.layers)
        self.numbers: dict[str, Numbers] = {}
        self.pools: dict[tuple[str, int], tuple[str, ...]] = {}
        self.claimed = claimed_places(hosts)
        self.standing: list[Standing] = []
        self.named: dict[str, dict[str, list[int]]] = {}  # numbers of new machines whose host the manifest names, by group and host
        self.result: dict[str, t.Any] = {
            "assignments": [], "ratings": {}, "group_ratings": [], "unplaced": [], "binds": [], "surplus": [], "problems": []
        }  # fmt: skip

    def run(self) -> dict[str, t.Any]:
        known = known_numbers(self.manifest["service"], self.hosts)
        wishes = []
        for group in self.manifest["machines"]:
            usable, problems = candidates(group, self.hosts, self.settings.groups)
            self.result["problems"] += problems
            if usable:
                self.numbers[group["name"]] = Numbers.of(group, usable, known.get(group["name"], {}), self.hosts, self.settings.fleet)
                self._stand(group)
                missing = (group["count"] or 0) - len(self.numbers[group["name"]].kept)
                if missing > 0:
                    wishes.append(Wish(group, self._fit(group, usable), missing))
        self._place_named()
        allowed, refused = within_quota(self.manifest, self.hosts, self.standing, wishes, self.settings.quotas)
        if allowed:
            self._place(allowed)
        self._refuse(refused)
        self._assign()
        self._surplus(known)
        return self.result

    def _fit(self, group: Mapping[str, t.Any], usable: Sequence[str]) -> tuple[str, ...]:
        """The hosts that a choice is left of. Where all of them lack something, each says so itself."""
        unfit = self.settings.unfit.get(group["name"], {})
        return tuple(host for host in usable if host not in unfit) or tuple(usable)

    # --- machines that have their host ---------------------------------------------------------

    def _stand(self, group: Mapping[str, t.Any]) -> None:
        """Counts the machines that keep their host, and gives numbers to those whose host the manifest names."""
        numbers = self.numbers[group["name"]]
        for number, host in numbers.kept.items():
            there = numbers.exists(number)
            self.standing.append(Standing(group["name"], host, there, () if there else self._pools_of(group, number, host)))
        if not group["per_host"]:
            return
        for host in numbers.candidates:
            for _unused in range(group["per_host"] - numbers.on(host)):
                number = numbers.give(host)
                self.named.setdefault(group["name"], {}).setdefault(host, []).append(number)
                self.result["ratings"][f"{group['name']}-{number}"] = [
                    {
                        "host": host,
                        "pool": self._pools_on(group, host)[0],
                        "rating": 1.0,
                        "fits": True,
                        "reasons": ["the manifest names this host"],
                        "lost_by": "",
                    }
                ]

    def _place_named(self) -> None:
        """Gives machines their pools on the hosts that the manifest names; what does not fit there is a problem."""
        counts = {group: {host: len(numbers) for host, numbers in mine.items()} for group, mine in self.named.items()}
        pools, problems = place_named(self.manifest, self.fleet, self.layers, counts, self.hosts)
        self.result["problems"] += problems
        for group in self.manifest["machines"]:
            name = group["name"]
            for host, numbers in self.named.get(name, {}).items():
                for number, chosen in zip(numbers, pools.get(name, {}).get(host, []), strict=False):
                    self.pools[name, number] = chosen
                    self.result["ratings"][f"{name}-{number}"][0]["pool"] = chosen[0]
                for number in numbers:
                    mine = self.pools.get((name, number)) or self._pools_on(group, host)
                    self.standing.append(Standing(name, host, counted=False, pools=mine))

    def _pools_on(self, group: Mapping[str, t.Any], host: str) -> tuple[str, ...]:
        """The pools of a machine whose host is given: the first that come into question."""
        facts = self.facts.get(host)
        found = first_pools(group, facts, placement_of(self.manifest, group)) if facts else None
        if found:
            return tuple(pool.name for pool in found)
        return tuple(disk["pool"] or "default" for disk in group["disks"])

    # --- machines that are to be placed --------------------------------------------------------

    def _place(self, wishes: Sequence[Wish]) -> None:
        prefer = {wish.group["name"]: self._prefer(wish.group) for wish in wishes}
        built, ranking = self._decide(wishes, prefer)
        # Without a matrix, hosts are compared by their own path from a holder; in which order they are served, the relay decides.
        if self.settings.matrix is not None or "soonest" in prefer.values():
            built, ranking = self._decide_again(wishes, prefer, ranking)
        self._give(built, ranking)
        self._rate(built, ranking, prefer)

    def _decide_again(self, wishes: Sequence[Wish], prefer: Mapping[str, str], first: Ranking) -> tuple[Built, Ranking]:
        """Once more, with the times of the relay that the first decision would need; the better of both by these times."""
        receivers = receivers_of(first.built.problem, first.arrays.assignment)
        if self.cost is None or not receivers:
            return first.built, first
        self.layers.bring = self.cost.relayed(self.layers, receivers, t.cast("dict[str, dict[str, float]]", self.layers.bring))
        built, ranking = self._decide(wishes, prefer)
        before = self._ranking(built, prefer)
        self._adopt(before, first.arrays.assignment)
        if "soonest" in prefer.values() and before.arrays.vector <= ranking.arrays.vector:
            return built, before
        return built, ranking

    def _decide(self, wishes: Sequence[Wish], prefer: Mapping[str, str]) -> tuple[Built, Ranking]:
        built = self._build(wishes)
        ranking = self._ranking(built, prefer)
        if "soonest" in prefer.values():
            self._adopt(ranking, solve(built.problem).assignment)
        else:
            place_greedily(ranking)
            if ranking.arrays.vector.unplaced:
                self._adopt(ranking, place_all(built.problem, ranking.arrays.assignment).assignment)
                even_out(ranking)
        return built, ranking

    def _build(self, wishes: Sequence[Wish], dropped: str = "") -> Built:
        built = build(self.manifest, self.fleet, self.layers, wishes, self.standing, dropped)
        for wish, out in zip(wishes, built.out, strict=True):
            unfit = self.settings.unfit.get(wish.group["name"], {})
            out.update({host: why for host, why in unfit.items() if host not in wish.hosts})
        return built

    def _prefer(self, group: Mapping[str, t.Any]) -> str:
        return placement_of(self.manifest, group).get("prefer") or "spread"

    def _ranking(self, built: Built, prefer: Mapping[str, str]) -> Ranking:
        ranking = Ranking(built, self.fleet, prefer)
        places = {host.name: at for at, host in enumerate(self.fleet)}
        for machine in self.standing:
            if machine.host in places:
                ranking.count(machine.group, places[machine.host])
        return ranking

    @staticmethod
    def _adopt(ranking: Ranking, assignment: Assignment) -> None:
        """Makes the ranking's state that of an assignment."""
        for machine, option in enumerate(ranking.arrays.state.at):
            if option >= 0:
                ranking.take(machine)
        for machine, option in enumerate(assignment):
            if option >= 0:
                ranking.put(machine, ranking.arrays.first[ranking.role_of(machine)] + option)

    def _give(self, built: Built, ranking: Ranking) -> None:
        """Gives numbers to what was placed, in the inventory's order, and tells why the rest was not."""
        problem = built.problem
        at_host: dict[int, list[tuple[int, tuple[str, ...]]]] = {role: [] for role in range(len(problem.roles))}
        left: dict[int, int] = {}
        for machine, option in enumerate(ranking.arrays.assignment):
            role = ranking.role_of(machine)
            if option < 0:
                left[role] = left.get(role, 0) + 1
            else:
                chosen = problem.roles[role].options[option]
                at_host[role].append((chosen.host, chosen.pools))
        for role, placed in at_host.items():
            numbers = self.numbers[built.wishes[role].group["name"]]
            for host, pools in self._in_turn(placed):
                number = numbers.give(problem.hosts[host].name)
                self.pools[built.wishes[role].group["name"], number] = pools
        if left:
            self._leave_out(built, ranking, left)

    @staticmethod
    def _in_turn(placed: Sequence[tuple[int, tuple[str, ...]]]) -> list[tuple[int, tuple[str, ...]]]:
        """One of each host, then the next one of each: low numbers are spread, should fewer be asked for later."""
        seen: dict[int, int] = {}
        keyed = []
        for host, pools in sorted(placed):
            seen[host] = seen.get(host, 0) + 1
            keyed.append((seen[host], host, pools))
        return [(host, pools) for _turn, host, pools in sorted(keyed)]

    def _leave_out(self, built: Built, ranking: Ranking, left: Mapping[int, int]) -> None:
        wishes = built.wishes
        binds = binding(built, ranking.arrays.assignment, lambda limit: self._build(wishes, limit))
        self.result["binds"] = list(binds)
        for role, count in left.items():
            group = wishes[role].group
            hosts = self._with_claims(self._with_unfit(group["name"], why_not(built, ranking.arrays, role)))
            self._unplaced(group, count, sentences(group["name"], count, hosts, [limit for limit in binds if role in binds[limit]]), hosts)

    def _with_unfit(self, group: str, reasons: Mapping[str, str]) -> dict[str, str]:
        """Why hosts have no room, and what they lack besides: where all lack something, no choice was left of the others."""
        unfit = self.settings.unfit.get(group, {})
        return {host: why if unfit.get(host, why) in why else f"{why}; {unfit[host]}" for host, why in reasons.items()}

    def _with_claims(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Why hosts have no room, and what others have claimed there."""
        found = {}
        for host, why in reasons.items():
            claimed = claimed_text(self.hosts.get(host) or {}) if why.startswith(CLAIMABLE) else ""
            found[host] = f"{why} ({claimed})" if claimed else why
        return found

    def _unplaced(self, group: Mapping[str, t.Any], count: int, sentence: str, hosts: Mapping[str, str]) -> None:
        free = self.numbers[group["name"]].free
        self.result["unplaced"] += [
            {"machine": f"{group['name']}-{next(free)}", "group": group["name"], "reasons": [sentence], "hosts": dict(hosts)}
            for _unused in range(count)
        ]
        # What is to be there as a whole is not begun in part.
        if not (self.manifest.get("placement") or {}).get("partial") or self.manifest.get("on_failure") == "roll_back":
            self.result["problems"].append(f"{group['place']}: {sentence}")

    def _refuse(self, refused: Mapping[str, tuple[int, str]]) -> None:
        """What the tenant's quota leaves no room for."""
        groups = {group["name"]: group for group in self.manifest["machines"]}
        for name, (count, sentence) in refused.items():
            self.result["binds"] = list(dict.fromkeys([*self.result["binds"], "quota"]))
            self._unplaced(groups[name], count, sentence, {})

    def _rate(self, built: Built, ranking: Ranking, prefer: Mapping[str, str]) -> None:
        for role, wish in enumerate(built.wishes):
            name = wish.group["name"]
            mine = [number for number in self.numbers[name].kept if (name, number) in self.pools]
            if mine:
                self.result["ratings"][f"{name}-{mine[0]}"] = ratings(built, ranking, role, self.numbers[name].kept[mine[0]])
        self.result["group_ratings"] = group_ratings(built, ranking, self.fleet)

    # --- the answer ----------------------------------------------------------------------------

    def _assign(self) -> None:
        for group in self.manifest["machines"]:
            numbers = self.numbers.get(group["name"])
            for number, host in sorted(numbers.kept.items()) if numbers else []:
                pools = self.pools.get((group["name"], number)) or self._pools_of(group, number, host)
                self.result["assignments"].append(
                    {
                        "machine": f"{group['name']}-{number}",
                        "group": group["name"],
                        "number": number,
                        "host": host,
                        "pools": {disk["name"]: pool for disk, pool in zip(group["disks"], pools, strict=True)},
                        "exists": bool(numbers and numbers.exists(number)),
                        "place": group["place"],
                    }
                )

    def _pools_of(self, group: Mapping[str, t.Any], number: int, host: str) -> tuple[str, ...]:
        """The pools of a machine that has its host: as it was made or is about to be, where that is known."""
        machines = (self.hosts.get(host) or {}).get("machines") or []
        found: Mapping[str, t.Any] = next((machine for machine in machines if machine.get("machine") == f"{group['name']}-{number}"), {})
        disks = (found.get("spec") or {}).get("disks") or {}
        usual = self._pools_on(group, host)
        claimed = self.claimed.get(f"{group['name']}-{number}", {}).get("pools") or {}
        return tuple(
            disk["pool"] or (disks.get(disk["name"]) or {}).get("pool") or claimed.get(disk["name"]) or usual[at]
            for at, disk in enumerate(group["disks"])
        )

    def _surplus(self, known: Mapping[str, Mapping[int, tuple[str, bool]]]) -> None:
        for group in self.manifest["machines"]:
            numbers = self.numbers.get(group["name"])
            if numbers:
                self.result["surplus"] += [
                    {"machine": f"{group['name']}-{number}", "host": numbers.known[number][0]} for number in sorted(numbers.surplus)
                ]
        for name in sorted(set(known) - {group["name"] for group in self.manifest["machines"]}):
            self.result["surplus"] += [
                {"machine": f"{name}-{number}", "host": host} for number, (host, exists) in sorted(known[name].items()) if exists
            ]
