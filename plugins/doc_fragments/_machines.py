# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a machine can be told, for the module that makes machines and for the job that has it made.

Ansible merges options, but not their suboptions: each of the two is put together here.
"""

from __future__ import annotations

_HEAD = r"""
options:
  machines:
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
"""

_FILES = r"""
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
"""

_HARDWARE = r"""
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
            libvirt network knows the machine, as long as it is defined.
          - Readable for all users who may read domain definitions, so no place for secrets.
        type: dict
        default: {}
"""

_JOB = r"""
      health:
        description:
          - What has to answer before the machine counts as there, once its guest has reported. Each is asked until it was seen once.
          - The host itself connects, to O(machines[].health.addresses), or else to what the guest has reported, or else to what libvirt
            knows of it.
        type: dict
        suboptions:
          ports:
            description: TCP ports.
            type: list
            elements: int
          http:
            description: An HTTP server. Without a suboption, C(http) on port 80 has to answer C(/).
            type: dict
            suboptions:
              port:
                description: Its port, 80 when omitted, or 443 with O(machines[].health.http.tls).
                type: int
              path:
                description: What is asked for. V(/) when omitted.
                type: str
              status:
                description: The status that it has to answer with. From 200 to 399 when omitted.
                type: int
              tls:
                description: Whether it is asked by C(https). Who has signed its certificate is not looked at.
                type: bool
          command:
            description: A program of the guest and its arguments, which its guest agent runs and which has to end with 0.
            type: list
            elements: str
          timeout_s:
            description: How long the machine may take for all of it, in seconds. O(boot_timeout_s) when omitted.
            type: int
          addresses:
            description: Addresses that the machine was given.
            type: list
            elements: str
      new:
        description: Whether the machine is to be made, and gets the O(variables) of its group.
        type: bool
      seeded:
        description: Ignored; accepted since P(basecast.fleet.service_plan#filter) tells it.
        type: bool
"""


class ModuleDocFragment:
    # Annotated: what is put together is not the constant that ansible-test looks for in an assignment.
    DOCUMENTATION: str = _HEAD + _FILES + _HARDWARE

    JOB: str = _HEAD + _HARDWARE + _JOB
