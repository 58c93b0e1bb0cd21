# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees
from ansible_collections.basecast.fleet.plugins.module_utils._job.bases import Bases, node_of, teller
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node import control_socket
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.run_directory import RunDirectory
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import put_base

from .conftest import Site

GONE = "cd" * 32
TOLD: dict[str, t.Any] = {"state": "fetching", "bytes": 5, "size_bytes": 10, "pool": "one", "msg": "", "attempts": []}


def watch(site: Site, node: t.Any, **options: t.Any) -> Bases:
    return Bases(site.stores, [GONE], "run-1", lambda: node() if callable(node) else node, **options)


def test_a_base_in_any_pool_is_here(site: Site) -> None:
    base = put_base(site.stores["two"])
    bases = Bases(site.stores, [base.sha256], "run-1", lambda: pytest.fail("nobody has to be asked"))
    [state] = bases.look(0.0, 1000.0)
    assert (state.state, state.pool, state.bytes, state.there_at) == ("here", "two", base.size_bytes, 1000.0)
    assert bases.coming == [] and bases.look(1.0, 1001.0) == []


def test_progress_of_the_node_is_told(site: Site) -> None:
    bases = watch(site, {"started": True, "bases": {GONE: TOLD}})
    [state] = bases.look(0.0, 0.0)
    assert (state.state, state.bytes, state.size_bytes) == ("coming", 5, 10)


@pytest.mark.parametrize(
    "node, limit_s",
    [
        (None, 15.0),
        ({"started": True, "bases": {}}, 15.0),
        ({"started": True, "bases": {GONE: {**TOLD, "state": "failed", "msg": "lost"}}}, 60.0),
        ({"started": False, "bases": {}}, 7200.0),
        ({"started": True, "bases": {GONE: TOLD}}, 7200.0),
    ],
)
def test_only_a_failure_that_lasts_counts(node: t.Any, limit_s: float, site: Site) -> None:
    bases = watch(site, node)
    bases.look(100.0, 0.0)
    bases.look(100.0 + limit_s - 0.1, 0.0)
    assert bases.coming == [GONE]
    bases.look(100.0 + limit_s, 0.0)
    assert bases.coming == [] and bases.states[GONE].state == "failed" and GONE in bases.states[GONE].msg


def test_a_damaged_base_is_not_here_and_told(site: Site) -> None:
    base = put_base(site.stores["one"])
    file_trees.remove_tree_or_file(os.path.join(base.directory, "chunks"))
    bases = Bases(site.stores, [base.sha256], "run-1", lambda: None)
    bases.look(0.0, 0.0)
    bases.look(15.0, 0.0)
    state = bases.states[base.sha256]
    assert state.state == "failed" and "that in one is damaged, chunks is missing" in state.msg


def test_a_failure_that_is_mended_counts_anew(site: Site) -> None:
    failed = {"started": True, "bases": {GONE: {**TOLD, "state": "failed", "msg": "lost"}}}
    going = {"started": True, "bases": {GONE: TOLD}}
    said = iter([failed, failed, going, failed, failed, failed])
    bases = watch(site, lambda: next(said))
    for now in (0.0, 59.0, 60.0, 61.0, 120.0):
        bases.look(now, 0.0)
        assert bases.coming == [GONE], now
    bases.look(121.0, 0.0)
    assert bases.coming == []


def test_the_node_is_told_how_far_machines_are(tmp_path: t.Any) -> None:
    runtime = RunDirectory(str(tmp_path), "run-1")
    counts = {"wanted": 5, "disks": 4, "started": 3, "reported": 2, "failed": 1}
    teller(runtime)(counts)  # to nobody
    (tmp_path / "run-1").mkdir()
    heard: list[t.Any] = []
    stop = threading.Event()

    def handle(message: t.Any) -> dict[str, t.Any]:
        heard.append(message.raw)
        return {}

    server = control_socket.listen(runtime.socket)
    thread = threading.Thread(target=control_socket.serve, args=(server, handle, stop))
    thread.start()
    teller(runtime)(counts)
    stop.set()
    thread.join()
    server.close()
    assert heard == [{"command": "machines", "counts": [5, 4, 3, 2, 1]}]


def test_no_node_is_none(tmp_path: t.Any) -> None:
    assert node_of(RunDirectory(str(tmp_path), "run-1"))() is None
