# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: storage_candidates
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Find pools that may be one storage
description:
  - Tells which pools of different hosts may be one storage, by what the hosts tell of them. Only those are worth a probe
    (M(basecast.fleet.storage_probe)), which proves it.
  - Pools may be one if one kernel calls them the same directory, as containers may, or if one of them lies on a file system that
    other hosts can mount and all are equally large.
options:
  _input:
    description: Observations by host, as M(basecast.fleet.survey_info) returns them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Pools worth a probe
  ansible.builtin.debug:
    msg: "{{ seen | basecast.fleet.storage_candidates }}"
  vars:
    seen:
      kvm1: &host
        reachable: true
        pools: {default: {filesystem: {identity: "net:nfs4:filer:/images:128", shared: true}}}
        capacity: {pools: {default: {total_bytes: 1099511627776}}}
      kvm2: *host
"""

RETURN = r"""
_value:
  description: By host and pool, how many pools may be the same storage, this one included.
  type: dict
  sample: {kvm1: {default: 2}, kvm2: {default: 2}}
"""

import typing as t

from ..plugin_utils._door import door
from ..plugin_utils._plan import placement
from ..plugin_utils._plan.schemas import LOOKS
from ..plugin_utils._plan.service.manifest import plain


@door("storage_candidates", hosts=LOOKS)
def storage_candidates(hosts: object) -> dict[str, dict[str, int]]:
    return placement.storage_candidates(plain(hosts))


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"storage_candidates": storage_candidates}
