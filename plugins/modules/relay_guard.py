#!/usr/bin/python
# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: relay_guard
short_description: End a run's relay nodes when the run is cancelled
version_added: 0.1.0
author:
  - basecast.fleet contributors (@basecast)
description:
  - Relay nodes go on when the controller is gone. A cancelled run has to end, though. This guards a run, so that
    its nodes can tell one from the other.
  - The task starts a process on the controller, which stays behind when the task has ended. It holds a connection to the host,
    on which this module tells the node every other second that the run is guarded. Nodes tell it each other. When
    no host has guarded a run for 15 seconds, its nodes end, and chunks that have arrived are kept.
  - The process ends the connection when C(ansible-playbook) gets SIGTERM or SIGINT. For that, a play's C(hosts) must come from
    the lookup P(basecast.fleet.cancellable#lookup). If C(ansible-playbook) is killed by SIGKILL, the process stays until the nodes
    have ended by themselves, and the nodes go on. If everything on the controller is killed, as with a container, the connection
    breaks and the nodes end.
  - Guard a run on a few hosts, since each guard is a process on the controller. When its connection breaks it connects again.
extends_documentation_fragment:
  - basecast.fleet._attributes
attributes:
  check_mode:
    support: full
    details:
      - Does nothing.
  diff_mode:
    support: N/A
    details:
      - Changes nothing.
  idempotent:
    support: full
    details:
      - A second guard does no harm.
options:
  run:
    description: Name of the run.
    type: str
    required: true
  runtime_dir:
    description: Where the nodes of runs have their directories.
    type: str
    default: /run/basecast
seealso:
  - module: basecast.fleet.relay_node
  - plugin: basecast.fleet.cancellable
    plugin_type: lookup
"""

EXAMPLES = r"""
# In a play whose hosts are: "{{ query('basecast.fleet.cancellable', groups['relay'][:3]) }}"
- name: End the nodes when this playbook is cancelled
  basecast.fleet.relay_guard:
    run: nightly
"""

RETURN = r"""
guarded:
  description: Whether a process was started. It is V(false) in check mode.
  returned: success
  type: bool
  sample: true
"""

import os
import select
import sys
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._module import run_module
from ..module_utils._relay.errors import ControlFailed, RelayError
from ..module_utils._relay.node import control_socket
from ..module_utils._relay_module import node_of_run

BEAT_S = 2.0

# A node that is busy may miss a beat.
MOST_MISSED = 5


def connected() -> bool:
    """Whether the controller still reads what this module writes. Lines before the result are left out there."""
    try:
        os.write(sys.stdout.fileno(), b"\n")
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)
        return not any(event & (select.POLLERR | select.POLLHUP) for _descriptor, event in watch.poll(0))
    except OSError:
        return False


def guard(socket_path: str, is_connected: t.Callable[[], bool] = connected, beat_s: float = BEAT_S) -> None:
    """Until the connection or the node ends."""
    missed = 0
    while is_connected():
        try:
            control_socket.ask(socket_path, {"command": "guard"}, BEAT_S)
            missed = 0
        except (ControlFailed, RelayError):
            missed += 1
            if missed >= MOST_MISSED or not os.path.exists(socket_path):
                return
        time.sleep(beat_s)


def work(module: AnsibleModule) -> dict[str, t.Any]:
    with node_of_run(module.params["runtime_dir"], module.params["run"]) as runtime:
        if not module.check_mode:
            guard(runtime.socket)
    return {"changed": False, "guarded": not module.check_mode}


def main() -> None:
    run_module(
        work,
        argument_spec={
            "run": {"type": "str", "required": True},
            "runtime_dir": {"type": "str", "default": "/run/basecast"},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
