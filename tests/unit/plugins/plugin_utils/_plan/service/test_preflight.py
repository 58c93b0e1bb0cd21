# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in a deployment's way is told before anything is changed, on every host at once."""

from __future__ import annotations

import functools
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.filter.place_one_more import place_one_more
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.tls import MARGIN_S
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import MARGIN
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import drift_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.plan_text import plan_text
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.preflight import CLOCK_LIMIT_S
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.service_plan import service_plan as any_service_plan
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import (
    A,
    held,
    host,
    manifest,
    problems,
)

service_plan = functools.partial(any_service_plan, skip_bad_hosts=False)

GIB = 1024**3
QEMU_IMG = {"what": "qemu-img", "package": "qemu-utils"}
LIBVIRT = {"what": "the libvirt daemon", "package": "libvirt-daemon-system"}


def pool(**facts: t.Any) -> dict[str, t.Any]:
    return {"memory_mib": 4096, "pools": {"default": {"path": "/p", "exists": True, "writable": True, "free_bytes": 10**12, **facts}}}


def test_too_much_memory_names_the_place_and_what_is_left() -> None:
    text = problems(service_plan(manifest(memory_mib=3000, per_host=2), {"a": host(held()), "b": host(held())}))
    assert "shop.yml: machines[0].memory_mib" in text
    assert "1096 MiB are left" in text
    taken = host(held(), domains=[{"domain": "x", "memory_mib": 4000}])
    assert "96 MiB are left" in problems(service_plan(manifest(), {"a": taken, "b": host(held())}))
    assert problems(service_plan(manifest(memory_mib=3000, per_host=2), {"a": host(held()), "b": host(held())}, memory_overcommit=2)) == ""


