# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: capture_text
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Show what was captured
description:
  - Shows the base disk that was made of a machine's disk, and how a manifest names it.
positional: request, host
options:
  _input:
    description: The result of M(basecast.fleet.machine_capture).
    type: dict
    required: true
  request:
    description: "C(machine), C(base) and C(version)."
    type: dict
    required: true
  host:
    description: The host of the machine.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Tell what would be captured
  ansible.builtin.debug:
    msg: "{{ captured | basecast.fleet.capture_text({'machine': 'web-1', 'base': 'shop-web', 'version': '7'}, 'kvm1') }}"
  vars:
    captured: {changed: true, base: null, disk: {name: root}, running: true, quiesced: false} # as machine_capture returns it in check mode
"""

RETURN = r"""
_value:
  description: Lines.
  type: list
  elements: str
  sample: [shop-web 7 would be captured from disk root of web-1 on kvm1.]
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING, TEXT
from ..plugin_utils._plan.service.machine_search import capture_text as text
from ..plugin_utils._plan.service.manifest import plain


@door("capture_text", captured=ANY_MAPPING, request=ANY_MAPPING, host=TEXT)
def capture_text(captured: object, request: object, host: str) -> list[str]:
    """The filter: see the documentation above."""
    try:
        return t.cast("list[str]", clean_data(text(plain(captured), plain(request), host)))
    except (KeyError, TypeError) as error:
        raise AnsibleFilterError(f"basecast.fleet.capture_text: not a result of machine_capture: {error}") from error


class FilterModule:
    """Filter plugin."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"capture_text": capture_text}
