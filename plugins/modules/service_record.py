#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_record
short_description: Keep on a host what its services are meant to be
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Keeps one record per service, enough to clone and customize machines without the controller's files.
  - A record is a JSON file with mode 0600, replaced in one step.
extends_documentation_fragment:
  - basecast.fleet._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows names of keys and digests of values, since a record may hold secrets.
  idempotent:
    support: full
options:
  state_dir:
    description: Directory of the records.
    type: str
    default: /var/lib/basecast
  tenant:
    description: The tenant to whom the service belongs.
    type: str
    default: default
  service:
    description:
      - The service.
      - Required, except for O(state=query), which without it returns the records of all of the tenant's services.
    type: str
  state:
    description:
      - V(query) returns records and changes nothing.
      - V(present) makes sure that the record is O(record), V(absent) that there is none.
    type: str
    choices:
      - query
      - present
      - absent
    default: query
  record:
    description:
      - What to keep, required for O(state=present).
      - It is not logged. It is returned, so tasks should set C(no_log) where records hold secrets.
    type: dict
"""

EXAMPLES = r"""
- name: Leave the host its part of the manifest
  basecast.fleet.service_record:
    service: shop
    state: present
    record:
      format: 1
      machines: [{name: web-1, cpus: 2}]
  no_log: true

- name: Ask what the host knows
  basecast.fleet.service_record:
  no_log: true
  register: known

- name: Show the services
  ansible.builtin.debug:
    msg: "{{ known.records | list }}"

- name: Forget a service
  basecast.fleet.service_record:
    service: shop
    state: absent
"""

RETURN = r"""
records:
  description: The records by service; of the service that was named, or of all. After V(absent) empty.
  returned: success
  type: dict
  sample:
    shop:
      format: 1
      machines:
        - web-1
unreadable:
  description: For O(state=query), services whose record is there and cannot be read, each with the reason.
  returned: success
  type: dict
  sample: {}
"""

import hashlib
import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._errors import InvalidOption
from ..module_utils._machine.records import RecordUnreadable, ServiceRecords
from ..module_utils._machine.secret_options import take_secret
from ..module_utils._module import check_absolute, run_module


def _shown(record: t.Mapping[str, t.Any] | None) -> dict[str, str]:
    return {
        key: "sha256:" + hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() for key, value in (record or {}).items()
    }


def _work(module: AnsibleModule) -> t.Mapping[str, t.Any]:
    params = module.params
    wanted = take_secret(module, "record")
    service, state = params["service"], params["state"]
    check_absolute(params, "state_dir")
    records = ServiceRecords(params["state_dir"], params["tenant"])
    if state == "query" and service is None:
        found, unreadable = records.read_all()
        return {"changed": False, "records": found, "unreadable": unreadable}
    if service is None:
        raise InvalidOption("service", service, f"state {state} needs the name of a service")
    if state == "absent":
        present = service in records.services()
        if present and not module.check_mode:
            records.remove(service)
        diff = {"before": {service: "a record"} if present else {}, "after": {}}
        return {"changed": present, "records": {}, "unreadable": {}, "diff": diff}
    try:
        record = records.read(service)
    except RecordUnreadable as error:
        if state == "query":
            return {"changed": False, "records": {}, "unreadable": {service: error.message}}
        raise
    if state == "query":
        return {"changed": False, "records": {} if record is None else {service: record}, "unreadable": {}}
    changed = record != wanted
    if changed and not module.check_mode:
        records.write(service, wanted)
    diff = {"before": _shown(record), "after": _shown(wanted)}
    return {"changed": changed, "records": {service: wanted}, "unreadable": {}, "diff": diff}


def main() -> None:
    run_module(
        _work,
        exact=("records",),
        argument_spec={
            "state_dir": {"type": "str", "default": "/var/lib/basecast"},
            "tenant": {"type": "str", "default": "default"},
            "service": {"type": "str"},
            "state": {"type": "str", "choices": ["query", "present", "absent"], "default": "query"},
            "record": {"type": "dict", "no_log": True},
        },
        required_if=[("state", "present", ["record"])],
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
