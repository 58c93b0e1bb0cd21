# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: saved_plan_changes
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Whether a saved plan still fits
description:
  - Compares a plan that P(basecast.fleet.service_plan#filter) made now with one that was saved. Other hosts, other machines, or
    other holders of a base mean that the saved one must not be run.
  - A host that cannot be used any more costs the saved plan no more than what was planned with that host.
positional: plan
options:
  _input:
    description: What the playbook C(plan) wrote to C(basecast_plan_file). As data, or as the text of the file.
    type: raw
    required: true
  plan:
    description: The plan of P(basecast.fleet.service_plan#filter), made now.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: A saved plan fits itself
  ansible.builtin.assert:
    that: (saved | basecast.fleet.saved_plan_changes(saved.service)).problems | length == 0
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    saved: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
"""

RETURN = r"""
_value:
  description:
    - C(problems) are what has changed, one sentence each; if there are none the saved plan can be run.
    - C(notes) are changes that follow from hosts that cannot be used any more.
    - C(relay) is the relay that was saved. It is empty where such a host had a part in it; the relay is planned again then.
  type: dict
  sample:
    problems: []
    notes: ["The machine web-1 was on kvm1, create, and is on kvm1, unreachable now."]
    relay: []
"""

import json
import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import SERVICE_PLAN
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.plan_file import fit_of


def _content(saved: object) -> t.Any:
    try:
        return json.loads(saved) if isinstance(saved, str) else plain(saved)
    except (ValueError, RecursionError) as error:
        raise FleetError(f"the saved plan is not JSON ({error}); expected a file that the playbook plan wrote") from error


@door("saved_plan_changes", plan=SERVICE_PLAN)
def changes_of(saved: object, plan: object) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        return fit_of(_content(saved), plain(plan))._asdict()
    except (FleetError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"basecast.fleet.saved_plan_changes: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"saved_plan_changes": changes_of}
