#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: base_disk
short_description: Have base disks in a pool, or not
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Brings base disks, with their parents, from another pool of the same host into a pool. They are cloned where both pools
    lie on one file system that can do that, else copied, and compared with their digests on the way.
  - Removes base disks that nothing needs. A base disk that a differencing disk is based on, that is the parent of another
    base disk, or that has a name, a tenant's reference or a pin, is never removed.
  - Differencing disks are looked for in O(pools). Those of other pools, such as a local pool of another host that shares this one, are
    known by the record that M(basecast.fleet.diff_disk) leaves beside the base disk. So a base disk is not removed while a host
    that needs it cannot be asked. If that host is gone for good, drop its records with
    O(basecast.fleet.base_disk_reference#module:references[].lost_host). A disk made by other means has no record; protect its base disk
    with a pin.
  - Mends base disks of which a file is missing or damaged, from the disk itself or from another pool of the host.
  - Nothing crosses the network. To bring a base disk from elsewhere, use M(basecast.fleet.base_disk_import) or the relay.
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
  bases:
    description: SHA-256 digests of the base disks. With O(state=repaired) and an empty list, all that are in the pool.
    type: list
    elements: str
    required: true
  pool:
    description: The pool that is to have them, or not; one of O(pools).
    type: str
    default: default
  from_pool:
    description: The pool to take them from. Any that has them when it is omitted.
    type: str
  tenant:
    description:
      - The tenant whose reference protects the base disks in the pool. Its names come along from the other pool.
      - Used with O(state=present).
    type: str
    default: default
  state:
    description:
      - V(present) makes sure that the pool has them.
      - V(absent) makes sure that the pool does not have them, and fails, without removing any, when one of them is still needed.
      - V(repaired) reads the base disks. One whose disk has its digest gets its other files back, one that has not is replaced
        by a copy from another pool, or removed where nothing needs it; else it is set aside, so that it counts for no plan
        and the next deployment or import brings it again. In a disk that a machine has open the wrong bytes are written again;
        it is neither exchanged nor removed, nor is one that is open and is a hard link. A parent that is missing is brought from
        another pool. A base disk that cannot be mended is a warning.
      - V(resumable) keeps a copy of each base disk that is in the pool and cannot be used as what a relay has received of it, so that
        the next relay fetches only the chunks that are wrong. Where there is no room for the copy this is a warning.
    type: str
    choices: [present, absent, repaired, resumable]
    default: present
  timeout_s:
    description: How long to wait, in seconds, for another run that brings the same base disk.
    type: float
    default: 3600
seealso:
  - module: basecast.fleet.base_disk_reference
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

- name: Have it in the pool fast too, without using the network
  basecast.fleet.base_disk:
    pools: "{{ basecast_pools }}"
    pool: fast
    bases: ["{{ base.sha256 }}"]

# It came with its names, which protect it; so they go first.
- name: Say that the copy is no longer needed
  basecast.fleet.base_disk_reference:
    pools: "{{ basecast_pools }}"
    references:
      - sha256: "{{ base.sha256 }}"
        pool: fast
    state: absent

- name: Remove the copy
  basecast.fleet.base_disk:
    pools: "{{ basecast_pools }}"
    pool: fast
    bases: ["{{ base.sha256 }}"]
    state: absent

- name: Read all base disks of the pool and mend what is damaged
  basecast.fleet.base_disk:
    pools: "{{ basecast_pools }}"
    bases: []
    state: repaired
"""

RETURN = r"""
bases:
  description:
    - The base disks that are in the pool, as M(basecast.fleet.base_disk_info) returns them for O(tenant). In check mode without
      those that would be brought.
  returned: success
  type: list
  elements: dict
  sample:
    - sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
      names: [{tenant: default, name: debian-12, version: "20261101"}]
      pool: fast
      path: /srv/fast/bases/5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e/disk
      size_bytes: 346226688
      virtual_size_bytes: 2147483648
actions:
  description: What was done, or would be done in check mode, as sentences.
  returned: success
  type: list
  elements: str
  sample:
    - clone base disk 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e from pool default to pool fast
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk import local_copies, removal, repair
from ..module_utils._disk.errors import BaseMissing
from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.store import Store, stores_of
from ..module_utils._disk.survey import tell
from ..module_utils._errors import FleetError
from ..module_utils._module import checked_pools, pool_path, pools_argument, run_module
from ..module_utils._names import check_name, check_sha256
from ..module_utils._text import clean


def present(module: AnsibleModule, stores: t.Mapping[str, Store], bases: t.Sequence[str]) -> list[str]:
    params = module.params
    pool, from_pool = params["pool"], params["from_pool"]
    elsewhere = [from_pool] if from_pool else list(stores)
    missing = [sha256 for sha256 in bases if local_copies.find(stores, sha256, [pool, *elsewhere]) is None]
    if missing and not module.check_mode:
        raise BaseMissing(missing[0], [pool, *elsewhere])
    for sha256 in missing:
        module.warn(f"The base disk {sha256} is in no pool of this host yet.")
    copies = local_copies.LocalCopies(stores, check_name("tenant", params["tenant"]), params["timeout_s"], from_pool, module.check_mode)
    return [action for sha256 in [*missing, *(one for one in bases if one not in missing)] for action in copies.present(pool, sha256)]


def absent(module: AnsibleModule, stores: t.Mapping[str, Store], bases: t.Sequence[str]) -> list[str]:
    pool = module.params["pool"]
    removed = removal.remove_bases(stores, pool, bases, module.check_mode, check_name("tenant", module.params["tenant"]))
    return [f"remove base disk {sha256} from pool {pool}" for sha256 in removed]


def repaired(module: AnsibleModule, stores: t.Mapping[str, Store], bases: t.Sequence[str]) -> list[str]:
    params = module.params
    store = stores[params["pool"]]
    actions, waiting = [], []
    for sha256 in bases or store.ids():
        try:
            done = repair.repair(stores, store.pool, sha256, module.check_mode, params["timeout_s"])
        except (FleetError, OSError) as error:  # one that cannot be mended keeps none of the others from it
            reason = clean((error.strerror if isinstance(error, OSError) else None) or error, 1000)
            module.warn(f"The base disk {sha256} in pool {store.pool} is not mended: {reason}")
            continue
        if done.sentence() and not done.already:
            actions.append(f"{done.sentence()} ({done.damage})")
        if done.action == "set_aside":
            module.warn(f"The base disk {sha256} in pool {done.pool} is damaged and needed: {done.damage}.")
        if done.action == "waits":
            waiting.append(sha256)
    for sha256 in waiting:
        problem = store.problem(sha256)
        if problem and not module.check_mode:
            module.warn(f"The base disk {sha256} in pool {store.pool} cannot be used: {problem}.")
    return actions


def resumable(module: AnsibleModule, stores: t.Mapping[str, Store], bases: t.Sequence[str]) -> list[str]:
    store = stores[module.params["pool"]]
    actions = []
    for sha256 in bases:
        try:
            if repair.resumable(store, sha256, module.check_mode):
                actions.append(f"keep what is right of base disk {sha256} in pool {store.pool} for a relay")
        except FleetError as error:
            module.warn(f"{error.message} The whole base disk is fetched again.")
    return actions


def work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    pools = checked_pools(params["pools"])
    pool_path(pools, params["pool"])
    if params["from_pool"] is not None:
        pool_path(pools, params["from_pool"], "from_pool")
    stores = stores_of(pools, module.run_command, checked_percent(params["reserve_percent"]))
    bases = list(dict.fromkeys(check_sha256("bases", sha256) for sha256 in params["bases"]))
    target = stores[params["pool"]]
    before = [sha256 for sha256 in bases if sha256 in target.ids()]
    states = {"present": present, "absent": absent, "repaired": repaired, "resumable": resumable}
    actions = states[params["state"]](module, stores, bases)
    there = [base for base in (target.find(sha256) for sha256 in bases) if base is not None]
    return {
        "changed": bool(actions),
        "actions": actions,
        "bases": tell(stores, there, check_name("tenant", params["tenant"])),
        "diff": {
            "before": {"pool": target.pool, "bases": before},
            "after": {
                "pool": target.pool,
                "bases": {"present": bases, "absent": [], "repaired": before, "resumable": before}[params["state"]],
            },
        },
    }


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "bases": {"type": "list", "elements": "str", "required": True},
            "pool": {"type": "str", "default": "default"},
            "from_pool": {"type": "str"},
            "tenant": {"type": "str", "default": "default"},
            "state": {"type": "str", "choices": ["present", "absent", "repaired", "resumable"], "default": "present"},
            "timeout_s": {"type": "float", "default": 3600.0},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
