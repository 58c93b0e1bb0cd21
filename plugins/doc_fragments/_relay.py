# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that talk to a relay node."""

    DOCUMENTATION = r"""
options:
  run:
    description: Name of the run. All hosts of a run have the same.
    type: str
    required: true
  runtime_dir:
    description: Directory for the control socket and the log of the node. Both are removed when it ends.
    type: str
    default: /run/basecast
"""

    LIMITS = r"""
options:
  rate_mbps:
    description:
      - The most that the node sends, and the most that it receives, in 10^6 bits per second. V(0) is no limit.
      - A new node has no limit without it. Without it the limit of a running node stays as it is. The same holds for O(links)
        and O(streams).
    type: float
  links:
    description:
      - "The same for single peers, in both directions, as C({host: mbps}). They count besides O(rate_mbps)."
      - The whole option is replaced when it is given again. V({}) lifts all of them.
    type: dict
  streams:
    description:
      - To how many other nodes this one sends chunks at the same time. The others wait until one asks for nothing more
        at the moment, or moves nothing for a second. V(0) is no limit.
    type: int
"""

    BASES = r"""
options:
  bases:
    description: The bases that this host fetches or serves.
    type: list
    elements: dict
    default: []
    suboptions:
      metadata:
        description: The base's metadata as its holder has it.
        type: dict
        required: true
      pool:
        description: The pool, by its name in O(pools), where it is or is to be.
        type: str
        required: true
      parents:
        description:
          - Inventory names of the hosts to fetch from, best first. The first one that lives is used.
          - Or a list of such lists, one for each stripe. The chunks of the base are dealt out to the stripes by
            O(bases[].weights), and each stripe comes from its own parent.
          - Empty for a host that holds the base.
          - When none of them can serve it, every other host of the run is asked.
        type: list
        elements: raw
        default: []
      weights:
        description:
          - The share of each stripe, in any unit. All alike by default.
          - All hosts of a run have the same, or parents do not have in time what their children ask for.
        type: list
        elements: float
        default: []
      expected_mbps:
        description:
          - The rate at which the plan counts on this host getting the base, in 10^6 bits per second, if it was made
            from measured links. A parent that delivers less than a third of its share is compared with the next choice.
          - Without it a parent is compared with the parents of other stripes, with itself, and, when the rest would
            take more than 20 seconds, now and then with the next choice.
        type: float
      children:
        description:
          - Inventory names of the hosts that are to be served one after the other, in this order, where the plan counts
            on that. A host that is not in the list comes last.
          - Without it all are served at once.
        type: list
        elements: str
        default: []
"""
