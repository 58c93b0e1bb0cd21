# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.prune_plan import (
    Policy,
    prune_plan,
    prune_report,
    version_key,
)
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.wrapped_text import NARROW as WIDTH
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._plan.service.test_observation import variants

DAY = 86400.0
POLICY: Policy = {"unused_days": 30, "keep_versions": 0, "free_percent": 0, "grace_s": 3600, "left_hours": 24}


def base(number: int, unused_days: float = 40, name: str = "", **more: t.Any) -> dict[str, t.Any]:
    named, _space, version = name.partition(" ")
    names = [{"tenant": "default", "name": named, "version": version}] if name else []
    known = {
        "sha256": f"{number:064x}",
        "names": names,
        "bytes": 100,
        "unused_s": unused_days * DAY,
        "used_at": float(number),
        "usable": True,
    }
    return {**known, "children": [], "kept": [], **more}


def look(*bases: dict[str, t.Any], left: t.Sequence[t.Any] = (), unknown: t.Sequence[str] = (), **pool: t.Any) -> dict[str, t.Any]:
    told = {"path": "/p", "known": True, "error": None, "identity": None, "shared": False, "free_bytes": 500, "total_bytes": 1000}
    return {"prune": {"unknown": list(unknown), "pools": {"default": {**told, "bases": list(bases), "left": list(left), **pool}}}}


def test_what_a_host_leaves_out_keeps_the_plan_of_others() -> None:
    left = [{"kind": "partial", "path": "/p/x", "bytes": 1, "age_s": 1e6, "kept": [], "sha256": "a" * 64}]
    for told in variants(look(base(1, name="x 1"), base(2, children=[f"{1:064x}"]), left=left)):
        plan = prune_plan({"a": look(base(7)), "b": told}, POLICY, ["a", "b"])
        assert 7 in [int(one["sha256"], 16) for one in plan["bases"]]


def going(plan: dict[str, t.Any]) -> list[int]:
    return sorted(int(one["sha256"], 16) for one in plan["bases"] if one["goes"])


def why(plan: dict[str, t.Any], number: int) -> str:
    (one,) = [one for one in plan["bases"] if int(one["sha256"], 16) == number]
    return "; ".join(one["reasons"])


@pytest.mark.parametrize(
    ("ahead_days", "gone"),
    [(0, [1]), (0.9, [1]), (1.25, []), (40, []), (3650, []), (-1.25, [1]), (-3650, [1])],
)
def test_a_clock_that_is_ahead_makes_no_base_old(ahead_days: float, gone: list[int]) -> None:
    """As that of a host whose battery is empty, or that believes a wrong server; a captured base is nowhere else."""
    now = 20_000 * DAY
    bases = [base(1, 40, used_at=now + (ahead_days - 40) * DAY), base(2, 0, used_at=now + 9 * DAY)]
    plan = prune_plan({"kvm1": look(*bases)}, POLICY, ["kvm1"], now)
    assert going(plan) == gone
    assert gone or f"the clock of kvm1 is {ahead_days:.0f} days ahead" in why(plan, 1)
    assert why(plan, 2).startswith("used ")


SILENT = {"msg": "Connection timed out"}
NET = {"identity": "net:nfs4:server:/x:2", "shared": True}


