# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import capacity
from ansible_collections.basecast.fleet.plugins.modules import host_capacity_info

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(host_capacity_info)


def test_a_host(run: Run, disk_pools: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        result = run(address="127.0.0.1", port_range=f"{port}-{port}")
    assert (result["ports_free"], result["address_local"]) == ([], True)
    found = result["capacity"]
    assert found["cpus"] > 0
    assert found["memory_mib"] >= found["memory_available_mib"] > 0
    pool = found["pools"]["one"]
    assert pool["total_bytes"] > pool["free_bytes"] > 0
    assert (pool["promised_bytes"], pool["write_mbps"], pool["path"]) == (0, None, disk_pools["one"])


def test_the_disk_is_measured_when_asked(run: Run, tmp_path: t.Any) -> None:
    assert run(measure_disk=True, port_range="1-1")["capacity"]["pools"]["one"]["write_mbps"] > 0
    assert list((tmp_path / "one").iterdir()) == []


def test_an_address_of_another_host(run: Run) -> None:
    result = run(address="203.0.113.9")
    assert (result["address_local"], result["ports_free"]) == (False, [])


@pytest.mark.parametrize("ports", ["x", "1", "5-4", "0-5", "1-70000", "1-2000"])
def test_refused_ports(run: Run, ports: str) -> None:
    assert run(port_range=ports)["failure"]["kind"] == "invalid_option"


def test_memory_is_read() -> None:
    assert capacity.parse_meminfo("MemTotal:  2048000 kB\nHugePages_Total: 0\nodd\n")["MemTotal"] == 2000


def test_what_is_missing_is_named_with_its_package() -> None:
    nothing = {"qemu_img": False, "qemu_system": False, "python3_libvirt": False, "iso_tool": None, "libvirtd": False}
    named = {item["package"] for item in capacity.missing(nothing)}
    assert {"qemu-utils", "python3-libvirt", "xorriso", "libvirt-daemon-system"} <= named
    everything = dict.fromkeys(nothing, True)
    assert capacity.missing(everything) == []


def test_the_clock_stands_beside_the_controllers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(port_range="1-1")["clock"]["ahead_s"] is None
    monkeypatch.setattr(host_capacity_info.time, "time", lambda: 1_800_000_000.0)
    assert run(port_range="1-1", controller_clock=1_800_000_000.0 + 30 * 3600)["clock"] == {
        "utc": "2027-01-15T08:00:00Z",
        "controller_utc": "2027-01-16T14:00:00Z",
        "ahead_s": -108000.0,
    }


@pytest.mark.parametrize("value", [-1.0, 1e12, float("nan"), float("inf")])
def test_a_clock_that_cannot_be_is_refused(run: Run, value: float) -> None:
    assert "controller_clock" in run(port_range="1-1", controller_clock=value)["msg"]
