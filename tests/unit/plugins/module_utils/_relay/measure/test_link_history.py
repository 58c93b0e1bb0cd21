# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.measure.link_history import MAX_LINKS, LinkHistory
from ansible_collections.basecast.fleet.plugins.module_utils._relay.upload.link_meter import LEAST_BYTES, LinkMeter

MIB = 1024 * 1024


def row(to: str, mbps: float = 100.0, **more: t.Any) -> dict[str, t.Any]:
    return {"from": "kvm1", "to": to, "mbps": mbps, **more}


def test_what_is_noted_is_read_with_its_age(tmp_path: Path) -> None:
    history = LinkHistory(str(tmp_path / "state"))
    assert history.read(0.0)["links"] == []
    history.note([row("kvm2", 90.0, latency_s=0.001), row("kvm3")], "probe", 1000.0, {"default": {"write_mbps": 5.0}})
    history.note([row("kvm2", 80.0)], "transfer", 1010.0)
    read = LinkHistory(str(tmp_path / "state")).read(1020.0)
    assert read["disk_write_mbps"] == 5.0
    assert read["disks_age_s"] == 20.0
    assert read["links"] == [
        {"from": "kvm1", "to": "kvm3", "mbps": 100.0, "latency_s": 0.0, "by": "probe", "age_s": 20.0},
        {"from": "kvm1", "to": "kvm2", "mbps": 80.0, "latency_s": 0.001, "by": "transfer", "age_s": 10.0},
    ]
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["links.json"]


def test_a_rate_that_a_link_has_at_least_never_makes_it_slower(tmp_path: Path) -> None:
    history = LinkHistory(str(tmp_path))
    history.note([row("kvm2", 90.0)], "probe", 1.0)
    history.note([row("kvm2", 50.0), row("kvm3", 50.0)], "transfer", 2.0, at_least=True)
    assert {(link["to"], link["mbps"]) for link in history.read(3.0)["links"]} == {("kvm2", 90.0), ("kvm3", 50.0)}
    history.note([row("kvm2", 95.0)], "transfer", 3.0, at_least=True)
    assert history.read(3.0)["links"][-1]["mbps"] == 95.0


def test_a_clock_that_was_set_back_makes_measurements_unknown(tmp_path: Path) -> None:
    history = LinkHistory(str(tmp_path))
    history.note([row("kvm2")], "probe", 5000.0)
    assert history.read(1000.0)["links"] == []


def test_the_oldest_links_go_when_there_are_too_many(tmp_path: Path) -> None:
    history = LinkHistory(str(tmp_path))
    history.note([row(f"h{n}") for n in range(MAX_LINKS)], "probe", 1.0)
    history.note([row("h0"), row("new")], "probe", 2.0)
    kept = [link["to"] for link in history.read(3.0)["links"]]
    assert len(kept) == MAX_LINKS
    assert kept[0] == "h2"
    assert kept[-2:] == ["h0", "new"]


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2}', '{"format": 1, "links": [{"from": 1}], "disks": {}, "disks_at": 0}'])
def test_a_damaged_file_is_as_none_and_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "links.json").write_text(content)
    history = LinkHistory(str(tmp_path))
    assert history.read(0.0)["links"] == []
    history.note([row("kvm2")], "probe", 1.0)
    assert json.loads((tmp_path / "links.json").read_text())["links"][0]["to"] == "kvm2"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def send(meter: LinkMeter, clock: Clock, peers: str, chunks: int, seconds: float) -> None:
    """Chunks of 1 MiB to each peer in turn; every one takes so long."""
    for _number in range(chunks):
        for peer in peers:
            meter.sending(peer)
            clock.now += seconds
            meter.sent(peer, MIB)


def test_a_transfer_that_has_the_link_to_itself_tells_its_rate() -> None:
    clock = Clock()
    meter = LinkMeter(clock)
    send(meter, clock, "B", 8, 0.001)  # into the kernel's buffers
    send(meter, clock, "B", 40, 0.1)
    assert meter.rates() == {"B": pytest.approx(8 * MIB / 1e5, rel=0.01)}


def test_waiting_for_a_peer_is_not_counted() -> None:
    clock = Clock()
    meter = LinkMeter(clock)
    for _number in range(6):
        send(meter, clock, "B", 20, 0.1)
        meter.pause("B")
        clock.now += 60
    assert meter.rates() == {"B": pytest.approx(8 * MIB / 1e5, rel=0.01)}


def test_chunks_that_come_one_by_one_say_nothing_of_the_link() -> None:
    """They go into the kernel's empty buffers at once, however slow the link is."""
    clock = Clock()
    meter = LinkMeter(clock)
    for _number in range(5000):
        send(meter, clock, "B", 1, 0.001)
        meter.pause("B")
        clock.now += 0.1
    assert meter.rates() == {}


def test_what_is_shared_with_another_peer_says_nothing_of_the_link() -> None:
    clock = Clock()
    meter = LinkMeter(clock)
    send(meter, clock, "BC", 80, 0.1)
    assert meter.rates() == {}
    meter.pause("C")
    send(meter, clock, "B", 8 + LEAST_BYTES // MIB, 0.1)
    assert meter.rates() == {"B": pytest.approx(8 * MIB / 1e5, rel=0.01)}
