# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fleet
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
short_description: The hosts of the fleet, for the C(hosts) of a play
description:
  - The pattern C(basecast_fleet), or its default. With the term V(hosts) a list of the hosts that it names, whatever C(--limit)
    says.
  - Machines that P(basecast.fleet.machines#inventory) has made hosts are left out, unless the pattern names their group
    C(basecast_machines).
  - Ends the run where a play could not do what it is for and would end with exit code 0. There is no host, C(--start-at-task)
    skips the first tasks, or C(--skip-tags) with V(always) or V(tagged) skips the last ones.
  - Refuses a slice of a job of AWX. Each slice sees a part of the fleet and takes it for the whole.
options:
  _terms:
    description: V(hosts), or nothing.
    type: list
    elements: str
    choices: [hosts]
    default: []
"""

EXAMPLES = r"""
# Usually it stands in a play: hosts: "{{ lookup('basecast.fleet.fleet') }}"
- name: Show the hosts that a deployment looks at
  ansible.builtin.debug:
    msg: "{{ lookup('basecast.fleet.fleet') }}"
"""

RETURN = r"""
_raw:
  description: The pattern, or the hosts.
  type: list
  elements: str
  sample: [kvm1, kvm2]
"""

import pkgutil
import typing as t

from ansible import context
from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.loader import filter_loader
from ansible.plugins.lookup import LookupBase

from .. import filter as filters
from ..plugin_utils import _settings
from ..plugin_utils._plan.service.machine_hosts import GROUP

LISTINGS = ("listhosts", "listtasks", "listtags", "syntax")
NAME = "basecast_fleet"


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        given = variables or {}
        groups = given.get("groups") or {}
        pattern = self._without_machines(self._pattern(given, groups), groups)
        manager = InventoryManager(self._loader, parse=False)
        for group, hosts in groups.items():
            manager.add_group(group)
            for host in hosts:
                manager.add_host(host, group=group)
        if list(terms) == ["hosts"]:
            return self._hosts(manager, pattern)
        if terms:
            raise AnsibleLookupError(f"fleet: invalid value {terms!r}; expected hosts, or nothing")
        arguments = context.CLIARGS
        if any(arguments.get(name) for name in LISTINGS):
            return [pattern]
        self._refuse(arguments, given)
        limit = given.get("ansible_limit")
        if limit:
            manager.subset(limit)
        if not pattern.strip() or not self._hosts(manager, pattern):
            of_limit = f" within --limit {limit}" if limit else ""
            raise AnsibleLookupError(f"{NAME}: {pattern!r} names no host of the inventory{of_limit}; expected at least one")
        self._load_once()
        return [pattern]

    def _load_once(self) -> None:
        """A play's hosts are templated in the process from which all its tasks fork: what is loaded here, no task loads again.

        To find one filter, Ansible loads all of the collection that come before it by name. It keeps the files that it has read.
        """
        last = max(module.name for module in pkgutil.iter_modules(filters.__path__))
        filter_loader.get(f"basecast.fleet.{last}")
        _settings.known_names()
        _settings.options_of("settings", _settings.reader(self._loader))

    def _pattern(self, given: dict[str, t.Any], groups: dict[str, t.Any]) -> str:
        """A play knows variables of the command line and of an import; those of the inventory belong to its hosts."""
        value = given.get(NAME)
        if value is None:
            hostvars = given.get("hostvars") or {}
            machines = set(groups.get(GROUP) or ())
            first = next((host for host in groups.get("all") or [] if host not in machines), None)
            value = hostvars[first].get(NAME) if first is not None and first in hostvars else None
        if value is None:
            return str(_settings.options_of("settings")[NAME]["default"])
        value = self._templar.template(value)
        return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    @staticmethod
    def _without_machines(pattern: str, groups: t.Mapping[str, t.Any]) -> str:
        """What runs on the fleet is none of its hosts, where an inventory has both."""
        if not groups.get(GROUP) or GROUP in pattern or not pattern.strip():
            return pattern
        return f"{pattern}{',' if ',' in pattern else ':'}!{GROUP}"

    @staticmethod
    def _hosts(manager: InventoryManager, pattern: str) -> list[str]:
        try:
            return [str(host.name) for host in manager.get_hosts(pattern=pattern)]
        except AnsibleError:
            return []

    @staticmethod
    def _refuse(arguments: t.Mapping[str, t.Any], given: dict[str, t.Any]) -> None:
        if arguments.get("start_at_task"):
            raise AnsibleLookupError(
                "--start-at-task: this playbook cannot begin in the middle; run it as a whole, it skips what is there already"
            )
        for tag in ("always", "tagged"):  # Ansible skips tasks with the tag always by either
            if tag in (arguments.get("skip_tags") or ()):
                raise AnsibleLookupError(f"--skip-tags {tag}: the check whether everything was done would be skipped; leave that tag out")
        count = next((given[name] for name in ("awx_job_slice_count", "tower_job_slice_count") if given.get(name)), 1)
        workflow, template = given.get("awx_workflow_job_name"), given.get("awx_job_template_name")
        if str(count) != "1" or (template and workflow == template):
            # AWX runs the slices of a job template as a workflow with the template's name.
            raise AnsibleLookupError(
                "This job is one slice of an AWX job template. Each slice would take its part of the inventory for the whole fleet and "
                "make the same machines again. Set the template's job slicing to 1 (a workflow needs another name than its template)"
            )
