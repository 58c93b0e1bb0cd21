# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: machines
short_description: Deployed machines as hosts
author: "basecast.fleet contributors (@basecast)"
version_added: 0.1.0
description:
  - Makes the machines of a fleet hosts of the inventory, so that the next play configures what was deployed.
  - The machines come from a file that the playbook C(basecast.fleet.status) wrote (O(status_file)), or from that playbook, which the
    plugin runs itself on the KVM hosts of O(inventory). It reaches them as every playbook does, with the connection, users and keys
    of that inventory.
  - Hosts are named as the domains, service and machine, for example C(shop-web-1). Where two tenants have the same names, the
    tenant stands in front.
  - "Groups are C(basecast_machines) (all of them), C(service_NAME), C(role_SERVICE_ROLE), C(machines_on_HOST) and C(tenant_NAME). Names
    with characters that a group must not have are changed as Ansible changes them."
  - "Variables are C(ansible_host) (the address), C(machine_name), C(machine_service), C(machine_tenant), C(machine_role),
    C(machine_number), C(machine_host) and C(machine_host_address) (the KVM host and its address), C(machine_state),
    C(machine_address), C(machine_addresses), C(machine_macs), C(machine_bases), C(machine_cpus) and C(machine_memory_mib). A machine of
    which no address is known has no C(ansible_host)."
  - The file's name must end in V(machines.yml), V(machines.yaml), V(basecast.yml) or V(basecast.yaml).
  - Hosts in C(basecast_machines) are no hosts of the fleet, whatever C(basecast_fleet) says, unless it names that group.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Must be V(basecast.fleet.machines).
    type: str
    required: true
    choices: [basecast.fleet.machines]
  status_file:
    description:
      - A JSON file that the playbook C(basecast.fleet.status) wrote. A relative path is relative to the inventory file.
      - Exactly one of O(status_file) and O(inventory) is given.
    type: str
  inventory:
    description:
      - Inventories of the KVM hosts, as C(ansible-playbook -i) takes them. Relative paths are relative to the inventory file.
    type: list
    elements: str
  tenant:
    description: The tenant whose machines are wanted, with O(inventory). By default V(default).
    type: str
  services:
    description: Only machines of these services.
    type: list
    elements: str
    default: []
  states:
    description: Only machines in these states, as libvirt says them. Empty for machines in any state.
    type: list
    elements: str
    default: [running]
  address_sources:
    description:
      - Where addresses come from, the best first. V(agent) is the guest agent, V(lease) libvirt's DHCP server, V(arp) the host's
        neighbour table, V(report) what the guest wrote when it started. What is left out is not used.
    type: list
    elements: str
    choices: [agent, lease, arp, report]
    default: [agent, lease, arp, report]
  address_networks:
    description: Only addresses in these networks, for example V(10.0.0.0/8). Any address when omitted.
    type: list
    elements: str
    default: []
  extra_vars:
    description: Variables for the playbook that is run, as C(-e) gives them.
    type: dict
    default: {}
  unknown_hosts:
    description:
      - What to do if KVM hosts could not be asked. Their machines are not in the inventory. V(warn) names them in a warning, V(fail)
        gives no inventory at all.
    type: str
    choices: [warn, fail]
    default: warn
  timeout_s:
    description: How long the playbook may take, in seconds.
    type: int
    default: 600
"""

EXAMPLES = r"""
# machines.yml beside the inventory of the KVM hosts: ansible-inventory -i machines.yml --graph
plugin: basecast.fleet.machines
inventory: [hosts.yml]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: .cache
cache_timeout: 300

---
# From a file, with machines on libvirt's own networks reached through their hosts
plugin: basecast.fleet.machines
status_file: status.json
compose:
  ansible_user: "'admin'"
  ansible_ssh_common_args: "'-o ProxyJump=root@' ~ machine_host_address"
keyed_groups:
  - {key: machine_bases, prefix: base}
groups:
  small: machine_memory_mib < 1024
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.collection_loader import AnsibleCollectionConfig
from ansible.utils.display import Display

from ..module_utils._errors import FleetError, InvalidOption
from ..module_utils._text import clean
from ..plugin_utils._plan.json_data import plain
from ..plugin_utils._plan.service.machine_hosts import Choice, machine_hosts

display = Display()

