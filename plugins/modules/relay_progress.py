#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relay_progress
short_description: Wait until a stage of a running relay has ended, or something is to be done
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Asks one living host for the progress of the whole fleet, again and again, as M(basecast.fleet.relay_info)
    does, and lets the filter P(basecast.fleet.relay_watch#filter) look at each answer.
  - Returns when that filter wants something done, or when the hosts of the stage have their bases.
  - Use it with C(delegate_to) the host that is asked. A host that does not answer is a result, not a failure.
extends_documentation_fragment:
  - basecast.fleet._attributes
attributes:
  check_mode:
    support: full
    details:
      - Reads only.
  diff_mode:
    support: N/A
    details:
      - Changes nothing.
  idempotent:
    support: full
options:
  watch:
    description: The state of the watch, as P(basecast.fleet.relay_watch#filter) takes it.
    type: dict
    required: true
  run:
    description: Name of the run.
    type: str
    required: true
  runtime_dir:
    description: Where relay nodes have their sockets on the host.
    type: str
    default: /run/basecast
  stage:
    description: The stage that is waited for, see P(basecast.fleet.relay_stage#filter).
    type: int
    required: true
  collected:
    description: Hosts that earlier stages have waited for.
    type: list
    elements: str
    default: []
  poll_s:
    description: How long the host waits for news before it answers, in seconds.
    type: float
    default: 15
  answer_s:
    description: How long it may take beyond that.
    type: float
    default: 20
  once:
    description: Return after one answer, for C(until) and C(retries). A callback then sees each answer.
    type: bool
    default: false
seealso:
  - module: basecast.fleet.relay_info
  - plugin: basecast.fleet.relay_watch
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Wait for the hosts of the first stage
  basecast.fleet.relay_progress:
    watch: "{{ watch }}"
    run: nightly
    stage: 1
  delegate_to: kvm1
  run_once: true
  register: seen
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    watch: {relays: "{{ plan.service.relays }}", plans: "{{ plan.relay }}", began: 1000, watcher: kvm1}
"""

RETURN = r"""
watch:
  description: The state of the watch after the last answer.
  returned: success
  type: dict
  sample: {act: false, done: true}
act:
  description: Whether something is to be done.
  returned: success
  type: bool
  sample: false
ended:
  description: Whether all hosts of the stage have their bases, or will not get them.
  returned: success
  type: bool
  sample: true
fleet:
  description: The last answer, see RV(basecast.fleet.relay_info#module:fleet).
  returned: when the host answered
  type: dict
  sample: {}
fleet_settled:
  description: The same, see RV(basecast.fleet.relay_info#module:fleet_settled).
  returned: when the host answered
  type: bool
  sample: true
node:
  description: The same, see RV(basecast.fleet.relay_info#module:node).
  returned: when the host answered
  type: dict
  sample: {}
"""
