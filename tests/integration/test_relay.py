# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The relay through its real modules: one node process for each host of an inventory, all on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._relay.chunks import CHUNK_BYTES, hash_file

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
      register: listening
    - basecast.fleet.relay_node:
        state: listening
        run: "{{ run }}"
        host: "{{ inventory_hostname }}"
        address: "{{ basecast_address }}"
        credentials: "{{ credentials.certificates[inventory_hostname] }}"
        runtime_dir: "{{ runtime_dir }}"
      register: again
    - ansible.builtin.assert:
        that:
          - listening is changed
          - again is not changed
          - again.node.pid == listening.node.pid
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
        runtime_dir: "{{ runtime_dir }}"
      register: probe
    - basecast.fleet.relay_node: &started
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
    - basecast.fleet.relay_node: *started
      register: again
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
    - ansible.builtin.assert:
        that:
          - started is changed
          - again is not changed
    - basecast.fleet.relay_node:
        state: stopped
        run: "{{ run }}"
        runtime_dir: "{{ runtime_dir }}"
      when: stop
      register: stopped
    - basecast.fleet.relay_node:
        state: stopped
        run: "{{ run }}"
        runtime_dir: "{{ runtime_dir }}"
      when: stop
      register: again
    - ansible.builtin.assert:
        that:
          - stopped is changed
          - again is not changed
      when: stop
"""


class Site:
    """Pools, addresses and an inventory of hosts that are all this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.result: dict[str, t.Any] = {}
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
        source = self.directory / "image"
        with source.open("wb") as file:
            file.write(os.urandom(size_bytes // 2))
            file.truncate(size_bytes)
        sha256, chunks = hash_file(str(source))
        metadata = {
            "format": 1,
            "sha256": sha256,
            "source_sha256": sha256,
            "size_bytes": size_bytes,
            "virtual_size_bytes": size_bytes,
            "image_format": "raw",
            "parent": None,
            "chunk_bytes": CHUNK_BYTES,
            "chunks_sha256": chunks.sha256,
            "imported_at": "2026-01-01T00:00:00Z",
            "imported_from": {"kind": "path", "name": "image", "image_format": "raw"},
            "signatures": [],
        }
        partial = Store(str(self.pool(host))).partial(sha256)
        os.rename(source, partial.disk)
        partial.publish(metadata, chunks.to_bytes())
        return metadata

    def play(self, *options: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
        result_file = self.directory / "result.json"
        extra = {"run": "test", "result_file": str(result_file), "stop": True, **variables}
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

    def end(self) -> None:
        for number in range(len(HOSTS)):
            for pidfile in (self.directory / f"run{number}").glob("*/node.pid"):
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
    assert site.result["kvm1"]["probe"]["disks"]["default"] > 0
    for host in HOSTS:
        base = site.result[host]["finished"]["node"]["bases"][metadata["sha256"]]
        assert (base["state"], base["attempts"]) == ("holding", [])
        found = Store(str(site.pool(host))).find(metadata["sha256"])
        assert found is not None
        assert hash_file(found.path)[0] == metadata["sha256"]
        node = site.result[host]["listening"]["node"]
        assert not Path(f"/proc/{node['pid']}").exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((node["address"], node["port"]), timeout=2).close()
        assert not (Path(site.hosts[host]["runtime_dir"]) / "test").exists()
    assert site.result["kvm1"]["finished"]["node"]["bases"][metadata["sha256"]]["sent_bytes"] <= 5 * 1024 * 1024
