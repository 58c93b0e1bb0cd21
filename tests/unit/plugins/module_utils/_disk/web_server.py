# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Web servers for tests: real ones, on the loopback address, with the manners and the faults of those on the Internet."""

from __future__ import annotations

import base64
import contextlib
import http.server
import pathlib
import socket
import socketserver
import ssl
import subprocess
import threading
import typing as t


class File(t.NamedTuple):
    """:param cut: how many bytes each answer sends at most before the connection breaks off.
    :param ranges: whether parts are sent.
    :param head: the answer to HEAD.
    :param broken: what is done wrong with parts: "start", "total" or "etag".
    """

    content: bytes
    etag: str = '"1"'
    last_modified: str = ""
    cut: int | None = None
    ranges: bool = True
    broken: str = ""
    status: int = 200
    head: int = 200


class Asked(t.NamedTuple):
    method: str
    path: str
    headers: dict[str, str]


class Server:
    """:param files: by path with its query; what is a text is where the server redirects to.
    :param wants: the Authorization header without which nothing is sent.
    :param certificate: a PEM file with certificate and key, for https.
    :param address: on which it listens.
    """

    def __init__(
        self,
        files: dict[str, File | str] | None = None,
        wants: str = "",
        certificate: pathlib.Path | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        self.files: dict[str, File | str] = files or {}
        self.asked: list[Asked] = []
        self.wants = wants
        self._address = address
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_arguments: object) -> None:
                pass

        class Threads(http.server.ThreadingHTTPServer):
            def handle_error(self, request: t.Any, client_address: t.Any) -> None:
                """A client that has left, or does not trust the certificate."""

        self._server = Threads((address, 0), Handler)
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self._address}:{self._server.server_address[1]}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(Asked(request.command, request.path, dict(request.headers)))
        found = self.files.get(request.path)
        if self.wants and request.headers.get("Authorization") != self.wants:
            self._short(request, 401)
        elif found is None:
            self._short(request, 404)
        elif isinstance(found, str):
            self._short(request, 302, Location=found)
        elif request.command == "HEAD" and found.head != 200:
            self._short(request, found.head)
        elif found.status != 200:
            self._short(request, found.status)
        else:
            self._file(request, found)

    @staticmethod
    def _short(request: http.server.BaseHTTPRequestHandler, status: int, **headers: str) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            request.send_header(name, value)
        request.end_headers()

    @staticmethod
    def _file(request: http.server.BaseHTTPRequestHandler, file: File) -> None:
        start = 0
        whole = len(file.content)
        wanted = request.headers.get("Range", "")
        if file.ranges and wanted and request.headers.get("If-Range") in (None, file.etag, file.last_modified):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if request.headers.get("If-None-Match") == file.etag != "":
            Server._short(request, 304)
            return
        if start:
            request.send_response(206)
            first = start + 1 if file.broken == "start" else start
            total = whole + 5 if file.broken == "total" else whole
            request.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
        else:
            request.send_response(200)
        if file.etag:
            request.send_header("ETag", '"another"' if start and file.broken == "etag" else file.etag)
        if file.last_modified:
            request.send_header("Last-Modified", file.last_modified)
        request.send_header("Content-Length", str(whole - start))
        request.end_headers()
        if request.command == "HEAD":
            return
        end = whole if file.cut is None else min(whole, start + file.cut)
        with contextlib.suppress(ConnectionError):
            request.wfile.write(file.content[start:end])
        if end < whole:
            request.close_connection = True


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy that sends everything to one server, whatever its name. :param wants: the user and password that it wants."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, target: str, wants: str = "") -> None:
        self.asked: list[str] = []
        self.authorizations: list[str] = []
        host, _mark, port = target.partition("//")[2].partition(":")
        expected = "Basic " + base64.b64encode(wants.encode()).decode() if wants else ""
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                lines = []
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    lines.append(line)
                outer.asked.append(lines[0].decode().strip())
                given = [one.decode().partition(": ")[2].strip() for one in lines if one.lower().startswith(b"proxy-authorization")]
                outer.authorizations += given
                if expected and given != [expected]:
                    self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                outer.connect(self, (host, int(port)), lines)

        super().__init__(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def connect(self, handler: t.Any, place: tuple[str, int], lines: list[bytes]) -> None:
        with socket.create_connection(place) as onward:
            if lines[0].startswith(b"CONNECT"):
                handler.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                method, url, version = lines[0].split()
                path = b"/" + url.split(b"/", 3)[3]
                onward.sendall(b"%s %s %s\r\n" % (method, path, version) + b"".join(lines[1:]) + b"Connection: close\r\n\r\n")
            back = threading.Thread(target=self._pump, args=(onward, handler.connection), daemon=True)
            back.start()
            self._pump(handler.connection, onward)
            back.join()

    @staticmethod
    def _pump(source: t.Any, target: t.Any) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_details: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


def authority(directory: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """(an own authority's certificate, a server's certificate and key for 127.0.0.1 that it has signed)."""
    ca, key, server = directory / "ca.pem", directory / "ca.key", directory / "server.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(
        [*make, "-subj", "/CN=own", "-keyout", key, "-out", ca, "-addext", "keyUsage=critical,keyCertSign"], check=True, capture_output=True
    )
    own = [
        "-CA",
        ca,
        "-CAkey",
        key,
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=CA:FALSE",
    ]
    subprocess.run([*make, *own, "-keyout", directory / "server.key", "-out", directory / "server.crt"], check=True, capture_output=True)
    server.write_bytes((directory / "server.crt").read_bytes() + (directory / "server.key").read_bytes())
    return ca, server
