#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: diff_disk
short_description: Give machines differencing disks, or copies, of base disks
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Makes, grows and removes the disks of a service's machines, any number in one call.
  - A differencing disk begins nearly empty and reads what has not been written from its base disk.
  - Decides about all disks before it touches any. A disk that exists is never replaced or shrunk. One that is
    based on something else than was asked for is an error that names both.
  - A disk that is the parent of another is never written or removed, nor is one that a running machine has open.
  - The name of the base disk in a differencing disk's header is relative when both lie in the same pool, so that the pool
    can be mounted elsewhere. From one pool to another it is absolute, and the disk depends on both paths on this host.
  - The store of the other pool then gets a record of the disk, so that no host that shares that pool removes the base disk.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
attributes:
  check_mode:
    support: full
    details:
      - A base disk that is in no pool yet is a warning in check mode, since an earlier task would have brought it.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  service:
    description: The service that the machines belong to.
    type: str
    required: true
  tenant:
    description:
      - The tenant that owns the service.
      - A service in a pool belongs to the tenant who made its first disk there; others are refused.
    type: str
    default: default
  disks:
    description: The disks.
    type: list
    elements: dict
    required: true
    suboptions:
      machine:
        description: Name of the machine.
        type: str
        required: true
      name:
        description:
          - Name of the disk within the machine.
          - May be omitted with O(state=absent), for all disks of the machine.
        type: str
      pool:
        description:
          - The pool of the disk; one of O(pools).
          - V(default) when it is omitted with O(state=present), all pools with O(state=absent).
        type: str
      base:
        description: SHA-256 digest of the base disk. Without it, an empty disk of O(disks[].size_bytes) is made.
        type: str
      base_pool:
        description:
          - The pool whose copy of the base disk is used.
          - When omitted, the disk's own pool if that has it, else any.
        type: str
      size_bytes:
        description:
          - Size that the machine sees, in bytes, rounded up to whole sectors of 512. That of the base disk when it is omitted.
          - A disk that is smaller is grown, one that is larger is left as it is.
        type: int
      differencing:
        description:
          - Whether the disk is based on the base disk, or is a full copy of it.
          - Copies are made within the host from the base store, cloned where the file system can do that, with holes kept.
        type: bool
        default: true
      backend:
        description:
          - V(qcow2) makes a qcow2 image whose backing file is the base disk.
          - V(reflink) clones the base disk's file, which the file system has to support (XFS, Btrfs).
        type: str
        choices: [qcow2, reflink]
        default: qcow2
  state:
    description: Whether the disks are to be there.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: basecast.fleet.base_disk_import
  - module: basecast.fleet.machine
"""

EXAMPLES = r"""
- name: Look up the base disk
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_pools }}"
  register: store

- name: Disks for two machines, of 20 and 100 GiB
  basecast.fleet.diff_disk:
    pools: "{{ basecast_pools }}"
    service: shop
    disks:
      - {machine: web-1, name: root, base: "{{ base.sha256 }}", size_bytes: "{{ 20 * 1024 ** 3 }}"}
      - {machine: web-2, name: root, base: "{{ base.sha256 }}", size_bytes: "{{ 20 * 1024 ** 3 }}"}
      - {machine: web-2, name: data, size_bytes: "{{ 100 * 1024 ** 3 }}"}
  vars:
    base: "{{ store.pools.default.bases | selectattr('names', 'contains', wanted) | first }}"
    wanted: {tenant: default, name: debian-12, version: "20261101"}
  register: made

- name: Show what they take in the pool now
  ansible.builtin.debug:
    msg: "{{ item.path }}: {{ item.allocated_bytes | human_readable }} of {{ item.virtual_size_bytes | human_readable }}"
  loop: "{{ made.disks }}"
  loop_control:
    label: "{{ item.machine }} {{ item.name }}"

- name: Remove all disks of one machine
  basecast.fleet.diff_disk:
    pools: "{{ basecast_pools }}"
    service: shop
    disks:
      - machine: web-2
    state: absent
"""

RETURN = r"""
disks:
  description: The disks that were asked for, in the same order; with O(state=absent), those that were there.
  returned: success
  type: list
  elements: dict
  contains:
    machine:
      description: Name of the machine.
      type: str
      sample: web-1
    name:
      description: Name of the disk.
      type: str
      sample: root
    path:
      description: File of the disk on the host.
      type: str
      sample: /var/lib/libvirt/images/machines/shop/web-1/root.qcow2
    pool:
      description: Pool of the disk.
      type: str
      sample: default
    base:
      description: Digest of the base disk, V(null) for an empty disk.
      type: str
      sample: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
    base_pool:
      description: Pool whose copy of the base disk is used.
      type: str
      sample: default
    virtual_size_bytes:
      description: Size that the machine sees.
      type: int
      sample: 21474836480
    allocated_bytes:
      description: Space that the disk takes in the pool.
      type: int
      sample: 20480
    image_format:
      description: Format of the file, V(qcow2) or V(raw).
      type: str
      sample: qcow2
    backing:
      description: The parent as the disk's header names it, V(null) for a disk that stands alone.
      type: str
      sample: ../../../bases/5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e/disk
    action:
      description: What was done, or would be in check mode; V(created), V(resized), V(removed) or V(none).
      type: str
      sample: created
    state:
      description: V(present) or V(absent).
      type: str
      sample: present
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.disk_options import checked_disk, disk_arguments, disk_difference
from ..module_utils._disk.overlay import Disks
from ..module_utils._disk.qemu_img import QemuImg
from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.store import stores_of
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._names import check_name


def work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    pools = checked_pools(params["pools"])
    wishes = [checked_disk(entry, pools, params["state"]) for entry in params["disks"]]
    disks = Disks(
        stores_of(pools, module.run_command, checked_percent(params["reserve_percent"])),
        QemuImg(module.run_command),
        check_name("tenant", params["tenant"]),
        check_name("service", params["service"]),
        module.check_mode,
    )
    results = disks.present(wishes) if params["state"] == "present" else disks.absent(wishes)
    for warning in disks.warnings:
        module.warn(warning)
    return {
        "changed": any(result["action"] != "none" for result in results),
        "disks": results,
        "diff": disk_difference(results, disks.sizes_before),
    }


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "service": {"type": "str", "required": True},
            "tenant": {"type": "str", "default": "default"},
            "disks": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": disk_arguments(),
            },
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
