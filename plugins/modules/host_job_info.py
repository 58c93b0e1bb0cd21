#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_job_info
short_description: Tell how far a host's job is, or what came of it
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Waits until the job of a run has ended on this host, see M(basecast.fleet.host_job), and returns what came of it.
  - It works from any controller, also for a job whose own controller has died. It does not need C(async_status).
  - It does not fail if machines have; the caller judges by RV(job).
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._attributes.info_module
  - basecast.fleet._service
  - basecast.fleet._service.runtime
options:
  run:
    description: Name of the run. The latest one that had a job of the service on this host when it is omitted.
    type: str
  timeout_s:
    description: How long to wait for the end of the job, in seconds. With V(0), the module tells how far the job is.
    type: float
    default: 0
  role:
    description: Return as soon as the machines of this role have come to an end, whatever the others do.
    type: str
  begin_s:
    description:
      - How long to wait for the begin of a job that is not there, in seconds. A job that was just handed over may not
        have begun.
    type: float
    default: 10
seealso:
  - module: basecast.fleet.host_job
"""

EXAMPLES = r"""
- name: Collect the job
  basecast.fleet.host_job_info:
    run: nightly
    service: shop
    timeout_s: 14400
  register: collected

- name: Every machine is there
  ansible.builtin.assert:
    that: collected.job.state == 'done'
    fail_msg: "{{ collected.job.msg }}"
"""

RETURN = r"""
job:
  description: The job, as it is, or at its end. Times are seconds since the epoch, of the host's clock.
  returned: success
  type: dict
  contains:
    format:
      description: Version of this structure.
      type: int
      sample: 1
    run:
      description: The run.
      type: str
      sample: 20260131T120000-k3x9p2ab
    service:
      description: The service.
      type: str
      sample: shop
    tenant:
      description: The tenant.
      type: str
      sample: default
    state:
      description:
        - V(running), V(done) (every machine is there) or V(failed) (at least one is not).
        - V(lost) for a job that was killed before its end, and V(absent) where there is none. Then nothing is known of its
          machines. Run the job again.
      type: str
      sample: done
    msg:
      description: Why machines failed, or what the job waits for; empty if there is nothing to say.
      type: str
      sample: ""
    pid:
      description: Process id of the job.
      type: int
      sample: 4711
    start_time:
      description: When the process was started, in clock ticks since the boot of the host.
      type: int
      sample: 123456
    changed:
      description: Whether the job has changed anything on the host.
      type: bool
      sample: true
    began_at:
      description: When it began.
      type: float
      sample: 1772100000.1
    began_s:
      description: The same in seconds since the boot of the host, which no change of its clock moves.
      type: float
      sample: 4711.2
    updated_at:
      description: When this was written.
      type: float
      sample: 1772100042.7
    written_s:
      description: The same in seconds since the boot of the host.
      type: float
      sample: 4753.8
    boot:
      description: The boot of the host of which these seconds are.
      type: str
      sample: 8d3ae7a4-7e3f-4b0e-9df2-9c0a6a6b2f10
    ended_at:
      description: When it ended, V(null) before.
      type: float
      sample: 1772100042.7
    summary:
      description: How many machines were wanted, and how many have their disks, were started, have reported, have failed.
      type: dict
      sample: {wanted: 2, disks: 2, started: 2, reported: 2, failed: 0}
    bases:
      description:
        - The bases that the machines need, with C(sha256), C(state) (V(here), V(coming) or V(failed)), C(pool), C(bytes) of
          C(size_bytes) that have come, C(msg) and C(there_at).
      type: list
      elements: dict
      sample:
        - sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
          state: here
          pool: default
          bytes: 346226688
          size_bytes: 346226688
          msg: ""
          there_at: 1772100021.4
    machines:
      description:
        - The machines that were asked for, in that order. Each is what RV(basecast.fleet.machine#module:machines) tells,
          as far as it is known, with more.
        - C(state) is V(waiting) (for a base, or its turn), V(making), V(booting), V(checking) (its health), or at the end
          V(deployed) (made by this job), V(started)
          (it was off), V(present) (it was running), V(failed), or V(unknown) (libvirt cannot tell).
        - C(new_disks) are C(name) and C(pool) of the disks that the job has made.
        - C(health) tells what was checked, with C(check), C(ok), C(seconds) and C(reason).
        - C(problem) says why it failed, C(reason) in one word, C(step) during what.
        - C(base_there_at), C(disks_at), C(started_at) and C(reported_at) are the times at which it came so far.
      type: list
      elements: dict
      sample:
        - machine: web-1
          state: deployed
          reason: null
          step: null
          problem: null
          running: true
          report: {hostname: web-1, status: done, addresses: [192.168.122.17], errors: []}
          console_tail: []
          actions: [defined, started]
          base_there_at: 1772100021.4
          disks_at: 1772100021.9
          started_at: 1772100022.6
          reported_at: 1772100042.5
    relay:
      description:
        - What the relay node of the run said of itself when this host's bases had come, see
          RV(basecast.fleet.relay_info#module:node); V(null) if there was none, or nothing to wait for.
      type: dict
      sample: null
    warnings:
      description: What the user should know, although it went well.
      type: list
      elements: str
      sample: []
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._job.journal import ABSENT, FORMAT, RUNNING, Journal
from ..module_utils._job.outcome import SETTLED
from ..module_utils._module import check_absolute, check_seconds, run_module
from ..module_utils._names import check_name

POLL_S = 0.2


def absent(run: str | None, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the module returns of a job that is not there."""
    which = f"the run {run}" if run else "any run"
    return {
        "format": FORMAT,
        "run": run,
        "service": params["service"],
        "tenant": params["tenant"],
        "state": ABSENT,
        "msg": f"There is no job of {which} for the service {params['service']} on this host."
        " It was never started, or the host was restarted since.",
        "changed": False,
        "summary": {},
        "bases": [],
        "machines": [],
        "relay": None,
        "warnings": [],
    }


def collected(
    journal: Journal,
    params: t.Mapping[str, t.Any],
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> dict[str, t.Any]:
    began = clock()
    role = params.get("role")
    while True:
        run = params["run"] or next(iter(journal.runs()), None)
        told = journal.read(run) if run else None
        spent = clock() - began
        if told is None and spent >= params["begin_s"]:
            return absent(run, params)
        if told is not None and (told["state"] != RUNNING or spent >= params["timeout_s"] or _settled(told, role)):
            return told
        sleep(POLL_S)


def _settled(told: t.Mapping[str, t.Any], role: str | None) -> bool:
    """Whether all machines of a role have come to an end."""
    return role is not None and all(machine["state"] in SETTLED for machine in told["machines"] if machine.get("group") == role)


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    if params["run"] is not None:
        check_name("run", params["run"])
    check_absolute(params, "runtime_dir")
    check_seconds(params, "timeout_s", "begin_s")
    journal = Journal(params["runtime_dir"], params["tenant"], params["service"])
    return {"changed": False, "job": collected(journal, params)}


def main() -> None:
    run_module(
        _work,
        argument_spec={
            "run": {"type": "str"},
            "service": {"type": "str", "required": True},
            "tenant": {"type": "str", "default": "default"},
            "timeout_s": {"type": "float", "default": 0},
            "role": {"type": "str"},
            "begin_s": {"type": "float", "default": 10},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
