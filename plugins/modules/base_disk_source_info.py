#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: base_disk_source_info
short_description: Tell from what a host could import base disks
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Looks at the files and URLs from which base disks would be imported, and says how large they are, or why
    M(basecast.fleet.base_disk_import) would refuse them.
  - Finds files on the host that are already what is wanted, under whatever name, so that they can be adopted instead of
    fetched. Only files of the right size are read, each of them once; what was read is remembered in the base store with
    the file's identity and times.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._attributes.info_module
  - basecast.fleet._pools
  - basecast.fleet._servers
options:
  sources:
    description: What would be imported.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: By which it is known in RV(sources).
        type: str
        required: true
      path:
        description: A file on the host. A relative path is resolved against O(sources[].pool).
        type: str
      url:
        description:
          - Address of the file. The server is asked how large it is. Nothing is fetched but a list of checksums, or the manifest of an
            image in a registry.
        type: str
      mirrors:
        description: See O(basecast.fleet.base_disk_import#module:mirrors). They are asked in order until one answers.
        type: list
        elements: str
        default: []
      checksum:
        description: See O(basecast.fleet.base_disk_import#module:checksum).
        type: str
      compression:
        description: See O(basecast.fleet.base_disk_import#module:compression).
        type: str
        choices: [auto, none, gzip, xz, zstd, bzip2]
        default: auto
      secret:
        description: See O(basecast.fleet.base_disk_import#module:secret).
        type: bool
        default: false
      ca:
        description: See O(basecast.fleet.base_disk_import#module:ca).
        type: str
      pool:
        description: One of O(pools).
        type: str
        default: default
      digest:
        description:
          - Tell the SHA-256 digest of a file on the host as well. It is read for that once, and again after it was written.
        type: bool
        default: false
      size_bytes:
        description: With O(sources[].digest), the digest is reported only if the file has this size; another size says enough.
        type: int
  wanted:
    description: Base disks that the host may have as a file of another name.
    type: list
    elements: dict
    default: []
    suboptions:
      sha256:
        description: Digest of the file.
        type: str
        required: true
      size_bytes:
        description: Size of the file.
        type: int
        required: true
      format:
        description: Format of the image; by default its content and its name have to say the same.
        type: str
        choices: [raw, qcow2, vmdk, vpc, vhdx]
  source_dirs:
    description: See O(basecast.fleet.base_disk_import#module:source_dirs). Files are looked for five levels deep.
    type: list
    elements: str
    default: []
  source_hosts:
    description: See O(basecast.fleet.base_disk_import#module:source_hosts).
    type: list
    elements: str
    default: []
seealso:
  - module: basecast.fleet.base_disk_import
"""

EXAMPLES = r"""
- name: Look whether the host has the image already
  basecast.fleet.base_disk_source_info:
    pools: "{{ basecast_pools }}"
    source_dirs: [., /srv/images]
    wanted:
      - {sha256: "{{ trixie.sha256 }}", size_bytes: "{{ trixie.size_bytes }}"}
  register: seen

- name: Adopt it
  basecast.fleet.base_disk_import:
    pools: "{{ basecast_pools }}"
    source_dirs: [., /srv/images]
    src: "{{ item.path }}"
    sha256: "{{ item.sha256 }}"
    adopt: true
  loop: "{{ seen.candidates }}"
"""

RETURN = r"""
sources:
  description:
    - By O(sources[].name). C(isreg) tells whether there is a file, C(size) its size in bytes, V(null) where it is not known.
    - C(problem) says why an import would be refused, C(note) what else is to be said, such as that a server does not answer.
    - C(sha256) is the digest, V(null) where it was not asked for or cannot be told; C(etag) and C(last_modified) are what a
      server says, V(null) where it does not.
    - C(compression) is that of the file, V(none) for none; C(size) is the file's, not the image's. C(listed) is the checksum that the
      list at O(sources[].checksum) tells now.
  returned: success
  type: dict
  sample:
    debian:
      isreg: true
      size: 346226688
      problem: ""
      note: ""
      sha256: null
      etag: null
      last_modified: null
      listed: null
      compression: none
candidates:
  description: Files that have the digest of one of O(wanted) and need no conversion, one for each.
  returned: success
  type: list
  elements: dict
  sample:
    - sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
      size_bytes: 346226688
      path: /srv/images/trixie.qcow2
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk import candidates
from ..module_utils._disk.candidates import Digest, Wanted, Web
from ..module_utils._disk.qemu_img import FORMATS
from ..module_utils._disk.sources import checked_rules
from ..module_utils._disk.store import Store
from ..module_utils._errors import InvalidOption
from ..module_utils._module import checked_pools, pool_path, pools_argument, run_module
from ..module_utils._names import check_sha256
from ..module_utils._url_option import hide_urls, server_arguments, taken_access
from ..module_utils._urls import COMPRESSIONS


def work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    access = taken_access(module)
    given = [{**item} for item in params["sources"]]
    for item in params["sources"]:
        hide_urls(module, item)
    pools = checked_pools(params["pools"])
    rules = checked_rules(params["source_dirs"], params["source_hosts"])
    wanted = []
    for item in params["wanted"]:
        if item["size_bytes"] < 1:
            raise InvalidOption("wanted[].size_bytes", item["size_bytes"], "a size is a positive number of bytes")
        wanted.append(Wanted(check_sha256("wanted[].sha256", item["sha256"]), item["size_bytes"], item["format"]))
    stores = {name: Store(path, pool=name) for name, path in pools.items()}
    seen = {}
    for item in given:
        pool_path(pools, item["pool"], "sources[].pool")
        digest = Digest(item["size_bytes"], not module.check_mode) if item["digest"] else None
        if item["url"] is None:
            looked = candidates.look_at_path(stores, item["pool"], item["path"], rules, digest, item["compression"])
        else:
            own = access._replace(ca=item["ca"])
            web = Web(item["url"], tuple(item["mirrors"]), item["checksum"], item["compression"], item["secret"], own)
            looked = candidates.look_at_url(stores, item["pool"], web, rules, digest)
        seen[item["name"]] = looked.as_dict()
    found = candidates.find(stores, wanted, rules, remember=not module.check_mode) if wanted else []
    return {"changed": False, "sources": seen, "candidates": found}


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            "sources": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "path": {"type": "str"},
                    "url": {"type": "str", "no_log": True},
                    "mirrors": {"type": "list", "elements": "str", "default": [], "no_log": True},
                    "checksum": {"type": "str", "no_log": True},
                    "compression": {"type": "str", "choices": list(COMPRESSIONS), "default": "auto"},
                    "secret": {"type": "bool", "default": False, "no_log": False},
                    "ca": {"type": "str"},
                    "pool": {"type": "str", "default": "default"},
                    "digest": {"type": "bool", "default": False},
                    "size_bytes": {"type": "int"},
                },
                "mutually_exclusive": [("path", "url")],
                "required_one_of": [("path", "url")],
            },
            "wanted": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "sha256": {"type": "str", "required": True},
                    "size_bytes": {"type": "int", "required": True},
                    "format": {"type": "str", "choices": list(FORMATS)},
                },
            },
            "source_dirs": {"type": "list", "elements": "str", "default": []},
            "source_hosts": {"type": "list", "elements": "str", "default": []},
            **server_arguments(),
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
