# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: placement_facts
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Say what the inventory tells of a host, as the placement takes it
description:
  - What cannot be seen on a host but is said of it by its variables. Added to what was seen, it decides where machines go.
options:
  _input:
    description: Settings of the host, as M(basecast.fleet.settings) returns them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what the inventory tells of the host
  ansible.builtin.debug:
    msg: "{{ settings | basecast.fleet.placement_facts }}"
  vars:
    # as the role basecast.fleet.settings gives them
    settings:
      site: room-1
      labels: [ssd]
      maintenance: false
      cpu_overcommit: 16.0
      memory_overcommit: 1.0
      pool_overcommit: 4.0
      pool_labels: {}
"""

RETURN = r"""
_value:
  description: C(site), C(labels), C(maintenance), C(overcommit), C(pool_labels), see P(basecast.fleet.service_plan#filter).
  type: dict
  sample:
    site: room-1
    labels: [ssd]
    maintenance: false
    overcommit: {cpus: 16.0, memory: 1.0, pools: 4.0}
    pool_labels: {}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..plugin_utils._door import door
from ..plugin_utils._plan.placement.fleet import inventory_facts
from ..plugin_utils._plan.schemas import ANY_MAPPING
from ..plugin_utils._plan.service.manifest import plain


@door("placement_facts", settings=ANY_MAPPING)
def placement_facts(settings: object) -> dict[str, t.Any]:
    try:
        return inventory_facts(plain(settings))
    except KeyError as error:
        raise AnsibleFilterError(f"settings: the key {error} is missing; what basecast.fleet.settings returns is expected") from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"placement_facts": placement_facts}
