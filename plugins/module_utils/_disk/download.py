# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Stream a URL into a sink, whole or not at all. What breaks off goes on where it ended, if the server can."""

from __future__ import annotations

import http.client
import time
import typing as t
from urllib.request import Request

from .unpack import Sink
from .validators import Validators
from .web import Answer, BrokenOff, DownloadFailed, Opened, Terms, answer_of

__all__ = ["Answer", "DownloadFailed", "Terms", "ask", "fetch", "read_text"]

# How often a transfer goes on without any byte in between, and how long it waits before, in seconds.
_IDLE_ATTEMPTS = 4
_FIRST_WAIT_S = 1.0
# How often it goes on at all: more is a line that a user should look at.
_ATTEMPTS = 100


# How servers answer to HEAD that give a file to GET only.
_ONLY_GET = (http.client.FORBIDDEN, http.client.METHOD_NOT_ALLOWED, http.client.NOT_IMPLEMENTED)


class _Changed(Exception):
    """The server has not gone on with the same file, so it begins again."""


def fetch(url: str, sink: Sink, terms: Terms, known: Validators | None = None) -> Validators | None:
    """Write the URL's content into a sink that is empty.

    :param known: validators of an earlier download; None is returned, and nothing written, when it still holds.
    :raises DownloadFailed: unreachable, refused, ended early, or not known to be whole.
    """
    return _Fetch(url, sink, terms).run(known)


def ask(url: str, terms: Terms) -> Answer:
    """What the server says of the file, which is not fetched."""
    terms = terms._replace(pinned=True)
    request = terms.request(url)
    request.method = "HEAD"
    try:
        with Opened(request, terms) as opened:
            return answer_of(terms.public(url), opened.response)
    except DownloadFailed as error:
        if error.fields.get("status") not in _ONLY_GET:
            raise
    # A signature is for one method, which here is GET: its answer is left where the file begins.
    with Opened(terms.request(url), terms) as opened:
        return answer_of(terms.public(url), opened.response)


def read_text(url: str, terms: Terms, limit: int) -> str:
    """A small text, such as a list of checksums."""
    return read_bytes(terms.request(url), terms, terms.public(url), limit).decode("utf-8", "replace")


def read_bytes(request: Request, terms: Terms, public: str, limit: int) -> bytes:
    """A small answer, all of it.

    :param public: what its place is called in messages.
    """
    found = bytearray()
    with Opened(request, terms) as opened:
        answer = answer_of(public, opened.response)
        while True:
            block = opened.read()
            found += block
            if len(found) > limit:
                raise DownloadFailed(f"{public} is larger than the {limit} bytes that such a file may have.", url=public)
            if not block:
                break
    if answer.length not in (-1, len(found)):
        raise DownloadFailed(f"{public}: the transfer ended after {len(found)} of {answer.length} bytes.", url=public)
    return bytes(found)


