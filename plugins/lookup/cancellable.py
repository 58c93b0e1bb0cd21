# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: cancellable
short_description: Hosts of a play whose cancellation is noticed
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Returns the hosts that it is given. Used for C(hosts) of a play, it has the main process of C(ansible-playbook) note SIGTERM
    and SIGINT, for the module M(basecast.fleet.relay_guard). What Ansible itself does on these signals stays as it is.
  - Ansible evaluates C(hosts) in its main process, and nothing else that a collection could bring along; so it has to stand there.
options:
  _terms:
    description: Names of hosts.
    type: list
    elements: str
seealso:
  - module: basecast.fleet.relay_guard
"""

EXAMPLES = r"""
# Usually it stands in a play: hosts: "{{ query('basecast.fleet.cancellable', ['kvm1', 'kvm2']) }}"
- name: Show the hosts of a play that notices when it is cancelled
  ansible.builtin.debug:
    msg: "{{ query('basecast.fleet.cancellable', ['kvm1', 'kvm2']) }}"
"""

RETURN = r"""
_raw:
  description: The hosts.
  type: list
  elements: str
  sample: [kvm1, kvm2]
"""

import typing as t

from ansible.plugins.lookup import LookupBase

from ..plugin_utils import _cancellation


class LookupModule(LookupBase):
    def run(self, terms: t.Any, variables: t.Any = None, **options: t.Any) -> list[t.Any]:
        del variables, options
        _cancellation.arm()
        return [host for term in terms for host in (term if isinstance(term, (list, tuple)) else [term])]
