# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts_file
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: Deployed machines as lines of a hosts file
description:
  - Returns the text of a file such as C(/etc/hosts) with a marked block for each service of a status. All other lines stay as they are.
  - Machines have the name of their domain, and their own name with the service and C(internal) behind it. Those that do not run, or
    whose address is not known, have no line. While a host cannot be asked, lines that were there before stay.
positional: text
options:
  _input:
    description: A status as P(basecast.fleet.fleet_status#filter) returns it, or its C(json).
    type: raw
    required: true
  text:
    description: What the file holds now.
    type: str
    default: ""
  tenant:
    description: The tenant whose services the status tells of. Those of all tenants if it is omitted.
    type: str
  service:
    description: The only service that the status tells of.
    type: str
"""

EXAMPLES = r"""
- name: Show the lines of the machines
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'status.json') | basecast.fleet.hosts_file('127.0.0.1 localhost') }}"
  # written by basecast.fleet.status, with basecast_status_file=status.json
"""

RETURN = r"""
_value:
  description: The new text of the file.
  type: str
  sample: |
    127.0.0.1 localhost

    # BEGIN basecast.fleet default/shop
    192.168.122.17 shop-web-1 web-1.shop.internal
    # END basecast.fleet default/shop
"""

import json
import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._errors import FleetError
from ..plugin_utils._door import door
from ..plugin_utils._plan.schemas import TEXT, or_null
from ..plugin_utils._plan.service.hosts_file import hosts_file as new_text
from ..plugin_utils._plan.service.manifest import plain


@door("hosts_file", text=TEXT, tenant=or_null(TEXT), service=or_null(TEXT))
def hosts_file(status: object, text: str = "", tenant: str | None = None, service: str | None = None) -> str:
    try:
        return new_text(json.loads(status) if isinstance(status, str) else plain(status), text, tenant, service)
    except (FleetError, ValueError, RecursionError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"hosts_file": hosts_file}
