# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: host_answer
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: What a host answered, once it was checked
description:
  - Takes the result of a module of this collection and returns it. An answer that is too large, or has fields that are not what such
    an answer has, is an error that names the field.
  - A host's root may answer anything. So whatever a host answers goes through this filter, or another that checks it, before the
    controller uses it.
positional: kind, host
options:
  _input:
    description: The registered result.
    type: dict
    required: true
  kind:
    description: What was asked.
    type: str
    required: true
    choices: [captured, grown, imported, job, measured, mended, migration, moved, node, prune, pruned, removal, stopped, verified]
  host:
    description: Name of the host, for the message.
    type: str
    required: true
  tell:
    description: Whether to return C(msg), which says what is wrong with the answer, instead of an error.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Keep what was imported
  ansible.builtin.set_fact:
    imported: "{{ step | basecast.fleet.host_answer('imported', inventory_hostname) }}"
  vars:
    step: {changed: false, base: null} # as basecast.fleet.base_disk_import returns it
"""

RETURN = r"""
_value:
  description: The input.
  type: dict
  sample: {changed: false, base: null}
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import TEXT
from ..plugin_utils._plan.service import host_answers


@door("host_answer", kind=TEXT, host=TEXT)
def host_answer(answer: object, kind: str, host: str, tell: bool = False) -> dict[str, t.Any]:
    if kind not in host_answers.KINDS:
        raise AnsibleFilterError(f"kind: invalid value {kind!r}; expected one of {', '.join(host_answers.KINDS)}")
    try:
        return host_answers.checked_answer(answer, kind, host)
    except (FleetError, ValueError) as error:
        if tell:
            return {"msg": str(error)}
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"host_answer": host_answer}
