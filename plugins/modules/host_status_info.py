#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_status_info
short_description: Tell everything that a host has of the fleet's services
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - One look at a host, in one module run. It tells of machines with their state and addresses, of disks and what they are based on,
    of base disks, transfers and records of services. The filter P(basecast.fleet.fleet_status#filter) makes the fleet's status of it.
  - Each part is looked at by a process of its own, all at the same time, each for at most O(part_timeout_s). A part that cannot be
    known is reported as unknown with its reason, never as empty.
  - What belongs to other tenants is told as numbers, without names.
requirements:
  - python3-libvirt on hosts that have libvirt.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._attributes.info_module
  - basecast.fleet._pools
options:
  tenant:
    description: The tenant whose things are told. Those of all tenants when omitted.
    type: str
  uri:
    description: The connection to libvirt. Usually the host variable C(basecast_libvirt_uri).
    type: str
    default: qemu:///system
  state_dir:
    description: Directory of the services' records.
    type: str
    default: /var/lib/basecast
  runtime_dir:
    description: Directory of the files that tell of jobs.
    type: str
    default: /run/basecast
  packed:
    description:
      - Whether RV(status) is returned as one JSON text. Ansible then handles one value for each host, instead of thousands.
    type: bool
    default: false
  part_timeout_s:
    description: How long one part may take, in seconds. After this time the part is unknown.
    type: float
    default: 30
seealso:
  - module: basecast.fleet.survey_info
    description: Looks at what a deployment of one service is planned from.
"""

EXAMPLES = r"""
- name: Look at the host
  basecast.fleet.host_status_info:
    pools: "{{ basecast_pools }}"
    tenant: default
  register: seen

- name: Show what runs here
  ansible.builtin.debug:
    msg: "{{ seen.status.machines | map(attribute='domain') | join(', ') or 'nothing' }}"
"""

RETURN = r"""
status:
  description: What the host has. With O(packed=true) the same as a JSON text.
  returned: success
  type: dict
  contains:
    format:
      description: Version of this structure.
      type: int
      sample: 1
    known:
      description: Whether all of it is known, addresses apart. If not, what is listed is not all that there is.
      type: bool
      sample: true
    reason:
      description: Why not, as sentences; empty if all is known.
      type: str
      sample: ""
    seen_at:
      description: The host's clock, in seconds since 1970.
      type: float
      sample: 1772100000.123
    host:
      description: Processors, memory in MiB and load of the last minute.
      type: dict
      sample: {cpus: 32, memory_mib: 128786, memory_available_mib: 90112, load_1m: 0.42}
    machines:
      description:
        - The machines. C(state) is as libvirt says it, such as V(running), V(paused), V(off) or V(crashed). C(disks) are paths.
        - C(addresses) are those that are known, the surest first. C(source) is V(agent) (the guest agent), V(lease) (libvirt's DHCP
          server), V(arp) (the host's neighbour table), or V(report) (what the guest wrote when it started).
        - C(flattening) is about disks that are losing their bases. C(going_on) is whether QEMU is copying now, C(percent) how much is
          done.
      type: list
      elements: dict
      sample:
        - tenant: default
          service: shop
          machine: web-1
          domain: shop-web-1
          group: web
          number: 1
          state: running
          running: true
          memory_mib: 2048
          cpus: 2
          addresses: [{address: 192.168.122.17, mac: "52:54:00:11:22:33", source: lease}]
          disks: [/var/lib/libvirt/images/machines/shop/web-1/root.qcow2]
          flattening: null
          problem: null
    others:
      description: What the host's other domains take, V(null) if it is not known. C(unread) of them cannot be read.
      type: dict
      sample: {domains: 1, running: 1, memory_mib: 4096, unread: 0}
    services:
      description:
        - What the host's records say of services, without anything secret. C(assignments) are all machines of the service, each with
          its host. C(scaled) is what they remember of the numbers of machines. C(problem) says why a record cannot be read.
      type: list
      elements: dict
      sample:
        - tenant: default
          service: shop
          generation: 3
          assignments: {web-1: {host: kvm1, group: web, number: 1}}
          bases: [{name: debian-12, version: "20261101", sha256: 3f0a}]
          scaled: {generation: 2, groups: {web: {count: 5, of: 3, at: 1764418800}}}
          problem: null
    jobs:
      description: Runs that work on a service on this host at this moment.
      type: list
      elements: dict
      sample: [{tenant: default, service: shop, run: 20261128T120000-abcdefgh}]
    pools:
      description:
        - By name. C(bases), C(partials), C(damaged) and C(filesystem) are as M(basecast.fleet.base_disk_info) tells them. C(disks) are
          the disks in the pool, each with the digest of the C(base) or the path of the C(parent) that it is based on. C(unfinished)
          are uploads and imports that no process is at work on, told where no O(tenant) is given. C(half_clones) are interrupted clones;
          C(of) is the machine that was being cloned. C(references) are those to bases that are not there.
      type: dict
      sample:
        default:
          path: /var/lib/libvirt/images
          known: true
          error: null
          free_bytes: 812345671680
          total_bytes: 1000204886016
          bases: []
          partials: []
          damaged: []
          disks:
            - path: /var/lib/libvirt/images/machines/shop/web-1/root.qcow2
              tenant: default
              service: shop
              machine: web-1
              name: root
              bytes: 1310720
              virtual_bytes: 10737418240
              base: 3f0a
              parent: null
              in_store: true
          others: {disks: 0, bytes: 0}
          unfinished: []
          half_clones: []
          references: []
    parts:
      description: For each part whether it is known, why not, and how long it took.
      type: dict
      sample: {machines: {known: true, error: null, seconds: 0.031}}
"""

import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import InvalidOption
from ..module_utils._job.status import Request, look
from ..module_utils._module import check_absolute, checked_pools, pools_argument, run_module
from ..module_utils._names import check_name
from ..module_utils._text import clean_data


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    check_absolute(params, "state_dir", "runtime_dir")
    if not 0 < params["part_timeout_s"] <= 3600:
        raise InvalidOption("part_timeout_s", params["part_timeout_s"], "a number of seconds up to 3600 is needed")
    request = Request(
        pools=checked_pools(params["pools"]),
        tenant=None if params["tenant"] is None else check_name("tenant", params["tenant"]),
        uri=params["uri"],
        state_dir=params["state_dir"],
        runtime_dir=params["runtime_dir"],
        limit_s=params["part_timeout_s"],
    )
    status = clean_data(look(request))
    return {"changed": False, "status": json.dumps(status) if params["packed"] else status}


def main() -> None:
    run_module(
        _work,
        exact=("status",),  # it is cleaned before it is packed
        argument_spec={
            **pools_argument(),
            "tenant": {"type": "str"},
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
            "packed": {"type": "bool", "default": False},
            "part_timeout_s": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
