# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: prune_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Decide which bases are to be removed
description:
  - Applies a policy to what the hosts have, and tells for each base why it goes, or what keeps it.
  - What any host needs of a storage keeps it for all hosts that see the storage. As long as not every host of the fleet has told what
    it needs, nothing goes from a shared storage.
positional: policy, fleet, only
options:
  _input:
    description:
      - "What each host has, by inventory name. C(prune) is what M(basecast.fleet.base_disk_prune) returned in check mode, or C(msg)
        says why the host could not be asked."
    type: dict
    required: true
  policy:
    description:
      - "C(unused_days), C(keep_versions), C(free_percent), C(grace_s) and C(left_hours), as the variables of the same names of
        P(basecast.fleet.settings#role), there with C(basecast_prune_) in front."
    type: dict
    required: true
  fleet:
    description: All hosts of the fleet, whether they were asked or not.
    type: list
    elements: str
    required: true
  only:
    description: Kinds of leftovers, such as V(reference). Then no base goes, and no other leftover.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show what would go
  ansible.builtin.debug:
    msg: "{{ ({'kvm1': {'prune': seen}} | basecast.fleet.prune_plan(policy, ['kvm1'])).text }}"
  vars:
    policy: {unused_days: 30, keep_versions: 2, free_percent: 0, grace_s: 3600, left_hours: 24}
    seen: {unknown: [], pools: {}} # as basecast.fleet.base_disk_prune returns it in check mode
"""

RETURN = r"""
_value:
  description:
    - The plan. C(hosts) has for each host that has something to do what M(basecast.fleet.base_disk_prune) takes as C(bases),
      C(used_at) and C(left).
    - C(bases) and C(left) tell of everything whether it C(goes), and the C(reasons). C(unknown) are hosts of which not everything is
      known, C(outside) hosts of the fleet that were not asked. C(text) shows all of it.
  type: dict
  sample:
    format: 1
    hosts: {kvm1: {bases: {default: [3f0a]}, used_at: {3f0a: 1769508000.5}, left: {}}}
    bases:
      - sha256: 3f0a
        title: debian-12 20250101
        names: [{tenant: default, name: debian-12, version: "20250101"}]
        host: kvm1
        pool: default
        hosts: [kvm1]
        bytes: 536870912
        unused_s: 5184000.0
        used_at: 1769508000.5
        children: []
        goes: true
        reasons: [unused for more than 30 days]
    left: []
    unknown: {}
    outside: []
    text: ["1 of 1 bases and 0 of 0 leftovers would go, 512 MiB"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import HOST_NAMES, LOOKS, POLICY, TEXTS, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.prune_plan import Policy
from ..plugin_utils._plan.service.prune_plan import prune_plan as plan

KEYS = ("unused_days", "keep_versions", "free_percent", "grace_s", "left_hours")


@door("prune_plan", looks=LOOKS, policy=POLICY, fleet=HOST_NAMES, only=or_null(TEXTS))
def prune_plan(
    looks: object, policy: t.Mapping[str, float], fleet: t.Sequence[str], only: t.Sequence[str] | None = None
) -> dict[str, t.Any]:
    try:
        wanted = t.cast(Policy, {key: plain(policy[key]) for key in KEYS})
        return t.cast("dict[str, t.Any]", clean_data(plan(plain(looks), wanted, plain(fleet), only=plain(only))))
    except KeyError as error:
        raise AnsibleFilterError(f"policy: {error.args[0]} is missing; expected {', '.join(KEYS)}") from error
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"prune_plan": prune_plan}
