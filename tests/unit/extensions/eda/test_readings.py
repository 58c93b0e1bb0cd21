# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import runpy
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
import yaml

EDA = Path(__file__).parents[4] / "extensions/eda"
# As ansible-rulebook loads it.
SOURCE = runpy.run_path(str(EDA / "plugins/event_source/readings.py"))

ANSWERS: dict[str, tuple[int, bytes]] = {
    "/stats": (200, b'{"web": [{"requests": 290}]}'),
    "/quoted": (200, b'{"web": "57.3"}'),
    "/text": (200, b"many"),
    "/deep": (200, b"[" * 100_000),
    "/large": (200, b" " * ((1 << 20) + 1)),
    "/nan": (200, b'{"web": NaN}'),
    "/less": (200, b'{"web": -1}'),
    "/huge": (200, b'{"web": ' + b"9" * 400 + b"}"),
    "/true": (200, b'{"web": true}'),
    "/gone": (404, b"{}"),
    "/elsewhere": (302, b""),
    "/api/v1/query?query=one": (200, b'{"data": {"resultType": "vector", "result": [{"metric": {}, "value": [1764418800, "0.5"]}]}}'),
    "/api/v1/query?query=none": (200, b'{"data": {"resultType": "vector", "result": []}}'),
    "/api/v1/query?query=scalar%28x%29": (200, b'{"data": {"resultType": "scalar", "result": [1764418800, "7"]}}'),
    "/api/v1/query?query=matrix": (200, b'{"data": {"resultType": "matrix", "result": []}}'),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, text = ANSWERS[self.path]
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/stats")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_args: t.Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> t.Iterator[str]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize(
    ("metric", "number", "problem"),
    [
        ({"url": "/stats", "path": ["web", 0, "requests"]}, 290.0, ""),
        ({"url": "/stats", "path": ["web", 1, "requests"]}, None, "the answer has nothing at web.1.requests"),
        ({"url": "/quoted", "path": ["web"]}, 57.3, ""),
        ({"url": "/quoted", "path": ["web", 0]}, None, "the answer has nothing at web.0"),
        ({"url": "/text", "path": []}, None, "the answer is not JSON"),
        ({"url": "/deep", "path": []}, None, "the answer is not JSON"),
        ({"url": "/large", "path": []}, None, "the answer has more than 1048576 bytes"),
        ({"url": "/nan", "path": ["web"]}, None, "'nan' is not a number of at least 0"),
        ({"url": "/less", "path": ["web"]}, None, "'-1' is not a number of at least 0"),
        ({"url": "/true", "path": ["web"]}, None, "'True' is not a number of at least 0"),
        ({"url": "/huge", "path": ["web"]}, None, f"'{'9' * 40}' is not a number of at least 0"),
        ({"url": "/gone", "path": []}, None, "it answers with status 404"),
        ({"url": "/elsewhere", "path": ["web", 0, "requests"]}, None, "it answers with status 302"),
        ({"prometheus": "/", "query": "one"}, 0.5, ""),
        ({"prometheus": "", "query": "scalar(x)"}, 7.0, ""),
        ({"prometheus": "", "query": "none"}, None, "the query has 0 samples instead of one"),
        ({"prometheus": "", "query": "matrix"}, None, "the query has no samples"),
    ],
)
def test_what_cannot_be_read_is_null_and_never_zero(server: str, metric: dict[str, t.Any], number: float | None, problem: str) -> None:
    asked = {key: server + value if key in ("url", "prometheus") else value for key, value in metric.items()}
    event = SOURCE["read_all"]({"load": asked}, 20.0)
    assert event == {"readings": {"load": number}, "problems": {"load": problem} if problem else {}}


def test_a_server_that_is_not_there_is_told() -> None:
    event = SOURCE["read_all"]({"load": {"url": "http://127.0.0.1:1/", "path": []}}, 1.0)
    assert event["readings"] == {"load": None} and "there is no answer: " in event["problems"]["load"]


@pytest.mark.parametrize(
    ("answer", "endless", "reason"),
    [
        (b"SSH-2.0-x\r\n", b"", "SSH-2.0-x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx", b"", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" ", "timed out"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", "timed out"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"x", "timed out"),
    ],
)
def test_a_server_that_speaks_otherwise_or_never_ends_is_told(answer: bytes, endless: bytes, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _address = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(answer)
                for _turn in range(80 if endless else 0):
                    connection.sendall(endless)
                    time.sleep(0.05)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        began = time.monotonic()
        event = SOURCE["read_all"]({"load": {"url": f"http://127.0.0.1:{listener.getsockname()[1]}/", "path": []}}, 0.5)
        assert event["readings"] == {"load": None} and event["problems"]["load"].startswith(f"there is no answer: {reason}")
        assert time.monotonic() - began < 3
        thread.join(10)


def test_no_password_of_a_url_is_told() -> None:
    url = "http://me:sec@host/"
    for metric in ({"url": url, "path": []}, {"prometheus": url, "query": "x"}, {"url": url, "pth": []}):
        with pytest.raises(ValueError, match=r"metrics\.load: invalid") as error:
            SOURCE["checked"]({"metrics": {"load": metric}})
        assert "sec@" not in str(error.value)
    told = SOURCE["read_all"]({"load": {"url": "http://me:sec/ret", "path": []}}, 1.0)
    assert told == {"readings": {"load": None}, "problems": {"load": "there is no answer: the URL cannot be used"}}


def test_events_come_at_each_interval(server: str) -> None:
    async def two() -> list[t.Any]:
        queue: asyncio.Queue[t.Any] = asyncio.Queue()
        metrics = {"requests": {"url": f"{server}/stats", "path": ["web", 0, "requests"]}}
        task = asyncio.create_task(SOURCE["main"](queue, {"metrics": metrics, "interval_s": 1}))
        found = [await queue.get() for _turn in range(2)]
        task.cancel()
        return found

    event = {"readings": {"requests": 290.0}, "problems": {}}
    assert asyncio.run(asyncio.wait_for(two(), 50)) == [event, event]
    json.dumps(event)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({}, "metrics: invalid value None; expected a mapping of names"),
        ({"metrics": {"load": {"url": "http://x"}}}, "metrics.load: invalid value"),
        ({"metrics": {"load": {"url": "file:///etc/passwd", "path": []}}}, "metrics.load: invalid URL 'file:///etc/passwd'"),
        ({"metrics": {"load": {"url": "http://x", "path": "a.b"}}}, "metrics.load.path: invalid value 'a.b'"),
        ({"metrics": {"load": {"url": "http://x", "path": []}}, "interval_s": 0}, "interval_s: invalid value 0; expected seconds from 1"),
    ],
)
def test_wrong_arguments_are_told(args: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        SOURCE["checked"](args)


def test_the_rulebook_calls_the_playbook_with_what_the_source_tells() -> None:
    (rulebook,) = yaml.safe_load((EDA / "rulebooks/scale.yml").read_text())
    (source,) = rulebook["sources"]
    assert set(source["basecast.fleet.readings"]) == {"interval_s", "metrics"}
    (rule,) = rulebook["rules"]
    played = rule["action"]["run_playbook"]
    assert (EDA.parents[1] / "playbooks" / f"{played['name'].removeprefix('basecast.fleet.')}.yml").exists()
    assert set(played["extra_vars"]) == {"manifest", "readings"}
