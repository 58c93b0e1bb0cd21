# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: prune_report
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up what was pruned
description:
  - Tells what was removed, and what stayed since something has come to need it after the plan was made. C(ok) is true only if every
    host could be asked for all it needs.
positional: outcomes
options:
  _input:
    description: A plan as P(basecast.fleet.prune_plan#filter) returns it.
    type: dict
    required: true
  outcomes:
    description:
      - "What became of it on each host; C(prune) as M(basecast.fleet.base_disk_prune) returned it, or C(msg), which says why there is
        none."
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
    msg: "{{ (plan | basecast.fleet.prune_report({'kvm1': {'msg': 'Connection timed out'}})).failures }}"
  vars:
    plan: # as basecast.fleet.prune_plan returns it
      hosts: {kvm1: {bases: {}, used_at: {}, left: {}}}
      bases: []
      left: []
      unknown: {}
"""

RETURN = r"""
_value:
  description: The report; C(text) holds it as lines for people. C(failures) says in sentences why C(ok) is false.
  type: dict
  sample:
    format: 1
    predicted: false
    ok: true
    removed: [{host: kvm1, pool: default, what: 3f0a, title: debian-12 20250101, state: removed, reason: "", bytes: 536870912}]
    kept: []
    failures: []
    text: ["1 removed, 512 MiB"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import OUTCOMES, PRUNING
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.prune_plan import prune_report as report


@door("prune_report", plan=PRUNING, outcomes=OUTCOMES)
def prune_report(plan: object, outcomes: object, predicted: bool = False) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", clean_data(report(plain(plan), plain(outcomes), bool(predicted))))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"prune_report": prune_report}
