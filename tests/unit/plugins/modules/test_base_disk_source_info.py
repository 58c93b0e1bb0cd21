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
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk import web_server

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(base_disk_source_info)


def test_sources_and_candidates(run: Run, disk_pools: dict[str, str]) -> None:
    path = pathlib.Path(disk_pools["one"]) / "$HOME ö.raw"
    path.write_bytes(bytes(512))
    os.utime(path, (1, 1))
    wanted = [{"sha256": hashlib.sha256(bytes(512)).hexdigest(), "size_bytes": 512}]
    nothing = {"problem": "", "note": "", "sha256": None, "etag": None, "last_modified": None, "listed": None, "compression": "none"}
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


def test_secrets_are_shown_nowhere(run: Run) -> None:
    place = "http://127.0.0.1:1/0123456789abcdef"
    source = {
        "name": "a",
        "url": f"{place}/a.xz?sig=topsecret",
        "mirrors": [f"{place}/b?sig=topsecret"],
        "checksum": f"{place}/SUMS?sig=topsecret",
    }
    auth = [{"host": "127.0.0.1", "token": "topsecret-2"}]
    for more in ({}, {"source_hosts": ["127.0.0.1"]}, {"auth": []}, {"proxy": "http://u:topsecret@127.0.0.1:1"}):
        result = run(sources=[{**source, "pool": "one", "secret": True}], _ansible_verbosity=4, **{"auth": auth, **more})
        assert "topsecret" not in json.dumps(result) and "0123456789abcdef" not in json.dumps(result)
        assert result["sources"]["a"]["compression"] == "xz"


LOOKS = {
    "the first": ([b"x" * 700], {}, {"size": 700, "problem": "", "note": ""}),
    "a mirror": ([None, b"x" * 700], {}, {"size": 700, "problem": "", "note": ""}),
    "none": ([None, None], {}, {"size": None, "problem": ""}),
    "a list": ([b"x"], {"checksum": f"{'ab' * 32}  0.raw.gz\n"}, {"listed": f"sha256:{'ab' * 32}", "compression": "gzip", "problem": ""}),
    "a list of others": ([b"x"], {"checksum": f"{'ab' * 32}  1.raw.gz\n"}, {"listed": None}),
}


@pytest.mark.parametrize("name", LOOKS)
def test_servers_and_lists(run: Run, name: str) -> None:
    contents, more, wanted = LOOKS[name]
    files: dict[str, web_server.File | str] = {
        f"/{number}.raw.gz": web_server.File(content) for number, content in enumerate(contents) if content is not None
    }
    with web_server.Server(files) as server:
        urls = [f"{server.url}/{number}.raw.gz" for number in range(len(contents))]
        source = {"name": "a", "url": urls[0], "mirrors": urls[1:], "pool": "one"}
        if more:
            files["/SUMS"] = web_server.File(t.cast(str, more["checksum"]).encode())
            source["checksum"] = f"{server.url}/SUMS"
        seen = run(sources=[source], source_hosts=["127.0.0.1"])["sources"]["a"]
    assert {key: seen[key] for key in wanted} == wanted
    assert bool(seen["note"]) is (name == "none")
    assert ("does not tell" in seen["problem"]) is (name == "a list of others")


@pytest.mark.parametrize(("mirror", "problem"), [([], "its signature expired at 2020-01-01 00:00:01 UTC"), (["http://127.0.0.1:1/x"], "")])
def test_an_expired_signature_is_told_before(run: Run, mirror: list[str], problem: str) -> None:
    url = "https://h.example/x?X-Amz-Date=20200101T000000Z&X-Amz-Expires=1&X-Amz-Signature=topsecret"
    seen = run(sources=[{"name": "a", "url": url, "mirrors": mirror, "pool": "one"}], source_hosts=["127.0.0.1"])["sources"]["a"]
    assert problem in seen["problem"] and bool(seen["problem"]) is bool(problem)