class _Fetch:
    def __init__(self, url: str, sink: Sink, terms: Terms) -> None:
        self._url = url
        self._sink = sink
        self._terms = terms
        self._public = terms.public(url)
        self._position = 0
        self._answer: Answer | None = None

    def run(self, known: Validators | None) -> Validators | None:
        idle, changes, wait_s = 0, 0, _FIRST_WAIT_S
        for _attempt in range(_ATTEMPTS):
            before = self._position
            try:
                if not self._once(known if self._answer is None else None):
                    return None
                answer = t.cast(Answer, self._answer)
                self._sink.finish()
                return Validators(answer.etag, answer.last_modified, answer.length)
            except _Changed:
                self._begin_again()
                changes += 1
                if changes > _IDLE_ATTEMPTS:
                    raise DownloadFailed(f"{self._public}: the file changes while it is fetched; nothing was kept.", url=self._public)
            except BrokenOff as error:
                # Before the first byte it is another mirror's turn.
                if self._position == 0 or not self._can_go_on():
                    raise
                idle, wait_s = (0, _FIRST_WAIT_S) if self._position > before else (idle + 1, wait_s * 2)
                if idle > _IDLE_ATTEMPTS:
                    said = f"{error.message} After {self._position} bytes it did not go on, {idle} times."
                    raise BrokenOff(said, **error.fields) from None
                time.sleep(wait_s)
        raise DownloadFailed(f"{self._public}: the transfer broke off {_ATTEMPTS} times; nothing was kept.", url=self._public)

    def _can_go_on(self) -> bool:
        """Whether what follows will be seen to be of the same file."""
        answer = self._answer
        strong = answer is not None and bool(answer.last_modified or (answer.etag and not answer.etag.startswith("W/")))
        return strong or self._terms.pinned

    def _begin_again(self) -> None:
        self._sink.restart()
        self._position = 0
        self._answer = None

    def _request(self, known: Validators | None) -> Request:
        request = self._terms.request(self._url)
        if self._position:
            answer = t.cast(Answer, self._answer)
            request.add_header("Range", f"bytes={self._position}-")
            validator = answer.last_modified if not answer.etag or answer.etag.startswith("W/") else answer.etag
            if validator:
                request.add_header("If-Range", validator)
        elif known is not None and known.etag:
            request.add_header("If-None-Match", known.etag)
        elif known is not None and known.last_modified:
            request.add_header("If-Modified-Since", known.last_modified)
        return request

    def _once(self, known: Validators | None) -> bool:
        """Ask the server once; False when the file has not changed since ``known``."""
        expected = (http.client.OK, http.client.PARTIAL_CONTENT) if self._position else (http.client.OK,)
        try:
            with Opened(self._request(known), self._terms, expected) as opened:
                if opened.response.status == http.client.PARTIAL_CONTENT:
                    self._compare(opened)
                else:
                    if self._position:  # it sends all of it, as it may
                        self._begin_again()
                    self._accept(answer_of(self._public, opened.response), opened)
                self._receive(opened)
        except DownloadFailed as error:
            status = error.fields.get("status")
            if status == http.client.NOT_MODIFIED and known is not None:
                return False
            if status in (http.client.PRECONDITION_FAILED, http.client.REQUESTED_RANGE_NOT_SATISFIABLE) and self._position:
                raise _Changed from None
            raise
        return True

    def _accept(self, answer: Answer, opened: Opened) -> None:
        if answer.length < 0 and not getattr(opened.response, "chunked", False) and not self._terms.pinned:
            raise DownloadFailed(
                f"{self._public}: the server does not say how long the file is, so that nobody could tell whether it arrived whole; "
                "give its sha256 or checksum.",
                url=self._public,
            )
        self._sink.expect(answer.length)
        self._answer = answer

    def _compare(self, opened: Opened) -> None:
        """Whether a part goes on with what there is."""
        first = t.cast(Answer, self._answer)
        try:
            answer = answer_of(self._public, opened.response)
        except DownloadFailed:
            raise _Changed from None
        same = (answer.etag, answer.last_modified) == (first.etag, first.last_modified) and first.length in (-1, answer.length)
        if answer.start != self._position or not same:
            raise _Changed

    def _receive(self, opened: Opened) -> None:
        answer = t.cast(Answer, self._answer)
        while True:
            block = opened.read()
            if not block:
                break
            if answer.length >= 0 and self._position + len(block) > answer.length:
                raise DownloadFailed(
                    f"{self._public}: more came than the {answer.length} bytes that were announced; nothing was kept.", url=self._public
                )
            self._sink.write(block)
            self._position += len(block)
        if answer.length >= 0 and self._position != answer.length:
            raise BrokenOff(
                f"{self._public}: the transfer ended after {self._position} of {answer.length} bytes; nothing was kept.",
                url=self._public,
                received_bytes=self._position,
                size_bytes=answer.length,
            )
