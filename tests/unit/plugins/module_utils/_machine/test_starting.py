# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import outside
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafeImage
from ansible_collections.basecast.fleet.plugins.module_utils._disk.outside import Outside
from ansible_collections.basecast.fleet.plugins.module_utils._machine.starting import check_given

from .hardware.test_attached import BLOCK, describe, xml_of
from .hardware.test_host_devices import PCI
from .hardware.test_host_devices import xml_of as with_devices
from .hardware.test_shares import xml_of as with_shares


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Outside("/dev/sdb"), None),
        (Outside("/dev/sdb", used_by=("domain shop-web-1",)), None),
        (None, "The disk data of shop-web-1, /dev/disk/by-id/x, is not there; attach or mount it."),
        (Outside("/dev/sdb", problem="is odd"), "The disk data of shop-web-1, /dev/disk/by-id/x, is odd."),
        (Outside("/dev/sdb", used_by=("domain crm",)), "is in use by domain crm; one machine at a time has it."),
    ],
)
def test_what_a_machine_was_given_is_looked_at(found: t.Any, words: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "look", lambda *_: found)
    if words is None:
        check_given(describe(xml_of(BLOCK)), [])
    else:
        with pytest.raises(UnsafeImage) as caught:
            check_given(describe(xml_of(BLOCK)), [])
        assert words in caught.value.message


def test_a_device_of_a_machine_is_looked_at() -> None:
    with pytest.raises(UnsafeImage, match=r"The PCI device 0001:65:1f\.3 of shop-web-1 is not there; attach it to the host"):
        check_given(describe(with_devices(PCI)), [])


def test_a_directory_of_a_machine_is_looked_at() -> None:
    with pytest.raises(UnsafeImage, match="The share gone of shop-web-1, /nowhere, is not there; make or mount the directory"):
        check_given(describe(with_shares({"name": "gone", "source": "/nowhere"})), [])
