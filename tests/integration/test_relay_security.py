# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a run's keys are not, and two controllers at work on the same hosts."""

from __future__ import annotations

import json
import os
import socket
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import hash_file
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.daemon import start_time
from ansible_collections.basecast.fleet.tests.integration.relay_site import HOSTS, Site, wait_until

LISTEN = """
- hosts: all
  gather_facts: false
  vars:
    basecast_run: test
    basecast_state_dir: "{{ runtime_dir }}-state"
    basecast_runtime_dir: "{{ runtime_dir }}"
  tasks:
    - basecast.fleet.relay_certificates:
        run: test
        hosts: "{{ ansible_play_hosts_all }}"
      run_once: true
      no_log: true
      register: basecast_certificates
    - ansible.builtin.import_role: {name: basecast.fleet.settings}
    - ansible.builtin.set_fact: {basecast_run: test}
    - ansible.builtin.import_role: {name: basecast.fleet.relay, tasks_from: listen}
    - ansible.builtin.set_fact:
        kept: "{{ basecast_node }}"
        cacheable: true
    - ansible.builtin.debug:
        msg: "{{ basecast_outcome or 'listening' }}"
"""


NETWORK = """
- hosts: all
  gather_facts: false
  vars:
    basecast_state_dir: "{{ runtime_dir }}-state"
    basecast_runtime_dir: "{{ runtime_dir }}"
  tasks:
    - ansible.builtin.import_role: {name: basecast.fleet.settings}
    - ansible.builtin.import_role: {name: basecast.fleet.relay, tasks_from: prepare}
      vars:
        __relay_hosts: "{{ ansible_play_hosts_all }}"
    - ansible.builtin.import_role: {name: basecast.fleet.relay, tasks_from: listen}
    - ansible.builtin.debug:
        msg: "NODE {{ basecast_node | to_json }}"
    - ansible.builtin.import_role: {name: basecast.fleet.relay, tasks_from: stop}
"""


def listening_at(address: str, port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((address, port)) == 0


def test_keys_are_in_the_memory_of_their_node_only(site: Site) -> None:
    """Hosts on which no module's file can be written: who needs one for the key fails."""
    cache = site.directory / "facts"
    log = site.directory / "ansible.log"
    done = site.run_playbook(
        LISTEN,
        "-vvv",
        ANSIBLE_PIPELINING="false",
        ANSIBLE_REMOTE_TEMP="/dev/null/nowhere",
        ANSIBLE_CACHE_PLUGIN="ansible.builtin.jsonfile",
        ANSIBLE_CACHE_PLUGIN_CONNECTION=str(cache),
        ANSIBLE_LOG_PATH=str(log),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    noted = [json.loads(path.read_text()) for path in site.directory.glob("run*/test/node.pid")]
    nodes = {node["host"]: node for node in noted}
    assert sorted(nodes) == sorted(HOSTS)
    assert all(any(cache.glob(f"*{host}")) for host in HOSTS)
    try:
        assert done.stdout.count('"msg": "listening"') == len(HOSTS), done.stdout
        places = [done.stdout, done.stderr, log.read_text()]
        places += [path.read_text(errors="replace") for path in site.directory.rglob("*") if path.is_file()]
        for node in nodes.values():
            process = Path(f"/proc/{node['pid']}")
            places += [(process / name).read_text(errors="replace") for name in ("environ", "cmdline")]
            # Keys are read from memory that looks like a file; it is gone.
            assert not [link for link in (process / "fd").iterdir() if "memfd" in os.readlink(link)]
            assert listening_at(node["address"], node["port"])
            assert not listening_at("127.0.0.1", node["port"])
        assert len(places) > 10
        assert not [place for place in places if "PRIVATE KEY" in place]
    finally:
        for host in HOSTS:
            site.call(host, state="stopped")
    for node in nodes.values():
        assert not listening_at(node["address"], node["port"])


def test_variables_of_the_network_reach_the_nodes_and_a_run_without_encryption_says_so(site: Site) -> None:
    given = {
        "basecast_encryption": False,
        "basecast_rate_mbps": 300,
        "basecast_link_mbps": {"kvm1": 20},
        "basecast_streams": 4,
        "basecast_compression": "auto",
        "basecast_nice": 3,
        "basecast_io_idle": True,
    }
    done = site.run_playbook(NETWORK, "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = [line for line in done.stdout.splitlines() if "NODE {" in line]
    assert len(nodes) == len(HOSTS), done.stdout
    limits = {"rate_mbps": 300.0, "links": {"kvm1": 20.0}, "streams": 4}
    for line in nodes:
        node = json.loads(json.loads("{" + line.strip() + "}")["msg"].partition(" ")[2])
        assert (node["encryption"], node["limits"]) == (False, limits)
    assert "do not encrypt" in done.stdout + done.stderr


@pytest.mark.parametrize("dies", ["the one that fetches", "the one that waits"])
def test_two_controllers_share_a_fetch_and_neither_is_hurt_when_the_other_dies(site: Site, dies: str) -> None:
    metadata = site.put_base("kvm1", 16 * 1024 * 1024)
    peers: dict[str, dict[str, t.Any]] = {}
    for run in ("test", "other"):
        for host in ("kvm1", "kvm3"):
            rate = {"rate_mbps": 4} if host == "kvm1" and run == "test" else {}
            site.listen(host, run=run, **rate)
        peers[run] = dict(site.peers)

    def start(run: str, host: str, parents: list[str]) -> None:
        site.peers = peers[run]
        site.start(host, metadata, parents, run=run)

    def base(run: str) -> dict[str, t.Any]:
        (one,) = site.call("kvm3", run=run)["node"]["bases"].values()
        return t.cast("dict[str, t.Any]", one)

    start("test", "kvm1", [])
    start("test", "kvm3", ["kvm1"])
    wait_until(lambda: base("test")["received_bytes"] > 1024 * 1024)
    start("other", "kvm1", [])
    start("other", "kvm3", ["kvm1"])
    wait_until(lambda: "fetches this base into" in base("other")["msg"])
    victim, survivor = ("test", "other") if dies == "the one that fetches" else ("other", "test")
    pid = peers[victim]["kvm3"]["pid"]
    os.kill(pid, 9)
    wait_until(lambda: not start_time(pid))
    site.call("kvm1", state="limited", rate_mbps=0, run="test")
    done = site.call("kvm3", state="finished", timeout_s=30, run=survivor)
    (arrived,) = done["node"]["bases"].values()
    assert arrived["state"] == "holding", done
    if survivor == "other":
        # Half of the file is zero bytes; of the other half it got what was missing.
        assert 0 < arrived["received_bytes"] < 7.2 * 1024 * 1024
    else:
        assert arrived["received_bytes"] < 8.2 * 1024 * 1024
    found = Store(str(site.pool("kvm3"))).find(metadata["sha256"])
    assert found is not None
    assert hash_file(found.path)[0] == metadata["sha256"]
    for run in ("test", "other"):
        for host in ("kvm1", "kvm3"):
            site.call(host, state="stopped", run=run)
