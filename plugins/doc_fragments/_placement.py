# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  bring:
    description:
      - Seconds that each layer of a base takes to each storage or host, by the layer's digest (or the base's name where the digest is
        not known), then by the storage's identity or the host's name. A pair that is missing cannot be brought.
      - Without it, seconds follow from the links that hosts have measured (C(measured) of what was seen of them), by the shortest way
        from a holder. Where nothing was measured they follow from the size at 1 Gbit/s, which orders hosts but promises nothing.
    type: dict
  memory_overcommit:
    description: How much of a host's memory may be promised, where the host's C(overcommit) does not say; V(1.0) is all of it and no more.
    type: float
  base_beside_disk:
    description:
      - Whether a base has to lie in the same pool as the disks over it. By default a base in any pool of a host serves all of its pools.
    type: bool
    default: false
"""
