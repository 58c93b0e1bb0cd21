# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: service_plan
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Plan a deployment from a manifest and observed hosts
description:
  - Says which machines exist, which are to be made and where, which base each host lacks and where it would be imported,
    and hands over the work of each host, step by step.
  - Looks ahead at what would go wrong - missing packages, pools, ports, too little memory or space, disks smaller than their
    base - on every host at once.
  - While C(problems) is not empty nothing may be changed; each problem names its place in the manifest or its host.
positional: hosts
extends_documentation_fragment:
  - basecast.fleet._observed
options:
  imported:
    description:
      - Bases that the run has imported since the hosts were observed, by their name in the manifest.
      - Each is what M(basecast.fleet.base_disk_import) returned, with the keys C(host) and C(pool).
    type: dict
    default: {}
  files:
    description:
      - Files from which bases would be imported, by the base's name in the manifest.
      - Each is what M(ansible.builtin.stat) returned as C(stat), for a file of the controller with the C(checksum) by SHA-256
        where the manifest has one, or the base is held; for others it is what M(basecast.fleet.base_disk_source_info)
        returned in C(sources).
      - Which of them are to be looked at, and where, is C(look) of each of the plan's C(bases).
      - A file that is missing, or is another one, is a problem. From a file's size the relay of its base is foreseen.
      - The file of a base that hosts hold already is compared with what the base was imported from. Another size or another digest
        is a problem, since another content needs another version. A server's other C(ETag) or C(Last-Modified) is a note.
    type: dict
    default: {}
  candidates:
    description:
      - Files that hosts have already, by host, each a list as M(basecast.fleet.base_disk_source_info) returned it in C(candidates) when
        it looked for the C(wanted_files) of an earlier plan.
      - A host adopts such a file, so that nothing is fetched there. It counts as a holder of the base.
    type: dict
    default: {}
  adopted:
    description:
      - Bases that the run has adopted since the hosts were observed, by host, each a list of what M(basecast.fleet.base_disk_import)
        returned as C(base).
    type: dict
    default: {}
  memory_overcommit:
    description:
      - How much of a host's memory may be promised to machines, where C(overcommit) of the host does not say; V(1.0) is all of it and
        no more.
    type: float
    default: 1.0
  fleet:
    description:
      - All hosts that may have machines of the service, whether this run sees them or not. By default those that were observed.
      - New machines of a C(count) are refused while some of these hosts are not seen, since they may be there already.
    type: list
    elements: str
  skip_bad_hosts:
    description:
      - V(true) plans without hosts that cannot do their part, and says why in C(bad_hosts). If no host is left for any new machine
        these are problems nevertheless.
      - V(false) makes each of these reasons a problem, and that a host could not be asked as well.
    type: bool
    default: true
  relays:
    description:
      - Which hosts may pass a base on beside its holders. V(targets) are the hosts that need it; V(all) are all hosts of the run; or
        a list of hosts, which may pass it on besides.
      - A host that does not need the base receives it only where the targets are served sooner by that. It keeps the base in its
        store.
    type: raw
    default: targets
  paths:
    description:
      - Paths that bases are to take, whatever was measured, each a list of hosts that begins at a holder. A host has one sender.
      - A link of a path that is lost is not insisted on.
    type: list
    elements: list
    default: []
  quotas:
    description: What each tenant may have altogether, see P(basecast.fleet.place_machines#filter).
    type: dict
    default: {}
  links:
    description:
      - Links that are stated, as P(basecast.fleet.deployment_matrix#filter) takes them. By default those count that hosts have measured
        (C(measured) of an observation).
    type: raw
  scaled:
    description:
      - How many machines groups are to have from now on, as C(scaled) of P(basecast.fleet.scale_plan#filter). What the records of
        hosts remember is known without it.
    type: dict
"""

EXAMPLES = r"""
- name: Ask each host for its capacity
  basecast.fleet.host_capacity_info:
    pools: "{{ basecast_pools }}"
  register: host

- name: Ask it for its base disks
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_pools }}"
  register: store

- name: Ask it for the service's machines
  basecast.fleet.machine_info:
    service: shop
  register: found

- name: Keep what was seen
  ansible.builtin.set_fact:
    seen:
      reachable: true
      capacity: "{{ host.capacity }}"
      missing: "{{ host.missing }}"
      pools: "{{ store.pools }}"
      known: "{{ found.known }}"
      reason: "{{ found.reason }}"
      machines: "{{ found.machines }}"
      domains: "{{ found.domains }}"

- name: Show what a deployment would do
  ansible.builtin.debug:
    msg: "{{ manifest | basecast.fleet.service_plan(observed, groups=groups) | basecast.fleet.service_plan_text }}"
  vars:
    manifest: "{{ lookup('ansible.builtin.file', 'shop.yml') | basecast.fleet.service_manifest('shop.yml') }}"
    observed: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'seen'))) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - "The plan of the deployment. C(machines): all that were asked for, each with the C(state) V(exists), V(create), V(unreachable),
      V(unknown) (whether it exists),
      V(unfit) (its host) or V(outside) (of this run), and how an existing one differs (C(drift)). C(bases): who holds each
      base, or imports it. C(hosts): by host, what each module is to be given. C(relays): bases that cross the network. C(surplus):
      machines that are no longer asked for. C(wanted_files): by host, what it is to look for, as
      M(basecast.fleet.base_disk_source_info) takes it in C(wanted). C(adoptions): by host, the files that become base disks
      there. C(claims): by host, what M(basecast.fleet.host_claim)
      is to be given. C(bad_hosts): by host, why it cannot do its part. C(silent): hosts that could not be asked. C(notes) and
      C(problems): sentences, of which only the latter stand in the way."
  type: dict
  sample:
    format: 1
    service: shop
    tenant: default
    machines: [{"machine": "web-1", "host": "kvm1", "state": "create", "reason": "", "drift": []}]
    bases: {}
    hosts: {}
    surplus: []
    notes: []
    problems: []
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.placement.request_schema import check_request
from ..plugin_utils._plan.relay.needs import Relaying
from ..plugin_utils._plan.schemas import MANIFEST
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.service_plan import service_plan as plan


