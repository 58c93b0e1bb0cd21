# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.drift import machine_spec
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.fleet_status import fleet_status
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.wrapped_text import NARROW as WIDTH
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_observation import variants
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_service_plan import manifest

TINY, CHILD = "1" * 64, "2" * 64
POOL = "/pool"


def base(sha256: str = TINY, name: str = "tiny 1", chain: t.Sequence[str] = (), **more: t.Any) -> dict[str, t.Any]:
    named, version = name.split()
    names = [{"tenant": "default", "name": named, "version": version}]
    return {"sha256": sha256, "size_bytes": 1 << 24, "chain": [*chain, sha256], "names": names, "tenants": ["default"], "pins": [], **more}


def disk(machine: str, service: str = "shop", sha256: str | None = TINY, **more: t.Any) -> dict[str, t.Any]:
    path = f"{POOL}/machines/{service}/{machine}/root.qcow2"
    known = {
        "path": path,
        "tenant": "default",
        "service": service,
        "machine": machine,
        "name": "root",
        "bytes": 4096,
        "virtual_bytes": 1 << 30,
    }
    return {**known, "base": sha256, "parent": None, **more}


def machine(name: str, service: str = "shop", **more: t.Any) -> dict[str, t.Any]:
    group, _dash, number = name.rpartition("-")
    about = {"group": group, "number": int(number), "domain": f"{service}-{name}", "running": True, "state": "running"}
    amounts = {"memory_mib": 96, "cpus": 1, "spec": {}, "disks": [disk(name, service)["path"]]}
    addresses = [{"address": f"10.0.{int(number) // 256}.{int(number) % 256}", "mac": "52:54:00:00:00:01", "source": "lease"}]
    return {"tenant": "default", "service": service, "machine": name, **about, **amounts, "addresses": addresses, **more}


def look(*names: str, pool: t.Any = None, bases: t.Any = None, **more: t.Any) -> dict[str, t.Any]:
    """A host that has these machines with their disks."""
    told = {
        "known": True,
        "reason": "",
        "host": {"cpus": 4, "memory_mib": 8192, "memory_available_mib": 4096, "load_1m": 0.5},
        "machines": [machine(name) for name in names],
        "others": {"domains": 0, "running": 0, "memory_mib": 0, "unread": 0},
        "services": [],
        "jobs": [],
        **more,
    }
    contents = {
        "path": POOL,
        "known": True,
        "free_bytes": 1 << 40,
        "total_bytes": 1 << 41,
        "bases": [base()] if bases is None else bases,
        "partials": [],
        "damaged": [],
        "disks": [disk(name) for name in names],
        "unfinished": [],
        "references": [],
        **(pool or {}),
    }
    return {"status": {**told, "pools": {"default": contents}}, "address": "192.0.2.1"}


def record(*names: str, host: str = "b", generation: int = 1) -> list[dict[str, t.Any]]:
    entries = {name: {"host": host, "group": name.rpartition("-")[0], "number": int(name.rpartition("-")[2])} for name in names}
    return [{"tenant": "default", "service": "shop", "generation": generation, "assignments": entries, "bases": [], "problem": None}]


def all_told() -> dict[str, t.Any]:
    two = [base(), base(CHILD, "app 2", [TINY])]
    services = record("web-1", "web-3")
    services[0]["bases"] = [{"name": "tiny", "version": "1", "sha256": TINY}]
    services[0]["scaled"] = {"generation": 1, "groups": {"web": {"count": 2, "of": 2, "at": 1.0}}}
    told = look("web-1", "web-2", bases=two, services=services, jobs=[{"tenant": "default", "service": "shop", "run": "r"}], seen_at=1.0)
    told["status"]["machines"][0].update(uuid="x", macs=["52:54:00:00:00:01"], report={"hostname": "x", "status": "done"}, problem=None)
    told["status"]["pools"]["default"].update(
        partials=[{"sha256": CHILD, "allocated_bytes": 5}],
        damaged=[{"sha256": "3" * 64, "damage": "gone", "path": "/x", "users": ["/y"]}],
        unfinished=[{"path": "/z", "bytes": 1, "changed_at": 1.0}],
        references=[{"sha256": TINY, "names": ["x"]}],
        others={"disks": 1, "bytes": 1},
    )
    return told


