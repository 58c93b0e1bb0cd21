#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_info
short_description: Tell what a host knows of machines that could move, or are on their way
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Returns the machines that this collection has made on the host, with all that decides whether and where each can move, and
    what is left of migrations that were interrupted.
  - Nothing that the records of services keep secret is returned.
requirements:
  - python3-libvirt on hosts that have libvirt.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  tenant:
    description: The tenant whose machines are returned. All tenants when omitted.
    type: str
  service:
    description: The service whose machines are returned. All services when omitted.
    type: str
  uri:
    description: The connection to libvirt.
    type: str
    default: qemu:///system
  state_dir:
    description: Directory of the services' records, and of what tells of migrations.
    type: str
    default: /var/lib/basecast
  runtime_dir:
    description: Directory of the files that tell of jobs.
    type: str
    default: /run/basecast
seealso:
  - module: basecast.fleet.migration_source
  - module: basecast.fleet.migration_target
"""

EXAMPLES = r"""
- name: Look at the machines of a service
  basecast.fleet.migration_info:
    pools: "{{ basecast_pools }}"
    service: shop
  register: look
"""

RETURN = r"""
migration:
  description: What is there.
  returned: success
  type: dict
  contains:
    format:
      description: Version of this structure.
      type: int
    machines:
      description:
        - The machines. C(state) is V(running), V(paused) or V(off). C(problems) are sentences that say why a machine cannot
          move; empty for one that can. C(bound) says what it would lose on another host.
      type: list
      elements: dict
    others:
      description: Names of domains that this collection has not made, or that cannot be read.
      type: list
      elements: str
    services:
      description: For each service with a record its C(generation), C(assignments), C(bases), and C(jobs) that are at work.
      type: list
      elements: dict
    journal:
      description: Machines whose migration has not ended here, see M(basecast.fleet.migration_source).
      type: list
      elements: dict
    cpu:
      description: The processor, as libvirt of another host compares it.
      type: str
    arch:
      description: Its architecture.
      type: str
  sample:
    format: 1
    machines: []
    others: []
    services: []
    journal: []
    cpu: "<cpu/>"
    arch: x86_64
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.store import Store
from ..module_utils._module import check_absolute, checked_pools, pools_argument, run_module
from ..module_utils._move.look import Request, look
from ..module_utils._names import check_name


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    check_absolute(params, "state_dir", "runtime_dir")
    for option in ("tenant", "service"):
        if params[option] is not None:
            check_name(option, params[option])
    pools = checked_pools(params["pools"])
    stores = {name: Store(path, module.run_command, name) for name, path in pools.items()}
    request = Request(pools, params["tenant"], params["service"], params["uri"], params["state_dir"], params["runtime_dir"])
    return {"changed": False, "migration": look(request, stores)}


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            "tenant": {"type": "str"},
            "service": {"type": "str"},
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
