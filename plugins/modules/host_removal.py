#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_removal
short_description: Remove machines of a service from a host, with all that was made for them
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Removes machines with their domains, firmware variables, disks, seeds and logs, and takes them out of the service's record.
    With the last machine of the service on the host, the record goes too, and so do names and references of bases that only
    the service needed.
  - Never removes a base, a file that was not made for the machine, or anything of another service or tenant. A machine
    whose disk is the parent of a disk that stays is not touched.
  - Guests are asked to power off, all at the same time. One that has not within O(shutdown_timeout_s) is stopped.
  - A removal that was interrupted is continued by the next. A machine that is not there is not a failure.
  - In check mode it reports what would be removed, also for machines that are not wanted.
requirements:
  - python3-libvirt on hosts that have libvirt.
  - qemu-img
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._service
  - basecast.fleet._service.libvirt
  - basecast.fleet._service.state
  - basecast.fleet._service.runtime
attributes:
  check_mode:
    support: full
    details:
      - Whether another machine has a disk open that would be removed is known only when its own machine has stopped.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  machines:
    description: Names of the machines. All machines of the service when omitted, and its record.
    type: list
    elements: str
  elsewhere:
    description:
      - Machines of the service that other hosts have. Their files in a pool that this host shares are left alone, unless this host
        has the machine's domain.
    type: list
    elements: str
    default: []
  undo:
    description:
      - Takes back what this run has made, as its job has written down, and nothing else. Disks that were there before, bases and their
        names stay. Machines that the run has only started are powered off.
      - An error if the run has no job on this host, or if another run has been at work since it began.
    type: str
  keep_disks:
    description: Whether disks stay. So do the names of their bases.
    type: bool
    default: false
  shutdown_timeout_s:
    description: How long guests may take to power off, in seconds. V(0) stops them at once.
    type: float
    default: 120
  busy_timeout_s:
    description: How long to wait for another process that changes machines of the same service, in seconds.
    type: float
    default: 60
seealso:
  - module: basecast.fleet.machine
  - module: basecast.fleet.diff_disk
  - module: basecast.fleet.base_disk
    description: Removes a base disk that nothing needs.
"""

EXAMPLES = r"""
- name: Remove two machines, give their guests five minutes
  basecast.fleet.host_removal:
    pools: "{{ basecast_pools }}"
    service: blog
    machines: [web-2, web-3]
    shutdown_timeout_s: 300

- name: Take back what a run has made here
  basecast.fleet.host_removal:
    pools: "{{ basecast_pools }}"
    service: blog
    undo: nightly

- name: Remove a whole service and keep its disks
  basecast.fleet.host_removal:
    pools: "{{ basecast_pools }}"
    service: blog
    keep_disks: true
"""

RETURN = r"""
removal:
  description: What was removed, or would be in check mode. Also when something of it has failed.
  returned: always
  type: dict
  contains:
    format:
      description: Version of this structure.
      type: int
    service:
      description: The service.
      type: str
    tenant:
      description: Its tenant.
      type: str
    machines:
      description:
        - All machines of the service on this host, by role and number. C(wanted) says whether O(machines) names it.
        - C(actions) are V(stopped), V(forced) (it did not power off in time), V(removed) (its domain), V(cleaned) (its seed
          and logs, left by an interrupted removal) and V(disks removed). C(disks) are as M(basecast.fleet.diff_disk) returns them.
        - C(left) are files that were not made for the machine and stay, in its directory or attached to it. C(problem) says
          why it is still there, C(moving) whether that is since a migration of it has not ended.
      type: list
      elements: dict
    record:
      description: What became of the service's record, V(none), V(updated) or V(removed).
      type: str
    recorded:
      description: Whether the host had a record of the service.
      type: bool
    after:
      description: Which roles start after which, as the record says.
      type: dict
      sample: {web: [db]}
    scaled:
      description: What the record remembers of the numbers of machines, as M(basecast.fleet.service_counts) returns it.
      type: dict
    references:
      description: Names and references of bases that were dropped, as M(basecast.fleet.base_disk_reference) returns them.
      type: list
      elements: dict
    jobs:
      description: Runs that deploy the service on this host at this moment. While there is one, nothing is removed.
      type: list
      elements: str
    problem:
      description: Why the record could not be kept, V(null) if it could.
      type: str
    warnings:
      description: What the user should know besides.
      type: list
      elements: str
    changed:
      description: Whether anything was changed.
      type: bool
  sample:
    format: 1
    service: shop
    tenant: default
    machines:
      - machine: web-2
        group: web
        number: 2
        domain: shop-web-2
        running: false
        wanted: true
        disks: []
        actions: [stopped, removed, disks removed]
        left: []
        problem: null
        moving: false
    record: updated
    recorded: true
    scaled: null
    references: []
    jobs: []
    problem: null
    warnings: []
    changed: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.store import Store
