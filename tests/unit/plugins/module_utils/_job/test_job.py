# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import holds
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._job import bases as job_bases
from ansible_collections.basecast.fleet.plugins.module_utils._job import job as job_module
from ansible_collections.basecast.fleet.plugins.module_utils._job.claims import Claim, Claims, Keeper, checked_uses
from ansible_collections.basecast.fleet.plugins.module_utils._job.job import predict
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import Journal
from ansible_collections.basecast.fleet.plugins.module_utils._machine import health
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

from .conftest import Site

A, B = b"a".ljust(4096, b"\0"), b"b".ljust(4096, b"\0")
ABSENT = "ab" * 32


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_bases, "NODE_S", 0.3)
    monkeypatch.setattr(job_module, "LOOK_S", 0.05)


def states(told: t.Mapping[str, t.Any]) -> dict[str, str]:
    return {machine["machine"]: machine["state"] for machine in told["machines"]}


def test_machines_are_made_and_then_found(site: Site) -> None:
    base = put_base(site.stores["one"], A)
    work = site.work(base.sha256, base.sha256, record={"generation": 1, "secret": "x"})
    told = site.job(work).perform()
    assert (told["state"], told["changed"], states(told)) == ("done", True, {"m-1": "deployed", "m-2": "deployed"}), told
    machine = told["machines"][0]
    times = [machine[key] for key in ("base_there_at", "disks_at", "started_at", "reported_at")]
    assert times == sorted(times) and machine["report"]["hostname"] == "m-1"
    again = site.job(work, "run-2").perform()
    assert (again["changed"], states(again)) == (False, {"m-1": "present", "m-2": "present"})
    site.libvirt.known[0].is_running = False
    assert states(site.job(work, "run-3").perform()) == {"m-1": "started", "m-2": "present"}


@pytest.mark.parametrize("base_is_there", [True, False])
def test_what_the_run_held_is_given_back_at_the_end(site: Site, base_is_there: bool) -> None:
    store = site.stores["one"]
    base = put_base(store, A)
    for run in ("run-1", "run-2"):
        holds.hold([store], run, [base.sha256], 600.0)
    site.job(site.work(base.sha256 if base_is_there else "0" * 64), timeout_s=0.1).perform()
    assert [one.run for one in holds.standing(store)] == ["run-2"]


def test_the_relay_hears_how_far_machines_are(site: Site) -> None:
    base = put_base(site.stores["one"], A)
    job, heard = site.job(site.work(base.sha256)), []
    job._tell = lambda counts: heard.append(dict(counts))
    job.perform()
    assert heard[0] == {"wanted": 1, "disks": 0, "started": 0, "reported": 0, "failed": 0}
    assert heard[-1] == {"wanted": 1, "disks": 1, "started": 1, "reported": 1, "failed": 0}
    assert all(before != after for before, after in itertools.pairwise(heard))


def test_what_is_kept_of_a_job_tells_no_secret(site: Site) -> None:
    base = put_base(site.stores["one"], A)
    seeds = [{"machine": "m-1", "pool": "one", "user_data": "#!/bin/sh\necho verysecret\n"}]
    work = site.work(base.sha256, record={"generation": 1, "x": "verysecret"}, seeds=seeds)
    told = site.job(work).perform()
    journal = Journal(site.runtime_dir, "default", "shop")
    assert journal.read("run-1") == json.loads(json.dumps(told)) and "verysecret" not in json.dumps(told)
    assert os.stat(journal.path("run-1")).st_mode & 0o777 == 0o600


def test_prediction_touches_nothing(site: Site) -> None:
    work = site.work(
        ABSENT, record={"generation": 1}, references=[dict.fromkeys(("name", "version", "pin")) | {"sha256": ABSENT, "pool": "one"}]
    )
    context = site.context(work, check=True)
    machines, result = predict(context, site.boot(context))
    assert {name: machine.state for name, machine in machines.items()} == {"m-1": "deployed"} and result.changed
    assert set(result.after) == {"record", "references", "disks", "seeds", "machines"}
    assert site.libvirt.known == [] and os.listdir(site.pools["one"]) == []


