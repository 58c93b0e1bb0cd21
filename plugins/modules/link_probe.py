#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: link_probe
short_description: This host's part in measuring the links of a fleet
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Relay nodes that listen, see M(basecast.fleet.relay_node), measure the links among themselves, in rounds of
    disjoint pairs as the filter P(basecast.fleet.probe_rounds#filter) makes them.
  - In each pair the first host connects to the second, and both directions are measured one after the other. What
    arrives in the first half of that time does not count, since it may be a burst that a shaper lets through.
  - Each host keeps what was measured of the links that leave it, see O(basecast.fleet.relay_node#module:state_dir).
  - No task has to run at the same moment on two hosts. A pair measures when both have come to it; a partner that is
    dead, or that does not come, is left out.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
attributes:
  check_mode:
    support: full
    details:
      - Nothing is measured.
  diff_mode:
    support: N/A
    details:
      - Changes nothing on the host.
  idempotent:
    support: full
    details:
      - Rounds that are being measured, or were, are not begun again.
options:
  state:
    description:
      - V(started) gives the rounds to this host's node and returns at once.
      - V(collected) waits for the result.
    type: str
    choices: [started, collected]
    required: true
  run:
    description: Name of the run.
    type: str
    required: true
  host:
    description: This host's own inventory name.
    type: str
    required: true
  rounds:
    description: Rounds; each is a list of pairs of hosts. Only those of this host matter here.
    type: list
    elements: list
    default: []
  peers:
    description: "Where the nodes of the run listen, as C({host: {address, port}})."
    type: dict
    default: {}
  series:
    description: How often this run has measured before. Rounds of another series are begun even if they are the same.
    type: int
    default: 0
  payload_bytes:
    description: How many bytes are sent in each direction of a link at most.
    type: int
    default: 8388608
  max_s:
    description:
      - Most time that measuring one direction takes, in seconds. More makes quick links with long delays, whose
        connections take their time to speed up, look less slow.
    type: float
    default: 0.2
  deadline_s:
    description: Time in seconds after which the remaining rounds are left out.
    type: float
    default: 60
  disk_bytes:
    description:
      - How many bytes are written to each pool, flushed, and read again to measure its speed. No file is left.
      - With V(0) no disk is measured.
    type: int
    default: 8388608
  state_dir:
    description: Directory in which this host keeps what was measured; see O(basecast.fleet.relay_node#module:state_dir).
    type: str
    default: /var/lib/basecast
  timeout_s:
    description: How long O(state=collected) waits, in seconds.
    type: float
    default: 90
  runtime_dir:
    description: Directory of the node's control socket.
    type: str
    default: /run/basecast
seealso:
  - module: basecast.fleet.relay_node
  - plugin: basecast.fleet.probe_rounds
    plugin_type: filter
  - plugin: basecast.fleet.deployment_matrix
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Make the run's certificates
  basecast.fleet.relay_certificates:
    run: nightly
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true
  no_log: true
  register: credentials

- name: Start the relay nodes, which measure
  basecast.fleet.relay_node:
    state: listening
    run: nightly
    host: "{{ inventory_hostname }}"
    address: "{{ basecast_address }}"
    credentials: "{{ credentials.certificates[inventory_hostname] }}"
  register: listening

- name: Begin to measure
  basecast.fleet.link_probe:
    state: started
    run: nightly
    host: "{{ inventory_hostname }}"
    pools: "{{ basecast_pools }}"
    rounds: "{{ ansible_play_hosts_all | basecast.fleet.probe_rounds }}"
    peers: "{{ dict(ansible_play_hosts_all | zip(nodes)) }}"
  vars:
    nodes: "{{ ansible_play_hosts_all | map('extract', hostvars, ['listening', 'node']) }}"

- name: Collect what was measured
  basecast.fleet.link_probe:
    state: collected
    run: nightly
    host: "{{ inventory_hostname }}"
  register: probe

- name: Show how long an image of 4 GiB would take over each link
  ansible.builtin.debug:
    msg: "{{ links | basecast.fleet.deployment_matrix(4 * 1024 ** 3) }}"
  vars:
    links: "{{ ansible_play_hosts_all | map('extract', hostvars, ['probe', 'links']) | flatten }}"
  run_once: true

- name: End the nodes
  basecast.fleet.relay_node:
    state: stopped
    run: nightly
"""

RETURN = r"""
links:
  description:
    - The links that leave this host, as far as they were ever measured, the oldest first.
    - C(mbps) is in 10^6 bits per second, C(latency_s) in seconds. C(by) is V(probe) or V(transfer), C(age_s) how many
      seconds ago it was measured.
    - A link without C(mbps) is missing, since the partner could not be reached over it.
  returned: success
  type: list
  elements: dict
  sample:
    - from: kvm1
      to: kvm2
      mbps: 941.2
      latency_s: 0.000113
      by: probe
      age_s: 0.0
unmeasured:
  description: The turns that were left out, and why. C(lost) says that the partner could not be reached.
  returned: success
  type: list
  elements: dict
  sample:
    - partner: kvm3
      round: 2
      msg: "kvm3 (10.77.0.13:47700) cannot be reached: Connection refused."
      lost: true
complete:
  description: Whether all rounds were gone through.
  returned: success
  type: bool
  sample: true
disk_write_mbps:
  description: Speed at which the slowest pool is written, in 10^6 bits per second.
  returned: when it was ever measured
  type: float
  sample: 3120.5
disk_read_mbps:
  description: Speed at which the slowest pool is read, in 10^6 bits per second.
  returned: when it was ever measured
  type: float
  sample: 4210.3
disks_age_s:
  description: How many seconds ago the pools were measured.
  returned: success
  type: float
  sample: 0.0
cpus:
  description: Number of processors.
  returned: success
  type: int
  sample: 8
load_1m:
  description: Load average of the last minute.
  returned: success
  type: float
  sample: 0.41
memory_available_mib:
  description: Memory in MiB that can be had without swapping.
  returned: success
  type: int
  sample: 90112
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import InvalidOption
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._relay.endpoints.page_cache import available_bytes
from ..module_utils._relay.measure.link_history import LinkHistory
from ..module_utils._relay.measure.prober import turns_of
from ..module_utils._relay.node.run_directory import RunDirectory
from ..module_utils._relay_module import checked_peers, node_of_run

EMPTY: dict[str, t.Any] = {
    "links": [],
    "unmeasured": [],
    "complete": False,
    "disks_age_s": 0.0,
    "cpus": 0,
    "load_1m": 0.0,
    "memory_available_mib": 0,
}


def checked_rounds(rounds: t.Sequence[t.Any]) -> list[list[tuple[str, str]]]:
    checked = []
    for number, pairs in enumerate(rounds):
        seen: list[str] = []
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise InvalidOption(f"rounds[{number}]", pair, "a pair is a list of two hosts")
            seen += [str(host) for host in pair]
        if len(seen) != len(set(seen)):
            raise InvalidOption(f"rounds[{number}]", pairs, "a host has at most one partner in a round")
        checked.append([(str(first), str(second)) for first, second in pairs])
    return checked


def collected(runtime: RunDirectory, host: str, history: LinkHistory, timeout_s: float) -> dict[str, t.Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        left = max(0.0, deadline - time.monotonic())
        probed = runtime.ask("probe_wait", timeout_s=left)
        if probed["complete"] or not probed["begun"] or left <= 0:
            break
    result = {**EMPTY, **history.read_with(probed, time.time())}
    lost = {one["partner"] for one in probed["unmeasured"] if one["lost"]}
    result["links"] = [row for row in result["links"] if row["to"] not in lost]
    result["links"] += [{"from": host, "to": partner, "mbps": None, "by": "probe", "age_s": 0.0} for partner in sorted(lost)]
    for key in ("unmeasured", "complete", "cpus", "load_1m"):
        result[key] = probed[key]
    result["memory_available_mib"] = available_bytes() // (1024 * 1024)
    return result


def work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    if params["series"] < 0:
        raise InvalidOption("series", params["series"], "it is 0 or greater")
    for option in ("payload_bytes", "max_s", "deadline_s", "timeout_s"):
        if params[option] <= 0:
            raise InvalidOption(option, params[option], "it has to be greater than 0")
    with node_of_run(params["runtime_dir"], params["run"]) as runtime:
        if params["state"] == "collected":
            if module.check_mode:
                return {"changed": False, **EMPTY}
            history = LinkHistory(params["state_dir"])
            return {"changed": False, **collected(runtime, params["host"], history, params["timeout_s"])}
        message = {
            "turns": [list(turn) for turn in turns_of(params["host"], checked_rounds(params["rounds"]), params["series"])],
            "peers": checked_peers(params["peers"]),
            "pools": checked_pools(params["pools"]),
            "payload_bytes": params["payload_bytes"],
            "max_s": params["max_s"],
            "deadline_s": params["deadline_s"],
            "disk_bytes": params["disk_bytes"],
        }
        changed = True if module.check_mode else runtime.ask("probe_start", **message)["changed"]
        return {"changed": changed, **EMPTY}


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            "state": {"type": "str", "choices": ["started", "collected"], "required": True},
            "run": {"type": "str", "required": True},
            "host": {"type": "str", "required": True},
            "rounds": {"type": "list", "elements": "list", "default": []},
            "peers": {"type": "dict", "default": {}},
            "series": {"type": "int", "default": 0},
            "payload_bytes": {"type": "int", "default": 8 * 1024 * 1024},
            "max_s": {"type": "float", "default": 0.2},
            "deadline_s": {"type": "float", "default": 60},
            "disk_bytes": {"type": "int", "default": 8 * 1024 * 1024},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "timeout_s": {"type": "float", "default": 90},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