@pytest.mark.parametrize(
    ("bases", "policy", "gone"),
    [
        ([base(1), base(2, 20)], {}, [1]),
        ([base(1, kept=["needed by /p/x"])], {}, []),
        ([base(1, usable=False)], {}, []),
        ([base(1, 0.01)], {"unused_days": 0}, []),
        ([base(1, 0.05)], {"unused_days": 0}, [1]),
        # The newest versions of each name stay.
        ([base(1, name="a 1.9"), base(2, name="a 1.10"), base(3, name="b 1")], {"keep_versions": 1}, [1]),
        ([base(1, name="a 1"), base(2, name="a 2"), base(3, name="a 3")], {"keep_versions": 2}, [1]),
        ([base(1, name="a 1"), base(2, name="a 2"), base(3)], {"keep_versions": 9}, [3]),
        # Children before their parents, and no parent without them.
        ([base(1, children=[f"{2:064x}"]), base(2)], {}, [1, 2]),
        ([base(1, children=[f"{2:064x}"]), base(2, 3)], {}, []),
        ([base(1, children=[f"{2:064x}"]), base(2, kept=["a pin"])], {}, []),
        # Too little is free: what was used longest ago goes first, and no more than is needed.
        ([base(1, 3), base(2, 5), base(3, 4)], {"free_percent": 55}, [2]),
        ([base(1, 3), base(2, 5), base(3, 4)], {"free_percent": 65}, [2, 3]),
        ([base(1, 3), base(2, 5), base(3, 4)], {"free_percent": 50}, []),
        ([base(1, 3), base(2, 50)], {"free_percent": 60}, [2]),
        ([base(1, 0.01), base(2, 3, kept=["x"])], {"free_percent": 99}, []),
        ([base(1, 5, children=[f"{2:064x}"]), base(2, 3)], {"free_percent": 55}, [2]),
        ([base(1, 3, name="a 1")], {"free_percent": 99, "keep_versions": 1}, []),
    ],
)  # fmt: skip
def test_the_policy(bases: list[dict[str, t.Any]], policy: dict[str, t.Any], gone: list[int]) -> None:
    plan = prune_plan({"a": look(*bases)}, t.cast("Policy", {**POLICY, **policy}), ["a"])
    assert going(plan) == gone
    digests = [f"{one:064x}" for one in gone]
    used_at = {digest: float(one) for one, digest in zip(gone, digests, strict=True)}
    assert plan["hosts"] == ({"a": {"bases": {"default": digests}, "used_at": used_at, "left": {}}} if gone else {})
    assert all(one["reasons"] for one in plan["bases"])


@pytest.mark.parametrize(
    ("looks", "gone"),
    [
        ({"a": look(base(1), **NET), "b": look(base(1), **NET)}, [1]),
        ({"a": look(base(1), **NET), "b": look(base(1, kept=["needed by /other/pool/x"]), **NET)}, []),
        ({"a": look(base(1), **NET), "b": look(base(1, 3), **NET)}, []),
        # Whatever b sees of it: nobody knows.
        ({"a": look(base(1), **NET), "b": SILENT}, []),
        ({"a": look(base(1), **NET), "b": look(unknown=["libvirt does not answer"])}, []),
        ({"a": look(base(1), **NET)}, []),
        # Storage that is a host's own is not concerned.
        ({"a": look(base(1)), "b": SILENT}, [1]),
        ({"a": look(base(1), unknown=["libvirt does not answer"])}, []),
        # The server of a share and its client call it differently.
        ({"a": look(base(1), shared=True), "b": look(base(1, kept=["needed by /mnt/x"]), **NET)}, []),
        ({"a": look(base(1)), "b": look(base(1, kept=["needed by /p/x"]))}, [1]),
        # Two hosts that see one storage share it, whatever its kind.
        ({"a": look(base(1), identity="local:1"), "b": look(base(1, kept=["needed by x"]), identity="local:1")}, []),
    ],
)  # fmt: skip
def test_what_other_hosts_need_of_a_storage(looks: dict[str, t.Any], gone: list[int]) -> None:
    plan = prune_plan(looks, POLICY, ["a", "b"])
    assert sorted({int(one["sha256"], 16) for one in plan["bases"] if one["goes"]}) == gone
    assert all("b" not in hosts for hosts in [plan["hosts"]])


def test_every_base_is_told_why() -> None:
    looks = {
        "a": look(
            base(1),
            base(2, 3),
            base(3, kept=["the pin x keeps it"]),
            base(4, name="t 1"),
            base(5, children=[f"{3:064x}"]),
            base(6, usable=False),
        )
    }
    plan = prune_plan(looks, {**POLICY, "keep_versions": 1}, ["a"])
    assert [why(plan, number) for number in range(1, 7)] == [
        "unused for more than 30 days",
        "used 3 days ago",
        "the pin x keeps it",
        "the newest version of t",
        f"the base disk {f'{3:064x}'[:12]} is based on it",
        "it is damaged; run basecast.fleet.verify",
    ]
    assert max(map(len, plan["text"])) <= WIDTH and "1 of 6 bases" in plan["text"][0]


@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        (["1.9", "1.10"], "1.10"),
        (["20261101", "20260101"], "20261101"),
        (["1.0-rc1", "1.0"], "1.0"),
        (["1.0", "1.0.1"], "1.0.1"),
        (["v2", "v10"], "v10"),
        (["2026-11-01", "2026-9-30"], "2026-11-01"),
        (["a", "b"], "b"),
    ],
)  # fmt: skip
def test_versions_are_compared_as_people_do(versions: list[str], newest: str) -> None:
    assert max(versions, key=version_key) == max(reversed(versions), key=version_key) == newest