def test_each_machine_starts_with_its_own_base(site: Site) -> None:
    here = put_base(site.stores["one"], A)
    late = put_base(site.stores["two"], B).sha256
    path = os.path.join(site.pools["two"], "bases", late)
    os.rename(path, path + ".away")
    site.node = {
        "started": True,
        "bases": {late: {"state": "fetching", "bytes": 1, "size_bytes": 2, "pool": "one", "msg": "", "attempts": []}},
    }
    job = site.job(site.work(here.sha256, late))
    seen: dict[str, t.Any] = {}

    def arrive() -> None:
        journal = Journal(site.runtime_dir, "default", "shop")
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and seen.get("m-1") != "deployed":
            seen.update(states(journal.read("run-1") or {"machines": []}))
            time.sleep(0.02)
        os.rename(path + ".away", path)

    thread = threading.Thread(target=arrive)
    thread.start()
    told = job.perform()
    thread.join()
    assert seen == {"m-1": "deployed", "m-2": "waiting"}
    assert states(told) == {"m-1": "deployed", "m-2": "deployed"}


@pytest.mark.parametrize(
    "node, reason",
    [
        (None, "no relay node of the run run-1"),
        ({"started": True, "bases": {}}, "was not asked to bring it"),
        (
            {
                "started": True,
                "bases": {
                    ABSENT: {
                        "state": "failed",
                        "bytes": 0,
                        "size_bytes": 2,
                        "pool": "one",
                        "msg": "No parent is left.",
                        "attempts": [{"error": "kvm2 has been silent"}],
                    }
                },
            },
            "No parent is left. Attempts: kvm2 has been silent",
        ),
        ({"started": False, "bases": {}}, "is not complete after 0.6 s"),
    ],
)
def test_a_base_that_does_not_come_fails_its_machines(node: t.Any, reason: str, site: Site) -> None:
    site.node = node
    here = put_base(site.stores["one"], A)
    references = [dict.fromkeys(("name", "version", "pin")) | {"sha256": ABSENT, "pool": "one"}]
    told = site.job(site.work(ABSENT, here.sha256, references=references), patience_s=0.2, timeout_s=0.6).perform()
    assert (told["state"], states(told)) == ("failed", {"m-1": "failed", "m-2": "deployed"})
    failed = told["machines"][0]
    assert reason in failed["problem"] and failed["step"] == "wait for its base"
    # Nobody is left who refers to what never came.
    assert site.stores["one"].references(ABSENT) == []


