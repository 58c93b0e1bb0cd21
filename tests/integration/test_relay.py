# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The relay through its real modules: one node process for each host of an inventory, all on this machine."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import hash_file
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.daemon import start_time
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.run_directory import RunDirectory
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates
from ansible_collections.basecast.fleet.tests.integration.relay_site import HOSTS, Site, begin_relay, put_base, wait_until
from ansible_collections.basecast.fleet.tests.lab import Lab
from ansible_collections.basecast.fleet.tests.lab._pace import patience
from ansible_collections.basecast.fleet.tests.lab.relay_run import RelayRun


def test_a_chain_of_nodes_through_the_modules(site: Site) -> None:
    metadata = site.put_base("kvm1", 8 * 1024 * 1024 + 77)
    plan = {"kvm1": [], "kvm 2": ["kvm1"], "kvm3": ["kvm 2", "kvm1"]}
    done = site.play("--forks", "1", metadata=metadata, parents=plan)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = [(link["from"], link["to"]) for host in HOSTS for link in site.result[host]["probe"]["links"]]
    assert sorted(measured) == sorted((a, b) for a in HOSTS for b in HOSTS if a != b)
    assert site.result["kvm1"]["probe"]["disk_write_mbps"] > 0
    for host in HOSTS:
        base = site.result[host]["finished"]["node"]["bases"][metadata["sha256"]]
        assert (base["state"], base["attempts"]) == ("holding", [])
        found = Store(str(site.pool(host))).find(metadata["sha256"])
        assert found is not None
        assert hash_file(found.path)[0] == metadata["sha256"]
        node = site.result[host]["listening"]["node"]
        assert not start_time(node["pid"])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((node["address"], node["port"]), timeout=2).close()
        assert not (Path(site.hosts[host]["runtime_dir"]) / "test").exists()
    assert site.result["kvm1"]["finished"]["node"]["bases"][metadata["sha256"]]["sent_bytes"] <= 5 * 1024 * 1024


def test_a_killed_node_is_started_again_and_resumes(site: Site) -> None:
    """Both nodes are killed in the middle; the run is repeated, with other certificates, and goes on."""
    metadata = site.put_base("kvm1", 16 * 1024 * 1024)
    site.listen("kvm1", rate_mbps=16)
    site.listen("kvm3")
    site.start("kvm1", metadata, [])
    site.start("kvm3", metadata, ["kvm1"])
    wait_until(lambda: site.base("kvm3")["received_bytes"] > 2 * 1024 * 1024)
    first = dict(site.peers)
    site.kill("kvm3")
    site.kill("kvm1")
    failed = site.call("kvm3", state="finished", timeout_s=5)
    assert failed["failed"]
    assert "relay node of the run test is not running" in failed["msg"]
    assert Store(str(site.pool("kvm3"))).find(metadata["sha256"]) is None

    site.credentials = make_certificates("test", HOSTS, 600, datetime.datetime.now(datetime.UTC))
    assert site.listen("kvm1")["changed"]
    assert site.listen("kvm3")["changed"]
    assert site.peers["kvm1"]["port"] == first["kvm1"]["port"]
    assert site.peers["kvm1"]["pid"] != first["kvm1"]["pid"]
    assert site.start("kvm1", metadata, [])["changed"]
    assert site.start("kvm3", metadata, ["kvm1"])["changed"]
    assert not site.start("kvm3", metadata, ["kvm1"])["changed"]
    done = site.call("kvm3", state="finished", timeout_s=20)
    (base,) = done["node"]["bases"].values()
    assert base["state"] == "holding", done
    # Half of the file is zero bytes, which are neither sent nor written.
    assert base["received_bytes"] < 8 * 1024 * 1024 - 2 * 1024 * 1024 + 200_000
    found = Store(str(site.pool("kvm3"))).find(metadata["sha256"])
    assert found is not None
    assert hash_file(found.path)[0] == metadata["sha256"]
    assert os.stat(found.path).st_blocks * 512 < 9 * 1024 * 1024

    # A node of the same run whose certificates are outdated makes way; the same again changes nothing.
    assert not site.listen("kvm3")["changed"]
    site.credentials = make_certificates("test", HOSTS, 600, datetime.datetime.now(datetime.UTC))
    outdated = site.peers["kvm3"]["pid"]
    assert site.listen("kvm3")["changed"]
    assert not start_time(outdated)
    assert site.start("kvm3", metadata, [])["node"]["bases"]
    assert site.call("kvm3", state="finished", timeout_s=5)["node"]["settled"]
    site.kill("kvm3")
    assert site.call("kvm3", state="stopped")["changed"]
    assert not site.call("kvm3", state="stopped")["changed"]
    assert site.call("kvm1", state="stopped")["changed"]
    assert not start_time(site.peers["kvm1"]["pid"])


