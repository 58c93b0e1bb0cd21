# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: report_page
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Make a page of the report of a run
description:
  - One HTML file that a browser shows without a server and without a network. It has the result, every failure with what to try
    next, the fleet, the relay, the timeline, the links, the placement, bytes, digests and settings.
options:
  _input:
    description: A report as P(basecast.fleet.deploy_report#filter) makes it with O(basecast.fleet.deploy_report#filter:run).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Make the page again, of the data that basecast.fleet.deploy wrote with basecast_report_file=run.json
  ansible.builtin.copy:
    content: "{{ lookup('ansible.builtin.file', 'run.json') | from_json | basecast.fleet.report_page }}"
    dest: "{{ playbook_dir }}/run.html"
    mode: "0600"
  delegate_to: localhost
  vars: {ansible_connection: local}
  run_once: true
"""

RETURN = r"""
_value:
  description: The page.
  type: str
  sample: "<!DOCTYPE html>…"
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..module_utils._text import clean_data
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import ANY_MAPPING
from ..plugin_utils._plan.service.manifest import plain
from ..plugin_utils._report.page import page


@door("report_page", report=ANY_MAPPING)
def report_page(report: object) -> str:
    try:
        return page(clean_data(plain(report)))
    except (FleetError, KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(
            f"basecast.fleet.report_page: invalid report: {error}; expected what the filter deploy_report returns with run"
        ) from None


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"report_page": report_page}
