# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_recovery
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Decide how migrations are ended that an earlier run has begun
description:
  - Compares what both hosts say of a machine that is on its way. Until the source has handed it over, the migration is undone, from
    then on it is finished. Where one of the hosts cannot be asked, or both have the machine, that is a problem.
positional: request
options:
  _input:
    description: "What each host has, by inventory name, as P(basecast.fleet.migration_plan#filter) takes it."
    type: dict
    required: true
  request:
    description: What is to move, as P(basecast.fleet.migration_plan#filter) takes it. Other machines are left as they are.
    type: dict
"""

EXAMPLES = r"""
- name: Show what earlier runs have left
  ansible.builtin.debug:
    msg: "{{ (looks | basecast.fleet.migration_recovery).text }}"
  vars:
    looks: {kvm1: {migration: {machines: [], others: [], services: [], journal: [], cpu: ""}}}
"""

RETURN = r"""
_value:
  description:
    - "A plan as P(basecast.fleet.migration_plan#filter) returns it, for P(basecast.fleet.migration_steps#filter)."
  type: dict
  sample: {format: 1, moves: [], problems: [], text: []}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, LOOKS, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.migration_recovery import migration_recovery as decide


@door("migration_recovery", looks=LOOKS, request=or_null(ANY_MAPPING))
def migration_recovery(looks: object, request: object = None) -> dict[str, t.Any]:
    try:
        return t.cast("dict[str, t.Any]", clean_data(decide(plain(looks), plain(request))))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"migration_recovery": migration_recovery}
