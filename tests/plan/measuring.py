# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a fleet takes to be measured, beyond two empty tasks on it: ``python -m tests.plan.measuring [HOSTS]``.

Both in one run of Ansible in a lab. Also says how far the measured rates are from those of the shapers.
"""

from __future__ import annotations

import json
import sys

from ansible_collections.basecast.fleet.tests.lab import Lab

RATE_MBPS = 100
# Of a packet of 1514 bytes so many are payload.
PAYLOAD = 1448 / 1514

PLAYBOOK = """
- name: Nodes that listen
  hosts: lab
  gather_facts: false
  tasks:
    - ansible.builtin.import_role: {name: basecast.fleet.settings}
    - ansible.builtin.import_role: {name: basecast.fleet.relay, tasks_from: prepare}
      vars: {__relay_hosts: "{{ ansible_play_hosts_all }}"}
    - ansible.builtin.import_role: {name: basecast.fleet.relay, tasks_from: listen}

- name: Measure
  hosts: lab
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {t0: "{{ now().timestamp() }}"}
      run_once: true
    - ansible.builtin.ping:
    - ansible.builtin.ping:
    - ansible.builtin.set_fact: {t1: "{{ now().timestamp() }}"}
      run_once: true
    - ansible.builtin.import_role: {name: basecast.fleet.relay, tasks_from: measure}
    - ansible.builtin.set_fact: {t2: "{{ now().timestamp() }}"}
      run_once: true
    - ansible.builtin.import_role: {name: basecast.fleet.relay, tasks_from: stop}
    - ansible.builtin.copy:
        content: "{{ {'empty_s': t1 | float - t0 | float, 'measure_s': t2 | float - t1 | float, 'links': links} | to_json }}"
        dest: "{{ result_file }}"
        mode: "0600"
      run_once: true
      delegate_to: localhost
      vars:
        ansible_connection: local
        links: "{{ ansible_play_hosts_all | map('extract', hostvars, ['basecast_measured', 'links']) | flatten }}"
"""


def main() -> int:
    hosts = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    with Lab(hosts=hosts, rate_mbps=RATE_MBPS) as lab:
        (lab.state / "measure.yml").write_text(PLAYBOOK)
        result = lab.state / "result.json"
        done = lab.playbook([str(lab.state / "measure.yml"), "-e", f"result_file={result}"], timeout=280)
        if not result.exists():
            print(done.stdout[-4000:], done.stderr[-1000:])
            return 1
        told = json.loads(result.read_text())
    ratios = sorted(link["mbps"] / (RATE_MBPS * PAYLOAD) for link in told["links"] if link["mbps"])
    near = sum(0.9 <= ratio <= 1.1 for ratio in ratios)
    beyond = told["measure_s"] - told["empty_s"]
    print(f"{hosts} hosts: two empty tasks {told['empty_s']:.1f} s, measuring {told['measure_s']:.1f} s, beyond them {beyond:.1f} s")
    print(f"{len(ratios)} of {hosts * (hosts - 1)} links, {near} within 10 % of {RATE_MBPS} Mbit/s; {ratios[0]:.2f} to {ratios[-1]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
