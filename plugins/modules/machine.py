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
    type: list
    elements: dict
    default: []
    suboptions:
      machine:
        description: Name of the machine.
        type: str
        required: true
      number:
        description: The number that the machine has in its service.
        type: int
        default: 0
      group:
        description: The group of machines in the manifest to which it belongs.
        type: str
        default: ""
      pool:
        description: Name of the pool in which the machine's directory lies.
        type: str
        default: default
      cpus:
        description: Number of virtual CPUs.
        type: int
        default: 1
      memory_mib:
        description: Memory in MiB.
        type: int
        default: 512
      disks:
        description:
          - The disks, the first is the one to boot from.
          - Not needed for machines that exist; then disks and seed are not compared.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the disk.
            type: str
            required: true
          path:
            description: The disk's file.
            type: str
            required: true
          image_format:
            description: Format of the file.
            type: str
            choices:
              - qcow2
              - raw
            default: qcow2
      seed:
        description:
          - The seed image, as M(basecast.fleet.seed_image) returns it.
          - A file of the name C(seed.ign) is handed to the guest by QEMU's fw_cfg device, as C(opt/com.coreos/config); one of the
            name C(seed-cloudbase.iso) is a CD; any other one is a virtio disk.
        type: str
      networks:
        description: The network cards, each with one of C(network), C(open_vswitch), C(bridge) and C(macvtap).
        type: list
        elements: dict
        default: []
        suboptions:
          network:
            description: Name of a libvirt network, which must be active.
            type: str
          open_vswitch:
            description: Name of an Open vSwitch bridge of the host.
            type: str
          bridge:
            description: Name of a bridge of the host.
            type: str
          macvtap:
            description: Name of a network interface of the host, on which the card gets a macvtap.
            type: str
          vlan:
            description: The VLAN tag, on an Open vSwitch bridge or a libvirt network over one.
            type: int
          queues:
            description: Number of queues of a virtio card. One when omitted.
            type: int
          mtu:
            description: The MTU. That of the network when omitted.
            type: int
          boot:
            description: The card's place in the boot order. The first disk gets the first place that is free.
            type: int
          mac:
            description: The card's address, derived when omitted.
            type: str
          model:
            description: The card's model.
            type: str
            choices: [virtio, virtio-transitional, virtio-non-transitional, e1000, e1000e, igb, rtl8139, vmxnet3, pcnet, ne2k_pci]
            default: virtio
      machine_type:
        description: The board, such as V(pc) or V(q35). libvirt's own default when omitted, V(q35) with UEFI.
        type: str
      firmware:
        description:
          - What starts the guest. V(bios) when omitted.
          - Firmware variables are a file in the machine's directory, which is removed with the machine.
        type: str
        choices:
          - bios
          - uefi
          - uefi_secure
      tpm:
        description: Version of the TPM that is emulated for the machine, which has none when omitted.
        type: str
        choices:
          - "2.0"
      on_crash:
        description: What happens when the guest crashes. V(restart) when omitted.
        type: str
        choices:
          - restart
          - destroy
          - preserve
      attached:
        description: Disks that were there before the machine, and stay when it is removed.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the disk.
            type: str
            required: true
          kind:
            description: V(block) is a block device of the host, V(volume) a file.
            type: str
            required: true
            choices:
              - block
              - volume
          path:
            description: Where it is.
            type: str
            required: true
          image_format:
            description: How it is opened. A block device is V(raw).
            type: str
            required: true
            choices:
              - qcow2
              - raw
      host_devices:
        description: Devices of the host that the machine gets as its own. Each has one of the three keys.
        type: list
        elements: dict
        suboptions:
          pci:
            description: Address of a PCI device, such as V(0000:65:00.0).
            type: str
          usb:
            description: Vendor and product of a USB device, such as V(0951:1666), or its bus and device, such as V(3/7).
            type: str
          mediated:
            description: UUID of a mediated device.
            type: str
      shares:
        description: Directories of the host that the machine shares with it by virtiofs.
        type: list
        elements: dict
        suboptions:
          name:
            description: The name by which the guest mounts it.
            type: str
            required: true
          source:
            description: The directory.
            type: str
            required: true
          readonly:
            description: Whether the guest cannot write.
            type: bool
      drives:
        description: How disks are connected and cached. A disk that is not named is on V(virtio), with QEMU's own cache.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the disk.
            type: str
            required: true
          device:
            description: Whether it is a disk (when omitted) or a CD, which the guest only reads.
            type: str
            choices:
              - disk
              - cdrom
          bus:
            description: The bus. V(scsi) is virtio-scsi. V(virtio) when omitted.
            type: str
            choices:
              - virtio
              - scsi
              - sata
          cache:
            description: How the host caches it.
            type: str
            choices:
              - none
              - writeback
              - writethrough
              - directsync
              - unsafe
          io:
            description: How QEMU reads and writes it.
            type: str
            choices:
              - threads
              - native
              - io_uring
          discard:
            description: Whether what the guest discards is given back to the pool. V(unmap) for qcow2 when omitted.
            type: str
            choices:
              - unmap
              - ignore
          serial:
            description: Its serial number, by which the guest finds it.
            type: str
          boot:
            description: Its place in the boot order.
            type: int
      xml:
        description:
          - Elements that are added to the domain's XML, for what has no option of its own. libvirt validates the result when it is defined.
          - They can do whatever root on the host can. They cannot replace what the other options say of name, disks and networks.
        type: list
        elements: dict
        suboptions:
          path:
            description: The element to which they are added, such as V(devices) or V(cpu/numa); V(.) is the domain itself.
            type: str
            required: true
          add:
            description:
              - The elements as text. Below V(devices) they are added; elsewhere each is merged into the element of the same tag and name.
              - Several of one tag that have no name take the place of those that are there.
            type: str
            required: true
      graphics:
        description: The machine's screen. It has none when omitted.
        type: dict
        suboptions:
          type:
            description: How it is shown. V(vnc) when omitted.
            type: str
            choices:
              - vnc
              - spice
              - none
          listen:
            description:
              - Where, a V(socket) that only administrators of the host can open, or a V(port) of 127.0.0.1.
              - V(socket) when omitted.
            type: str
            choices:
              - socket
              - port
      console:
        description: The serial console, a V(file), or a V(terminal) that C(virsh console) opens and that is kept in the same file.
        type: str
        choices:
          - file
          - terminal
      description:
        description: A line of text for people, which C(virsh desc) shows.
        type: str
      watchdog:
        description: A watchdog, which acts when the guest no longer tends it.
        type: dict
        suboptions:
          action:
            description: What it does. V(reset) when omitted.
            type: str
            choices:
              - reset
              - shutdown
              - poweroff
              - pause
              - inject-nmi
              - none
          model:
            description: Its kind. V(i6300esb) when omitted.
            type: str
            choices:
              - i6300esb
              - ib700
              - diag288
      cpu:
        description: The processors. Those of the host with KVM, or all that QEMU can emulate, when omitted.
        type: dict
        suboptions:
          model:
            description: V(host-passthrough), V(host-model), V(maximum), or a name that libvirt knows.
            type: str
          topology:
            description: Sockets, cores and threads, each 1 when omitted. Their product is O(machines[].cpus).
            type: dict
            suboptions:
              sockets:
                description: Number of sockets.
                type: int
              cores:
                description: Cores of each socket.
                type: int
              threads:
                description: Threads of each core.
                type: int
          pin:
            description: The host's processors on which all of them run, such as V(0-3).
            type: str
          pins:
            description: The host's processors for each virtual CPU, the first ones when there are fewer.
            type: list
            elements: str
          emulator_pin:
            description: The host's processors for QEMU's own work.
            type: str
      memory:
        description: How the machine has its memory.
        type: dict
        suboptions:
          at_start_mib:
            description: What the guest has of O(machines[].memory_mib) when it starts. All of it when omitted.
            type: int
          balloon:
            description: Whether its memory can be changed while it runs. V(true) when omitted.
            type: bool
          hugepages:
            description: The size of the huge pages in which its memory is. V(default) is the host's own.
            type: str
            choices:
              - default
              - 2M
              - 16M
              - 64K
              - 1G
          nodes:
            description: NUMA nodes of the host from which its memory is taken, such as V(0-1).
            type: str
          nodes_mode:
            description: How it is taken from them. V(strict) when omitted.
            type: str
            choices:
              - strict
              - preferred
              - interleave
          cells:
            description: The guest's own NUMA nodes.
            type: list
            elements: dict
            suboptions:
              cpus:
                description: Its virtual CPUs, such as V(0-3).
                type: str
                required: true
              memory_mib:
                description: Its memory in MiB.
                type: int
                required: true
              node:
                description: The host's NUMA node on which its memory is.
                type: int
      allow_degraded:
        description: Whether a guest whose cloud-init calls itself degraded has come up. Otherwise it has failed, with its reasons.
        type: bool
        default: false
      autostart:
        description: Whether the machine starts when the host does. V(true) when omitted.
        type: bool
      spec:
        description:
          - What was wanted, in any form. Kept with the machine and returned as it is.
          - Where C(networks) in it have C(network), C(dns_entry=true) and an C(address) or C(address6) with its prefix, the DNS of that
            libvirt network knows the machine. V(absent) takes the entries out.
          - Readable for all users who may read domain definitions, so no place for secrets.
        type: dict
        default: {}
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
from ..module_utils._machine.libvirt_host import LibvirtHost
from ..module_utils._machine.machine_options import machine_arguments
from ..module_utils._machine.machines import Machine, Machines, MachinesFailed
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
            domains = machines.every_domain(tenant, service)
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