def test_a_pool_too_small_for_what_is_to_be_imported_is_a_note() -> None:
    given = manifest(source={"host": "a", "path": "y"})
    hosts = {"a": host(capacity=pool(free_bytes=8 * GIB)), "b": host(capacity=pool(free_bytes=GIB))}
    for size, full in ((GIB // 2, []), (2 * GIB, ["b"]), (9 * GIB, ["a", "b"])):
        plan = service_plan(given, hosts, files={"tiny": {"isreg": True, "size": size}})
        told = [note for note in plan["notes"] if "the source of tiny 1" in note]
        assert [note.partition(":")[0] for note in told] == full
        assert plan["problems"] == []
    assert "has 1 GiB free, and the source of tiny 1 9 GiB" in told[1]


def test_everything_that_is_missing_is_told_for_every_host_at_once() -> None:
    hosts = {
        "a": host(held(), missing=[QEMU_IMG], capacity=pool(exists=False)),
        "b": host(missing=[LIBVIRT], capacity=pool(writable=False), ports_free=[]),
    }
    assert service_plan(manifest(), hosts)["problems"] == [
        "a: qemu-img is missing; install the package qemu-utils",
        "shop.yml: machines[0].disks[0].pool: 'default' of a is /p, which is not there; make or mount it",
        "b: the libvirt daemon is missing; install the package libvirt-daemon-system",
        "shop.yml: machines[0].disks[0].pool: 'default' of b, /p, cannot be written to",
        "b: every port of 47700-47799 on 192.0.2.1 is taken; set basecast_port_range to others",
    ]
    elsewhere = service_plan(manifest(disk={"pool": "fast"}), {"a": host(held()), "b": host(held())})
    assert "'fast' is not a pool of a; its pools are: default" in problems(elsewhere)


def test_a_host_that_only_imports_needs_qemu_img_and_one_that_only_relays_nothing() -> None:
    source = manifest(source={"host": "c", "path": "x"})
    new = {"a": host(), "b": host(), "c": host(missing=[QEMU_IMG, LIBVIRT], capacity=pool(writable=False))}
    assert service_plan(source, new)["problems"] == [
        "c: qemu-img is missing; install the package qemu-utils",
        "shop.yml: bases[0].source: 'default' of c, /p, cannot be written to",
    ]
    assert service_plan(source, {**new, "c": host(held(), missing=[QEMU_IMG, LIBVIRT])})["problems"] == []


def test_a_host_that_is_to_relay_has_to_listen_at_its_address() -> None:
    behind_nat = {"address": "198.51.100.7", "address_local": False, "ports_free": []}
    (told,) = service_plan(manifest(), {"a": host(held(), **behind_nat), "b": host()})["problems"]
    assert told.startswith("a: 198.51.100.7 is not an address that this host can listen on; set basecast_address")
    assert service_plan(manifest(), {"a": host(held(), **behind_nat), "b": host(held())})["problems"] == [], "nothing is relayed"


def test_hosts_that_have_no_work_are_not_looked_at() -> None:
    idle = host(missing=[QEMU_IMG], capacity=pool(exists=False), ports_free=[])
    assert service_plan(manifest(), {"a": host(held()), "b": host(held()), "c": idle})["problems"] == []


def test_hardware_that_a_host_cannot_give_is_told_for_every_host() -> None:
    poor = {"firmware": ["bios"], "tpm": [], "machine_types": ["pc", "q35"]}
    rich = {"firmware": ["bios", "uefi"], "tpm": ["2.0"], "machine_types": ["pc", "q35"]}
    asked = manifest(firmware="uefi", tpm="2.0", machine_type="q36")
    hosts = {"a": host(held(), offers=poor), "b": host(held(), offers=rich)}
    assert service_plan(asked, hosts)["problems"] == [
        "shop.yml: machines[0].machine_type: a has no machine type 'q36'; it has pc, q35 and versions of them (virsh capabilities)",
        "shop.yml: machines[0].firmware: a has no UEFI firmware for machines; install OVMF (the package ovmf, on EL edk2-ovmf)",
        "shop.yml: machines[0].tpm: a cannot emulate a TPM 2.0; install swtpm (the packages swtpm and swtpm-tools)",
        "shop.yml: machines[0].machine_type: b has no machine type 'q36'; it has pc, q35 and versions of them (virsh capabilities)",
    ]
    assert service_plan(manifest(), hosts)["problems"] == [], "nobody asked for any"
    assert service_plan(asked, {"a": host(held()), "b": host(held(), offers=None)})["problems"] == [], "not known is not lacking"


@pytest.mark.parametrize(("size_gib", "accepted"), [(1, False), (2, True), (3, True), (None, True)])
def test_a_disk_smaller_than_its_base_is_a_problem_of_the_plan(size_gib: int | None, accepted: bool) -> None:
    known = held(virtual_size_bytes=2 * GIB)
    disk = {"size_gib": size_gib} if size_gib else {}
    told = problems(service_plan(manifest(disk=disk), {"a": host(known), "b": host()}))
    assert told == (
        ""
        if accepted
        else "shop.yml: machines[0].disks[0].size_gib: 1 GiB is less than tiny 1 itself has; at least 2 GiB are accepted, or no size for the base's own"
    )


def test_a_base_has_to_fit_into_the_pool_that_it_is_fetched_to() -> None:
    big = held(size_bytes=10 * GIB)
    hosts = {"a": host(big), "b": host(capacity=pool(free_bytes=4 * GIB))}
    assert service_plan(manifest(), hosts)["problems"] == ["b: the pool 'default', /p, has 4 GiB free; needed are 10 GiB for tiny 1"]
    sparse = {**hosts, "a": host({**big, "allocated_bytes": 3 * GIB})}
    assert service_plan(manifest(), sparse)["problems"] == []
    begun = host(capacity=pool(free_bytes=4 * GIB))
    begun["pools"]["default"]["partials"] = [{"sha256": A, "allocated_bytes": 7 * GIB}]
    assert service_plan(manifest(), {**hosts, "b": begun})["problems"] == []


def test_whole_copies_have_to_fit_beside_the_base() -> None:
    big = held(size_bytes=3 * GIB)
    hosts = {"a": host(big, capacity=pool(free_bytes=5 * GIB)), "b": host(big)}
    copies = manifest(disk={"differencing": False}, per_host=2)
    assert service_plan(copies, hosts)["problems"] == ["a: the pool 'default', /p, has 5 GiB free; needed are 6 GiB for copies of tiny 1"]
    hosts["a"]["pools"]["default"]["filesystem"] = {"reflink": True}
    assert service_plan(copies, hosts)["problems"] == [], "reflinks take no space"


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ({"network": "default"}, ""),
        ({"network": "off"}, "machines[0].networks: a has the network 'off', but it is not active; start it (virsh net-start off)"),
        ({"network": "none"}, "machines[0].networks: a has no network 'none'; active are: default"),
        ({"bridge": "br0"}, ""),
        ({"macvtap": "eth0"}, ""),
        ({"macvtap": "eth9"}, "machines[0].networks: a has no network interface 'eth9'; it has: eth0"),
        ({"open_vswitch": "ovs0"}, ""),
        ({"open_vswitch": "br0"}, "machines[0].networks: a has no Open vSwitch bridge 'br0'; it has: ovs0"),
        ({"bridge": "br1"}, "machines[0].networks: a has no bridge 'br1'; it has: br0"),
    ],
)
def test_a_network_that_is_missing_is_foreseen(network: dict[str, str], told: str) -> None:
    seen = {"networks": {"default": True, "off": False}, "bridges": ["br0"], "offers": {"interfaces": ["eth0"], "open_vswitch": ["ovs0"]}}
    found = problems(service_plan(manifest(hosts=["a"], networks=[network]), {"a": host(held(), **seen)}))
    assert told in found
    assert bool(found) is bool(told)
    # A host that did not tell is not judged.
    assert problems(service_plan(manifest(hosts=["a"], networks=[network]), {"a": host(held())})) == ""


