# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._job.claims import (
    OTHERS,
    Claim,
    Claims,
    ClaimsUnreadable,
    Keeper,
    checked_uses,
    totals,
    without_machines,
)
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner

GROWTH = {"default": {"growth_bytes": 5}}
ONE = checked_uses([{"name": "web-1", "cpus": 2, "memory_mib": 1024, "disk_bytes": 7, "pools": GROWTH}])


class Host:
    """A host whose clock and boot are the test's."""

    def __init__(self, directory: Path) -> None:
        self.now, self.boot = 100.0, "first"
        self.claims = Claims(str(directory / "state"), lambda: self.now, lambda: self.boot)

    def take(self, tenant: str = "red", seen: int | None = None, run: str = "r1") -> bool:
        return not self.claims.take(Claim(tenant, "shop", run, ONE), 60, seen)

    def holders(self) -> list[str]:
        return [claim.tenant for claim in self.claims.read().claims]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_plans_of_one_instant_never_both_pass(host: Host) -> None:
    seen = host.claims.read().generation
    assert host.take("red", seen) and not host.take("blue", seen)
    assert host.holders() == ["red"]
    assert host.take("blue", host.claims.read().generation)


def test_many_at_once_have_one_winner(host: Host) -> None:
    won: list[str] = []
    start = threading.Barrier(8)

    def run(name: str) -> None:
        start.wait()
        if host.take(name, 0):
            won.append(name)

    threads = [threading.Thread(target=run, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and host.holders() == won


def test_who_came_and_went_meanwhile_is_noticed(host: Host) -> None:
    seen = host.claims.read().generation
    host.take("red", run="r1")
    host.claims.release("red", "shop", "r1")
    assert host.holders() == [] and not host.take("blue", seen)


@pytest.mark.parametrize("end", ["time", "boot", "release"])
def test_a_claim_ends(host: Host, end: str) -> None:
    host.take()
    if end == "time":
        host.now += 61
    elif end == "boot":
        host.boot = "second"
    else:
        assert host.claims.release("red", "shop", "r1")
    assert host.holders() == []


class TestRunsOfOneService:
    """What two controllers claim for the same service."""

    def take(self, host: Host, run: str, numbers: t.Iterable[int], seen: int | None = None, at: str = "a", pool: str = "default") -> str:
        uses = checked_uses([{"name": f"web-{number}", "memory_mib": 64} for number in numbers])
        places = {f"web-{n}": {"host": at, "group": "web", "number": n, "pools": {"root": pool}} for n in numbers}
        return host.claims.take(Claim("red", "shop", run, uses, places=places), 60, seen)

    def test_each_has_its_own_and_both_count_once(self, host: Host) -> None:
        assert not self.take(host, "r1", [1, 2]) and not self.take(host, "r2", [1, 2, 3])
        assert [claim.run for claim in host.claims.read().claims] == ["r1", "r2"]
        (told,) = host.claims.read().others("blue", "shop")
        assert totals(told, "blue")["memory_mib"] == 3 * 64
        assert host.claims.release("red", "shop", "r1")
        assert [claim.run for claim in host.claims.read().claims] == ["r2"]

    @pytest.mark.parametrize(
        "first, second, refused",
        [
            ([1, 2], [1, 2], False),
            ([1, 2], [1, 2, 3], False),
            ([1, 2, 3], [1, 2], True),  # the third takes room that the second plan has not counted
        ],
    )
    def test_plans_of_one_instant(self, host: Host, first: list[int], second: list[int], refused: bool) -> None:
        self.take(host, "r1", first, seen=0)
        assert self.take(host, "r2", second, seen=0) == (OTHERS if refused else "")
        assert not self.take(host, "r2", second, seen=host.claims.read().generation)

    @pytest.mark.parametrize("other", [{"at": "b"}, {"pool": "fast"}])
    def test_a_machine_in_two_places_is_refused_however_late(self, host: Host, other: dict[str, t.Any]) -> None:
        self.take(host, "r1", [1])
        refused = self.take(host, "r2", [1], seen=None, **other)
        assert refused.startswith("The run r1 of this service is about to make web-1 on a (pool default), this one on")
        assert "basecast.fleet.stop -e run=r1" in refused
        host.claims.release("red", "shop", "r1")
        assert not self.take(host, "r2", [1], seen=None, **other)

    def test_who_came_and_went_meanwhile_has_made_something(self, host: Host) -> None:
        self.take(host, "r1", [1], seen=0)
        host.claims.release("red", "shop", "r1")
        assert self.take(host, "r2", [1], seen=0) == OTHERS

    def test_what_one_has_made_the_other_no_longer_claims(self, host: Host) -> None:
        self.take(host, "r1", [1, 2])
        self.take(host, "r2", [1, 2])
        host.claims.renew("red", "shop", "r2", 60, ["web-1"])
        assert [[use["name"] for use in claim.uses] for claim in host.claims.read().claims] == [["web-2"], ["web-2"]]


def test_renewing_keeps_it_without_what_is_there(host: Host) -> None:
    host.claims.take(Claim("red", "shop", "r1", [*ONE, *checked_uses([{"name": "web-2"}])]), 60)
    host.now += 50
    assert host.claims.renew("red", "shop", "r1", 60, ["web-1"])
    host.now += 50
    assert [use["name"] for use in host.claims.read().claims[0].uses] == ["web-2"]
    host.now += 50
    assert not host.claims.renew("red", "shop", "r1", 60), "what has ended cannot be renewed"


def test_others_are_told_amounts_and_no_names(host: Host) -> None:
    host.take("red")
    claim = host.claims.read().claims[0]
    told = totals(claim, "blue")
    assert told == {"cpus": 2, "memory_mib": 1024, "hugepages_mib": {}, "pools": {"default": {"bytes": 0, "growth_bytes": 5}}}
    assert totals(claim, "red") == {**told, "tenant": "red", "machines": 1, "disk_bytes": 7}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"generation": 1}', '{"generation": 1, "claims": [{}]}', '{"generation": "x", "claims": []}']
)
def test_damage_is_never_taken_for_no_claims(host: Host, tmp_path: Path, text: str) -> None:
    host.take()
    (tmp_path / "state" / "claims.json").write_text(text)
    with pytest.raises(ClaimsUnreadable, match="Remove it while no deployment is running"):
        host.claims.read()
    with pytest.raises(ClaimsUnreadable):
        host.take("blue")


