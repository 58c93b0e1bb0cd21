#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_info
short_description: Tell which machines a host has
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Lists the machines that M(basecast.fleet.machine) made, with what their guests reported, and what all other domains of the host take.
  - A host for which libvirt keeps no definition has no machines, whether libvirt answers or not. Where there are definitions
    and it does not answer, nothing can be said of them, and RV(known) is V(false); the empty lists then do not mean that there
    are none.
requirements:
  - python3-libvirt on hosts that have libvirt.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._attributes.info_module
  - basecast.fleet._pools
  - basecast.fleet._service.libvirt
options:
  tenant:
    description: The tenant whose machines are listed.
    type: str
    default: default
  service:
    description: The service whose machines are listed. All of the tenant's services when omitted.
    type: str
seealso:
  - module: basecast.fleet.machine
"""

EXAMPLES = r"""
- name: Ask the host for its machines
  basecast.fleet.machine_info:
    pools: "{{ basecast_pools }}"
  register: found

- name: Stop where they cannot be known
  ansible.builtin.assert:
    that: found.known
    fail_msg: "The machines of {{ inventory_hostname }} cannot be known: {{ found.reason }}"

- name: Show what runs here
  ansible.builtin.debug:
    msg: "{{ found.machines | selectattr('running') | map(attribute='machine') }}"
"""

RETURN = r"""
known:
  description: Whether RV(machines) and RV(domains) are all that there is.
  returned: success
  type: bool
  sample: true
reason:
  description: Why libvirt gave no answer, null when it did.
  returned: success
  type: str
  sample: null
machines:
  description: The machines, by service and number.
  returned: success
  type: list
  elements: dict
  sample:
    - machine: web-1
      domain: shop-web-1
      uuid: 5f0c7c57-4a3e-5a39-8a0c-53b7a6f0a6d1
      running: true
      number: 1
      group: web
      spec: {}
      memory_mib: 2048
      cpus: 2
      accelerator: kvm
      macs:
        - 52:54:00:3b:9a:01
      report:
        hostname: web-1
        instance_id: 0d6f8a1c-6b0e-5a53-8f6b-1f3f6f5f0b07
        status: done
        addresses:
          - 192.168.122.17
        errors: []
      report_expected: true
      dns_missing: []
      console_tail: []
      problem: null
  contains:
    machine:
      description: Name of the machine.
      type: str
    domain:
      description: Name of its domain.
      type: str
    uuid:
      description: UUID of the domain, null where there is none.
      type: str
    running:
      description: Whether it runs.
      type: bool
    number:
      description: Its number.
      type: int
    group:
      description: Its group.
      type: str
    spec:
      description: What was wanted when it was defined.
      type: dict
    memory_mib:
      description: Its memory in MiB.
      type: int
    cpus:
      description: Number of its virtual CPUs.
      type: int
    accelerator:
      description: V(kvm) or V(qemu).
      type: str
    macs:
      description: Addresses of its network cards.
      type: list
      elements: str
    report:
      description:
        - What its guest reported, null if nothing yet.
        - The status V(done) or V(degraded) means that it has come up, with the C(errors) that it had in the latter
          case; V(error) that cloud-init failed.
      type: dict
    report_expected:
      description: Whether its seed asks its guest for a report.
      type: bool
    dns_missing:
      description: Addresses of the machine that the DNS of its libvirt networks ought to know, and does not know.
      type: list
      elements: str
    console_tail:
      description: The last lines on its console, as long as it has not reported.
      type: list
      elements: str
    problem:
      description: Why something of it could not be read, null when all could.
      type: str
