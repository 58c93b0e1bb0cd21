# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._urls import (
    check_url,
    compression_of,
    expired,
    expires_at,
    file_name,
    public_url,
    secrets_of,
    shown_name,
)

URLS = [
    ("http://h", "http://h/"),
    ("http://h/ö b.qcow2?x=ü y#frag", "http://h/%C3%B6%20b.qcow2?x=%C3%BC%20y"),
    ("http://h/a%20b", "http://h/a%20b"),
    ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
    ("HTTPS://H:8443/x", "https://h:8443/x"),
    ("http://[::1]:80/x", "http://[::1]:80/x"),
    ("http://h/a+b?c=d%2Fe&f=(g)", "http://h/a+b?c=d%2Fe&f=(g)"),
    ("  http://h/x ", "http://h/x"),
]


@pytest.mark.parametrize(("url", "wanted"), URLS)
def test_urls_as_they_are_sent(url: str, wanted: str) -> None:
    assert check_url(url) == wanted


BAD_URLS = [
    *("http://[::1/x", "http://[x]/y", "http://h:99999/x", "http://h:port/x", "http:///x", "http://", "http:x", "//h/x", ""),
    *("http://h/a\nb", "http://h/\x1b[2J", "http://h/\ud800", "http://h\\@evil/x", "http://a b/x", "http://%31/x", "http://h%2ex/"),
    *("http://" + "a" * 300 + "/x", "http://a..b/x", "javascript:alert(1)", "data:,x", "http://*/x", "http://u@h/x", "jar:http://h"),
]


@pytest.mark.parametrize(
    "url",
    [*BAD_URLS, "ftp://h/a", "/etc/passwd", "https://user:secret@h/a", "nbd://h", "http://[secret:secret@/?secret"]
    + ["https://user:x/secret@h/a", "https://user:secret?@h/a", "https:/user:secret@h"]
    + ["http://me@example.org:secret/1@h/x", "https://me@corp:secret?x@h/y", "http:user:secret@h/x", "http:\\\\user:secret@h/x"]
    + ["http://user:secret%40h/x", "user:secret@h/x", "user:8secret@h", "http://user:secret＠h/x", "https：//user:secret@h/x"],
)
def test_refused_urls(url: str) -> None:
    with pytest.raises(InvalidOption) as error:
        check_url(url)
    assert "secret" not in error.value.message
    assert error.value.message.isprintable()
    public_url(url)


def test_what_is_shown_of_a_url() -> None:
    assert public_url("https://u:p@h:1/a/b.qcow2?token=x#f") == "https://h:1/a/b.qcow2"
    assert public_url("https://h:8080/a@b") == "https://h:8080/a@b"
    assert public_url("https://[::1]:80/a@b") == "https://[::1]:80/a@b"
    assert public_url("https://u:p/q@r@h:1/x?y") == "https://h:1/x"
    assert public_url("https://me@example.org:p/q@h:1/x?y") == "https://h:1/x"
    assert public_url("https://h:8080/a%40b") == "https://h:8080/a%40b"
    assert public_url("oci://h:5000/a@sha256:0") == "oci://h:5000/a@sha256:0"
    assert public_url("a:12@sha256:0") == "a:12@sha256:0"
    assert file_name("https://h/a/b%20c.qcow2?x=y") == "b c.qcow2"


def test_what_is_hidden_of_a_url() -> None:
    assert secrets_of("http://h/x?X-Sig=abc%2Fdefgh&n=1#f") == {
        "X-Sig=abc%2Fdefgh&n=1",
        "X-Sig=abc/defgh&n=1",
        "abc%2Fdefgh",
        "abc/defgh",
    }
    assert secrets_of("http://h/x") == set()


SIGNED = {
    "S3": ("https://b.s3.example/x?X-Amz-Date=20261128T120000Z&X-Amz-Expires=3600&X-Amz-Signature=topsecret", 1795870800),
    "S3, small": ("https://b.s3.example/x?x-amz-date=20261128T120000Z&x-amz-expires=60&x-amz-signature=topsecret", 1795867260),
    "S3, version 2": ("https://b.s3.example/x?AWSAccessKeyId=a&Expires=1795867200&Signature=topsecret", 1795867200),
    "Google": ("https://s.example/x?X-Goog-Date=20261128T120000Z&X-Goog-Expires=1&X-Goog-Signature=topsecret", 1795867201),
    "Azure": ("https://a.example/x?se=2026-11-28T12%3A00%3A00Z&sp=r&sig=topsecret", 1795867200),
    "Azure, minutes": ("https://a.example/x?se=2026-11-28T12%3A00Z&sp=r&sig=topsecret", 1795867200),
    "Azure, day": ("https://a.example/x?se=2026-11-29&sp=r&sig=topsecret", 1795910400),
    "none": ("https://a.example/x?version=1", None),
    "no query": ("https://a.example/x", None),
    "expires, but of what": ("https://a.example/x?Expires=1795867200", None),
    "no date": ("https://a.example/x?X-Amz-Date=now&X-Amz-Expires=3600", None),
    "no number": ("https://a.example/x?X-Amz-Date=20261128T120000Z&X-Amz-Expires=-5", None),
    "a day that is none": ("https://a.example/x?se=2026-02-31&sig=topsecret", None),
}


@pytest.mark.parametrize("name", SIGNED)
def test_until_when_a_signature_holds(name: str) -> None:
    url, end = SIGNED[name]
    assert expires_at(url) == end
    if end is not None:
        assert expired(url, end - 1) == ""
        assert "UTC" in expired(url, end)
        assert "topsecret" not in expired(url, end)
    else:
        assert expired(url, 4e9) == ""


def test_what_is_shown_of_a_secret_path() -> None:
    url = "https://h:1/d/0123456789abcdef/debian.qcow2.xz?t=x"
    assert public_url(url, True) == shown_name(url, True) == "https://h:1/….qcow2.xz"
    assert shown_name(url) == "debian.qcow2.xz"
    assert public_url("https://h/token/download", True) == "https://h/…"
    assert public_url("https://[h/0123456789abcdef", True) == "https://[h/…"
    hidden = secrets_of("https://h/d/0123456789%61bcdef/x.qcow2", True)
    assert hidden == {"/d/0123456789%61bcdef/x.qcow2", "/d/0123456789abcdef/x.qcow2", "0123456789%61bcdef", "0123456789abcdef"}
    assert "images" not in secrets_of("https://h/images/x.qcow2", True), "common words would be hidden in every other place too"


@pytest.mark.parametrize("url", [*BAD_URLS, "https://h/0123456789abcdef\x07"])
def test_a_secret_path_is_not_told_when_it_is_refused(url: str) -> None:
    with pytest.raises(InvalidOption) as error:
        check_url(url, secret=True)
    assert "0123456789abcdef" not in error.value.message


@pytest.mark.parametrize(
    ("name", "wanted", "kind"),
    [
        ("a.qcow2", "auto", "none"),
        ("a.qcow2.XZ", "auto", "xz"),
        ("a.gz", "auto", "gzip"),
        ("a.raw.zst", "auto", "zstd"),
        ("a.bz2", "auto", "bzip2"),
        ("a.xz", "none", "none"),
        ("download", "xz", "xz"),
        (".xz", "auto", "none"),
        ("xz", "auto", "none"),
    ],
)
def test_which_compression(name: str, wanted: str, kind: str) -> None:
    assert compression_of(name, wanted) == kind
