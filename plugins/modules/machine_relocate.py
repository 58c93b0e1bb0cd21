#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_relocate
short_description: Move machines to another pool of their host
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Moves disks of machines to another pool of the same host. A differencing disk moves alone where that pool has its base; a base that it
    lacks is copied there first, with its parents, from another pool of the host.
  - A machine that is off moves with its seed, logs and firmware variables. A machine that runs goes on running while QEMU copies its disks;
    its seed, logs and firmware variables stay where they are until it is moved while it is off.
  - What is on its way is noted on the host. A move that was interrupted is ended with O(state=ended); until then other runs leave the
    machine alone.
requirements:
  - python3-libvirt
  - qemu-img
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._service.libvirt
  - basecast.fleet._service.state
  - basecast.fleet._service.runtime
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - V(moved) moves what is not in its pool yet.
      - V(ended) ends moves that were interrupted. What the machine's definition does not name is removed.
    type: str
    choices:
      - moved
      - ended
    default: moved
  run:
    description: Name of the run, which is noted with what it begins.
    type: str
    required: true
  machines:
    description: The machines.
    type: list
    elements: dict
    required: true
    suboptions:
      tenant:
        description: The tenant to whom the machine belongs.
        type: str
        default: default
      service:
        description: The service that it is part of.
        type: str
        required: true
      machine:
        description: Its name.
        type: str
        required: true
      pool:
        description: The pool in which it is to be. Required with O(state=moved).
        type: str
      live:
        description: Whether it runs while it moves. Otherwise it is off, or its guest is asked to power off, and started afterwards.
        type: bool
        default: false
  at_once:
    description: How many machines move at the same time.
    type: int
    default: 2
  shutdown_timeout_s:
    description: How long guests may take to power off, in seconds. One that does not stays where it is, running.
    type: float
    default: 120
  timeout_s:
    description: How long the disks of a machine that runs may take to be copied, in seconds. It stays where it is then.
    type: float
    default: 3600
  busy_timeout_s:
    description: How long to wait for another process that changes machines of the same service, in seconds.
    type: float
    default: 60
seealso:
  - module: basecast.fleet.migration_source
  - module: basecast.fleet.base_disk
"""

EXAMPLES = r"""
- name: Move a machine to the fast pool while it runs
  basecast.fleet.machine_relocate:
    run: night-1
    pools: "{{ basecast_pools }}"
    machines:
      - {service: shop, machine: web-1, pool: fast, live: true}
"""

RETURN = r"""
machines:
  description:
    - What became of each machine, also of those that failed. C(state) is V(moved), V(present) for one that was there, V(as before) for a
      move that was undone, or V(failed). C(problem) says why. C(disks) are names of the disks that have moved, C(bases) what was done for
      their bases, C(bytes) what the disks have in the pool.
  returned: always
  type: list
  elements: dict
  sample:
    - {tenant: default, service: shop, machine: web-1, state: moved, disks: [root], bases: [], bytes: 5242880, seconds: 1.2, problem: null}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.room import reserve_argument
from ..module_utils._errors import InvalidOption
from ..module_utils._module import pool_path, run_module
from ..module_utils._move import options as moves
from ..module_utils._move.within import Wish, Within
from ..module_utils._names import check_name


def _wishes(module: AnsibleModule, pools: t.Mapping[str, str]) -> list[Wish]:
    params = module.params
    wishes = []
    for index, machine in enumerate(params["machines"]):
        option = f"machines[{index}].pool"
        if not machine["pool"]:
            raise InvalidOption(option, machine["pool"], "with state moved, the pool in which the machine is to be is needed")
        pool_path(pools, machine["pool"], option)
        wishes.append(
            Wish(
                owner=moves.owner_of(machine, index),
                run=params["run"],
                pool=machine["pool"],
                live=machine["live"],
                shutdown_timeout_s=params["shutdown_timeout_s"],
                timeout_s=params["timeout_s"],
            )
        )
    return wishes


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    host = moves.checked_host(module, "machine_relocate")
    check_name("run", params["run"])
    machines, within = params["machines"], Within(host, module.check_mode)
    if params["state"] == "ended":
        owners = [moves.owner_of(machine, index) for index, machine in enumerate(machines)]
        results = moves.each(machines, lambda index: within.end(owners[index]))
        return moves.answer(module, results, changed=any(one.get("ended") for one in results))
    wishes = _wishes(module, host.pools)
    results = moves.each(machines, lambda index: within.move(wishes[index]), params["at_once"])
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for one, wish in zip(results, wishes):
        for disk, pool in (one.get("from") or {}).items():
            place = "/".join((wish.owner.tenant, wish.owner.service, wish.owner.machine, disk))
            before[place], after[place] = pool, wish.pool
    changed = any(one["state"] == "moved" for one in results)
    return moves.answer(module, results, changed=changed, diff={"before": before, "after": after})


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **moves.host_argument(),
            **reserve_argument(),
            "state": {"type": "str", "choices": ["moved", "ended"], "default": "moved"},
            "run": {"type": "str", "required": True},
            "machines": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {**moves.MACHINE, "pool": {"type": "str"}, "live": {"type": "bool", "default": False}},
            },
            "at_once": {"type": "int", "default": 2},
            "shutdown_timeout_s": {"type": "float", "default": 120},
            "timeout_s": {"type": "float", "default": 3600},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
