#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_job
short_description: Make a host's machines as soon as their bases are there
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Does all that one host has to do for a service. It waits for the bases that the run's relay node brings to this host,
    copies them to other pools, writes references, makes disks and seeds, keeps the service's record, defines and starts
    the machines, and waits for what their guests report.
  - A machine is made as soon as its own bases are there. It waits for no other host, for no other base and for no
    controller.
  - Start it with C(async) and C(poll=0), and collect it with M(basecast.fleet.host_job_info). It then needs no connection
    while it waits, and comes to its end when the controller does not.
  - It is the composition of M(basecast.fleet.base_disk), M(basecast.fleet.base_disk_reference),
    M(basecast.fleet.diff_disk), M(basecast.fleet.seed_image), M(basecast.fleet.service_record) and
    M(basecast.fleet.machine), over the same code. What is there already is left as it is, so a job that was killed is
    simply run again.
  - One job of a service at a time changes something on a host. A second one waits for it, and finds what it made.
  - Disks that M(basecast.fleet.machine_clone) has noted to lose their bases in the background go on with it once their machine runs.
  - How far it is stands in a file below O(runtime_dir) that only root can read.
notes:
  - With C(async), Ansible leaves a module's arguments in a file in the remote user's temporary directory (mode 0700) until
    the module has ended. Here they contain O(seeds) and O(record), and so all secrets of the user data. The job deletes this
    file when it begins, unless E(ANSIBLE_KEEP_REMOTE_FILES) is set. The seeds and the record themselves lie on the same
    host, readable for root only (and the seeds for QEMU's user).
  - Without C(async) the module returns when the job has ended. It then fails if a machine has.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._machines.job
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._service
  - basecast.fleet._service.libvirt
  - basecast.fleet._service.state
  - basecast.fleet._service.runtime
attributes:
  check_mode:
    support: full
    details:
      - Predicts each step as the module of that step does. Bases that are not there yet are taken as arrived, and nothing
        is waited for. Ansible has no C(async) in check mode.
  diff_mode:
    support: full
    details:
      - Of seeds it shows digests and names of keys, of the record its generation.
  idempotent:
    support: full
options:
  run:
    description: Name of the run; its relay node on this host brings the bases. All hosts of a run have the same.
    type: str
    required: true
  clones:
    description: Bases that are copied to a further pool of this host once they are there.
    type: list
    elements: dict
    default: []
    suboptions:
      pool:
        description: The pool to copy to.
        type: str
        required: true
      bases:
        description: SHA-256 digests of the bases.
        type: list
        elements: str
        required: true
  references:
    description:
      - Names and references that the tenant gets, see O(basecast.fleet.base_disk_reference#module:references). Each needs
        C(sha256) and C(pool).
      - They are written before the bases arrive. Those of a base that does not arrive are removed again.
    type: list
    elements: dict
    default: []
    suboptions:
      sha256:
        description: Digest of the base disk.
        type: str
      name:
        description: Name of the base disk within the tenant.
        type: str
      version:
        description: Version of the base disk under this name.
        type: str
      pin:
        description: Name of a pin.
        type: str
      pool:
        description: The pool of the base disk.
        type: str
      template:
        description: The template that the name stands for besides, as M(basecast.fleet.machine_capture) keeps it.
        type: str
  variables:
    description:
      - Firmware variables of new machines, of the template from which they are made. A machine that has some keeps them.
    type: list
    elements: dict
    default: []
    suboptions:
      groups:
        description: The O(machines[].group) of the machines that get them, as far as they are O(machines[].new).
        type: list
        elements: str
        required: true
      firmware:
        description: The firmware whose variables they are.
        type: str
        choices: [uefi, uefi_secure]
        required: true
      content:
        description: The variables, compressed with zlib and encoded with base64.
        type: str
        required: true
  disks:
    description: The machines' disks, see O(basecast.fleet.diff_disk#module:disks). Their order is that of the machine.
    type: list
    elements: dict
    default: []
    suboptions:
      machine:
        description: Name of the machine.
        type: str
        required: true
      name:
        description: Name of the disk within the machine.
        type: str
      pool:
        description: The pool of the disk.
        type: str
      base:
        description: SHA-256 digest of the base disk. Without it, an empty disk is made.
        type: str
      base_pool:
        description: The pool whose copy of the base disk is used.
        type: str
      size_bytes:
        description: Size that the machine sees, in bytes.
        type: int
      differencing:
        description: Whether the disk is based on the base disk, or is a full copy of it.
        type: bool
        default: true
      backend:
        description: How it is based on it.
        type: str
        choices: [qcow2, reflink]
        default: qcow2
  seeds:
    description:
      - The machines' seeds, see O(basecast.fleet.seed_image#module:seeds).
      - Contents are neither logged nor returned.
    type: list
    elements: dict
    default: []
    suboptions:
      machine:
        description: Name of the machine.
        type: str
        required: true
      pool:
        description: Pool of the machine's directory.
        type: str
        default: default
      meta_data:
        description: Further keys of the meta-data.
        type: dict
        default: {}
      user_data:
        description: A mapping becomes C(#cloud-config). A text is taken as it is.
        type: raw
      vendor_data:
        description: As O(seeds[].user_data).
        type: raw
      network_config:
        description: Network configuration, version 2.
        type: dict
      customize:
        description: How its guest is customized, see O(basecast.fleet.seed_image#module:seeds[].customize).
        type: str
        choices: [cloud_init, ignition, cloudbase]
        default: cloud_init
      config:
        description: The configuration for Ignition.
        type: raw
      network_data:
        description: Links, networks and services for cloudbase-init.
        type: dict
  machines:
    description:
      - The machines, see O(basecast.fleet.machine#module:machines). Their disks and seeds follow from O(disks) and
        O(seeds). One that exists needs neither; it is started if it is off.
  record:
    description: What the host keeps of the service, see O(basecast.fleet.service_record#module:record). None when omitted.
    type: dict
  turns:
    description:
      - Which machines wait for those of other roles, O(machines[].group). Nothing is made of a machine before its turn.
      - Of machines of other hosts M(basecast.fleet.host_job_turn) tells. If they have addresses, the host also asks their ports itself.
        It waits for O(turn_timeout_s).
    type: dict
    suboptions:
      after:
        description: The roles that a machine waits for, by its name.
        type: dict
        default: {}
      elsewhere:
        description:
          - By role its machines on other hosts, each with C(machine), C(host), and C(health) as O(machines[].health) has it if this host
            can ask it.
        type: dict
        default: {}
  domain_type:
    description: The accelerator of new machines.
    type: str
    choices: [auto, kvm, qemu]
    default: auto
  timeout_s:
    description: How long to wait for the bases, in seconds.
    type: float
    default: 7200
  patience_s:
    description:
      - How long a base may stay failed before the machines that need it have failed, in seconds. In this time the relay may
        be planned again.
      - If there is no relay node of the run, or it was not asked to bring the base, it is 15 seconds.
    type: float
    default: 60
  copy_timeout_s:
    description: How long to wait for another process that writes the same base, or another job of the service, in seconds.
    type: float
    default: 7200
  boot_timeout_s:
    description: How long to wait for the guests' reports after the start, in seconds.
    type: float
    default: 600
  turn_timeout_s:
    description: How long machines wait for those of other roles, in seconds. O(timeout_s) and O(boot_timeout_s) together when omitted.
    type: float
  claim_ttl_s:
    description:
      - How long what M(basecast.fleet.host_claim) has claimed for the run stands if the job is killed, in seconds.
      - The job renews the claim, takes out every machine that it has started, and gives the rest back when it ends.
    type: float
    default: 3600
seealso:
  - module: basecast.fleet.host_job_info
  - module: basecast.fleet.host_job_turn
  - module: basecast.fleet.survey_info
  - module: basecast.fleet.relay_node
"""

EXAMPLES = r"""
- name: Hand the host its part of the plan
  basecast.fleet.host_job:
    run: nightly
    pools: "{{ basecast_pools }}"
    service: shop
    clones: "{{ work.clones }}"
    references: "{{ work.references }}"
    disks: "{{ work.disks }}"
    seeds: "{{ work.seeds }}"
    machines: "{{ work.machines }}"
    record: "{{ work.record }}"
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    work: "{{ (lookup('ansible.builtin.file', 'plan.json') | from_json).service.hosts[inventory_hostname] }}"
  async: 14400
  poll: 0
  no_log: true # user data holds passwords

- name: Collect it
  basecast.fleet.host_job_info:
    run: nightly
    service: shop
    timeout_s: 14400
  register: collected

- name: Show what came of it
  ansible.builtin.debug:
    msg: "{{ item.machine }}: {{ item.state }} {{ item.problem or '' }}"
  loop: "{{ collected.job.machines }}"
  loop_control:
    label: "{{ item.machine }}"
"""

RETURN = r"""
job:
  description: What came of the job, see RV(basecast.fleet.host_job_info#module:job). Also when it has failed.
  returned: always
  type: dict
  sample:
    format: 1
    run: 20260131T120000-k3x9p2ab
    service: shop
    tenant: default
    state: done
    summary: {wanted: 2, disks: 2, started: 2, reported: 2, failed: 0}
    machines: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.disk_options import disk_arguments
from ..module_utils._disk.reference_options import reference_arguments
from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.store import stores_of
from ..module_utils._errors import FleetError
from ..module_utils._job.arguments import forget
from ..module_utils._job.bases import Bases, node_of, teller
from ..module_utils._job.boot import Boot
from ..module_utils._job.claims import Claims, Keeper
from ..module_utils._job.job import Job, predict
from ..module_utils._job.journal import DONE, FAILED, FORMAT, Journal
from ..module_utils._job.outcome import THERE, summary
from ..module_utils._job.steps import Context
from ..module_utils._job.work import HostWork, Secrets, checked_work
from ..module_utils._machine.hardware.board import UEFI, UEFI_SECURE
from ..module_utils._machine.health import health_argument
from ..module_utils._machine.machine_options import machine_arguments
from ..module_utils._machine.secret_options import take_secret
from ..module_utils._machine.seed_options import seed_arguments
from ..module_utils._module import check_absolute, check_seconds, checked_pools, pools_argument, run_module
from ..module_utils._names import check_name
from ..module_utils._relay.node.run_directory import RunDirectory


class JobFailed(FleetError):
    """Some machines are not what was asked for; the others are."""

    kind = "job_failed"


def _checked(module: AnsibleModule) -> HostWork:
    params = module.params
    if not module._keep_remote_files:
        forget("host_job")
    secrets = Secrets(take_secret(module, "seeds") or [], take_secret(module, "record"))
    check_absolute(params, "state_dir", "runtime_dir")
    asked = ("turn_timeout_s",) if params["turn_timeout_s"] is not None else ()
    check_seconds(params, "timeout_s", "patience_s", "copy_timeout_s", "boot_timeout_s", "claim_ttl_s", *asked)
    check_name("run", params["run"])
    return checked_work(params, checked_pools(params["pools"]), secrets)


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    work = _checked(module)
    context = Context(
        work,
        stores_of(work.pools, module.run_command, checked_percent(params["reserve_percent"])),
        module.run_command,
        params["uri"],
        params["domain_type"],
        params["state_dir"],
        params["copy_timeout_s"],
        module.check_mode,
        params["timeout_s"] + params["boot_timeout_s"] if params["turn_timeout_s"] is None else params["turn_timeout_s"],
    )
    boot = Boot(context, params["boot_timeout_s"])
    job, result = _predicted(params["run"], context, boot) if module.check_mode else _performed(params, context, boot)
    for warning in job["warnings"]:
        module.warn(warning)
    answer = {"changed": job["changed"], "job": job, "diff": {"before": result.before, "after": result.after}}
    if job["state"] != DONE:
        module.fail_json(msg=job["msg"], failure={"kind": JobFailed.kind}, **answer)
    return answer


def _performed(params: t.Mapping[str, t.Any], context: Context, boot: Boot) -> tuple[dict[str, t.Any], t.Any]:
    runtime = RunDirectory(params["runtime_dir"], params["run"])
    bases = Bases(context.stores, context.work.bases, params["run"], node_of(runtime), params["patience_s"], params["timeout_s"])
    journal = Journal(params["runtime_dir"], context.work.tenant, context.work.service)
    claim = Keeper(Claims(params["state_dir"]), context.work.tenant, context.work.service, params["run"], params["claim_ttl_s"])
    job = Job(context, params["run"], bases, boot, journal, teller(runtime), claim)
    return job.perform(), job.result


def _predicted(run: str, context: Context, boot: Boot) -> tuple[dict[str, t.Any], t.Any]:
    states, result = predict(context, boot)
    machines = list(states.values())
    failed = [machine.failure for machine in machines if machine.failure]
    return {
        "format": FORMAT,
        "run": run,
        "service": context.work.service,
        "tenant": context.work.tenant,
        "state": DONE if all(machine.state in THERE for machine in machines) else FAILED,
        "msg": "; ".join(dict.fromkeys(failure.msg for failure in failed)),
        "changed": result.changed,
        "summary": summary(machines),
        "bases": [],
        "machines": [machine.told() for machine in machines],
        "relay": None,
        "warnings": list(result.warnings),
    }, result


def machine_argument() -> dict[str, t.Any]:
    """As the module machine has it; disks and seeds are options of their own here."""
    options = {name: spec for name, spec in machine_arguments().items() if name not in ("disks", "seed")}
    return {**options, "health": health_argument(), "new": {"type": "bool"}, "seeded": {"type": "bool"}}


def variables_argument() -> dict[str, t.Any]:
    return {
        "groups": {"type": "list", "elements": "str", "required": True},
        "firmware": {"type": "str", "choices": [UEFI, UEFI_SECURE], "required": True},
        "content": {"type": "str", "required": True, "no_log": True},
    }


def main() -> None:
    clone = {
        "pool": {"type": "str", "required": True},
        "bases": {"type": "list", "elements": "str", "required": True},
    }
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "run": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "tenant": {"type": "str", "default": "default"},
            "clones": {"type": "list", "elements": "dict", "default": [], "options": clone},
            "references": reference_arguments(template=True),
            "disks": {"type": "list", "elements": "dict", "default": [], "options": disk_arguments()},
            "seeds": {"type": "list", "elements": "dict", "default": [], "no_log": True, "options": seed_arguments()},
            "variables": {"type": "list", "elements": "dict", "default": [], "options": variables_argument()},
            "machines": {"type": "list", "elements": "dict", "default": [], "options": machine_argument()},
            "record": {"type": "dict", "no_log": True},
            "turns": {
                "type": "dict",
                "options": {"after": {"type": "dict", "default": {}}, "elsewhere": {"type": "dict", "default": {}}},
            },
            "uri": {"type": "str", "default": "qemu:///system"},
            "domain_type": {"type": "str", "choices": ["auto", "kvm", "qemu"], "default": "auto"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
            "timeout_s": {"type": "float", "default": 7200},
            "patience_s": {"type": "float", "default": 60},
            "copy_timeout_s": {"type": "float", "default": 7200},
            "boot_timeout_s": {"type": "float", "default": 600},
            "turn_timeout_s": {"type": "float"},
            "claim_ttl_s": {"type": "float", "default": 3600},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
