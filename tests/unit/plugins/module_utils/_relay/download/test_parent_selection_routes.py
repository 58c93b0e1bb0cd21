# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stripes, whom a host turns to when its parents are gone or crawl, and who is left alone by that."""

from __future__ import annotations

import time
import typing as t

import pytest

CHUNK = 16 * 1024


@pytest.fixture
def plain(content_of: t.Any) -> t.Any:
    """160 chunks without a zero among them."""
    return content_of(b"".join(bytes([number + 1]) * CHUNK for number in range(160)))


def test_two_stripes_cross_each_link_with_their_own_chunks_only(fleet: t.Any, plain: t.Any) -> None:
    """Each of two hosts gets half from the holder and gives it to the other: the holder sends everything once."""
    plain.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(plain, {"A": [["S"], ["B", "S"]], "B": [["A", "S"], ["S"]]}, "cut_through")
    fleet.until(lambda: [fleet.children(host, plain) for host in "SAB"] == [2, 1, 1])
    fleet.start(plain, {"S": []}, "cut_through", rate_mbps=12.0)
    fleet.wait("A", "B")
    for host, other in ("AB", "BA"):
        base = fleet.base(host, plain)
        assert fleet.holds(host, plain)
        assert base["attempts"] == []
        assert base["received_bytes"] < 1.01 * len(plain.data) + 5000 * 2
        for sender in ("S", other):
            assert 0.45 < base["received_from"][sender] / len(plain.data) < 0.55, base
    fleet.until(lambda: fleet.base("S", plain)["sent_bytes"] == len(plain.data))


def test_a_stripe_whose_parents_are_gone_comes_with_the_others(fleet: t.Any, plain: t.Any) -> None:
    plain.put(fleet.pool("S"))
    plain.put(fleet.pool("T"))
    fleet.certify(*"STAB")
    for host in "STAB":
        fleet.add(host)
    fleet.start(plain, {"S": [], "T": []}, "cut_through", rate_mbps=6.0)
    fleet.start(plain, {"A": [["S"], ["T"]]}, "cut_through")
    fleet.until(lambda: len(fleet.base("A", plain)["received_from"]) == 2)
    fleet.kill("S")
    fleet.wait("A", seconds=10)
    base = fleet.base("A", plain)
    assert base["state"] == "holding", base
    assert fleet.holds("A", plain)
    assert base["received_bytes"] < 1.01 * len(plain.data) + 5000 * 2 + CHUNK
    assert base["received_from"]["S"] < base["received_from"]["T"]


def test_the_holder_may_die_when_the_others_have_every_chunk_between_them(fleet: t.Any, plain: t.Any) -> None:
    """Neither was told of the other, and each has what the other one lacks."""
    half = range(0, plain.chunks.count, 2)
    plain.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(plain, {"S": []}, "cut_through", rate_mbps=0.3)
    from_disk = fleet.boot()
    plain.put_partial(fleet.pool("A"), half, from_disk)
    plain.put_partial(fleet.pool("B"), [i for i in range(plain.chunks.count) if i not in half], from_disk)
    fleet.start(plain, {"A": ["S"], "B": ["S"]}, "cut_through")
    fleet.until(lambda: all(fleet.base(host, plain)["bytes"] for host in "AB"))
    fleet.kill("S")
    begin = time.monotonic()
    fleet.wait("A", "B", seconds=10)
    assert time.monotonic() - begin < 5
    for host, other in ("AB", "BA"):
        assert fleet.base(host, plain)["state"] == "holding", fleet.base(host, plain)
        assert fleet.holds(host, plain)
        assert fleet.base(host, plain)["received_from"][other] > 0.4 * len(plain.data)


def test_a_chunk_that_nobody_has_is_an_error_that_says_so(fleet: t.Any, plain: t.Any) -> None:
    plain.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(plain, {"S": []}, "cut_through", rate_mbps=0.1)
    plain.put_partial(fleet.pool("A"), range(100), fleet.boot())
    plain.put_partial(fleet.pool("B"), range(60, 150), fleet.boot())
    fleet.start(plain, {"A": ["S", "B"], "B": ["A", "S"]}, "cut_through")
    fleet.until(lambda: all(fleet.base(host, plain)["bytes"] for host in "AB"))
    fleet.kill("S")
    fleet.wait("A", "B", seconds=15)
    for host in "AB":
        base = fleet.base(host, plain)
        assert base["state"] == "failed"
        assert "No living parent for 3 s (tried: " in base["msg"]
        assert "10 chunks are missing, of which no host that answered has 10" in base["msg"]
        assert base["bytes"] == 150 * CHUNK
        assert not (fleet.pool(host) / plain.sha256).exists()


def test_a_parent_that_crawls_is_left_for_one_that_does_not(fleet: t.Any, plain: t.Any) -> None:
    """Three hundred kilobits where the plan counts on fifty megabits: a minute, and not to be waited for."""
    plain.put(fleet.pool("S"))
    plain.put(fleet.pool("B"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(plain, {"S": []}, "cut_through", rate_mbps=0.3)
    fleet.start(plain, {"B": []}, "cut_through")
    peers = fleet.peers()
    fleet.nodes["A"].start([fleet.request(plain, "A", ["S", "B"], expected_mbps=50.0)], peers, "cut_through")
    fleet.wait("A", seconds=20)
    base = fleet.base("A", plain)
    assert fleet.holds("A", plain)
    assert base["seconds"] < 15
    (attempt,) = base["attempts"]
    assert attempt["parent"] == "S"
    assert "where B delivers" in attempt["error"]
    assert base["received_bytes"] < 1.01 * len(plain.data) + 2 * 6000 + CHUNK


def test_who_is_below_a_host_that_crawls_waits_for_it(fleet: t.Any, plain: t.Any) -> None:
    """B's own link is good: what it waits for is A's matter."""
    plain.put(fleet.pool("S"))
    for host in "SAB":
        fleet.add(host)
    fleet.start(plain, {"S": []}, "cut_through", rate_mbps=2.5)
    peers = fleet.peers()
    fleet.nodes["A"].start([fleet.request(plain, "A", ["S"])], peers, "cut_through")
    fleet.nodes["B"].start([fleet.request(plain, "B", ["A", "S"], expected_mbps=500.0)], peers, "cut_through")
    fleet.wait("A", "B", seconds=20)
    assert fleet.base("B", plain)["seconds"] > 6, "it was over before anybody could have become impatient"
    assert list(fleet.base("B", plain)["received_from"]) == ["A"]
    assert fleet.base("B", plain)["attempts"] == []
