# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Stream a URL into a file, whole or not at all, from an address that was looked at before."""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import os
import posixpath
import re
import socket
import ssl
import threading
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from .._errors import FleetError, InvalidOption
from .._text import clean
from .._untrusted import Malformed, decimal
from . import filesystem, sources
from .errors import NoSpace
from .sources import Rules, SourceRefused

SCHEMES = ("http", "https", "file")
MAX_VALIDATOR = 1024
_BLOCK_BYTES = 1024 * 1024

# A server that gets on more slowly only keeps the host waiting: what is read at once within this time, in seconds.
_BLOCK_S = 600.0

_SAFE = "/%:@!$&'()*+,;=~"
_EMPTY = Rules()


class DownloadFailed(FleetError):
    kind = "download_failed"


class Validators(t.NamedTuple):
    """By which a server can say that a file has not changed; empty strings where it does not tell."""

    etag: str = ""
    last_modified: str = ""
    length: int = -1


class Answer(t.NamedTuple):
    """What a server says of a file before it sends it; ``length`` is -1 where it does not tell."""

    length: int
    etag: str
    last_modified: str


def check_url(url: str) -> str:
    """The URL as it is sent, with what a URL cannot contain encoded; or InvalidOption."""

    def wrong(accepted: str) -> InvalidOption:
        return InvalidOption("url", public_url(url), accepted)

    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) < 0xE000 for character in url):
        raise wrong("a URL has no control characters")
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise wrong(f"a URL is http://host:port/path with a port from 1 to 65535 ({clean(error, 100)})")
    if parts.scheme not in SCHEMES:
        raise wrong(f"a URL begins with one of {', '.join(SCHEMES)}")
    if "@" in parts.netloc:
        raise wrong("a URL with user name and password would end up in logs")
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


def public_url(url: str) -> str:
    """The URL without what may be secret: user, password, query and fragment."""
    try:
        parts = urllib.parse.urlsplit(url)
        return clean(urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")), 500)
    except ValueError:
        front = re.split(r"[?#]", url, maxsplit=1)[0]
        return clean(re.sub(r"//[^/]*@", "//", front), 500)


def secrets_of(url: str) -> set[str]:
    """Parts of the URL that must not be shown: its query, whole and in parts, as given and decoded."""
    query = url.partition("?")[2].partition("#")[0]
    found = {query, urllib.parse.unquote(query)}
    for key_and_value in query.split("&"):
        value = key_and_value.partition("=")[2]
        found |= {value, urllib.parse.unquote(value), urllib.parse.unquote_plus(value)}
    return {secret for secret in found if len(secret) >= 6}


def file_name(url: str) -> str:
    return posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))


def fetch(
    url: str,
    descriptor: int,
    written: t.Callable[[int], t.Any],
    known: Validators | None = None,
    timeout_s: float = 30.0,
    rules: Rules = _EMPTY,
    pinned: bool = False,
) -> Validators | None:
    """Write the URL's content into an open empty file; runs of zeros become holes.

    :param written: told up to where the file is complete, whenever that has grown.
    :param known: validators of an earlier download; None is returned, and nothing written, when it still holds.
    :param timeout_s: how long the server may stay silent; all of its answers, redirects included, within twice that.
    :param pinned: the caller knows the digest of what must arrive: then the way there need not be trusted.
    :raises DownloadFailed: unreachable, refused, ended early, or not known to be whole.
    """
    request = _request(url)
    if known is not None and known.etag:
        request.add_header("If-None-Match", known.etag)
    elif known is not None and known.last_modified:
        request.add_header("If-Modified-Since", known.last_modified)
    public = public_url(url)
    try:
        with _opened(request, rules, pinned, timeout_s) as opened:
            return _receive(public, opened, descriptor, written, pinned)
    except DownloadFailed as error:
        if error.fields.get("status") == http.client.NOT_MODIFIED and known is not None:
            return None
        raise


def ask(url: str, rules: Rules = _EMPTY, timeout_s: float = 10.0) -> Answer:
    """What the server says of the file, which is not fetched."""
    request = _request(url)
    request.method = "HEAD"
    with _opened(request, rules, True, timeout_s) as opened:
        return _answer(public_url(url), opened.response)


def _request(url: str) -> urllib.request.Request:
    return urllib.request.Request(check_url(url), headers={"Accept-Encoding": "identity", "User-Agent": "basecast.fleet"})


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


