# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Room on the target for the disks that QEMU copies there while their machine runs.

The target's door promises it for as long as the source keeps a connection for it, and more of it while the disks grow: QEMU itself
would write until the pool is full. A connection that breaks is opened again. Without one, no copy goes on for longer than a minute.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import typing as t

from .._disk import file_io
from .._errors import FleetError
from .._relay.wire.tls import Contexts
from .._untrusted import Malformed
from . import tunnel
from .tunnel import Peer, TunnelError

_LOOK_S = 1.0
# How long the target may take to promise, over as many connections as it needs.
_PATIENCE_S = 60.0


class NoRoomThere(TunnelError):
    """The target has no room for what the disks have become. The message is its own."""

    kind = "no_space"


class RoomLost(TunnelError):
    """The target does not promise any more, and it cannot be asked why."""


class FarRoom:
    """The promise for the disks of one machine. Close it when their copies are complete, or given up.

    :param disks: path of each disk here, by the name of its file there.
    :raises TunnelError: the target cannot be reached, or has no room; the message is the target's.
    """

    def __init__(self, peer: Peer, tls: Contexts, machine: str, disks: t.Mapping[str, str]) -> None:
        self._peer, self._tls, self._machine = peer, tls, machine
        self._paths = dict(disks)
        self._granted: dict[str, int] = {}
        self._streams: dict[str, t.Any] = {}
        self._ended = threading.Event()
        self._refused: NoRoomThere | None = None
        # By disk: since when it waits for a promise, and why it has none yet.
        self._waits: dict[str, tuple[float, str]] = {}
        try:
            for name, path in self._paths.items():
                self._open(name, file_io.allocated_bytes(path))
        except Malformed as error:
            self.close()
            raise TunnelError(f"What {peer.host} says of its room cannot be read: {error.message}") from error
        except BaseException:  # an interrupt must not leave a promise either
            self.close()
            raise
        threading.Thread(target=self._follow, daemon=True, name="room").start()

    @property
    def refusal(self) -> NoRoomThere | RoomLost | None:
        """Why the target gives no more room, or gives none any more; the copies must end then."""
        if self._refused is not None:
            return self._refused
        for name, (since, why) in list(self._waits.items()):
            if time.monotonic() - since >= _PATIENCE_S:
                return RoomLost(f"{self._peer.host} has not promised room for {name} of {self._machine} for {_PATIENCE_S:g} s: {why}")
        return None

    def __enter__(self) -> FarRoom:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()

    def close(self) -> None:
        self._ended.set()
        for stream in list(self._streams.values()):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(stream, socket.SHUT_RDWR)
            stream.close()

    def _follow(self) -> None:
        while self._refused is None and not self._ended.wait(_LOOK_S):
            for name in list(self._paths):
                try:
                    needed = file_io.allocated_bytes(self._paths[name])
                except OSError:  # the disk is gone: the migration itself will say so
                    del self._paths[name]
                    self._waits.pop(name, None)
                    continue
                try:
                    self._keep(name, needed)
                except NoRoomThere as error:
                    self._refused = error
                except (FleetError, OSError) as error:
                    self._lose(name, error.message if isinstance(error, FleetError) else str(error))

    def _keep(self, name: str, needed: int) -> None:
        """The promise of a disk, over a new connection where the last one broke."""
        if name in self._streams and not _is_open(self._streams[name]):
            self._lose(name, "the connection has ended")
        if name in self._streams and needed <= self._granted[name]:
            return
        self._waits.setdefault(name, (time.monotonic(), "it does not answer"))
        if name in self._streams:
            self._grow(name, needed)
        else:
            self._open(name, needed)
        self._waits.pop(name, None)

    def _lose(self, name: str, why: str) -> None:
        since, _before = self._waits.get(name, (time.monotonic(), ""))
        self._waits[name] = (since, why)
        stream = self._streams.pop(name, None)
        if stream is not None:
            stream.close()

    def _open(self, name: str, needed: int) -> None:
        header = {"to": tunnel.ROOM, "machine": self._machine, "name": name, "size": needed}
        stream, answer = tunnel.open_line(self._peer, self._tls, header)
        stream.settimeout(_PATIENCE_S)
        self._streams[name] = stream
        if self._ended.is_set():  # closed meanwhile
            stream.close()
        self._granted[name] = answer["bytes"].integer(needed)

    def _grow(self, name: str, needed: int) -> None:
        stream = self._streams[name]
        tunnel.send_message(stream, {"size": needed})
        answer = tunnel.receive_message(stream, f"the answer of {self._peer.host}")
        if answer.get("error") is not None:
            raise NoRoomThere(f"{self._peer.host}: {answer['error'].cleaned(1000)}")
        self._granted[name] = answer["bytes"].integer(needed)


def _is_open(stream: socket.socket) -> bool:
    """Whether the target still keeps a connection on which nothing was asked: its promise ends with it."""
    stream.settimeout(0)
    try:
        stream.recv(1)
    except (ssl.SSLWantReadError, BlockingIOError):
        return True
    except OSError:
        return False
    finally:
        stream.settimeout(_PATIENCE_S)
    return False
