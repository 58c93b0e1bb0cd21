#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: survey_info
short_description: Look at everything on a host that a deployment is planned from
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - One look at a host, in one module run. It tells what M(basecast.fleet.host_capacity_info),
    M(basecast.fleet.base_disk_info), M(basecast.fleet.machine_info) and M(basecast.fleet.service_record) tell, in the
    structure that P(basecast.fleet.service_plan#filter) takes.
  - Each part is looked at by a process of its own, all at the same time, each for at most O(part_timeout_s). A part that
    fails, or hangs, does not affect the others.
  - A part that cannot be known is reported as unknown with its reason, never as empty.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._attributes.info_module
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._service
  - basecast.fleet._service.libvirt
  - basecast.fleet._service.state
  - basecast.fleet._service.survey
options:
  bases:
    description:
      - SHA-256 digests of bases that the tenant names, their own or their sources'. Such a base is reported even where only other
        tenants need it.
    type: list
    elements: str
    default: []
  check_xml:
    description:
      - Groups of machines to which a manifest adds XML, as P(basecast.fleet.service_manifest#filter) returns them in C(xml).
      - C(virt-xml-validate) of the host validates them.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group.
        type: str
        required: true
      cpus:
        description: Number of virtual CPUs of each machine.
        type: int
        required: true
      memory_mib:
        description: Memory of each machine in MiB.
        type: int
        required: true
      hardware:
        description: The hardware of each machine, by the names of the options of M(basecast.fleet.machine).
        type: dict
        required: true
  sources:
    description: What groups of machines are made from, as P(basecast.fleet.service_manifest#filter) returns it in C(sources).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group.
        type: str
        required: true
      template:
        description: Name of the template.
        type: str
        required: true
      version:
        description: Version of the template.
        type: str
        required: true
      machine:
        description: The machine of which the template is made where no host has it.
        type: str
      service:
        description: The machine's service.
        type: str
      domain:
        description: The domain of libvirt of which the template is made where no host has it.
        type: str
      host:
        description: The host that has the domain. It is not read here.
        type: str
  source_domains:
    description: Names and patterns of domains, which this collection has not made, of which templates may be made.
    type: list
    elements: str
    default: []
  resources:
    description:
      - What machines would use in place, as P(basecast.fleet.service_manifest#filter) returns it in C(resources). A star in C(name) stands
        for what differs from machine to machine.
    type: list
    elements: dict
    default: []
    suboptions:
      kind:
        description: V(block) is a block device, V(volume) a file that the collection has not made, V(device) a device of the
          host, V(share) a directory of it.
        type: str
        required: true
        choices: [block, volume, device, share]
      name:
        description:
          - Path of the block device or of the directory, or of the file below its pool.
          - Of a device V(pci/), V(usb/) or V(mediated/) and its address, or the vendor and product of a USB device.
        type: str
        required: true
      pool:
        description: The pool of the file.
        type: str
      format:
        description: The format of the file.
        type: str
        choices: [qcow2, raw]
        default: raw
  permitted:
    description:
      - Which O(resources) machines may use. Each kind is a list of patterns of paths, in which a star stands for a part of one name, or a
        mapping of tenants (V(*) for every one) and such lists.
      - What is not permitted is not told of either.
    type: dict
    default: {}
    suboptions:
      block:
        description: Block devices.
        type: raw
      volume:
        description: Files in pools, with symbolic links resolved.
        type: raw
      device:
        description: Devices of the host, by patterns such as V(pci/0000:65:00.*).
        type: raw
      share:
        description: Directories that machines may share, with symbolic links resolved.
        type: raw
  part_timeout_s:
    description: How long one part may take, in seconds. After this time the part is unknown.
    type: float
    default: 30
  hidden:
    description:
      - Whether the result is left out of what Ansible shows and logs. The service's record may hold passwords.
      - C(no_log) of the task would also hide why a host cannot be reached or looked at.
    type: bool
    default: false
seealso:
  - module: basecast.fleet.base_disk_source_info
    description: Looks at files from which bases would be imported, and for files that hosts have already.
  - module: basecast.fleet.host_job
  - module: basecast.fleet.host_capacity_info
  - module: basecast.fleet.base_disk_info
  - module: basecast.fleet.machine_info
"""

EXAMPLES = r"""
- name: Look at the host
  basecast.fleet.survey_info:
    pools: "{{ basecast_pools }}"
    service: shop
    address: "{{ basecast_address }}"
    hidden: true # the service's record may hold passwords
  register: seen

- name: Show what cannot be known
  ansible.builtin.debug:
    msg: "{{ seen.observation.reason or 'everything is known' }}"

- name: Plan from what was seen
  ansible.builtin.debug:
    msg: "{{ manifest | basecast.fleet.service_plan({inventory_hostname: seen.observation}) | basecast.fleet.service_plan_text }}"
  vars:
    manifest: "{{ lookup('ansible.builtin.file', 'shop.yml') | basecast.fleet.service_manifest('shop.yml') }}"
"""

RETURN = r"""
observation:
  description: What was seen of the host.
  returned: success
  type: dict
  contains:
    format:
      description: Version of this structure.
      type: int
      sample: 1
    reachable:
      description: Always V(true), the host has answered.
      type: bool
      sample: true
    known:
      description:
        - Whether everything is known that decides where machines are, or can be made. These are the pools, libvirt, the
          service's record, and what the host has to give.
        - If not, nothing is planned for this host.
      type: bool
      sample: true
    reason:
      description: Why not, as sentences; empty if all is known.
      type: str
      sample: ""
    capacity:
      description:
        - See RV(basecast.fleet.host_capacity_info#module:capacity), with memory in MiB and space in bytes.
        - C(memory_mib) is what libvirt counts, where that is less than what the kernel has.
        - The pools have C(known) and C(error) besides. In a pool that is not known, all else but C(path) is V(null).
      type: dict
      sample:
        cpus: 32
        memory_mib: 128786
        memory_available_mib: 90112
        load_1m: 0.42
        pools:
          default:
            path: /var/lib/libvirt/images
            exists: true
            writable: true
            total_bytes: 1000204886016
            free_bytes: 812345671680
            reserve_bytes: 50010244300
            promised_bytes: 214748364800
            write_mbps: null
            known: true
            error: null
    packages:
      description: See RV(basecast.fleet.host_capacity_info#module:packages).
      type: dict
      sample: {qemu_img: true, qemu_system: true, python3_libvirt: true, iso_tool: xorriso, libvirtd: true}
    missing:
      description: What is missing, with the package that brings it.
      type: list
      elements: dict
      sample: [{what: qemu-img, package: qemu-utils}]
    address:
      description: O(address), or the address of the default route; V(null) where there is none.
      type: str
      sample: 192.0.2.17
    address_local:
      description: Whether the host can listen on this address; V(null) if that is not known.
      type: bool
      sample: true
    port_range:
      description: O(port_range).
      type: str
      sample: 47700-47799
    ports_free:
      description: Ports of O(port_range) that can be listened on at this moment.
      type: list
      elements: int
      sample: [47700, 47701]
    claims:
      description:
        - What other deployments are about to use of the host, see M(basecast.fleet.host_claim), without names. A claim of O(tenant)
          tells C(machines) and C(disk_bytes) besides, which count for the tenant's quota. Those of O(service) are not among them.
      type: list
      elements: dict
      sample: [{cpus: 2, memory_mib: 2048, hugepages_mib: {}, pools: {default: {bytes: 0, growth_bytes: 21474836480}}}]
    own_claims:
      description:
        - What other runs of O(service) are about to make. C(run), C(uses) and C(places) are as in M(basecast.fleet.host_claim).
      type: list
      elements: dict
      sample: []
    claims_generation:
      description: Changes when a deployment claims something, see O(basecast.fleet.host_claim#module:seen).
      type: int
      sample: 7
    clock:
      description: The host's clock beside the controller's, see RV(basecast.fleet.host_capacity_info#module:clock).
      type: dict
      sample: {utc: "2026-11-28T05:00:00Z", controller_utc: "2026-11-28T05:00:00Z", ahead_s: 0.2}
    clock_s:
      description: The host's clock at the begin of the survey, in seconds since the epoch; V(null) if it is not known.
      type: float
      sample: 1772100000.123
    pools:
      description:
        - See RV(basecast.fleet.base_disk_info#module:pools), of O(tenant), sizes in bytes. The pools have C(known) and
          C(error) besides. A pool that is not known shows no bases, which does not mean that it has none.
      type: dict
      sample:
        default:
          path: /var/lib/libvirt/images
          exists: true
          writable: true
          filesystem: {type: xfs, identity: "local:6f9c7f6e", shared: false, reflink: true, immutable: true}
          bases: []
          partials: []
          damaged: []
          known: true
          error: null
    machines:
      description: The service's machines, see RV(basecast.fleet.machine_info#module:machines), without their consoles.
      type: list
      elements: dict
      sample: []
    domains:
      description: All domains of the host, see RV(basecast.fleet.machine_info#module:domains).
      type: list
      elements: dict
      sample: []
    networks:
      description: Whether each network of libvirt is active, by its name; V(null) if that is not known.
      type: dict
      sample: {default: true}
    bridges:
      description: Names of the host's bridges.
      type: list
      elements: str
      sample: [br0]
    offers:
      description: What machines can have on it, see RV(basecast.fleet.machine_info#module:offers). V(null) if that is not known.
      type: dict
      sample: {firmware: [bios, uefi], tpm: ["2.0"], machine_types: [pc, q35]}
    xml_problems:
      description: Why machines of a group of O(check_xml) cannot be made, by the group's name; V(null) if that is not known.
      type: dict
      sample: {}
    sources:
      description:
        - What the host has of each of O(sources), by the group's name; V(null) if that is not known. C(stored) is the template, C(live)
          what its machine would give now, C(problem) why it cannot be made here.
      type: dict
      sample: {}
    resources:
      description:
        - What is there of O(resources) and permitted; V(null) if that is not known. C(problem) says why no machine may use it, and is empty
          where one may. C(used_by) names the service's own domains, and others without their names. C(beside) are the PCI devices that
          the host uses and that a machine would have to get as well.
      type: list
      elements: dict
      sample: [{kind: block, name: /dev/sdb, pool: null, path: /dev/sdb, size_bytes: 1000204886016, problem: "", used_by: []}]
    record:
      description: The record of the service, V(null) if there is none. It may hold secrets.
      type: dict
      sample: {format: 1, service: shop, generation: 3}
    moves:
      description:
        - Machines of the service whose migration has not ended. C(side) is V(source) on the host that the machine leaves, V(target) on
          the one that it comes to; C(peer) is the other one.
      type: list
      elements: dict
      sample: [{machine: web-1, side: source, peer: kvm2}]
    measured:
      description:
        - What earlier runs have measured, see RV(basecast.fleet.host_capacity_info#module:links), with C(cpus), C(load_1m)
          and C(memory_available_mib) of now. Rates in 10^6 bits per second, times in seconds.
      type: dict
      sample: {links: [], disks_age_s: 512.0, cpus: 32, load_1m: 0.42, memory_available_mib: 90112}
    parts:
      description:
        - How each part was answered. C(known) whether it was, C(error) why not, C(seconds) how long it took.
        - The parts are V(host), V(machines), V(record), V(links) and V(pool:NAME).
      type: dict
      sample:
        host: {known: true, error: null, seconds: 0.041}
        "pool:default": {known: false, error: no answer within 30 s, seconds: 30.0}
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._clock import clock
from ..module_utils._disk.capacity import checked_ports
from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._errors import InvalidOption
from ..module_utils._job.survey import Request, observe
from ..module_utils._module import check_absolute, checked_pools, pools_argument, run_module
from ..module_utils._names import check_name, check_sha256
from ..module_utils._text import clean_data

if t.TYPE_CHECKING:
    from ..module_utils._job.resources import Permits


def _request(params: t.Mapping[str, t.Any], run: t.Any) -> Request:
    pools = checked_pools(params["pools"])
    check_absolute(params, "state_dir")
    if not 0 < params["part_timeout_s"] <= 3600:
        raise InvalidOption("part_timeout_s", params["part_timeout_s"], "a number of seconds up to 3600 is needed")
    return Request(
        pools=pools,
        tenant=check_name("tenant", params["tenant"]),
        service=check_name("service", params["service"]),
        uri=params["uri"],
        state_dir=params["state_dir"],
        address=params["address"],
        ports=checked_ports(params["port_range"]),
        port_range=params["port_range"],
        limit_s=params["part_timeout_s"],
        bases=[check_sha256("bases", sha256) for sha256 in params["bases"]],
        reserve_percent=checked_percent(params["reserve_percent"]),
        check_xml=params["check_xml"],
        sources=params["sources"],
        source_domains=tuple(params["source_domains"]),
        resources=params["resources"],
        permits=_permits(params),
        run=run,
    )


def _permits(params: t.Mapping[str, t.Any]) -> Permits | None:
    """A host compiles all that is imported, and few machines use something in place."""
    if not params["resources"]:
        return None
    from ..module_utils._job.resources import checked_permits  # noqa: PLC0415 - a host compiles all that is imported

    return checked_permits(params["permitted"], params["tenant"])


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    observation = observe(_request(module.params, module.run_command))
    observation["clock"] = clock(module.params["controller_clock"], observation["clock_s"] or time.time())
    record = observation.pop("record")
    # The record is compared with what a plan would write, to the last character.
    return {"changed": False, "observation": {**clean_data(observation), "record": record}}


def main() -> None:
    run_module(
        _work,
        exact=("observation",),
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "service": {"type": "str", "required": True},
            "controller_clock": {"type": "float"},
            "tenant": {"type": "str", "default": "default"},
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "address": {"type": "str"},
            "port_range": {"type": "str", "default": "47700-47799"},
            "bases": {"type": "list", "elements": "str", "default": []},
            "check_xml": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "cpus": {"type": "int", "required": True},
                    "memory_mib": {"type": "int", "required": True},
                    "hardware": {"type": "dict", "required": True},
                },
            },
            "sources": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "template": {"type": "str", "required": True},
                    "version": {"type": "str", "required": True},
                    "machine": {"type": "str"},
                    "service": {"type": "str"},
                    "domain": {"type": "str"},
                    "host": {"type": "str"},
                },
                "required_together": [("machine", "service")],
                "mutually_exclusive": [("machine", "domain")],
            },
            "source_domains": {"type": "list", "elements": "str", "default": []},
            "resources": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "kind": {"type": "str", "required": True, "choices": ["block", "volume", "device", "share"]},
                    "name": {"type": "str", "required": True},
                    "pool": {"type": "str"},
                    "format": {"type": "str", "choices": ["qcow2", "raw"], "default": "raw"},
                },
            },
            "permitted": {
                "type": "dict",
                "default": {},
                "options": {kind: {"type": "raw"} for kind in ("block", "volume", "device", "share")},
            },
            "part_timeout_s": {"type": "float", "default": 30},
            "hidden": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
