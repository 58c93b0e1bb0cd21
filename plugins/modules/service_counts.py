#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_counts
short_description: Remember on a host how many machines groups of a service are to have
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Keeps numbers of machines in the record that the host has of the service. Deployments of the manifest use them instead of
    its C(count).
  - Changes nothing if the numbers have been changed since O(expected) was seen, so that of two that have decided from the same
    numbers exactly one goes on.
extends_documentation_fragment:
  - basecast.fleet._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state_dir:
    description: Directory of the records.
    type: str
    default: /var/lib/basecast
  tenant:
    description: The tenant to whom the service belongs.
    type: str
    default: default
  service:
    description: The service.
    type: str
    required: true
  expected:
    description: The C(generation) of the newest numbers that were seen on any host, V(0) where there were none.
    type: int
    required: true
  generation:
    description: The C(generation) of the new numbers, more than O(expected).
    type: int
    required: true
  groups:
    description:
      - The new numbers by group. C(count) is the number, C(of) the manifest's own C(count), C(at) the time of the change in seconds
        since 1970.
      - A number holds for as long as the manifest's own count is C(of).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Let the service have five machines
  basecast.fleet.service_counts:
    service: shop
    expected: 0
    generation: 1
    groups: {web: {count: 5, of: 3, at: 1764418800}}
  register: kept

- name: End here if somebody else was first
  ansible.builtin.assert:
    that: kept.refused == ""
    fail_msg: "{{ kept.refused }}"
"""

RETURN = r"""
refused:
  description: Why the numbers were not taken; empty if they stand in the record.
  returned: success
  type: str
  sample: ""
before:
  description: What the record remembered before, with C(generation) and C(groups); empty for nothing.
  returned: success
  type: dict
  sample: {}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import InvalidOption
from ..module_utils._machine.records import ServiceRecords
from ..module_utils._module import check_absolute, run_module
from ..module_utils._names import check_name, is_host_label

_MOST = 10_000
_LATEST = 1 << 40


def _groups(given: t.Mapping[str, t.Any]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, entry in given.items():
        if not is_host_label(name) or not isinstance(entry, dict) or set(entry) != {"count", "of", "at"}:
            raise InvalidOption(f"groups.{name}", entry, "count, of and at are needed, of a group of the service")
        for key, most in (("count", _MOST), ("of", _MOST), ("at", _LATEST)):
            value = entry[key]
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
                raise InvalidOption(f"groups.{name}.{key}", value, f"a whole number from 1 to {most} is needed")
        found[name] = {key: entry[key] for key in ("count", "of", "at")}
    return found


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    check_absolute(params, "state_dir")
    service = check_name("service", params["service"])
    if not 0 <= params["expected"] < params["generation"]:
        raise InvalidOption("generation", params["generation"], f"a whole number above expected, {params['expected']}, is needed")
    scaled = {"generation": params["generation"], "groups": _groups(params["groups"])}
    records = ServiceRecords(params["state_dir"], params["tenant"])
    kept = records.remember(service, params["expected"], scaled, module.check_mode)
    diff = {"before": kept.before, "after": kept.before if kept.refused else scaled}
    return {"changed": kept.changed, "refused": kept.refused, "before": kept.before, "diff": diff}


def main() -> None:
    run_module(
        _work,
        argument_spec={
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "tenant": {"type": "str", "default": "default"},
            "service": {"type": "str", "required": True},
            "expected": {"type": "int", "required": True},
            "generation": {"type": "int", "required": True},
            "groups": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
