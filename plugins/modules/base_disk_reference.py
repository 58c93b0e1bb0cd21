#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: base_disk_reference
short_description: Names, tenants' references and pins of base disks
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Says who needs a base disk, and under which names it is known. As long as anybody needs it, it is not removed.
  - Each tenant has its own names and references. Dropping those of one tenant never touches another's, nor the base disk.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
attributes:
  check_mode:
    support: full
    details:
      - A base disk that is in no pool yet is not a failure in check mode, since an earlier task would have brought it.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  tenant:
    description: The tenant whose names and references these are.
    type: str
    default: default
  references:
    description:
      - The references.
      - An entry with O(references[].name) and O(references[].version) is a name, one with O(references[].pin) a pin. One
        with neither is the tenant's own reference with O(state=present), and all that the tenant has on the base disk with
        O(state=absent).
    type: list
    elements: dict
    default: []
    suboptions:
      sha256:
        description:
          - Digest of the base disk.
          - May be omitted with O(state=absent), to drop a name or pin wherever it is.
        type: str
      name:
        description: Name of the base disk within the tenant.
        type: str
      version:
        description: Version of the base disk under this name.
        type: str
      pin:
        description: Name of a pin, which protects the base disk for a reason of its own, whatever tenants do.
        type: str
      lost_host:
        description:
          - Name of a host that is gone for good. Its records that disks in its other pools need a base disk of this pool are removed.
            While the host may come back, they keep the base disk.
          - Used with O(state=absent).
        type: str
      pool:
        description: One of O(pools). All pools that hold the base disk when it is omitted.
        type: str
  expected:
    description:
      - The base disks may still be on their way; write the references already. Each entry then needs a pool.
      - Used with O(state=present).
    type: bool
    default: false
  all:
    description:
      - Drop everything that O(tenant) has, on every base disk of every pool.
      - Used with O(state=absent), instead of O(references).
    type: bool
    default: false
  state:
    description: Whether the references are to be there.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: basecast.fleet.base_disk
  - module: basecast.fleet.base_disk_info
"""

EXAMPLES = r"""
- name: Look up the base disk
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_pools }}"
  register: store

- name: Keep its record
  ansible.builtin.set_fact:
    base: "{{ store.pools.default.bases | selectattr('names', 'contains', wanted) | first }}"
  vars:
    wanted: {tenant: default, name: debian-12, version: "20261101"}

- name: Let another tenant know it by a name of its own
  basecast.fleet.base_disk_reference:
    pools: "{{ basecast_pools }}"
    tenant: blue
    references:
      - sha256: "{{ base.sha256 }}"
        name: golden
        version: "2026.1"

- name: Keep it whatever happens
  basecast.fleet.base_disk_reference:
    pools: "{{ basecast_pools }}"
    references:
      - sha256: "{{ base.sha256 }}"
        pin: rescue-system

- name: Remove the pin again
  basecast.fleet.base_disk_reference:
    pools: "{{ basecast_pools }}"
    references:
      - pin: rescue-system
    state: absent

- name: Forget the disks of a host that is gone for good
  basecast.fleet.base_disk_reference:
    pools: "{{ basecast_pools }}"
    references:
      - lost_host: kvm9
    state: absent

- name: Drop all that a tenant has
  basecast.fleet.base_disk_reference:
    pools: "{{ basecast_pools }}"
    tenant: blue
    all: true
    state: absent
"""

RETURN = r"""
references:
  description: Each reference that was asked for, with the C(action) V(added), V(removed) or V(none).
  returned: success
  type: list
  elements: dict
  sample:
    - pool: default
      sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
      format: 1
      kind: name
      tenant: blue
      name: golden
      version: "2026.1"
      action: added
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk import ownership
from ..module_utils._disk.ownership import Change
from ..module_utils._disk.reference_options import checked_reference, reference_arguments
from ..module_utils._disk.store import Store
from ..module_utils._errors import InvalidOption
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._names import check_name


def planned(params: t.Mapping[str, t.Any], stores: t.Mapping[str, Store], pools: t.Mapping[str, str], check_mode: bool) -> list[Change]:
    tenant = check_name("tenant", params["tenant"])
    wishes = [checked_reference(entry, pools) for entry in params["references"]]
    if params["all"]:
        if params["state"] != "absent" or wishes:
            raise InvalidOption("all", True, "it goes with state: absent and without references")
        return ownership.plan_absent_tenant(stores, tenant)
    if params["state"] == "present":
        return ownership.plan_present(stores, tenant, wishes, params["expected"], check_mode)
    return ownership.plan_absent(stores, tenant, wishes)


def work(module: AnsibleModule) -> dict[str, t.Any]:
    pools = checked_pools(module.params["pools"])
    stores = {name: Store(path, pool=name) for name, path in pools.items()}
    changes = planned(module.params, stores, pools, module.check_mode)
    if not module.check_mode:
        ownership.apply(stores, changes)
    return {
        "changed": any(change.action != "none" for change in changes),
        "references": [change.as_dict() for change in changes],
        "diff": {
            "before": {"references": [_text(change) for change in changes if change.action != "added"]},
            "after": {"references": [_text(change) for change in changes if change.action != "removed"]},
        },
    }


def _text(change: Change) -> str:
    return f"{change.pool} {change.sha256} {' '.join(filter(None, change.reference))}"


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            "tenant": {"type": "str", "default": "default"},
            "references": reference_arguments(lost_host=True),
            "expected": {"type": "bool", "default": False},
            "all": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
