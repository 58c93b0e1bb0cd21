# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: source_files
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: What hosts tell of the sources of bases, by base
description:
  - Takes the results of a loop over bases, in which for each base one host was asked for its source.
  - What a host tells of a base for which another host was asked is left out. An answer that cannot be understood becomes the problem of
    its base alone.
options:
  _input:
    description: The results, each with the C(item) of the loop.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Keep what was seen
  ansible.builtin.set_fact:
    files: "{{ [] | basecast.fleet.source_files }}"
"""

RETURN = r"""
_value:
  description: By name of the base what is told of its source.
  type: dict
  sample: {debian-13: {isreg: true, size: 412090368}}
"""

import typing as t

from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import RESULTS
from ..plugin_utils._plan.service import host_answers


@door("source_files", results=RESULTS)
def source_files(results: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    return host_answers.files_of_hosts(results)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"source_files": source_files}
