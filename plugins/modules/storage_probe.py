#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: storage_probe
short_description: This host's part in finding out which pools are one storage
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Two pools of two hosts are one storage if each host sees what the other writes there. Every host leaves a mark with a random name
    in its pools (O(state=marked)); when all have, every host looks for marks (O(state=seen)). The filter
    P(basecast.fleet.shared_storage#filter) tells from the answers which pools are one.
  - That is never wrong about two file systems that were made from one image, or an overlay through which one host sees what the other
    writes, but not the reverse. Device numbers, inodes and identities of file systems do not tell those apart.
  - The host that looks last removes all marks of the run. Marks older than an hour are removed as well.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
attributes:
  check_mode:
    support: full
    details:
      - Leaves no marks, so nothing is found.
  diff_mode:
    support: N/A
    details:
      - Nothing is left when all hosts have looked.
  idempotent:
    support: N/A
    details:
      - Nothing is left when all hosts have looked.
options:
  run:
    description: Name of the run.
    type: str
    required: true
  state:
    description: V(marked) leaves marks, V(seen) looks for marks.
    type: str
    choices: [marked, seen]
    required: true
  expected:
    description:
      - How many pools may be the same storage, by pool, as P(basecast.fleet.storage_candidates#filter) tells it. Other pools are
        left alone.
    type: dict
    required: true
  marks:
    description: With O(state=seen), what this module returned for O(state=marked).
    type: dict
    default: {}
  wait_s:
    description:
      - How long to look for marks that are not there, in seconds. Only where the pool lies on a network file system, which may
        remember a directory as it was.
    type: float
    default: 2
seealso:
  - plugin: basecast.fleet.storage_candidates
    plugin_type: filter
  - plugin: basecast.fleet.shared_storage
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Leave marks
  basecast.fleet.storage_probe:
    pools: {default: /var/lib/libvirt/images}
    run: nightly
    expected: {default: 2}
    state: marked
  register: marked

- name: Look for marks of others
  basecast.fleet.storage_probe:
    pools: {default: /var/lib/libvirt/images}
    run: nightly
    expected: {default: 2}
    marks: "{{ marked.marks }}"
    state: seen
  register: looked

- name: Show them
  ansible.builtin.debug:
    var: looked.seen
"""

RETURN = r"""
marks:
  description: The mark that was left in each pool. A pool is missing in which none could be left.
  returned: success
  type: dict
  sample: {default: 7c2f0a1be1c94b8ab1f6a5f6c1f2d3e4}
seen:
  description: All marks of the run by pool, with O(state=seen).
  returned: success
  type: dict
  sample: {default: [19aa3bd1c2f44d57b0f1d2a3e4c5b6a7, 7c2f0a1be1c94b8ab1f6a5f6c1f2d3e4]}
"""

import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk import filesystem, marks
from ..module_utils._errors import InvalidOption
from ..module_utils._module import checked_pools, pools_argument, run_module
from ..module_utils._names import check_name


def _expected(params: t.Mapping[str, t.Any], pools: t.Mapping[str, str]) -> dict[str, int]:
    counts = {}
    for pool, count in params["expected"].items():
        if pool not in pools:
            raise InvalidOption("expected", pool, f"this host's pools are: {', '.join(sorted(pools))}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise InvalidOption(f"expected.{pool}", count, "a whole number of at least 1 is needed")
        counts[pool] = count
    return counts


def _marks(params: t.Mapping[str, t.Any], expected: t.Mapping[str, int]) -> dict[str, str]:
    for pool, nonce in params["marks"].items():
        if not isinstance(nonce, str) or not re.fullmatch(r"[0-9a-f]{32}", nonce):
            raise InvalidOption(f"marks.{pool}", nonce, "a mark that this module has returned is needed")
    return {pool: nonce for pool, nonce in params["marks"].items() if pool in expected}


def _work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    pools = checked_pools(params["pools"])
    run = check_name("run", params["run"])
    expected = _expected(params, pools)
    if not 0 <= params["wait_s"] <= 600:
        raise InvalidOption("wait_s", params["wait_s"], "a number of seconds from 0 to 600 is needed")
    found = _marks(params, expected)
    if module.check_mode:
        return {"changed": False, "marks": {}, "seen": {}}
    if params["state"] == "marked":
        left = {pool: marks.leave(pools[pool], run) for pool in expected}
        return {"changed": False, "marks": {pool: nonce for pool, nonce in left.items() if nonce}, "seen": {}}
    seen = {
        pool: marks.look(pools[pool], run, nonce, expected[pool], params["wait_s"] if filesystem.is_network(pools[pool]) else 0.0)
        for pool, nonce in found.items()
    }
    return {"changed": False, "marks": found, "seen": seen}


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            "run": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["marked", "seen"], "required": True},
            "expected": {"type": "dict", "required": True},
            "marks": {"type": "dict", "default": {}},
            "wait_s": {"type": "float", "default": 2.0},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
