# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service_manifest
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Check a service manifest and fill in its defaults
description:
  - Turns the text of a manifest into the structure that P(basecast.fleet.service_plan#filter) takes.
  - Fails with every mistake that the manifest alone shows, each with its place (file, line, key) and what would be accepted.
positional: origin
options:
  _input:
    description: The manifest, as YAML text or as a mapping.
    type: raw
    required: true
  origin:
    description: What messages call the manifest, usually the name of its file.
    type: str
    default: manifest
  tell:
    description:
      - Return the mistakes as the list C(errors) instead of failing, for a caller that shows them in its own words.
    type: bool
    default: false
  differencing:
    description: Whether disks over a base are differencing disks where the manifest does not say so; V(false) makes whole copies.
    type: bool
    default: true
requirements:
  - jsonschema (Python package, on the controller)
"""

EXAMPLES = r"""
- name: Read a manifest, and fail on its mistakes
  ansible.builtin.set_fact:
    manifest: "{{ lookup('ansible.builtin.file', 'shop.yml') | basecast.fleet.service_manifest('shop.yml') }}"

- name: Show the mistakes of a manifest without failing
  ansible.builtin.debug:
    msg: "{{ (draft | basecast.fleet.service_manifest('draft', tell=true)).errors | default([]) }}"
  vars:
    draft: {format: 1, service: shop, machines: [{name: web, count: 0, disks: [{name: root, size_gib: 4}]}]}
"""

RETURN = r"""
_value:
  description: The checked manifest with all defaults.
  type: dict
  sample: {"format": 1, "service": "shop", "tenant": "default", "origin": "shop.yml", "bases": [], "machines": []}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import TEXT
from ..plugin_utils._plan.service.manifest import parse_manifest, plain
from ..plugin_utils._plan.service.yaml_text import MAX_DEPTH


@door("service_manifest", origin=TEXT)
def service_manifest(source: object, origin: str = "manifest", tell: bool = False, differencing: bool = True) -> dict[str, t.Any]:
    try:
        return parse_manifest(str(source) if isinstance(source, str) else plain(source), str(origin), bool(differencing))
    except RecursionError:
        errors = [f"{origin}: more than {MAX_DEPTH} levels stand inside one another; write it flatter"]
    except (FleetError, ValueError) as error:
        errors = getattr(error, "fields", {}).get("errors") or [str(error)]
    if tell:
        return {"errors": errors}
    raise AnsibleFilterError("\n".join(errors))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"service_manifest": service_manifest}
