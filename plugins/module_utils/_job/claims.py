# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What deployments are about to use of this host: one JSON file, so that two of them never count on the same room.

Whoever plans reads the claims and their generation before it looks at anything else. A claim is only taken while the generation
is the one that was read: nobody has claimed anything since, so the plan has counted all there is. Times are seconds since the
host was booted, so that setting its clock neither ends a claim nor keeps it.

Several runs of one service each have a claim of their own. It says where every new machine goes, so that two controllers make
each machine in the same place; what both are about to use counts once.
"""

from __future__ import annotations

import os
import threading
import time
import typing as t

from .._disk import file_io, filesystem, lock
from .._errors import FleetError
from .._machine.files import SECRET_MODE, make_directory
from .._machine.owner import Owner
from .._untrusted import Malformed, Value, read

FORMAT = 1
_FILE = "claims.json"
_LOCK = ".claims.lock"
_LARGEST = 16 * 1024 * 1024
_WAIT_S = 30.0
_MOST = 100_000

# {"name", "cpus", "memory_mib", "hugepages": the size of the pages that the memory is in or None, "disk_bytes",
#  "pools": {pool: {"bytes", "growth_bytes"}}}
Use = t.Mapping[str, t.Any]
Place = t.Mapping[str, t.Any]  # {"host", "group", "number", "pools": {disk: pool}}

OTHERS = (
    "Another deployment has claimed room on this host since it was surveyed, so the plan may count on room that is no longer there."
    " Survey the host and plan again."
)


class ClaimsUnreadable(FleetError):
    kind = "claims_unreadable"


class Claim(t.NamedTuple):
    """What one deployment is about to use.

    :param uses: machines that are not there yet, and base disks that are not.
    :param until: seconds since the boot.
    :param places: by name, all machines that the run makes, on this host and on others.
    :param generation: the book's, when it was taken.
    """

    tenant: str
    service: str
    run: str
    uses: t.Sequence[Use]
    boot: str = ""
    until: float = 0.0
    places: t.Mapping[str, Place] = {}
    generation: int = 0

    def is_of(self, tenant: str, service: str) -> bool:
        return (self.tenant, self.service) == (tenant, service)


class Book(t.NamedTuple):
    """All claims that hold, and how often one has been taken on this host."""

    generation: int
    claims: list[Claim]

    def without(self, tenant: str, service: str, run: str) -> list[Claim]:
        return [claim for claim in self.claims if not (claim.is_of(tenant, service) and claim.run == run)]

    def others(self, tenant: str, service: str) -> list[Claim]:
        """One for each other service, in which what several of its runs are about to use counts once."""
        joined: dict[tuple[str, str], Claim] = {}
        for claim in self.claims:
            if not claim.is_of(tenant, service):
                known = joined.get((claim.tenant, claim.service), claim._replace(uses=()))
                joined[claim.tenant, claim.service] = known._replace(uses=_joined([*known.uses, *claim.uses]))
        return list(joined.values())

    def of_service(self, tenant: str, service: str) -> list[Claim]:
        return [claim for claim in self.claims if claim.is_of(tenant, service)]

    def why_not(self, wanted: Claim, seen: int | None) -> str:
        """Why a claim is refused, empty if it is not.

        :param seen: the generation that its plan has counted; None if whatever others claim does not matter.
        """
        rivals = [claim for claim in self.of_service(wanted.tenant, wanted.service) if claim.run != wanted.run]
        for rival in rivals:
            clash = next((name for name, place in wanted.places.items() if _elsewhere(place, rival.places.get(name))), None)
            if clash is not None:
                return (
                    f"The run {rival.run} of this service is about to make {clash} on {_told(rival.places[clash])}, this one on"
                    f" {_told(wanted.places[clash])}. Survey the host and plan again; if that run no longer exists, end it with"
                    f" basecast.fleet.stop -e run={rival.run}."
                )
        if seen is None or seen == self.generation:
            return ""
        held = {rival.generation: rival for rival in rivals}
        names = {use["name"] for use in wanted.uses}
        # What another run of the service has claimed since is known to be a part of this claim, and nothing else has come.
        for generation in range(seen + 1, self.generation + 1):
            rival_since = held.get(generation)
            if rival_since is None or any(use["name"] not in names for use in rival_since.uses):
                return OTHERS
        return ""


class Claims:
    """The claims of a host.

    :param state_dir: such as /var/lib/basecast.
    """

    def __init__(
        self,
        state_dir: str,
        clock: t.Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        boot_id: t.Callable[[], str] = filesystem.boot_id,
    ) -> None:
        self._directory = state_dir
        self._path = os.path.join(state_dir, _FILE)
        self._clock = clock
        self._boot_id = boot_id

    def read(self) -> Book:
        """:raises ClaimsUnreadable: what others count on is not known."""
        try:
            value = read(file_io.read_file(self._path, _LARGEST), "the file", max_bytes=_LARGEST, max_values=_LARGEST)
            generation = value["generation"].integer()
            claims = [_claim(item) for item in value["claims"].items(_MOST)]
        except FileNotFoundError:
            return Book(0, [])
        except Malformed as error:
            raise ClaimsUnreadable(
                f"The claims in {self._path} cannot be used: {error.message}. Remove it while no deployment is running.",
                path=self._path,
            )
        except OSError as error:
            raise ClaimsUnreadable(
                f"The claims in {self._path} cannot be read: {error.strerror}. Check the disk under it.", path=self._path
            )
        boot, now = self._boot_id(), self._clock()
        return Book(generation, [claim for claim in claims if claim.boot == boot and claim.until > now])

    def take(self, wanted: Claim, ttl_s: float, seen: int | None = None) -> str:
        """Claim in place of what the run had claimed before; why it is refused, empty if it is not: see ``Book.why_not``."""
        with self._locked():
            book = self.read()
            refused = book.why_not(wanted, seen)
            if not refused:
                generation = book.generation + 1
                claim = wanted._replace(boot=self._boot_id(), until=self._clock() + ttl_s, generation=generation)
                claims = [*book.without(wanted.tenant, wanted.service, wanted.run), claim]
                self._write(Book(generation, claims))
            return refused

    def held(self, tenant: str, service: str, run: str) -> Claim | None:
        return next((claim for claim in self.read().claims if claim.is_of(tenant, service) and claim.run == run), None)

    def release(self, tenant: str, service: str, run: str) -> bool:
        """Give back what a run has claimed; whether it had anything."""
        return self._drop(lambda claim: claim.is_of(tenant, service) and claim.run == run)

    def end(self, run: str) -> bool:
        """Give back what a run has claimed, whichever service it deploys; whether it had anything."""
        return self._drop(lambda claim: claim.run == run)

    def _drop(self, wanted: t.Callable[[Claim], bool]) -> bool:
        if not any(wanted(claim) for claim in self.read().claims):
            return False
        with self._locked():
            book = self.read()
            kept = [claim for claim in book.claims if not wanted(claim)]
            self._write(book._replace(claims=kept))
            return len(kept) < len(book.claims)

    def renew(self, tenant: str, service: str, run: str, ttl_s: float, there: t.Collection[str] = ()) -> bool:
        """Keep a run's claim for longer; False if it has none. What is there by now, no run of the service needs to claim."""
        if self.held(tenant, service, run) is None:
            return False
        with self._locked():
            book = self.read()
            found = next((claim for claim in book.claims if claim.is_of(tenant, service) and claim.run == run), None)
            if found is None:
                return False
            claims = []
            for claim in book.claims:
                if claim.is_of(tenant, service):
                    claim = claim._replace(uses=[use for use in claim.uses if use["name"] not in there])
                    if claim.run == run:
                        claim = claim._replace(until=self._clock() + ttl_s)
                claims.append(claim)
            self._write(book._replace(claims=claims))
            return True

    def _locked(self) -> lock.Lock:
        make_directory(self._directory)
        return lock.take(os.path.join(self._directory, _LOCK), "the host's claims", wait_s=_WAIT_S)

    def _write(self, book: Book) -> None:
        told = {"format": FORMAT, "generation": book.generation, "claims": [claim._asdict() for claim in book.claims]}
        file_io.replace_file(self._path, file_io.json_bytes(told), SECRET_MODE)


