# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import pathlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import download
from ansible_collections.basecast.fleet.plugins.module_utils._disk.download import DownloadFailed, Terms
from ansible_collections.basecast.fleet.plugins.module_utils._disk.server_access import Access, Credential, checked_access, secrets
from ansible_collections.basecast.fleet.plugins.module_utils._disk.sources import Rules
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.web_server import File, Proxy, Server, authority

RULES = Rules(hosts=("127.0.0.0/8", "localhost"))
BASIC = "Basic " + base64.b64encode(b"alice:top secret").decode()
ALICE = Credential("127.0.0.1", "alice", "top secret", plain_http=True)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: t.Any) -> tuple[pathlib.Path, pathlib.Path]:
    return authority(tmp_path_factory.mktemp("authority"))


def read(url: str, access: Access) -> str:
    return download.read_text(url, Terms(RULES, access, timeout_s=5), 1000)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("wants", "credential"),
    [
        (BASIC, ALICE),
        ("Bearer abc.def", Credential("127.0.0.1", token="abc.def", plain_http=True)),
        ("Basic " + base64.b64encode("jörg:ü:x".encode()).decode(), Credential("127.0.0.1", "jörg", "ü:x", plain_http=True)),
    ],
)
def test_credentials_are_sent(wants: str, credential: Credential) -> None:
    with Server({"/x": File(b"hello")}, wants) as server:
        assert read(f"{server.url}/x", Access((credential,))) == "hello"
        with pytest.raises(DownloadFailed, match=r"401 .*give credentials with auth"):
            read(f"{server.url}/x", Access())
        with pytest.raises(DownloadFailed, match=r"401 .*its credentials for this server are not accepted") as raised:
            read(f"{server.url}/x", Access((credential._replace(password="wrong one", username="bob", token=None),)))
    assert "wrong one" not in raised.value.message


def test_credentials_are_for_one_server_only() -> None:
    port_of_another = Credential("127.0.0.1:1", "alice", "top secret", plain_http=True)
    with Server({"/x": File(b"hello")}) as server:
        for credential in (
            Credential("localhost", "a", "b", plain_http=True),
            port_of_another,
            Credential("27.0.0.1", token="x", plain_http=True),
        ):
            read(f"{server.url}/x", Access((credential,)))
        own = Credential(server.url.partition("//")[2], "alice", "top secret", plain_http=True)
        read(f"{server.url}/x", Access((port_of_another, own)))
    assert [asked.headers.get("Authorization") for asked in server.asked] == [None, None, None, BASIC]


def test_a_redirect_takes_credentials_to_the_same_server_only() -> None:
    """Not to another port of the host, though the credentials would fit it: the manifest has not named it."""
    with Server({"/x": File(b"hello")}) as other, Server({"/x": File(b"hello")}) as server:
        server.files |= {"/away": f"{other.url}/x", "/near": "/x", "/name": f"{server.url.replace('127.0.0.1', 'localhost')}/x"}
        for path in ("away", "near", "name"):
            read(f"{server.url}/{path}", Access((ALICE,)))
        named = server.asked[-1]
    assert [asked.headers.get("Authorization") for asked in other.asked] == [None]
    assert [(asked.path, asked.headers.get("Authorization")) for asked in server.asked] == [
        *(("/away", BASIC), ("/near", BASIC), ("/x", BASIC), ("/name", BASIC), ("/x", None)),
    ]
    assert named.headers["Host"].startswith("localhost")


def test_credentials_do_not_cross_the_network_in_clear() -> None:
    with Server({"/x": File(b"hello")}) as server, pytest.raises(InvalidOption, match="https, or set plain_http") as raised:
        read(f"{server.url}/x", Access((ALICE._replace(plain_http=False),)))
    assert server.asked == []
    assert "secret" not in raised.value.message + str(raised.value.fields)


def test_an_own_authority(pem: tuple[pathlib.Path, pathlib.Path]) -> None:
    ca, certificate = pem
    with Server({"/x": File(b"hello")}, BASIC, certificate) as server:
        access = Access((ALICE._replace(plain_http=False),))
        assert read(f"{server.url}/x", access._replace(ca_file=str(ca))) == "hello"
        with pytest.raises(DownloadFailed, match=r"certificate is not accepted .*basecast_source_ca_path"):
            read(f"{server.url}/x", access)
        # The author of a manifest cannot vouch for a server that is shown the administrator's credentials.
        with pytest.raises(DownloadFailed, match=r"certificate is not accepted .*not vouched for by ca"):
            read(f"{server.url}/x", access._replace(ca=ca.read_text()))
    assert len(server.asked) == 1
    with Server({"/x": File(b"hello")}, certificate=certificate) as server:
        assert read(f"{server.url}/x", Access(ca=ca.read_text())) == "hello"


@pytest.mark.parametrize(
    "content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x" * (1 << 21)]
)
def test_authorities_that_are_none(tmp_path: pathlib.Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidOption, match=r"^ca_file: "):
        Access(ca_file=str(path)).tls()
    if content is not None:
        with pytest.raises(InvalidOption, match=r"^ca: "):
            Access(ca=content).tls()


