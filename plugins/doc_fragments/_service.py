# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

from __future__ import annotations


class ModuleDocFragment:
    """Whose machines a module is about, and where the host keeps what belongs to them."""

    DOCUMENTATION = r"""
options:
  service:
    description: The service that the machines are part of.
    type: str
    required: true
  tenant:
    description: The tenant to whom the service belongs.
    type: str
    default: default
"""

    LIBVIRT = r"""
options:
  uri:
    description: The connection to libvirt. Usually the host variable C(basecast_libvirt_uri).
    type: str
    default: qemu:///system
"""

    STATE = r"""
options:
  state_dir:
    description: Directory in which the host keeps the records of services and migrations, claims, and what was measured.
    type: str
    default: /var/lib/basecast
"""

    RUNTIME = r"""
options:
  runtime_dir:
    description: Directory of the files that tell of jobs, and of the relay nodes' control sockets. A restart of the host empties it.
    type: str
    default: /run/basecast
"""

    SURVEY = r"""
options:
  address:
    description:
      - The host's address in the network that carries the data. Usually the host variable C(basecast_address).
      - The address of the default route when it is omitted.
    type: str
  port_range:
    description: TCP ports, first and last, that the relay may listen on.
    type: str
    default: 47700-47799
  controller_clock:
    description:
      - What the controller's clock says when the module is called, in seconds since 1970, for example
        C({{ now().timestamp() }}).
      - How far the clocks are apart is not told when it is omitted.
    type: float
"""