PLAYBOOK = pathlib.Path(__file__).resolve().parents[2] / "playbooks" / "status.yml"
_ENDINGS = ("machines.yml", "machines.yaml", "basecast.yml", "basecast.yaml")
_LAST_LINES = 15


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Inventory plugin."""

    NAME = "basecast.fleet.machines"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(_ENDINGS)

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            status = self._status(pathlib.Path(path).resolve().parent, path, cache)
            self._refuse_unknown(status)
            for host in machine_hosts(status, self._choice()):
                self._add(host)
        except FleetError as error:
            raise AnsibleParserError(f"{path}: {error}") from error

    def _choice(self) -> Choice:
        return Choice(
            **{
                name: plain(self.get_option(option))
                for name, option in (
                    ("sources", "address_sources"),
                    ("networks", "address_networks"),
                    ("states", "states"),
                    ("services", "services"),
                )
            }
        )

    # -- where it comes from

    def _status(self, folder: pathlib.Path, path: str, cache: bool) -> dict[str, t.Any]:
        file, sources = plain(self.get_option("status_file")), plain(self.get_option("inventory"))
        if bool(file) == bool(sources):
            raise InvalidOption("status_file", file, "exactly one of status_file and inventory is expected")
        if file:
            return _read(folder / os.path.expanduser(file))
        use_cache = self.get_option("cache")
        key = self.get_cache_key(path)
        if use_cache and cache:
            try:
                return t.cast("dict[str, t.Any]", self._cache[key])
            except KeyError:
                pass  # not there yet, or too old
        status = self._run(folder, sources)
        if use_cache and not status.get("unknown"):  # what could not be known may be known the next time
            self._cache[key] = status
        return status

    def _run(self, folder: pathlib.Path, sources: t.Sequence[str]) -> dict[str, t.Any]:
        """Ansible itself asks the hosts, in a process of its own: an inventory cannot run plays in the middle of being read."""
        with tempfile.TemporaryDirectory(prefix="basecast-") as scratch:
            written, given = pathlib.Path(scratch, "status.json"), pathlib.Path(scratch, "extra.json")
            extra = {**plain(self.get_option("extra_vars")), "basecast_status_file": str(written)}
            if self.get_option("tenant"):
                extra["tenant"] = plain(self.get_option("tenant"))
            given.write_text(json.dumps(extra), encoding="utf-8")
            command = [sys.executable, "-m", "ansible", "playbook", str(PLAYBOOK), "-e", f"@{given}"]
            for source in sources:
                command += ["-i", source if "," in source else str(folder / os.path.expanduser(source))]
            done = self._call(command)
            if not written.is_file():
                raise FleetError(f"The playbook status has failed (exit code {done.returncode}): {_ending(done)}")
            return _read(written)

    def _call(self, command: t.Sequence[str]) -> subprocess.CompletedProcess[str]:
        own = [str(place.parent) for place in PLAYBOOK.parents if place.name == "ansible_collections"][:1]
        paths = [*own, *AnsibleCollectionConfig.collection_paths]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(dict.fromkeys(paths)),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_NOCOLOR": "1",
        }
        timeout_s = self.get_option("timeout_s")
        try:
            return subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise FleetError(
                f"timeout_s: the playbook status has not ended within {timeout_s} s; raise it, or look at the hosts"
            ) from error

    # -- what is made of it

    def _refuse_unknown(self, status: t.Mapping[str, t.Any]) -> None:
        unknown = status.get("unknown")
        told = [f"{host} ({why})" for host, why in unknown.items()] if isinstance(unknown, t.Mapping) else []
        if told and self.get_option("unknown_hosts") == "fail":
            raise FleetError(f"Machines of these hosts cannot be known: {clean(', '.join(told))}")
        if told:
            display.warning(f"Machines of these hosts are not in the inventory, since they cannot be known: {clean(', '.join(told))}")

    def _add(self, host: t.Mapping[str, t.Any]) -> None:
        name, variables, strict = host["name"], host["variables"], self.get_option("strict")
        self.inventory.add_host(name)
        for group in host["groups"]:
            self.inventory.add_host(name, group=self.inventory.add_group(self._sanitize_group_name(group)))
        for key, value in variables.items():
            self.inventory.set_variable(name, key, value)
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)


def _read(path: pathlib.Path) -> dict[str, t.Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FleetError(f"status_file: {path} cannot be read: {error.strerror}; basecast.fleet.status writes it") from error
    except (ValueError, RecursionError) as error:
        raise FleetError(f"status_file: {path} is no JSON: {error}; basecast.fleet.status writes it") from error
    if not isinstance(found, dict):
        raise FleetError(f"status_file: {path} is not the status of a fleet; basecast.fleet.status writes it")
    return found


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return clean(" | ".join(lines[-_LAST_LINES:]))
