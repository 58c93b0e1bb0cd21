# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Ask a web server for a file: from an address that was looked at before, within limits of time, with credentials that no other
server gets.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from .._errors import FleetError
from .._text import clean
from .._untrusted import Malformed, decimal
from .._urls import check_url, expired, public_url, secrets_of
from . import server_access, sources
from .server_access import Access
from .sources import Rules, SourceRefused
from .validators import MAX_VALIDATOR

BLOCK_BYTES = 1024 * 1024

# A server that gets on more slowly only keeps the host waiting: what is read at once within this time, in seconds.
BLOCK_S = 600.0

_EMPTY = Rules()
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class DownloadFailed(FleetError):
    kind = "download_failed"


class BrokenOff(DownloadFailed):
    """The server was at it: going on where it ended may help."""


class Answer(t.NamedTuple):
    """What a server says of a file before it sends it; ``length`` is that of the whole file, -1 where it does not tell."""

    length: int
    etag: str
    last_modified: str
    start: int = 0


class Terms(t.NamedTuple):
    """On which a host asks servers.

    :param pinned: the digest of what must arrive is known: then the way there need not be trusted.
    :param timeout_s: how long the server may stay silent; all of its answers, redirects included, within twice that.
    :param secret: the paths of URLs are not shown.
    :param named: the host that the manifest names, where another party has given the URL.
    """

    rules: Rules = _EMPTY
    access: Access = server_access.NONE
    pinned: bool = False
    timeout_s: float = 30.0
    secret: bool = False
    named: str | None = None

    def public(self, url: str) -> str:
        return public_url(url, self.secret)

    def request(self, url: str, **headers: str) -> urllib.request.Request:
        url = check_url(url, secret=self.secret)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "basecast.fleet", **given})


