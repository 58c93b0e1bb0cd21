#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relay_info
short_description: Report the progress of a relay
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Returns what the relay node of this host, see M(basecast.fleet.relay_node), knows of its own bases and of the whole fleet.
    Any one host can be asked.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._attributes.info_module
  - basecast.fleet._relay
options:
  fleet:
    description:
      - Whether to return RV(fleet), the progress of every host of the run. It is large in a large fleet; a play that asks every
        host needs it from one of them only.
    type: bool
    default: true
  wait_s:
    description:
      - How long to wait for something that a watcher acts on, in seconds. It answers earlier when the fleet
        has settled, when a base of a host has failed, or when a host falls silent or is heard again.
    type: float
    default: 0
seealso:
  - module: basecast.fleet.relay_node
  - module: basecast.fleet.relay_transfer
  - module: basecast.fleet.relay_progress
"""

EXAMPLES = r"""
- name: See how far the whole fleet is, from any one host
  basecast.fleet.relay_info:
    run: nightly
    wait_s: 10
  register: watched
  until: watched.fleet_settled
  retries: 180
  delay: 0
  run_once: true
"""

RETURN = r"""
node:
  description: What the node reports. Empty in check mode when there is none.
  returned: success
  type: dict
  contains:
    run:
      description: The run.
      type: str
      sample: nightly
    host:
      description: This host's inventory name.
      type: str
      sample: kvm3
    pid:
      description: Process id of the node.
      type: int
      sample: 4711
    authority:
      description: SHA-256 of the certificate of the run's authority.
      type: str
      sample: 9d3c...
    address:
      description: Address on which it listens.
      type: str
      sample: 10.77.0.13
    port:
      description: Port on which it listens.
      type: int
      sample: 47700
    started:
      description: Whether it was given its part of the plan.
      type: bool
      sample: true
    mode:
      description: See O(basecast.fleet.relay_transfer#module:mode).
      type: str
      sample: cut_through
    encryption:
      description: Whether it encrypts.
      type: bool
      sample: true
    limits:
      description: The limits that hold at this moment, see O(basecast.fleet.relay_node#module:rate_mbps).
      type: dict
      sample: {rate_mbps: 0.0, links: {}, streams: 0}
    ended:
      description: Why the node has ended. The other values are what it knew last.
      returned: of a node that ended by itself
      type: str
      sample: no contact for 300 s after the last work
    settled:
      description: Whether every base is holding or failed.
      type: bool
      sample: true
    bases:
      description:
        - Each base of this host, by digest.
        - C(state) is V(waiting) (for a parent), V(fetching), V(holding) (it is in the pool) or V(failed), for the reason in C(msg).
        - C(bytes) of C(size_bytes) are verified and stored; C(received_bytes) came over the network in this run.
          C(received_from) tells how much by sender. C(parents) are the hosts that it comes from at this moment, C(from)
          is the one through which it is connected to a holder. C(attempts) is what went wrong with others, with the C(mbps)
          that one delivered at last that was left for being slow, and what peers did that no peer may do. C(seconds) is how long it took.
      type: dict
      sample:
        4f1d...:
          state: holding
          pool: default
          bytes: 629145600
          size_bytes: 629145600
          received_bytes: 402801331
          sent_bytes: 402653184
          from: null
          parents: []
          received_from: {kvm1: 301990000, kvm2: 100811331}
          seconds: 12.4
          msg: ""
          attempts:
            - parent: kvm2
              error: kvm2 has been silent for 6.0 s.
              mbps: null
fleet:
  description:
    - The progress of every host of the run, by its inventory name, as this host's node knows it. The nodes tell each
      other once in a second, in fleets of more than 200 hosts once in as many seconds as there are times 200 hosts.
    - C(bases) holds, by digest, C(state), C(bytes), C(size_bytes), C(received_bytes) (over the network, in this run),
      C(rate_mbps), C(remaining_s) (V(none) where it cannot be told), C(parents) (the hosts that it comes from at this
      moment) and C(msg) (why it failed, or what it waits for). C(started) tells whether the host was given its part of the plan.
    - C(machines) is how many machines the host's job is to make, and how many have their disks, are started, have reported
      and have failed; V(none) if no job has told, see M(basecast.fleet.host_job).
    - C(age_s) is how old this is. It is V(none) for a host that has not been heard of. A host is C(stale) when nothing
      has been heard of it for 10 seconds (in a fleet of 1,000 hosts 34 seconds).
  returned: if O(fleet)
  type: dict
  sample:
    kvm1:
      started: true
      age_s: 0.0
      stale: false
      bases:
        4f1d...:
          state: holding
          bytes: 629145600
          size_bytes: 629145600
          received_bytes: 0
          rate_mbps: 0.0
          remaining_s: null
          parents: []
          msg: ""
    kvm2:
      started: true
      age_s: 0.7
      stale: false
      bases:
        4f1d...:
          state: fetching
          bytes: 201326592
          size_bytes: 629145600
          received_bytes: 201351168
          rate_mbps: 943.2
          remaining_s: 3.6
          parents: [kvm1]
          msg: ""
fleet_settled:
  description:
    - Whether there is nothing left to wait for, as far as this host's node knows. Every base of every host is holding or
      failed, or nothing is heard of the host any more.
  returned: if there is a node
  type: bool
  sample: false
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import InvalidOption
from ..module_utils._module import run_module
from ..module_utils._relay.node.run_directory import RunDirectory
from ..module_utils._relay_module import RUN, answer, look, node_of_run


def watched(runtime: RunDirectory, wait_s: float, fleet: bool) -> dict[str, t.Any]:
    """The node's data once something has happened to the fleet, or after so many seconds."""
    if wait_s < 0:
        raise InvalidOption("wait_s", wait_s, "it has to be 0 or more")
    deadline = time.monotonic() + wait_s
    node = runtime.look("progress", fleet=fleet or wait_s > 0)
    before = attention(node)
    while not node["fleet_settled"] and attention(node) == before and not node.get("ended"):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        # The answer of a large fleet is large.
        time.sleep(min(left, max(0.5, len(node["fleet"]) / 500)))
        node = runtime.look("progress", fleet=True)
    if not fleet:
        node.pop("fleet", None)
    return node


def attention(node: t.Mapping[str, t.Any]) -> list[tuple[str, bool, bool]]:
    """What a watcher of the fleet may have to act on."""
    return [
        (host, told["stale"], any(base["state"] == "failed" for base in told["bases"].values()))
        for host, told in (node.get("fleet") or {}).items()
    ]


def work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    with node_of_run(params["runtime_dir"], params["run"]) as runtime:
        if module.check_mode:
            return look(runtime, params["fleet"])
        return answer(watched(runtime, params["wait_s"], params["fleet"]))


def main() -> None:
    run_module(
        work,
        argument_spec={
            **RUN,
            "fleet": {"type": "bool", "default": True},
            "wait_s": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
