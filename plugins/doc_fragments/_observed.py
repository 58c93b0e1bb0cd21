# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  _input:
    description: A manifest as P(basecast.fleet.service_manifest#filter) returns it.
    type: dict
    required: true
  hosts:
    description:
      - What was seen of each host, by inventory name.
      - "C(reachable): whether the host can be asked; if it cannot, C(msg) says why.
        C(capacity), C(missing), C(address), C(address_local), C(ports_free): of M(basecast.fleet.host_capacity_info), with
        C(port_range) as it was asked. C(pools): of M(basecast.fleet.base_disk_info).
        C(machines), C(domains), C(networks), C(bridges), C(offers): of M(basecast.fleet.machine_info). C(known): whether those are all that
        there is; if it is not, nothing is planned for this host. C(reason): why libvirt gave no answer.
        C(record): the service's, of M(basecast.fleet.service_record).
        For the placement: C(site), C(labels) (a list, or a mapping), C(maintenance) (takes no new machines), C(pool_labels) by pool,
        C(overcommit) with C(cpus) (16 by default), C(memory) (1) and C(pools) (4; a number, or one by pool), C(claims) of other runs with
        C(cpus), C(memory_mib), C(hugepages_mib) by size, and C(pools) with C(bytes) and C(growth_bytes)
        each, C(members) (machines of others that count for a named
        set, by its name). C(storage) of a pool in C(pools) is the identity of the storage that several hosts share.
        C(measured): the links that the host has measured, with C(from), C(to) and C(mbps) each; of hosts that are otherwise equal the
        one wins to which a base comes sooner.
        What is not given is not checked."
    type: dict
    required: true
  groups:
    description: The inventory's groups, for a manifest that names groups.
    type: dict
    default: {}
"""
