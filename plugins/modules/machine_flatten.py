#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_flatten
short_description: Let disks go on losing their bases
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Disks of clones may lose their bases in the background, while the clones run. M(basecast.fleet.machine_clone) notes it, and
    M(basecast.fleet.host_job) begins it. QEMU does it by itself then, until the machine is powered off.
  - This module lets all go on that has stopped on this host. It returns while QEMU is at work. The disks of a machine that is off are
    flattened before it returns, and the machine cannot be started meanwhile.
  - A disk has its base until all of that is in it, so whatever interrupts this costs nothing but time.
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
  busy_timeout_s:
    description: How long to wait for another process that changes machines of the same service, in seconds.
    type: float
    default: 60
seealso:
  - module: basecast.fleet.machine_clone
"""

EXAMPLES = r"""
- name: Go on with what has stopped
  basecast.fleet.machine_flatten:
    pools: "{{ basecast_pools }}"
"""

RETURN = r"""
machines:
  description:
    - The machines whose disks are to lose their bases. Their C(state) is V(flattened), V(going on), or V(failed) for the reason in
      C(problem). C(done) is what was done.
  returned: success
  type: list
  elements: dict
  sample:
    - tenant: default
      service: shop
      machine: web-9
      state: going on
      done: [flatten /var/lib/libvirt/images/machines/shop/web-9/root.qcow2]
      problem: null
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.store import stores_of
from ..module_utils._job.flatten import Request, go_on
from ..module_utils._module import check_absolute, check_seconds, checked_pools, pools_argument, run_module


def _work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    check_absolute(params, "state_dir", "runtime_dir")
    check_seconds(params, "busy_timeout_s")
    stores = stores_of(checked_pools(params["pools"]), module.run_command, checked_percent(params["reserve_percent"]))
    request = Request(params["uri"], params["state_dir"], params["runtime_dir"], params["busy_timeout_s"], module.check_mode)
    found = go_on(request, stores, module.run_command)
    for one in found:
        if one["problem"]:
            module.warn(one["problem"])
    done = [action for one in found for action in one["done"]]
    return {"changed": bool(done), "machines": found, "diff": {"before": {}, "after": {"done": done} if done else {}}}


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "busy_timeout_s": {"type": "float", "default": 60},
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
