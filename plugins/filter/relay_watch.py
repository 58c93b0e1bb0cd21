# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: relay_watch
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: What is to be done about a running relay
description:
  - Takes what one living host tells of the whole fleet's progress, and says whether anything is to be done. A host may be
    silent, or fetch from another host than planned, a transfer may be much slower or faster than planned, a lost host may be
    due to be tried again, or everything may be there.
positional: news, now
options:
  _input:
    description:
      - The state of the watch, as this filter or P(basecast.fleet.relay_rescue#filter) returned it.
      - "At first C(relays) (of P(basecast.fleet.service_plan#filter)), C(plans) (of P(basecast.fleet.relay_plans#filter)),
        C(began) (seconds since the epoch), C(watcher) (the host that is asked), and optionally C(measured) and C(sites) (as for
        P(basecast.fleet.relay_plans#filter)), C(lost) and C(settings)."
      - "C(settings) may have C(patience_s) (60; how long to hope when no host holds the base), C(timeout_s) (7200; of the watch),
        C(retry_s) (30; how often lost hosts are tried), C(measure_s) (30; how often links to hosts that still lack a base are
        measured, V(0) is never), C(changed_factor) (1.5; from which factor on a link counts as changed), C(settled_s) (12; when
        the rate of a transfer begins to count), C(worth_s) (5; transfers that end sooner are left alone), C(follow_s) and
        C(first_parent_s) (3 and 10; how long a host may take to follow its plan with and without another parent),
        C(ahead_bytes) (8 MiB; how far a parent must be ahead for its child's rate to say something of the link), C(most_plans)
        (50) and C(most_looks) (200)."
    type: dict
    required: true
  news:
    description: The result of M(basecast.fleet.relay_info).
    type: dict
    required: true
  now:
    description: Seconds since the epoch.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Ask whether anything is to be done
  ansible.builtin.debug:
    msg: "{{ (watch | basecast.fleet.relay_watch(news, 1030)).act }}"
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    watch: {relays: "{{ plan.service.relays }}", plans: "{{ plan.relay }}", began: 1000, watcher: kvm1}
    # as relay_info returns it
    news: {fleet: {kvm1: {bases: {}, stale: false}, kvm2: {bases: {}, stale: true}}}
"""

RETURN = r"""
_value:
  description: The state of the watch.
  type: dict
  contains:
    act:
      description: Whether there is anything to do. Without, the same host can be asked again.
      type: bool
      sample: true
    ask:
      description: Hosts that are to be asked themselves, since they are silent, or to find out why they do not follow the plan.
      type: list
      elements: str
      sample: [kvm3]
    rounds:
      description: Links that are to be measured, as P(basecast.fleet.probe_rounds#filter) gives them.
      type: list
      elements: list
      sample: [[[kvm1, kvm4]]]
    watcher:
      description: The host to ask for the progress.
      type: str
      sample: kvm1
    done:
      description: Whether the watch is over.
      type: bool
      sample: false
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.monitor.state import News, data_of, watch_of
from ..plugin_utils._plan.monitor.step import step
from ..plugin_utils._plan.schemas import NUMBER
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import checked_news


@door("relay_watch", now=NUMBER)
def relay_watch(state: object, news: object, now: t.SupportsFloat) -> dict[str, t.Any]:
    """The filter: see the documentation above."""
    try:
        watch = watch_of(plain(state))
        told = plain(checked_news(news, str(watch.watcher))) if isinstance(news, dict) else {}
        return data_of(*step(watch, News(told.get("fleet") or {}, float(now))))
    except (FleetError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"basecast.fleet.relay_watch: {error}") from None


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"relay_watch": relay_watch}