class _Patience:
    """Ends the connections of a server that says something again and again, and never what it was asked for."""

    def __init__(self) -> None:
        self.ended = ""
        self._connections: list[socket.socket] = []

    def add(self, connection: socket.socket) -> socket.socket:
        # A second descriptor: TLS takes the first one away.
        self._connections.append(connection.dup())
        return connection

    @contextlib.contextmanager
    def within(self, limit_s: float, complaint: str) -> t.Iterator[None]:
        """:param complaint: what is said where it took longer."""
        timer = threading.Timer(limit_s, self._end, (complaint,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _end(self, complaint: str) -> None:
        self.ended = complaint
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


class Opened:
    """An answer of the server, with one of the statuses that are expected; what goes wrong until it is closed is a DownloadFailed."""

    def __init__(self, request: urllib.request.Request, terms: Terms, expected: t.Collection[int] = (http.client.OK,)) -> None:
        self._request = request
        self._url = request.full_url
        self._public = terms.public(self._url)
        self._secret = terms.secret
        self._timeout_s = terms.timeout_s
        self._expected = expected
        self._opener = urllib.request.OpenerDirector()
        named = terms.named or t.cast(str, urllib.parse.urlsplit(request.full_url).hostname)
        self._patience = _Patience()
        guard = _Guard(named, terms.rules, self._patience)
        credential = terms.access.credential(self._url)
        if credential is not None:
            # urllib hands on other headers when it is redirected.
            request.add_unredirected_header("Authorization", credential.header)
        for handler in (
            urllib.request.ProxyHandler(terms.access.proxies()),
            _Http(guard),
            _Https(guard, terms.access.tls(credential)),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(terms),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)
        self.response: t.Any = None

    def __enter__(self) -> Opened:
        limit_s = 2 * self._timeout_s
        try:
            with self._patience.within(limit_s, f"the server did not come to an answer within {limit_s:g} s"):
                self.response = self._opener.open(self._request, timeout=self._timeout_s)
            if self.response.status not in self._expected:
                status = self.response.status
                raise DownloadFailed(f"{self._public}: the server answers {status}, not with the file.", url=self._public, status=status)
        except BaseException as error:  # an alarm ends it too; what is not a failure of the download goes on
            self._close()
            self._translate(error)
            raise
        return self

    def __exit__(self, _kind: t.Any, error: BaseException | None, _trace: t.Any) -> None:
        self._close()
        self._translate(error)

    def _close(self) -> None:
        if self.response is not None:
            self.response.close()
        self._patience.close()

    def read(self) -> bytes:
        """The next part of what arrives, empty at the end."""
        with self._patience.within(BLOCK_S, f"the server sent less than {BLOCK_BYTES // 1024} KiB within {BLOCK_S:g} s"):
            try:
                return t.cast(bytes, self.response.read(BLOCK_BYTES))
            except ValueError as error:  # as of a chunk with a negative length
                raise http.client.HTTPException(str(error)) from error

    def _advice(self, status: int) -> str:
        """What may be done about an answer."""
        end = expired(self._url, time.time())
        if end:
            return f"; {end}"
        if status == http.client.UNAUTHORIZED:
            sent = self._request.get_header("Authorization") is not None
            return "; its credentials for this server are not accepted" if sent else "; give credentials with auth (basecast_source_auth)"
        if status == http.client.PROXY_AUTHENTICATION_REQUIRED:
            return "; give user name and password in the URL of proxy (basecast_source_proxy)"
        return ""

    def _translate(self, error: BaseException | None) -> None:
        public = self._public
        if self._patience.ended and (error is None or isinstance(error, Exception)):
            raise DownloadFailed(f"{public}: {self._patience.ended}; nothing was kept.", url=public) from None
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            reason = str(error.reason)
            # A server may repeat what it was asked for, a redirect may have added a signature of its own.
            for hidden in sorted(
                secrets_of(self._url, self._secret) | secrets_of(str(error.filename), self._secret), key=len, reverse=True
            ):
                reason = reason.replace(hidden, "…")
            reason = clean(reason, 200)
            if error.code in (301, 302, 303, 307, 308):  # its reason may show the query of where it leads
                reason = "and redirects in circles, or to what is neither http nor https"
            kind = BrokenOff if error.code in _PASSING else DownloadFailed
            advice = self._advice(error.code)
            # Where a redirect has led to another server, that one does not decide who is shown credentials.
            asked = error.code == http.client.UNAUTHORIZED and _origin(str(error.filename)) == _origin(self._url)
            asks = clean(error.headers.get("WWW-Authenticate", ""), 4096) if asked else ""
            fields = {"url": public, "status": error.code, **({"challenge": asks} if asks else {})}
            raise kind(f"{public}: the server answers {error.code} {reason}{advice}.", **fields) from None
        if isinstance(error, urllib.error.URLError):
            if isinstance(error.reason, FleetError):
                raise error.reason from None
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                sent = self._request.get_header("Authorization") is not None
                raise DownloadFailed(
                    f"{public}: its certificate is not accepted ({clean(error.reason.verify_message, 200)}); if your own authority has "
                    f"signed it, give that with {'' if sent else 'ca or '}ca_file (basecast_source_ca_path)."
                    f"{' Who is shown credentials is not vouched for by ca.' if sent else ''}",
                    url=public,
                ) from None
            raise BrokenOff(f"{public} cannot be fetched: {clean(error.reason, 300)}.", url=public) from None
        if isinstance(error, http.client.HTTPException):
            if isinstance(error, http.client.IncompleteRead):
                raise BrokenOff(f"{public}: the transfer broke off; nothing was kept.", url=public) from None
            raise DownloadFailed(f"{public} cannot be fetched: {type(error).__name__} {clean(error, 300)}.", url=public) from None
        if isinstance(error, (ConnectionError, TimeoutError, socket.timeout, ssl.SSLError)):
            raise BrokenOff(f"{public}: the transfer broke off: {clean(error, 300)}.", url=public) from None
        if isinstance(error, ValueError) and not isinstance(error, FleetError) and self.response is None:
            reason = re.sub(r"\S*@", "", str(error))  # it may quote a proxy of the host's environment, with its password
            raise DownloadFailed(f"{public}: the server's answer cannot be understood: {clean(reason, 100)}.", url=public) from None


# Statuses of a server or a proxy that may answer in a moment.
_PASSING = (500, 502, 503, 504)

# -- where to


class _Guard:
    """Opens connections to addresses that are allowed, to exactly the address that was looked at."""

    def __init__(self, named: str, rules: Rules, patience: _Patience) -> None:
        self._named = named.lower()
        self._rules = rules
        self._patience = patience

    def connect(self, place: tuple[str, int], timeout: t.Any = None, source: t.Any = None) -> socket.socket:
        host, port = place
        problems: list[str] = []
        failure: OSError | None = None
        for family, kind, protocol, _name, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
            problem = self._problem(host, address)
            if problem:
                problems.append(problem)
                continue
            if self._patience.ended:
                break
            connection = socket.socket(family, kind, protocol)
            try:
                if timeout is not None and isinstance(timeout, (int, float)):
                    connection.settimeout(timeout)
                connection.connect(address)
                return self._patience.add(connection)
            except OSError as error:
                connection.close()
                failure = error
        if failure is None and problems:
            raise self._refused(problems[0], host)
        raise failure or OSError(f"{host} has no address")

    def _problem(self, host: str, address: t.Any) -> str:
        return sources.address_problem(
            host, ipaddress.ip_address(str(address[0]).partition("%")[0]), self._rules, host.lower() == self._named
        )

    @staticmethod
    def _refused(problem: str, host: str) -> SourceRefused:
        return SourceRefused(
            f"url: {problem}, from which this host fetches nothing unless it is listed in source_hosts (the host variable "
            "basecast_source_hosts).",
            host=host,
        )

    def _to_proxy(self, *place: t.Any) -> socket.socket:
        return self._patience.add(socket.create_connection(*place))

    def _check_number(self, host: str) -> None:
        """A host that is an address, however it is written: for that a proxy is not needed to know where it leads."""
        # With a point at its end a proxy may take it for the same, and without the interface that stands behind it.
        number = host.lower().rstrip(".").partition("%")[0]
        if number == "localhost" or number.endswith(".localhost"):
            number = "127.0.0.1"  # wherever that name is looked up
        try:
            found = socket.getaddrinfo(number, None, 0, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except OSError:
            return
        for *_kind, address in found:
            problem = self._problem(host, address)
            if problem:
                raise self._refused(problem, host)

    def connection(self, kind: t.Any, request: urllib.request.Request) -> t.Any:
        """A class of connections. Where a proxy is set, an administrator of the host has set it, and it resolves names."""
        proxied = request.has_proxy() or getattr(request, "_tunnel_host", None)
        if proxied:
            self._check_number(urllib.parse.urlsplit(request.full_url).hostname or "")

        def make(*arguments: t.Any, **named: t.Any) -> t.Any:
            made = kind(*arguments, **named)
            made._create_connection = self._to_proxy if proxied else self.connect
            return made

        return make


class _Http(urllib.request.HTTPHandler):
    def __init__(self, guard: _Guard) -> None:
        super().__init__()
        self._guard = guard

    def http_open(self, req: urllib.request.Request) -> t.Any:
        return self.do_open(self._guard.connection(http.client.HTTPConnection, req), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, guard: _Guard, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._guard = guard
        self._trusted = context

    def https_open(self, req: urllib.request.Request) -> t.Any:
        kind = functools.partial(http.client.HTTPSConnection, context=self._trusted)
        return self.do_open(self._guard.connection(kind, req), req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def redirect_request(self, req: t.Any, fp: t.Any, code: int, msg: str, headers: t.Any, newurl: str) -> t.Any:
        public = self._terms.public(newurl)
        try:
            url = check_url(newurl, secret=self._terms.secret)
            scheme = urllib.parse.urlsplit(url).scheme
        except FleetError:
            scheme = ""
        if scheme not in ("http", "https"):
            raise SourceRefused(f"url: the server redirects to {public}, which is not followed.", url=public)
        if scheme == "http" and req.type == "https" and not self._terms.pinned:
            raise SourceRefused(
                f"url: the server redirects from https to {public}, where anybody on the way can change the file; give its sha256.",
                url=public,
            )
        following = super().redirect_request(req, fp, code, msg, headers, url)
        if following is not None and req.get_method() == "HEAD":
            following.method = "HEAD"  # before Python 3.13 it would become GET
        if following is not None and _origin(url) == _origin(req.full_url) and req.get_header("Authorization") is not None:
            following.add_unredirected_header("Authorization", req.get_header("Authorization"))
        if following is not None:
            # The way there may be another one, without a proxy: where one is used, its own are added again.
            following.remove_header("Proxy-authorization")
            fp.close()  # urllib would read what comes with the redirect into memory, however much that is
        return following


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port


# -- what it says


def answer_of(public: str, response: t.Any) -> Answer:
    """The headers that say what arrives. One that is wrong makes all of it unbelievable."""
    place = f"{public}: the server's header"
    lengths = response.headers.get_all("Content-Length") or []
    codings = response.headers.get_all("Transfer-Encoding") or []
    encodings = [text for text in response.headers.get_all("Content-Encoding") or [] if text.strip().lower() != "identity"]
    try:
        if codings and (len(codings) > 1 or codings[0].strip().lower() != "chunked"):
            raise Malformed(f"{place} Transfer-Encoding", f"{clean(', '.join(codings), 100)} is not accepted; chunked is expected")
        if codings and lengths:
            raise Malformed(place, "Content-Length beside Transfer-Encoding is not accepted; they may contradict each other")
        if len(lengths) > 1:
            raise Malformed(f"{place} Content-Length", f"it is there {len(lengths)} times")
        if encodings:
            raise Malformed(f"{place} Content-Encoding", f"{clean(encodings[0], 100)} is not accepted; the file itself was asked for")
        length = decimal(lengths[0].strip(), f"{place} Content-Length") if lengths else -1
        start = 0
        if response.status == http.client.PARTIAL_CONTENT:
            start, length = _part(f"{place} Content-Range", response.headers.get_all("Content-Range") or [], length)
        elif response.headers.get("Content-Range") is not None:
            raise Malformed(f"{place} Content-Range", "a part is not accepted; the whole file was asked for")
    except Malformed as error:
        raise DownloadFailed(f"{error.message}; nothing was kept.", url=public)
    return Answer(length, _validator(response.headers.get("ETag")), _validator(response.headers.get("Last-Modified")), start)


def _part(place: str, ranges: t.Sequence[str], length: int) -> tuple[int, int]:
    """(where the part begins, length of the whole file) of one that goes on to the file's end."""
    found = _RANGE.fullmatch(ranges[0].strip()) if len(ranges) == 1 else None
    if found is None:
        raise Malformed(place, f"{clean(', '.join(ranges), 100)!r} is not accepted; the rest of the file was asked for")
    start, end, whole = (int(text) for text in found.groups())
    if not start <= end == whole - 1 or length not in (-1, whole - start):
        raise Malformed(place, f"{clean(ranges[0], 100)!r} is not accepted; the rest of the file was asked for")
    return start, whole


def _validator(text: str | None) -> str:
    """One that is fit to be sent back and kept; empty for any other."""
    return text if text and len(text) <= MAX_VALIDATOR and text.isascii() and text.isprintable() else ""