def _claim(told: Value) -> Claim:
    tenant, service, run, boot = (told[key].text() for key in ("tenant", "service", "run", "boot"))
    places = checked_places(told["places"]) if told.get("places") else {}
    generation = told["generation"].integer() if told.get("generation") else 0
    return Claim(tenant, service, run, [_use(use) for use in told["uses"].items(_MOST)], boot, told["until"].number(), places, generation)


def checked_places(told: Value) -> dict[str, Place]:
    """:raises Malformed: with the place of what cannot be used."""
    return {
        name: {
            **{key: place[key].text() for key in ("host", "group")},
            "number": place["number"].integer(),
            "pools": {disk: pool.text() for disk, pool in place["pools"].entries(_MOST).items()},
        }
        for name, place in told.entries(_MOST).items()
    }


def _elsewhere(place: Place, other: Place | None) -> bool:
    return other is not None and (place["host"], place["pools"]) != (other["host"], other["pools"])


def _told(place: Place) -> str:
    pools = ", ".join(dict.fromkeys(place["pools"].values()))
    return f"{place['host']} ({'pools' if ',' in pools else 'pool'} {pools})" if pools else str(place["host"])


def _joined(uses: t.Iterable[Use]) -> list[Use]:
    """Each name once, with the larger amounts."""
    found: dict[str, Use] = {}
    for use in uses:
        known = found.get(use["name"], use)
        pools = {
            pool: {key: max(side.get(pool, {}).get(key, 0) for side in (known["pools"], use["pools"])) for key in ("bytes", "growth_bytes")}
            for pool in {**known["pools"], **use["pools"]}
        }
        found[use["name"]] = {
            **{key: max(known[key], use[key]) for key in ("cpus", "memory_mib", "disk_bytes")},
            "name": use["name"],
            "hugepages": known["hugepages"] or use["hugepages"],
            "pools": pools,
        }
    return list(found.values())


