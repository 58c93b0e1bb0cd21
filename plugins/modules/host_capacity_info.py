#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_capacity_info
short_description: Tell what a host has to give, and what it lacks
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Space of the pools, and how much of it is promised to disks that are not full yet; processors, memory and load.
  - Programs and libraries that the collection needs and the host lacks, with the names that the host's distribution gives the packages.
  - Which ports the relay could listen on.
  - How far its clock is from the controller's.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._attributes.info_module
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._service.state
  - basecast.fleet._service.survey
options:
  measure_disk:
    description: Measure how fast each pool can be written. Writes 64 MiB to each, and leaves nothing there.
    type: bool
    default: false
seealso:
  - module: basecast.fleet.base_disk_info
"""

EXAMPLES = r"""
- name: Ask the hosts
  basecast.fleet.host_capacity_info:
    pools: "{{ basecast_pools }}"
    address: "{{ basecast_address }}"
    controller_clock: "{{ now().timestamp() }}"
  register: host

- name: Stop when something is missing
  ansible.builtin.assert:
    that: host.missing | length == 0
    fail_msg: "Install {{ host.missing | map(attribute='package') | join(' ') }}"

- name: Show how much of each pool is neither used nor promised
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ (item.value.free_bytes - item.value.reserve_bytes - item.value.promised_bytes) | human_readable }}"
  loop: "{{ host.capacity.pools | dict2items }}"
  loop_control:
    label: "{{ item.key }}"
"""

RETURN = r"""
capacity:
  description: What the host has to give.
  returned: success
  type: dict
  contains:
    cpus:
      description: Number of processors.
      type: int
      sample: 32
    memory_mib:
      description: Memory in MiB.
      type: int
      sample: 128786
    memory_available_mib:
      description: Memory in MiB that can be had without swapping.
      type: int
      sample: 90112
    load_1m:
      description: Load of the last minute.
      type: float
      sample: 0.42
    pools:
      description:
        - By name of the pool. C(promised_bytes) is what differencing disks, sparse disks and whatever is being written may
          still grow by. C(reserve_bytes) is what stays free, see O(reserve_percent). C(qemu_problem) says which directory
          the user that QEMU runs as cannot enter on its way to the pool, by modes and access control lists, and how to allow
          it; empty where it can. C(write_mbps), in millions of bits per second, is V(null) unless O(measure_disk=true).
      type: dict
      sample:
        default:
          path: /var/lib/libvirt/images
          exists: true
          writable: true
          total_bytes: 1000204886016
          free_bytes: 812345671680
          reserve_bytes: 50010244300
          promised_bytes: 214748364800
          qemu_problem: ""
          write_mbps: null
packages:
  description:
    - What is there. C(iso_tool) is the name of the program, C(libvirt_socket) the path on which the libvirt daemon listens.
    - C(python3_libvirt) is about the Python interpreter that the module runs in.
  returned: success
  type: dict
  sample:
    qemu_img: true
    qemu_system: true
    python3_libvirt: true
    iso_tool: xorriso
    libvirtd: true
    libvirt_socket: /run/libvirt/libvirt-sock
missing:
  description: What is missing, with the name of the package that brings it on the host's distribution.
  returned: success
  type: list
  elements: dict
  sample:
    - what: qemu-img
      package: qemu-utils
clock:
  description: The host's clock.
  returned: success
  type: dict
  contains:
    utc:
      description: What it says, in UTC.
      type: str
      sample: "2026-03-01T12:00:00Z"
    controller_utc:
      description: O(controller_clock), in UTC.
      type: str
      sample: "2026-03-01T11:58:30Z"
    ahead_s:
      description:
        - How many seconds it is ahead of the controller's, negative when it is behind. The time that it takes to call the module,
          a few seconds at the most, is part of it.
      type: float
      sample: 90.2
address:
  description: O(address), or the address of the default route; V(null) where there is none.
  returned: success
  type: str
  sample: 192.0.2.17
address_local:
  description: Whether the host can listen on RV(address).
  returned: success
  type: bool
  sample: true
ports_free:
  description: Ports of O(port_range) that the host can listen on at RV(address) at this moment.
  returned: success
  type: list
  elements: int
  sample: [47700, 47701]
links:
  description:
    - What earlier runs have measured, see O(state_dir).
    - C(links) are those that leave this host, each with the rate C(mbps) in 10^6 bits per second, C(latency_s), how it was
      measured (C(by) is V(probe) or V(transfer)) and C(age_s). C(disk_write_mbps) and C(disk_read_mbps) are those of the
      slowest pool, C(disks_age_s) how old they are; without them no pool was measured.
  returned: success
  type: dict
  sample:
    links:
      - from: kvm1
        to: kvm2
        mbps: 941.2
        latency_s: 0.000113
        by: transfer
        age_s: 512.0
    disk_write_mbps: 3120.5
    disk_read_mbps: 4210.3
    disks_age_s: 512.0
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._clock import clock
from ..module_utils._disk import capacity
from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.store import stores_of
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._relay.measure.link_history import LinkHistory


def work(module: AnsibleModule) -> dict[str, t.Any]:
    pools = checked_pools(module.params["pools"])
    first, last = capacity.checked_ports(module.params["port_range"])
    stores = stores_of(pools, module.run_command, checked_percent(module.params["reserve_percent"]))
    packages = capacity.packages()
    address = module.params["address"] or capacity.default_address()
    local = address is not None and capacity.is_local_address(address)
    return {
        "changed": False,
        "clock": clock(module.params["controller_clock"], time.time()),
        "capacity": capacity.survey(stores, module.params["measure_disk"] and not module.check_mode),
        "packages": packages,
        "missing": capacity.missing(packages),
        "address": address,
        "address_local": local,
        "links": LinkHistory(module.params["state_dir"]).read(time.time()),
        "ports_free": capacity.free_ports(address, first, last) if address is not None and local else [],
    }


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "address": {"type": "str"},
            "port_range": {"type": "str", "default": "47700-47799"},
            "controller_clock": {"type": "float"},
            "measure_disk": {"type": "bool", "default": False},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
