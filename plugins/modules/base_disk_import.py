#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: base_disk_import
short_description: Make a file or URL a base disk
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Brings an image into the base store of a pool, where it is known by the SHA-256 digest of its file and by names.
  - raw images, and qcow2 images without internal snapshots, are stored as they are. Images in the formats vmdk, vpc (VHD)
    and vhdx, and qcow2 images with internal snapshots, are converted to qcow2, once.
  - An image that this host has already, in any of its pools, is not transported again.
  - Nothing incomplete is left when an import fails.
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._servers
attributes:
  check_mode:
    support: partial
    details:
      - With O(src), the source is read and the prediction is exact, except for the digest of an image that is converted.
      - With O(url), and for a compressed O(src), nothing is fetched or unpacked and, unless the digest or checksum is known to the
        host, a change is reported.
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - Files that have not changed are not read again. A URL is fetched again, and compared, unless O(sha256) is given or
        the server has the validators C(ETag) or C(Last-Modified).
options:
  pool:
    description: The pool that is to hold the base disk; one of O(pools).
    type: str
    default: default
  src:
    description:
      - Path of an image on the host, as it is written; neither C($NAME) nor C(~) is expanded. A relative path is resolved against the
        pool, and cannot leave it.
      - The file has to lie in one of O(source_dirs), symbolic links resolved. Files of machines and of the base store are
        refused wherever they are, and so are the disks that libvirt's machines on the host have.
      - A file that a running machine may write is refused; the message names its domain. As long as it is read, no machine
        can be started that would write it.
      - O(src) and O(url) are mutually exclusive; one of them is required.
    type: str
  url:
    description:
      - Address of an image, which the host fetches itself, with C(http) or C(https). C(file) is accepted once O(source_dirs)
        lists directories.
      - C(oci://registry/repository:tag) is an image in a registry of containers, as KubeVirt's containerDisks are; C(@sha256:DIGEST) at
        its end, with or without a tag, names its manifest. Its disk is the file directly below C(/disk) of the topmost layer that has
        one. Registries are asked with C(https), with the credentials that O(auth) has for them; an index gives the image for this
        host's processors. What a tag means at the first import under O(name) and O(version) stays, as with a list at O(checksum).
      - A query, such as the signature of a signed URL, is shown nowhere, neither in results nor in logs. When the server refuses a
        signed URL that has expired (as signed for S3, Google Cloud Storage or Azure), the message says since when.
      - A URL with user name and password is refused, since it would appear in logs; use O(auth).
      - Spaces and letters beyond ASCII are encoded.
      - Without O(sha256) and O(checksum), the server has to say how long the file is.
      - A transfer that breaks off goes on where it ended, if the server can and says that it has the same file still; else it begins
        again.
    type: str
  mirrors:
    description:
      - Further URLs of the same file, tried in this order when O(url) does not give it or gives another file. A warning says
        which one it was and what was wrong with those before.
      - Each is treated as O(url) is.
    type: list
    elements: str
    default: []
  checksum:
    description:
      - Checksum of the file at O(url) as it is downloaded, before it is unpacked, as C(sha256:DIGEST), C(sha384:DIGEST) or
        C(sha512:DIGEST).
      - Or the URL of a list that has it, such as C(SHA256SUMS) or C(NAME.sha256), in the style of coreutils, BSD or OpenSSL, or
        with the digest alone. C(sha512:URL) takes that kind of checksum only. The file is looked up by the name that O(url) ends
        with.
      - What a list tells at the first import under O(name) and O(version) stays. Once this host has a base disk of that name, it is
        used, and a warning says when the list tells another checksum. To take the new file, give it another O(version).
    type: str
  compression:
    description:
      - How the file is compressed. V(auto) decides by the suffix of its name (C(.gz), C(.xz), C(.zst), C(.bz2)).
      - It is unpacked as it arrives; no compressed copy is kept. What it unpacks to may be as large as the free space of the pool.
      - V(zstd) needs Python 3.14 or the program C(zstd) on the host; without both, it is refused before anything is fetched.
    type: str
    choices: [auto, none, gzip, xz, zstd, bzip2]
    default: auto
  secret:
    description: The paths of O(url), O(mirrors) and O(checksum) are secret as well, and shown nowhere.
    type: bool
    default: false
  ca:
    description:
      - Certificates (PEM) of authorities that are trusted for this import, as text, beside O(ca_file).
      - They do not count for servers that are shown credentials of O(auth).
    type: str
  source_dirs:
    description:
      - Directories from which images may be taken. A relative one is resolved against each of O(pools); V(.) is the pool itself.
      - The pools when it is empty.
    type: list
    elements: str
    default: []
  source_hosts:
    description:
      - Names (C(mirror.example.org), C(*.example.org)), addresses and networks from which anything may be fetched.
      - Other hosts may be fetched from when their addresses are public; those of local networks (such as C(10.0.0.0/8))
        when O(url) itself names the host, and not where only a redirect does. Loopback, link-local and reserved addresses,
        among them those of clouds' metadata services, have to be listed.
      - The host connects to the address that was looked at. Where it uses a proxy, that resolves the names.
    type: list
    elements: str
    default: []
  name:
    description: Name of the base disk within the tenant; together with O(version).
    type: str
  version:
    description: Version of the base disk under this name; together with O(name).
    type: str
  tenant:
    description: The tenant that the name belongs to, and whose reference protects the base disk from removal.
    type: str
    default: default
  format:
    description:
      - Format of the image.
      - Without it, the format is taken from the file's content and name, and it is an error when the two do not say the
        same. A raw disk can contain anything, so its content alone proves nothing.
      - V(raw) stores the file as it is, whatever its content looks like.
    type: str
    choices: [raw, qcow2, vmdk, vpc, vhdx]
  sha256:
    description:
      - SHA-256 digest of the image as it is given, before any conversion. Of a compressed file, it is the digest of what that is
        unpacked to; O(checksum) is that of the file itself.
      - An image with another digest is refused. A base disk on this host that has this digest, or was made from a source
        that had it, is used without looking at O(src) or O(url).
    type: str
  parent:
    description:
      - Digest of the base disk in the same pool that this image is based on.
      - Required for a qcow2 image whose header names a parent. The name in the header is not trusted, it is replaced.
    type: str
  method:
    description:
      - How a file gets into the store when it need not be converted.
      - V(auto) clones it where the file system can, and copies it else.
      - V(copy) copies it, V(reflink) fails where it cannot be cloned.
      - V(hard_link) gives the file a second name, which is refused while any machine has it open. It then shares its content
        with a name that others may write to, and becomes read-only and immutable under both.
    type: str
    choices: [auto, copy, reflink, hard_link]
    default: auto
  adopt:
    description:
      - The file at O(src) is only a candidate. When it does not exist or has another digest than O(sha256), nothing is done
        and RV(base) is V(null).
      - Only files that need no conversion are adopted.
    type: bool
    default: false
  metadata:
    description:
      - What M(basecast.fleet.base_disk_info) returned of the same base disk on another host. Used with O(adopt=true).
    type: dict
  consume:
    description:
      - Remove O(src) once the base disk is there. Meant for files that were sent to the host for this purpose.
    type: bool
    default: false
  run:
    description:
      - The run for which M(basecast.fleet.base_disk_prune) leaves the base alone until the run gives it back, see
        M(basecast.fleet.host_claim).
    type: str
  hold_s:
    description: How long at most, in seconds.
    type: float
    default: 3600
  timeout_s:
    description: How long to wait, in seconds, for another run that brings the same base disk.
    type: float
    default: 3600
seealso:
  - module: basecast.fleet.base_disk
  - module: basecast.fleet.base_disk_reference
"""

EXAMPLES = r"""
- name: Fetch an image on one host and make it a base disk
  basecast.fleet.base_disk_import:
    pools: "{{ basecast_pools }}"
    url: https://images.example.org/debian-13.qcow2
    sha256: "{{ debian_13_sha256 }}" # as its publisher states it
    name: debian-13
    version: "20261101"
  run_once: true
  register: debian

- name: Fetch today's image of a distribution with its published checksum, or from a mirror
  basecast.fleet.base_disk_import:
    pools: "{{ basecast_pools }}"
    url: https://cloud.example.org/13/latest/debian-13-amd64.raw.xz
    mirrors: [https://mirror.example.net/13/latest/debian-13-amd64.raw.xz]
    checksum: https://cloud.example.org/13/latest/SHA512SUMS
    name: debian-13
    version: "20261128" # stays what it was at its first import; a newer file gets another version
  run_once: true

- name: Fetch an image from a server with its own certificate authority, and with a token
  basecast.fleet.base_disk_import:
    pools: "{{ basecast_pools }}"
    url: https://images.corp.example/golden.qcow2
    auth:
      - {host: images.corp.example, token: "{{ vault_image_token }}"}
    ca_file: /etc/pki/corp-ca.pem
    name: golden
    version: "7"
  run_once: true

- name: Take the disk of a container image
  basecast.fleet.base_disk_import:
    pools: "{{ basecast_pools }}"
    url: oci://quay.example.org/containerdisks/fedora:41
    name: fedora-41
    version: "1"
  run_once: true

# The host that has it already is left alone. For hosts that have no such file there is the relay.
- name: Use a copy of the image that the other hosts may have under another name
  basecast.fleet.base_disk_import:
    pools: "{{ basecast_pools }}"
    src: /srv/images/trixie.qcow2
    source_dirs: [/srv/images]
    sha256: "{{ debian.base.sha256 }}"
    metadata: "{{ debian.base }}"
    adopt: true
  register: adopted

- name: Tell which hosts still lack it
  ansible.builtin.debug:
    msg: "{{ 'has it' if adopted.base else 'lacks it' }}"

- name: Convert an image in the pool whose name does not tell its format
  basecast.fleet.base_disk_import:
    pools: "{{ basecast_pools }}"
    src: uploads/appliance
    format: vmdk
    name: appliance
    version: "4.1"
"""

RETURN = r"""
base:
  description:
    - The base disk as M(basecast.fleet.base_disk_info) tells O(tenant) of it.
    - V(null) in check mode where it is not there yet, and when nothing was adopted.
  returned: success
  type: dict
  sample:
    format: 1
    sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
    source_sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
    size_bytes: 346226688
    virtual_size_bytes: 2147483648
    image_format: qcow2
    parent: null
    chain: [5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e]
    names: [{tenant: default, name: debian, version: "12"}]
    tenants: [default]
    pins: []
    users: []
    pool: default
    path: /var/lib/libvirt/images/bases/5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e/disk
actions:
  description: What was done, or would be done in check mode, as sentences.
  returned: success
  type: list
  elements: str
  sample:
    - add name debian 12 of tenant default to base disk 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.importer import METHODS, Importer, Request
from ..module_utils._disk.qemu_img import FORMATS, QemuImg
from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.sources import checked_rules
from ..module_utils._disk.store import stores_of
from ..module_utils._disk.survey import tell
from ..module_utils._errors import InvalidOption
from ..module_utils._module import checked_pools, pool_path, pools_argument, run_module
from ..module_utils._names import check_name, check_sha256
from ..module_utils._url_option import hide_urls, server_arguments, taken_access
from ..module_utils._urls import COMPRESSIONS


def checked_request(params: t.Mapping[str, t.Any]) -> Request:
    for option in ("name", "version"):
        if params[option] is not None:
            check_name(option, params[option])
    for option in ("sha256", "parent"):
        if params[option] is not None:
            check_sha256(option, params[option])
    if params["adopt"] and (params["src"] is None or params["sha256"] is None):
        raise InvalidOption("adopt", True, "adoption needs src and sha256")
    if params["metadata"] is not None and not params["adopt"]:
        raise InvalidOption("metadata", "…", "it is accepted together with adopt: true")
    for option in ("mirrors", "checksum", "ca"):
        if params[option] and params["url"] is None:
            raise InvalidOption(option, "…", "it is accepted together with url; of a file on the host give sha256")
    return Request(
        tenant=check_name("tenant", params["tenant"]),
        src=params["src"],
        url=params["url"],
        name=params["name"],
        version=params["version"],
        image_format=params["format"],
        sha256=params["sha256"],
        parent=params["parent"],
        method=params["method"],
        adopt=params["adopt"],
        consume=params["consume"],
        metadata=params["metadata"],
        timeout_s=params["timeout_s"],
        run=None if params["run"] is None else check_name("run", params["run"]),
        hold_s=params["hold_s"],
        mirrors=tuple(params["mirrors"]),
        checksum=params["checksum"],
        compression=params["compression"],
        secret=params["secret"],
    )


def work(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    access = taken_access(module, params["ca"])
    try:
        request = checked_request(params)
    finally:
        hide_urls(module, params)
    pools = checked_pools(params["pools"])
    pool_path(pools, params["pool"])
    rules = checked_rules(params["source_dirs"], params["source_hosts"])
    stores = stores_of(pools, module.run_command, checked_percent(params["reserve_percent"]))
    result = Importer(stores, params["pool"], QemuImg(module.run_command), module.check_mode, rules, access).run(request)
    for warning in result.warnings:
        module.warn(warning)
    return {
        "changed": result.changed,
        "base": tell(stores, [result.base], request.tenant)[0] if result.base is not None else None,
        "actions": result.actions,
        "diff": {"before": result.before, "after": result.after},
    }


def main() -> None:
    run_module(
        work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "pool": {"type": "str", "default": "default"},
            "src": {"type": "str"},
            "url": {"type": "str", "no_log": True},
            "mirrors": {"type": "list", "elements": "str", "default": [], "no_log": True},
            "checksum": {"type": "str", "no_log": True},
            "compression": {"type": "str", "choices": list(COMPRESSIONS), "default": "auto"},
            "secret": {"type": "bool", "default": False, "no_log": False},
            "ca": {"type": "str"},
            **server_arguments(),
            "source_dirs": {"type": "list", "elements": "str", "default": []},
            "source_hosts": {"type": "list", "elements": "str", "default": []},
            "name": {"type": "str"},
            "version": {"type": "str"},
            "tenant": {"type": "str", "default": "default"},
            "format": {"type": "str", "choices": list(FORMATS)},
            "sha256": {"type": "str"},
            "parent": {"type": "str"},
            "method": {"type": "str", "choices": list(METHODS), "default": "auto"},
            "adopt": {"type": "bool", "default": False},
            "metadata": {"type": "dict"},
            "consume": {"type": "bool", "default": False},
            "run": {"type": "str"},
            "hold_s": {"type": "float", "default": 3600.0},
            "timeout_s": {"type": "float", "default": 3600.0},
        },
        mutually_exclusive=[("src", "url")],
        required_one_of=[("src", "url")],
        required_together=[("name", "version")],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