domains:
  description:
    - All domains of the host, to find collisions and to know what they take.
    - Of a domain of another tenant, or of none, only memory, CPUs, whether it runs and its addresses are told. It has a name if that may be
      the name of a machine of O(service).
  returned: success
  type: list
  elements: dict
  sample:
    - domain: shop-web-1
      uuid: 5f0c7c57-4a3e-5a39-8a0c-53b7a6f0a6d1
      service: shop
      tenant: default
      machine: web-1
      macs:
        - 52:54:00:3b:9a:01
      addresses:
        - network: network default
          address: 192.0.2.10/24
      memory_mib: 2048
      cpus: 2
      disk_bytes: 21474836480
      running: true
      problem: null
  contains:
    domain:
      description: Name of the domain, null for one that is not the tenant's.
      type: str
    uuid:
      description: Its UUID, null for one that is not the tenant's.
      type: str
    service:
      description: The service it is part of, null for one that is not the tenant's.
      type: str
    tenant:
      description: The tenant it belongs to, null for one that is not the tenant's.
      type: str
    machine:
      description: The name of the machine, null for one that is not the tenant's.
      type: str
    macs:
      description: Addresses of its network cards.
      type: list
      elements: str
    addresses:
      description: Fixed addresses that the manifest gave it, of every tenant's machines, so that no other gets the same.
      type: list
      elements: dict
      contains:
        network:
          description: What the network card is connected to.
          type: str
        address:
          description: The address with its prefix.
          type: str
    memory_mib:
      description: Its memory in MiB.
      type: int
    cpus:
      description: Number of its virtual CPUs.
      type: int
    disk_bytes:
      description: What its disks may grow to, null for a domain that is not the tenant's.
      type: int
    hugepages:
      description: The size of the huge pages that its memory is in, of every tenant's machines; null for none.
      type: str
    running:
      description: Whether it runs.
      type: bool
    problem:
      description: Why nothing else can be said of it, null when it can.
      type: str
networks:
  description: Whether each of libvirt's networks is active, null where libvirt was not asked.
  returned: success
  type: dict
  sample:
    default: true
bridges:
  description: Bridges of the host.
  returned: success
  type: list
  elements: str
  sample:
    - br0
offers:
  description:
    - What the host's libvirt and QEMU can give to machines. Null where libvirt was not asked; a key is missing where it did not tell.
    - C(firmware) and C(tpm) are those that machines can have, C(machine_types) the names of all boards.
    - C(cpu_models) are those that are usable, C(cpus) and C(nodes) the host's processors and NUMA nodes, C(hugepages_mib) what is
      reserved by the size of the page. C(interfaces) are those on which a macvtap can be, C(open_vswitch) the bridges of Open vSwitch,
      C(vlan_networks) the networks on which libvirt tags frames. C(most_cpus) is what one machine can have, C(watchdogs) are models,
      C(readonly_shares) whether virtiofs can be read-only.
    - C(dns) says of each libvirt network why no machine can have an entry in its DNS (C(problem), empty if it can), and which entries are
      of no machine. Names are told that machines of O(service) may have.
  returned: success
  type: dict
  sample:
    firmware: [bios, uefi, uefi_secure]
    tpm: ["2.0"]
    machine_types: [pc, pc-i440fx-7.2, pc-q35-7.2, q35]
    cpu_models: [EPYC, host-model, host-passthrough, maximum]
    cpus: [0, 1, 2, 3]
    nodes: [0]
    hugepages_mib: {2M: 4096}
    disk_buses: [sata, scsi, virtio]
    graphics: [spice, vnc]
    interfaces: [eth0, eth1]
    open_vswitch: [br-ext]
    dns:
      default: {problem: "", entries: []}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._machine.inquiry import inquire
from ..module_utils._machine.libvirt_host import LOCAL_URI
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._names import check_name


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    pools = checked_pools(params["pools"])
    check_name("tenant", params["tenant"])
    if params["service"] is not None:
        check_name("service", params["service"])
    told = inquire(params["uri"], pools, params["tenant"], params["service"])
    return {"changed": False, **{key: value for key, value in told.items() if key not in ("uuids", "memory_mib")}}


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            "uri": {"type": "str", "default": LOCAL_URI},
            "tenant": {"type": "str", "default": "default"},
            "service": {"type": "str"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