def test_a_node_that_plans_again_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetch fails, the node ends, it is started anew, and its new fetch brings the base."""
    monkeypatch.setattr(job_bases, "NODE_S", 30.0)
    base = put_base(site.stores["two"], A).sha256
    path = os.path.join(site.pools["two"], "bases", base)
    os.rename(path, path + ".away")
    about = {"bytes": 0, "size_bytes": 2, "pool": "one", "msg": "", "attempts": []}
    failed, fetching = ({"started": True, "bases": {base: {**about, "state": state}}} for state in ("failed", "fetching"))
    said: list[t.Any] = [failed, failed, None, None, fetching, "arrives"]

    def node() -> t.Any:
        answer = said.pop(0) if said else fetching
        if answer == "arrives":
            os.rename(path + ".away", path)
            return fetching
        return answer

    job = site.job(site.work(base), patience_s=30.0)
    monkeypatch.setattr(job._bases, "_node", node)
    told = job.perform()
    assert states(told) == {"m-1": "deployed"} and not said and told["relay"] == fetching


def test_a_silent_guest_hides_no_other(site: Site) -> None:
    base = put_base(site.stores["one"], A).sha256
    site.silent = {"shop-m-2"}
    told = site.job(site.work(base, base, base)).perform()
    assert states(told) == {"m-1": "deployed", "m-2": "failed", "m-3": "deployed"}
    assert (told["machines"][1]["reason"], told["machines"][1]["step"]) == ("silent", "wait for its report")
    assert told["summary"] == {"wanted": 3, "disks": 3, "started": 3, "reported": 2, "failed": 1}


def test_a_machine_that_cannot_be_defined_hides_no_other(site: Site) -> None:
    base = put_base(site.stores["one"], A).sha256
    work = site.work(base, base)
    work.machines[1].options["networks"].append({"network": "nowhere", "bridge": None, "mac": None, "model": "virtio"})
    told = site.job(work).perform()
    assert states(told) == {"m-1": "deployed", "m-2": "failed"} and "nowhere" in told["machines"][1]["problem"]


def test_a_disk_that_is_something_else_hides_no_other(site: Site) -> None:
    base, other = put_base(site.stores["one"], A).sha256, put_base(site.stores["one"], B).sha256
    site.job(site.work(base, machines=[{"machine": "m-1", "pool": "one", "networks": []}])).perform()
    site.libvirt.known.clear()
    told = site.job(site.work(other, other), "run-2").perform()
    assert states(told) == {"m-1": "failed", "m-2": "deployed"}
    assert told["machines"][0]["reason"] == "disk_conflict"


def test_copies_to_another_pool_come_before_the_disks(site: Site) -> None:
    base = put_base(site.stores["one"], A).sha256
    disks = [
        {"machine": "m-1", "name": "root", "pool": "two", "base": base, "differencing": False},
        {"machine": "m-2", "name": "root", "pool": "one", "base": base},
    ]
    work = site.work(base, base, disks=disks, clones=[{"pool": "two", "bases": [base]}])
    told = site.job(work).perform()
    assert states(told) == {"m-1": "deployed", "m-2": "deployed"}
    assert site.stores["two"].find(base) is not None


def test_two_jobs_at_once_both_end_well(site: Site) -> None:
    base = put_base(site.stores["one"], A).sha256
    jobs = [site.job(site.work(base, base), run) for run in ("run-1", "run-2")]
    told: list[t.Any] = []
    threads = [threading.Thread(target=lambda one: told.append(one.perform()), args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one["state"] for one in told] == ["done", "done"], told
    assert sorted(state for one in told for state in states(one).values()) == ["deployed", "deployed", "present", "present"]


def test_libvirt_that_is_restarted_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.basecast.fleet.plugins.module_utils._job import boot
    from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtMissing

    monkeypatch.setattr(boot, "_PAUSE_S", 0.05)
    base = put_base(site.stores["one"], A).sha256
    left = [3]
    connect = site.connect

    def away(uri: str) -> t.Any:
        left[0] -= 1
        if left[0] >= 0:
            raise LibvirtMissing("Cannot connect to libvirt")
        return connect(uri)

    monkeypatch.setattr(site, "connect", away)
    assert states(site.job(site.work(base)).perform()) == {"m-1": "deployed"}
    monkeypatch.setattr(boot, "RETURN_S", 0.1)
    left[0] = 1000
    told = site.job(site.work(base), "run-2").perform()
    assert states(told) == {"m-1": "unknown"} and told["state"] == "failed"


def test_a_defect_in_a_step_ends_the_job(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.basecast.fleet.plugins.module_utils._job import steps

    base = put_base(site.stores["one"], A).sha256
    monkeypatch.setattr(steps, "make_seeds", lambda *_args: 1 / 0)
    told = site.job(site.work(base)).perform()
    assert states(told) == {"m-1": "failed"} and "This is a defect" in told["machines"][0]["problem"]


def test_a_job_that_cannot_write_how_far_it_is_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    base = put_base(site.stores["one"], A).sha256

    def full(*_args: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device", "/run/x")

    monkeypatch.setattr(Journal, "write", full)
    told = site.job(site.work(base)).perform()
    assert states(told) == {"m-1": "deployed"} and told["state"] == "done"
    assert told["warnings"] == ["How far the job is could not be written down: /run/x: No space left on device"]


def test_whatever_ends_a_job_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = site.job(site.work(ABSENT))
    monkeypatch.setattr(job._bases, "look", lambda *_args: 1 / 0)
    told = job.perform()
    assert told["state"] == "failed" and states(told) == {"m-1": "failed"}
    assert "This is a defect" in told["machines"][0]["problem"] and told["machines"][0]["step"] == "run the job"
    assert (Journal(site.runtime_dir, "default", "shop").read("run-1") or {})["state"] == "failed"


# --- health, and whose turn it is ---------------------------------------------------------------


@pytest.fixture
def port() -> t.Iterator[int]:
    """One that answers on 127.0.0.2."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests are on this machine, and asked often."""
    monkeypatch.setattr(health, "usable", list)
    monkeypatch.setattr(health, "PAUSE_S", 0.05)


