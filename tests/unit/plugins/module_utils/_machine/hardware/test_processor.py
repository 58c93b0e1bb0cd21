# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import processor, table
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.key import Place
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.processor import in_short, numbers_of

PLACE = Place("/pool/machines/shop/web-1", "x86_64", "kvm")
EMPTY = "<domain><vcpu>4</vcpu><os/><cpu mode='host-passthrough' check='none'/><devices><memballoon model='virtio'/></devices></domain>"
SIZE = {"cpus": 4, "memory_mib": 1024}


@pytest.mark.parametrize(
    ("text", "numbers", "short"),
    [
        ("0", [0], "0"),
        ("0-3", [0, 1, 2, 3], "0-3"),
        ("3,1,2", [1, 2, 3], "1-3"),
        ("0-7,^2,^4-5", [0, 1, 3, 6, 7], "0-1,3,6-7"),
        ("4-2", [], ""),
    ],
)
def test_sets_have_one_form(text: str, numbers: list[int], short: str) -> None:
    assert numbers_of(text) == numbers and in_short(numbers) == short


def test_a_long_set_takes_no_time() -> None:
    before = time.process_time()
    assert len(numbers_of(",".join(["0-9999", "^0-9998"] * 5000 + ["0-9999"]))) == 10_000
    assert time.process_time() - before < 0.5


def test_many_large_cells_are_not_all_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes of a manifest, and all of the controller's memory."""
    counted: list[str] = []

    def counting(text: str) -> list[int]:
        counted.append(text)
        return numbers_of(text)

    monkeypatch.setattr(processor, "numbers_of", counting)
    cells = [{"cpus": "0-9999", "memory_mib": 16}] * 64
    told = list(processor.processor_mistakes({**SIZE, "memory": {"cells": cells}}))
    assert told == [("memory", "cells: each virtual CPU from 0 to 3 has to stand in one cell; they name 0-9999")]
    assert len(counted) == 1


@pytest.mark.parametrize(
    ("hardware", "path", "attributes"),
    [
        ({"cpu": {"model": "host-model"}}, "./cpu", {"mode": "host-model", "check": "partial"}),
        ({"cpu": {"model": "maximum"}}, "./cpu", {"mode": "maximum", "check": "none"}),
        ({"cpu": {"model": "EPYC"}}, "./cpu", {"mode": "custom", "match": "exact", "check": "partial"}),
        ({"cpu": {"model": "EPYC"}}, "./cpu/model", {"fallback": "forbid"}),
        ({"cpu": {"topology": {"cores": 4}}}, "./cpu/topology", {"sockets": "1", "dies": "1", "cores": "4", "threads": "1"}),
        ({"cpu": {"pin": "0-1"}}, "./vcpu", {"placement": "static", "cpuset": "0-1"}),
        ({"cpu": {"pins": ["2", "3"]}}, "./cputune/vcpupin[@vcpu='1']", {"vcpu": "1", "cpuset": "3"}),
        ({"cpu": {"emulator_pin": "1"}}, "./cputune/emulatorpin", {"cpuset": "1"}),
        ({"memory": {"balloon": False}}, "./devices/memballoon", {"model": "none"}),
        ({"memory": {"hugepages": "1G"}}, "./memoryBacking/hugepages/page", {"size": "1048576", "unit": "KiB"}),
        ({"memory": {"nodes": "0"}}, "./numatune/memory", {"mode": "strict", "nodeset": "0"}),
        (
            {"memory": {"cells": [{"cpus": "0-3", "memory_mib": 1024, "node": 1}]}},
            "./numatune/memnode",
            {"cellid": "0", "mode": "strict", "nodeset": "1"},
        ),
    ],
)
def test_what_is_asked_for_stands_in_the_xml(hardware: dict[str, t.Any], path: str, attributes: dict[str, str]) -> None:
    root = ET.fromstring(EMPTY)
    table.write(root, hardware, PLACE)
    element = root.find(path)
    assert element is not None and dict(element.attrib) == attributes


def test_what_libvirt_makes_of_it_is_read_back() -> None:
    """Other units, other ways to write a set, and what it adds."""
    found = table.read(
        ET.fromstring(
            "<domain><vcpu placement='static' cpuset='0,1,2'>4</vcpu><currentMemory unit='KiB'>524288</currentMemory>"
            "<memoryBacking><hugepages><page size='2048' unit='KiB'/></hugepages></memoryBacking>"
            "<cpu mode='custom' match='exact'><model fallback='forbid'>EPYC</model><topology sockets='1' dies='1' cores='2' threads='2'/>"
            "<numa><cell id='0' cpus='0,1,2,3' memory='1048576' unit='KiB'/></numa></cpu>"
            "<cputune><vcpupin vcpu='10' cpuset='3'/><vcpupin vcpu='2' cpuset='1,2'/></cputune></domain>"
        )
    )
    assert found["cpu"] == {
        "model": "EPYC",
        "topology": {"sockets": 1, "cores": 2, "threads": 2},
        "pin": "0-2",
        "pins": ["1-2", "3"],
        "emulator_pin": None,
    }
    assert found["memory"] == {
        "at_start_mib": 512,
        "balloon": True,
        "hugepages": "2M",
        "nodes": None,
        "nodes_mode": None,
        "cells": [{"cpus": "0-3", "memory_mib": 1024}],
    }