@pytest.mark.parametrize("missing", [[], [LIBVIRT]])
def test_a_host_whose_libvirt_is_silent_gets_no_machine(missing: list[dict[str, str]]) -> None:
    seen = {"known": True, "reason": "Cannot connect to libvirt: refused", "missing": missing}
    found = problems(service_plan(manifest(hosts=["a"]), {"a": host(held(), **seen)}))
    assert ("a: Cannot connect to libvirt: refused" in found) is not bool(missing)
    assert found


@pytest.mark.parametrize(
    ("size_gib", "per_host", "facts", "note"),
    [
        (2, 1, {"free_bytes": 574 * 2**20}, "new disks may grow to 2 GiB, 0.561 GiB are free"),
        (2, 3, {"free_bytes": 5 * GIB}, "new disks may grow to 6 GiB, 5 GiB are free"),
        (2, 1, {"free_bytes": 5 * GIB, "promised_bytes": 4 * GIB}, "may grow to 2 GiB on top of the 4 GiB that existing disks may grow by"),
        (2, 1, {"free_bytes": 5 * GIB, "promised_bytes": 3 * GIB}, ""),
    ],
)
def test_over_commitment_is_told_and_does_not_stop(size_gib: float, per_host: int, facts: dict[str, int], note: str) -> None:
    wanted = manifest(hosts=["a"], per_host=per_host, memory_mib=64, disk={"size_gib": size_gib})
    plan = service_plan(wanted, {"a": host(held(virtual_size_bytes=1000), capacity=pool(**facts))})
    assert plan["problems"] == []
    assert note in " ".join(plan["notes"])
    assert bool(plan["notes"]) is bool(note)
    shown = " ".join(" ".join(plan_text(plan)).split())
    assert all(f"note: {text}" in shown for text in plan["notes"])


def clock(ahead_s: float) -> dict[str, t.Any]:
    return {"utc": "2026-03-02T18:00:00Z", "controller_utc": "2026-03-01T12:00:00Z", "ahead_s": ahead_s}


@pytest.mark.parametrize(
    ("ahead_s", "problem", "note"),
    [
        (108_000.0, "30.0 h ahead of it; the certificates", ""),
        (-108_000.0, "30.0 h behind it; the certificates", ""),
        (86_401.0, "24.0 h ahead of it; the certificates", ""),
        (86_400.0, "", "24.0 h ahead of it; set both clocks, the ages"),
        (-90.0, "", "90 s behind it; set both clocks"),
        (60.0, "", ""),
        (None, "", ""),
    ],
)
def test_clocks_that_differ_are_told_beforehand(ahead_s: float, problem: str, note: str) -> None:
    plan = service_plan(manifest(), {"a": host(held()), "b": host(clock=clock(ahead_s))})
    begin = "b: its clock says 2026-03-02T18:00:00Z and the controller's 2026-03-01T12:00:00Z, "
    for found, expected in ((plan["problems"], problem), (plan["notes"], note)):
        told = [text for text in found if "clock" in text]
        assert len(told) == bool(expected)
        assert all(text.startswith(begin + expected) for text in told)