from ..module_utils._errors import FleetError
from ..module_utils._job.journal import Journal
from ..module_utils._job.removal import Removal, Request
from ..module_utils._job.undo import made_by
from ..module_utils._machine.owner import checked_owner
from ..module_utils._module import check_absolute, check_seconds, checked_pools, pools_argument, run_module
from ..module_utils._names import check_name


class RemovalFailed(FleetError):
    """Some machines are still there; the others are gone."""

    kind = "removal_failed"


def _request(module: AnsibleModule) -> Request:
    params = module.params
    check_absolute(params, "state_dir", "runtime_dir")
    check_seconds(params, "shutdown_timeout_s", "busy_timeout_s")
    tenant, service = check_name("tenant", params["tenant"]), check_name("service", params["service"])
    for index, name in enumerate(params["machines"] or ()):
        checked_owner(tenant, service, name, f"machines[{index}]")
    undo = None
    if params["undo"] is not None:
        journal = Journal(params["runtime_dir"], tenant, service)
        undo = made_by(journal, check_name("run", params["undo"]), params["machines"])
    return Request(
        tenant=tenant,
        service=service,
        pools=checked_pools(params["pools"]),
        machines=params["machines"] if undo is None else list(undo.machines),
        undo=undo,
        keep_disks=params["keep_disks"],
        shutdown_timeout_s=params["shutdown_timeout_s"],
        uri=params["uri"],
        state_dir=params["state_dir"],
        runtime_dir=params["runtime_dir"],
        busy_timeout_s=params["busy_timeout_s"],
        check=module.check_mode,
        elsewhere=params["elsewhere"],
    )


def _shown(removal: t.Mapping[str, t.Any], after: bool) -> dict[str, t.Any]:
    """One side of the diff."""
    machines = [machine for machine in removal["machines"] if machine["actions"]]
    shown: dict[str, t.Any] = {
        "machines": {one["machine"]: "absent" if after and not one["problem"] else "present" for one in machines},
        "disks": [disk["path"] for one in machines for disk in one["disks"] if not (after and disk["state"] == "absent")],
        "references": []
        if after
        else [f"{one['kind']} {one.get('name', '')} {one.get('version', '')}".strip() for one in removal["references"]],
    }
    if removal["record"] != "none":
        shown["record"] = removal["record"] if after else "present"
    return shown


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    request = _request(module)
    stores = {name: Store(path, module.run_command, name) for name, path in request.pools.items()}
    removal = Removal(request, stores, module.run_command).perform()
    for warning in removal["warnings"]:
        module.warn(warning)
    answer = {
        "changed": removal["changed"],
        "removal": removal,
        "diff": {"before": _shown(removal, False), "after": _shown(removal, True)},
    }
    started = request.undo.started if request.undo is not None else ()
    meant = [one for one in removal["machines"] if one["wanted"] or one["machine"] in started]
    problems = [f"{one['machine']}: {one['problem']}" for one in meant if one["problem"]]
    problems += [removal["problem"]] if removal["problem"] else []
    if problems and not module.check_mode:
        module.fail_json(msg=f"Not everything was removed: {'; '.join(problems)}", failure={"kind": RemovalFailed.kind}, **answer)
    return answer


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            "service": {"type": "str", "required": True},
            "tenant": {"type": "str", "default": "default"},
            "machines": {"type": "list", "elements": "str"},
            "elsewhere": {"type": "list", "elements": "str", "default": []},
            "undo": {"type": "str"},
            "keep_disks": {"type": "bool", "default": False},
            "shutdown_timeout_s": {"type": "float", "default": 120},
            "busy_timeout_s": {"type": "float", "default": 60},
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
