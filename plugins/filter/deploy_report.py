# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: deploy_report
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up a deployment, machine by machine
description:
  - Compares what was asked for with what each host came to; C(ok) is true only if every machine is there.
positional: outcomes
options:
  _input:
    description: A plan as P(basecast.fleet.service_plan#filter) returns it.
    type: dict
    required: true
  outcomes:
    description:
      - "What each host came to, by inventory name: C(state) is V(done), V(failed) or V(unreachable); C(step) and C(msg) say
        where and why it failed; C(machines) is what M(basecast.fleet.machine) returned, or where it failed C(failure), with its
        C(machines). A machine of which nothing is said is not there."
    type: dict
    required: true
  relay:
    description: The relay plans that were run, as P(basecast.fleet.relay_plans#filter) returns them. Kept in the report.
    type: list
    elements: dict
  predicted:
    description: Whether the run was in check mode. Machines that it would have deployed then count as deployed.
    type: bool
    default: false
  fail_on_drift:
    description: Whether a machine that differs from the manifest makes C(ok) false.
    type: bool
    default: false
  run:
    description:
      - How the run went. With it the report tells that too, see the return value.
      - "It may have C(kind) (V(deploy) or V(plan)), C(name) (of the run), C(now) (seconds since the epoch), C(settings), C(measured)
        and C(relayed) (by host, as the roles keep them), C(observed) (as P(basecast.fleet.service_plan#filter) takes it), C(watch)
        (as P(basecast.fleet.relay_watch#filter) leaves it) and C(first_plans) (of the relay, before anything happened)."
    type: dict
"""

EXAMPLES = r"""
- name: Sum up
  ansible.builtin.debug:
    msg: "{{ (plan.service | basecast.fleet.deploy_report(outcomes)).text }}"
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    plan: "{{ lookup('ansible.builtin.file', 'plan.json') | from_json }}"
    outcomes:
      kvm1: {state: done, machines: [{machine: web-1, running: true, problem: null, actions: [defined, started]}]}
      kvm2: {state: unreachable, step: Make disks, msg: Connection timed out}
"""

RETURN = r"""
_value:
  description:
    - The report; C(text) holds it as lines for people.
    - The C(state) of a machine is V(deployed) or V(started) (by this run), V(present) (before it); V(failed), V(unreachable), V(unknown)
      (whether it exists), V(unfit) (its host, for a new machine) or V(outside) (of this run). The names of the latter are in C(missing).
    - C(failures) says in sentences why C(ok) is false.
    - With O(run) also C(kind), C(run), C(tenant), C(began_at), C(ended_at), C(took_s); C(problems), each cause with its C(host),
      C(machines) and the commands to C(try); C(ticket), the run in a few lines; C(bases), C(fleet) (hosts, with their pools and
      what these held before), C(relays) (what was foreseen at C(first) and at C(last)), C(transfers) (what each host received
      from whom, and when), C(digests), C(traffic) (bytes over the network, and the fewest possible), C(links) (from, to,
      10^6 bit/s), C(events), C(placement) (hosts for each machine with reasons) and C(settings).
    - Each machine then has C(group), C(cpus), C(memory_mib), C(disks), and in C(times) when its base was there, its disks were
      made, it was started and it reported. Times are seconds since the relay began, which was C(zero_s) after the run began.
  type: dict
  sample:
    format: 1
    service: shop
    ok: false
    machines: [{"machine": "web-1", "host": "kvm1", "state": "unreachable", "reason": "…", "report": null, "drift": []}]
    text: ["Service shop: 0 of 1 machines are there (0 deployed, 0 started by this run, 0 before)."]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, OUTCOMES, PLANS, SERVICE_PLAN, or_null
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import checked_outcome
from ..plugin_utils._plan.service.report import deploy_report as report
from ..plugin_utils._plan.service.run_details import run_of
from ..plugin_utils._version import version


@door("deploy_report", plan=SERVICE_PLAN, outcomes=OUTCOMES, relay=or_null(PLANS), run=or_null(ANY_MAPPING))
def deploy_report(
    plan: object,
    outcomes: object,
    relay: object = None,
    predicted: bool = False,
    fail_on_drift: bool = False,
    run: object = None,
) -> dict[str, t.Any]:
    try:
        how = None if run is None else run_of({"version": version(), **plain(run)})
        given = t.cast("t.Mapping[str, t.Any]", outcomes or {})
        of_hosts = {str(host): plain(checked_outcome(outcome, str(host))) for host, outcome in given.items()}
        told = report(plain(plan), of_hosts, plain(relay), bool(predicted), bool(fail_on_drift), how)
        return t.cast("dict[str, t.Any]", clean_data(told))
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"deploy_report": deploy_report}
