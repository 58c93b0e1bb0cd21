#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: controller_file
short_description: Find a file on the controller, and read or write it
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Resolves a path on the controller the same way wherever this collection is given one. A relative path is resolved against
    the current directory of C(ansible-playbook), then
    against the directory of the playbook that was called.
  - An error names every place that was tried.
  - Runs on the controller. No host is contacted.
extends_documentation_fragment:
  - basecast.fleet._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details:
      - What is written is a report, not the state of a host.
  idempotent:
    support: full
options:
  path:
    description: The path. C(~) is the home directory.
    type: str
    required: true
  option:
    description: What the path was given as, for errors.
    type: str
    required: true
  directories:
    description: Directories against which a relative path is resolved, instead of the two above.
    type: list
    elements: str
  within:
    description:
      - Directories below which the file has to lie, with all symbolic links resolved. Without any, every file is taken.
      - For V(read) and V(info).
    type: list
    elements: str
    default: []
  state:
    description:
      - V(read) returns the content of a text file in UTF-8. That there is none is an error.
      - V(info) tells whether there is a file, and how large it is.
      - V(writable) fails if a file could not be written there. A relative path is then resolved against the current directory
        only.
      - V(written) writes O(content), as a whole or not at all. Only the owner can read the file.
    type: str
    choices: [info, read, writable, written]
    default: read
  content:
    description: The text to write, with O(state=written).
    type: str
  before:
    description:
      - With O(state=written), what the file holds that is to be replaced; empty if there is none. If it holds something else by now,
        it stays as it is, and RV(late) is true. Runs that change one file this way take turns.
    type: str
  public:
    description:
      - With O(state=written), everybody can read the file, or, where there was one, who could read that.
      - A symbolic link stays one; the file behind it is replaced.
    type: bool
    default: false
  checksum:
    description:
      - Return the SHA-256 of the file. A file that was not touched is not read again. What was read is kept below
        C(basecast/digests) in the directory E(ANSIBLE_HOME).
    type: bool
    default: false
  size_bytes:
    description: With O(checksum), the checksum is returned only if the file has this size; another size says enough.
    type: int
"""

EXAMPLES = r"""
- name: Read a manifest
  basecast.fleet.controller_file:
    path: shop.yml
    option: manifest
  register: read
  run_once: true

- name: Show the service
  ansible.builtin.debug:
    msg: "{{ (read.content | basecast.fleet.service_manifest('shop.yml')).service }}"
  run_once: true
"""

RETURN = r"""
file:
  description: The file.
  returned: success
  type: dict
  contains:
    path:
      description: Its absolute path.
      type: str
    directory:
      description: The directory in which it is.
      type: str
    tried:
      description: The absolute paths that were tried.
      type: list
      elements: str
    exists:
      description: Whether there is a file.
      type: bool
    other:
      description: What stands at one of these paths instead of a file, or why it cannot be looked at. Empty if there is nothing.
      type: str
    isreg:
      description: The same.
      type: bool
    size:
      description: Its size in bytes.
      type: int
    checksum:
      description: Its SHA-256.
      returned: with O(checksum=true)
      type: str
  sample:
    path: /srv/shop.yml
    directory: /srv
    tried: [/srv/shop.yml]
    exists: true
    other: ""
    isreg: true
    size: 812
late:
  description: Whether the file was not the one to replace, and stays as it is.
  returned: with O(state=written)
  type: bool
  sample: false
content:
  description: The text of the file.
  returned: with O(state=read)
  type: str
  sample: "format: 1\n"
"""
