#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: machine_capture
short_description: Make a machine's disk a base disk
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Makes a base disk of what a machine's disk has at this moment, under a name and version. The machine keeps its disk and its state.
  - By default the new base disk is the child of the base disk that the machine's disk is based on, and has only what the machine
    has written. With O(flatten=true) it has no parent.
  - A machine that runs goes on running. Its disk is mirrored into a file beside it until that is the same, which takes a moment for
    a differencing disk. With a guest agent the guest's file systems are at rest then. Without one the base is as the disk would be
    after a power cut.
requirements:
  - python3-libvirt on hosts that have libvirt.
  - qemu-img
  - virt-sysprep, with O(seal=true).
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._pools.reserve
  - basecast.fleet._service
  - basecast.fleet._service.libvirt
  - basecast.fleet._service.state
  - basecast.fleet._service.runtime
attributes:
  check_mode:
    support: full
    details:
      - The digest of the base disk is known only when the disk has been read, so RV(base) is V(null).
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A base disk of this name and version that was captured from the same machine is left as it is, whatever the machine has
        written since. One that came from elsewhere is an error.
options:
  service:
    description: Name of the service that the machine belongs to, needed with O(machine).
    type: str
    required: false
  machine:
    description: Name of the machine.
    type: str
  domain:
    description:
      - Name of a domain of libvirt that this collection has not made, instead of O(machine). It can only become a template, and its
        disks become base disks without a parent.
    type: str
  source_domains:
    description: Names and patterns of domains that may be given as O(domain). None by default.
    type: list
    elements: str
    default: []
  template:
    description:
      - Whether the whole machine is captured as a template, that is all its disks as they are at one moment, its hardware without what
        makes it this machine, and its firmware variables. CDs and what a manifest has no word for are left out, with a warning.
      - The disk from which the machine boots becomes the base disk O(name), each other one O(name) with a dot and the disk's name.
    type: bool
    default: false
  disk:
    description:
      - Name of the disk within the machine. The disk that the machine boots from when it is omitted.
      - With O(template=true), whose base disk is returned in RV(base).
    type: str
  name:
    description: Name of the base disk, or of the template, within the tenant.
    type: str
    required: true
  version:
    description: Version of the base disk under this name.
    type: str
    required: true
  flatten:
    description: Whether the base disk has no parent, and with it all that its parents have.
    type: bool
    default: false
  seal:
    description:
      - Whether the machine's identity is taken out of the base disk with C(virt-sysprep), that is its machine id, SSH host keys, network
        addresses, logs and histories. The machine's own disk is not changed.
      - cloud-init makes new ones at the first start of a machine in any case, where the image is made for it.
    type: bool
    default: false
  pool:
    description:
      - The pool of the base disk. A child lies in the pool of its parent, so this can be chosen only for one without a parent.
      - That of the machine's disk when it is omitted.
    type: str
  copy_timeout_s:
    description: How long the disk of a running machine may take to be mirrored, in seconds.
    type: float
    default: 3600
  busy_timeout_s:
    description: How long to wait for another process that changes machines of the same service, in seconds.
    type: float
    default: 60
seealso:
  - module: basecast.fleet.base_disk_import
  - module: basecast.fleet.machine_info
"""

EXAMPLES = r"""
- name: Keep a machine that was set up by hand as a base disk
  basecast.fleet.machine_capture:
    pools: "{{ basecast_pools }}"
    service: shop
    machine: web-1
    name: shop-web
    version: "7"

- name: The same without a parent, and without the machine's identity
  basecast.fleet.machine_capture:
    pools: "{{ basecast_pools }}"
    service: shop
    machine: web-1
    name: shop-web
    version: "7-whole"
    flatten: true
    seal: true

- name: Keep all of it as a template
  basecast.fleet.machine_capture:
    pools: "{{ basecast_pools }}"
    service: shop
    machine: web-1
    name: shop-web-whole
    version: "7"
    template: true
"""

RETURN = r"""
base:
  description: The base disk as M(basecast.fleet.base_disk_info) tells O(tenant) of it, V(null) in check mode unless it is there.
  returned: success
  type: dict
  sample: {sha256: 5f2a6e5fd14d3ba2b1a0b8bb8a7e2f8a0fd3e1e4b6d9a0c55e4a0a3b8a1c2d3e, pool: default, parent: null}
disk:
  description: The disk that was captured, as M(basecast.fleet.diff_disk) returns it, V(null) if the base disk was there.
  returned: success
  type: dict
  sample: {machine: web-1, name: root, path: /var/lib/libvirt/images/machines/shop/web-1/root.qcow2, pool: default}
bases:
  description: The base disks of a template, by the names of its disks; empty in check mode unless it is there, and without O(template).
  returned: success
  type: dict
  sample: {}
template:
  description:
    - What machines made from the template have, V(null) without O(template).
    - A result with a template is left out of what Ansible shows and logs, since firmware variables may hold secrets.
  returned: success
  type: dict
  sample: {cpus: 2, memory_mib: 2048, hardware: {firmware: uefi}, networks: [{network: default}], disks: [], seeded: true, variables: null}
running:
  description: Whether the machine was running.
  returned: success
  type: bool
  sample: true
quiesced:
  description: Whether the guest's file systems were at rest, since the machine was off or by its guest agent.
  returned: success
  type: bool
  sample: false
