# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Stream a URL into a file, whole or not at all."""

from __future__ import annotations

import http.client
import os
import posixpath
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from .._errors import FleetError, InvalidOption
from . import filesystem

SCHEMES = ("http", "https", "file")
MAX_VALIDATOR = 1024
_BLOCK_BYTES = 1024 * 1024


class DownloadFailed(FleetError):
    kind = "download_failed"


class Validators(t.NamedTuple):
    """By which a server can say that a file has not changed; empty strings where it does not tell."""

    etag: str = ""
    last_modified: str = ""
    length: int = -1


def check_url(url: str) -> str:
    """The URL, or InvalidOption."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise InvalidOption("url", public_url(url), f"a URL begins with one of {', '.join(SCHEMES)}")
    if parts.username or parts.password:
        raise InvalidOption("url", public_url(url), "a URL with user name and password would end up in logs")
    return url


def public_url(url: str) -> str:
    """The URL without what may be secret: user, password, query and fragment."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def file_name(url: str) -> str:
    return posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))


def fetch(
    url: str,
    descriptor: int,
    written: t.Callable[[int], t.Any],
    known: Validators | None = None,
    timeout_s: float = 30.0,
) -> Validators | None:
    """Write the URL's content into an open empty file; runs of zeros become holes.

    :param written: told up to where the file is complete, whenever that has grown.
    :param known: validators of an earlier download; None is returned, and nothing written, when it still holds.
    :param timeout_s: how long the server may stay silent.
    :raises DownloadFailed: unreachable, refused, or ended early.
    """
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "basecast.fleet"})
    if known is not None and known.etag:
        request.add_header("If-None-Match", known.etag)
    elif known is not None and known.last_modified:
        request.add_header("If-Modified-Since", known.last_modified)
    public = public_url(url)
    try:
        with urllib.request.build_opener().open(request, timeout=timeout_s) as response:
            return _receive(public, response, descriptor, written)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.NOT_MODIFIED and known is not None:
            return None
        raise DownloadFailed(f"{public}: the server answers {error.code} {error.reason}.", url=public, status=error.code)
    except urllib.error.URLError as error:
        raise DownloadFailed(f"{public} cannot be fetched: {error.reason}.", url=public)
    except http.client.HTTPException as error:
        raise DownloadFailed(f"{public} cannot be fetched: {type(error).__name__} {error}.", url=public)
    except (ConnectionError, TimeoutError) as error:
        raise DownloadFailed(f"{public}: the transfer broke off: {error}.", url=public)


def _receive(public: str, response: t.Any, descriptor: int, written: t.Callable[[int], t.Any]) -> Validators:
    length = int(response.headers.get("Content-Length") or -1)
    zeros = bytes(filesystem.HOLE_BYTES)
    position = 0
    while True:
        block = response.read(_BLOCK_BYTES)
        if not block:
            break
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
    return Validators(
        etag=response.headers.get("ETag") or "", last_modified=response.headers.get("Last-Modified") or "", length=length
    )
