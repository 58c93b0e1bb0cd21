#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: base_disk_upload
short_description: Make a place in a pool for an image that the controller sends
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Makes a directory of its own in the base store for one file, which only root can enter and whose name no other user can know
    beforehand. Put the file there, and have M(basecast.fleet.base_disk_import) take it with
    O(basecast.fleet.base_disk_import#module:consume=true), which removes the directory too.
  - Directories that are older than two days, as runs that were killed leave them, are removed on the way.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - Each call with O(state=present) makes a directory of its own.
options:
  pool:
    description: The pool that is to hold the base disk; one of O(pools).
    type: str
    default: default
  file_name:
    description: Name of the file, from which the import learns what its format should be. Required with O(state=present).
    type: str
  size_bytes:
    description:
      - Size of the file. With O(state=present) its room is kept until the file has been imported, or the place is given back.
      - A pool without that room is an error.
    type: int
    default: 0
  path:
    description: What RV(path) was. Required with O(state=absent).
    type: str
  state:
    description: Whether the place is to be there.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: basecast.fleet.base_disk_import
"""

EXAMPLES = r"""
- name: Make a place
  basecast.fleet.base_disk_upload:
    pools: "{{ basecast_pools }}"
    file_name: debian-13.qcow2
    size_bytes: 412090368
  register: place

- name: Send the file
  ansible.builtin.copy:
    src: files/debian-13.qcow2
    dest: "{{ place.path }}"
    mode: "0600"

- name: Make it a base disk
  basecast.fleet.base_disk_import:
    pools: "{{ basecast_pools }}"
    src: "{{ place.path }}"
    name: debian-13
    version: "20261101"

- name: Remove the place, with the file in it
  basecast.fleet.base_disk_upload:
    pools: "{{ basecast_pools }}"
    path: "{{ place.path }}"
    state: absent
"""

RETURN = r"""
path:
  description: Where to put the file; V(null) in check mode and with O(state=absent).
  returned: success
  type: str
  sample: /var/lib/libvirt/images/bases/.incoming/6f1ed002ab5595859014ebf0951522d9/debian-13.qcow2
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk import uploads
from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.store import stores_of
from ..module_utils._errors import InvalidOption
from ..module_utils._module import checked_pools, pool_path, pools_argument, run_module


def work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    pools = checked_pools(params["pools"])
    pool_path(pools, params["pool"])
    store = stores_of(pools, None, checked_percent(params["reserve_percent"]))[params["pool"]]
    if params["state"] == "absent":
        if module.check_mode:
            return {"changed": os.path.lexists(os.path.dirname(params["path"])), "path": None}
        return {"changed": uploads.remove(store, params["path"]), "path": None}
    uploads.check_file_name(params["file_name"])
    if params["size_bytes"] < 0:
        raise InvalidOption("size_bytes", params["size_bytes"], "a number of bytes is needed, 0 or more")
    return {"changed": True, "path": None if module.check_mode else uploads.make(store, params["file_name"], params["size_bytes"])}


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "pool": {"type": "str", "default": "default"},
            "file_name": {"type": "str"},
            "size_bytes": {"type": "int", "default": 0},
            "path": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["file_name"]), ("state", "absent", ["path"])],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
