# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the relay's modules share: hosts that are all this machine, bases, and the begin of a relay."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import CHUNK_BYTES, ChunkHasher
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.daemon import start_time
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates
from ansible_collections.basecast.fleet.tests.lab import Lab

CHECKOUT = Path(__file__).resolve().parents[2]
ANSIBLE_PLAYBOOK = CHECKOUT / ".venv" / "bin" / "ansible-playbook"
HOSTS = ("kvm1", "kvm 2", "kvm3")
# Nodes take the first free port of their address: with the same addresses, another worker's node would take one that was given back.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")

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
    - basecast.fleet.relay_transfer:
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
    - basecast.fleet.relay_transfer:
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


# A relay of one base on the hosts of a lab, as far as its begin.
BEGIN = """
- hosts: all
  gather_facts: false
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
        rate_mbps: "{{ rates[inventory_hostname] | default(0) }}"
      register: listening
    - basecast.fleet.relay_transfer:
        state: started
        run: "{{ run }}"
        mode: cut_through
        pools: "{{ basecast_pools }}"
        bases:
          - metadata: "{{ metadata }}"
            pool: default
            parents: "{{ parents[inventory_hostname] }}"
        peers: >-
          {{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, ['listening', 'node']))) }}
"""

RELAY_MODULES = {
    "": "relay_info",
    **dict.fromkeys(("listening", "stopped"), "relay_node"),
    **dict.fromkeys(("started", "limited", "finished"), "relay_transfer"),
}

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


def put_base(lab: Lab, size_bytes: int) -> tuple[dict[str, Path], dict[str, t.Any]]:
    """Random bytes as a base on kvm1; the hosts' pools, and the base's metadata."""
    pools = {name: host.path(host.pools["default"]) for name, host in lab.hosts.items()}
    return pools, publish(pools["kvm1"], os.urandom(size_bytes))


def begin_relay(
    lab: Lab,
    metadata: t.Mapping[str, t.Any],
    parents: t.Mapping[str, t.Sequence[str]],
    run: str = "test",
    rates: t.Mapping[str, float] | None = None,
) -> None:
    """:param rates: 10^6 bit/s that hosts send at most."""
    playbook = lab.state / "begin.yml"
    playbook.write_text(BEGIN)
    given = {"metadata": metadata, "parents": parents, "run": run, "rates": rates or {}}
    done = lab.playbook([playbook, "--limit", ",".join(parents), "-e", json.dumps(given)])
    assert done.returncode == 0, done.stdout + done.stderr


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
                "basecast_address": f"127.0.{WORKER}.{number + 11}",
                "basecast_pools": {"default": str(directory / f"pool{number}")},
                "runtime_dir": str(directory / f"run{number}"),
            }
        self.hosts = hosts
        (directory / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))

    def pool(self, host: str) -> Path:
        return Path(self.hosts[host]["basecast_pools"]["default"])

    def put_base(self, host: str, size_bytes: int) -> dict[str, t.Any]:
        return publish(self.pool(host), os.urandom(size_bytes // 2).ljust(size_bytes, b"\0"))

    def play(self, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        result_file = self.directory / "result.json"
        extra = {"run": "test", "result_file": str(result_file), **variables}
        done = self.run_playbook(PLAYBOOK, "-e", json.dumps(extra), *options, ANSIBLE_PIPELINING="true")
        if result_file.exists():
            self.result = json.loads(result_file.read_text())
            result_file.unlink()
        return done

    def run_playbook(self, text: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        playbook = self.directory / "playbook.yml"
        playbook.write_text(text)
        return subprocess.run(
            [ANSIBLE_PLAYBOOK, "-i", "inventory.json", playbook, *options],
            cwd=self.directory,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_HOME": str(self.directory / "home"),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def call(self, where: str, /, module: str = "", **options: t.Any) -> dict[str, t.Any]:
        """One module on one host, without a controller: what it returns. By default the relay's, by what is asked of it."""
        module = module or RELAY_MODULES[options.get("state", "")]
        arguments = {"run": "test", "runtime_dir": self.hosts[where]["runtime_dir"], **options}
        done = subprocess.run(
            [sys.executable, "-c", CALL, module, json.dumps(arguments)],
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

    def probe(self, host: str) -> dict[str, t.Any]:
        """Begin to measure the links to the others, in one round after the other."""
        first, *rest = HOSTS
        rounds = [[[first, other]] for other in rest]
        options = {"rounds": rounds, "peers": self.peers, "pools": self.hosts[host]["basecast_pools"], "disk_bytes": 0}
        return self.call(host, module="link_probe", state="started", host=host, **options)

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
