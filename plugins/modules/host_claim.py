#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_claim
short_description: Claim room on a host for a deployment
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Notes on a host what a deployment is about to use of it, so that no other deployment counts on the same memory, processors or
    space. M(basecast.fleet.survey_info) tells what others have claimed, and the placement counts it as used.
  - A claim is taken as a whole or not at all. It is refused if another deployment has claimed anything since the survey that the plan
    was made from. The plan then has to be made again.
  - Several runs of one service, such as those of two controllers, each have a claim of their own. What they are about to use counts
    once. A claim is refused if another run is about to make one of its machines on another host or in another pool, see O(places).
  - A claim ends when M(basecast.fleet.host_job) has ended, when it is given back, after O(ttl_s) unless it is renewed, and with a
    reboot. M(basecast.fleet.host_job) renews it, and takes out every machine that it has started.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._service
  - basecast.fleet._service.state
attributes:
  check_mode:
    support: full
    details:
      - Tells whether the claim would be taken.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - V(present) renews the claim each time, and reports a change only if the claim is not what it was.
options:
  state:
    description: V(present) takes the claim, V(absent) gives it back.
    type: str
    choices: [present, absent]
    default: present
  run:
    description: Name of the run. Only the claim of this run is given back.
    type: str
    required: true
  service:
    description:
      - The service that the machines are part of. Required for O(state=present).
      - Without it O(state=absent) gives back what the run has claimed for any service of any tenant.
    type: str
    required: false
  seen:
    description:
      - The C(claims_generation) of the observation that the plan was made from.
      - If it is omitted, the claim is taken whatever others have claimed.
    type: int
  uses:
    description: What is going to be used. Where only O(bases) are given, no other deployment's claim is in the way.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A machine, or what else it is for. A machine that M(basecast.fleet.host_job) has started is no longer claimed for.
        type: str
        required: true
      cpus:
        description: Virtual processors.
        type: int
        default: 0
      memory_mib:
        description: Memory.
        type: int
        default: 0
      hugepages:
        description: The size of the huge pages that its memory is in, or V(default).
        type: str
      disk_bytes:
        description: What its disks count for the tenant's quota.
        type: int
        default: 0
      pools:
        description: By pool C(bytes), which are written at once, and C(growth_bytes), by which disks may grow.
        type: dict
        default: {}
  places:
    description:
      - Where the run makes each new machine, on this host and on others. M(basecast.fleet.survey_info) tells it to other runs of the
        service, which plan the same machines there.
      - By machine C(host), C(group), C(number), and C(pools) with the pool of each disk.
    type: dict
    default: {}
  bases:
    description:
      - Digests of base disks that the host has, and that the deployment counts on. For as long as the claim stands,
        M(basecast.fleet.base_disk_prune) leaves them alone, on all hosts that see the storage.
      - The claim is refused if one of them has gone since the survey.
    type: list
    elements: str
    default: []
  ttl_s:
    description: How long the claim stands unless it is renewed, in seconds.
    type: float
    default: 3600
seealso:
  - module: basecast.fleet.survey_info
  - module: basecast.fleet.host_job
"""

EXAMPLES = r"""
- name: Look at the host
  basecast.fleet.survey_info:
    pools: "{{ basecast_pools }}"
    service: shop
    address: "{{ basecast_address }}"
  register: seen

- name: Claim room for a machine
  basecast.fleet.host_claim:
    run: nightly
    service: shop
    seen: "{{ seen.observation.claims_generation }}"
    uses:
      - {name: web-1, cpus: 2, memory_mib: 2048, disk_bytes: 21474836480, pools: {default: {growth_bytes: 21474836480}}}
  register: claim

- name: End here if another deployment was first
  ansible.builtin.assert:
    that: claim.claimed
    fail_msg: "{{ claim.refused }}"

- name: Give it back
  basecast.fleet.host_claim:
    run: nightly
    service: shop
    state: absent
"""

RETURN = r"""
claimed:
  description: Whether the run has the claim.
  returned: success
  type: bool
  sample: true
refused:
  description: Why the claim was not taken; empty if it was.
  returned: success
  type: str
  sample: ""
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk import holds
from ..module_utils._disk.store import Store
from ..module_utils._errors import InvalidOption
from ..module_utils._job.claims import Claim, Claims, checked_places, checked_uses
from ..module_utils._module import check_absolute, checked_pools, pools_argument, run_module
from ..module_utils._names import check_name, check_sha256
from ..module_utils._untrusted import Value

GONE = "The base disk {} has been removed from this host since it was surveyed. Survey the host and plan again."