def roles(site: Site, *groups: str, turns: t.Any = None, checks: t.Mapping[str, t.Any] | None = None) -> t.Any:
    base = put_base(site.stores["one"], A)
    machines = [
        {
            "machine": f"m-{number}",
            "group": group,
            "pool": "one",
            "memory_mib": 64,
            "networks": [],
            "health": (checks or {}).get(group),
        }
        for number, group in enumerate(groups, 1)
    ]
    return site.work(*[base.sha256] * len(groups), machines=machines, turns=turns)


def test_health_is_told_and_a_machine_without_it_has_failed(site: Site, port: int, near: None) -> None:
    asked = {"ports": [port], "addresses": ["127.0.0.2"], "timeout_s": 1}
    told = site.job(roles(site, "web", "db", checks={"web": asked, "db": {**asked, "addresses": ["127.0.0.3"]}})).perform()
    assert states(told) == {"m-1": "deployed", "m-2": "failed"}
    well, ill = told["machines"]
    assert [(one["check"], one["ok"]) for one in well["health"]] == [(f"port {port}", True)]
    assert (ill["reason"], ill["step"], ill["running"]) == ("unhealthy", "check its health", True)
    assert "m-2 (accelerator" in ill["problem"] and f"port {port}: 127.0.0.3: Connection refused" in ill["problem"], ill["problem"]


def test_a_machine_that_stops_is_not_waited_for(site: Site, near: None) -> None:
    site.libvirt.on_start = lambda domain: (site.report(domain), setattr(domain, "is_running", False))
    work = roles(site, "web", checks={"web": {"ports": [1], "addresses": ["127.0.0.3"], "timeout_s": 60}})
    (machine,) = site.job(work).perform()["machines"]
    assert "has stopped" in machine["problem"]


def test_roles_of_one_host_start_in_their_order(site: Site) -> None:
    told = site.job(roles(site, "web", "db", turns={"after": {"m-1": ["db"]}})).perform()
    web, db = told["machines"]
    assert states(told) == {"m-1": "deployed", "m-2": "deployed"} and web["disks_at"] >= db["reported_at"]


def test_what_starts_after_a_failed_role_is_not_made(site: Site) -> None:
    site.silent = {"shop-m-2"}
    told = site.job(roles(site, "web", "db", "other", turns={"after": {"m-1": ["db"]}})).perform()
    assert states(told) == {"m-1": "failed", "m-2": "failed", "m-3": "deployed"}
    assert told["machines"][0]["problem"].startswith("m-1 was not started, as it starts after db: m-2: m-2 (accelerator")
    assert not os.path.exists(os.path.join(site.pools["one"], "machines", "shop", "m-1"))


ELSEWHERE = {"after": {"m-1": ["db"]}, "elsewhere": {"db": [{"machine": "db-1", "host": "kvm2"}]}}