def test_what_a_host_leaves_out_hides_no_neighbour() -> None:
    wanted = manifest()
    for told in variants(all_told()):
        status = fleet_status({"a": look("db-1"), "b": told}, manifest=wanted)
        assert "db-1" in [one["machine"] for one in status["machines"]]


SILENT = {"msg": "Connection timed out"}


HALF = {"path": "/pool/machines/shop/web-5", "bytes": 5, "tenant": "default", "service": "shop", "machine": "web-5", "of": "web-1"}


def orphans(status: dict[str, t.Any]) -> list[tuple[str, str]]:
    return [(one["kind"], one["what"].rpartition("/")[2]) for one in status["orphans"]]


def test_machines_are_told_with_place_address_and_chain() -> None:
    two = [base(), base(CHILD, "app 2", [TINY])]
    status = fleet_status({"a": look("web-2", "web-1"), "b": look("db-1", bases=two, pool={"disks": [disk("db-1", sha256=CHILD)]})})
    assert status["ok"] and [one["machine"] for one in status["machines"]] == ["db-1", "web-1", "web-2"]
    db = status["machines"][0]
    assert (db["host"], db["address"], db["host_address"], db["bases"]) == ("b", "10.0.0.1", "192.0.2.1", ["app 2"])
    assert [layer["title"] for layer in db["disks"][0]["chain"]] == ["tiny 1", "app 2"]
    counted = {one["names"][0]: (one["disks"], list(one["hosts"])) for one in status["bases"]}
    assert counted == {"tiny 1": (3, ["a", "b"]), "app 2": (1, ["b"])}
    assert status["orphans"] == []


@pytest.mark.parametrize("silent", [SILENT, {"status": {"known": False}}, look(known=False, reason="libvirt does not answer.")])
def test_machines_of_a_silent_host_cannot_be_known(silent: dict[str, t.Any]) -> None:
    status = fleet_status({"a": look("web-1", services=record("web-2")), "b": silent})
    assert not status["ok"] and list(status["unknown"]) == ["b"] and "b cannot be known" in status["failures"][0]
    unseen = status["machines"][1]
    assert (unseen["machine"], unseen["known"], unseen["state"], unseen["host"]) == ("web-2", False, "unknown", "b")
    assert status["services"][0]["unknown"] == 1 and "record" not in dict(orphans(status))


@pytest.mark.parametrize(
    ("looks", "found"),
    [
        ({"a": look(pool={"disks": [disk("web-9")]})}, [("disk", "root.qcow2")]),
        ({"a": look("web-1", pool={"disks": []})}, [("machine", "root.qcow2"), ("reference", "tiny 1")]),
        ({"a": look("web-1", machines=[machine("web-1", disks=["/elsewhere/x.qcow2", "/pool/cd.iso"])])}, []),
        ({"a": look("web-1", services=record("web-2")), "b": look()}, [("record", "web-2")]),
        ({"a": look("web-1", services=record("web-2")), "b": look(jobs=[{"tenant": "default", "service": "shop", "run": "r"}])}, []),
        ({"a": look()}, [("reference", "tiny 1")]),
        ({"a": look(), "b": SILENT}, []),
        ({"a": look(bases=[base(pins=["keep"])])}, []),
        ({"a": look(bases=[base(), base(CHILD, "app 2", [TINY], pins=["keep"])])}, []),
        ({"a": look(bases=[], pool={"references": [{"sha256": TINY, "names": ["tiny 1"]}]})}, [("reference", "tiny 1")]),
        ({"a": look("web-1", pool={"partials": [{"sha256": CHILD, "in_use": True, "allocated_bytes": 5}]})}, []),
        ({"a": look("web-1", pool={"partials": [{"sha256": CHILD, "in_use": False, "allocated_bytes": 5}]})}, [("partial", "2" * 12)]),
        ({"a": look("web-1", pool={"unfinished": [{"path": "/pool/bases/x", "bytes": 5, "changed_at": 1.0}]})}, [("upload", "x")]),
        ({"a": look("web-1", pool={"half_clones": [HALF], "disks": [disk("web-1"), disk("web-5")]})}, [("clone", "web-5")]),
        ({"a": look("web-1", "web-5", pool={"half_clones": [HALF], "disks": [disk("web-1"), disk("web-5")]})}, []),
        # A disk that lies in the pool and was not made for a machine is nobody's business.
        ({"a": look("web-1", pool={"disks": [disk("web-1"), {"path": "/pool/child.qcow2", "bytes": 1}]})}, []),
        ({"a": look(pool={"disks": [disk("web-9")]}, known=False, reason="libvirt does not answer.")}, []),
    ],
)  # fmt: skip
def test_what_has_lost_its_owner(looks: dict[str, t.Any], found: list[tuple[str, str]]) -> None:
    assert orphans(fleet_status(looks)) == found