@pytest.mark.parametrize(
    ("hardware", "told"),
    [
        ({"cpu": {"topology": {"cores": 3}}}, "topology: it has 3 CPUs, and cpus is 4"),
        ({"cpu": {"pins": ["0"] * 5}}, "pins: 5 entries for 4 CPUs"),
        ({"memory": {"at_start_mib": 2048}}, "at_start_mib: 2048 is more than memory_mib, which is 1024"),
        ({"memory": {"at_start_mib": 512, "balloon": False}}, "without a balloon"),
        ({"memory": {"nodes_mode": "strict"}}, "give nodes as well"),
        ({"memory": {"cells": [{"cpus": "0-3", "memory_mib": 512}]}}, "cells: they have 512 MiB, and memory_mib is 1024"),
        (
            {"memory": {"cells": [{"cpus": "0-2", "memory_mib": 1024}]}},
            "each virtual CPU from 0 to 3 has to stand in one cell; they name 0-2",
        ),
        ({"memory": {"cells": [{"cpus": "0-3", "memory_mib": 512}, {"cpus": "3", "memory_mib": 512}]}}, "each virtual CPU from 0 to 3"),
        (
            {"memory": {"nodes": "0", "nodes_mode": "interleave", "cells": [{"cpus": "0-3", "memory_mib": 1024, "node": 0}]}},
            "cells that name a node need strict",
        ),
    ],
)
def test_what_does_not_fit_the_machine_is_told(hardware: dict[str, t.Any], told: str) -> None:
    ((key, problem),) = table.combined_mistakes({**SIZE, **hardware})
    assert key in hardware and told in problem


@pytest.mark.parametrize("text", ["^0", "0,^0", "0-3,^0-3"])
@pytest.mark.parametrize("place", ["pin", "emulator_pin", "pins[0]", "nodes", "cells[0].cpus"])
def test_a_set_of_nothing_is_refused(place: str, text: str) -> None:
    """libvirt would refuse it once the machine is half made, and a cell without a CPU would differ for ever."""
    told = [problem for _key, problem in table.combined_mistakes({**SIZE, **hardware_with(place, text)})]
    assert f"{place}: {text!r} leaves no number; a set begins with what is in it, such as 0-7,^2" in told


@pytest.mark.parametrize(("text", "wrong"), [("3-1", "3-1 runs backwards; write 1-3"), ("0,9-8", "9-8 runs"), ("0-9,^5-4", "5-4 runs")])
@pytest.mark.parametrize("place", ["pin", "pins[0]", "nodes"])
def test_a_run_goes_upwards(place: str, text: str, wrong: str) -> None:
    ((_key, problem),) = table.combined_mistakes({**SIZE, **hardware_with(place, text)})
    assert problem.startswith(f"{place}: {wrong}")


def hardware_with(place: str, text: str) -> dict[str, t.Any]:
    if place in ("pin", "emulator_pin"):
        return {"cpu": {place: text}}
    if place == "pins[0]":
        return {"cpu": {"pins": [text]}}
    return {"memory": {"nodes": text} if place == "nodes" else {"cells": [{"cpus": text, "memory_mib": 1024}]}}


def test_more_processors_than_a_host_gives_one_machine() -> None:
    assert list(table.lacks({}, {"most_cpus": 3}, SIZE)) == [("cpus", "gives a machine at most 3 CPUs, and 4 are wanted")]
    assert not list(table.lacks({}, {"most_cpus": 4}, SIZE))


OFFERS = {"cpu_models": ["EPYC", "EPYC-Rome", "host-model"], "cpus": [0, 1, 2, 3], "nodes": [0], "hugepages_mib": {"2M": 512, "1G": 2048}}


@pytest.mark.parametrize(
    ("hardware", "told"),
    [
        ({"cpu": {"model": "EPIC"}}, "cannot give machines the CPU model 'EPIC'; near are EPYC"),
        ({"cpu": {"model": "host-passthrough"}}, "cannot give machines the CPU model 'host-passthrough'"),
        ({"cpu": {"pin": "2-9"}}, "has no processor 4-9; it has 0-3"),
        ({"cpu": {"pins": ["0", "7"], "emulator_pin": "5"}}, "has no processor 5,7; it has 0-3"),
        ({"memory": {"hugepages": "2M"}}, "has reserved 512 MiB of huge pages of 2M, a machine needs 1024"),
        ({"memory": {"hugepages": "16M"}}, "has reserved 0 MiB of huge pages of 16M"),
        ({"memory": {"nodes": "0-1"}}, "has no NUMA node 1; it has 0"),
        ({"memory": {"cells": [{"cpus": "0-3", "memory_mib": 1024, "node": 2}]}}, "has no NUMA node 2; it has 0"),
    ],
)
def test_what_a_host_lacks_is_said(hardware: dict[str, t.Any], told: str) -> None:
    ((_key, problem),) = table.lacks(hardware, OFFERS, SIZE)
    assert problem.startswith(told)
    assert not list(table.lacks(hardware, {"firmware": []}, SIZE)), "a host that does not tell is not judged"


def test_what_a_host_has_is_no_problem() -> None:
    hardware = {"cpu": {"model": "EPYC", "pins": ["0", "1-3"]}, "memory": {"hugepages": "1G", "nodes": "0"}}
    assert not list(table.lacks(hardware, OFFERS, SIZE))