@pytest.mark.parametrize(
    ("age_s", "kept", "goes"), [(90000, [], True), (80000, [], False), (90000, ["a run is fetching it"], False)]
)  # fmt: skip
def test_leftovers(age_s: float, kept: list[str], goes: bool) -> None:
    partial = {"kind": "partial", "sha256": "5" * 64, "path": "/p/x", "bytes": 7, "age_s": age_s, "kept": kept}
    upload = {**partial, "kind": "upload", "sha256": None}
    plan = prune_plan({"a": look(left=[partial, upload])}, POLICY, ["a"])
    assert plan["hosts"] == ({"a": {"bases": {}, "used_at": {}, "left": {"default": ["5" * 64, "/p/x"]}}} if goes else {})


def lost(*kept: str, path: str = "/p") -> dict[str, t.Any]:
    """Names of a base that is not there."""
    one = {"kind": "reference", "sha256": None, "title": "tiny 1", "path": f"{path}/bases/.refs/{5:064x}"}
    return {**one, "bytes": 7, "age_s": 90000.0, "kept": list(kept)}


@pytest.mark.parametrize(
    ("looks", "reason"),
    [
        ({"a": look(left=[lost()]), "b": look()}, ""),
        ({"a": look(left=[lost()]), "b": SILENT}, ""),  # storage of its own
        ({"a": look(left=[lost()], **NET), "b": look(left=[lost()], **NET)}, ""),
        ({"a": look(left=[lost()], **NET), "b": look(left=[lost("needed by /x")], **NET)}, "b: needed by /x"),
        ({"a": look(left=[lost()], **NET), "b": look(**NET)}, "b sees the base, or that it is coming"),
        ({"a": look(left=[lost()], **NET), "b": SILENT}, "b may need it, which cannot be known: "),
        ({"a": look(left=[lost()], **NET)}, "b may need it, which cannot be known: is outside this run"),
        ({"a": look(left=[lost()], shared=True), "b": look(left=[lost("needed by /x", path="/m")], **NET)}, "b: needed by /x"),
    ],
)  # fmt: skip
def test_names_of_a_base_that_is_gone(looks: dict[str, t.Any], reason: str) -> None:
    plan = prune_plan(looks, POLICY, ["a", "b"])
    (one,) = [one for one in plan["left"] if one["host"] == "a"]
    assert (one["goes"], one["title"]) == (not reason, "tiny 1") and reason in "; ".join(one["reasons"])
    if not reason:
        assert plan["hosts"]["a"]["left"] == {"default": [lost()["path"]]}


@pytest.mark.parametrize(
    "strange", [{"pools": []}, {"unknown": [], "pools": {"x": {"known": True, "bases": [{}]}}}, {"unknown": [3], "pools": {}}]
)
def test_nonsense_of_one_host_is_its_own_failure(strange: t.Any) -> None:
    plan = prune_plan({"a": {"prune": strange}, "b": look(base(1))}, POLICY, ["a", "b"])
    assert list(plan["unknown"]) == ["a"] and going(plan) == [1]


def test_the_report_tells_what_stayed_after_all() -> None:
    plan = prune_plan({"a": look(base(1), base(2)), "b": look(base(3)), "c": SILENT}, POLICY, ["a", "b", "c"])
    results = [
        {"pool": "default", "what": f"{1:064x}", "state": "removed", "reason": "", "bytes": 100},
        {"pool": "default", "what": f"{2:064x}", "state": "kept", "reason": "needed by /p/new", "bytes": 100},
    ]
    report = prune_report(plan, {"a": {"prune": {"results": results}}})
    assert not report["ok"] and len(report["removed"]) == 1 and report["kept"][0]["reason"] == "needed by /p/new"
    assert [failure.split(":")[0] for failure in report["failures"]] == ["c cannot be known", "b"]
    assert report["text"][0] == "1 removed, 100 B"
    done = prune_report(prune_plan({"a": look()}, POLICY, ["a"]), {}, predicted=True)
    assert done["ok"] and done["text"] == ["0 would be removed, 0 B"]
