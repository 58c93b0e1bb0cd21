#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relay_transfer
short_description: Start, limit and await this host's part of a relay
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Gives the relay node of this host, see M(basecast.fleet.relay_node), its part of the plan, changes its limits, or waits until
    the host's bases are there.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._relay
  - basecast.fleet._relay.limits
  - basecast.fleet._relay.bases
attributes:
  check_mode:
    support: full
    details:
      - Nothing is started or changed, and nothing waited for.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(started) gives the node its part of the plan; it begins at once. Given again with other parents, transfers that the
        change does not touch go on, and failed bases are tried again.
      - V(limited) changes O(rate_mbps), O(links) and O(streams) of a running node, and nothing else.
      - V(finished) waits until every base of this host is there or has failed, and fails if one has.
    type: str
    choices: [started, limited, finished]
    required: true
  peers:
    description:
      - "Where the nodes of the run listen, as C({host: {address, port}}), with O(state=started)."
    type: dict
    default: {}
  mode:
    description:
      - With V(staged) a host serves a base as soon as it has all of it.
      - With V(cut_through) it serves each chunk as soon as that is verified and stored.
      - All hosts of a run have the same.
    type: str
    choices: [staged, cut_through]
    default: cut_through
  timeout_s:
    description: How long O(state=finished) waits, in seconds.
    type: float
    default: 3600
seealso:
  - module: basecast.fleet.relay_node
  - module: basecast.fleet.relay_info
"""

EXAMPLES = r"""
# kvm1 holds a base disk, and the nodes of the run listen (basecast.fleet.relay_node).
- name: Look up the base disk
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_pools }}"
  delegate_to: kvm1
  run_once: true
  register: store

- name: Give each node its part of the plan, with which it begins
  basecast.fleet.relay_transfer:
    state: started
    run: nightly
    pools: "{{ basecast_pools }}"
    peers: "{{ dict(ansible_play_hosts_all | zip(nodes)) }}"
    bases:
      - metadata: "{{ store.pools.default.bases | selectattr('names', 'contains', wanted) | first }}"
        pool: default
        parents: "{{ [] if inventory_hostname == 'kvm1' else ['kvm1'] }}"
  vars:
    nodes: "{{ ansible_play_hosts_all | map('extract', hostvars, ['listening', 'node']) }}"
    wanted: {tenant: default, name: debian-12, version: "20261101"}

- name: Wait for this host's base disks
  basecast.fleet.relay_transfer:
    state: finished
    run: nightly
    timeout_s: 1800
  register: relayed

- name: Show how fast they came
  ansible.builtin.debug:
    msg: "{{ item.value.received_bytes | human_readable }} from {{ item.value.from }} in {{ item.value.seconds }} s"
  loop: "{{ relayed.node.bases | dict2items }}"
  loop_control:
    label: "{{ item.key }}"
  when: item.value.received_bytes > 0

- name: In working hours, send less, and least of all over the line to another site
  basecast.fleet.relay_transfer:
    state: limited
    run: nightly
    rate_mbps: 400
    links: {kvm9: 20}
"""

RETURN = r"""
node:
  description:
    - What the node reports, see RV(basecast.fleet.relay_info#module:node). Empty in check mode when there is none.
  returned: success, or when O(state=finished) fails
  type: dict
  sample: {run: nightly, host: kvm3, started: true, settled: true, bases: {}}
fleet_settled:
  description: See RV(basecast.fleet.relay_info#module:fleet_settled).
  returned: if there is a node
  type: bool
  sample: false
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import FleetError
from ..module_utils._module import pools_argument, run_module
from ..module_utils._relay.errors import ControlFailed
from ..module_utils._relay.node.run_directory import RunDirectory
from ..module_utils._relay_module import RUN, answer, checked_peers, look, node_of_run
from ..module_utils._relay_part import BASES, LIMITS, bases, limits


def part(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The host's part of the plan, as the node takes it."""
    return {
        "bases": bases(params),
        "peers": checked_peers(params["peers"]),
        "mode": params["mode"],
        "limits": limits(params),
    }


def finished(runtime: RunDirectory, timeout_s: float) -> dict[str, t.Any]:
    """The node's data when everything is there. :raises FleetError: if something failed, or is not there in time"""
    deadline = time.monotonic() + timeout_s
    while True:
        left = max(0.0, deadline - time.monotonic())
        node = runtime.look("wait", timeout_s=left, fleet=False)
        if not node["started"]:
            raise FleetError(f"The relay node of the run {node['run']} was not given its part of the plan.")
        if node["settled"] or left <= 0 or node.get("ended"):
            break
    late = [sha256 for sha256, base in node["bases"].items() if base["state"] not in ("holding", "failed")]
    failed = [sha256 for sha256, base in node["bases"].items() if base["state"] == "failed"]
    if not failed and not late:
        return node
    sentences = [told(sha256, node["bases"][sha256]) for sha256 in failed]
    sentences += [
        f"Base {sha256} is not complete after {timeout_s:g} s "
        f"({node['bases'][sha256]['bytes']} of {node['bases'][sha256]['size_bytes']} bytes)."
        for sha256 in late
    ]
    if node.get("ended"):
        sentences.append(f"The node has ended: {node['ended']}.")
    raise FleetError(" ".join(sentences), node=node, failed=failed, late=late)


def told(sha256: str, base: t.Mapping[str, t.Any]) -> str:
    """One sentence on a base that failed, with each attempt."""
    attempts = "; ".join(attempt["error"] for attempt in base["attempts"])
    sentence = f"Base {sha256} did not arrive in the pool {base['pool']}: {base['msg']}"
    return f"{sentence} Attempts: {attempts}" if attempts and attempts not in base["msg"] else sentence


def start(module: AnsibleModule, runtime: RunDirectory) -> dict[str, t.Any]:
    given = part(module.params)
    if module.check_mode:
        return {"changed": True, "node": {}}
    node = runtime.ask("start", fleet=False, **given)
    return answer(node, node.pop("changed"))


def limit(module: AnsibleModule, runtime: RunDirectory) -> dict[str, t.Any]:
    wanted = limits(module.params)
    if module.check_mode:
        node = runtime.ask("progress", fleet=False)
        return answer(node, any(node["limits"][key] != value for key, value in wanted.items()))
    node = runtime.ask("limit", fleet=False, limits=wanted)
    return answer(node, node.pop("changed"))


def finish(module: AnsibleModule, runtime: RunDirectory) -> dict[str, t.Any]:
    if module.check_mode:
        return look(runtime)
    try:
        return answer(finished(runtime, module.params["timeout_s"]))
    except ControlFailed:
        raise  # what became of the node is said in one place for all modules
    except FleetError as error:
        # The reader wants the same data, whether it went well or not.
        node = answer(error.fields.pop("node", {}))
        module.fail_json(msg=error.message, failure=error.fields, **{**node, "changed": False})
        raise  # never reached: fail_json has ended the module


STATES = {"started": start, "limited": limit, "finished": finish}


def work(module: AnsibleModule) -> dict[str, t.Any]:
    with node_of_run(module.params["runtime_dir"], module.params["run"]) as runtime:
        return STATES[module.params["state"]](module, runtime)


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            **RUN,
            **LIMITS,
            "state": {"type": "str", "choices": list(STATES), "required": True},
            "bases": BASES,
            "peers": {"type": "dict", "default": {}},
            "mode": {"type": "str", "choices": ["staged", "cut_through"], "default": "cut_through"},
            "timeout_s": {"type": "float", "default": 3600},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
