# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t
import zlib

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._job.work import Copy

from .conftest import Site

A, B = "aa" * 32, "bb" * 32


def test_each_machine_has_its_own(site: Site) -> None:
    work = site.work(A, B, clones=[{"pool": "two", "bases": [A, A]}])
    assert [machine.name for machine in work.machines] == ["m-1", "m-2"] and work.bases == [A, B]
    assert [machine.bases for machine in work.machines] == [{A}, {B}]
    assert work.copies == (Copy("two", A),)
    assert all(machine.seed is not None and not machine.copies for machine in work.machines)


def test_copies_share_their_firmware_variables(site: Site) -> None:
    """On aarch64 they have 64 MiB."""
    packed = base64.b64encode(zlib.compress(b"boot order")).decode()
    given = [{"groups": ["m"], "firmware": "uefi", "content": packed}]
    machines = [{"machine": name, "group": "m", "pool": "one", "memory_mib": 64, "networks": []} for name in ("m-1", "m-2")]
    old, new = ([{**one, "new": new} for one in machines] for new in (False, True))
    assert [machine.variables for machine in site.work(A, B, machines=old, variables=given).machines] == [None, None]
    with pytest.raises(InvalidOption, match="a group has the variables of one template"):
        site.work(A, B, machines=new, variables=given * 2)
    first, second = (machine.variables for machine in site.work(A, B, machines=new, variables=given).machines)
    assert first == second == ("uefi", b"boot order") and first is not None and second is not None
    assert first[1] is second[1]


@pytest.mark.parametrize(
    "disk, needs, slow",
    [
        ({"pool": "one"}, [], False),
        ({"pool": "two"}, [Copy("two", A)], False),
        ({"pool": "two", "base_pool": "one"}, [], False),
        ({"pool": "two", "differencing": False}, [Copy("two", A)], True),
        ({"pool": "two", "backend": "reflink"}, [Copy("two", A)], False),
    ],
)
def test_what_a_disk_waits_for(disk: dict[str, t.Any], needs: list[Copy], slow: bool, site: Site) -> None:
    filled = {"differencing": True, "backend": "qcow2", **disk}
    work = site.work(A, disks=[{"machine": "m-1", "name": "root", "base": A, **filled}], clones=[{"pool": "two", "bases": [A]}])
    assert (work.machines[0].needs(work.copies), work.machines[0].copies) == (needs, slow)


@pytest.mark.parametrize(
    "changes, option",
    [
        ({"disks": [{"machine": "other", "name": "root", "pool": "one", "base": A}]}, "disks[].machine"),
        ({"seeds": [{"machine": "other", "pool": "one"}]}, "seeds[].machine"),
        ({"seeds": [{"machine": "m-1", "pool": "two"}]}, "seeds"),
        ({"clones": [{"pool": "nowhere", "bases": [A]}]}, "clones[].pool"),
        ({"clones": [{"pool": "two", "bases": ["x"]}]}, "clones[].bases"),
        ({"references": [{"sha256": A, "name": None, "version": None, "pin": None, "pool": None}]}, "references"),
        ({"service": "a/b"}, "service"),
        ({"tenant": ".."}, "tenant"),
        ({"machines": [{"machine": "M"}]}, "machines[0].machine"),
        ({"machines": [{"machine": "m-1"}, {"machine": "m-1"}], "disks": []}, "machines[1].machine"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, t.Any], option: str, site: Site) -> None:
    if "machines" in changes:
        changes["machines"] = [{"pool": "one", "networks": [], **machine} for machine in changes["machines"]]
    with pytest.raises(InvalidOption) as caught:
        site.work(A, **changes)
    assert caught.value.fields["option"] == option
    assert ("is not accepted; each needs sha256 and pool" in caught.value.message) is (option == "references")
