#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine
short_description: Define, start, await, stop and remove a service's machines on a host
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Brings a list of libvirt domains into one state, over one connection.
  - The domain of machine C(web-1) of service C(shop) is called C(shop-web-1). It carries in its metadata whose it is
    and what was wanted; a domain of that name without this metadata, or with another owner's, is an error.
  - UUID and MAC addresses are derived from tenant, service and machine. An address that another domain of the host
    already has is replaced by the next derived one.
  - An existing machine is never redefined. Where it is not what is wanted now, this is reported as
    RV(machines[].drift).
  - The guest's first serial port is written to C(console.log) in the machine's directory, the second to C(report.log).
requirements:
  - python3-libvirt and a running libvirtd on the host.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._machines
  - basecast.fleet._pools
  - basecast.fleet._service
  - basecast.fleet._service.libvirt
  - basecast.fleet._service.state
attributes:
  check_mode:
    support: full
    details:
      - Disks and seeds that do not exist yet are not an error in check mode.
      - Reports are not waited for.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  domain_type:
    description:
      - The accelerator of new machines. V(auto) is V(kvm) where libvirt offers it, else V(qemu).
      - Usually the host variable C(basecast_domain_type).
    type: str
    choices:
      - auto
      - kvm
      - qemu
    default: auto
  state:
    description:
      - V(defined) makes sure that the machines exist. Running ones go on running.
      - V(started) also starts those that are off.
      - V(reported) also waits until the guest of each machine has reported that it has come up, under the name
        that its seed gave it. Machines without a seed, or whose seed asks for no report, are only started.
      - V(stopped) lets the guests power off.
      - V(absent) stops the machines at once, and removes their domains, seeds and logs, but not their disks.
    type: str
    choices:
      - defined
      - started
      - reported
      - stopped
      - absent
    default: started
  timeout_s:
    description: How long V(reported) and V(stopped) wait, in seconds, for all machines together.
    type: float
    default: 600
  force:
    description: Whether O(state=stopped) cuts the power of guests that do not power off in time.
    type: bool
    default: false
  keep_firmware:
    description:
      - Whether O(state=absent) keeps firmware variables and the state of a TPM, for a machine that is defined again under its name.
      - libvirt keeps the state of a TPM from version 8.9 on; on an older one this fails for machines that have a TPM.
    type: bool
    default: false
  machines:
    description: The machines. For V(stopped) and V(absent), name and pool are enough.
seealso:
  - module: basecast.fleet.machine_info
  - module: basecast.fleet.seed_image
  - module: community.libvirt.virt_net
"""

EXAMPLES = r"""
- name: Look up the base disk
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_pools }}"
  register: store

- name: Make the disk
  basecast.fleet.diff_disk:
    pools: "{{ basecast_pools }}"
    service: shop
    disks:
      - {machine: web-1, name: root, base: "{{ base.sha256 }}", size_bytes: "{{ 4 * 1024 ** 3 }}"}
  vars:
    base: "{{ store.pools.default.bases | selectattr('names', 'contains', wanted) | first }}"
    wanted: {tenant: default, name: debian-12, version: "20261101"}
  register: made_disks

- name: Make the seed
  basecast.fleet.seed_image:
    pools: "{{ basecast_pools }}"
    service: shop
    seeds:
      - machine: web-1
        user_data: {timezone: Etc/UTC}
  register: made_seeds

- name: Have a machine, and wait until it has come up
  basecast.fleet.machine:
    pools: "{{ basecast_pools }}"
    service: shop
    state: reported
    timeout_s: 300
    machines:
      - machine: web-1
        number: 1
        group: web
        cpus: 1
        memory_mib: 512
        disks:
          - {name: root, path: "{{ made_disks.disks[0].path }}"}
        seed: "{{ made_seeds.seeds[0].path }}"
        networks:
          - network: default
  register: shop

- name: Show its addresses
  ansible.builtin.debug:
    msg: "{{ shop.machines[0].machine }} has {{ shop.machines[0].report.addresses | join(', ') }}"

- name: Remove the machine, but not its disk
  basecast.fleet.machine:
    pools: "{{ basecast_pools }}"
    service: shop
    state: absent
    machines:
      - machine: web-1
"""

RETURN = r"""
machines:
  description:
    - The machines that were asked for, in that order.
    - When some machines failed, the same list is in RV(failure.machines).
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
      drift: []
      actions:
        - defined
        - started
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
    drift:
      description: Where it is not what is wanted now, as a list of C(path), C(from) and C(to).
      type: list
      elements: dict
    actions:
      description:
        - What was done, of V(defined), V(named), V(started), V(stopped), V(forced), V(removed) and V(cleaned).
        - V(named) is an entry in the DNS of a libvirt network.
      type: list
      elements: str
    problem:
      description: Why it is not what was asked for, null when it is.
      type: str
