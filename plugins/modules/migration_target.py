#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_target
short_description: Let machines come to a host from other ones
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Makes room for machines that M(basecast.fleet.migration_source) sends, and takes them.
  - The bases of their disks have to be here. Disks are made anew over them, and filled by what is sent.
  - A process of this host, which ends with the migration or after O(ttl_s), lets the source hosts in. They show a certificate
    of the run, reach this host's libvirt, the ports of its migrations and the files of the machines that are expected, and nothing else.
requirements:
  - python3-libvirt
  - qemu-img
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._migration
attributes:
  check_mode:
    support: none
    details:
      - What would happen is decided on the controller, see P(basecast.fleet.migration_plan#filter). In check mode the module is skipped.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  state:
    description:
      - V(prepared) makes room and opens the door. Nothing is changed where a machine of the name is here, and so on.
      - V(received) takes what has come and proves that it is the machine. One that was off is defined, one that ran before it was
        sent is started without going on, one that came live runs.
      - V(finished) lets the machines go on, and keeps what the host has to know of them.
      - V(undone) removes what has come of them.
    type: str
    required: true
    choices:
      - prepared
      - received
      - finished
      - undone
  machines:
    description: The machines.
    type: list
    elements: dict
    required: true
    suboptions:
      tenant:
        description: The tenant to whom the machine belongs.
        type: str
        default: default
      service:
        description: The service that it is part of.
        type: str
        required: true
      machine:
        description: Its name.
        type: str
        required: true
      begun_by:
        description: The run that began its migration, where that is not O(run), which then ends it. Another run's is not touched.
        type: str
      source:
        description:
          - The host that it leaves, by its name in the inventory.
          - Required with O(state=prepared) and O(state=received), like the options below.
        type: str
      live:
        description: Whether it runs while it moves.
        type: bool
        default: false
      running:
        description: Whether it ran when it was to leave.
        type: bool
        default: false
      autostart:
        description: Whether it starts with its host.
        type: bool
        default: true
      home:
        description: The pool of this host for its seed and logs.
        type: str
      disks:
        description: Its disks as they are to be here.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of the disk.
            type: str
            required: true
          pool:
            description: The pool of this host in which it is to be.
            type: str
            required: true
          image_format:
            description: Its format.
            type: str
            choices:
              - qcow2
              - raw
            default: qcow2
          size_bytes:
            description: Its virtual size.
            type: int
            required: true
          base:
            description: Digest of the base that it is based on. None for a disk that stands alone.
            type: str
          shared:
            description: Whether it is there already, on storage that the source has as well. It is not touched then.
            type: bool
            default: false
      arch:
        description: Architecture of the machine.
        type: str
      machine_type:
        description: Machine type of QEMU that it has.
        type: str
      domain_type:
        description: V(kvm) or V(qemu).
        type: str
      cpu:
        description: The source's processor, as M(basecast.fleet.migration_info) returned it. It is compared for machines that move live.
        type: str
      shared:
        description: Pools of this host that are storage of the source as well, with files of the machine. Nothing of it is removed there.
        type: list
        elements: str
        default: []
      generation:
        description: Generation of the service's records, with O(state=finished).
        type: int
      assignments:
        description: Hosts of all machines of the service, with O(state=finished).
        type: dict
  address:
    description: The address of this host at which the door is. Required with O(state=prepared).
    type: str
  port_range:
    description: Ports of which the door takes a free one.
    type: str
    default: 47700-47799
  ttl_s:
    description: How long the door stays open unless it is closed before, in seconds.
    type: float
    default: 7200
seealso:
  - module: basecast.fleet.migration_source
  - module: basecast.fleet.migration_info
"""

EXAMPLES = r"""
- name: Make room for a machine
  basecast.fleet.migration_target:
    state: prepared
    run: night-1
    pools: "{{ basecast_pools }}"
    # as basecast.fleet.relay_certificates returned it for the run
    credentials: "{{ hostvars.localhost.certificates.certificates[inventory_hostname] }}"
    address: 192.0.2.12
    machines:
      - service: shop
        machine: web-1
        source: kvm1
        live: true
        running: true
        home: default
        arch: x86_64
        machine_type: pc-q35-7.2
        domain_type: kvm
        disks:
          - {name: root, pool: default, size_bytes: 10737418240, base: 3f0a5c9d1e7b4682a9c0d3f5e8b1746a2c5d8e0f1a3b6c9d2e4f7081b5a6c3d9}
  register: room
"""

RETURN = r"""
machines:
  description:
    - What became of each machine, also of those that failed. C(state) is V(prepared), V(arrived), that of its domain once it is
      finished, V(absent) or V(failed). C(problem) says why. C(place) says where the source's files belong.
  returned: always
  type: list
  elements: dict
  sample:
    - {tenant: default, service: shop, machine: web-1, state: prepared, place: {home: /pool/machines/shop/web-1}, problem: null}
port:
  description: The port of the door, with O(state=prepared).
  returned: when a machine is expected
  type: int
  sample: 47700
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.room import reserve_argument
from ..module_utils._errors import FleetError, InvalidOption
from ..module_utils._module import run_module
from ..module_utils._move import options as moves
from ..module_utils._move.target import Target
from ..module_utils._names import check_name
from ..module_utils._relay.errors import RelayError


def _ports(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if dash and all(re.fullmatch("[0-9]{1,5}", port) for port in (first, last)) and 0 < int(first) <= int(last) < 65536:
        return int(first), int(last)
    raise InvalidOption("port_range", text, "two ports are needed, as 47700-47799")


def _prepare(module: AnsibleModule, target: Target, pools: t.Mapping[str, str]) -> dict[str, t.Any]:
    params = module.params
    if not params["address"]:
        raise InvalidOption("address", params["address"], "with state prepared, the address of this host is needed")
    ports, tls = _ports(params["port_range"]), moves.checked_tls(module)
    arrivals = [moves.arrival_of(machine, index, params["run"], pools) for index, machine in enumerate(params["machines"])]

    def prepare(index: int) -> dict[str, t.Any]:
        return {"state": "prepared", "place": target.prepare(arrivals[index])}

    results = moves.each(params["machines"], prepare)
    expected = [arrival for arrival, told in zip(arrivals, results) if not told["problem"]]
    port = None
    if expected:
        try:
            port = target.open_door(params["run"], params["address"], ports, tls, expected, params["ttl_s"])
        except RelayError as error:
            raise FleetError(error.message, machines=results) from error
    return moves.answer(module, results, changed=bool(expected), port=port)


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    host = moves.checked_host(module, "migration_target")
    run = check_name("run", params["run"])
    machines, target = params["machines"], Target(host)
    if params["state"] == "prepared":
        return _prepare(module, target, host.pools)
    owners = [moves.owner_of(machine, index) for index, machine in enumerate(machines)]
    begun_by = [moves.begun_by(machine, index, run) for index, machine in enumerate(machines)]
    if params["state"] == "undone":
        return moves.answer(module, moves.each(machines, lambda index: target.undo(owners[index], begun_by[index])), changed=True)
    if params["state"] == "received":
        arrivals = [moves.arrival_of(machine, index, run, host.pools) for index, machine in enumerate(machines)]
        return moves.answer(module, moves.each(machines, lambda index: target.receive(arrivals[index])), changed=True)
    numbers = [moves.numbers_of(machine, index) for index, machine in enumerate(machines)]
    results = moves.each(machines, lambda index: target.finish(owners[index], begun_by[index], numbers[index]))
    target.close_door(run)
    return moves.answer(module, results, changed=True)


def main() -> None:
    disk = {
        "name": {"type": "str", "required": True},
        "pool": {"type": "str", "required": True},
        "image_format": {"type": "str", "choices": ["qcow2", "raw"], "default": "qcow2"},
        "size_bytes": {"type": "int", "required": True},
        "base": {"type": "str"},
        "shared": {"type": "bool", "default": False},
    }
    run_module(
        _work,
        argument_spec={
            **moves.host_argument(),
            **reserve_argument(),
            "state": {"type": "str", "required": True, "choices": ["prepared", "received", "finished", "undone"]},
            "run": {"type": "str", "required": True},
            "credentials": {"type": "dict", "no_log": True},
            "machines": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    **moves.MACHINE,
                    **moves.BEGUN_BY,
                    "source": {"type": "str"},
                    "live": {"type": "bool", "default": False},
                    "running": {"type": "bool", "default": False},
                    "autostart": {"type": "bool", "default": True},
                    "home": {"type": "str"},
                    "disks": {"type": "list", "elements": "dict", "default": [], "options": disk},
                    "arch": {"type": "str"},
                    "machine_type": {"type": "str"},
                    "domain_type": {"type": "str"},
                    "cpu": {"type": "str"},
                    "shared": {"type": "list", "elements": "str", "default": []},
                    **moves.NUMBERS,
                },
            },
            "address": {"type": "str"},
            "port_range": {"type": "str", "default": "47700-47799"},
            "ttl_s": {"type": "float", "default": 7200},
        },
    )


if __name__ == "__main__":
    main()