@pytest.mark.parametrize(
    ("other", "found"),
    [(look("web-1", pool={"disks": []}), []), (look(pool={"disks": []}), ["root.qcow2"]), (SILENT, [])],
    ids=["there", "nowhere", "silent"],
)  # fmt: skip
def test_the_machine_of_a_shared_disk_may_be_elsewhere(other: dict[str, t.Any], found: list[str]) -> None:
    shared = {"filesystem": {"type": "nfs4", "identity": "net:nfs4:server:/x:2", "shared": True}}
    first = look(pool={**shared, "disks": [disk("web-1")]})
    second = other
    if "status" in other:
        second = {**other, "status": {**other["status"], "pools": first["status"]["pools"]}}
    assert [one["what"].rpartition("/")[2] for one in fleet_status({"a": first, "b": second})["orphans"] if one["kind"] == "disk"] == found


@pytest.mark.parametrize(
    ("group", "changed", "drifted", "surplus", "missing"),
    [
        ({"per_host": 1}, {}, [], [], {}),
        ({"per_host": 2}, {}, [], [], {"web": 2}),
        ({"count": 1}, {}, [], ["web-2"], {}),
        ({"count": 5}, {}, [], [], {"web": 3}),
        ({"name": "app", "per_host": 1}, {}, [], ["web-1", "web-2"], {"app": 2}),
        ({"per_host": 1}, {"memory_mib": 640}, ["web-1", "web-2"], [], {}),
    ],
)  # fmt: skip
def test_a_manifest_shows_what_differs(
    group: dict[str, t.Any], changed: dict[str, t.Any], drifted: list[str], surplus: list[str], missing: dict[str, int]
) -> None:
    old = manifest(hosts=["a", "b"], per_host=1)
    spec = machine_spec({**old["machines"][0], "disks": [{**one, "pool": "fast"} for one in old["machines"][0]["disks"]]}, old)
    looks = {host: look(name, machines=[machine(name, spec=spec)]) for host, name in (("a", "web-1"), ("b", "web-2"))}
    wanted = manifest(**{"hosts": ["a", "b"], **group, **changed})
    for fails in (False, True):
        status = fleet_status(looks, manifest=wanted, fail_on_drift=fails)
        (service,) = status["services"]
        assert [one["machine"] for one in status["machines"] if one["drift"]] == drifted
        assert [one["machine"] for one in status["machines"] if one["surplus"]] == surplus
        assert service["missing"] == missing and service["differs"] is bool(drifted or surplus or missing)
        assert status["ok"] is not (fails and service["differs"])


def test_a_name_that_has_gone_is_drift() -> None:
    old = manifest(hosts=["a"], per_host=1)
    spec = machine_spec({**old["machines"][0], "disks": [{**one, "pool": "fast"} for one in old["machines"][0]["disks"]]}, old)
    looks = {"a": look("web-1", machines=[machine("web-1", spec=spec, dns_missing=["192.0.2.10"])])}
    status = fleet_status(looks, manifest=old)
    told = "drift: web-1: the entry of 192.0.2.10 is missing in the DNS of its network; a deployment makes it"
    assert told in " ".join(" ".join(status["text"]).split()) and status["services"][0]["differs"]


