# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: find_machine
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Find the host that has a machine
description:
  - Tells which host has a machine of a service. A machine that two hosts have is a problem, and so is one that no host has.
positional: request
options:
  _input:
    description:
      - "What M(basecast.fleet.machine_info) returned on each host, by inventory name. A host that could not be asked has C(msg) and no
        C(machines). Empty to see whether the request can be meant."
    type: dict
    required: true
  request:
    description: "C(service), C(tenant) and C(machine), and what else is needed."
    type: dict
    required: true
  needs:
    description: Further keys of O(request) that have to be names.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Tell where web-1 is
  ansible.builtin.debug:
    msg: "{{ (looks | basecast.fleet.find_machine({'service': 'shop', 'tenant': 'default', 'machine': 'web-1'})).host }}"
  vars:
    looks: {kvm1: {known: true, machines: [{machine: web-1, domain: shop-web-1, running: true}]}}
"""

RETURN = r"""
_value:
  description:
    - C(host) has the machine, and C(running) says whether it runs. C(unknown) are hosts that could not be asked, each with the reason.
      C(problems) are sentences; while there is one, C(host) should not be used.
  type: dict
  sample: {host: kvm1, running: true, unknown: {}, problems: []}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._plan.service.machine_search import find_machine as find
from ..plugin_utils._plan.service.manifest import plain


def find_machine(looks: object, request: object, needs: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        return t.cast("dict[str, t.Any]", clean_data(find(plain(looks), plain(request), list(needs))))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"find_machine": find_machine}
