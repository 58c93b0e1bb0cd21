#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: migration_source
short_description: Let machines leave a host for another one
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Brings machines to the hosts on which M(basecast.fleet.migration_target) has made room for them. A machine stays whole on this
    host until the other one has proven that it has it.
  - Only what the other host lacks is sent, differencing disks, the seed and the guest's report, never a base. Machines that run
    are migrated live by libvirt, whose connections go through the run's TLS connection; what is sent of others is read without
    its holes and compared by digest.
  - A machine that could not be sent is on this host as it was before.
requirements:
  - python3-libvirt
  - qemu-img
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
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
      - V(sent) sends the machines. From then on a file in O(state_dir) tells that they are leaving.
      - V(handed_over) gives them to the other hosts, once those have proven that they have them. Nothing leads back from there.
      - V(finished) removes what is left of them here.
      - V(undone) makes them as they were before, as long as they have not been handed over.
    type: str
    required: true
    choices:
      - sent
      - handed_over
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
      live:
        description: Whether it runs while it moves. Otherwise its guest is asked to power off.
        type: bool
        default: false
      peer:
        description: The other host, C(host), C(address) and C(port), with O(state=sent).
        type: dict
      place:
        description: Where the other host keeps the machine, as M(basecast.fleet.migration_target) returned it, with O(state=sent).
        type: dict
      certain:
        description: With O(state=undone), that the other host was seen without the machine.
        type: bool
        default: false
      shared:
        description:
          - Pools of this host that are storage of the target as well, with O(state=sent). What the machine has there is not sent, and stays
            when it has left.
        type: list
        elements: str
        default: []
      generation:
        description: Generation of the service's records, with O(state=finished).
        type: int
      assignments:
        description: Hosts of all machines of the service, with O(state=finished).
        type: dict
  at_once:
    description: How many machines are sent at the same time.
    type: int
    default: 2
  shutdown_timeout_s:
    description: How long guests that do not move live may take to power off, in seconds. One that does not is not moved.
    type: float
    default: 120
  timeout_s:
    description: How long the live migration of one machine may take, in seconds. It is ended then, and the machine runs on here.
    type: float
    default: 3600
seealso:
  - module: basecast.fleet.migration_target
  - module: basecast.fleet.migration_info
"""

EXAMPLES = r"""
- name: Send a machine
  basecast.fleet.migration_source:
    state: sent
    run: night-1
    pools: "{{ basecast_pools }}"
    # as basecast.fleet.relay_certificates returned it for the run
    credentials: "{{ hostvars.localhost.certificates.certificates[inventory_hostname] }}"
    machines:
      - service: shop
        machine: web-1
        live: true
        peer: {host: kvm2, address: 192.0.2.12, port: 47700}
        place: "{{ hostvars.kvm2.room.machines[0].place }}" # as migration_target returned it there
"""

RETURN = r"""
machines:
  description:
    - What became of each machine, also of those that failed. C(state) is V(sent), V(handed over), V(gone), V(as before), V(failed), or
      V(unknown) where it cannot be known which host has it. C(problem) says why.
    - With O(state=sent) C(bytes) were sent of files. After a live migration C(memory_bytes) and C(disk_bytes) are libvirt's, and
      C(downtime_ms) is what it measured.
  returned: always
  type: list
  elements: dict
  sample:
    - {tenant: default, service: shop, machine: web-1, state: sent, bytes: 393216, seconds: 1.8, downtime_ms: 74, problem: null}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import InvalidOption
from ..module_utils._module import run_module
from ..module_utils._move import options as moves
from ..module_utils._move.source import Limits, Source
from ..module_utils._names import check_name


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    host = moves.checked_host(module, "migration_source")
    run = check_name("run", params["run"])
    if params["at_once"] < 1:
        raise InvalidOption("at_once", params["at_once"], "at least 1 is needed")
    machines = params["machines"]
    owners = [moves.owner_of(machine, index) for index, machine in enumerate(machines)]
    begun_by = [moves.begun_by(machine, index, run) for index, machine in enumerate(machines)]
    source = Source(host)
    if params["state"] == "sent":
        tls = moves.checked_tls(module)
        limits = Limits(params["shutdown_timeout_s"], params["timeout_s"])
        departures = [moves.departure_of(machine, index, params["run"], host.pools) for index, machine in enumerate(machines)]
        results = moves.each(machines, lambda index: source.send(departures[index], tls, limits), params["at_once"])
    elif params["state"] == "handed_over":
        results = moves.each(machines, lambda index: source.hand_over(owners[index], begun_by[index]))
    elif params["state"] == "finished":
        numbers = [moves.numbers_of(machine, index) for index, machine in enumerate(machines)]
        results = moves.each(machines, lambda index: source.finish(owners[index], begun_by[index], numbers[index]))
    else:
        results = moves.each(machines, lambda index: source.undo(owners[index], begun_by[index], machines[index]["certain"]))
    return moves.answer(module, results, changed=bool(results))


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **moves.host_argument(),
            "state": {"type": "str", "required": True, "choices": ["sent", "handed_over", "finished", "undone"]},
            "run": {"type": "str", "required": True},
            "credentials": {"type": "dict", "no_log": True},
            "machines": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    **moves.MACHINE,
                    **moves.BEGUN_BY,
                    "live": {"type": "bool", "default": False},
                    "peer": {"type": "dict"},
                    "place": {"type": "dict"},
                    "certain": {"type": "bool", "default": False},
                    "shared": {"type": "list", "elements": "str", "default": []},
                    **moves.NUMBERS,
                },
            },
            "at_once": {"type": "int", "default": 2},
            "shutdown_timeout_s": {"type": "float", "default": 120},
            "timeout_s": {"type": "float", "default": 3600},
        },
    )


if __name__ == "__main__":
    main()
