# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import PartialInUse, StorageFailed
from ansible_collections.basecast.fleet.plugins.modules import relay_node

METADATA = {"sha256": "1" * 64, "chunks_sha256": "2" * 64, "size_bytes": 10, "chunk_bytes": 4096}
BASE: dict[str, t.Any] = {
    "metadata": METADATA,
    "pool": "default",
    "parents": ["kvm2"],
    "weights": [],
    "expected_mbps": None,
    "children": ["kvm3"],
}
PARAMS = {
    "run": "r",
    "host": "kvm1",
    "address": "127.0.0.1",
    "port_range": "47700-47799",
    "credentials": {},
    "ttl_s": 60.0,
    "linger_s": 10.0,
    "part_timeout_s": None,
    "silence_s": 6.0,
    "patience_s": 20.0,
    "rate_mbps": None,
    "state_dir": "/var/lib/basecast",
    "links": None,
    "streams": None,
    "nice": 0,
    "io_idle": False,
    "encryption": True,
    "compression": "none",
    "pools": {"default": "/srv//pool"},
    "bases": [BASE],
}


@pytest.mark.parametrize(("text", "ports"), [("1-65535", (1, 65535)), ("47700", (47700, 47700))])
def test_port_ranges(text: str, ports: tuple[int, int]) -> None:
    assert relay_node.port_range(text) == ports


def test_times_become_the_nodes_settings() -> None:
    settings = relay_node.command(PARAMS).settings
    assert (settings.ttl_s, settings.linger_s, settings.silence_s) == (60.0, 10.0, 6.0)
    assert settings.patience == (20.0, 3.0, 20.0)
    assert relay_node.command({**PARAMS, "patience_s": 2.0}).settings.patience == (2.0, 0.5, 2.0)


def test_limits_that_are_not_given_are_left_alone() -> None:
    assert relay_node.command(PARAMS).limits == {}
    given = relay_node.command({**PARAMS, "rate_mbps": 0.0, "links": {"kvm2": "20"}, "streams": 3}).limits
    assert given == {"rate_mbps": 0.0, "links": {"kvm2": 20.0}, "streams": 3}


def test_bases_come_with_the_paths_of_their_pools() -> None:
    assert relay_node.bases(PARAMS) == [
        {
            "metadata": METADATA,
            "pool": "default",
            "pool_path": "/srv/pool",
            "parents": ["kvm2"],
            "weights": [],
            "expected_mbps": None,
            "children": ["kvm3"],
        }
    ]
    striped = {**BASE, "parents": [["kvm2"], ["kvm3", "kvm2"]], "weights": [0.25, 0.75], "expected_mbps": 90.0}
    assert relay_node.bases({**PARAMS, "bases": [striped]})[0]["parents"] == [["kvm2"], ["kvm3", "kvm2"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"port_range": "1-70000"}, "port_range: '1-70000' is not accepted"),
        ({"port_range": "9-1"}, "port_range: '9-1' is not accepted"),
        ({"port_range": "x"}, "port_range: 'x' is not accepted"),
        ({"ttl_s": 0}, "ttl_s: 0 is not accepted"),
        ({"patience_s": -1}, "patience_s: -1 is not accepted"),
        ({"rate_mbps": -1.0}, "rate_mbps: -1.0 is not accepted"),
        ({"streams": -1}, "streams: -1 is not accepted"),
        ({"links": {"kvm2": "fast"}}, "links.kvm2: 'fast' is not accepted"),
        ({"links": {"kvm2": -5}}, "links.kvm2: -5 is not accepted"),
        ({"nice": 20}, "nice: 20 is not accepted"),
    ],
    ids=str,
)
def test_options_of_the_node_are_checked(change: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        relay_node.command({**PARAMS, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parents": ["kvm2", ["kvm3"]]}, r"bases\[0\].parents: .* a list of hosts, or a list of such lists"),
        ({"parents": [["kvm2"], ["kvm3"]], "weights": [1.0]}, r"bases\[0\].weights: .* one number for each of the 2 stripes"),
        ({"weights": [-1.0]}, r"bases\[0\].weights"),
        ({"parents": [["kvm2"]] * 256}, r"bases\[0\].parents: .* at most 255"),
        ({"expected_mbps": 0.0}, r"bases\[0\].expected_mbps: 0.0"),
        ({"pool": "other"}, r"bases\[0\].pool: 'other' is not accepted; this host's pools are: default"),
        ({"metadata": {**METADATA, "sha256": "../x"}}, r"bases\[0\].metadata.sha256: '../x'"),
        ({"metadata": {**METADATA, "size_bytes": "1"}}, r"bases\[0\].metadata.size_bytes: '1'"),
        ({"metadata": {**METADATA, "chunk_bytes": 0}}, r"bases\[0\].metadata.chunk_bytes: 0"),
        ({"metadata": {}}, r"bases\[0\].metadata.sha256: None"),
    ],
    ids=["parents", "too few weights", "weights", "stripes", "rate", "pool", "digest", "size", "chunk", "empty"],
)
def test_bases_are_checked(change: dict[str, t.Any], message: str) -> None:
    base = {**BASE, **change}
    with pytest.raises(InvalidOption, match=message):
        relay_node.bases({**PARAMS, "bases": [base]})


def test_a_failure_names_each_attempt_once() -> None:
    base = {"pool": "p", "msg": "No living parent.", "attempts": [{"error": "a is gone."}, {"error": "b is gone."}]}
    assert relay_node.told("1", base) == ("Base 1 did not arrive in the pool p: No living parent. Attempts: a is gone.; b is gone.")


@pytest.mark.parametrize(
    ("state", "fleet", "wanted"),
    [("progress", None, True), ("finished", None, False), ("started", True, True), ("progress", False, False)],
)
def test_only_a_look_at_the_progress_returns_the_whole_fleet_unasked(state: str, fleet: bool | None, wanted: bool) -> None:
    assert relay_node.wants_fleet({"state": state, "fleet": fleet}) is wanted


def test_the_fleet_stands_beside_the_node_and_not_in_it() -> None:
    told = {"run": "r", "bases": {}, "fleet": {"kvm1": {}}, "fleet_settled": True}
    node = {"run": "r", "bases": {}}
    assert relay_node.answer(told) == {"changed": False, "node": node, "fleet": {"kvm1": {}}, "fleet_settled": True}
    assert relay_node.answer({"run": "r"}, True) == {"changed": True, "node": {"run": "r"}}


def test_a_partial_that_somebody_writes_is_not_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_node, "LOCK_S", 0.0)
    base = {"metadata": METADATA, "pool_path": str(tmp_path)}
    assert not relay_node.discarded(base)
    partial = Store(str(tmp_path)).partial("1" * 64)
    Path(partial.disk).write_bytes(b"half")
    assert not relay_node.discarded(base)
    assert Path(partial.disk).read_bytes() == b"half"
    partial.close()
    assert relay_node.discarded(base)
    assert not Path(partial.directory).exists()
    assert not relay_node.discarded(base)


def test_what_the_store_refuses_is_a_failure_of_the_pool(tmp_path: Path) -> None:
    shelf = relay_node.StoreShelf()
    claim = shelf.claim(str(tmp_path), "1" * 64)
    with pytest.raises(PartialInUse, match="Another run"):
        shelf.claim(str(tmp_path), "1" * 64)
    Path(claim.disk).write_bytes(b"half")
    with pytest.raises(StorageFailed, match="cannot be published"):
        claim.publish(METADATA, b"")
    claim.discard()
    with pytest.raises(StorageFailed, match="does not exist"):
        shelf.claim(str(tmp_path / "gone"), "1" * 64)
