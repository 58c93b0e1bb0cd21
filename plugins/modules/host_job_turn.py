#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_job_turn
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Tell a host's job what came of a role that its machines wait for
description:
  - Machines of a job of M(basecast.fleet.host_job) that start after those of another host wait until this is told.
  - The role P(basecast.fleet.provision#role) tells it, once P(basecast.fleet.role_turn#filter) has decided.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._service
  - basecast.fleet._service.runtime
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  run:
    description: The run of the job.
    type: str
    required: true
  role:
    description: The role that they wait for.
    type: str
    required: true
  state:
    description: Whether all of its machines are V(ready). If it has V(failed), machines that wait for it are not made.
    type: str
    choices: [ready, failed]
    required: true
  msg:
    description: Why it has failed.
    type: str
    default: ""
seealso:
  - module: basecast.fleet.host_job
  - module: basecast.fleet.host_job_info
"""

EXAMPLES = r"""
- name: The databases are there, so machines of this host that start after them can start
  basecast.fleet.host_job_turn:
    run: nightly
    service: shop
    role: db
    state: ready
"""

RETURN = r"""
turns:
  description: What the job was told so far, by role.
  returned: success
  type: dict
  sample: {db: {state: ready, msg: ""}}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._job.journal import Journal
from ..module_utils._job.turns import FAILED, READY
from ..module_utils._module import check_absolute, run_module
from ..module_utils._names import check_name


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    run, role = check_name("run", params["run"]), check_name("role", params["role"])
    check_absolute(params, "runtime_dir")
    journal = Journal(params["runtime_dir"], params["tenant"], params["service"])
    before = journal.turns(run)
    after = {**before, role: {"state": params["state"], "msg": params["msg"] if params["state"] == FAILED else ""}}
    if after != before and not module.check_mode:
        journal.open()
        journal.write_turns(run, after)
    return {"changed": after != before, "turns": after}


def main() -> None:
    run_module(
        _work,
        argument_spec={
            "run": {"type": "str", "required": True},
            "service": {"type": "str", "required": True},
            "tenant": {"type": "str", "default": "default"},
            "role": {"type": "str", "required": True},
            "state": {"type": "str", "choices": [READY, FAILED], "required": True},
            "msg": {"type": "str", "default": ""},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
