# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: clone_report
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up the clone of a machine
description:
  - Says whether the clone is there; C(ok) is true only if it is.
positional: outcome
options:
  _input:
    description: A plan as P(basecast.fleet.clone_plan#filter) returns it.
    type: dict
    required: true
  outcome:
    description: "C(job) as M(basecast.fleet.host_job) returned it, also where it failed. Without it C(msg) says why there is none."
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
    msg: "{{ (plan | basecast.fleet.clone_report({'msg': 'Connection timed out'})).text }}"
  vars:
    plan: {machine: web-2, name: web-9, host: kvm1} # as basecast.fleet.clone_plan returns it
"""

RETURN = r"""
_value:
  description: C(ok), and C(text) with lines for people.
  type: dict
  sample: {ok: true, text: ["web-9, the clone of web-2, is there on kvm1, came up as web-9."]}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING
from ..plugin_utils._plan.service.clone_plan import clone_report as report
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import checked_outcome


@door("clone_report", plan=ANY_MAPPING, outcome=ANY_MAPPING)
def clone_report(plan: object, outcome: object, predicted: bool = False) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        made, told = plain(plan), plain(outcome)
        job = checked_outcome(told.get("job") or {}, str(made["host"]))
        return t.cast("dict[str, t.Any]", clean_data(report(made, {**told, "job": job}, bool(predicted))))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.clone_report: not a plan of clone_plan and its outcome: {error}") from error


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"clone_report": clone_report}
