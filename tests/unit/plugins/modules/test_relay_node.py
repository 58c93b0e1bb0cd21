# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node import process
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


def test_a_run_that_is_given_up_while_its_node_waits_to_start_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = process.RunDirectory(str(tmp_path), "r")
    runtime.give_up()
    monkeypatch.setattr(process, "authority_of", lambda credentials: "")
    monkeypatch.setattr(process, "_start", lambda *_parts: pytest.fail("a node was started"))
    with pytest.raises(FleetError, match="the run was stopped by its name"):
        process.listening(runtime, t.cast("t.Any", types.SimpleNamespace(credentials={})), t.cast("t.Any", None))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("given_up", [True, False])
def test_a_run_that_was_given_up_gets_no_new_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given_up: bool) -> None:
    """A controller that still works on it takes the node's end for a crash and starts another one."""
    tmp_path /= "run"  # gone since the host was started anew
    runtime = process.RunDirectory(str(tmp_path), "r")
    started: list[str] = []
    monkeypatch.setattr(process, "listening", lambda runtime, wanted, shelf: (started.append(wanted.run) or {}, True))
    module: t.Any = types.SimpleNamespace(
        params={**PARAMS, "pools": {"default": str(tmp_path)}, "reserve_percent": 5.0, "discard": False, "give_up": given_up},
        check_mode=False,
    )
    relay_node.stop(module, runtime)
    if given_up:
        with pytest.raises(FleetError, match="the run was stopped by its name"):
            relay_node.listen(module, runtime)
    else:
        relay_node.listen(module, runtime)
    assert started == ([] if given_up else ["r"])
    # Other runs are not concerned, and the mark goes with what ended runs leave.
    relay_node.listen(module, process.RunDirectory(str(tmp_path), "r2"))
    assert all(path.name.endswith(",ended.json") for path in (tmp_path.iterdir() if given_up else ()))