def test_failures_are_told_and_secrets_are_not(site: Site) -> None:
    metadata = site.put_base("kvm1", 4 * 1024 * 1024)
    for host in HOSTS:
        site.listen(host, patience_s=2)
    early = site.call("kvm1", state="finished", timeout_s=5)
    assert early["failed"]
    assert "was not given its part of the plan" in early["msg"]
    site.start("kvm1", metadata, [])
    shutil.rmtree(site.pool("kvm3"))
    site.start("kvm3", metadata, ["kvm1"])
    site.start("kvm 2", {**metadata, "chunks_sha256": "0" * 64}, ["kvm1", "nobody"])
    gone = site.call("kvm3", state="finished", timeout_s=10)
    assert gone["failed"]
    assert f"Base {metadata['sha256']} did not arrive in the pool default: The pool" in gone["msg"]
    assert "does not exist" in gone["msg"]
    assert gone["failure"]["failed"] == [metadata["sha256"]]
    assert gone["node"]["bases"][metadata["sha256"]]["state"] == "failed"
    refused = site.call("kvm 2", state="finished", timeout_s=10)
    assert refused["failed"]
    assert "another chunk list" in refused["msg"]
    assert "nobody is not among the peers" in refused["msg"]
    assert not list(site.pool("kvm 2").glob("bases/.partial/*"))
    late = site.call("kvm1", state="finished", timeout_s=0.1)
    assert late["node"]["bases"][metadata["sha256"]]["state"] == "holding"

    pid = site.peers["kvm1"]["pid"]
    directory = Path(site.hosts["kvm1"]["runtime_dir"]) / "test"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "node.log").stat().st_mode & 0o777 == 0o600
    secret = site.credentials["kvm1"]["key"].splitlines()[1]
    for path in directory.iterdir():
        if path.is_file():
            assert secret not in path.read_text()
    assert b"PRIVATE KEY" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert secret not in site.output
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in listening.splitlines() if f"pid={pid}," in line)
    assert f" {site.peers['kvm1']['address']}:{site.peers['kvm1']['port']} " in line
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not directory.exists())
    assert not site.call("kvm1", state="stopped")["changed"]
    for host in ("kvm 2", "kvm3"):
        site.call(host, state="stopped")


