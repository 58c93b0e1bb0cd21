# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: migration_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Decide where machines move, and what has to come there before
description:
  - Finds the machines that are meant, a host for each that has room and what the machine needs, and the bases that are not there.
    For a target a machine is like a new one, so place, room, networks and claims are found as for a deployment.
  - Whatever stands in the way of one machine is a problem of the whole plan.
positional: request, observed
options:
  _input:
    description:
      - "What each host has, by inventory name; C(migration) is what M(basecast.fleet.migration_info) returned, or C(msg) says why the
        host could not be asked. Empty to see whether the request can be meant."
    type: dict
    required: true
  request:
    description:
      - "What is to move. C(machine) are names of machines of C(service) and C(tenant), or C(host) is a host all of whose machines are
        meant. C(to) is the target, C(to_pool) a pool there; a machine that is on C(to) moves to that pool.
        C(live) is V(false) for machines that power off first, V(true) for such
        that must run; by default those move live that run."
    type: dict
    required: true
  observed:
    description: What a survey of each host has seen, by inventory name, see M(basecast.fleet.survey_info).
    type: dict
    default: {}
  manifest:
    description: "The service's manifest, as P(basecast.fleet.service_manifest#filter) reads it. Its rules choose the target."
    type: dict
  groups:
    description: The groups of the inventory.
    type: dict
  quotas:
    description: What each tenant may have altogether, see P(basecast.fleet.place_machines#filter).
    type: dict
    default: {}
  hosts:
    description: All hosts of the run.
    type: list
    elements: str
    default: []
  ended:
    description: Machines whose earlier migration was finished in this run, and which are not moved once more.
    type: list
    elements: list
    default: []
"""

EXAMPLES = r"""
- name: Show where a machine would go
  ansible.builtin.debug:
    msg: "{{ (looks | basecast.fleet.migration_plan({'service': 'shop', 'machine': 'web-1'}, observed)).text }}"
  vars:
    looks: {kvm1: {migration: {machines: [], others: [], services: [], journal: [], cpu: ""}}}
    observed: {kvm1: {reachable: true, capacity: {cpus: 16, memory_mib: 65536}}}
"""

RETURN = r"""
_value:
  description:
    - "The plan. C(moves) has each machine with C(source) and C(target), and C(within) for one that moves to that pool of its host.
      C(relays), C(relay_hosts) and C(claims) are as in a plan of
      P(basecast.fleet.service_plan#filter), C(references) as M(basecast.fleet.base_disk_reference) takes them. C(problems) are
      sentences; while there is one, nothing should be changed. C(text) shows all of it."
  type: dict
  sample:
    format: 1
    service: shop
    tenant: default
    moves: [{machine: web-1, source: kvm1, target: kvm2, live: true}]
    relays: []
    problems: []
    text: ["1 machine to move"]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, LOOKS, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.migration_plan import Context, mistakes
from ..plugin_utils._plan.service.migration_plan import migration_plan as make


class Options(t.TypedDict, total=False):
    """What is known beside the machines, as the documentation says."""

    manifest: object
    groups: object
    quotas: object
    hosts: object
    ended: object


@door("migration_plan", looks=LOOKS, request=ANY_MAPPING, observed=or_null(LOOKS))
def migration_plan(looks: object, request: object, observed: object = None, **options: t.Unpack[Options]) -> dict[str, t.Any]:
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise AnsibleFilterError(
            f"migration_plan: unknown options {', '.join(sorted(unknown))}; expected {', '.join(Options.__annotations__)}"
        )
    try:
        asked, manifest = plain(request), plain(options.get("manifest")) or None
        if not looks:
            return {"problems": mistakes(asked, manifest, plain(options.get("hosts")) or []), "text": []}
        context = Context(plain(observed) or {}, manifest, plain(options.get("groups")) or {}, plain(options.get("quotas")) or {})
        return t.cast("dict[str, t.Any]", clean_data(make(plain(looks), asked, context, plain(options.get("ended")) or [])))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"migration_plan": migration_plan}
