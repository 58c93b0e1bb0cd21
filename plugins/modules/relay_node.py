#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relay_node
short_description: Start and stop this host's relay node
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Starts one process for a run on this host, the relay node. M(basecast.fleet.relay_transfer) gives it its part of the plan;
    it fetches the bases that this host is to get from the parents that the plan names, verifies every chunk, puts the base
    into the pool, and serves it to other hosts. M(basecast.fleet.relay_info) reports its progress.
  - The node goes on when the module has ended. It ends when it is stopped, when O(ttl_s) has passed, or when its own
    work has ended and no peer and no module has talked to it for O(linger_s), or when a guarded run was cancelled
    (M(basecast.fleet.relay_guard)).
  - Peers know each other by certificates that exist for this run only, see M(basecast.fleet.relay_certificates).
    They are kept in memory.
  - A base that was only partly received is kept with a map of its verified chunks and is resumed by the next run.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._relay
  - basecast.fleet._relay.limits
  - basecast.fleet._relay.bases
attributes:
  check_mode:
    support: full
    details:
      - Nothing is started or ended.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(listening) starts the node and returns its port. A node that listens already stays, unless the run's
        certificates were made anew.
      - V(stopped) ends the node and waits until it is gone. It is fine if there is none.
    type: str
    choices: [listening, stopped]
    default: listening
  host:
    description:
      - This host's own inventory name, as it stands in its certificate and in the plan.
      - Needed with O(state=listening).
    type: str
  address:
    description:
      - The address on which to listen, and from which to connect. Usually the host variable C(basecast_address).
      - Needed with O(state=listening).
    type: str
  port_range:
    description: The first free port of this range is used.
    type: str
    default: 47700-47799
  credentials:
    description:
      - The run's certificates for this host, in PEM form.
      - Needed with O(state=listening).
    type: dict
    suboptions:
      ca:
        description: The certificate of the run's authority.
        type: str
        required: true
      certificate:
        description: This host's certificate.
        type: str
        required: true
      key:
        description: The key of this host's certificate.
        type: str
        required: true
  nice:
    description:
      - Lowers the node's priority for the processor, 19 being the lowest, with O(state=listening) when the node is started.
      - Linux derives from it the priority for disks too, where their scheduler knows priorities (bfq, mq-deadline).
    type: int
    default: 0
  io_idle:
    description:
      - Whether the node's disk accesses wait until no other process has any, with O(state=listening) when the node is started.
      - Needs the command C(ionice), and a disk scheduler that knows priorities. Without the command this is noted in the
        node's log, and nothing else.
    type: bool
    default: false
  compression:
    description:
      - With V(auto) a node compresses chunks for a child where that brings them there sooner, as it measures by itself. Chunks
        that do not become smaller are sent as they are. Both nodes need V(auto), with O(state=listening).
      - It helps on slow links (or with low limits) and for base disks that are not compressed already. Zstandard is used where
        both hosts have it (Python 3.14, C(backports.zstd) or C(zstandard), in Debian C(python3-zstandard)), deflate else.
        With the shared libraries of a Debian host and one core of an AMD EPYC, deflate paid below 0.5 Gbit/s and Zstandard
        below 2.5 Gbit/s.
    type: str
    choices: [none, auto]
    default: none
  encryption:
    description:
      - Whether transfers are encrypted, with O(state=listening). All nodes of a run need the same.
      - With V(false) nodes still show each other the run's certificates when they connect, and every chunk is still compared
        with its digest, so strangers get nothing from a node and wrong bytes never become a base. But B(anyone who can
        listen on the way reads the bases), and anyone who can change packets on the way can disturb the run.
    type: bool
    default: true
  ttl_s:
    description: After this time the node ends, whatever it is doing, in seconds.
    type: float
    default: 14400
  linger_s:
    description:
      - After its own work the node ends when no peer and no module has talked to it for so many seconds. Until it was given its
        part (M(basecast.fleet.relay_transfer)) O(part_timeout_s) counts instead.
      - What it knew last is kept for a day, and returned by M(basecast.fleet.relay_transfer) and M(basecast.fleet.relay_info).
    type: float
    default: 300
  part_timeout_s:
    description:
      - How long a node waits for its part (M(basecast.fleet.relay_transfer)) since a module last talked to it, in seconds. Then
        its controller is taken for dead.
      - By default only O(ttl_s) counts.
    type: float
  silence_s:
    description:
      - A connection on which nothing arrives for so many seconds is dead. Nodes send a sign of life more often.
    type: float
    default: 6
  patience_s:
    description: A base without any living parent for so many seconds has failed.
    type: float
    default: 60
  discard:
    description:
      - Whether, with O(state=stopped), what was received of O(bases) and is not complete is deleted, instead of kept for the
        next run to go on with.
    type: bool
    default: false
  give_up:
    description:
      - Whether, with O(state=stopped), no node of this run may be started on this host again. A controller that still works on
        the run would otherwise start it anew, as it does after a crash.
    type: bool
    default: false
  state_dir:
    description:
      - Directory in which this host keeps, as C(links.json), what the node measured of the links that leave it. Probes and
        transfers are kept, the latter where they had the link to themselves.
    type: str
    default: /var/lib/basecast
seealso:
  - module: basecast.fleet.relay_transfer
  - module: basecast.fleet.relay_info
  - module: basecast.fleet.relay_certificates
  - module: basecast.fleet.link_probe
"""

EXAMPLES = r"""
- name: Make the run's certificates
  basecast.fleet.relay_certificates:
    run: nightly
    hosts: "{{ ansible_play_hosts_all }}"
  run_once: true
  no_log: true
  register: credentials

