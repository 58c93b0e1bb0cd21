# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Worked examples 2, 3 and 4 with real transfers, through the relay's playbooks, changed while they run.

Hosts S, 1, 2 and 3 are kvm1 to kvm4. A minute of an example is about a second. What nodes and controller need to notice a
change is long beside that, so the order of transfers and their sources are compared, not times.
"""

from __future__ import annotations

import re
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.lab import Lab
from ansible_collections.basecast.fleet.tests.lab.relay_run import POOL, RelayRun

SIZE = 12 * 1024 * 1024
NAMES = {"S": "kvm1", "1": "kvm2", "2": "kvm3", "3": "kvm4"}
EXAMPLE_1 = {"S>1": 10, "S>2": 30, "S>3": 45, "1>2": 10, "2>1": 10, "1>3": 15, "3>1": 15, "2>3": 5, "3>2": 5}


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    return lab_factory(hosts=4)


class Example(RelayRun):
    """One relay of a new image, while the test changes what it likes."""

    def __init__(self, lab: Lab, minute_s: float, links: t.Mapping[str, float]) -> None:
        super().__init__(lab, SIZE)
        self.minute_s = minute_s
        for link, minutes in links.items():
            self.set(link, minutes)
        self.known = [{"from": NAMES[k[0]], "to": NAMES[k[2]], "mbps": self.mbps(minutes)} for k, minutes in links.items()]
        self.before = self.carried()

    def mbps(self, minutes: float) -> float:
        """Rate of a link over which the image takes so many minutes."""
        return SIZE * 8e-6 / (minutes * self.minute_s)

    def set(self, link: str, minutes: float) -> None:
        # What the shaper counts beside the payload: headers of packets, and of encryption.
        self.lab.pair(NAMES[link[0]], NAMES[link[2]]).slow(self.mbps(minutes) / 0.955, both=False)

    def start(self, **variables: t.Any) -> None:
        given = {
            "basecast_links": self.known,
            "basecast_relay_mode": "staged",
            "basecast_relay_strategy": "preferred_paths",
            "basecast_relay_contention": "independent",
            "basecast_relay_poll_s": 0.5,
            "basecast_relay_patience_s": 8,
            "basecast_ask_timeout_s": 5,
        }
        self.begin(**given, **variables)

    def until(self, host: str, share: float) -> None:
        """Wait until a host has so much of the base."""
        deadline = time.monotonic() + 60
        while self.share(NAMES[host]) < share:
            assert self.process is not None
            assert self.process.poll() is None, self.said[-6000:]
            assert time.monotonic() < deadline, f"{host} has {self.share(NAMES[host])}"
            time.sleep(0.02)

    def carried(self, hosts: str = "S123") -> dict[str, int]:
        """Bytes that each shaped link of these hosts has carried, as its shaper counts them."""
        found = {}
        numbers = {0x10 + number: short for number, short in enumerate(NAMES, start=1)}
        for short, name in ((short, NAMES[short]) for short in hosts):
            told = self.lab.hosts[name].run("tc -s class show dev eth0").stdout
            for class_id, count in re.findall(r"class htb 1:(\w+) .*?Sent (\d+) bytes", told, re.S):
                if int(class_id, 16) in numbers:
                    found[f"{short}>{numbers[int(class_id, 16)]}"] = int(count)
        return found

    def carriers(self, hosts: str = "S123") -> list[str]:
        """Links that carried a good part of the base."""
        return sorted(link for link, count in self.carried(hosts).items() if count - self.before.get(link, 0) > 0.2 * SIZE)

    def order(self) -> list[str]:
        """Hosts by the time at which they had the base."""
        short = {name: short for short, name in NAMES.items()}
        return [short[name] for name in self.arrived()]

    def left(self, host: str) -> list[str]:
        return [str(f) for f in self.lab.hosts[NAMES[host]].path(f"{POOL}/bases/.partial").glob("*/disk")]


@pytest.mark.timeout(200)
def test_example_2_a_link_gets_quicker_while_another_transfer_runs(lab: Lab) -> None:
    example = Example(lab, 2.5, EXAMPLE_1)
    example.start(basecast_relay_measure_s=1)
    example.until("1", 0.2)
    example.set("S>3", 10)
    example.end()
    assert "the link from kvm1 to kvm4 was measured at" in example.said, example.said[-6000:]
    assert example.carriers() == ["3>2", "S>1", "S>3"], example.said[-6000:]
    assert example.order() == ["1", "3", "2"]


@pytest.mark.timeout(200)
def test_example_3_a_link_fails_and_what_came_over_it_is_resumed_from_another_host(lab: Lab) -> None:
    example = Example(lab, 0.8, {**EXAMPLE_1, "1>3": 25, "S>2": 45})
    example.start()
    example.until("2", 0.1)
    before = example.share(NAMES["2"])
    lab.pair("kvm2", "kvm3").cut()
    facts = example.end()
    lab.pair("kvm2", "kvm3").restore()
    # Whatever is noticed first: that the link is silent, or that nothing comes over it.
    assert re.search("the link (between kvm2 and kvm3 is lost|from kvm2 to kvm3 carries)", example.said), example.said[-6000:]
    assert "Planned again: kvm3 from kvm4, kvm4 from kvm2" in example.said, example.said[-6000:]
    assert example.order() == ["1", "3", "2"]
    assert set(example.carriers()) - {"S>2", "1>2"} == {"S>1", "1>3", "3>2"}, example.said[-6000:]
    (base,) = facts["kvm3"]["basecast_relay_result"]["bases"].values()
    assert base["received_bytes"] <= 1.1 * SIZE
    assert 0.1 <= before < 0.9


@pytest.mark.timeout(200)
def test_example_4_the_source_dies_and_who_has_the_base_serves_the_others(lab: Lab) -> None:
    links = {**dict.fromkeys(EXAMPLE_1, 15), "S>1": 10, "S>2": 20, "S>3": 20}
    example = Example(lab, 0.8, links)
    example.start()
    example.until("1", 1.0)
    example.until("2", 0.55)
    lab.hosts["kvm1"].power_cut()
    try:
        facts = example.end()
        assert "kvm1 is lost" in example.said, example.said[-6000:]
        assert example.order()[0] == "1"
        assert sorted(example.order()) == ["1", "2", "3"], example.said[-6000:]
        assert {"1>2", "1>3"} <= set(example.carriers("1"))
        for host in ("kvm3", "kvm4"):
            (base,) = facts[host]["basecast_relay_result"]["bases"].values()
            assert base["received_bytes"] <= 1.1 * SIZE
    finally:
        lab.hosts["kvm1"].revive()


@pytest.mark.timeout(200)
def test_example_4_the_source_dies_too_early_and_nothing_is_left(lab: Lab) -> None:
    links = {**dict.fromkeys(EXAMPLE_1, 15), "S>1": 10, "S>2": 20, "S>3": 20}
    example = Example(lab, 0.8, links)
    example.start()
    example.until("1", 0.5)
    lab.hosts["kvm1"].power_cut()
    try:
        facts = example.end()
        assert example.order() == []
        for host in ("1", "2", "3"):
            assert not example.left(host)
            outcome = facts[NAMES[host]]["basecast_outcome"]
            assert outcome["state"] == "failed"
            assert "no host that can still be reached holds the base" in outcome["msg"]
    finally:
        lab.hosts["kvm1"].revive()
