# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""With what a host comes to servers: credentials, certificate authorities, a proxy."""

from __future__ import annotations

import base64
import os
import re
import ssl
import typing as t
import urllib.parse

from .._errors import InvalidOption
from .._text import clean
from .._urls import check_url

_LARGEST_CA = 1 << 20


class Credential(t.NamedTuple):
    """What one server is shown. Either user name and password, or a token.

    :param host: its name or address, with ``:port`` where the server is only meant at that one.
    :param plain_http: also where anybody on the way can read it.
    :param is_public: a token that anybody gets.
    """

    host: str
    username: str | None = None
    password: str | None = None
    token: str | None = None
    plain_http: bool = False
    is_public: bool = False

    def __repr__(self) -> str:
        return f"Credential({self.host!r})"

    @property
    def header(self) -> str:
        if self.token is not None:
            return f"Bearer {self.token}"
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


class Access(t.NamedTuple):
    """
    :param ca_file: the administrator's authorities; ``ca``: those of whoever names the source.
    :param proxy: its URL, empty for none at all; None for what the host's environment says.
    """

    credentials: tuple[Credential, ...] = ()
    ca_file: str | None = None
    ca: str | None = None
    proxy: str | None = None

    def credential(self, url: str) -> Credential | None:
        """What the server of a URL is shown.

        :raises InvalidOption: it would cross the network in clear.
        """
        parts = urllib.parse.urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        name = f"[{host}]" if ":" in host else host
        port = parts.port or (443 if parts.scheme == "https" else 80)
        for one in self.credentials:
            if one.host.lower() in (name, f"{name}:{port}"):
                if parts.scheme != "https" and not one.plain_http:
                    raise InvalidOption(
                        "auth",
                        {"host": one.host},
                        "with http anybody on the way could read the credentials; use https, or set plain_http for this host",
                    )
                return one
        return None

    def adding(self, credential: Credential) -> Access:
        """The same with another credential, which goes before the others."""
        return self._replace(credentials=(credential, *self.credentials))

    def without(self, credential: Credential) -> Access:
        return self._replace(credentials=tuple(one for one in self.credentials if one is not credential))

    def tls(self, credential: Credential | None = None) -> ssl.SSLContext:
        """Trusts the host's own authorities, and those that are given.

        :param credential: what the server is to be shown. An author of a manifest does not vouch for who gets the administrator's.
        """
        context = ssl.create_default_context()
        if self.ca_file is not None:
            try:
                size = os.stat(self.ca_file).st_size
                if size > _LARGEST_CA:
                    raise InvalidOption("ca_file", self.ca_file, f"certificates have at most {_LARGEST_CA} bytes, this file has {size}")
                context.load_verify_locations(cafile=self.ca_file)
            except (OSError, ssl.SSLError) as error:
                reason = "it has no certificate in PEM form" if isinstance(error, ssl.SSLError) else clean(error.strerror, 200)
                raise InvalidOption("ca_file", self.ca_file, f"a file of this host with certificates in PEM form is expected ({reason})")
        if self.ca is not None and (credential is None or credential.is_public):
            try:
                context.load_verify_locations(cadata=self.ca)
            except (ValueError, OSError):  # SSLError is one
                raise InvalidOption("ca", clean(self.ca, 60), "the text of certificates in PEM form is expected")
        return context

    def proxies(self) -> dict[str, str] | None:
        """As urllib takes them: None for those of the environment."""
        if self.proxy is None:
            return None
        return {"http": self.proxy, "https": self.proxy} if self.proxy else {}


NONE = Access()


def checked_access(
    credentials: t.Sequence[t.Mapping[str, t.Any]], ca_file: str | None = None, ca: str | None = None, proxy: str | None = None
) -> Access:
    """:raises InvalidOption: naming hosts, and no secret."""
    found = []
    for one in credentials:
        host = {"host": one["host"]}
        if not one["host"] or any(character in one["host"] for character in "/@ *"):
            raise InvalidOption("auth", host, "the name or address of a server is expected, with :port where needed")
        with_password = one.get("username") is not None and one.get("password") is not None
        if with_password == (one.get("token") is not None) or (one.get("username") is None) != (one.get("password") is None):
            raise InvalidOption("auth", host, "either username and password, or token, is expected")
        texts = [str(one[key]) for key in ("username", "password", "token") if one.get(key) is not None]
        if any(not text.isprintable() for text in texts) or not all(one.get("token") is None or text.isascii() for text in texts):
            raise InvalidOption("auth", host, "user names, passwords and tokens are one line each, tokens of ASCII")
        if ":" in (one.get("username") or ""):
            raise InvalidOption("auth", host, "a user name without a colon is expected; HTTP has no place for it")
        found.append(Credential(one["host"], one.get("username"), one.get("password"), one.get("token"), bool(one.get("plain_http"))))
    if ca_file is not None and not os.path.isabs(ca_file):
        raise InvalidOption("ca_file", ca_file, "an absolute path on this host is expected")
    if proxy:
        user, place = split_user(proxy)
        check_url(place, "proxy", ("http", "https"))
        if re.search(r"[/?#]", user):
            raise InvalidOption("proxy", place, "in its user name and password / is written as %2F, ? as %3F, and # as %23")
    return Access(tuple(found), ca_file, ca, proxy)


def split_user(proxy: str) -> tuple[str, str]:
    """(user name and password, the URL without them), also where they are not written as they should be."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*:/+)?(.*)@", proxy.strip(), re.DOTALL)
    return (match.group(2), (match.group(1) or "") + proxy.strip()[match.end() :]) if match is not None else ("", proxy)


def secrets(credentials: t.Sequence[t.Mapping[str, t.Any]], proxy: str | None = None) -> set[str]:
    """What must not be shown: also in the form in which it is sent."""
    found: set[str] = set()
    for one in credentials:
        found |= {str(one[key]) for key in ("password", "token") if one.get(key)}
        if one.get("username") is not None and one.get("password") is not None:
            found.add(base64.b64encode(f"{one['username']}:{one['password']}".encode()).decode("ascii"))
    if proxy:
        user, _place = split_user(proxy)
        found |= {part for part in (user, user.partition(":")[2], urllib.parse.unquote(user.partition(":")[2])) if part}
    return found