@pytest.mark.parametrize(
    ("going_on", "words"),
    [
        (True, "web-1: its disks are being flattened, 43 %"),
        (False, "web-1: the flattening of its disks waits for a run that lets it go on"),
    ],
)
def test_disks_that_lose_their_bases_are_told(going_on: bool, words: str) -> None:
    told = machine("web-1", flattening={"going_on": going_on, "percent": 43})
    status = fleet_status({"a": look("web-1", machines=[told])})
    assert status["machines"][0]["flattening"] == told["flattening"] and words in " ".join(" ".join(status["text"]).split())


def test_a_service_that_is_nowhere_is_missing() -> None:
    status = fleet_status({"a": look(), "b": SILENT}, manifest=manifest(hosts=["a", "b"], per_host=2))
    assert status["services"][0]["missing"] == {"web": 2}


def test_one_service_is_told_alone() -> None:
    both = [machine("web-1"), machine("page-1", "blog")]
    disks = [disk("web-1"), disk("page-1", "blog"), disk("web-7"), disk("page-7", "blog")]
    status = fleet_status({"a": look(machines=both, pool={"disks": disks})}, service="blog")
    assert [one["service"] for one in [*status["machines"], *status["services"], *status["orphans"]]] == ["blog"] * 3


def test_a_misspelt_service_is_not_told_as_none() -> None:
    looks = {"a": look("web-1", machines=[machine("web-1"), machine("page-1", "blog")])}
    lines = "\n".join(fleet_status(looks, service="shopp")["text"])
    assert "No service shopp on the hosts that were asked; there are: blog, shop" in lines
    assert "No service on the hosts that were asked" in "\n".join(fleet_status({"a": look()})["text"])


@pytest.mark.parametrize("service", [5, ["shop"], "sh\u00f6p", "../shop", "a b"])
@pytest.mark.parametrize("looks", [{}, {"a": look()}], ids=["before", "after"])
def test_a_service_that_cannot_be_meant_is_a_failure(looks: t.Any, service: t.Any) -> None:
    status = fleet_status(looks, service=service)
    assert not status["ok"] and status["failures"][0].startswith(f"service: invalid value {service!r}; expected a name")


@pytest.mark.parametrize(
    "told",
    [
        {"machines": [machine("web-1", addresses=[{"address": "-oProxyCommand=x", "source": "report"}])]},
        {"machines": [machine("web-1", service="../x")]},
        {"machines": [machine("web-1", running="yes")]},
        {"machines": 7},
        {"services": [{"tenant": "default"}]},
        {"known": None},
    ],
)  # fmt: skip
def test_nonsense_of_one_host_is_its_own_failure(told: dict[str, t.Any]) -> None:
    status = fleet_status({"a": look(**told), "b": look("web-2")})
    assert list(status["unknown"]) == ["a"] and [one["machine"] for one in status["machines"]] == ["web-2"]


def fleet(hosts: int, machines: int) -> dict[str, t.Any]:
    looks: dict[str, t.Any] = {}
    for number in range(hosts):
        names = [f"web-{index + 1}" for index in range(machines) if index % hosts == number]
        bases = [base(f"{index:064x}", f"base-{index} 2026") for index in range(20)]
        disks = [disk(name, sha256=f"{index % 20:064x}") for index, name in enumerate(names)]
        looks[f"kvm{number + 1}"] = look(*names, bases=bases, pool={"disks": disks}, services=record(*names, host=f"kvm{number + 1}"))
    return looks


def test_five_hundred_machines_are_summed_up_in_time() -> None:
    looks = fleet(32, 500)
    began = time.process_time()
    status = fleet_status(looks)
    assert time.process_time() - began < 1.0
    assert len(status["machines"]) == 500 and max(map(len, status["text"])) <= WIDTH


@pytest.mark.parametrize("long", ["x" * 50, "a-very-long-name-of-a-machine-that-somebody-chose"])
def test_every_line_fits(long: str) -> None:
    addresses = [{"address": "fd00:1234:5678:9abc:def0:1234:5678:9abc", "source": "lease"}] * 3
    strange = machine("web-1", machine=long, addresses=addresses, problem="word " * 40)
    status = fleet_status({f"host-{long}": look(machines=[strange]), "b": SILENT}, manifest=manifest(hosts=["b"], per_host=1))
    assert max(map(len, status["text"])) <= WIDTH
