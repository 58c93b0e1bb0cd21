# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: shown
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Text of others, fit for a terminal
description:
  - Takes text that a host, a guest or a server wrote, or a list or mapping of such texts, and returns it with control characters,
    bidirectional marks and invisible characters written out, such as C(\x1b). Line ends stay.
options:
  _input:
    description: The text, or a list or mapping of texts.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Tell why a host did not answer
  ansible.builtin.debug:
    msg: "{{ 'No route to host' | basecast.fleet.shown }}"
"""

RETURN = r"""
_value:
  description: The text, or the list or mapping, fit to be shown.
  type: raw
  sample: No route to host
"""

import typing as t

from ..module_utils._text import clean_data


def shown(value: t.Any) -> t.Any:
    return clean_data(value)


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"shown": shown}
