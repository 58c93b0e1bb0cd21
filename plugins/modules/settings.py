#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: settings
short_description: The variables of a host, checked and with their defaults
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Reads every variable that the argument spec of the role C(basecast.fleet.settings) describes, wherever it was set, converts
    it to its type and adds the defaults. C(ansible-doc -t role basecast.fleet.settings) lists them.
  - A variable of the host that begins with C(basecast_) and that no role of this collection knows is an error.
  - Runs on the controller. No host is contacted.
extends_documentation_fragment:
  - basecast.fleet._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - Changes nothing.
  idempotent:
    support: full
options: {}
"""

EXAMPLES = r"""
- name: Read the settings of the host
  basecast.fleet.settings:
  register: basecast_settings

- name: Ask the host for its base disks
  basecast.fleet.base_disk_info:
    pools: "{{ basecast_settings.pools }}"
"""

RETURN = r"""
pools:
  description:
    - Each variable is a value of the result, by its name without C(basecast_). One that is not set and has no default is
      V(null).
  returned: success
  type: dict
  sample:
    default: /var/lib/libvirt/images
extra_names:
  description: The names of the variables that were given on the command line (C(-e)), or by a survey of AWX.
  returned: success
  type: list
  elements: str
  sample: [manifest, role]
"""
