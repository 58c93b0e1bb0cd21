# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine_options import machine_arguments
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.wishes import checked_wishes


def test_what_is_filled_in_makes_a_wish() -> None:
    done = ArgumentSpecValidator(machine_arguments()).validate({"machine": "web-1", "networks": [{"network": "default"}]})
    assert not done.error_messages
    [wish] = checked_wishes([done.validated_parameters], {Owner("default", "shop", "web-1"): "/p/machines/shop/web-1"})
    assert (wish.cpus, wish.memory_mib, wish.autostart, wish.disks, wish.seed) == (1, 512, True, (), None)


@pytest.mark.parametrize("network", [{}, {"network": "a", "bridge": "b"}])
def test_a_card_has_one_place(network: dict[str, str]) -> None:
    assert ArgumentSpecValidator(machine_arguments()).validate({"machine": "web-1", "networks": [network]}).error_messages
