# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.checksum import Checksum, ChecksumMissing, Wanted, find, parse
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption

A, B, LONG = "ab" * 32, "cd" * 32, "ef" * 64
NAME = "debian-13-amd64.raw.xz"

LISTS = {
    "coreutils": f"{B}  other\n{A}  {NAME}\n",
    "binary": f"{A} *{NAME}\n",
    "upper case": f"{A.upper()}  {NAME}\r\n",
    "a directory": f"{A}  ./images/{NAME}\n",
    "one space": f"{A} {NAME}\n",
    "BSD": f"SHA256 (other) = {B}\nSHA256 ({NAME}) = {A}\n",
    "OpenSSL": f"SHA2-256({NAME})= {A}\n",
    "OpenSSL, older": f"SHA256({NAME})= {A}\n",
    "alone": f"{A}\n",
    "of a pipe": f"{A}  -\n",
    "a byte order mark": f"\ufeff{A}  {NAME}\r\n{B}  other\r\n",
    "with comments": f"# {NAME}: 12345 bytes\nSHA256 ({NAME}) = {A}\n",
    "signed": f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{A} *{NAME}\n-----BEGIN PGP SIGNATURE-----\n\niQIz\n-----END PGP SIGNATURE-----\n",
    "twice the same": f"{A}  {NAME}\n{A} *{NAME}\n",
    "several kinds": f"{LONG}  {NAME}\n{A}  {NAME}\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists(name: str) -> None:
    assert find(LISTS[name], NAME, "https://h/SHA256SUMS") == Checksum("sha256", A)


def test_the_kind_that_was_asked_for() -> None:
    assert find(LISTS["several kinds"], NAME, "x", "sha512") == Checksum("sha512", LONG)
    assert find(f"SHA512 ({NAME}) = {LONG}", NAME, "x") == Checksum("sha512", LONG)
    with pytest.raises(ChecksumMissing, match="does not tell a sha512 checksum"):
        find(LISTS["BSD"], NAME, "x", "sha512")


def test_names_that_coreutils_escapes() -> None:
    assert find(f"\\{A}  a\\nb\\\\c\n", "a\nb\\c", "x") == Checksum("sha256", A)


NONE = {
    "empty": ("", "has no file with a name like that"),
    "a page": ("<html>not found</html>", "has no file with a name like that"),
    "another": (f"{A}  debian-13-arm64.raw.xz\n{B}  README\n", "it has those of debian-13-arm64.raw.xz"),
    "a part of the name": (f"{A}  x{NAME}\n", f"it has those of x{NAME}"),
    "two that differ": (f"{A}  {NAME}\n{B}  {NAME}\n", "2 different sha256 checksums"),
    "two of pipes": (f"{A}  -\n{B}  -\n", "has no file with a name like that"),
    "two alone": (f"{A}\n{B}\n", "has no file with a name like that"),
    "alone beside others": (f"{A}\n{B}  other\n", "has no file with a name like that"),
    "too short": (f"{A[:-1]}  {NAME}\n", "has no file"),
    "MD5": (f"{'a' * 32}  {NAME}\n", "has no file"),
    "another kind than it says": (f"SHA512 ({NAME}) = {A}\n", "has no file"),
    "escapes": (f"{A}  \x1b[2J{NAME}\n", "debian"),
}


@pytest.mark.parametrize("name", NONE)
def test_lists_without_the_file(name: str) -> None:
    text, reason = NONE[name]
    with pytest.raises(ChecksumMissing, match=reason) as raised:
        find(text, NAME, "https://h/SHA256SUMS")
    assert raised.value.message.isprintable()


GIVEN = {
    A: Wanted(Checksum("sha256", A)),
    f"sha256:{A.upper()}": Wanted(Checksum("sha256", A)),
    f" SHA512:{LONG} ": Wanted(Checksum("sha512", LONG)),
    "https://h/SHA256SUMS": Wanted(url="https://h/SHA256SUMS"),
    "sha512:https://h/SHA512SUMS": Wanted(url="https://h/SHA512SUMS", algorithm="sha512"),
    "http://h:80/a b.sha256": Wanted(url="http://h:80/a%20b.sha256"),
}


@pytest.mark.parametrize("text", GIVEN)
def test_what_may_be_given(text: str) -> None:
    assert parse(text) == GIVEN[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        A[:-1],
        f"sha512:{A}",
        f"md5:{'a' * 32}",
        "a" * 40,
        "SHA256SUMS",
        "ftp://h/x",
        "file:///etc/x",
        "https://u:sesame@h/x",
        f"x{A}",
    ],
)
def test_what_may_not(text: str) -> None:
    with pytest.raises(InvalidOption, match=r"^checksum: ") as raised:
        parse(text)
    assert "sesame" not in raised.value.message
