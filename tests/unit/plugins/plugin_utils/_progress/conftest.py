# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts as the module ``relay_info`` reports them."""

from __future__ import annotations

import typing as t

import pytest

MiB = 1024 * 1024


def base(state: str, mib: int = 0, of: int = 600, **more: t.Any) -> dict[str, t.Any]:
    usual = {"received_bytes": mib * MiB, "rate_mbps": 0.0, "remaining_s": None, "parents": [], "msg": ""}
    return {"state": state, "bytes": mib * MiB, "size_bytes": of * MiB, **usual, **more}


def host(*bases: dict[str, t.Any], age_s: float | None = 0.5, **more: t.Any) -> dict[str, t.Any]:
    named = {f"{number:064x}": one for number, one in enumerate(bases)}
    return {"started": True, "stale": False, "age_s": age_s, "bases": named, **more}


@pytest.fixture
def hosts() -> dict[str, t.Any]:
    """One of each kind."""
    return {
        "kvm1": host(base("holding", 600, received_bytes=0)),
        "kvm2": host(base("holding", 600)),
        "kvm3": host(base("fetching", 402, rate_mbps=943.0, remaining_s=2.0, parents=["kvm1"])),
        "kvm4": host(base("fetching", 240, rate_mbps=512.0, remaining_s=6.0, parents=["kvm2", "kvm1"])),
        "kvm5": host(base("fetching", parents=["kvm4"])),
        "kvm6": host(base("failed", 104, msg="No living parent for 60 s; last: kvm9 has been silent for 6.0 s.")),
        "kvm7": host(base("fetching", 90, rate_mbps=100.0, remaining_s=40.0, parents=["kvm3"]), age_s=34.0, stale=True),
        "kvm8": host(base("fetching", 300)),
        "kvm9": host(base("waiting", msg="Another run fetches this base into /srv/pool.")),
        "kvm10": host(started=False, stale=True, age_s=None),
    }
