#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relay_certificates
short_description: Certificates for the relay nodes of one run
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Makes an authority and a certificate with key for each host, on the controller and in memory. The key of the
    authority is forgotten at once, so no further host can join the run.
  - Nothing is written anywhere, and no host is contacted. Use it once per run, with C(run_once) and C(no_log).
  - The certificates are valid from a day before now to a day after the run's limit, because hosts' clocks differ.
requirements:
  - The Python library cryptography on the controller.
extends_documentation_fragment:
  - basecast.fleet._attributes
attributes:
  check_mode:
    support: full
    details:
      - Makes certificates as well; nothing is changed by that.
  diff_mode:
    support: N/A
    details:
      - Changes nothing.
  idempotent:
    support: none
    details:
      - Each call makes new keys.
options:
  run:
    description: Name of the run.
    type: str
    required: true
  hosts:
    description: Inventory names of the hosts that take part.
    type: list
    elements: str
    required: true
  valid_s:
    description: The run's limit in seconds.
    type: float
    default: 86400
seealso:
  - module: basecast.fleet.relay_node
"""

EXAMPLES = r"""
- name: Make the run's certificates
  basecast.fleet.relay_certificates:
    run: nightly
    hosts: "{{ ansible_play_hosts_all }}"
    valid_s: 14400
  run_once: true
  no_log: true
  register: credentials

- name: Start the relay nodes with them
  basecast.fleet.relay_node:
    state: listening
    run: nightly
    host: "{{ inventory_hostname }}"
    address: "{{ basecast_address }}"
    credentials: "{{ credentials.certificates[inventory_hostname] }}"

- name: End the nodes
  basecast.fleet.relay_node:
    state: stopped
    run: nightly
"""

RETURN = r"""
certificates:
  description: Certificates and key in PEM form, by host. They are secret.
  returned: success
  type: dict
  contains:
    ca:
      description: The certificate of the run's authority, the same for each host.
      type: str
      sample: |
        -----BEGIN CERTIFICATE-----
        ...
    certificate:
      description: The host's certificate.
      type: str
      sample: |
        -----BEGIN CERTIFICATE-----
        ...
    key:
      description: The key of the host's certificate.
      type: str
      sample: |
        -----BEGIN PRIVATE KEY-----
        ...
  sample:
    kvm1:
      ca: "-----BEGIN CERTIFICATE-----..."
      certificate: "-----BEGIN CERTIFICATE-----..."
      key: "-----BEGIN PRIVATE KEY-----..."
"""
