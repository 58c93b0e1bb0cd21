# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import threading
import types
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import download, web
from ansible_collections.basecast.fleet.plugins.module_utils._disk.download import DownloadFailed, Terms
from ansible_collections.basecast.fleet.plugins.module_utils._disk.room import Room
from ansible_collections.basecast.fleet.plugins.module_utils._disk.sources import Rules, SourceRefused
from ansible_collections.basecast.fleet.plugins.module_utils._disk.unpack import FileSink
from ansible_collections.basecast.fleet.plugins.module_utils._disk.validators import Validators
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.web_server import File, Server

CONTENT = b"head".ljust(1 << 20, b"\0") + b"tail".ljust(100, b".")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/to-file":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        if self.headers.get("If-None-Match") == '"v1"':
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) + (5000 if self.path == "/short" else 0)))
        self.send_header("ETag", '"v1"')
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> t.Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def get(
    url: str,
    tmp_path: t.Any,
    known: Validators | None = None,
    hosts: tuple[str, ...] = ("127.0.0.0/8",),
    pinned: bool = False,
    timeout_s: float = 10,
) -> tuple[Validators | None, bytes, bytes]:
    seen = bytearray()
    descriptor = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)

    def read_back(end: int) -> None:
        seen.extend(os.pread(descriptor, end - len(seen), len(seen)))

    promise = Room(str(tmp_path)).begin("it", [str(tmp_path / "target")])
    try:
        sink = FileSink(descriptor, promise, read_back, seen.clear)
        validators = download.fetch(url, sink, Terms(Rules(hosts=hosts), pinned=pinned, timeout_s=timeout_s), known)
    finally:
        promise.close()
        os.close(descriptor)
    return validators, bytes(seen), (tmp_path / "target").read_bytes()


def test_a_download_is_whole_and_sparse(server: str, tmp_path: t.Any) -> None:
    validators, seen, written = get(f"{server}/a", tmp_path)
    assert seen == written == CONTENT
    assert validators == ('"v1"', "", len(CONTENT))
    assert os.stat(tmp_path / "target").st_blocks * 512 < 512 * 1024


def test_what_has_not_changed_is_not_sent_again(server: str, tmp_path: t.Any) -> None:
    assert get(f"{server}/a", tmp_path, Validators('"v1"')) == (None, b"", b"")
    assert get(f"{server}/a", tmp_path, Validators('"v0"'))[1] == CONTENT


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("path", "word"), [("/short", "ended after"), ("/missing", "404"), ("/to-file", "302 and redirects .* to what is neither http")]
)
def test_what_does_not_arrive_whole_is_an_error(server: str, tmp_path: t.Any, path: str, word: str) -> None:
    with pytest.raises((DownloadFailed, SourceRefused), match=word):
        get(server + path, tmp_path)


def test_nobody_there(tmp_path: t.Any) -> None:
    with pytest.raises(DownloadFailed, match="cannot be fetched"):
        get("http://127.0.0.1:1/a", tmp_path)