def test_claims_that_cannot_be_read_are_not_taken_for_none(host: Host, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in place of the directory")
    with pytest.raises(ClaimsUnreadable, match=r"The claims in .*/claims\.json cannot be read: Not a directory\. Check the disk under it"):
        host.claims.read()


class TestKeeper:
    def test_a_job_gives_its_claim_back_at_the_end(self, host: Host) -> None:
        host.take()
        with Keeper(host.claims, "red", "shop", "r1", 60) as keeper:
            keeper.there(["web-1"])
            assert not host.claims.read().claims[0].uses
        assert host.holders() == [] and keeper.warnings == []

    def test_without_a_claim_nothing_is_written(self, host: Host, tmp_path: Path) -> None:
        with Keeper(host.claims, "red", "shop", "r1", 60) as keeper:
            keeper.there(["web-1"])
        assert not (tmp_path / "state").exists() and keeper.warnings == []

    def test_damage_is_a_warning_and_not_the_end(self, host: Host, tmp_path: Path) -> None:
        host.take()
        with Keeper(host.claims, "red", "shop", "r1", 60) as keeper:
            (tmp_path / "state" / "claims.json").write_text("{")
        assert "may be out of date" in keeper.warnings[0]


def test_amounts_default_to_nothing() -> None:
    uses: list[t.Any] = checked_uses([{"name": "x"}])
    assert uses == [{"name": "x", "cpus": 0, "memory_mib": 0, "hugepages": None, "disk_bytes": 0, "pools": {}}]


def test_huge_pages_are_told_by_their_size_without_machines_that_are_there(tmp_path: Path) -> None:
    uses = [
        {"name": "web-1", "memory_mib": 512, "hugepages": "2M"},
        {"name": "web-2", "memory_mib": 256, "hugepages": "2M"},
        {"name": "db-1", "memory_mib": 1024, "hugepages": "1G"},
        {"name": "ui-1", "memory_mib": 64},
    ]
    claims = Claims(str(tmp_path / "state"))
    for run in ("r1", "r2"):  # of one service: what both are about to make counts once
        assert claims.take(Claim("red", "shop", run, checked_uses(uses)), 60) == ""
    (others,) = claims.read().others("blue", "shop")
    assert totals(others, "blue")["hugepages_mib"] == {"2M": 768, "1G": 1024}
    started = Owner("red", "shop", "web-1").domain_uuid
    assert totals(without_machines(others, {started}), "blue")["hugepages_mib"] == {"2M": 256, "1G": 1024}