class Options(t.TypedDict, total=False):
    """What stands under ``options`` in the documentation above."""

    imported: object
    memory_overcommit: t.SupportsFloat
    files: object
    fleet: t.Iterable[object] | None
    skip_bad_hosts: bool
    relays: object
    paths: object
    candidates: object
    adopted: object
    quotas: object
    links: object
    scaled: object


@door("service_plan", manifest=MANIFEST)
def service_plan(manifest: object, hosts: object, groups: object = None, **options: t.Unpack[Options]) -> dict[str, t.Any]:
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        known = ", ".join(Options.__annotations__)
        raise AnsibleFilterError(f"service_plan: unknown options {', '.join(sorted(unknown))}; expected {known}")
    fleet = options.get("fleet")
    try:
        observed, known, quotas = plain(hosts), plain(groups or {}), plain(options.get("quotas") or {})
        memory_overcommit = plain(options.get("memory_overcommit", 1.0))
        check_request(observed, known, quotas=quotas, memory_overcommit=memory_overcommit)
        wanted = plain(manifest)
        made = plan(
            wanted,
            observed,
            known,
            memory_overcommit=memory_overcommit,
            fleet=None if fleet is None else plain(list(fleet)),
            skip_bad_hosts=bool(options.get("skip_bad_hosts", True)),
            relaying=Relaying(plain(options.get("relays", "targets")), plain(options.get("paths") or [])),
            quotas=quotas,
            imported=plain(options.get("imported") or {}),
            files=plain(options.get("files") or {}),
            candidates=plain(options.get("candidates") or {}),
            adopted=plain(options.get("adopted") or {}),
            links=plain(options.get("links")),
            scaled=plain(options.get("scaled")) or None,
        )
        # Hosts, and all that wrote to them, have their say in these sentences.
        return {**made, **{key: clean_data(made[key]) for key in ("problems", "notes") if key in made}}
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"service_plan": service_plan}