actions:
  description: What was done, or would be done in check mode, as sentences.
  returned: success
  type: list
  elements: str
  sample:
    - capture /var/lib/libvirt/images/machines/shop/web-1/root.qcow2 as base disk shop-web 7
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._disk.room import checked_percent, reserve_argument
from ..module_utils._disk.store import stores_of
from ..module_utils._disk.survey import tell
from ..module_utils._errors import InvalidOption
from ..module_utils._job import template_capture
from ..module_utils._job.capture import Capture, Request
from ..module_utils._job.machine_source import Wanted
from ..module_utils._job.template_capture import TemplateCapture
from ..module_utils._machine.owner import checked_owner
from ..module_utils._module import check_absolute, check_seconds, checked_pools, pool_path, pools_argument, run_module
from ..module_utils._names import check_name


def _request(params: t.Mapping[str, t.Any], check: bool) -> Request:
    check_absolute(params, "state_dir", "runtime_dir")
    check_seconds(params, "copy_timeout_s", "busy_timeout_s")
    pools = checked_pools(params["pools"])
    if params["pool"] is not None:
        pool_path(pools, params["pool"])
    return Request(
        owner=checked_owner(params["tenant"], params["service"], params["machine"], "machine"),
        disk=None if params["disk"] is None else check_name("disk", params["disk"]),
        name=check_name("name", params["name"]),
        version=check_name("version", params["version"]),
        pools=pools,
        uri=params["uri"],
        state_dir=params["state_dir"],
        runtime_dir=params["runtime_dir"],
        pool=params["pool"],
        flatten=params["flatten"],
        seal=params["seal"],
        copy_timeout_s=params["copy_timeout_s"],
        busy_timeout_s=params["busy_timeout_s"],
        check=check,
    )


def _template_request(params: t.Mapping[str, t.Any], check: bool) -> template_capture.Request:
    check_absolute(params, "state_dir", "runtime_dir")
    check_seconds(params, "copy_timeout_s", "busy_timeout_s")
    pools = checked_pools(params["pools"])
    if params["pool"] is not None:
        pool_path(pools, params["pool"])
    tenant = check_name("tenant", params["tenant"])
    if params["domain"] is None:
        owner = checked_owner(tenant, params["service"], params["machine"], "machine")
        wanted = Wanted(tenant, owner.service, owner.machine)
    else:
        wanted = Wanted(tenant, domain=params["domain"], granted=tuple(params["source_domains"]))
    return template_capture.Request(
        wanted,
        check_name("name", params["name"]),
        check_name("version", params["version"]),
        pools,
        params["uri"],
        params["state_dir"],
        params["runtime_dir"],
        pool=params["pool"],
        flatten=params["flatten"],
        seal=params["seal"],
        copy_timeout_s=params["copy_timeout_s"],
        busy_timeout_s=params["busy_timeout_s"],
        check=check,
    )


def _template(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    request = _template_request(params, module.check_mode)
    stores = stores_of(request.pools, module.run_command, checked_percent(params["reserve_percent"]))
    found = TemplateCapture(request, stores, module.run_command).perform()
    for warning in found.warnings:
        module.warn(warning)
    told = dict(zip(found.bases, tell(stores, list(found.bases.values()), request.wanted.tenant)))
    disk = params["disk"] or found.content["disks"][0]["name"]
    if disk not in [one["name"] for one in found.content["disks"]]:
        names = ", ".join(one["name"] for one in found.content["disks"])
        raise InvalidOption("disk", disk, f"it is not a disk of the template; those are: {names}")
    after = {"template": f"{request.name} {request.version}", **{name: base.sha256 for name, base in found.bases.items()}}
    return {
        "changed": found.changed,
        "base": told.get(disk),
        "bases": told,
        "template": found.content,
        "disk": next((one for one in found.disks if one["name"] == disk), None),
        "running": found.running,
        "quiesced": found.quiesced,
        "actions": found.actions,
        "diff": {"before": {} if found.changed else after, "after": after},
    }


def _work(module: AnsibleModule) -> dict[str, t.Any]:
    if module.params["template"]:
        return _template(module)
    request = _request(module.params, module.check_mode)
    stores = stores_of(request.pools, module.run_command, checked_percent(module.params["reserve_percent"]))
    found = Capture(request, stores, module.run_command).perform()
    for warning in found.warnings:
        module.warn(warning)
    base = tell(stores, [found.base], request.owner.tenant)[0] if found.base is not None else None
    after = {"base": f"{request.name} {request.version}", **({"sha256": found.base.sha256} if found.base is not None else {})}
    return {
        "changed": found.changed,
        "base": base,
        "disk": found.disk,
        "running": found.running,
        "quiesced": found.quiesced,
        "actions": found.actions,
        "bases": {},
        "template": None,
        "diff": {"before": {} if found.changed else after, "after": after},
    }


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            **reserve_argument(),
            "service": {"type": "str"},
            "tenant": {"type": "str", "default": "default"},
            "machine": {"type": "str"},
            "domain": {"type": "str"},
            "source_domains": {"type": "list", "elements": "str", "default": []},
            "template": {"type": "bool", "default": False},
            "disk": {"type": "str"},
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "flatten": {"type": "bool", "default": False},
            "seal": {"type": "bool", "default": False},
            "pool": {"type": "str"},
            "copy_timeout_s": {"type": "float", "default": 3600},
            "busy_timeout_s": {"type": "float", "default": 60},
            "uri": {"type": "str", "default": "qemu:///system"},
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
        required_one_of=[("machine", "domain")],
        mutually_exclusive=[("machine", "domain")],
        required_by={"machine": ("service",)},
        required_if=[("template", False, ("machine",))],
    )


if __name__ == "__main__":
    main()
