#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pool_upkeep
short_description: Mend what stands beside the disks of pools
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Looks for what is not as it must be beside the disks of this host's pools, as far as this host alone can know it, and mends what can
    be mended without a doubt. M(basecast.fleet.base_disk) mends base disks themselves.
  - A disk that is based on a base disk of another pool has a record there, so that other hosts that share that pool keep the base disk. A
    record that is missing is written again. One of this host's that no disk needs any more is dropped. If a pool is not mounted,
    nothing of it is dropped.
  - A directory of a pool's store, or above a machine's disk, which the user of QEMU cannot enter, lets that user pass, by one bit of its
    mode. The directory must belong to the user that runs the module.
  - A disk that says another format of its parent than the parent has is only told, as are directories above the pool.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: basecast.fleet.base_disk
    description: Mends base disks.
  - module: basecast.fleet.base_disk_prune
    description: Removes names and references of base disks that are not there.
"""

EXAMPLES = r"""
- name: Look at what stands beside the disks
  basecast.fleet.pool_upkeep:
    pools: "{{ basecast_pools }}"
  check_mode: true
  register: seen

- name: Mend it
  basecast.fleet.pool_upkeep:
    pools: "{{ basecast_pools }}"
"""

RETURN = r"""
faults:
  description:
    - What was found. C(kind) is V(disk_record_missing), V(disk_record_stale), V(directory_closed) or V(parent_format). C(repair)
      says what mends it, C(mends) whether this module does, and C(mended) whether it has. Where it tried to and could not, C(repair) says
      why. C(is_wrong) says that something cannot work as it is, or may get lost.
  returned: success
  type: list
  elements: dict
  sample:
    - kind: disk_record_stale
      pool: gold
      place: /var/lib/libvirt/images/machines/shop/web-1/root.qcow2
      found: >-
        the store of pool gold has a record of /var/lib/libvirt/images/machines/shop/web-1/root.qcow2, which does not need its base
        disk 3f0a any more
      repair: drop the record
      mends: true
      is_wrong: false
      mended: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk import upkeep
from ..module_utils._disk.store import stores_of
from ..module_utils._module import checked_pools, pools_argument, run_module


def _work(module: AnsibleModule) -> dict[str, t.Any]:
    stores = stores_of(checked_pools(module.params["pools"]), module.run_command)
    faults = upkeep.look(stores)
    left = [(fault, False) for fault in faults] if module.check_mode else list(upkeep.mend(stores, faults))
    going = [fault.found for fault, mended in left if mended or (module.check_mode and fault.mends)]
    return {
        "changed": bool(going),
        "faults": [fault.told(mended) for fault, mended in left],
        "diff": {"before": {"faults": going}, "after": {"faults": []}},
    }


def main() -> None:
    run_module(_work, argument_spec=pools_argument(), supports_check_mode=True)


if __name__ == "__main__":
    main()