failure:
  description: What went wrong.
  returned: failure
  type: dict
  sample:
    kind: machines_failed
    failed:
      - machine: web-2
        reason: silent
        msg: "web-2 (accelerator qemu) has not reported within 300 s; its console is empty"
    machines: []
    domains: []
    changed: true
  contains:
    kind:
      description: V(machines_failed), V(libvirt_missing), V(libvirt), V(invalid_option) or V(failed).
      type: str
    failed:
      description:
        - Each machine that failed, as C(machine), C(reason) and C(msg).
        - Reasons are V(silent), V(stopped), V(cloud_init_failed), V(cloud_init_degraded), V(wrong_hostname),
          V(define_failed), V(start_failed), V(still_running), V(saved), V(remove_failed), V(foreign_domain), V(unreadable) and
          V(unknown).
      type: list
      elements: dict
    machines:
      description: As RV(machines), also those that did come up.
      type: list
      elements: dict
    domains:
      description: As RV(domains).
      type: list
      elements: dict
    changed:
      description: Whether anything was changed before.
      type: bool
domains:
  description:
    - All domains of the host, to find collisions and to know what they take.
    - Of a domain of another tenant, or of none, only memory, CPUs and whether it runs are told. It has a name if that may be
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
    memory_mib:
      description: Its memory in MiB.
      type: int
    cpus:
      description: Number of its virtual CPUs.
      type: int
    disk_bytes:
      description: What its disks may grow to, null for a domain that is not the tenant's.
      type: int
    running:
      description: Whether it runs.
      type: bool
    problem:
      description: Why nothing else can be said of it, null when it can.
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import FleetError
from ..module_utils._machine.domain_list import DomainList
from ..module_utils._machine.libvirt_host import LibvirtHost
from ..module_utils._machine.machine import Machine, MachinesFailed
from ..module_utils._machine.machine_options import machine_arguments
from ..module_utils._machine.machines import Machines
from ..module_utils._machine.owner import Owner
from ..module_utils._machine.wishes import checked_directories, checked_wishes
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._names import check_name


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    pools = checked_pools(params["pools"])
    state, tenant, service = params["state"], params["tenant"], params["service"]
    check_name("tenant", tenant)
    check_name("service", service)
    directories = checked_directories(params["machines"], tenant, service, pools)
    with LibvirtHost(params["uri"]) as host:
        machines = Machines(host, params["domain_type"], check=module.check_mode, pools=pools.values(), state_dir=params["state_dir"])
        before = {machine.owner: machine.shown() for machine in machines.query(tenant, service)}
        if state == "absent":
            results = machines.remove(list(directories), directories, params["keep_firmware"])
        elif state == "stopped":
            results = machines.stop(list(directories), params["timeout_s"], params["force"])
        else:
            wishes = checked_wishes(params["machines"], directories)
            results = machines.ensure(wishes, start=state != "defined")
            if state == "reported":
                machines.await_reports(results, params["timeout_s"])
        try:
            domains = DomainList(host).every_domain(tenant, service)
        except FleetError as error:
            told = [machine.result() for machine in results]
            raise MachinesFailed(error.message, machines=told, changed=any(machine.actions for machine in results))
        return _answer(module, results, before, domains)


def _answer(
    module: AnsibleModule,
    results: list[Machine],
    before: dict[Owner, dict[str, t.Any]],
    domains: list[dict[str, t.Any]],
) -> dict[str, t.Any]:
    answer = {
        "changed": any(machine.actions for machine in results),
        "machines": [machine.result() for machine in results],
        "domains": domains,
    }
    failed = [machine for machine in results if machine.problem]
    if failed:
        raise MachinesFailed(
            f"{len(failed)} of {len(results)} machines failed: " + "; ".join(str(machine.problem) for machine in failed),
            failed=[{"machine": m.owner.machine, "reason": m.reason, "msg": m.problem} for m in failed],
            **answer,
        )
    for machine in results:
        if machine.report and machine.report["status"] == "degraded":
            module.warn(
                f"{machine.owner.machine} has come up, but cloud-init had problems: "
                f"{'; '.join(machine.report['errors']) or 'see /var/log/cloud-init.log in the guest'}"
            )
    changed = [machine for machine in results if machine.actions]
    answer["diff"] = {
        "before": {m.owner.machine: before.get(m.owner, {"state": "absent"}) for m in changed},
        "after": {m.owner.machine: m.shown() for m in changed},
    }
    return answer


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "domain_type": {"type": "str", "choices": ["auto", "kvm", "qemu"], "default": "auto"},
            "tenant": {"type": "str", "default": "default"},
            "service": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["defined", "started", "reported", "stopped", "absent"],
                "default": "started",
            },
            "timeout_s": {"type": "float", "default": 600},
            "force": {"type": "bool", "default": False},
            "keep_firmware": {"type": "bool", "default": False},
            "machines": {"type": "list", "elements": "dict", "default": [], "options": machine_arguments()},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
