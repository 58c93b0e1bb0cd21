#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_drain
short_description: Have machines hand over their work before they go
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Runs a command in the guests of machines, by their guest agent, one after the other. It has to end with 0.
  - A machine that is off, or not there, has nothing to hand over.
requirements:
  - python3-libvirt
  - The QEMU guest agent in the guests.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._service
  - basecast.fleet._service.libvirt
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - The command runs each time.
options:
  machines:
    description: Names of the machines.
    type: list
    elements: str
    required: true
  command:
    description: A program of the guest, and its arguments.
    type: list
    elements: str
    required: true
  timeout_s:
    description: How long the command may take in each machine, in seconds. One that takes longer is ended.
    type: float
    default: 60
seealso:
  - module: basecast.fleet.host_removal
"""

EXAMPLES = r"""
- name: Let a machine finish its requests
  basecast.fleet.machine_drain:
    service: shop
    machines: [web-3]
    command: [/usr/local/sbin/drain, --wait]
    timeout_s: 300
"""

RETURN = r"""
machines:
  description:
    - What became of each machine. Its C(state) is V(drained), V(off), V(absent) or V(failed), C(reason) says why it failed.
  returned: success, and when machines are not drained
  type: list
  elements: dict
  sample: [{machine: web-3, state: drained, reason: ""}]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import FleetError, InvalidOption
from ..module_utils._machine import draining
from ..module_utils._machine.libvirt_host import LibvirtHost
from ..module_utils._machine.machines import Machines
from ..module_utils._machine.owner import checked_owner
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._names import check_name

_LONGEST_S = 86_400


class NotDrained(FleetError):
    """Some machines still have their work."""

    kind = "not_drained"


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    tenant, service = check_name("tenant", params["tenant"]), check_name("service", params["service"])
    for index, name in enumerate(params["machines"]):
        checked_owner(tenant, service, name, f"machines[{index}]")
    if not params["command"] or not all(params["command"]):
        raise InvalidOption("command", params["command"], "a program of the guest and its arguments are needed, none of them empty")
    if not 0 < params["timeout_s"] <= _LONGEST_S:
        raise InvalidOption("timeout_s", params["timeout_s"], f"a number of seconds above 0 and up to {_LONGEST_S} is needed")
    pools = checked_pools(params["pools"])
    with LibvirtHost(params["uri"]) as host:
        found = Machines(host, check=module.check_mode, pools=pools.values()).query(tenant, service)
        told = draining.drain(found, params["machines"], params["command"], params["timeout_s"], module.check_mode)
    answer = {"changed": any(one.state == draining.DRAINED for one in told), "machines": [one._asdict() for one in told]}
    failed = [f"{one.machine} is not drained: {one.reason}" for one in told if one.state == draining.FAILED]
    if failed:
        module.fail_json(msg="; ".join(failed), failure={"kind": NotDrained.kind}, **answer)
    return answer


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            "service": {"type": "str", "required": True},
            "tenant": {"type": "str", "default": "default"},
            "machines": {"type": "list", "elements": "str", "required": True},
            "command": {"type": "list", "elements": "str", "required": True},
            "timeout_s": {"type": "float", "default": 60},
            "uri": {"type": "str", "default": "qemu:///system"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
