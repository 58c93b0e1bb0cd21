#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: seed_image
short_description: Make the media by which machines are customized
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Makes one NoCloud medium per machine, an ISO 9660 image with the volume name V(cidata), in the machine's directory.
  - For Ignition it is a file that the guest reads by QEMU's fw_cfg device, for cloudbase-init an image with the volume name
    V(config-2), see O(seeds[].customize).
  - The instance identifier is derived from tenant, service and machine. An edited seed therefore takes effect when the
    machine is made anew, and does not run cloud-init's first boot again when an existing machine reboots.
  - The seed also carries a small script, as vendor-data, by which the guest reports to its second serial port that it
    has come up. The user's own data is not touched. M(basecast.fleet.machine) waits for this report.
  - A guest whose user-data disables vendor-data, or whose C(cloud_final_modules) lack C(scripts_vendor), stays silent;
    set O(report=false) for such.
requirements:
  - xorriso, genisoimage or mkisofs on the host (package C(xorriso) or C(genisoimage)).
extends_documentation_fragment:
  - basecast.fleet._attributes
  - basecast.fleet._pools
  - basecast.fleet._service
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows digests and names of keys, never contents.
  idempotent:
    support: full
options:
  report:
    description: Whether guests are asked to report that they have come up.
    type: bool
    default: true
  seeds:
    description:
      - The seeds to make.
      - Contents are neither logged nor returned.
    type: list
    elements: dict
    required: true
    suboptions:
      machine:
        description: Name of the machine, which becomes its host name.
        type: str
        required: true
      pool:
        description: Name of the pool in which the machine's directory lies.
        type: str
        default: default
      meta_data:
        description: Further keys of the meta-data. The key C(instance-id) cannot be chosen.
        type: dict
        default: {}
      user_data:
        description:
          - A mapping becomes C(#cloud-config). A text is taken as it is.
          - What cloud-init would not understand is refused - a first line that it does not know, a byte order mark, a line that
            begins with a tab, common keys of the wrong type; and YAML that does not parse, where the host has PyYAML.
          - Passwords that are not hashed are refused; C(openssl passwd -6) makes the hash.
        type: raw
      vendor_data:
        description:
          - As O(seeds[].user_data). It is delivered together with the script that reports.
        type: raw
      network_config:
        description: Network configuration, version 2.
        type: dict
      customize:
        description:
          - V(cloud_init) makes a NoCloud image of O(seeds[].meta_data), O(seeds[].user_data), O(seeds[].vendor_data) and
            O(seeds[].network_config).
          - V(ignition) makes a file of O(seeds[].config), V(cloudbase) a configuration drive as OpenStack has it, of
            O(seeds[].meta_data), O(seeds[].user_data) and O(seeds[].network_data). Their guests are not asked for a report.
          - What the chosen one does not take is refused.
        type: str
        choices: [cloud_init, ignition, cloudbase]
        default: cloud_init
      config:
        description:
          - The configuration for Ignition, a mapping or a text of JSON.
          - Refused are Butane, a missing or unknown version, and passwords that are not hashed.
        type: raw
      network_data:
        description: Links, networks and services for cloudbase-init, as C(network_data.json) of OpenStack has them.
        type: dict
seealso:
  - module: basecast.fleet.machine
"""

EXAMPLES = r"""
- name: Make the seeds of two machines
  basecast.fleet.seed_image:
    pools: "{{ basecast_pools }}"
    service: shop
    seeds:
      - machine: web-1
        user_data:
          users:
            - name: admin
              ssh_authorized_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI… admin"]
        network_config:
          version: 2
          ethernets: {eth0: {addresses: [192.0.2.17/24]}}
      - machine: web-2
        user_data: |
          #!/bin/sh
          echo hello >/etc/motd
  no_log: true # user data often holds secrets
  register: made

- name: Show where they are
  ansible.builtin.debug:
    msg: "{{ made.seeds | map(attribute='path') }}"
"""

RETURN = r"""
seeds:
  description: The seeds, in the order of the request.
  returned: success
  type: list
  elements: dict
  sample:
    - machine: web-1
      path: /var/lib/libvirt/images/machines/shop/web-1/seed.iso
      instance_id: 0d6f8a1c-6b0e-5a53-8f6b-1f3f6f5f0b07
      digest: 5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
      action: created
  contains:
    machine:
      description: Name of the machine.
      type: str
    path:
      description: The image, or the file for Ignition.
      type: str
    instance_id:
      description: The identifier by which cloud-init recognises the machine.
      type: str
    digest:
      description: SHA-256 of the seed's content; it changes when the content does.
      type: str
    action:
      description: V(created), V(updated) or V(none).
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._machine.secret_options import take_secret
from ..module_utils._machine.seed_images import SeedImages
from ..module_utils._machine.seed_options import checked_seeds, seed_arguments
from ..module_utils._module import checked_pools, pools_argument, run_module


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    wishes = checked_seeds(
        take_secret(module, "seeds"), params["tenant"], params["service"], checked_pools(params["pools"]), params["report"]
    )
    images = SeedImages(module.run_command, check=module.check_mode)
    seeds: list[dict[str, t.Any]] = []
    before: dict[str, t.Any] = {}
    after: dict[str, t.Any] = {}
    for wish in wishes:
        seed, shown_before, shown_after = images.ensure(wish)
        seeds.append(seed)
        if seed["action"] != "none":
            before[wish.owner.machine] = shown_before
            after[wish.owner.machine] = shown_after
    return {
        "changed": any(seed["action"] != "none" for seed in seeds),
        "seeds": seeds,
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    run_module(
        _work,
        argument_spec={
            **pools_argument(),
            "tenant": {"type": "str", "default": "default"},
            "service": {"type": "str", "required": True},
            "report": {"type": "bool", "default": True},
            "seeds": {"type": "list", "elements": "dict", "required": True, "no_log": True, "options": seed_arguments()},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
