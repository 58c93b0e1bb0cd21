# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A connection between two hosts for one migration: TLS with the run's certificates, and what passes through it.

The target's door accepts connections of the source host alone. Each begins with one header, which says where it leads: to the
target's libvirt, to a port on which its QEMU waits for the machine, into a file of the machine, or to the room of a pool. The
source's libvirt and QEMU connect to doors of their own host, which lead into such connections: memory and disks cross the network
encrypted, and neither host needs a key of the other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import ssl
import struct
import threading
import typing as t

from .._disk import file_io, sparse_copy
from .._disk.room import Promise
from .._errors import FleetError
from .._relay.errors import EncryptionMismatch, WrongIdentity
from .._relay.wire.socket_stream import tune
from .._relay.wire.tls import Contexts, agree, identity
from .._untrusted import Malformed, Value, read

LIBVIRT, PORT, FILE, PROBE, ROOM = "libvirt", "port", "file", "probe", "room"

_HEADER = struct.Struct(">I")
_LARGEST_HEADER = 1 << 16
_PIECE = struct.Struct(">QI")
_PIECE_BYTES = 1 << 18
_BUFFER_BYTES = 1 << 18
_MOST_BUFFERED = 1 << 18
# What lies in buffers when a guest is stopped has still to cross the network before it goes on there.
_NOT_SENT_BYTES = 1 << 17
_MOST_BESIDES = 1 << 28  # logs, seeds, and what a disk's file holds beside its data
_CONNECT_S = 15.0
_ANSWER_S = 120.0


class TunnelError(FleetError):
    """The other host cannot be reached, or broke the connection."""

    kind = "connection"


class Ended(TunnelError):
    """It has closed the connection."""


def largest_file(size_bytes: int = 0) -> int:
    """The size up to which a machine's file may arrive.

    :param size_bytes: virtual size of a disk; its file may be larger, with internal snapshots and bitmaps.
    """
    return 2 * size_bytes + _MOST_BESIDES


# --- headers -----------------------------------------------------------------------------------


def send_message(stream: socket.socket, message: t.Mapping[str, t.Any]) -> None:
    data = json.dumps(message).encode()
    stream.sendall(_HEADER.pack(len(data)) + data)


def receive_message(stream: socket.socket, place: str) -> Value:
    (length,) = _HEADER.unpack(receive_exactly(stream, _HEADER.size))
    if length > _LARGEST_HEADER:
        raise Malformed(place, f"{length} bytes; at most {_LARGEST_HEADER} are expected")
    return read(receive_exactly(stream, length), place)


def receive_exactly(stream: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = stream.recv(size - len(data))
        if not piece:
            raise Ended("The other host has closed the connection.")
        data += piece
    return bytes(data)


# --- connections -------------------------------------------------------------------------------


class Peer(t.NamedTuple):
    """The other host.

    :param host: its inventory name, which its certificate says.
    """

    host: str
    address: str
    port: int


def ask(peer: Peer, tls: Contexts, question: t.Mapping[str, t.Any]) -> Value:
    """What the other host's door answers to a question."""
    stream, answer = open_line(peer, tls, question)
    stream.close()
    return answer


def connect(peer: Peer, tls: Contexts, header: t.Mapping[str, t.Any]) -> ssl.SSLSocket:
    """A connection through the other host's door.

    :raises TunnelError: why there is none.
    """
    return open_line(peer, tls, header)[0]


def open_line(peer: Peer, tls: Contexts, header: t.Mapping[str, t.Any]) -> tuple[ssl.SSLSocket, Value]:
    """A connection through the other host's door, and what that answered.

    :raises TunnelError: why there is none.
    """
    try:
        plain = socket.create_connection((peer.address, peer.port), timeout=_CONNECT_S)
        try:
            tune(plain)
            stream = tls.client.wrap_socket(plain)
            if identity(stream) != peer.host:
                raise WrongIdentity(f"{peer.address} port {peer.port} is not {peer.host}.")
            agree(stream, True, peer.host)
            stream.settimeout(_ANSWER_S)
            send_message(stream, header)
            answer = receive_message(stream, f"the answer of {peer.host}")
            if answer.get("error") is not None:
                raise TunnelError(f"{peer.host}: {answer['error'].cleaned(1000)}")
            return stream, answer
        except BaseException:  # an interrupt must not leave the connection open either
            plain.close()
            raise
    except (WrongIdentity, EncryptionMismatch, Malformed) as error:
        raise TunnelError(f"The connection to {peer.host} was refused: {error.message}") from error
    except (OSError, ssl.SSLError) as error:
        raise TunnelError(
            f"{peer.host} cannot be reached at {peer.address} port {peer.port}: {error}. Is the port open to this host?"
        ) from error


def pump(plain: socket.socket, secure: ssl.SSLSocket) -> None:
    """Pass bytes on in both directions until one side has ended. One thread does both: a TLS connection is not for two."""
    plain.setblocking(False)
    secure.setblocking(False)
    secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT_BYTES)
    to_secure, to_plain = bytearray(), bytearray()
    ended = False
    wants_write = False
    while not ended or to_secure or to_plain:
        moved = False
        if not ended and len(to_plain) < _MOST_BUFFERED:
            data, wants_write = _take(secure)
            if data is not None:
                moved, ended = True, ended or not data
                to_plain += data
        if not ended and len(to_secure) < _MOST_BUFFERED:
            data, _wants = _take(plain)
            if data is not None:
                moved, ended = True, ended or not data
                to_secure += data
        moved = _give(plain, to_plain) or moved
        moved = _give(secure, to_secure) or moved
        if moved:
            continue
        poller = select.poll()
        secure_events = (select.POLLOUT if to_secure or wants_write else 0) | (select.POLLIN if len(to_plain) < _MOST_BUFFERED else 0)
        plain_events = (select.POLLOUT if to_plain else 0) | (select.POLLIN if len(to_secure) < _MOST_BUFFERED and not ended else 0)
        poller.register(secure, secure_events)
        poller.register(plain, plain_events)
        poller.poll(1000)


