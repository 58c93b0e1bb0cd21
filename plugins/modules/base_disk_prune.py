#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: base_disk_prune
short_description: Remove base disks that nothing needs, and what transfers have left
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Removes the base disks that O(bases) names, and the leftovers that O(left) names, unless something needs them. Leftovers are partials,
    uploads, imports, and the names and references of base disks that are not there. Which of them are to go is the decision of
    P(basecast.fleet.prune_plan#filter), from what this module returns in check mode.
  - A base is needed by every image in a pool and every disk of a domain in whose chain it is, whoever made them, by base disks that
    are based on it, by services whose record names it, by pins, by a tenant's reference without a name, and by runs that are about
    to use it or relay it. Disks of running machines, disks that are only defined, and disks of snapshots count.
  - If something cannot be read, such as libvirt, a pool, a record or the header of an image, no base is removed.
  - All of this is looked at again right before a base is deleted, while no disk can be made from it.
requirements:
  - python3-libvirt on hosts that have libvirt.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
attributes:
  check_mode:
    support: full
    details:
      - Returns RV(prune.pools) besides, every base with what keeps it.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  bases:
    description: Digests of the base disks to remove, as a list for each pool.
    type: dict
    default: {}
  used_at:
    description:
      - When bases were last of use, in seconds since 1970, by their digests, as RV(prune.pools) told it. A base that was of use since
        then is kept.
    type: dict
    default: {}
  left:
    description: Digests of partials, and paths of other leftovers, to remove, as a list for each pool.
    type: dict
    default: {}
  left_age_s:
    description: How long nothing may have changed in what O(left) names, in seconds.
    type: float
    default: 86400
  uri:
    description: The connection to libvirt.
    type: str
    default: qemu:///system
  state_dir:
    description: Directory of the services' records.
    type: str
    default: /var/lib/basecast
  runtime_dir:
    description: Directory of relay nodes that run.
    type: str
    default: /run/basecast
seealso:
  - module: basecast.fleet.base_disk
    description: Removes a base disk by its digest, without a policy.
  - module: basecast.fleet.base_disk_reference
    description: Sets and drops pins and references.
"""

EXAMPLES = r"""
- name: Look at what keeps the bases of this host
  basecast.fleet.base_disk_prune:
    pools: "{{ basecast_pools }}"
  check_mode: true
  register: seen

- name: Remove a base that nothing needs
  basecast.fleet.base_disk_prune:
    pools: "{{ basecast_pools }}"
    bases:
      default: [3f0a5c9d1e7b4682a9c0d3f5e8b1746a2c5d8e0f1a3b6c9d2e4f7081b5a6c3d9]
"""

RETURN = r"""
prune:
  description: What was removed, or would be in check mode.
  returned: success
  type: dict
  contains:
    format:
      description: Version of this structure.
      type: int
      sample: 1
    results:
      description:
        - What became of each base, partial and upload that was named. C(state) is V(removed), V(kept) with the C(reason), or
          V(absent). C(what) is the digest or the path.
      type: list
      elements: dict
      sample: [{pool: default, what: 3f0a, state: removed, reason: "", bytes: 536870912}]
    changed:
      description: Whether anything was removed.
      type: bool
      sample: true
    unknown:
      description: Returned in check mode. Why not everything is known that may need a base. While there is a reason, no base is removed.
      type: list
      elements: str
      sample: []
    pools:
      description:
        - Returned in check mode. By name, C(known), the identity of its storage, whether other hosts may see it (C(shared)), its
          space and its C(bases).
        - Each base has its names, the C(bytes) that it takes, C(unused_s) (how long nothing has used it), its C(children) and
          sentences that say what keeps it (C(kept)). C(left) are the leftovers.
      type: dict
      sample:
        default:
          path: /var/lib/libvirt/images
          known: true
          error: null
          identity: "local:6f9c7f6e"
          shared: false
          free_bytes: 812345671680
          total_bytes: 1000204886016
          bases:
            - sha256: 3f0a
              names: [{tenant: default, name: debian-12, version: "20261101"}]
              bytes: 536870912
              unused_s: 2592000.0
              used_at: 1769508000.5
              usable: true
              children: []
              kept: []
          left: [{kind: partial, sha256: 77be, path: /var/lib/libvirt/images/bases/.partial/77be, bytes: 4096, age_s: 90000.0, kept: []}]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.store import Store
from ..module_utils._errors import InvalidOption
from ..module_utils._job.prune import Prune, Request
from ..module_utils._module import check_absolute, check_seconds, checked_pools, pool_path, pools_argument, run_module
from ..module_utils._names import check_sha256, is_sha256


def _named(option: str, value: t.Mapping[str, t.Any], pools: t.Mapping[str, str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for pool, items in value.items():
        pool_path(pools, pool, option)
        if not isinstance(items, list) or not all(isinstance(one, str) for one in items):
            raise InvalidOption(f"{option}.{pool}", items, "a list is needed")
        named[pool] = list(dict.fromkeys(items))
    return named


def _request(module: AnsibleModule) -> Request:
    params = module.params
    check_absolute(params, "state_dir", "runtime_dir")
    check_seconds(params, "left_age_s")
    pools = checked_pools(params["pools"])
    bases, left = (_named(option, params[option], pools) for option in ("bases", "left"))
    for pool, digests in bases.items():
        for sha256 in digests:
            check_sha256(f"bases.{pool}", sha256)
    for pool, items in left.items():
        for one in items:
            if not (is_sha256(one) or os.path.isabs(one)):
                raise InvalidOption(f"left.{pool}", one, "a digest or an absolute path is needed")
    for sha256, used_at in params["used_at"].items():
        check_sha256("used_at", sha256)
        if isinstance(used_at, bool) or not isinstance(used_at, (int, float)):
            raise InvalidOption(f"used_at.{sha256[:12]}", used_at, "a number of seconds is needed")
    return Request(
        pools=pools,
        uri=params["uri"],
        state_dir=params["state_dir"],
        runtime_dir=params["runtime_dir"],
        bases=bases,
        left=left,
        left_age_s=params["left_age_s"],
        check=module.check_mode,
        used_at=params["used_at"],
    )


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    request = _request(module)
    stores = {name: Store(path, module.run_command, name) for name, path in request.pools.items()}
    prune = Prune(request, stores)
    seen = prune.look() if request.check else {}
    done = prune.perform()
    removed = [f"{one['pool']}: {one['what']}" for one in done["results"] if one["state"] == "removed"]
    return {"changed": done["changed"], "prune": {**seen, **done}, "diff": {"before": {"present": removed}, "after": {"present": []}}}


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            "bases": {"type": "dict", "default": {}},
            "used_at": {"type": "dict", "default": {}},
            "left": {"type": "dict", "default": {}},
            "left_age_s": {"type": "float", "default": 86400},
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
