# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What is checked whenever a machine starts, whoever starts it: the files that libvirt and QEMU are going to open."""

from __future__ import annotations

import typing as t

from .backing import Layer, Places, backing_chain
from .domain import Description
from .files import check_log
from .owner import Owner


def checked_chains(about: Description, owner: Owner, pools: t.Iterable[str]) -> dict[str, list[Layer]]:
    """What lies under each disk, by its path.

    :param pools: paths of the host's pools.
    :raises FleetError: the machine must not start.
    """
    places = Places(pools, owner.service)
    chains = {path: backing_chain(path, kind, places) for path, kind in about.files}
    for path in (about.console, about.report, about.nvram):
        check_log(path)
    return chains
