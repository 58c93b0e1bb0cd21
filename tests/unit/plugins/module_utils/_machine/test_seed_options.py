# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed_options import checked_seeds, seed_arguments

POOLS = {"default": "/p"}


def entry(**changes: t.Any) -> dict[str, t.Any]:
    return {**{name: spec.get("default") for name, spec in seed_arguments().items()}, "machine": "web-1", **changes}


def test_each_seed_belongs_to_its_machine() -> None:
    [wish] = checked_seeds([entry(user_data={"a": 1}, meta_data=None)], "default", "shop", POOLS, report=False)
    assert (str(wish.owner), wish.pool_path, wish.user_data, wish.meta_data, wish.report) == (
        "default/shop/web-1",
        "/p",
        {"a": 1},
        {},
        False,
    )


@pytest.mark.parametrize(
    "seeds, option",
    [
        ([entry(machine="../x")], "seeds[0].machine"),
        ([entry(), entry()], "seeds[1].machine"),
        ([entry(pool="none")], "seeds[0].pool"),
        ([entry(user_data=5)], "seeds[0].user_data"),
        ([entry(meta_data={"instance-id": "x"})], "seeds[0].meta_data"),
        ([entry(customize="ignition")], "seeds[0].config"),
        ([entry(customize="ignition", config="variant: fcos")], "seeds[0].config"),
        ([entry(customize="ignition", config={"ignition": {"version": "3.0.0"}}, user_data={"a": 1})], "seeds[0].user_data"),
        ([entry(customize="cloudbase", vendor_data="x")], "seeds[0].vendor_data"),
        ([entry(customize="cloudbase", meta_data={"uuid": "x"})], "seeds[0].meta_data"),
        ([entry(customize="cloudbase", meta_data={"meta": {"admin_pass": "x"}})], "seeds[0].meta_data"),
        ([entry(customize="cloudbase", user_data="Install-Module x")], "seeds[0].user_data"),
        ([entry(network_data={"links": [1]})], "seeds[0].network_data"),
        ([entry(config={"ignition": {"version": "3.0.0"}})], "seeds[0].config"),
    ],
)
def test_what_cannot_be_meant_is_refused(seeds: list[t.Any], option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        checked_seeds(seeds, "default", "shop", POOLS)
    assert caught.value.fields["option"] == option