class _opened:
    """An answer of the server, status 200; what goes wrong until it is closed is a DownloadFailed."""

    def __init__(self, request: urllib.request.Request, rules: Rules, pinned: bool, timeout_s: float) -> None:
        self._request = request
        self._public = public_url(request.full_url)
        self._timeout_s = timeout_s
        self._opener = urllib.request.OpenerDirector()
        named = t.cast(str, urllib.parse.urlsplit(request.full_url).hostname)
        self._patience = _Patience()
        guard = _Guard(named, rules, self._patience)
        for handler in (
            urllib.request.ProxyHandler(),
            _Http(guard),
            _Https(guard),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(pinned),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)
        self.response: t.Any = None

    def __enter__(self) -> _opened:
        limit_s = 2 * self._timeout_s
        try:
            with self._patience.within(limit_s, f"the server did not come to an answer within {limit_s:g} s"):
                self.response = self._opener.open(self._request, timeout=self._timeout_s)
            if self.response.status != http.client.OK:
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
        with self._patience.within(_BLOCK_S, f"the server sent less than {_BLOCK_BYTES // 1024} KiB within {_BLOCK_S:g} s"):
            try:
                return t.cast(bytes, self.response.read(_BLOCK_BYTES))
            except ValueError as error:  # as of a chunk with a negative length
                raise http.client.HTTPException(str(error)) from error

    def _translate(self, error: BaseException | None) -> None:
        public = self._public
        if self._patience.ended and (error is None or isinstance(error, Exception)):
            raise DownloadFailed(f"{public}: {self._patience.ended}; nothing was kept.", url=public) from None
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            reason = clean(error.reason, 200)
            if error.code in (301, 302, 303, 307, 308):  # its reason may show the query of where it leads
                reason = "and redirects in circles, or to what is neither http nor https"
            raise DownloadFailed(f"{public}: the server answers {error.code} {reason}.", url=public, status=error.code) from None
        if isinstance(error, urllib.error.URLError):
            if isinstance(error.reason, FleetError):
                raise error.reason from None
            raise DownloadFailed(f"{public} cannot be fetched: {clean(error.reason, 300)}.", url=public) from None
        if isinstance(error, http.client.HTTPException):
            if isinstance(error, http.client.IncompleteRead):
                raise DownloadFailed(f"{public}: the transfer broke off; nothing was kept.", url=public) from None
            raise DownloadFailed(f"{public} cannot be fetched: {type(error).__name__} {clean(error, 300)}.", url=public) from None
        if isinstance(error, (ConnectionError, TimeoutError, socket.timeout, ssl.SSLError)):
            raise DownloadFailed(f"{public}: the transfer broke off: {clean(error, 300)}.", url=public) from None
        if isinstance(error, ValueError) and not isinstance(error, FleetError) and self.response is None:
            raise DownloadFailed(f"{public}: the server's answer cannot be understood: {clean(error, 100)}.", url=public) from None


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
        try:
            # With a point at its end a proxy may take it for the same.
            found = socket.getaddrinfo(host.rstrip("."), None, 0, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
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
    def __init__(self, guard: _Guard) -> None:
        context = ssl.create_default_context()
        super().__init__(context=context)
        self._guard = guard
        self._trusted = context

    def https_open(self, req: urllib.request.Request) -> t.Any:
        kind = functools.partial(http.client.HTTPSConnection, context=self._trusted)
        return self.do_open(self._guard.connection(kind, req), req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, pinned: bool) -> None:
        self._pinned = pinned

    def redirect_request(self, req: t.Any, fp: t.Any, code: int, msg: str, headers: t.Any, newurl: str) -> t.Any:
        public = public_url(newurl)
        try:
            url = check_url(newurl)
            scheme = urllib.parse.urlsplit(url).scheme
        except FleetError:
            scheme = ""
        if scheme not in ("http", "https"):
            raise SourceRefused(f"url: the server redirects to {public}, which is not followed.", url=public)
        if scheme == "http" and req.type == "https" and not self._pinned:
            raise SourceRefused(
                f"url: the server redirects from https to {public}, where anybody on the way can change the file; give its sha256.",
                url=public,
            )
        following = super().redirect_request(req, fp, code, msg, headers, url)
        if following is not None and req.get_method() == "HEAD":
            following.method = "HEAD"  # before Python 3.13 it would become GET
        return following


# -- what arrives


def _answer(public: str, response: t.Any) -> Answer:
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
        if response.headers.get("Content-Range") is not None:
            raise Malformed(f"{place} Content-Range", "a part is not accepted; the whole file was asked for")
        length = decimal(lengths[0].strip(), f"{place} Content-Length") if lengths else -1
    except Malformed as error:
        raise DownloadFailed(f"{error.message}; nothing was kept.", url=public)
    return Answer(length, _validator(response.headers.get("ETag")), _validator(response.headers.get("Last-Modified")))


def _validator(text: str | None) -> str:
    """One that is fit to be sent back and kept; empty for any other."""
    return text if text and len(text) <= MAX_VALIDATOR and text.isascii() and text.isprintable() else ""


def _receive(public: str, opened: _opened, descriptor: int, written: t.Callable[[int], t.Any], pinned: bool) -> Validators:
    answer = _answer(public, opened.response)
    length = answer.length
    if length < 0 and not getattr(opened.response, "chunked", False) and not pinned:
        raise DownloadFailed(
            f"{public}: the server does not say how long the file is, so that nobody could tell whether it arrived whole; give its sha256.",
            url=public,
        )
    space = os.fstatvfs(descriptor)
    free = space.f_bavail * space.f_frsize
    if length > free:
        raise NoSpace(f"{public} has {length} bytes, {free} are free in the pool; nothing was kept.", url=public)
    zeros = bytes(filesystem.HOLE_BYTES)
    position = 0
    while True:
        block = opened.read()
        if not block:
            break
        if position + len(block) > free:  # holes count too: a file of zeros would never end
            raise NoSpace(f"{public} has more than the {free} bytes that are free in the pool; nothing was kept.", url=public)
        for offset in range(0, len(block), filesystem.HOLE_BYTES):
            piece = block[offset : offset + filesystem.HOLE_BYTES]
            if piece != zeros[: len(piece)]:
                filesystem.write_at(descriptor, piece, position + offset)
        position += len(block)
        # What was left out at its end is there as a hole.
        os.ftruncate(descriptor, position)
        written(position)
    if length >= 0 and position != length:
        raise DownloadFailed(
            f"{public}: the transfer ended after {position} of {length} bytes; nothing was kept.",
            url=public,
            received_bytes=position,
            size_bytes=length,
        )
    return Validators(answer.etag, answer.last_modified, length)