def test_a_proxy(monkeypatch: pytest.MonkeyPatch, pem: tuple[pathlib.Path, pathlib.Path]) -> None:
    ca, certificate = pem
    url = "http://mirror.test/x"
    with Server({"/x": File(b"hello")}) as server, Proxy(server.url) as proxy:
        place = f"http://{proxy.place}"
        assert read(url, Access(proxy=place)) == "hello"
        monkeypatch.setenv("http_proxy", place)
        assert read(url, Access()) == "hello"
        assert proxy.asked == ["GET http://mirror.test/x HTTP/1.1"] * 2
        with pytest.raises(FleetError, match=r"mirror.test"):
            read(url, Access(proxy=""))
    with Server({"/x": File(b"hello")}, "Bearer abc", certificate) as server, Proxy(server.url) as proxy:
        token = Credential("127.0.0.1", token="abc")
        assert read(f"{server.url}/x", Access((token,), str(ca), proxy=f"http://{proxy.place}")) == "hello"
        assert proxy.asked == [f"CONNECT {server.url.partition('//')[2]} HTTP/1.1"] or proxy.asked[0].startswith("CONNECT 127.0.0.1:")


def test_a_proxy_that_wants_a_password() -> None:
    with Server({"/x": File(b"hello")}) as server, Proxy(server.url, "bob:pass word") as proxy:
        assert read("http://mirror.test/x", Access(proxy=f"http://bob:pass%20word@{proxy.place}")) == "hello"
        with pytest.raises(DownloadFailed, match=r"407 .*in the URL of proxy"):
            read("http://mirror.test/x", Access(proxy=f"http://{proxy.place}"))
    assert all("Proxy-Authorization" not in asked.headers or "Basic" in asked.headers["Proxy-Authorization"] for asked in server.asked)


def test_a_redirect_past_the_proxy_takes_no_password(monkeypatch: pytest.MonkeyPatch, pem: tuple[pathlib.Path, pathlib.Path]) -> None:
    """As from http to https where there is a proxy for http alone, or to what no_proxy names."""
    ca, certificate = pem
    with Server({"/x": File(b"hello")}, certificate=certificate) as away, Server() as server, Proxy(server.url, "bob:sesame") as proxy:
        server.files["/x"] = f"{away.url}/x"
        server.files["/again"] = "http://mirror.test/x"
        monkeypatch.setenv("http_proxy", f"http://bob:sesame@{proxy.place}")
        for path in ("x", "again"):
            assert read(f"http://mirror.test/{path}", Access(ca_file=str(ca))) == "hello"
        assert [asked.headers.get("Proxy-Authorization") for asked in away.asked] == [None, None]
    assert len(proxy.authorizations) == 3, "each request that goes by the proxy has its password"


REFUSED = {
    "no secret": ([{"host": "h"}], "either username and password, or token"),
    "both": ([{"host": "h", "username": "u", "password": "sesame", "token": "sesame"}], "either"),
    "half": ([{"host": "h", "username": "u"}], "either"),
    "the other half": ([{"host": "h", "password": "sesame", "token": "sesame"}], "either"),
    "a URL": ([{"host": "http://h", "token": "sesame"}], "name or address"),
    "every host": ([{"host": "*", "token": "sesame"}], "name or address"),
    "none": ([{"host": "", "token": "sesame"}], "name or address"),
    "a line end": ([{"host": "h", "token": "sesame\r\nX: y"}], "one line"),
    "a colon": ([{"host": "h", "username": "u:v", "password": "sesame"}], "without a colon"),
    "letters in a token": ([{"host": "h", "token": "sesäme"}], "ASCII"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_credentials(name: str) -> None:
    given, reason = REFUSED[name]
    with pytest.raises(InvalidOption, match=reason) as raised:
        checked_access(given)
    assert "sesame" not in raised.value.message + str(raised.value.fields)


@pytest.mark.parametrize(
    "proxy",
    ["ftp://h", "h:3128", "http://[x", "http://user:sesame@", "http://user:sesame@h:port", "user:sesame@h:3128", "http:/user:sesame@h"]
    + ["http://user:x/sesame@h:3128", "http://user:sesame?x@h", "http://user:sesame#@h", "http://user:3/sesame@h"],
)
def test_refused_proxies(proxy: str) -> None:
    with pytest.raises(InvalidOption, match=r"^proxy: ") as raised:
        checked_access([], proxy=proxy)
    assert "sesame" not in raised.value.message + str(raised.value.fields)
    assert "sesame" not in proxy or any("sesame" in secret for secret in secrets([], proxy))


def test_a_proxy_of_the_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http:/bob:sesame@h:3128")
    with pytest.raises(FleetError) as raised:
        read("http://mirror.test/x", Access())
    assert "sesame" not in raised.value.message + str(raised.value.fields)


def test_what_is_hidden() -> None:
    given = [{"host": "h", "username": "alice", "password": "top secret"}, {"host": "i", "token": "abc"}]
    assert secrets(given, "http://bob:p%20w@proxy:1") == {"top secret", BASIC.partition(" ")[2], "abc", "bob:p%20w", "p%20w", "p w"}
    assert "secret" not in repr(checked_access(given))
