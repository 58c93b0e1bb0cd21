# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import os
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import download
from ansible_collections.basecast.fleet.plugins.module_utils._disk.download import DownloadFailed, Validators
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption

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


def get(url: str, tmp_path: t.Any, known: Validators | None = None) -> tuple[Validators | None, bytes, bytes]:
    seen = bytearray()
    descriptor = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)

    def read_back(end: int) -> None:
        seen.extend(os.pread(descriptor, end - len(seen), len(seen)))

    try:
        validators = download.fetch(url, descriptor, read_back, known, timeout_s=10)
    finally:
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


@pytest.mark.parametrize(("path", "word"), [("/short", "ended after"), ("/missing", "404"), ("/to-file", "302|file")])
def test_what_does_not_arrive_whole_is_an_error(server: str, tmp_path: t.Any, path: str, word: str) -> None:
    with pytest.raises(DownloadFailed, match=word):
        get(server + path, tmp_path)


def test_nobody_there(tmp_path: t.Any) -> None:
    with pytest.raises(DownloadFailed, match="cannot be fetched"):
        get("http://127.0.0.1:1/a", tmp_path)
    with pytest.raises(DownloadFailed, match="cannot be fetched"):
        get(f"file://{tmp_path}/none", tmp_path)


def test_file_urls(tmp_path: t.Any) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    assert get(f"file://{tmp_path}/source", tmp_path)[2] == CONTENT


@pytest.mark.parametrize("url", ["ftp://h/a", "/etc/passwd", "https://user:secret@h/a", "nbd://h"])
def test_refused_urls(url: str) -> None:
    with pytest.raises(InvalidOption) as error:
        download.check_url(url)
    assert "secret" not in error.value.message


def test_what_is_shown_of_a_url() -> None:
    assert download.public_url("https://u:p@h:1/a/b.qcow2?token=x#f") == "https://h:1/a/b.qcow2"
    assert download.file_name("https://h/a/b%20c.qcow2?x=y") == "b c.qcow2"
