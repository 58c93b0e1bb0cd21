# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay_stage
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: The hosts that a stage of a running relay waits for
description:
  - Follows the plans that are in force. A host that was moved to an earlier stage is waited for at once, and one that was lost
    in the last stage.
positional: stage, collected
options:
  _input:
    description: The state of the watch, as P(basecast.fleet.relay_watch#filter) takes it.
    type: dict
    required: true
  stage:
    description: The number of the stage, from 1. Stage 6 is the last, it serves all deeper ones. V(0) is before the first.
    type: int
    required: true
  collected:
    description: Hosts that earlier stages have waited for.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show the hosts of the first stage
  ansible.builtin.debug:
    msg: "{{ (watch | basecast.fleet.relay_stage(1)).hosts }}"
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    watch: {relays: "{{ plan.service.relays }}", plans: "{{ plan.relay }}", began: 1000, watcher: kvm1}
"""

RETURN = r"""
_value:
  description: The stage.
  type: dict
  contains:
    hosts:
      description: The hosts whose turn it is.
      type: list
      elements: str
    ended:
      description: Whether all of them have their bases, or will not get them.
      type: bool
    next:
      description: The next stage that has hosts, or else the last one.
      type: int
  sample: {hosts: [kvm2, kvm3], ended: false, next: 2}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.monitor.stages import hosts_of_stage, next_stage, stage_has_ended
from ..plugin_utils._plan.monitor.state import STAGED, watch_of
from ..plugin_utils._plan.schemas import NUMBER
from ..plugin_utils._plan.service.manifest import plain


@door("relay_stage", stage=NUMBER)
def relay_stage(state: object, stage: int, collected: t.Iterable[object] | None = None) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        watch, done, number = watch_of(plain(state), STAGED), [str(host) for host in collected or []], int(stage)
        hosts = hosts_of_stage(watch, number, done)
        return {"hosts": hosts, "ended": stage_has_ended(watch, number, done), "next": next_stage(watch, number, [*done, *hosts])}
    except (FleetError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"basecast.fleet.relay_stage: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"relay_stage": relay_stage}
