# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import holds
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.modules import base_disk_import

Run = t.Callable[..., dict[str, t.Any]]


@pytest.fixture
def run(run_on_pools: t.Callable[..., Run]) -> Run:
    return run_on_pools(base_disk_import)


def test_import_check_import_again(run: Run, tmp_path: t.Any) -> None:
    source = tmp_path / "disk.raw"
    source.write_bytes(bytes(4096))
    wanted = {"pool": "one", "src": str(source), "source_dirs": [str(tmp_path)], "name": "debian", "version": "12"}
    predicted = run(True, **wanted)
    real = run(**wanted)
    assert (predicted["changed"], real["changed"]) == (True, True)
    assert predicted["diff"] == real["diff"]
    assert predicted["base"] is None
    assert real["base"]["names"] == [{"tenant": "default", "name": "debian", "version": "12"}]
    assert real["base"]["damaged"] is False
    assert run(True, **wanted)["changed"] is False
    assert run(**wanted)["base"] == real["base"]


def test_what_another_tenant_imported_tells_nothing_of_it(run: Run, tmp_path: t.Any) -> None:
    """Both have the same bytes, from files of their own."""
    results = {}
    for tenant, name in (("acme", "secretos"), ("zeta", "plainos"), ("acme", "secretos")):
        source = tmp_path / tenant / f"{name}.raw"
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(bytes(4096))
        wanted = {"pool": "one", "src": str(source), "source_dirs": [str(tmp_path)], "name": name, "version": "1", "tenant": tenant}
        predicted = run(True, **wanted)
        results[tenant] = run(**wanted)
        assert tenant == "acme" or ("acme" not in f"{predicted} {results[tenant]}" and "secretos" not in f"{predicted} {results[tenant]}")
    assert results["zeta"]["base"]["imported_from"]["kind"] == "hidden"
    assert results["zeta"]["diff"]["after"]["references"] == ["name zeta plainos 1", "tenant zeta"]
    assert results["acme"]["base"]["imported_from"]["name"] == str(tmp_path / "acme" / "secretos.raw")
    assert "zeta" not in f"{results['acme']}"


@pytest.mark.parametrize("there", [True, False])
def test_the_run_holds_what_it_imports(run: Run, tmp_path: t.Any, there: bool) -> None:
    """Nothing else needs it until machines are made from it, however little else keeps it."""
    (tmp_path / "disk.raw").write_bytes(bytes(4096))
    wanted = {"pool": "one", "src": str(tmp_path / "disk.raw"), "source_dirs": [str(tmp_path)], "name": "debian", "version": "12"}
    if there:
        run(**wanted)
    sha256 = run(run="run-1", **wanted)["base"]["sha256"]
    assert holds.standing(Store(str(tmp_path / "one"))) == [holds.Hold("run-1", (sha256,))]


def test_a_failure_has_fields(run: Run, tmp_path: t.Any) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    result = run(pool="one", src=str(tmp_path / "disk"), source_dirs=[str(tmp_path)])
    assert result["failed"]
    assert result["failure"] == {"kind": "format_unclear", "name": str(tmp_path / "disk"), "promised": None, "looks_like": "raw"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"src": "/a", "url": "http://h/a"},
        {},
        {"src": "/a", "name": "x"},
        {"src": "/a", "name": "../x", "version": "1"},
        {"src": "/a", "tenant": "a/b"},
        {"src": "/a", "sha256": "short"},
        {"src": "/a", "parent": "short"},
        {"src": "/a", "pool": "three"},
        {"src": "/a", "adopt": True},
        {"src": "/a", "metadata": {}},
        {"url": "gopher://h/a"},
        {"src": "../a"},
    ],
)
def test_refused_options(run: Run, arguments: dict[str, t.Any]) -> None:
    assert run(**{"pool": "one", **arguments})["failed"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.qcow2?X-Sig=topsecret%2F1&x=1", "ftp://h/a?sig=topsecret/1", "http://[::1?sig=topsecret/1"]
)
@pytest.mark.parametrize("more", [{}, {"sha256": "no digest"}, {"source_hosts": ["127.0.0.1"]}, {"check_mode": True}])
def test_a_query_is_shown_nowhere(run: Run, url: str, more: dict[str, t.Any]) -> None:
    result = run(pool="one", url=url, _ansible_verbosity=4, **more)
    assert "topsecret" not in json.dumps(result)
    if url.startswith("http://127") and "sha256" not in more:
        assert result["invocation"]["module_args"]["url"] == "http://127.0.0.1:1/a.qcow2"
        assert "127.0.0.1" in json.dumps([result.get("msg"), result.get("actions")])


@pytest.mark.parametrize("name", ["$HOME.raw", "${HOME}.raw", "~.raw", "%41.raw", "a ö\u3000b.raw", "'; rm x.raw", "a\tb.raw"])
def test_a_path_is_what_was_written(run: Run, disk_pools: dict[str, str], name: str) -> None:
    with open(f"{disk_pools['one']}/{name}", "wb") as file:
        file.write(bytes(512))
    assert run(pool="one", src=name)["base"]["size_bytes"] == 512


AUTH = [{"host": "127.0.0.1", "username": "alice", "password": "sesame-open", "plain_http": True}, {"host": "h", "token": "tok-sesame"}]
HIDDEN = ("sesame", "topsecret", "0123456789abcdef", "YWxpY2U6")  # the last is how "alice:" begins where it is sent


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"check_mode": True},
        {"sha256": "no digest"},
        {"mirrors": ["http://127.0.0.1:1/0123456789abcdef/b?sig=topsecret", "ftp://h/0123456789abcdef?topsecret"]},
        {"mirrors": ["http://127.0.0.1:1/0123456789abcdef/b?sig=topsecret"]},
        {"checksum": "http://127.0.0.1:1/0123456789abcdef/SHA256SUMS?sig=topsecret"},
        {"checksum": "https://u:topsecret@h/0123456789abcdef"},
        {"proxy": "http://bob:topsecret@127.0.0.1:1"},
        {"proxy": "nonsense://bob:topsecret@127.0.0.1:1"},
        {"auth": [*AUTH, {"host": "h", "token": "sesame", "password": "sesame-too"}]},
        {"auth": [{**AUTH[0], "plain_http": False}]},
        {"ca": "no certificate"},
        {"source_hosts": []},
    ],
)
def test_secrets_are_shown_nowhere(run: Run, more: dict[str, t.Any]) -> None:
    """In results with -vvv, and in errors of every step."""
    options = {
        "url": "http://127.0.0.1:1/0123456789abcdef/a.qcow2?sig=topsecret",
        "secret": True,
        "auth": AUTH,
        "source_hosts": ["127.0.0.1"],
    }
    result = run(pool="one", _ansible_verbosity=4, **{**options, **more})
    assert [secret for secret in HIDDEN if secret in json.dumps(result)] == []
    assert "127.0.0.1" in json.dumps(result["invocation"])


@pytest.mark.parametrize("option", [{"mirrors": ["http://h/x"]}, {"checksum": "a" * 64}, {"ca": "x"}])
def test_options_of_urls_belong_to_urls(run: Run, option: dict[str, t.Any]) -> None:
    assert "it is accepted together with url" in run(pool="one", src="x.raw", **option)["msg"]
