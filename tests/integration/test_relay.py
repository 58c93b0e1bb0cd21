# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The relay through its real modules: one node process for each host of an inventory, all on this machine."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._relay.chunks import CHUNK_BYTES, ChunkHasher, hash_file
from ansible_collections.basecast.fleet.plugins.module_utils._relay.daemon import start_time
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates
from ansible_collections.basecast.fleet.tests.lab import Lab

CHECKOUT = Path(__file__).resolve().parents[2]
ANSIBLE_PLAYBOOK = CHECKOUT / ".venv" / "bin" / "ansible-playbook"
HOSTS = ("kvm1", "kvm 2", "kvm3")

PLAYBOOK = """
- hosts: all
  gather_facts: false
  vars:
    peers: >-
      {{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, ['listening', 'node']))) }}
  tasks:
    - basecast.fleet.relay_certificates:
        run: "{{ run }}"
        hosts: "{{ ansible_play_hosts_all }}"
      run_once: true
      no_log: true
      register: credentials
    - basecast.fleet.relay_node:
        state: listening
        run: "{{ run }}"
        host: "{{ inventory_hostname }}"
        address: "{{ basecast_address }}"
        credentials: "{{ credentials.certificates[inventory_hostname] }}"
        runtime_dir: "{{ runtime_dir }}"
        state_dir: "{{ runtime_dir }}-state"
      register: listening
    - basecast.fleet.link_probe:
        state: started
        run: "{{ run }}"
        host: "{{ inventory_hostname }}"
        rounds: "{{ ansible_play_hosts_all | basecast.fleet.probe_rounds }}"
        peers: "{{ peers }}"
        pools: "{{ basecast_pools }}"
        runtime_dir: "{{ runtime_dir }}"
    - basecast.fleet.link_probe:
        state: collected
        run: "{{ run }}"
        host: "{{ inventory_hostname }}"
        runtime_dir: "{{ runtime_dir }}"
      register: probe
    - basecast.fleet.relay_node:
        state: started
        run: "{{ run }}"
        pools: "{{ basecast_pools }}"
        bases:
          - metadata: "{{ metadata }}"
            pool: default
            parents: "{{ parents[inventory_hostname] }}"
        peers: "{{ peers }}"
        runtime_dir: "{{ runtime_dir }}"
      register: started
    - basecast.fleet.relay_node:
        state: finished
        run: "{{ run }}"
        runtime_dir: "{{ runtime_dir }}"
        timeout_s: 30
      register: finished
    - ansible.builtin.copy:
        dest: "{{ result_file }}"
        content: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars))) | to_json }}"
        mode: "0600"
      run_once: true
      delegate_to: localhost
    - basecast.fleet.relay_node:
        state: stopped
        run: "{{ run }}"
        runtime_dir: "{{ runtime_dir }}"
"""


CALL = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
module = importlib.import_module("ansible_collections.basecast.fleet.plugins.modules." + sys.argv[1])
with patch_module_args(json.loads(sys.argv[2])):
    module.main()