class Raw:
    """A server that answers each connection with the same bytes, whatever was asked."""

    def __init__(self, *answers: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/x.qcow2?token=secret-1"
        self.requests: list[bytes] = []
        threading.Thread(target=self._serve, args=(answers,), daemon=True).start()

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        with self._socket:
            for answer in answers:
                connection, _address = self._socket.accept()
                with connection:
                    self.requests.append(connection.recv(65536))
                    connection.sendall(answer)


OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ANSWERS: dict[str, tuple[bytes, str]] = {
    "negative": (OK + b"Content-Length: -5\r\n\r\nhello", "Content-Length: '-5'"),
    "unknown": (OK + b"Content-Length: unknown\r\n\r\nhello", "Content-Length: 'unknown'"),
    "exponent": (OK + b"Content-Length: 1e3\r\n\r\nhello", "Content-Length: '1e3'"),
    "plus": (OK + b"Content-Length: +5\r\n\r\nhello", "Content-Length: '\\+5'"),
    "hexadecimal": (OK + b"Content-Length: 0x5\r\n\r\nhello", "Content-Length: '0x5'"),
    "fraction": (OK + b"Content-Length: 5.0\r\n\r\nhello", "Content-Length: '5.0'"),
    "empty": (OK + b"Content-Length: \r\n\r\nhello", "Content-Length: ''"),
    "huge": (OK + b"Content-Length: 99999999999999999999\r\n\r\nhello", "Content-Length"),
    "more than there is room": (OK + b"Content-Length: 999999999999999999\r\n\r\nhello", "may be written there"),
    "twice": (OK + b"Content-Length: 5\r\nContent-Length: 3\r\n\r\nhello", "it is there 2 times"),
    "twice the same": (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "it is there 2 times"),
    "list": (OK + b"Content-Length: 5, 5\r\n\r\nhello", "Content-Length: '5, 5'"),
    "both": (OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "beside Transfer-Encoding"),
    "gzip, chunked": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding"),
    "identity": (OK + b"Transfer-Encoding: identity\r\n\r\nhello", "Transfer-Encoding"),
    "compressed": (OK + b"Content-Length: 5\r\nContent-Encoding: gzip\r\n\r\nhello", "Content-Encoding: gzip"),
    "part": (OK + b"Content-Length: 5\r\nContent-Range: bytes 0-4/5000\r\n\r\nhello", "Content-Range"),
    "206": (b"HTTP/1.1 206 Part\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\n\r\nhello", "answers 206"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "answers 204"),
    "short": (OK + b"Content-Length: 10\r\n\r\nhello", "the transfer ended after 5 of 10 bytes; nothing was kept|broke off"),
    "no length": (OK + b"\r\nhello", "does not say how long"),
    "HTTP/1.0 without length": (b"HTTP/1.0 200 OK\r\n\r\nhello", "does not say how long"),
    "chunks end early": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "the transfer broke off; nothing was kept"),
    "a chunk ends early": (OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nhello", "broke off"),
    "chunk of nonsense": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello", "broke off|cannot be fetched"),
    "negative chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", "broke off|cannot be fetched"),
    "huge chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 40 + b"\r\nhello", "broke off|cannot be fetched"),
    "nothing": (b"", "cannot be fetched|broke off"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be fetched"),
    "endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000, "cannot be fetched"),
    "500 headers": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n", "cannot be fetched"),
    "escapes": (b"HTTP/1.1 404 \x1b]0;owned\x07\x1b[2K\r\nContent-Length: 0\r\n\r\n", "404 .x1b]0;owned.x07.x1b.2K"),
    "what was asked for": (b"HTTP/1.1 404 No /x?sig=secret-1 or secret-1\r\nContent-Length: 0\r\n\r\n", "404 No /x"),
    "redirect to a file": (b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd?sig=secret-2\r\n\r\n", "302 and redirects"),
    "redirect to ftp": (b"HTTP/1.1 302 x\r\nLocation: ftp://8.8.8.8/x?sig=secret-2\r\n\r\n", "not followed|and redirects"),
    "redirect to metadata": (b"HTTP/1.1 302 x\r\nLocation: http://169.254.169.254/latest?sig=secret-2\r\n\r\n", "link-local address"),
    "redirect to IPv6 loopback": (b"HTTP/1.1 301 x\r\nLocation: http://[::1]:1/x?sig=secret-2\r\n\r\n", "loopback address ::1"),
    "redirect to mapped loopback": (b"HTTP/1.1 307 x\r\nLocation: http://[::ffff:7f00:2]/x\r\n\r\n", "loopback address"),
    "redirect to a number": (b"HTTP/1.1 302 x\r\nLocation: http://2852039166/x\r\n\r\n", "link-local address 169.254.169.254"),
    "redirect to a short number": (b"HTTP/1.1 302 x\r\nLocation: http://127.2:1/x\r\n\r\n", "loopback address 127.0.0.2"),
    "redirect to an octal number": (b"HTTP/1.1 302 x\r\nLocation: http://0251.0376.0251.0376/x\r\n\r\n", "link-local address"),
    "redirect to a mapped network": (b"HTTP/1.1 302 x\r\nLocation: http://[::ffff:10.0.0.1]/x\r\n\r\n", "private address"),
    "redirect to a translated network": (b"HTTP/1.1 302 x\r\nLocation: http://[64:ff9b::a00:1]/x\r\n\r\n", "private address"),
    "redirect without a scheme": (b"HTTP/1.1 302 x\r\nLocation: //127.2:1/x\r\n\r\n", "loopback address 127.0.0.2"),
    "redirect with a backslash": (b"HTTP/1.1 302 x\r\nLocation: http://8.8.8.8\\@127.2/x\r\n\r\n", "not followed"),
    "redirect to a local network": (b"HTTP/1.1 308 x\r\nLocation: http://10.1.2.3/x?sig=secret-2\r\n\r\n", "private address 10.1.2.3|308"),
    "redirect to nonsense": (b"HTTP/1.1 302 x\r\nLocation: http://[::1/x\r\n\r\n", "cannot be understood: Invalid IPv6 URL"),
    "redirect with a password": (b"HTTP/1.1 302 x\r\nLocation: http://u:secret-2@h/x\r\n\r\n", "not followed"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_no_answer_passes_that_is_not_whole(tmp_path: t.Any, name: str) -> None:
    answer, reason = ANSWERS[name]
    with pytest.raises(FleetError, match=reason) as raised:
        get(Raw(answer).url, tmp_path, hosts=("127.0.0.1",))
    assert raised.value.message.isprintable()
    assert "secret" not in raised.value.message + str(raised.value.fields)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS: dict[str, tuple[bytes, bytes, str]] = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "did not come to an answer within 1 s"),
    "a header by drops": (b"HTTP/1.1 200 OK\r\nX: ", b"y", "did not come to an answer within 1 s"),
    "a status line by drops": (b"HTTP/1.1 200 O", b"K", "did not come to an answer within 1 s"),
    "a file by drops": (OK + b"Content-Length: 1000000\r\n\r\n", b"x", "sent less than 1024 KiB within 0.5 s"),
    "chunks by drops": (CHUNKED, b"1\r\nx\r\n", "sent less than 1024 KiB within 0.5 s"),
    "a chunk's length by drops": (CHUNKED, b"0", "sent less than 1024 KiB within 0.5 s|cannot be fetched|broke off"),
    "headers behind the end": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n", "sent less than 1024 KiB within 0.5 s"),
    "zeros": (CHUNKED, b"100000\r\n" + bytes(0x100000) + b"\r\n", "4096000 may be written there"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_server_that_never_ends_is_left(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    first, again, reason = ENDLESS[name]
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _address = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(first)
            while not ended.wait(0.01):
                connection.sendall(again)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    monkeypatch.setattr(web, "BLOCK_S", 0.5)
    monkeypatch.setattr(os, "statvfs", lambda _path: types.SimpleNamespace(f_bavail=1000, f_blocks=0, f_frsize=4096))
    before = len(os.listdir("/proc/self/fd"))
    try:
        with listener, pytest.raises(FleetError, match=reason):
            get(f"http://127.0.0.1:{listener.getsockname()[1]}/x", tmp_path, pinned=True, timeout_s=0.5)
    finally:
        ended.set()
        thread.join(5)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_what_comes_with_a_redirect_is_not_read(tmp_path: t.Any, server: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    most, sent = 256, 0

    def serve() -> None:
        nonlocal sent
        connection, _address = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {server}/image\r\n\r\n".encode())
            while sent < most:
                connection.sendall(bytes(1 << 20))
                sent += 1

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        assert get(f"http://127.0.0.1:{listener.getsockname()[1]}/x", tmp_path, pinned=True)[1] == CONTENT
    thread.join(5)
    assert not thread.is_alive() and sent < most, "MiB"


WHOLE = {
    "length": OK + b"Content-Length: 5\r\n\r\nhello",
    "length with spaces": OK + b"Content-Length:   5  \r\n\r\nhello",
    "chunks": OK + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "identity": OK + b"Content-Length: 5\r\nContent-Encoding: identity\r\n\r\nhello",
    "strange validators": OK + b"Content-Length: 5\r\nETag: " + b"x" * 5000 + b"\r\nLast-Modified: \xff\r\n\r\nhello",
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_answers(tmp_path: t.Any, name: str) -> None:
    validators, seen, written = get(Raw(WHOLE[name]).url, tmp_path)
    assert (validators, seen, written) == (("", "", -1 if name == "chunks" else 5), b"hello", b"hello")


def test_a_known_digest_needs_no_length(tmp_path: t.Any) -> None:
    assert get(Raw(OK + b"\r\nhello").url, tmp_path, pinned=True)[1] == b"hello"


def test_the_address_that_was_looked_at_is_used(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means another address each time it is asked for."""
    answers = ["127.0.0.1", "169.254.169.254"]
    asked: list[str] = []

    def resolve(host: str, port: int, *rest: t.Any) -> t.Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[len(asked) - 1], port))]

    server = Raw(WHOLE["length"])
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = server.url.replace("127.0.0.1", "mirror.test")
    assert get(url, tmp_path, hosts=("127.0.0.0/8",))[1] == b"hello"
    assert asked == ["mirror.test"]
    with pytest.raises(SourceRefused, match=r"mirror.test has the link-local address 169.254.169.254"):
        get(url, tmp_path, hosts=("127.0.0.0/8",))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a", "http://localhost/a", "http://[::1]/a", "http://127.1/a", "http://0/a", "http://0x7f000001/a"]
)
def test_loopback_has_to_be_listed(tmp_path: t.Any, url: str) -> None:
    with pytest.raises(SourceRefused, match="basecast_source_hosts"):
        get(url, tmp_path, hosts=())


def test_a_name_with_several_addresses_leads_to_those_that_are_allowed(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Raw(WHOLE["length"])
    several = ["169.254.169.254", "10.9.9.9", "127.0.0.1"]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, *_rest: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in several]
    )
    begun: list[str] = []
    connect = socket.socket.connect

    def noting(self: socket.socket, address: t.Any) -> None:
        begun.append(address[0])
        if address[0] != "127.0.0.1":
            raise ConnectionRefusedError
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noting)
    assert get(server.url.replace("127.0.0.1", "mirror.test"), tmp_path, hosts=("127.0.0.0/8",))[1] == b"hello"
    assert begun == ["10.9.9.9", "127.0.0.1"], "the manifest names the host, so its local address is tried"


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254.",
        "127.0.0.1.",
        "2852039166",
        "127.1",
        "[::1]",
        "[::ffff:169.254.169.254]",
        "0251.0376.0251.0376",
        "[fe80::1%25eth0]",
        "[::ffff:127.0.0.1%25lo]",
        "localhost",
        "LocalHost.",
        "x.localhost",
    ],
)
def test_a_proxy_is_not_asked_for_what_is_refused(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    proxy = Raw(WHOLE["length"])
    monkeypatch.setenv("http_proxy", proxy.url.partition("/x")[0])
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(SourceRefused, match="basecast_source_hosts"):
        get(f"http://{host}/x.qcow2", tmp_path, hosts=())
    assert proxy.requests == []
    assert get("http://mirror.test/x.qcow2", tmp_path, hosts=())[1] == b"hello"


def test_what_a_server_says_beforehand() -> None:
    server = Raw(OK + b"Content-Length: 123\r\nETag: x\r\n\r\n")
    assert download.ask(server.url, Terms(Rules(hosts=("127.0.0.1",)))) == (123, "x", "", 0)
    assert server.requests[0].startswith(b"HEAD /x.qcow2?token=secret-1 ")


LONG = bytes(range(256)) * 4096 * 3  # three blocks
CUT = 1 << 20

GOES_ON = {
    "by its ETag": (File(LONG, cut=CUT), False),
    "by its time": (File(LONG, etag="", last_modified="Sat, 28 Nov 2026 12:00:00 GMT", cut=CUT), False),
    "by its time, with a weak ETag": (File(LONG, etag='W/"1"', last_modified="Sat, 28 Nov 2026 12:00:00 GMT", cut=CUT), False),
    "by its digest": (File(LONG, etag="", cut=CUT), True),
}


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_WAIT_S", 0.0)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("name", GOES_ON)
def test_what_breaks_off_goes_on(tmp_path: t.Any, name: str) -> None:
    file, pinned = GOES_ON[name]
    with Server({"/x": file}) as server:
        _validators, seen, written = get(f"{server.url}/x", tmp_path, pinned=pinned)
    assert seen == written == LONG
    assert [asked.headers.get("Range") for asked in server.asked] == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    validator = server.asked[1].headers.get("If-Range")
    assert validator == (file.etag if file.etag.startswith('"') else file.last_modified or None)


BEGINS_AGAIN = {
    "no parts": File(LONG, ranges=False),
    "another part": File(LONG, broken="start"),
    "another length": File(LONG, broken="total"),
    "another ETag": File(LONG, broken="etag"),
}


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("name", BEGINS_AGAIN)
def test_what_cannot_go_on_begins_again(tmp_path: t.Any, name: str) -> None:
    with Server({"/x": BEGINS_AGAIN[name]._replace(cut=CUT)}) as server:
        ask = server.answer

        def heal(request: t.Any) -> None:
            """What comes after the first answer and the part that does not fit is whole."""
            ask(request)
            if len(server.asked) == (1 if name == "no parts" else 2):
                server.files["/x"] = t.cast(File, server.files["/x"])._replace(cut=None)

        server.answer = heal  # type: ignore[method-assign]
        _validators, seen, written = get(f"{server.url}/x", tmp_path)
    assert seen == written == LONG
    assert (server.asked[-1].headers.get("Range") is None) is (name != "no parts"), "what does not fit was not put behind it"


@pytest.mark.usefixtures("no_waiting")
def test_another_file_is_not_put_behind_the_first(tmp_path: t.Any) -> None:
    with Server({"/x": File(LONG, cut=CUT)}) as server:
        ask = server.answer

        def exchange(request: t.Any) -> None:
            ask(request)
            server.files["/x"] = File(LONG[::-1], etag='"2"')

        server.answer = exchange  # type: ignore[method-assign]
        validators, seen, written = get(f"{server.url}/x", tmp_path)
    assert seen == written == LONG[::-1]
    assert validators == Validators('"2"', "", len(LONG))


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(
    ("file", "times"), [(File(LONG, etag="", cut=CUT), 1), (File(LONG, etag='W/"1"', cut=CUT), 1), (File(LONG, cut=0), 1)]
)
def test_what_cannot_be_the_same_is_not_continued(tmp_path: t.Any, file: File, times: int) -> None:
    with Server({"/x": file}) as server, pytest.raises(DownloadFailed, match=r"ended after|broke off"):
        get(f"{server.url}/x", tmp_path)
    assert len(server.asked) == times


@pytest.mark.usefixtures("no_waiting")
def test_a_server_that_does_not_go_on_is_left(tmp_path: t.Any) -> None:
    with Server({"/x": File(LONG, cut=CUT)}) as server:
        ask = server.answer

        def die(request: t.Any) -> None:
            ask(request)
            server.files["/x"] = File(b"", status=503)

        server.answer = die  # type: ignore[method-assign]
        with pytest.raises(DownloadFailed, match=f"503 .*After {CUT} bytes it did not go on, 5 times"):
            get(f"{server.url}/x", tmp_path)


def test_a_signed_url_that_has_expired(tmp_path: t.Any) -> None:
    query = "X-Amz-Date=20200101T000000Z&X-Amz-Expires=60&X-Amz-Signature=topsecret"
    reason = "403 Forbidden; its signature expired at 2020-01-01 00:01:00 UTC"
    with Server({f"/x?{query}": File(b"", status=403)}) as server, pytest.raises(DownloadFailed, match=reason) as raised:
        get(f"{server.url}/x?{query}", tmp_path)
    assert "topsecret" not in raised.value.message + str(raised.value.fields)


def test_a_small_text_is_small() -> None:
    with Server({"/sums": File(b"x" * 101)}) as server:
        terms = Terms(Rules(hosts=("127.0.0.1",)))
        assert download.read_text(f"{server.url}/sums", terms, 101) == "x" * 101
        with pytest.raises(DownloadFailed, match="larger than the 100 bytes"):
            download.read_text(f"{server.url}/sums", terms, 100)


@pytest.mark.parametrize("head", [403, 405, 501])
def test_a_url_that_is_signed_for_get_is_asked_by_get(head: int) -> None:
    with Server({"/x?sig=secret": File(bytes(1 << 24), head=head)}) as server:
        answer = download.ask(f"{server.url}/x?sig=secret", Terms(Rules(hosts=("127.0.0.1",))))
        assert (answer.length, answer.etag) == (1 << 24, '"1"')
        assert [asked.method for asked in server.asked] == ["HEAD", "GET"]


@pytest.mark.parametrize("head", [401, 404, 500])
def test_other_answers_to_a_question_stand(head: int) -> None:
    with Server({"/x": File(b"x", head=head)}) as server:
        with pytest.raises(DownloadFailed, match=str(head)):
            download.ask(f"{server.url}/x", Terms(Rules(hosts=("127.0.0.1",))))
        assert [asked.method for asked in server.asked] == ["HEAD"]


@pytest.mark.usefixtures("no_waiting")
def test_what_breaks_off_too_often_is_left(tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_ATTEMPTS", 2)
    with Server({"/x": File(LONG, cut=CUT)}) as server:
        with pytest.raises(DownloadFailed, match="/x: the transfer broke off 2 times; nothing was kept"):
            get(f"{server.url}/x", tmp_path)
        assert len(server.asked) == 2


@pytest.mark.usefixtures("no_waiting")
def test_a_part_longer_than_the_file_is_refused(tmp_path: t.Any) -> None:
    begin = OK + b'ETag: "1"\r\nContent-Length: 10\r\n\r\nhello'
    part = b'HTTP/1.1 206 Part\r\nETag: "1"\r\nContent-Range: bytes 5-9/10\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nworld!!\r\n0\r\n\r\n'
    with pytest.raises(DownloadFailed, match="more came than the 10 bytes that were announced; nothing was kept"):
        get(Raw(begin, part).url, tmp_path, hosts=("127.0.0.1",))


def test_a_text_that_ends_early_is_not_read() -> None:
    server = Raw(OK + b"Content-Length: 10\r\n\r\nhello")
    with pytest.raises(DownloadFailed, match=r"the transfer ended after 5 of 10 bytes\.|broke off"):
        download.read_text(server.url, Terms(Rules(hosts=("127.0.0.1",))), 100)
