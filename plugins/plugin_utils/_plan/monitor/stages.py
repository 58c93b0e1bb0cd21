# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Which hosts a stage of a running relay waits for, by the plans in force, and whether they have come to an end."""

from __future__ import annotations

from collections.abc import Collection

from ..relay.parts import relay_stages
from .state import Watch, base_of

# The last stage serves all deeper ones.
LAST_STAGE = 6


def hosts_of_stage(watch: Watch, stage: int, collected: Collection[str] = ()) -> list[str]:
    """The hosts whose turn it is: of this stage, or of an earlier one in a plan that was in force before."""
    # A plan that was made on the way does not tell of hosts that have their bases already.
    receivers = {host: 1 for relay in watch.relays for host in relay["targets"]}
    stages = {**receivers, **relay_stages(watch.plans, LAST_STAGE)}
    return [
        host
        for host, number in stages.items()
        if number <= stage and host not in collected and (host not in watch.lost or stage == LAST_STAGE)
    ]


def next_stage(watch: Watch, stage: int, collected: Collection[str] = ()) -> int:
    """The next stage that has hosts whose turn it has not been yet, or else the last one."""
    return next((number for number in range(stage + 1, LAST_STAGE) if hosts_of_stage(watch, number, collected)), LAST_STAGE)


def has_ended(watch: Watch, host: str) -> bool:
    """Whether a host has all its bases, or will not get them."""
    if host in watch.lost:
        return True
    wanted = [relay["sha256"] for relay in watch.relays if host in relay["targets"]]
    return all(base_of(watch.fleet, host, sha256).state in {"holding", "failed"} for sha256 in wanted)


def stage_has_ended(watch: Watch, stage: int, collected: Collection[str] = ()) -> bool:
    """Whether nobody has to be waited for in this stage any more. The last stage ends with the watch."""
    if watch.done:
        return True
    return stage < LAST_STAGE and all(has_ended(watch, host) for host in hosts_of_stage(watch, stage, collected))
