# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: adopted_bases
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Which files a host has adopted as it was asked to
description:
  - Takes the results of a loop over files to adopt. A base that was not asked for does not count.
positional: host
options:
  _input:
    description: The results, each with the C(item) of the loop.
    type: list
    elements: dict
    required: true
  host:
    description: Name of the host, for messages.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Keep what was adopted
  ansible.builtin.set_fact:
    adopted: "{{ [] | basecast.fleet.adopted_bases(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: The C(bases), and C(notes), a sentence for each file that was not adopted.
  type: dict
  sample: {bases: [], notes: []}
"""

import typing as t

from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import RESULTS, TEXT
from ..plugin_utils._plan.service import host_answers


@door("adopted_bases", results=RESULTS, host=TEXT)
def adopted_bases(results: t.Sequence[t.Mapping[str, t.Any]], host: str) -> dict[str, t.Any]:
    return host_answers.adopted(results, host)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"adopted_bases": adopted_bases}