def _take(source: socket.socket) -> tuple[bytes | None, bool]:
    """Bytes, none at the end, None when there are none yet; and whether TLS has to write first."""
    try:
        return source.recv(_BUFFER_BYTES), False
    except ssl.SSLWantWriteError:
        return None, True
    except (ssl.SSLWantReadError, BlockingIOError):
        return None, False


def _give(sink: socket.socket, data: bytearray) -> bool:
    if not data:
        return False
    try:
        sent = sink.send(memoryview(data)[:_BUFFER_BYTES].tobytes())
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
        return False
    del data[:sent]
    return sent > 0


class LocalDoor:
    """A listener of this host, each connection of which goes through the other host's door.

    Its threads end with the connections; ``close`` ends them.
    """

    def __init__(self, listener: socket.socket, peer: Peer, tls: Contexts, header: t.Mapping[str, t.Any]) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)  # inherited by its connections
        self._listener = listener
        self._peer, self._tls, self._header = peer, tls, header
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._closed = False
        self.passed = 0
        self.errors: list[str] = []
        threading.Thread(target=self._accept, daemon=True, name="door").start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                plain, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True, name="door").start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.ExitStack() as held:
            held.enter_context(contextlib.closing(plain))
            try:
                secure = connect(self._peer, self._tls, self._header)
                held.enter_context(contextlib.closing(secure))
                with self._guard:
                    if self._closed:
                        return
                    self._open.update((plain, secure))
                pump(plain, secure)
            except (FleetError, OSError) as error:
                self.errors.append(error.message if isinstance(error, FleetError) else str(error))
            finally:
                with self._guard:
                    self._open.discard(plain)

    def close(self) -> None:
        """No connection is left; whoever waited for one of them hears that it has ended."""
        with self._guard:
            self._closed = True
            connections = list(self._open)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


# --- files -------------------------------------------------------------------------------------


def send_file(peer: Peer, tls: Contexts, machine: str, name: str, descriptor: int) -> int:
    """Send an open file without its holes; bytes that went.

    :raises TunnelError: it did not arrive as it is here.
    """
    size = os.fstat(descriptor).st_size
    digest = hashlib.sha256(str(size).encode())
    sent = 0
    with contextlib.closing(connect(peer, tls, {"to": FILE, "machine": machine, "name": name, "size": size})) as stream:
        try:
            for begin, end in sparse_copy.data_ranges(descriptor, size):
                offset = begin
                while offset < end:
                    data = os.pread(descriptor, min(_PIECE_BYTES, end - offset), offset)
                    if not data:
                        raise TunnelError(
                            f"The file {name} of {machine} became shorter while it was read; see what writes to it, and run again."
                        )
                    head = _PIECE.pack(offset, len(data))
                    digest.update(head)
                    digest.update(data)
                    stream.sendall(head + data)
                    offset += len(data)
                    sent += len(data)
            stream.sendall(_PIECE.pack(size, 0))
            answer = receive_message(stream, f"the answer of {peer.host}")
        except (OSError, Malformed) as error:
            raise TunnelError(f"{name} of {machine} did not arrive on {peer.host}: {error}") from error
        if answer.get("error") is not None:
            raise TunnelError(f"{name} of {machine} did not arrive on {peer.host}: {answer['error'].cleaned(1000)}")
        if answer["sha256"].digest() != digest.hexdigest():
            raise TunnelError(f"{name} of {machine} has arrived damaged on {peer.host}; migrate it again.")
    return sent


def receive_file(stream: socket.socket, path: str, size: int, mode: int, promise: Promise | None = None) -> str:
    """Write what ``send_file`` sends; its digest. The file is on disk then, and removed where it did not arrive whole.

    :param promise: of the room that it takes as it comes: how much of its size is holes is not known before.
    """
    digest = hashlib.sha256(str(size).encode())
    file_io.remove_file(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(descriptor, mode)
            os.ftruncate(descriptor, size)
            taken = 0
            while True:
                head = receive_exactly(stream, _PIECE.size)
                offset, length = _PIECE.unpack(head)
                if length == 0:
                    break
                if length > _PIECE_BYTES or offset + length > size:
                    raise Malformed("a piece of a file", f"{length} bytes at {offset} do not belong to a file of {size}")
                data = receive_exactly(stream, length)
                digest.update(head)
                digest.update(data)
                taken += length
                if promise is not None:
                    promise.cover(taken, ahead=True)
                sparse_copy.write_at(descriptor, data, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:  # whatever the reason, no half file is left
        file_io.remove_file(path)
        raise
    return digest.hexdigest()
