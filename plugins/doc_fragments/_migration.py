# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  run:
    description: Name of the run. What it begins is only continued by itself; another run undoes it, or ends it.
    type: str
    required: true
  credentials:
    description:
      - The host's certificate and key for this run, and the authority, C(ca), C(certificate) and C(key), as
        M(basecast.fleet.relay_certificates) returns them.
      - Required to open the door and to send machines.
    type: dict
  busy_timeout_s:
    description: How long to wait for another process that changes machines of the same service, in seconds.
    type: float
    default: 60
  uri:
    description: The connection to libvirt.
    type: str
    default: qemu:///system
  state_dir:
    description: Directory of the services' records, and of what tells of migrations.
    type: str
    default: /var/lib/basecast
  runtime_dir:
    description: Directory of the files that tell of jobs, and of the process that lets machines in.
    type: str
    default: /run/basecast
"""
