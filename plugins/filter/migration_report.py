# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_report
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up a migration, machine by machine
description:
  - Tells for each machine whether it has moved, and if not, which host has it. C(ok) is true only if all have moved.
positional: results
options:
  _input:
    description: A plan as P(basecast.fleet.migration_plan#filter) or P(basecast.fleet.migration_recovery#filter) returns it.
    type: dict
    required: true
  results:
    description: "What became of the steps, as P(basecast.fleet.migration_steps#filter) takes it."
    type: dict
    required: true
  predicted:
    description: Whether the run was in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Sum up
  ansible.builtin.debug:
    msg: "{{ ({'moves': [], 'records': [], 'addresses': {}} | basecast.fleet.migration_report({})).text }}"
"""

RETURN = r"""
_value:
  description:
    - The report; C(text) holds it as lines for people. The C(state) of a machine is V(moved), V(undone) (an earlier migration),
      V(as before), V(unfinished) (the target has it, and something is left to do) or V(unknown).
    - C(failures) says in sentences why C(ok) is false.
  type: dict
  sample:
    format: 1
    predicted: false
    ok: true
    machines: [{machine: web-1, source: kvm1, target: kvm2, live: true, state: moved, downtime_ms: 74, reason: ""}]
    failures: []
    text: ["1 of 1 machines were moved."]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import LOOKS, MIGRATION
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.migration_steps import migration_report as report


@door("migration_report", plan=MIGRATION, results=LOOKS)
def migration_report(plan: object, results: object, predicted: bool = False) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", clean_data(report(plain(plan), plain(results), bool(predicted))))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"migration_report": migration_report}
