# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.modules import base_disk_source_info

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(base_disk_source_info)


def test_sources_and_candidates(run: Run, disk_pools: dict[str, str]) -> None:
    path = pathlib.Path(disk_pools["one"]) / "$HOME ö.raw"
    path.write_bytes(bytes(512))
    os.utime(path, (1, 1))
    wanted = [{"sha256": hashlib.sha256(bytes(512)).hexdigest(), "size_bytes": 512}]
    nothing = {"problem": "", "note": "", "sha256": None, "etag": None, "last_modified": None}
    result = run(sources=[{"name": "a", "path": path.name, "pool": "one"}], wanted=wanted)
    assert result["sources"] == {"a": {"isreg": True, "size": 512, **nothing}}
    assert result["candidates"] == [{**wanted[0], "path": str(path)}]
    assert not result["changed"]


@pytest.mark.parametrize(("size", "told"), [(None, True), (512, True), (1024, False)])
def test_the_digest_of_a_source(run: Run, disk_pools: dict[str, str], size: int | None, told: bool) -> None:
    path = pathlib.Path(disk_pools["one"]) / "x.raw"
    path.write_bytes(bytes(512))
    os.utime(path, (1, 1))
    asked = {"name": "a", "path": "x.raw", "pool": "one", "digest": True, "size_bytes": size}
    seen = run(sources=[asked])["sources"]["a"]
    assert seen["sha256"] == (hashlib.sha256(bytes(512)).hexdigest() if told else None)
    assert bool(list(pathlib.Path(disk_pools["one"]).glob("bases/.imports/*.json"))) is told


def test_a_query_is_shown_nowhere(run: Run) -> None:
    url = "http://127.0.0.1:1/a?sig=topsecret"
    result = run(sources=[{"name": "a", "url": url, "pool": "one"}], _ansible_verbosity=4)
    assert "loopback" in result["sources"]["a"]["problem"]
    assert "topsecret" not in json.dumps(result)
    assert result["invocation"]["module_args"]["sources"][0]["url"] == "http://127.0.0.1:1/a"


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"wanted": [{"sha256": "x", "size_bytes": 1}]}, "wanted[].sha256"),
        ({"wanted": [{"sha256": "a" * 64, "size_bytes": 0}]}, "wanted[].size_bytes"),
        ({"sources": [{"name": "a", "path": "x", "pool": "none"}]}, "sources[].pool"),
        ({"source_dirs": ["../x"]}, "source_dirs"),
        ({"source_hosts": ["http://x"]}, "source_hosts"),
    ],
)
def test_wrong_options(run: Run, options: dict[str, t.Any], place: str) -> None:
    assert run(**options)["msg"].startswith(place)
