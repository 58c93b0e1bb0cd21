# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Card
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine import MachinesFailed

from .conftest import OFFERED, refused


def test_hardware_that_the_host_cannot_give_is_refused_at_once(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.offered = "<domainCapabilities/>"
    wishes = [make_wish(f"web-{number}", hardware={"firmware": "uefi", "tpm": "2.0"}) for number in (1, 2)]
    with pytest.raises(MachinesFailed) as caught:
        machines().ensure(wishes, start=True)
    firmware, tpm = caught.value.fields["problems"]
    assert firmware.startswith("firmware: the host has no UEFI firmware") and firmware.endswith("(wanted by web-1, web-2).")
    assert tpm.startswith("tpm: the host cannot emulate a TPM 2.0") and not host.known
    host.offered = OFFERED
    assert all(machine.running for machine in machines().ensure(wishes, start=True))
    host.offered = "<domainCapabilities/>"
    assert all(not machine.problem for machine in machines().ensure(wishes, start=True)), "those that exist have theirs"


def test_more_memory_than_the_host_has(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wishes = [make_wish(), make_wish("web-2", memory_mib=5000)]
    refused(host, machines, wishes, "Machine web-2 wants 5000 MiB of memory, the host has 4096 MiB")


@pytest.mark.parametrize(
    "card, message",
    [
        (Card("lost"), "The network lost, wanted by web-1, is not active; active networks: default"),
        (Card("none"), "The network none, wanted by web-1, does not exist; active networks: default"),
        (Card("br1", "bridge"), "The bridge br1, wanted by web-1, does not exist"),
    ],
)
def test_networks_must_be_there(card: Card, message: str, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    refused(host, machines, [make_wish(cards=(card,))], message)


def test_disks_and_seeds_must_be_there(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish(seed="/none/seed.iso")
    os.unlink(wish.disks[0].path)
    refused(host, machines, [wish], f"{wish.disks[0].path} of machine web-1 does not exist.*/none/seed.iso")


def test_problems_come_all_at_once(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    with pytest.raises(MachinesFailed) as error:
        machines().ensure([make_wish(memory_mib=5000, cards=(Card("none"), Card("lost")))], start=False)
    assert len(error.value.fields["problems"]) == 3