- name: Start the nodes
  basecast.fleet.relay_node:
    state: listening
    run: nightly
    host: "{{ inventory_hostname }}"
    address: "{{ basecast_address }}"
    credentials: "{{ credentials.certificates[inventory_hostname] }}"
  register: listening

- name: End the nodes
  basecast.fleet.relay_node:
    state: stopped
    run: nightly
"""

RETURN = r"""
node:
  description: What the node reports. Empty when there is none, or in check mode.
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
      description: The mode of the transfer, see O(basecast.fleet.relay_transfer#module:mode).
      type: str
      sample: cut_through
    encryption:
      description: Whether it encrypts.
      type: bool
      sample: true
    limits:
      description: The limits that hold at this moment, as O(rate_mbps), O(links) and O(streams).
      type: dict
      sample: {rate_mbps: 0.0, links: {}, streams: 0}
    settled:
      description: Whether every base is holding or failed.
      type: bool
      sample: true
    bases:
      description: Each base of this host, by digest; see RV(basecast.fleet.relay_info#module:node).
      type: dict
      sample: {}
fleet_settled:
  description: See RV(basecast.fleet.relay_info#module:fleet_settled).
  returned: with O(state=listening)
  type: bool
  sample: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._errors import InvalidOption
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._relay.errors import ControlFailed
from ..module_utils._relay.node import process
from ..module_utils._relay.node.settings import Settings
from ..module_utils._relay_module import RUN, answer, node_of_run
from ..module_utils._relay_part import BASES, LIMITS, bases, limits
from ..module_utils._relay_store import StoreShelf, discarded

CREDENTIALS = ("ca", "certificate", "key")


def port_range(value: str) -> tuple[int, int]:
    first, _dash, last = value.partition("-")
    try:
        ports = int(first), int(last or first)
    except ValueError:
        ports = (0, 0)
    if not 1 <= ports[0] <= ports[1] <= 65535:
        raise InvalidOption("port_range", value, "a range is FIRST-LAST with ports from 1 to 65535")
    return ports


def positive(params: t.Mapping[str, t.Any], *options: str) -> None:
    for option in options:
        if params[option] is not None and params[option] <= 0:
            raise InvalidOption(option, params[option], "it has to be greater than 0")


def command(params: t.Mapping[str, t.Any]) -> process.Command:
    """What the node is started with."""
    positive(params, "ttl_s", "linger_s", "silence_s", "patience_s")
    if params["part_timeout_s"] is not None:
        positive(params, "part_timeout_s")
    if not 0 <= params["nice"] <= 19:
        raise InvalidOption("nice", params["nice"], "it is 0 to 19")
    settings = Settings(
        params["ttl_s"],
        params["linger_s"],
        params["silence_s"],
        process.patience_of(params["patience_s"]),
        params["compression"] == "auto",
        part_s=params["part_timeout_s"],
    )
    return process.Command(
        params["run"],
        params["host"],
        params["address"],
        port_range(params["port_range"]),
        params["credentials"],
        settings,
        params["state_dir"],
        limits(params),
        params["encryption"],
        params["nice"],
        params["io_idle"],
    )


def listen(module: AnsibleModule, runtime: process.RunDirectory) -> dict[str, t.Any]:
    wanted = command(module.params)
    if module.check_mode:
        try:
            return answer(runtime.ask("progress", fleet=False))
        except ControlFailed:
            return {"changed": True, "node": {}}
    runtime.refuse_given_up()
    if not wanted.encryption:
        module.warn(f"The nodes of the run {wanted.run} do not encrypt: anyone who can listen between the hosts reads the base disks.")
    pools = checked_pools(module.params["pools"]).values()
    shelf = StoreShelf(checked_percent(module.params["reserve_percent"]), tuple(pools))
    node, changed = process.listening(runtime, wanted, shelf)
    return answer(node, changed)


def stop(module: AnsibleModule, runtime: process.RunDirectory) -> dict[str, t.Any]:
    if module.check_mode:
        return {"changed": runtime.process() is not None, "node": {}}
    unwanted = bases(module.params) if module.params["discard"] else []
    if module.params["give_up"]:
        runtime.give_up()
    return {"changed": any([process.stopped(runtime), *(discarded(base) for base in unwanted)]), "node": {}}


STATES = {"listening": listen, "stopped": stop}


def work(module: AnsibleModule) -> dict[str, t.Any]:
    with node_of_run(module.params["runtime_dir"], module.params["run"]) as runtime:
        return STATES[module.params["state"]](module, runtime)


def main() -> None:
    secret = {name: {"type": "str", "required": True, "no_log": name == "key"} for name in CREDENTIALS}
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            **RUN,
            **LIMITS,
            "state": {"type": "str", "choices": list(STATES), "default": "listening"},
            "host": {"type": "str"},
            "address": {"type": "str"},
            "port_range": {"type": "str", "default": "47700-47799"},
            "credentials": {"type": "dict", "no_log": True, "options": secret},
            "bases": BASES,
            "nice": {"type": "int", "default": 0},
            "io_idle": {"type": "bool", "default": False},
            "compression": {"type": "str", "choices": ["none", "auto"], "default": "none"},
            "encryption": {"type": "bool", "default": True},
            "ttl_s": {"type": "float", "default": 14400},
            "linger_s": {"type": "float", "default": 300},
            "part_timeout_s": {"type": "float"},
            "silence_s": {"type": "float", "default": 6},
            "patience_s": {"type": "float", "default": 60},
            "discard": {"type": "bool", "default": False},
            "give_up": {"type": "bool", "default": False},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
        },
        required_if=[("state", "listening", ("host", "address", "credentials"))],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
