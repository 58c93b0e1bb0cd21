#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_clone
short_description: Make the disks of a machine's clone
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Makes disks for another machine of the same service and host. They are differencing disks over the same base disks, with what
    the machine has written so far. All of them are as the machine's disks were at one moment.
  - A machine that runs goes on running. Its disks are mirrored into the clone's files until these are the same. With a guest agent
    the guest's file systems are at rest then. Without one the disks are as they would be after a power cut.
  - M(basecast.fleet.host_job) makes the machine over these disks, with a seed of its own.
requirements:
  - python3-libvirt
  - qemu-img
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._service
  - basecast.fleet._service.libvirt
  - basecast.fleet._service.state
  - basecast.fleet._service.runtime
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A clone of the same machine whose disks are there is left as it is, whatever the machine has written since.
options:
  machine:
    description: Name of the machine that is cloned.
    type: str
    required: true
  name:
    description: Name of the clone.
    type: str
    required: true
  flatten:
    description: Whether the clone's disks have no base, and have all that their bases have.
    type: bool
    default: false
  background:
    description:
      - Whether the disks have their bases at first, and lose them while the clone runs. M(basecast.fleet.host_job) begins it when the
        clone has started. A clone that is there and has bases loses them as well. Exclusive with O(flatten).
    type: bool
    default: false
  flatten_mbps:
    description:
      - At most how fast each disk is flattened in the background, in 10^6 bit/s. 0 is no limit. If it is omitted, what was given for
        the clone before holds, and else there is none.
    type: float
  copy_timeout_s:
    description: How long the disks of a running machine may take to be mirrored, in seconds.
    type: float
    default: 3600
  busy_timeout_s:
    description: How long to wait for another process that changes machines of the same service, in seconds.
    type: float
    default: 60
seealso:
  - module: basecast.fleet.host_job
  - module: basecast.fleet.machine_capture
  - module: basecast.fleet.machine_flatten
"""

EXAMPLES = r"""
- name: Make the disks of web-9, which is to be a clone of web-2
  basecast.fleet.machine_clone:
    pools: "{{ basecast_pools }}"
    service: shop
    machine: web-2
    name: web-9
"""

RETURN = r"""
disks:
  description: The clone's disks as M(basecast.fleet.diff_disk) returns disks; the machine's own in check mode.
  returned: success
  type: list
  elements: dict
  sample:
    - {machine: web-9, name: root, path: /var/lib/libvirt/images/machines/shop/web-9/root.qcow2, pool: default}
running:
  description: Whether the machine was running.
  returned: success
  type: bool
  sample: true
quiesced:
  description: Whether the guest's file systems were at rest, since the machine was off or by its guest agent.
  returned: success
  type: bool
  sample: false
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.store import stores_of
from ..module_utils._errors import InvalidOption
from ..module_utils._job.cloning import Cloning, Request
from ..module_utils._machine.flattening import MOST_MBPS
from ..module_utils._machine.owner import checked_owner
from ..module_utils._module import check_absolute, check_seconds, checked_pools, pools_argument, run_module


def _request(params: t.Mapping[str, t.Any], check: bool) -> Request:
    check_absolute(params, "state_dir", "runtime_dir")
    check_seconds(params, "copy_timeout_s", "busy_timeout_s")
    owner = checked_owner(params["tenant"], params["service"], params["machine"], "machine")
    clone = checked_owner(params["tenant"], params["service"], params["name"], "name")
    if clone == owner:
        raise InvalidOption("name", clone.machine, "a clone needs another name than its machine")
    if params["flatten"] and params["background"]:
        raise InvalidOption("background", True, "disks lose their bases either before the clone starts (flatten) or afterwards")
    return Request(
        owner=owner,
        name=clone.machine,
        pools=checked_pools(params["pools"]),
        uri=params["uri"],
        state_dir=params["state_dir"],
        runtime_dir=params["runtime_dir"],
        flatten=params["flatten"],
        background=params["background"],
        mbps=_mbps(params["flatten_mbps"]),
        copy_timeout_s=params["copy_timeout_s"],
        busy_timeout_s=params["busy_timeout_s"],
        check=check,
    )


def _mbps(value: float | None) -> float | None:
    if value is not None and not 0 <= value <= MOST_MBPS:
        raise InvalidOption("flatten_mbps", value, f"at most {MOST_MBPS} is accepted, and 0 for no limit")
    return value


def _work(module: AnsibleModule) -> dict[str, t.Any]:
    request = _request(module.params, module.check_mode)
    stores = stores_of(request.pools, module.run_command, checked_percent(module.params["reserve_percent"]))
    found = Cloning(request, stores, module.run_command).perform()
    for warning in found.warnings:
        module.warn(warning)
    after = {"disks": {f"{request.name}/{disk['name']}": disk["virtual_size_bytes"] for disk in found.disks}}
    return {
        "changed": found.changed,
        "disks": found.disks,
        "running": found.running,
        "quiesced": found.quiesced,
        "diff": {"before": {} if found.changed else after, "after": after},
    }


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "service": {"type": "str", "required": True},
            "tenant": {"type": "str", "default": "default"},
            "machine": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
            "flatten": {"type": "bool", "default": False},
            "background": {"type": "bool", "default": False},
            "flatten_mbps": {"type": "float"},
            "copy_timeout_s": {"type": "float", "default": 3600},
            "busy_timeout_s": {"type": "float", "default": 60},
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
