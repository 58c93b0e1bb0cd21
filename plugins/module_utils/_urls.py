# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""URLs and names of images: which are accepted, what of them is shown, what they promise, and until when a signed one holds."""

from __future__ import annotations

import calendar
import ipaddress
import os
import posixpath
import re
import time
import typing as t
import urllib.parse

from ._errors import InvalidOption
from ._text import clean

SCHEMES = ("http", "https", "file")
PACKED_SUFFIXES = {".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".bz2": "bzip2"}
COMPRESSIONS = ("auto", "none", *PACKED_SUFFIXES.values())

_SAFE = "/%:@!$&'()*+,;=~"
_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")
# A user's name, which may be an address of mail, and password, also one that has / or ? in it as it is; also where the slashes are
# missing, or the @ is encoded. A number behind a colon is a port.
_USER = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*:/*(?P<user>(?!\[)[^/?#:\s]*:(?![0-9]*(?:[/?#]|$)).*(?:@|%40|＠|%EF%BC%A0))", re.DOTALL)
# The same without a scheme, or behind one with a wide colon, as keyboards for Chinese and Japanese give them. A digest is no host.
_BARE_USER = re.compile(r"\s*(?P<user>[^/?#\s:：]+[:：](?![0-9]+(?:[/?#]|$)).*(?:@|%40|＠|%EF%BC%A0))(?!sha256:)", re.DOTALL)

# A shorter part of a path may be a common word, which would be hidden wherever it occurs.
_SHORTEST_SECRET_PART = 16

_NO_USER = "a URL with user name and password would end up in logs; give them with auth (basecast_source_auth in playbooks)"


def check_url(url: str, option: str = "url", schemes: t.Sequence[str] = SCHEMES, secret: bool = False) -> str:
    """The URL as it is sent, with what a URL cannot contain encoded; or InvalidOption.

    :param secret: its path is not shown either.
    """

    def wrong(accepted: str) -> InvalidOption:
        return InvalidOption(option, public_url(url, secret), accepted)

    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) < 0xE000 for character in url):
        raise wrong("a URL has no control characters")
    if _USER.match(url):
        raise wrong(_NO_USER)
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong(f"a URL is http://host:port/path with a port from 1 to 65535 ({clean(error, 100)})")
    if parts.scheme not in schemes:
        raise wrong(f"a URL begins with one of {', '.join(schemes)}")
    if "@" in parts.netloc:
        raise wrong(_NO_USER)
    if parts.scheme == "file":
        return url.strip()
    if not host or "\\" in url or "%" in host.partition("%25")[0]:
        raise wrong("a URL is http://host/path")
    try:
        name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
        if ":" in host:
            ipaddress.ip_address(host.partition("%")[0])
    except (UnicodeError, ValueError):
        raise wrong("it names no host that can exist")
    if re.fullmatch(r"[A-Za-z0-9._-]+|\[.*\]", name) is None:
        raise wrong("it names no host that can exist")
    path = urllib.parse.quote(parts.path or "/", safe=_SAFE)
    query = urllib.parse.quote(parts.query, safe=_SAFE + "?")
    return urllib.parse.urlunsplit((parts.scheme, name if port is None else f"{name}:{port}", path, query, ""))


def public_url(url: str, secret: bool = False) -> str:
    """The URL without what may be secret: user, password, query and fragment.

    :param secret: also without its path, of which only the suffix stays, such as ``….qcow2.xz``.
    """
    user = _USER.match(url) or (_BARE_USER.match(url) if "://" not in url else None)
    if user is not None:
        url = url[: user.start("user")] + url[user.end("user") :]
    try:
        parts = urllib.parse.urlsplit(url)
        path = _hidden_path(parts.path) if secret else parts.path
        return clean(urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", "")), 500)
    except ValueError:
        front = re.split(r"[?#]", url, maxsplit=1)[0]
        shown = clean(re.sub(r"//[^/]*@", "//", front), 500)
        return re.sub(r"(//[^/]*)/.*", r"\1/…", shown, flags=re.DOTALL) if secret else shown


def _hidden_path(path: str) -> str:
    suffix = _SUFFIX.search(posixpath.basename(path))
    return f"/…{suffix.group(0) if suffix else ''}"


def split_checksum(text: str) -> tuple[str, str]:
    """(``sha256:`` or the like, URL of a list of checksums) of such an option; the URL is empty where it is none."""
    front, mark, url = text.strip().partition("://")
    kind, colon, scheme = front.rpartition(":")
    return (kind + colon, f"{scheme}://{url}") if mark else (text, "")


def public_checksum(text: str, secret: bool = False) -> str:
    """The option as it may be shown."""
    kind, url = split_checksum(text)
    return kind + public_url(url, secret) if url else text


def secrets_of(url: str, secret: bool = False) -> set[str]:
    """Parts of the URL that must not be shown: its query, whole and in parts, as given and decoded.

    :param secret: its path as well.
    """
    front, _mark, rest = url.partition("?")
    query = rest.partition("#")[0]
    found = {query, urllib.parse.unquote(query)}
    for key_and_value in query.split("&"):
        value = key_and_value.partition("=")[2]
        found |= {value, urllib.parse.unquote(value), urllib.parse.unquote_plus(value)}
    parts: set[str] = set()
    if secret:
        path = re.sub(r"^[a-z]+://[^/]*", "", front.partition("#")[0])
        parts = {path, urllib.parse.unquote(path), *path.split("/"), *urllib.parse.unquote(path).split("/")}
    return {one for one in found if len(one) >= 6} | {one for one in parts if len(one) >= _SHORTEST_SECRET_PART}


def file_name(url: str) -> str:
    return posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))


def shown_name(url: str, secret: bool = False) -> str:
    """What the file at a URL is called in messages; its suffix says which format it promises."""
    return (public_url(url, True) if secret else file_name(url)) or public_url(url)


def unpacked_name(name: str) -> str:
    """The name of a file without the suffix of its compression."""
    front, suffix = os.path.splitext(name)
    return front if suffix.lower() in PACKED_SUFFIXES else name


def compression_of(name: str, wanted: str) -> str:
    """The compression of a file; "none" for none. :param wanted: "auto" decides by the suffix of its name."""
    return PACKED_SUFFIXES.get(os.path.splitext(name)[1].lower(), "none") if wanted == "auto" else wanted


# -- signed URLs


def expires_at(url: str) -> float | None:
    """When the signature in a URL ends, in seconds since 1970; None where it does not say so, or is not signed."""
    query = {key.lower(): value for key, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)}
    for prefix in ("x-amz-", "x-goog-"):
        begin = _time(query.get(f"{prefix}date", ""), "%Y%m%dT%H%M%SZ")
        lasts = query.get(f"{prefix}expires", "")
        if begin is not None and re.fullmatch(r"[0-9]{1,9}", lasts):
            return begin + int(lasts)
    if "sig" in query and "se" in query:  # Azure
        for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%d"):
            found = _time(query["se"], form)
            if found is not None:
                return found
    if "signature" in query and re.fullmatch(r"[0-9]{1,11}", query.get("expires", "")):
        return float(query["expires"])
    return None


def expired(url: str, now: float) -> str:
    """A sentence where the signature in a URL has ended by this host's clock; empty where it has not, or does not say so."""
    end = expires_at(url)
    if end is None or end > now:
        return ""
    stamps = (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)) for moment in (end, now))
    return "its signature expired at {} UTC, by this host's clock it is {} UTC; sign it again".format(*stamps)


def _time(text: str, form: str) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(text, form)))
    except (ValueError, OverflowError):
        return None
