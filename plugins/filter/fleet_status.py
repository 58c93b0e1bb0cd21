# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_status
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Sum up what runs where
description:
  - Joins what the hosts have told to one status, with what has lost its owner and what cannot be known.
  - A machine of a host that cannot be known is listed if another host's record tells of it. A disk counts as one without machine
    only if every host that could have the machine has told all it has.
positional: manifest, groups
options:
  _input:
    description:
      - "What each host has told, by inventory name. C(status) is what M(basecast.fleet.host_status_info) returned, or C(msg) says
        why the host could not be asked. C(status) may be a JSON text."
    type: dict
    required: true
  manifest:
    description: The manifest of a service, as P(basecast.fleet.service_manifest#filter) reads it. The service is compared with it.
    type: dict
  groups:
    description: The groups of the inventory. Manifests name hosts by them.
    type: dict
  addresses:
    description: Addresses of the hosts, by inventory name.
    type: dict
  service:
    description: Tell of the machines of this service alone.
    type: str
  fail_on_drift:
    description: Whether RV(_value) is not C(ok) if the service is not as its manifest wants it.
    type: bool
    default: false
  packed:
    description: Whether to return only C(ok), C(failures) and C(text), and all of it as a JSON text, C(json).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what runs where
  ansible.builtin.debug:
    msg: "{{ ({'kvm1': {'status': seen.status}, 'kvm2': {'msg': 'Connection timed out'}} | basecast.fleet.fleet_status).text }}"
  vars:
    seen: # as basecast.fleet.host_status_info returns it
      status: {known: true, machines: [], services: [], pools: {}}
"""

RETURN = r"""
_value:
  description:
    - The status. C(ok) is true only if every host has told all it has. C(unknown) says of each other host why not, C(failures)
      the same in sentences.
    - C(machines) are the machines by service, role and number; those of hosts that cannot be known have C(known=false).
      C(address) is the surest of their C(addresses). Each disk has its C(chain) of bases, the root first. C(flattening) tells of
      disks that lose their bases whether that is C(going_on), and how much C(percent) of it is done.
    - C(services) counts them, and says with a manifest what is C(missing) of each role and whether the service C(differs).
    - C(bases) are the base disks with the pools that hold them and the number of disks that need them.
    - C(orphans) are disks without machine (C(kind) V(disk)), machines without disk (V(machine)), recorded machines that are not
      there (V(record)), clones C(of) a machine that were interrupted (V(clone)), references that nobody needs (V(reference)),
      transfers that no run is at work on (V(partial)) and uploads that are left (V(upload)).
    - C(text) shows all of it in lines of at most 88 columns.
  type: dict
  sample:
    format: 1
    ok: true
    hosts:
      kvm1:
        known: true
        machines: 1
        running: 1
        cpus: 32
        memory_mib: 128786
        memory_available_mib: 90112
        load_1m: 0.42
        others: {domains: 0, running: 0, memory_mib: 0, unread: 0}
        jobs: []
        pools: {default: {path: /var/lib/libvirt/images, known: true, free_bytes: 812345671680, total_bytes: 1000204886016}}
        damaged: []
    services:
      - tenant: default
        service: shop
        machines: 1
        running: 1
        unknown: 0
        hosts: [kvm1]
        compared: false
        differs: false
        missing: {}
        runs: []
    machines:
      - tenant: default
        service: shop
        machine: web-1
        role: web
        number: 1
        host: kvm1
        host_address: 192.0.2.11
        domain: shop-web-1
        known: true
        state: running
        running: true
        address: 192.168.122.17
        addresses: [{address: 192.168.122.17, mac: "52:54:00:11:22:33", source: lease}]
        macs: ["52:54:00:11:22:33"]
        cpus: 2
        memory_mib: 2048
        disks:
          - name: root
            path: /var/lib/libvirt/images/machines/shop/web-1/root.qcow2
            pool: default
            bytes: 1310720
            virtual_bytes: 10737418240
            chain: [{sha256: 3f0a, title: debian-12 20261101}]
        bases: [debian-12 20261101]
        reported: done
        spec: {}
        dns_missing: []
        flattening: null
        drift: []
        surplus: false
        problem: null
    bases:
      - sha256: 3f0a
        names: [debian-12 20261101]
        size_bytes: 536870912
        chain: [3f0a]
        hosts: {kvm1: [default]}
        disks: 1
        services: [shop]
        pins: []
        referred: true
    orphans: []
    unknown: {}
    failures: []
    text: ["Service shop (tenant default): 1 machine, 1 running"]
"""

import json
import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, GROUPS, LOOKS, or_null
from ..plugin_utils._plan.service.fleet_status import fleet_status as status
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._plan.service.observation import unpacked


class Options(t.TypedDict, total=False):
    """See the documentation above."""

    addresses: object
    service: object
    fail_on_drift: object
    packed: object


@door("fleet_status", looks=LOOKS, manifest=or_null(ANY_MAPPING), groups=GROUPS)
def fleet_status(looks: object, manifest: object = None, groups: object = None, **options: t.Unpack[Options]) -> dict[str, t.Any]:
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise AnsibleFilterError(f"{', '.join(sorted(unknown))}: unknown option; expected {', '.join(Options.__annotations__)}")
    try:
        at = plain(options.get("addresses")) or {}
        seen = {host: {**unpacked(look), "address": at.get(host)} for host, look in plain(looks).items()}
        made = status(
            seen,
            manifest=plain(manifest) or None,
            groups=plain(groups),
            service=plain(options.get("service")),
            fail_on_drift=bool(options.get("fail_on_drift")),
        )
    except (FleetError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error
    made = clean_data(made)
    if options.get("packed"):
        return {**{key: made[key] for key in ("ok", "failures", "text")}, "json": json.dumps(made, indent=4, sort_keys=True)}
    return t.cast("dict[str, t.Any]", made)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"fleet_status": fleet_status}