def test_a_running_node_takes_other_limits_and_yields_to_others(site: Site) -> None:
    """And a run without encryption says so."""
    metadata = site.put_base("kvm1", 16 * 1024 * 1024)
    first = site.listen("kvm1", links={"kvm3": 2}, nice=7, io_idle=True, encryption=False)
    assert "do not encrypt" in str(first["warnings"])
    pid = first["node"]["pid"]
    for thread in os.listdir(f"/proc/{pid}/task"):
        assert os.getpriority(os.PRIO_PROCESS, int(thread)) == 7
        told = subprocess.run(["ionice", "-p", thread], capture_output=True, text=True, check=True).stdout
        assert told.startswith("idle")
    assert site.listen("kvm3", encryption=False)["node"]["encryption"] is False
    site.start("kvm1", metadata, [])
    site.start("kvm3", metadata, ["kvm1"])
    wait_until(lambda: site.base("kvm3")["received_bytes"] > 0)
    check = site.call("kvm1", state="limited", links={}, _ansible_check_mode=True)
    assert check["changed"]
    # At 2 Mbit/s it would take half a minute more.
    lifted = site.call("kvm1", state="limited", links={}, streams=2)
    assert lifted["changed"]
    assert lifted["node"]["limits"] == {"rate_mbps": 0.0, "links": {}, "streams": 2}
    assert not site.call("kvm1", state="limited", links={}, streams=2)["changed"]
    done = site.call("kvm3", state="finished", timeout_s=15)
    assert done["node"]["bases"][metadata["sha256"]]["state"] == "holding", done
    # The same node would be of no use to a run that encrypts.
    again = site.listen("kvm3")
    assert "warnings" not in again
    assert again["changed"]
    for host in ("kvm1", "kvm3"):
        site.call(host, state="stopped")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": "198.51.100.1"}, "No port of 47700-47799 on 198.51.100.1 can be bound"),
        ({"credentials": {"ca": "no PEM 1", "certificate": "no PEM 2", "key": "no PEM 3"}}, "credentials cannot be used"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_an_error_of_the_module(site: Site, options: dict[str, t.Any], message: str) -> None:
    usual = {
        "state": "listening",
        "host": "kvm1",
        "address": site.hosts["kvm1"]["basecast_address"],
        "credentials": site.credentials["kvm1"],
    }
    answer = site.call("kvm1", **{**usual, **options})
    assert answer["failed"]
    assert message in answer["msg"]
    assert not list((site.directory / "run0").glob("test/node.sock"))


END = """
- hosts: all
  gather_facts: false
  tasks:
    - basecast.fleet.relay_transfer:
        state: finished
        run: test
        timeout_s: 40
      register: finished
    - ansible.builtin.debug:
        msg: "NODE {{ finished.node | to_json }}"
    - basecast.fleet.relay_node:
        state: stopped
        run: test
"""


def end_relay(lab: Lab, *options: str) -> subprocess.CompletedProcess[str]:
    playbook = lab.state / "end.yml"
    playbook.write_text(END)
    return lab.playbook([playbook, *options])


@pytest.mark.timeout(150)
def test_a_relay_that_loses_power_in_the_middle_costs_seconds(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    """A chain of four hosts at 100 Mbit/s: the second is gone in silence, the third goes on from the first."""
    size = 40 * 1024 * 1024
    lab = fresh_lab_factory(hosts=4, rate_mbps=100)
    pools, metadata = put_base(lab, size)
    sha256 = metadata["sha256"]
    chain = {"kvm1": [], "kvm2": ["kvm1"], "kvm3": ["kvm2", "kvm1"], "kvm4": ["kvm3", "kvm2", "kvm1"]}
    begin_relay(lab, metadata, chain)
    partial = pools["kvm4"] / "bases" / ".partial" / sha256 / "map"
    wait_until(lambda: partial.exists() and partial.read_bytes().count(1) > 5)
    assert not Store(str(pools["kvm2"])).find(sha256), "the transfer was over before the power was cut"
    lab.hosts["kvm2"].power_cut()
    cut_at = time.monotonic()
    ended = end_relay(lab, "--limit", "kvm1,kvm3,kvm4")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    # Six seconds of silence, and what was left of four seconds of transfer.
    assert time.monotonic() - cut_at < 30
    for name in ("kvm3", "kvm4"):
        found = Store(str(pools[name])).find(sha256)
        assert found is not None
        assert hash_file(found.path)[0] == sha256
    assert "kvm2 delivered" in ended.stdout or "kvm2 has been silent for" in ended.stdout
    assert Store(str(pools["kvm2"])).find(sha256) is None
    received = [int(number) for number in re.findall(r'received_bytes[\\"]+: (\d+)', ended.stdout)]
    assert len(received) == 3
    assert max(received) < 1.15 * size


@pytest.mark.timeout(150)
def test_pools_that_fail_cost_their_own_hosts_and_nobody_else(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    """A chain: kvm2 has no room for the whole base, kvm3's pool is read-only, kvm4's partial is removed under it."""
    size = 24 * 1024 * 1024
    lab = fresh_lab_factory(hosts=5, rate_mbps=50, pools={"default": ("tmpfs", 64)})
    pools, metadata = put_base(lab, size)
    sha256 = metadata["sha256"]
    lab.hosts["kvm2"].fill_pool("default", 8 * 1024 * 1024)
    lab.hosts["kvm3"].run(["mount", "-o", "remount,bind,ro", lab.hosts["kvm3"].pools["default"]])
    chain = {"kvm1": [], **{f"kvm{n}": [f"kvm{n - 1}", "kvm1"] for n in range(2, 6)}}
    begin_relay(lab, metadata, chain)
    partial = pools["kvm4"] / "bases" / ".partial" / sha256
    wait_until(lambda: (partial / "map").exists() and (partial / "map").read_bytes().count(1) > 5)
    shutil.rmtree(partial)
    ended = end_relay(lab)
    told = dict(re.findall(r"fatal: \[(.*?)\].*?did not arrive in the pool default: ([^\"]*)", ended.stdout))
    assert told.keys() == {"kvm2", "kvm3", "kvm4"}, ended.stdout
    assert "may be written there" in told["kvm2"]
    assert "Read-only file system" in told["kvm3"]
    assert "No such file or directory" in told["kvm4"]
    for name in ("kvm2", "kvm3", "kvm4"):
        assert Store(str(pools[name])).find(sha256) is None
        assert not (pools[name] / "bases" / sha256).exists()
    found = Store(str(pools["kvm5"])).find(sha256)
    assert found is not None
    assert hash_file(found.path)[0] == sha256


@pytest.mark.timeout(150)
@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.variant)], ids=["both live", "the first is killed"])
def test_two_runs_transport_a_base_once_and_nobody_waits_for_the_end_of_it(fresh_lab_factory: t.Callable[..., Lab], killed: bool) -> None:
    """The second run finds the first one fetching at kvm2; its kvm3 has no other way than over that host."""
    size = 24 * 1024 * 1024
    lab = fresh_lab_factory(hosts=3, rate_mbps=100)
    lab.pair("kvm1", "kvm3").cut()
    pools, metadata = put_base(lab, size)
    sha256 = metadata["sha256"]
    runtimes = {
        (run, host): RunDirectory(str(lab.hosts[host].path("/run/basecast")), run)
        for run in ("first", "second")
        for host in ("kvm2", "kvm3")
    }

    def base(run: str, host: str) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", runtimes[run, host].ask("progress")["bases"][sha256])

    # So slow that the first one is not done when the second one begins, whatever else this machine does.
    rate = {"kvm1": 16 / patience()}
    begin_relay(lab, metadata, {"kvm1": [], "kvm2": ["kvm1"]}, "first", rate)
    begin_relay(lab, metadata, {"kvm1": [], "kvm2": ["kvm1"], "kvm3": ["kvm2", "kvm1"]}, "second", rate)
    wait_until(lambda: base("second", "kvm3")["received_bytes"] > 4 * 1024 * 1024)
    first, waiting = base("first", "kvm2"), base("second", "kvm2")
    assert first["state"] == "fetching"
    assert (waiting["state"], waiting["received_bytes"]) == ("waiting", 0)
    assert "fetches this base into" in waiting["msg"]
    if killed:
        pid = runtimes["first", "kvm2"].ask("progress")["pid"]
        lab.hosts["kvm2"].run(["kill", "-9", str(pid)])
    wait_until(lambda: base("second", "kvm3")["state"] in ("holding", "failed"), 60 * patience())
    wait_until(lambda: base("second", "kvm2")["state"] in ("holding", "failed"), 5 * patience())
    second, child = base("second", "kvm2"), base("second", "kvm3")
    assert (second["state"], child["state"]) == ("holding", "holding"), (second, child)
    if killed:
        # What was on its way when it was killed comes again, and what came after we looked.
        assert 0 < second["received_bytes"] < 1.02 * size - first["bytes"] + 1024 * 1024
    else:
        assert second["received_bytes"] == 0
        assert base("first", "kvm2")["received_bytes"] < 1.02 * size
    assert list(child["received_from"]) == ["kvm2"]
    assert child["received_bytes"] < 1.02 * size
    for name in ("kvm2", "kvm3"):
        found = Store(str(pools[name])).find(sha256)
        assert found is not None
        assert hash_file(found.path)[0] == sha256
        assert os.listdir(pools[name] / "bases" / ".partial") == []


