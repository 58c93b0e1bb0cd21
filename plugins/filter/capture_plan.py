# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: capture_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Find the host on which a machine's disk is to be captured
description:
  - Tells which host has a machine of a service, and whether its disk may become a base disk of that name. A machine that two hosts
    have is a problem, and so is one that no host has, or a name and version that stand for something else on another host.
positional: request
options:
  _input:
    description:
      - "What M(basecast.fleet.survey_info) returned of each host, by inventory name. Empty to see whether the request can be meant."
    type: dict
    required: true
  request:
    description: "C(service), C(tenant) and C(machine), and C(base) and C(version) of the base disk."
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Tell where web-1 is
  ansible.builtin.debug:
    msg: "{{ (hosts | basecast.fleet.capture_plan(request)).host }}"
  vars:
    request: {service: shop, tenant: default, machine: web-1, base: shop-web, version: "7"}
    hosts: # as survey_info returns them
      kvm1: {reachable: true, known: true, pools: {}, machines: [{machine: web-1, domain: shop-web-1, running: true}]}
"""

RETURN = r"""
_value:
  description:
    - C(host) has the machine, and C(running) says whether it runs. C(unknown) are hosts that could not be asked, each with the reason.
      C(problems) are sentences; while there is one, nothing should be captured.
  type: dict
  sample: {host: kvm1, running: true, unknown: {}, problems: []}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, LOOKS
from ..plugin_utils._plan.service.machine_search import capture_plan as plan
from ..plugin_utils._plan.service.manifest import plain


@door("capture_plan", hosts=LOOKS, request=ANY_MAPPING)
def capture_plan(hosts: object, request: object) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        return t.cast("dict[str, t.Any]", clean_data(plan(plain(hosts), plain(request))))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"capture_plan": capture_plan}
