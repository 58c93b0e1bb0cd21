# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: with_templates
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Give machines what the machine has from which they are made
description:
  - Groups of a manifest whose C(source) is a machine or a template get its disks, hardware and networks. What the manifest says of the
    group itself stands over that. A manifest without such groups stays as it is.
positional: hosts
options:
  _input:
    description: "The manifest, as P(basecast.fleet.service_manifest#filter) reads it."
    type: dict
    required: true
  hosts:
    description: "What M(basecast.fleet.survey_info) returned of each host, asked with the C(sources) of the manifest, by inventory name."
    type: dict
    required: true
  tell:
    description: "Return C({errors: [sentences]}) instead of failing."
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what the machines would be
  ansible.builtin.debug:
    msg: "{{ (manifest | basecast.fleet.with_templates(hosts, tell=true)).errors | default(['nothing is wrong']) }}"
  vars:
    manifest: "{{ {'format': 1, 'service': 'twins', 'machines': [group]} | basecast.fleet.service_manifest('twins.yml') }}"
    group: {name: twin, hosts: [kvm1], source: {machine: web-1, service: shop}}
    hosts: # as survey_info returns them
      kvm1: {reachable: true, known: true, sources: {}}
"""

RETURN = r"""
_value:
  description: The manifest, whose groups have C(template) besides where they were made from one.
  type: dict
  sample: {"format": 1, "service": "twins", "tenant": "default", "origin": "twins.yml", "bases": [], "machines": []}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import LOOKS, MANIFEST
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.templates import with_templates as whole


@door("with_templates", manifest=MANIFEST, hosts=LOOKS)
def with_templates(manifest: object, hosts: object, tell: bool = False) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        return whole(plain(manifest), plain(hosts))
    except (FleetError, ValueError) as error:
        errors = getattr(error, "fields", {}).get("errors") or [str(error)]
    if tell:
        return {"errors": clean_data(errors)}
    raise AnsibleFilterError("\n".join(errors))


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"with_templates": with_templates}