"""


def publish(pool: Path, data: bytes) -> dict[str, t.Any]:
    """A base in a pool; its metadata."""
    hasher = ChunkHasher()
    hasher.update(data)
    sha256, chunks = hasher.finish()
    metadata = {
        "format": 1,
        "sha256": sha256,
        "source_sha256": sha256,
        "size_bytes": len(data),
        "virtual_size_bytes": len(data),
        "image_format": "raw",
        "parent": None,
        "chunk_bytes": CHUNK_BYTES,
        "chunks_sha256": chunks.sha256,
        "imported_at": "2026-01-01T00:00:00Z",
        "imported_from": {"kind": "path", "name": "image", "image_format": "raw"},
        "signatures": [],
    }
    partial = Store(str(pool)).partial(sha256)
    Path(partial.disk).write_bytes(data)
    partial.publish(metadata, chunks.to_bytes())
    return metadata


def wait_until(condition: t.Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not reached in time"
        time.sleep(0.02)


class Site:
    """Pools, addresses and an inventory of hosts that are all this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.result: dict[str, t.Any] = {}
        self.peers: dict[str, dict[str, t.Any]] = {}
        self.output = ""
        now = datetime.datetime.now(datetime.UTC)
        self.credentials = make_certificates("test", HOSTS, 600, now)
        hosts: dict[str, dict[str, t.Any]] = {}
        for number, host in enumerate(HOSTS):
            (directory / f"pool{number}").mkdir()
            hosts[host] = {
                "ansible_connection": "local",
                "ansible_python_interpreter": "/usr/bin/python3",
                "basecast_address": f"127.0.0.{number + 11}",
                "basecast_pools": {"default": str(directory / f"pool{number}")},
                "runtime_dir": str(directory / f"run{number}"),
            }
        self.hosts = hosts
        (directory / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        (directory / "relay.yml").write_text(PLAYBOOK)

    def pool(self, host: str) -> Path:
        return Path(self.hosts[host]["basecast_pools"]["default"])

    def put_base(self, host: str, size_bytes: int) -> dict[str, t.Any]:
        return publish(self.pool(host), os.urandom(size_bytes // 2).ljust(size_bytes, b"\0"))

    def play(self, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        result_file = self.directory / "result.json"
        extra = {"run": "test", "result_file": str(result_file), **variables}
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_HOME": str(self.directory / "home"),
        }
        command = [str(ANSIBLE_PLAYBOOK), "-i", "inventory.json", "relay.yml", "-e", json.dumps(extra), *options]
        done = subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        if result_file.exists():
            self.result = json.loads(result_file.read_text())
            result_file.unlink()
        return done

    def call(self, where: str, /, **options: t.Any) -> dict[str, t.Any]:
        """One module on one host, without a controller: what it returns."""
        arguments = {"run": "test", "runtime_dir": self.hosts[where]["runtime_dir"], **options}
        done = subprocess.run(
            [sys.executable, "-c", CALL, "relay_node", json.dumps(arguments)],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT / ".collections")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout, done.stderr
        self.output += done.stdout + done.stderr
        return t.cast("dict[str, t.Any]", json.loads(done.stdout.splitlines()[-1]))

    def listen(self, host: str, **options: t.Any) -> dict[str, t.Any]:
        answer = self.call(
            host,
            state="listening",
            host=host,
            address=self.hosts[host]["basecast_address"],
            credentials=self.credentials[host],
            state_dir=self.hosts[host]["runtime_dir"] + "-state",
            **options,
        )
        assert "node" in answer, answer
        self.peers[host] = answer["node"]
        return answer

    def start(self, host: str, metadata: dict[str, t.Any], parents: list[str], **options: t.Any) -> dict[str, t.Any]:
        return self.call(
            host,
            state="started",
            pools=self.hosts[host]["basecast_pools"],
            peers=self.peers,
            bases=[{"metadata": metadata, "pool": "default", "parents": parents}],
            **options,
        )

    def base(self, host: str) -> dict[str, t.Any]:
        """The only base of a host, as its node tells."""
        (base,) = self.call(host)["node"]["bases"].values()
        return t.cast("dict[str, t.Any]", base)

    def kill(self, host: str) -> None:
        """As if the process had met the out-of-memory killer."""
        pid = self.peers[host]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not start_time(pid))

    def end(self) -> None:
        for number in range(len(HOSTS)):
            for pidfile in (self.directory / f"run{number}").glob("*/node.pid"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(json.loads(pidfile.read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def site() -> t.Iterator[Site]:
    # A short path: that of a unix socket has at most 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="relay-"))
    site = Site(directory)
    yield site
    site.end()
    subprocess.run(["chattr", "-R", "-i", str(directory)], capture_output=True, check=False)
    shutil.rmtree(directory)


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


BEGIN = """
- hosts: all
  gather_facts: false
  tasks:
    - basecast.fleet.relay_certificates:
        run: test
        hosts: "{{ ansible_play_hosts_all }}"
      run_once: true
      no_log: true
      register: credentials
    - basecast.fleet.relay_node:
        state: listening
        run: test
        host: "{{ inventory_hostname }}"
        address: "{{ basecast_address }}"
        credentials: "{{ credentials.certificates[inventory_hostname] }}"
      register: listening
    - basecast.fleet.relay_node:
        state: started
        run: test
        mode: cut_through
        pools: "{{ basecast_pools }}"
        bases:
          - metadata: "{{ metadata }}"
            pool: default
            parents: "{{ parents[inventory_hostname] }}"
        peers: >-
          {{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, ['listening', 'node']))) }}
"""

END = """
- hosts: all
  gather_facts: false
  tasks:
    - basecast.fleet.relay_node:
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


@pytest.mark.timeout(150)
def test_a_relay_that_loses_power_in_the_middle_costs_seconds(
    fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path
) -> None:
    """A chain of four hosts at 100 Mbit/s: the second is gone in silence, the third goes on from the first."""
    size = 40 * 1024 * 1024
    lab = fresh_lab_factory(hosts=4, rate_mbps=100)
    pools = {name: host.path(host.pools["default"]) for name, host in lab.hosts.items()}
    metadata = publish(pools["kvm1"], os.urandom(size))
    sha256 = metadata["sha256"]
    chain = {"kvm1": [], "kvm2": ["kvm1"], "kvm3": ["kvm2", "kvm1"], "kvm4": ["kvm3", "kvm2", "kvm1"]}
    for name, text in (("begin.yml", BEGIN), ("end.yml", END)):
        (tmp_path / name).write_text(text)
    begun = lab.playbook([tmp_path / "begin.yml", "-e", json.dumps({"metadata": metadata, "parents": chain})])
    assert begun.returncode == 0, begun.stdout + begun.stderr
    partial = pools["kvm4"] / "bases" / ".partial" / sha256 / "map"
    wait_until(lambda: partial.exists() and partial.read_bytes().count(1) > 5)
    assert not Store(str(pools["kvm2"])).find(sha256), "the transfer was over before the power was cut"
    lab.hosts["kvm2"].power_cut()
    cut_at = time.monotonic()
    ended = lab.playbook([tmp_path / "end.yml", "--limit", "kvm1,kvm3,kvm4"])
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
def test_pools_that_fail_cost_their_own_hosts_and_nobody_else(
    fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path
) -> None:
    """A chain: kvm2 is full before the base is whole, kvm3's pool is read-only, kvm4's partial is removed under it."""
    size = 24 * 1024 * 1024
    lab = fresh_lab_factory(hosts=5, rate_mbps=50, pools={"default": ("tmpfs", 64)})
    pools = {name: host.path(host.pools["default"]) for name, host in lab.hosts.items()}
    metadata = publish(pools["kvm1"], os.urandom(size))
    sha256 = metadata["sha256"]
    lab.hosts["kvm2"].fill_pool("default", 8 * 1024 * 1024)
    lab.hosts["kvm3"].run(["mount", "-o", "remount,bind,ro", lab.hosts["kvm3"].pools["default"]])
    chain = {"kvm1": [], **{f"kvm{n}": [f"kvm{n - 1}", "kvm1"] for n in range(2, 6)}}
    for name, text in (("begin.yml", BEGIN), ("end.yml", END)):
        (tmp_path / name).write_text(text)
    begun = lab.playbook([tmp_path / "begin.yml", "-e", json.dumps({"metadata": metadata, "parents": chain})])
    assert begun.returncode == 0, begun.stdout + begun.stderr
    partial = pools["kvm4"] / "bases" / ".partial" / sha256
    wait_until(lambda: (partial / "map").exists() and (partial / "map").read_bytes().count(1) > 5)
    shutil.rmtree(partial)
    ended = lab.playbook([tmp_path / "end.yml"])
    told = {
        host: re.search(rf"fatal: \[{host}\].*?did not arrive in the pool default: ([^\"]*)", ended.stdout)
        for host in lab.hosts
    }
    assert {host for host, found in told.items() if found} == {"kvm2", "kvm3", "kvm4"}, ended.stdout
    assert "No space left on device" in told["kvm2"].group(1)  # type: ignore[union-attr]
    assert "Read-only file system" in told["kvm3"].group(1)  # type: ignore[union-attr]
    assert "No such file or directory" in told["kvm4"].group(1)  # type: ignore[union-attr]
    for name in ("kvm2", "kvm3", "kvm4"):
        assert Store(str(pools[name])).find(sha256) is None
        assert not (pools[name] / "bases" / sha256).exists()
    found = Store(str(pools["kvm5"])).find(sha256)
    assert found is not None
    assert hash_file(found.path)[0] == sha256