@pytest.mark.parametrize(("state", "wanted"), [("ready", "deployed"), ("failed", "failed")])
def test_the_controller_tells_of_machines_elsewhere(site: Site, state: str, wanted: str) -> None:
    job = site.job(roles(site, "web", turns=ELSEWHERE))
    journal = Journal(site.runtime_dir, "default", "shop")
    waits: list[str] = []

    def tell() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not waits:
            waits.extend([msg] if (msg := (journal.read("run-1") or {"msg": ""})["msg"]) else [])
            time.sleep(0.02)
        journal.write_turns("run-1", {"db": {"state": state, "msg": "db-1 on kvm2: the disk is full"}})

    thread = threading.Thread(target=tell)
    thread.start()
    told = job.perform()
    thread.join()
    assert waits == ["1 machines wait for db."] and states(told) == {"m-1": wanted}
    assert wanted == "deployed" or told["machines"][0]["problem"].endswith("starts after db: db-1 on kvm2: the disk is full")


def test_a_host_asks_the_ports_of_machines_elsewhere_itself(site: Site, port: int, near: None) -> None:
    turns = {
        "after": ELSEWHERE["after"],
        "elsewhere": {"db": [{"machine": "db-1", "host": "kvm2", "health": {"ports": [port], "addresses": ["127.0.0.2"]}}]},
    }
    assert states(site.job(roles(site, "web", turns=turns)).perform()) == {"m-1": "deployed"}


def test_a_turn_that_never_comes_is_a_failure(site: Site) -> None:
    job = site.job(roles(site, "web", turns=ELSEWHERE))
    job._turns._limit_s = 0.2
    told = job.perform()
    assert told["machines"][0]["reason"] == "no_turn" and "nothing was heard of db within 0.2 s" in told["machines"][0]["problem"]


def test_whoever_ends_the_run_ends_the_wait(site: Site) -> None:
    claims = Claims(site.state_dir)
    assert claims.take(Claim("default", "shop", "run-1", checked_uses([{"name": "m-1"}])), 60) == ""
    job = site.job(roles(site, "web", turns=ELSEWHERE))
    job._claim = Keeper(claims, "default", "shop", "run-1", 60)
    journal = Journal(site.runtime_dir, "default", "shop")

    def stop() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not (journal.read("run-1") or {"msg": ""})["msg"]:
            time.sleep(0.02)
        claims.end("run-1")

    thread = threading.Thread(target=stop)
    thread.start()
    (machine,) = job.perform()["machines"]
    thread.join()
    assert (machine["reason"], machine["problem"]) == ("stopped", "m-1 was not started: the run was ended while it waited for db.")


def test_the_end_of_a_run_is_looked_up_once_for_all_that_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = {**ELSEWHERE, "after": {f"m-{number}": ["db"] for number in range(1, 5)}}
    job = site.job(roles(site, "web", "web", "web", "web", turns=turns))
    job._turns._limit_s = 1.2
    job._claim = Keeper(Claims(site.state_dir), "default", "shop", "run-1", 60)
    asked: list[None] = []
    looks: list[None] = []
    look = job._look
    monkeypatch.setattr(job._claim, "given_back", lambda: bool(asked.append(None)))  # type: ignore[func-returns-value]
    monkeypatch.setattr(job, "_look", lambda: (looks.append(None), look()))
    job.perform()
    assert 0 < len(asked) <= len(looks)


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ({"after": {"m-9": ["db"]}}, "turns.after: 'm-9' is not accepted"),
        ({"after": {"m-1": ["web"]}}, "turns.after.m-1: 'web' is not accepted"),
        ({"after": {"m-1": ["nobody"]}}, "turns.after.m-1: 'nobody' is not accepted"),
    ],
)
def test_turns_that_cannot_be_meant_are_refused(site: Site, turns: t.Any, words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        roles(site, "web", turns=turns)
