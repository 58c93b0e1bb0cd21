# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  pools:
    description:
      - The host's pools, directories in which disks live, by name.
      - Usually the host variable C(basecast_pools).
    type: dict
    default:
      default: /var/lib/libvirt/images
"""

    RESERVE = r"""
options:
  reserve_percent:
    description:
      - This share of a pool's file system stays free for the disks of running machines. A write that would use it is refused.
      - What any module or relay writes at the same time counts as used as soon as it begins.
    type: float
    default: 5
    version_added: 0.1.0
"""
