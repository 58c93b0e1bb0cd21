# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A TCP connection with or without TLS."""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import ssl
import time

from ..endpoints import StreamTimeout
from ..errors import RelayError, describe

# The kernel gives up on unacknowledged bytes after this time. Longer than the heartbeats' limit: a peer whose disk
# stalls keeps its window closed, and the kernel counts that too.
USER_TIMEOUT_MS = 30_000
KEEPALIVE_IDLE_S = 4
KEEPALIVE_INTERVAL_S = 2
KEEPALIVE_PROBES = 4

# The longest TLS record, with what encryption adds to it.
RECORD_BYTES = 16384 + 512


def tune(connection: socket.socket) -> None:
    """Small frames go at once; a peer that lost power is noticed by the kernel too."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def listen(address: str, first: int, last: int, preferred: int | None = None) -> socket.socket:
    """Listen on the first free port of a range. :raises RelayError: if there is none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ports = list(range(first, last + 1))
    if preferred in ports:
        ports.insert(0, preferred)
    reason = "the range is empty"
    for port in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A connection of an earlier node in TIME_WAIT is no reason to take another port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(256)
            return listener
        except OSError as error:
            listener.close()
            reason = describe(error)
    raise RelayError(f"No port of {first}-{last} on {address} can be bound: {reason}.")


class SocketStream:
    """It sleeps by itself: Python's own waiting would wake for each segment that comes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._timeout = 1.0
        # Bytes for which the kernel wakes who waits for the socket.
        self._wakes_at = 1

    def set_timeout(self, seconds: float) -> None:
        self._timeout = seconds

    def send(self, view: memoryview) -> int:
        """As much as the kernel takes, at least one byte; TLS hands over one record at a time."""
        end, sent = time.monotonic() + self._timeout, 0
        while True:
            try:
                sent += self._socket.send(view[sent:] if sent else view)
            except (BlockingIOError, ssl.SSLWantWriteError):
                if sent:
                    return sent
                self._wait(select.POLLOUT, end)
            except ssl.SSLWantReadError:
                if sent:
                    return sent
                self._wake_at(1)
                self._wait(select.POLLIN, end)
            except ValueError as error:
                raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN)) from error
            if sent == len(view):
                return sent

    def receive_into(self, view: memoryview, least: int = 1) -> int:
        """As much as has come, at least one byte; TLS hands over one record at a time. 0 at the end of the stream."""
        end, got = time.monotonic() + self._timeout, 0
        while True:
            try:
                count = self._socket.recv_into(view[got:] if got else view)
                got += count
                if got == len(view) or not count:
                    return got
            except (BlockingIOError, ssl.SSLWantReadError):
                if got:
                    return got
                # A TLS record that is here in part has left the socket.
                self._wake_at(max(1, least - RECORD_BYTES))
                self._wait(select.POLLIN, end)
            except ssl.SSLWantWriteError:
                if got:
                    return got
                self._wait(select.POLLOUT, end)
            except ValueError as error:
                raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN)) from error

    def _wait(self, event: int, end: float) -> None:
        """:param end: of the whole call: parts of a TLS record wake as well, and may never become one.

        :raises StreamTimeout:
        """
        left = end - time.monotonic()
        poller = select.poll()
        poller.register(self._socket, event)
        if left <= 0 or not poller.poll(math.ceil(left * 1000)):
            raise StreamTimeout

    def _wake_at(self, count: int) -> None:
        if count != self._wakes_at:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._wakes_at = count

    def readable(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def fileno(self) -> int:
        self._wake_at(1)
        return self._socket.fileno()

    def abort(self) -> None:
        # Of the plain socket: SSLSocket.shutdown() would take the TLS object away from the thread that uses it.
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        self._socket.close()


class Waker:
    """Wakes a thread that polls; many wakes before it looks are one."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pending = False

    def fileno(self) -> int:
        return self._reader

    def wake(self) -> None:
        if not self._pending:
            self._pending = True
            try:
                os.write(self._writer, b"x")
            except OSError:
                pass

    def clear(self) -> None:
        try:
            os.read(self._reader, 64)
        except BlockingIOError:
            pass
        # After the read: the other order could leave it set with nothing to read, and lose all later wakes. Who clears
        # looks at the state afterwards, so a wake in between is not lost either.
        self._pending = False

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def poll(stream_fd: int, waker_fd: int | None, seconds: float) -> tuple[bool, bool]:
    """Whether the stream, and whether the waker, has something; after at most so many seconds."""
    poller = select.poll()
    poller.register(stream_fd, select.POLLIN)
    if waker_fd is not None:
        poller.register(waker_fd, select.POLLIN)
    ready = {descriptor for descriptor, _event in poller.poll(math.ceil(seconds * 1000))}
    return stream_fd in ready, waker_fd in ready