@pytest.mark.variant
@pytest.mark.timeout(150)
def test_two_controllers_at_once_and_the_death_of_one(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    """Both run the whole playbook, from measuring to the end; the first is killed while bases arrive."""
    size = 24 * 1024 * 1024
    lab = fresh_lab_factory(hosts=3, rate_mbps=25)
    first = RelayRun(lab, size)
    second = first.beside()
    targets = [host for host in lab.hosts if host != first.source]
    first.begin()
    second.begin()
    wait_until(lambda: all(first.share(host) > 0.1 for host in targets), 60)
    assert first.process is not None
    first.process.kill()
    first.process.wait()
    told = second.end(90)
    assert second.process is not None
    assert second.process.returncode == 0, second.said[-3000:]
    for host in targets:
        node = told[host]["basecast_relay_result"]
        assert [base["state"] for base in node["bases"].values()] == ["holding"]
        received = [base["received_bytes"] for base in node["bases"].values()]
        # The first run's nodes live on for a while. Through a descriptor, since the path of a socket has to be short.
        descriptor = os.open(lab.hosts[host].path("/run/basecast"), os.O_RDONLY | os.O_DIRECTORY)
        for run in os.listdir(descriptor):
            bases = RunDirectory(f"/proc/self/fd/{descriptor}", run).ask("progress")["bases"]
            received += [base["received_bytes"] for base in bases.values()]
        os.close(descriptor)
        assert len(received) == 2
        assert min(received) == 0
        assert size < max(received) < 1.02 * size
        found = Store(str(lab.hosts[host].path(lab.hosts[host].pools["default"]))).find(first.sha256)
        assert found is not None
        assert hash_file(found.path)[0] == first.sha256