def _use(told: Value) -> Use:
    return {
        "name": told["name"].text(),
        **{key: _amount(told, key) for key in ("cpus", "memory_mib", "disk_bytes")},
        "hugepages": told["hugepages"].text() if told.get("hugepages") else None,
        "pools": {
            pool: {key: _amount(amounts, key) for key in ("bytes", "growth_bytes")}
            for pool, amounts in (told.get("pools") or Value({}, "")).entries(_MOST).items()
        },
    }


def _amount(told: Value, key: str) -> int:
    found = told.get(key)
    return 0 if found is None else found.integer()


def checked_uses(uses: t.Sequence[t.Mapping[str, t.Any]]) -> list[Use]:
    """:raises Malformed: with the place of what cannot be used."""
    return [_use(use) for use in Value(uses, "uses").items(_MOST)]


def without_machines(claim: Claim, uuids: t.Container[str]) -> Claim:
    """A claim whose machines are counted by themselves once they have a domain; a run gives their part back a little later.

    :param uuids: of the host's domains.
    """
    there = {use["name"] for use in claim.uses if Owner(claim.tenant, claim.service, use["name"]).domain_uuid in uuids}
    # What a pool has was looked at at another moment, so that stays claimed.
    return claim._replace(uses=[{**use, "cpus": 0, "memory_mib": 0} if use["name"] in there else use for use in claim.uses])


def totals(claim: Claim, tenant: str) -> dict[str, t.Any]:
    """What a claim takes altogether, without a name. To its own tenant it tells besides what counts for the quota."""
    pools: dict[str, dict[str, int]] = {}
    for use in claim.uses:
        for pool, amounts in use["pools"].items():
            sums = pools.setdefault(pool, {"bytes": 0, "growth_bytes": 0})
            for key, amount in amounts.items():
                sums[key] += amount
    machines = [use for use in claim.uses if use["memory_mib"]]
    pages: dict[str, int] = {}
    for use in machines:
        if use["hugepages"]:
            pages[use["hugepages"]] = pages.get(use["hugepages"], 0) + use["memory_mib"]
    mine = {"tenant": tenant, "machines": len(machines), "disk_bytes": sum(use["disk_bytes"] for use in machines)}
    return {
        **{key: sum(use[key] for use in claim.uses) for key in ("cpus", "memory_mib")},
        "hugepages_mib": pages,
        "pools": pools,
        **(mine if claim.tenant == tenant else {}),
    }


class Keeper:
    """Keeps a run's claim alive while its job is at work, without the machines that are there, and gives it back at the end.

    A claim only keeps others away: one that cannot be renewed does not stop the job.
    """

    def __init__(self, claims: Claims, tenant: str, service: str, run: str, ttl_s: float) -> None:
        self._claims, self._whose, self._ttl_s = claims, (tenant, service, run), ttl_s
        self._there: set[str] = set()
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="claim")
        self.warnings: list[str] = []
        self._had = False

    def __enter__(self) -> Keeper:
        self._had = self._is_held()
        self._renew()
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._ended.set()
        self._thread.join()
        self._try(lambda: self._claims.release(*self._whose))

    def given_back(self) -> bool:
        """Whether the run's claim is gone since the job began, as after basecast.fleet.stop."""
        return self._had and not self._is_held()

    def _is_held(self) -> bool:
        try:
            return self._claims.held(*self._whose) is not None
        except (FleetError, OSError):  # unknown is not given back
            return self._had

    def there(self, names: t.Iterable[str]) -> None:
        """These machines count by themselves from now on."""
        with self._guard:
            self._there.update(names)
        self._renew()

    def _beat(self) -> None:
        while not self._ended.wait(self._ttl_s / 3):
            self._renew()

    def _renew(self) -> None:
        with self._guard:
            there = set(self._there)
        self._try(lambda: self._claims.renew(*self._whose, self._ttl_s, there))

    def _try(self, change: t.Callable[[], t.Any]) -> None:
        try:
            change()
        except (FleetError, OSError) as error:
            told = error.message if isinstance(error, FleetError) else str(error)
            self.warnings.append(f"What other deployments know of this one may be out of date: {told}")
