# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The relay of one new base through the collection's own playbook, without machines: for tests and measurements."""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import typing as t
from pathlib import Path

from ._lab import Lab

CHECKOUT = Path(__file__).resolve().parents[2]
POOL = "/var/lib/libvirt/images"

KEPT = ("basecast_relay_result", "basecast_outcome", "basecast_watch", "basecast_relay_plans", "basecast_measured", "basecast_began")
FACTS = "\n".join(
    f"          {key}: \"{{{{ all_facts | selectattr('{key}', 'defined') | items2dict('inventory_hostname', '{key}') }}}}\"" for key in KEPT
)

PLAYBOOK = f"""
- name: Settings
  hosts: lab
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {{name: basecast.fleet.settings}}

- ansible.builtin.import_playbook: {CHECKOUT}/playbooks/parts/relay.yml

- name: What became of it
  hosts: lab
  gather_facts: false
  ignore_unreachable: true
  tasks:
    - ansible.builtin.copy:
        dest: "{{{{ result_file }}}}"
        content: "{{{{ facts | to_json }}}}"
        mode: "0600"
      run_once: true
      delegate_to: localhost
      vars:
        ansible_connection: local
        all_facts: "{{{{ ansible_play_hosts_all | map('extract', hostvars) }}}}"
        facts:
{FACTS}
"""

_numbers = itertools.count(1)


class RelayRun:
    """A base of random bytes on one host, and its relay to all others.

    :param source: the host that holds it.
    """

    def __init__(self, lab: Lab, size_bytes: int, source: str = "kvm1") -> None:
        self.lab = lab
        self.size_bytes = size_bytes
        self.source = source
        self.output = lab.state / "relay.out"
        self.result_file = lab.state / "result.json"
        self.process: subprocess.Popen[str] | None = None
        number = next(_numbers)
        pool = lab.hosts[source].path(f"{POOL}/bases")
        before = {folder.name for folder in pool.glob("[0-9a-f]*")}
        lab.hosts[source].run(f"head -c {size_bytes} /dev/urandom > /root/image-{number}.raw")
        done = lab.exec_in_controller(
            [
                "ansible",
                source,
                "-m",
                "basecast.fleet.base_disk_import",
                "-a",
                f"src=/root/image-{number}.raw source_dirs=/root name=x{number} version=1",
            ]
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        lab.hosts[source].run(f"rm /root/image-{number}.raw")
        (self.sha256,) = {folder.name for folder in pool.glob("[0-9a-f]*")} - before
        self.metadata: dict[str, t.Any] = json.loads((pool / self.sha256 / "base.json").read_text())

    def beside(self) -> RelayRun:
        """Another controller's run of the same base to the same hosts."""
        other = copy.copy(self)
        other.output = self.lab.state / "relay-beside.out"
        other.result_file = self.lab.state / "result-beside.json"
        other.process = None
        return other

    def begin(self, *options: str, **variables: t.Any) -> None:
        """:param variables: of the playbook."""
        (self.lab.state / "relay.yml").write_text(PLAYBOOK)
        self.result_file.unlink(missing_ok=True)
        hosts = list(self.lab.hosts)
        relay = {
            "base": "x 1",
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "metadata": self.metadata,
            "sources": {self.source: "default"},
            "targets": {host: "default" for host in hosts if host != self.source},
        }
        given = {
            "basecast_plan": {"relays": [relay], "relay_hosts": hosts},
            "result_file": str(self.result_file),
            **variables,
        }
        with self.output.open("w") as file:
            self.process = self.lab.popen_playbook([str(self.lab.state / "relay.yml"), "-e", json.dumps(given), *options], stdout=file)

    @property
    def said(self) -> str:
        return self.output.read_text()

    def end(self, timeout: float = 120) -> dict[str, dict[str, t.Any]]:
        """Facts by host. :raises RuntimeError: with what the playbook said."""
        if self.process is None:
            raise RuntimeError("The run has not begun.")
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(self.said[-6000:]) from error
        if not self.result_file.exists():
            raise RuntimeError(self.said[-6000:])
        told = json.loads(self.result_file.read_text())
        return {host: {key: told[key][host] for key in KEPT if host in told[key]} for host in self.lab.hosts}

    def share(self, host: str) -> float:
        """How much of the base a host has."""
        folder = self.lab.hosts[host].path(f"{POOL}/bases")
        if (folder / self.sha256).exists():
            return 1.0
        marks = folder / ".partial" / self.sha256 / "map"
        data = marks.read_bytes() if marks.exists() else b""
        return data[16:].count(1) * int(self.metadata["chunk_bytes"]) / self.size_bytes if len(data) > 16 else 0.0

    def arrived(self) -> dict[str, float]:
        """Seconds since the epoch at which each target had the whole base, in that order."""
        times = {}
        for name, host in self.lab.hosts.items():
            record = host.path(f"{POOL}/bases/{self.sha256}")
            if name != self.source and record.exists():
                times[name] = record.stat().st_ctime
        return dict(sorted(times.items(), key=lambda item: item[1]))
