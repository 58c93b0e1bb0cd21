# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay_rescue
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Plan a running relay again after what a watch has found
description:
  - Takes what came of asking hosts and measuring links, as P(basecast.fleet.relay_watch#filter) wanted it, and plans what is
    left again, see P(basecast.fleet.relay_replan#filter), where a host or a link was lost, a host is back, or a link is much
    slower or faster than the plan takes it for.
positional: alive, lost, now
options:
  _input:
    description: The state of the watch, as P(basecast.fleet.relay_watch#filter) returned it.
    type: dict
    required: true
  alive:
    description: By host, RV(basecast.fleet.relay_info#module:node) of the hosts that answered.
    type: dict
    required: true
  lost:
    description: By host, why it did not answer.
    type: dict
    required: true
  now:
    description: Seconds since the epoch.
    type: float
    required: true
  probed:
    description: Links that were measured, as RV(basecast.fleet.link_probe#module:links).
    type: list
    elements: dict
    default: []
  hosts:
    description:
      - By host, what M(basecast.fleet.link_probe) told of it beside its links, so that load, memory and disks are those of now.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Plan again without a host that did not answer
  ansible.builtin.debug:
    msg: "{{ (seen | basecast.fleet.relay_rescue({}, {'kvm3': 'unreachable'}, 1030)).lines }}"
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    watch: {relays: "{{ plan.service.relays }}", plans: "{{ plan.relay }}", began: 1000, watcher: kvm1}
    seen: "{{ watch | basecast.fleet.relay_watch({'fleet': {'kvm3': {'bases': {}, 'stale': true}}}, 1030) }}"
"""

RETURN = r"""
_value:
  description: The state of the watch.
  type: dict
  contains:
    plans:
      description: The plans as they are now.
      type: list
      elements: dict
      sample: [{"base": "debian-12 20261101", "mode": "cut_through", "predicted_s": 61.0}]
    concerned:
      description: Hosts with a new part.
      type: list
      elements: str
      sample: [kvm4]
    parts:
      description: Their parts, as O(basecast.fleet.relay_transfer#module:bases) takes them.
      type: dict
      sample: {"kvm4": [{"metadata": {}, "pool": "default", "parents": [["kvm2", "kvm1"]]}]}
    lines:
      description: What happened, for people, a sentence in lines of at most 100 characters, and tables.
      type: list
      elements: str
      sample:
        - >-
          After 30 s: kvm3 is lost (unreachable). Planned again: kvm4 from kvm2; the last host is predicted to have its bases
          after 61 s (before: 55 s).
    lost:
      description: Hosts that are lost at present.
      type: dict
      sample: {"kvm3": {"since": 1030.0, "next": 1060.0, "why": "unreachable"}}
    failed:
      description: Why nothing more can be delivered; V(null) as long as something can.
      type: str
      sample: null
    done:
      description: Whether the watch is over.
      type: bool
      sample: false
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.monitor.state import Answers, data_of, watch_of
from ..plugin_utils._plan.monitor.step import step
from ..plugin_utils._plan.schemas import LOOKS, REASONS, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.wrapped_text import wrapped


@door("relay_rescue", alive=LOOKS, lost=REASONS, hosts=or_null(LOOKS))
def relay_rescue(
    state: object,
    alive: object,
    lost: object,
    now: t.SupportsFloat,
    probed: t.Iterable[object] | None = None,
    hosts: object = None,
) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        reasons = {host: str(why) for host, why in plain(lost).items()}
        answers = Answers(plain(alive), reasons, float(now), plain(list(probed or [])), plain(hosts or {}))
        told = data_of(*step(watch_of(plain(state)), answers))
        # The first is a sentence; the others are tables, which are as wide as they have to be.
        return {**told, "lines": [*(line for text in told["lines"][:1] for line in wrapped(text)), *told["lines"][1:]]}
    except (FleetError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"basecast.fleet.relay_rescue: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"relay_rescue": relay_rescue}
