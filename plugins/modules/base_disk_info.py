#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: base_disk_info
short_description: Tell which base disks the pools of a host hold
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Lists the base disks in the base store of each pool, with digest, names, chain, sizes and users, the base disks that
    are on their way, and the identity of the file system under each pool.
  - Answers from the store's own records and the headers of the machines' disks. Nothing is hashed unless O(verify=true).
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._attributes.info_module
  - basecast.fleet._pools
options:
  bases:
    description:
      - Return only base disks with these SHA-256 digests, their own or those of the sources they were imported from.
      - All of them when empty.
    type: list
    elements: str
    default: []
  tenant:
    description:
      - Return only the names, references and disks of this tenant, those of all tenants when it is omitted.
      - Bases that only other tenants need are returned only if O(bases) names them or one of the tenant's is based on them, and
        without the place that they came from. Of transfers those are returned that are known to be the tenant's.
    type: str
  verify:
    description:
      - Read each base disk and compare it with its digest and its chunk list.
      - A base disk whose file was changed after it was compared is listed as damaged until it has been read again and is right.
      - This takes as long as reading the disks takes.
    type: bool
    default: false
seealso:
  - module: basecast.fleet.base_disk_import
  - module: basecast.fleet.host_capacity_info
"""

EXAMPLES = r"""
- name: Look at the base disks of the hosts
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_pools }}"
  register: store

- name: Show where Debian is
  ansible.builtin.debug:
    msg: "{{ item.sha256 }} is at {{ item.path }}, used by {{ item.users | length }} disks"
  loop: "{{ store.pools.default.bases | selectattr('names', 'contains', wanted) }}"
  loop_control:
    label: "{{ item.sha256 }}"
  vars:
    wanted: {tenant: default, name: debian-12, version: "20261101"}

- name: Read everything and compare it with its digest
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_pools }}"
    verify: true
  register: verified
  failed_when: verified.pools.values() | map(attribute='damaged') | flatten | length > 0
"""

RETURN = r"""
pools:
  description: What each pool holds, by the pool's name.
  returned: success
  type: dict
  sample:
    default:
      path: /var/lib/libvirt/images
      exists: true
      writable: true
      known: true
      reason: null
      filesystem:
        type: xfs
        identity: "local:6f9c7f6e-7d54-4d5f-9f0e-1c0d7c7b3f55:64768:131"
        shared: false
        reflink: true
        immutable: true
      bases:
        - format: 1
          sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
          source_sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
          size_bytes: 346226688
          virtual_size_bytes: 2147483648
          image_format: qcow2
          parent: null
          chunk_bytes: 262144
          chunks_sha256: 0a4d55a8d778e5022fab701977c5d840bbc486d0d3c1f9a1c2b7a7c0a2f0a9b1
          imported_at: "2026-01-31T12:00:00Z"
          imported_from:
            kind: url
            name: "https://images.example.org/debian-12.qcow2"
            image_format: qcow2
            size_bytes: 346226688
            etag: '"14a2f000-64d1"'
            checksum: sha256:5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
            tenant: default
          signatures: []
          chain: [5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e]
          names: [{tenant: default, name: debian, version: "12"}]
          tenants: [default]
          pins: []
          users: [/var/lib/libvirt/images/machines/shop/web-1/root.qcow2]
          allocated_bytes: 346230784
          pool: default
          path: /var/lib/libvirt/images/bases/5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e/disk
          verified_at: "2026-01-31T12:00:00Z"
          damaged: false
          damage: ""
          sources: []
      partials: []
      damaged: []
  contains:
    "*":
      description: One pool; the key is its name.
      type: dict
      contains:
        path:
          description: Directory of the pool.
          type: str
        exists:
          description: Whether the directory exists.
          type: bool
        writable:
          description: Whether files can be made in it.
          type: bool
        known:
          description:
            - Whether the pool could be listed. If it could not, its empty lists do not mean that it holds nothing.
          type: bool
        reason:
          description: Why it could not be listed, null when it could.
          type: str
        filesystem:
          description:
            - The file system under the pool. Two hosts whose C(identity) is equal may share the pool, which
              M(basecast.fleet.storage_probe) finds out; it is V(null) while the pool does not exist. C(shared) tells whether other
              hosts can mount it too, C(reflink) whether files can be cloned in it, C(immutable) whether it has the
              immutable attribute.
          type: dict
        bases:
          description:
            - The base disks. C(users) are the differencing disks directly based on one, C(chain) its parents, root
              first, and itself. C(verified_at) is when its whole file was last compared with its digest in this pool.
              C(damaged) and C(damage) are set with O(verify=true) only.
          type: list
          elements: dict
        partials:
          description:
            - Base disks on their way into the pool, C(in_use) while a process writes them, else left for a resume.
          type: list
          elements: dict
        damaged:
          description:
            - Digest, path and damage of base disks that cannot be used, and C(users), the disks that are based on them, directly or
              by other base disks. C(parent) is the digest of the parent because of which one cannot be used, null if it is damaged
              itself.
          type: list
          elements: dict
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.store import Store
from ..module_utils._disk.survey import survey
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._names import check_name, check_sha256


def work(module: AnsibleModule) -> dict[str, t.Any]:
    pools = checked_pools(module.params["pools"])
    only = [check_sha256("bases", sha256) for sha256 in module.params["bases"]]
    stores = {name: Store(path, pool=name) for name, path in pools.items()}
    tenant = check_name("tenant", module.params["tenant"]) if module.params["tenant"] is not None else None
    return {"changed": False, **survey(stores, only, module.params["verify"], tenant, remember=not module.check_mode)}


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            "bases": {"type": "list", "elements": "str", "default": []},
            "tenant": {"type": "str"},
            "verify": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
