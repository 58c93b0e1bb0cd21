# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readings for basecast.fleet.scale, at an interval, from addresses that answer with JSON, and from Prometheus.

Arguments:
  metrics: by name, how each is read; either
    {url, path}: the number at a path of keys and positions in the JSON document at the URL, or
    {prometheus, query}: the one sample that the query has, at the server of that URL.
  interval_s: seconds between two readings, 60 by default.
  timeout_s: how long an answer may take, 10 by default.

Each event has ``readings``, a number for each metric, or null where it could not be read, and ``problems``, which say why not.
Redirects are not followed, and of an answer no more than 1 MiB is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import math
import re
import socket
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

MOST_BYTES = 1 << 20
_SHOWN = 200

Metric = t.Mapping[str, t.Any]


class Unreadable(Exception):
    """Why a reading is not known."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """An answer must not lead the controller to other addresses than the user has named."""

    def redirect_request(self, *_args: t.Any, **_kwargs: t.Any) -> None:
        return None


class _Timed(http.client.HTTPConnection):
    """A socket's own time limit counts from byte to byte: a server that sends one now and then would never be left."""

    _used: socket.socket | None = None  # urllib drops its own reference after the headers

    def connect(self) -> None:
        end = threading.Timer(t.cast("float", self.timeout), self._end)
        end.daemon = True
        end.start()
        super().connect()
        self._used = self.sock

    def _end(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            (self._used or self.sock).shutdown(socket.SHUT_RDWR)


class _TimedTLS(_Timed, http.client.HTTPSConnection):
    pass


class _TimedHTTP(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Timed, req)


class _TimedHTTPS(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TimedTLS, req)


def checked(args: t.Mapping[str, t.Any]) -> tuple[dict[str, Metric], float, float]:
    """Metrics, interval and timeout. :raises ValueError: names the argument, and what is expected."""
    metrics = args.get("metrics")
    if not isinstance(metrics, dict) or not metrics:
        raise ValueError(
            f"metrics: invalid value {metrics!r}; expected a mapping of names, each with url and path, or prometheus and query"
        )
    for name, metric in metrics.items():
        keys = set(metric) if isinstance(metric, dict) else set()
        if keys not in ({"url", "path"}, {"prometheus", "query"}):
            # Not its values: a URL may have a password in it.
            told = sorted(map(str, keys)) if isinstance(metric, dict) else type(metric).__name__
            raise ValueError(f"metrics.{name}: invalid value, {told}; expected url and path, or prometheus and query")
        url = str(metric.get("url") or metric.get("prometheus"))
        if "@" in re.split("[?#]", url, maxsplit=1)[0]:
            raise ValueError(f"metrics.{name}: invalid URL, it has an @; expected one without a user and a password, which are not sent")
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"metrics.{name}: invalid URL {url!r}; expected one that begins with http:// or https://")
        if "path" in metric and not isinstance(metric["path"], list):
            raise ValueError(f"metrics.{name}.path: invalid value {metric['path']!r}; expected a list of keys and positions")
    seconds = {}
    for name, default, least in (("interval_s", 60, 1), ("timeout_s", 10, 0.1)):
        value = args.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= 86400:
            raise ValueError(f"{name}: invalid value {value!r}; expected seconds from {least} to 86400")
        seconds[name] = float(value)
    return metrics, seconds["interval_s"], seconds["timeout_s"]


def read_all(metrics: t.Mapping[str, Metric], timeout_s: float) -> dict[str, t.Any]:
    """One event."""
    readings: dict[str, float | None] = {}
    problems: dict[str, str] = {}
    for name, metric in metrics.items():
        try:
            readings[name] = _read(metric, timeout_s)
        except Unreadable as error:
            readings[name] = None
            problems[name] = str(error)[:_SHOWN]
    return {"readings": readings, "problems": problems}


def _read(metric: Metric, timeout_s: float) -> float:
    if "url" in metric:
        return _number(_at(_fetch(str(metric["url"]), timeout_s), metric["path"]))
    query = urllib.parse.urlencode({"query": metric["query"]})
    told = _fetch(f"{str(metric['prometheus']).rstrip('/')}/api/v1/query?{query}", timeout_s)
    found = _at(told, ["data", "result"])
    kind = _at(told, ["data", "resultType"])
    if kind == "vector" and isinstance(found, list):
        if len(found) != 1:
            raise Unreadable(f"the query has {len(found)} samples instead of one")
        found = _at(found, [0, "value"])
    elif kind != "scalar":
        raise Unreadable("the query has no samples")
    return _number(_at(found, [1]))


def _fetch(url: str, timeout_s: float) -> t.Any:
    opener = urllib.request.build_opener(_NoRedirect, _TimedHTTP, _TimedHTTPS)
    deadline = time.monotonic() + timeout_s
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            text = answer.read(MOST_BYTES + 1)
        if time.monotonic() >= deadline:
            raise TimeoutError
    except urllib.error.HTTPError as error:
        error.close()
        raise Unreadable(f"it answers with status {error.code}") from error
    except (ValueError, http.client.InvalidURL) as error:
        raise Unreadable("there is no answer: the URL cannot be used") from error
    except (OSError, http.client.HTTPException) as error:
        reason = "timed out" if time.monotonic() >= deadline else getattr(error, "reason", error)
        raise Unreadable(f"there is no answer: {reason}") from error
    if len(text) > MOST_BYTES:
        raise Unreadable(f"the answer has more than {MOST_BYTES} bytes")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable("the answer is not JSON") from error


def _at(value: t.Any, path: t.Sequence[t.Any]) -> t.Any:
    for step in path:
        try:
            if isinstance(value, str):  # a character of a number is another number
                raise TypeError(step)
            value = value[step]
        except (KeyError, IndexError, TypeError) as error:
            raise Unreadable(f"the answer has nothing at {'.'.join(map(str, path))}") from error
    return value


def _number(value: t.Any) -> float:
    """Prometheus has numbers as texts. What is no load is not known."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (OverflowError, TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise Unreadable(f"{str(value)[:40]!r} is not a number of at least 0")
    return number


async def main(queue: asyncio.Queue[t.Any], args: dict[str, t.Any]) -> None:
    """What ansible-rulebook calls: puts an event into the queue at each interval."""
    metrics, interval_s, timeout_s = checked(args)
    while True:
        await queue.put(await asyncio.to_thread(read_all, metrics, timeout_s))
        await asyncio.sleep(interval_s)