class _Wanted(t.NamedTuple):
    """What the run asks for."""

    claim: Claim
    bases: list[str]
    seen: int | None
    ttl_s: float

    @property
    def takes_room(self) -> bool:
        return bool(self.claim.uses or self.claim.places) or not self.bases


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    tenant, run = (check_name(option, params[option]) for option in ("tenant", "run"))
    if params["service"] is None and params["state"] == "present":
        raise InvalidOption("service", None, "the name of a service is needed for state=present")
    service = None if params["service"] is None else check_name("service", params["service"])
    check_absolute(params, "state_dir")
    if not 1 <= params["ttl_s"] <= 1e6:
        raise InvalidOption("ttl_s", params["ttl_s"], "a number of seconds from 1 to 1000000 is needed")
    uses = checked_uses(_amounts(params["uses"]))
    bases = sorted({check_sha256("bases", sha256) for sha256 in params["bases"]})
    stores = [Store(path, module.run_command, name) for name, path in checked_pools(params["pools"]).items()]
    claims = Claims(params["state_dir"])
    if service is None:
        there = any(claim.run == run for claim in claims.read().claims)
        if not module.check_mode:
            there = any([claims.end(run), *(holds.release(store, run) for store in stores)])
        return {"changed": there, "claimed": False, "refused": ""}
    held = claims.held(tenant, service, run)
    before = {} if held is None else {"uses": list(held.uses), "places": dict(held.places)}
    if params["state"] == "absent":
        if not module.check_mode:
            released = [holds.release(store, run) for store in stores]
            claims.release(tenant, service, run)
            return {"changed": held is not None or any(released), "claimed": False, "refused": "", "diff": {"before": before, "after": {}}}
        return {"changed": held is not None, "claimed": False, "refused": "", "diff": {"before": before, "after": {}}}
    # The run's own claim has changed the generation.
    claim = Claim(tenant, service, run, uses, places=checked_places(Value(params["places"], "places")))
    wanted = _Wanted(claim, bases, None if held is not None else params["seen"], params["ttl_s"])
    refused = _may_claim(claims, stores, wanted) if module.check_mode else _claim(claims, stores, wanted)
    after = {"uses": uses, "places": claim.places} if not refused and wanted.takes_room else before
    return {"changed": before != after, "claimed": not refused, "refused": refused, "diff": {"before": before, "after": after}}


def _claim(claims: Claims, stores: t.Sequence[Store], wanted: _Wanted) -> str:
    """Why it was not taken, empty if it was; nothing is left of a claim that was not."""
    refused = claims.take(wanted.claim, wanted.ttl_s, wanted.seen) if wanted.takes_room else ""
    if refused:
        return refused
    run = wanted.claim.run
    missing = holds.hold(stores, run, wanted.bases, wanted.ttl_s)
    if missing:
        for store in stores:
            holds.release(store, run)
        claims.release(wanted.claim.tenant, wanted.claim.service, run)
        return GONE.format(missing[0])
    return ""


def _may_claim(claims: Claims, stores: t.Sequence[Store], wanted: _Wanted) -> str:
    refused = claims.read().why_not(wanted.claim, wanted.seen) if wanted.takes_room else ""
    if refused:
        return refused
    missing = [sha256 for sha256 in wanted.bases if not any(store.find(sha256) for store in stores)]
    return GONE.format(missing[0]) if missing else ""


def _amounts(uses: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The uses, every amount a whole number of at least 0."""
    checked = []
    for use in uses:
        pools: dict[str, dict[str, int]] = {}
        for key in ("cpus", "memory_mib", "disk_bytes"):
            if use[key] < 0:
                raise InvalidOption(f"uses.{key}", use[key], "a whole number of at least 0 is needed")
        for pool, amounts in use["pools"].items():
            check_name("uses.pools", pool)
            pools[pool] = {}
            for key, amount in amounts.items() if isinstance(amounts, dict) else [("", amounts)]:
                if key not in ("bytes", "growth_bytes") or not re.fullmatch("[0-9]{1,19}", str(amount)):
                    raise InvalidOption(f"uses.pools.{pool}", amounts, "bytes and growth_bytes are needed, whole numbers of at least 0")
                pools[pool][key] = int(amount)
        checked.append({**use, "pools": pools})
    return checked


def main() -> None:
    use = {
        "name": {"type": "str", "required": True},
        "cpus": {"type": "int", "default": 0},
        "memory_mib": {"type": "int", "default": 0},
        "hugepages": {"type": "str"},
        "disk_bytes": {"type": "int", "default": 0},
        "pools": {"type": "dict", "default": {}},
    }
    run_module(
        _work,
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "run": {"type": "str", "required": True},
            "service": {"type": "str"},
            "tenant": {"type": "str", "default": "default"},
            "seen": {"type": "int"},
            "uses": {"type": "list", "elements": "dict", "default": [], "options": use},
            "places": {"type": "dict", "default": {}},
            **pools_argument(),
            "bases": {"type": "list", "elements": "str", "default": []},
            "ttl_s": {"type": "float", "default": 3600},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
        },
        required_if=[("state", "present", ["service"])],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
