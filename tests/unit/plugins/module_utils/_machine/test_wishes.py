# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Card, Disk
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.wishes import checked_directories, checked_wishes

MACHINE: dict[str, t.Any] = {
    "machine": "web-1",
    "number": 1,
    "group": "web",
    "pool": "default",
    "cpus": 2,
    "memory_mib": 512,
    "disks": [{"name": "root", "path": "/pool//m/root.qcow2", "image_format": "qcow2"}],
    "seed": "/pool/m/seed.iso",
    "networks": [
        {"network": "default", "bridge": None, "mac": None, "model": "virtio"},
        {"network": None, "bridge": "br0", "mac": "52:54:00:AA:bb:01", "model": "e1000"},
    ],
    "machine_type": None,
    "autostart": True,
    "allow_degraded": False,
    "spec": {"a": 1},
}


def _wishes(*machines: dict[str, t.Any]) -> t.Any:
    return checked_wishes(machines, checked_directories(machines, "default", "shop", {"default": "/pool"}))


def test_options_become_wishes_in_order() -> None:
    first, second = _wishes(MACHINE, {**MACHINE, "machine": "web-2", "seed": None})
    assert first.owner == Owner("default", "shop", "web-1")
    assert first.directory == "/pool/machines/shop/web-1"
    assert first.disks == (Disk("root", "/pool/m/root.qcow2", "qcow2"),)
    assert first.cards == (Card("default"), Card("br0", "bridge", "52:54:00:aa:bb:01", "e1000"))
    assert (second.owner.machine, second.seed) == ("web-2", None)


@pytest.mark.parametrize(
    "changes, option",
    [
        ({"cpus": 0}, "machines[0].cpus"),
        ({"memory_mib": 1}, "machines[0].memory_mib"),
        ({"disks": MACHINE["disks"] * 26}, "machines[0].disks"),
        ({"disks": [{"name": "root", "path": "root", "image_format": "raw"}]}, "machines[0].disks[0].path"),
        ({"seed": "seed.iso"}, "machines[0].seed"),
        ({"pool": "fast"}, "machines[0].pool"),
        ({"machine": "../x"}, "machines[0].machine"),
        ({"networks": [{**MACHINE["networks"][0], "mac": "53:54:00:aa:bb:01"}]}, "machines[0].networks[0].mac"),
        ({"networks": [{**MACHINE["networks"][1], "bridge": "../x"}]}, "machines[0].networks[0].bridge"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(changes: t.Any, option: str) -> None:
    with pytest.raises(InvalidOption) as error:
        _wishes({**MACHINE, **changes})
    assert error.value.fields["option"] == option


def test_a_machine_can_be_given_once_only() -> None:
    with pytest.raises(InvalidOption, match=r"machines.1..machine: 'web-1' is not accepted"):
        _wishes(MACHINE, MACHINE)
