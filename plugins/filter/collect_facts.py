# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: collect_facts
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: One variable of many hosts, by host
description:
  - Takes the names of hosts and returns what each has as a variable, as a dictionary in the order of the names.
  - Hosts on which the variable is not defined, or empty, are left out.
positional: hostvars, name, attribute
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars).
    type: dict
    required: true
  name:
    description: Name of the variable.
    type: str
    required: true
  attribute:
    description: An item of the variable to take instead of the whole.
    type: str
"""

EXAMPLES = r"""
- name: Show the data network
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | basecast.fleet.collect_facts(hostvars, 'basecast_address') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: The variable's value by host.
  type: dict
  sample: {kvm1: 10.0.0.1, kvm2: 10.0.0.2}
"""

import typing as t

from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import TEXT, or_null


@door("collect_facts", name=TEXT, attribute=or_null(TEXT))
def collect_facts(
    hosts: t.Iterable[str], hostvars: t.Mapping[str, t.Mapping[str, t.Any]], name: str, attribute: str | None = None
) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    found = {}
    for host in hosts:
        if host not in hostvars:
            continue
        value = hostvars[host].get(name)
        if attribute is not None:
            value = value.get(attribute) if isinstance(value, t.Mapping) else None
        if value:
            found[str(host)] = value
    return found


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"collect_facts": collect_facts}