def test_a_host_without_a_part_in_a_relay_may_have_any_clock() -> None:
    both = {"a": host(held(), clock=clock(1e6)), "b": host(held(), clock=clock(1e6))}
    assert not [text for text in service_plan(manifest(), both)["problems"] if "clock" in text]


def test_clocks_may_differ_as_far_as_certificates_allow() -> None:
    assert CLOCK_LIMIT_S == MARGIN.total_seconds() == MARGIN_S


XML = [{"path": "devices", "add": "<sound model='ich9'/>"}]


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, "a takes no XML of a manifest; an administrator may allow it (basecast_machine_xml: true)"),
        ({"machine_xml": False, "xml_problems": {}}, "a takes no XML of a manifest"),
        ({"machine_xml": True, "xml_problems": {}}, ""),
        ({"machine_xml": True, "xml_problems": {"db": "wrong"}}, ""),
        ({"machine_xml": True, "xml_problems": {"web": "libvirt's schema says no"}}, "a: libvirt's schema says no"),
        ({"machine_xml": True, "xml_problems": None}, "a: it is not known whether libvirt accepts it"),
        ({"machine_xml": True}, "a: it is not known"),
    ],
)
def test_xml_needs_an_administrator_and_libvirt(facts: dict[str, t.Any], told: str) -> None:
    hosts = {"a": host(held(), **facts)}
    problems = service_plan(manifest(xml=XML, hosts=["a"]), hosts)["problems"]
    assert [problem.startswith(f"shop.yml: machines[0].xml: {told}") for problem in problems] == ([True] if told else [])
    assert service_plan(manifest(hosts=["a"]), hosts)["problems"] == []


def test_an_existing_machine_needs_no_permission_for_its_xml() -> None:
    hosts = {"a": host(held(), machine_xml=True, xml_problems={})}
    made = service_plan(manifest(xml=XML, hosts=["a"]), hosts)["hosts"]["a"]["machines"]
    hosts = {"a": host(held(), machines=[{**made[0], "running": True}])}
    assert service_plan(manifest(xml=XML, hosts=["a"]), hosts)["problems"] == []
    (machine,) = service_plan(manifest(xml=[{"path": "features", "add": "<hap/>"}], hosts=["a"]), hosts)["machines"]
    assert drift_text([machine]) == ["drift: web-1: xml has changed"]


def test_a_choice_among_hosts_leaves_those_out_that_lack_what_the_machines_ask_for() -> None:
    wanted = manifest(hosts=["a", "b", "c"], count=2, networks=[{"bridge": "br1"}])
    seen = {"a": host(held(), bridges=[]), "b": host(held(), bridges=["br1"]), "c": host(held(), grants={"*": {"network": ["*"]}})}
    plan = service_plan(wanted, seen)
    assert [machine["host"] for machine in plan["machines"]] == ["b", "b"]
    assert plan["problems"] == []
    why = {rating["host"]: rating["reasons"][0] for rating in plan["ratings"]["web-1"] if not rating["fits"]}
    assert why["a"] == "it has no bridge 'br1'; it has: none"
    assert why["c"].startswith("it does not let the tenant default use the bridge br1")
    assert place_one_more(wanted, seen)["web"]["host"] == "b"


def test_where_every_host_lacks_it_each_says_so() -> None:
    wanted = manifest(hosts=["a", "b"], count=2, networks=[{"bridge": "br1"}])
    text = problems(service_plan(wanted, {name: host(held(), bridges=[]) for name in "ab"}))
    assert "a has no bridge 'br1'" in text
    assert "b has no bridge 'br1'" in text
