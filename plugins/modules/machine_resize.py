#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_resize
short_description: Grow disks of running machines
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Grows disks of a service's machines while these run, and notes the new sizes with the machines. Their guests see the larger disk at
    once; partitions and file systems in it are the guests' own.
  - Disks of machines that are off are grown by M(basecast.fleet.diff_disk).
requirements:
  - python3-libvirt
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._service
  - basecast.fleet._service.libvirt
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  machines:
    description: The machines.
    type: list
    elements: dict
    required: true
    suboptions:
      machine:
        description: Name of the machine.
        type: str
        required: true
      disks:
        description: Sizes in bytes, by the names of the disks.
        type: dict
        required: true
seealso:
  - module: basecast.fleet.diff_disk
  - module: basecast.fleet.machine
"""

EXAMPLES = r"""
- name: Give the database more room
  basecast.fleet.machine_resize:
    pools: "{{ basecast_pools }}"
    service: shop
    machines:
      - machine: db-1
        disks: {data: "{{ 8 * 1024 ** 3 }}"}
"""

RETURN = r"""
disks:
  description: The disks that were asked for. C(before_bytes) is the size that one had.
  returned: success
  type: list
  elements: dict
  sample:
    - machine: db-1
      name: data
      path: /var/lib/libvirt/images/machines/shop/db-1/data.qcow2
      before_bytes: 4294967296
      size_bytes: 8589934592
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import InvalidOption
from ..module_utils._machine.growth import grow
from ..module_utils._machine.libvirt_host import LibvirtHost
from ..module_utils._machine.owner import Owner, checked_owner
from ..module_utils._module import checked_pools, pools_argument, run_module


def _sizes(option: str, disks: t.Mapping[str, t.Any]) -> dict[str, int]:
    sizes = {}
    for name, size in disks.items():
        if not re.fullmatch("[0-9]{1,19}", str(size)) or not 0 < int(size) < 1 << 63 or int(size) % 512:
            raise InvalidOption(f"{option}.{name}", size, "a number of bytes is needed, a multiple of 512")
        sizes[str(name)] = int(size)
    if not sizes:
        raise InvalidOption(option, disks, "at least one disk is needed")
    return sizes


def _wanted(params: t.Mapping[str, t.Any]) -> dict[Owner, dict[str, int]]:
    wanted: dict[Owner, dict[str, int]] = {}
    for index, machine in enumerate(params["machines"]):
        option = f"machines[{index}]"
        owner = checked_owner(params["tenant"], params["service"], machine["machine"], f"{option}.machine")
        if owner in wanted:
            raise InvalidOption(f"{option}.machine", owner.machine, "each machine can be given once only")
        wanted[owner] = _sizes(f"{option}.disks", machine["disks"])
    return wanted


def work(module: AnsibleModule) -> dict[str, t.Any]:
    pools, wanted = checked_pools(module.params["pools"]), _wanted(module.params)
    disks = []
    with LibvirtHost(module.params["uri"]) as host:
        for owner, sizes in wanted.items():
            directories = {owner.directory(path) for path in pools.values()}
            disks += grow(host, owner, directories, sizes, module.check_mode)
    grown = [one for one in disks if one.before_bytes < one.size_bytes]
    return {
        "changed": bool(grown),
        "disks": [one._asdict() for one in disks],
        "diff": {
            "before": {f"{one.machine} {one.name}": one.before_bytes for one in grown},
            "after": {f"{one.machine} {one.name}": one.size_bytes for one in grown},
        },
    }


def main() -> None:
    machine = {"machine": {"type": "str", "required": True}, "disks": {"type": "dict", "required": True}}
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            "service": {"type": "str", "required": True},
            "tenant": {"type": "str", "default": "default"},
            "uri": {"type": "str", "default": "qemu:///system"},
            "machines": {"type": "list", "elements": "dict", "required": True, "options": machine},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
