# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: place_one_more_text
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Show to people where one more machine of each group would go
description:
  - Hosts in order with their reasons, and where each machine that exists would move, as lines of text.
options:
  _input:
    description: What P(basecast.fleet.place_one_more#filter) returns.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show where another machine would go
  ansible.builtin.debug:
    msg: "{{ manifest | basecast.fleet.place_one_more(observed) | basecast.fleet.place_one_more_text }}"
  vars:
    manifest: "{{ lookup('ansible.builtin.file', 'shop.yml') | basecast.fleet.service_manifest('shop.yml') }}"
    observed:
      kvm1: {reachable: true, capacity: {cpus: 16, memory_mib: 65536}}
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
  sample: ["web: one more machine (web-4), or a clone, would go to kvm1, pool default"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ONE_MORE
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.plan_text import one_more_text


@door("place_one_more_text", placed=ONE_MORE)
def place_one_more_text(placed: object) -> list[str]:
    try:
        return t.cast("list[str]", clean_data(one_more_text(plain(placed))))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"place_one_more_text": place_one_more_text}
