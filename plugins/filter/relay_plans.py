# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay_plans
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Plan the relay of every base that a deployment lacks
description:
  - Makes the deployment-time matrix and the plan of P(basecast.fleet.relay_plan#filter) for each base.
positional: links
options:
  _input:
    description: The C(relays) of a plan as P(basecast.fleet.service_plan#filter) returns it.
    type: list
    elements: dict
    required: true
  links:
    description:
      - Links, or what was measured by host, as P(basecast.fleet.deployment_matrix#filter) takes them. A link that is not
        among them is estimated.
      - Without any, all links are taken as alike and the plan says so with RV(_value[].assumed).
    type: raw
    default: []
  hosts:
    description: The hosts that can take part. All by default.
    type: list
    elements: str
  sites:
    description: The site of each host, see P(basecast.fleet.deployment_matrix#filter).
    type: dict
  settings:
    description:
      - "The limits of each host's node, C({host: {rate_mbps, link_mbps: {other host: mbps}, streams}}), in 10^6 bits per
        second and receivers at a time, with V(0) for no limit. Other keys are not looked at."
    type: dict
  site_limits:
    description:
      - "What sites may carry together, in 10^6 bits per second: C({sites: {site: {up_mbps, down_mbps}}, between: [[site, site,
        mbps]]}). See the option O(ignore:limits) of P(basecast.fleet.relay_plan#filter). Needs O(sites)."
    type: dict
  mode:
    description: See P(basecast.fleet.relay_plan#filter).
    type: str
    choices: [staged, cut_through]
    default: cut_through
  strategy:
    description: See P(basecast.fleet.relay_plan#filter).
    type: str
    choices: [best, preferred_paths]
    default: best
  contention:
    description: See P(basecast.fleet.relay_plan#filter).
    type: str
    choices: [port, independent]
    default: port
  paths:
    description:
      - Add to each plan the tables of preferred paths, see RV(_value[].paths) and RV(_value[].whole_paths).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Plan the relay of all bases that a deployment has to move
  ansible.builtin.set_fact:
    relay_plans: "{{ plan.service.relays | basecast.fleet.relay_plans(links) }}"
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    links:
      - {from: kvm1, to: kvm2, mbps: 940}

- name: Show the plans
  ansible.builtin.debug:
    msg: "{{ item | basecast.fleet.relay_plan_text | split('\n') }}"
  loop: "{{ relay_plans }}"
  loop_control:
    label: "{{ item.base }}"
"""

RETURN = r"""
_value:
  description: One plan for each relay, in the same order.
  type: list
  elements: dict
  contains:
    assumed:
      description: Whether links were taken as alike because none was known.
      type: bool
    estimated:
      description: Whether the base is still to be imported, so that its size is taken for that of its source.
      type: bool
    paths:
      description:
        - Rows as P(basecast.fleet.preferred_paths#filter) returns them, of the links that lead to targets, each with C(used), the
          share of the base that the plan sends over the link. Of more than 12 hosts only those of preferred or used links,
          of more than 300 hosts none.
      returned: with O(paths=true)
      type: list
      elements: dict
      sample:
        - {link: [kvm1, kvm2], seconds: 36.5, preferred: true, tie: false, precondition: null, used: 1.0}
    whole_paths:
      description:
        - The preferred path of every ordered pair of hosts, with its total in C(seconds) and whether others take as long (C(tie)).
          Of more than 12 hosts only those from holders to targets, of more than 300 hosts none.
      returned: with O(paths=true)
      type: list
      elements: dict
      sample:
        - {from: kvm1, to: kvm3, path: [kvm1, kvm2, kvm3], seconds: 73.0, tie: false}
    standby:
      description: Holders that do not serve as planned, and take over if a sender is lost, the quickest first.
      type: list
      elements: str
      sample: [kvm4]
    helpers:
      description: Hosts that pass the base on although they do not need it, where that was permitted and serves the targets sooner.
      returned: when there are any
      type: list
      elements: str
      sample: [kvm5]
    links:
      description: For each link that is used C(from), C(to), C(bytes) and C(seconds).
      type: list
      elements: dict
      sample:
        - {from: kvm1, to: kvm2, bytes: 4294967296, seconds: 36.5}
    arrivals:
      description: For each target C(at_s), when it has the base, and C(from), from whom, or whose pool it C(shares).
      type: dict
      sample:
        kvm2: {at_s: 36.5, from: [kvm1]}
  sample: [{"format": 1, "mode": "cut_through", "sources": ["kvm1"], "targets": ["kvm2"], "assumed": false}]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.relay.fleet import Network
from ..plugin_utils._plan.relay.fleet import relay_plans as plans_of
from ..plugin_utils._plan.schemas import ANY_MAPPING, RELAYS, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.types import Plan


class Options(t.TypedDict, total=False):
    """What stands under ``options`` in the documentation above."""

    mode: str
    strategy: str
    contention: str
    settings: object
    site_limits: object
    paths: bool


@door("relay_plans", relays=RELAYS, sites=or_null(ANY_MAPPING))
def relay_plans(
    relays: object,
    links: object = None,
    hosts: t.Iterable[object] | None = None,
    sites: object = None,
    **options: t.Unpack[Options],
) -> list[Plan]:
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        known = ", ".join(Options.__annotations__)
        raise AnsibleFilterError(f"relay_plans: unknown options {', '.join(sorted(unknown))}; expected {known}")
    try:
        return plans_of(
            plain(relays),
            Network(plain(links), plain(sites), plain(options.get("settings") or {}), plain(options.get("site_limits"))),
            None if hosts is None else plain(list(hosts)),
            mode=str(options.get("mode", "cut_through")),
            strategy=str(options.get("strategy", "best")),
            contention=str(options.get("contention", "port")),
            paths=bool(options.get("paths", False)),
        )
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"relay_plans": relay_plans}
