# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A machine is taken from its host, with its seed and logs; disks stay."""

from __future__ import annotations

import os

from .._disk import layout
from .files import remove_leftovers, remove_tpm_state
from .machine import Machine
from .network_dns import NetworkDns


def remove(machine: Machine, path: str, dns: NetworkDns, check: bool, keep_firmware: bool, keep_files: bool) -> None:
    """Stop at once and forget it.

    :param path: its directory.
    """
    if machine.domain:
        machine.actions.append("removed")
        # Before the domain, which says what is the machine's own.
        dns.remove(machine.owner, machine.spec)
        if not check:
            machine.domain.destroy()
            if keep_files:
                machine.domain.undefine(True, drop_tpm=True)  # that is on this host alone
            else:
                machine.domain.undefine(keep_firmware)
    # Storage that hosts share has machines of others too, whose domains are not here.
    theirs = not machine.domain and layout.owner_of(os.path.dirname(path)) not in (None, machine.owner.tenant)
    left = not (keep_files or theirs) and remove_leftovers(path, check, keep_firmware)
    if not keep_firmware:
        left = remove_tpm_state(machine.owner.domain_uuid, check) or left
    if left and not machine.domain:
        machine.actions.append("cleaned")
    if not check:
        machine.running, machine.found, machine.domain = False, None, None
