# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Seeds as options of modules."""

from __future__ import annotations

import typing as t

from .._errors import InvalidOption
from .._module import pool_path
from .media import CLOUD_INIT, KINDS
from .owner import checked_owner
from .seed import SeedWish, check_seed


def seed_arguments() -> dict[str, t.Any]:
    """Argument spec of one entry of the option ``seeds``."""
    return {
        "machine": {"type": "str", "required": True},
        "pool": {"type": "str", "default": "default"},
        "meta_data": {"type": "dict", "default": {}},
        "user_data": {"type": "raw"},
        "vendor_data": {"type": "raw"},
        "network_config": {"type": "dict"},
        "customize": {"type": "str", "choices": list(KINDS), "default": CLOUD_INIT},
        "config": {"type": "raw"},
        "network_data": {"type": "dict"},
    }


def checked_seeds(
    seeds: t.Sequence[t.Mapping[str, t.Any]], tenant: str, service: str, pools: t.Mapping[str, str], report: bool = True
) -> list[SeedWish]:
    wishes: list[SeedWish] = []
    for number, seed in enumerate(seeds):
        option = f"seeds[{number}]"
        wish = SeedWish(
            owner=checked_owner(tenant, service, seed["machine"], f"{option}.machine"),
            pool_path=pool_path(pools, seed["pool"], f"{option}.pool"),
            meta_data=seed["meta_data"] or {},
            user_data=seed["user_data"],
            vendor_data=seed["vendor_data"],
            network_config=seed["network_config"],
            report=report,
            kind=seed.get("customize") or CLOUD_INIT,
            config=seed.get("config"),
            network_data=seed.get("network_data"),
        )
        check_seed(wish, option)
        if any(other.owner == wish.owner for other in wishes):
            raise InvalidOption(f"{option}.machine", seed["machine"], "each machine can have one seed only")
        wishes.append(wish)
    return wishes
