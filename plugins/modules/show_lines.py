#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: show_lines
short_description: Print lines as they are
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Prints lines of text without quotes and commas, so that tables keep their columns and can be copied.
  - It does so where the callback C(default) prints the play. With another one (C(json), C(minimal), that of AWX) it is as
    M(ansible.builtin.debug), and the callback decides.
  - Runs on the controller. No host is contacted.
extends_documentation_fragment:
  - basecast.fleet._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - Changes nothing.
  idempotent:
    support: full
options:
  lines:
    description: The lines. Characters that a terminal would obey are shown as spaces.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the relay plan
  basecast.fleet.show_lines:
    lines: "{{ plan | basecast.fleet.relay_plan_text }}"
  run_once: true
  vars:
    # written by basecast.fleet.plan, with basecast_plan_file=plan.json
    plan: "{{ (lookup('ansible.builtin.file', 'plan.json') | from_json).relay[0] }}"
"""

RETURN = r"""
msg:
  description: The lines.
  returned: success
  type: list
  elements: str
  sample: ["Service shop (tenant default): 1 machine, 1 to be made"]
"""
