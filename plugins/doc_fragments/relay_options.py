# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of a relay plan, and of a new one for what is left of it."""

    DOCUMENTATION = r"""
notes:
  - Numba, NumPy and SciPy on the controller make plans better in the same time; everything works without them.
  - Without Numba the search makes far fewer moves. Fleets of up to 16 hosts get plans that are as good or nearly so, but
    only up to about 12 are proven optimal; measured on 64 and 128 hosts, staged plans take 1 to 5 percent longer, and
    cut-through plans 5 to 15 percent.
  - Without SciPy cut-through plans for networks with racks or sites, and their lower bounds, are a little worse, and staged
    bounds cannot be certified.
  - The same input always gives the same plan. Of equally fast networks under other names or in another order the plans are
    the same but for the names.
options:
  mode:
    description:
      - V(staged), the default, lets a host serve once it holds the whole base.
      - V(cut_through) lets a host forward chunks while it still receives.
    type: str
    choices: [staged, cut_through]
  strategy:
    description:
      - V(best), the default, minimises the finish.
      - V(preferred_paths) follows the paths of least deployment time, without regard to how busy a sender is.
    type: str
    choices: [best, preferred_paths]
  contention:
    description:
      - V(port), the default, means that transfers of a host share its port, so that a sender that serves two halves its rate.
      - V(independent) means that transfers do not slow each other.
    type: str
    choices: [port, independent]
  streams:
    description:
      - How many receivers a host may serve at a time in a staged plan, where the limit of its port is known from O(limits)
        or the matrix. Default V(1).
      - Another one is served only while all of them together stay within that limit; beyond, they would only slow each other.
        It helps where links are much slower than the hosts' ports.
    type: int
  relay_risk:
    description:
      - How probable it is that a host dies while it relays. Default V(0.0001).
      - Of cut-through plans the one is chosen whose finish, and what dead relays are expected to add to it, is least; a higher
        risk makes flatter trees.
    type: float
  recovery_s:
    description: Seconds that those behind a dead relay lose until they go on with another parent. Default V(5).
    type: float
  limits:
    description:
      - "By host C(up_mbps) and C(down_mbps); or C(hosts) (the same), C(links) ([from, to, mbps] entries), C(sites) (by site
        C(up_mbps) and C(down_mbps), for all that leaves and enters it) and C(between) ([from site, to site, mbps] entries)."
      - They add to those of the matrix, and need O(size_bytes).
    type: dict
  sites:
    description:
      - The site of each host, by host name, for limits of sites, and so that a dead site does not take all choices of a host
        with it. By default those of the matrix, or its classes.
    type: dict
  size_bytes:
    description: Size of the base in bytes. By default the one that the matrix was made for.
    type: int
  chunk_bytes:
    description: Size of a chunk in bytes. Default V(262144).
    type: int
  effort:
    description:
      - How many times longer than usual to search, in moves and not by the clock. Default V(1).
    type: float
  certify:
    description:
      - Proves a better lower bound, which takes up to minutes for 64 hosts. It does not change the plan.
      - Staged plans need SciPy for it; without it the bound stays as it is and the plan says so. Default V(false).
    type: bool
  copies:
    description:
      - "How many local copies each host makes once it has the base, by host: a number, or a dictionary of numbers by pool
        that begins with the pool that receives the base."
    type: dict
"""
