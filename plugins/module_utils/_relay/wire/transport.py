# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Connections between nodes: mutual TLS, identity, versions; and the door that keeps strangers out."""

from __future__ import annotations

import socket
import ssl
import threading
import typing as t

from ..clock import Clock
from ..errors import PeerLost, RelayError, VersionMismatch, WrongIdentity
from . import tls
from .channel import SILENCE_S, Channel, describe
from .socket_stream import SocketStream, tune

CONNECT_S = 5.0

# From the connection to the first request. A stranger can hold a place for so long, and not longer.
HANDSHAKE_S = 5.0

# Places for connections that have not shown a certificate yet; a newcomer takes the oldest one's.
MAX_HANDSHAKES = 64
MAX_PEERS = 1024


class Address(t.NamedTuple):
    address: str
    port: int


class Transport:
    """Makes greeted, authenticated channels."""

    def __init__(
        self, contexts: tls.Contexts, host: str, address: str, clock: Clock, silence_s: float = SILENCE_S
    ) -> None:
        self._contexts = contexts
        self._host = host
        self._address = address
        self._clock = clock
        self._silence_s = silence_s

    def connect(self, host: str, at: Address, timeout: float = CONNECT_S) -> Channel:
        """:raises PeerLost: nobody is there; WrongIdentity: somebody else is; VersionMismatch:"""
        where = f"{host} ({at.address}:{at.port})"
        wildcard = self._address in ("", "0.0.0.0", "::")
        try:
            plain = socket.create_connection(
                (at.address, at.port),
                timeout=min(timeout, self._silence_s),
                source_address=None if wildcard else (self._address, 0),
            )
        except OSError as error:
            raise PeerLost(f"{where} cannot be reached: {describe(error)}.", peer=host) from error
        connection = plain
        try:
            tune(plain)
            connection = self._contexts.client.wrap_socket(plain)
            found = tls.identity(connection)
            if found != host:
                raise WrongIdentity(f"{where} shows the certificate of {found}.", peer=host)
            tls.agree(connection, self._contexts.encryption, where)
            channel = Channel(SocketStream(connection), host, self._clock, self._silence_s)
            channel.greet()
            return channel
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise WrongIdentity(
                f"{where} shows a certificate that is not accepted: {error.verify_message}.", peer=host
            ) from error
        except OSError as error:
            connection.close()
            raise PeerLost(f"{where}: the TLS handshake failed: {describe(error)}.", peer=host) from error
        except BaseException:
            connection.close()
            raise

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """The server's side of a new connection; nothing is read or sent yet."""
        tune(connection)
        connection.settimeout(HANDSHAKE_S)
        return self._contexts.server.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def welcome(self, connection: ssl.SSLSocket) -> Channel:
        """:raises OSError: RelayError: whatever is wrong with the peer."""
        connection.do_handshake()
        peer = tls.identity(connection)
        tls.agree(connection, self._contexts.encryption, peer)
        channel = Channel(SocketStream(connection), peer, self._clock, self._silence_s)
        channel.greet()
        return channel


class Acceptor:
    """Accepts connections. Strangers have few places and little time; peers that were let in have threads."""

    def __init__(
        self,
        listener: socket.socket,
        transport: Transport,
        handle: t.Callable[[Channel, t.Callable[[], None]], None],
        stop: threading.Event,
        clock: Clock,
        log: t.Callable[[str], None],
    ) -> None:
        """:param handle: serves one peer; calls its second argument once the first request was read."""
        self._listener = listener
        self._listener.settimeout(0.5)
        self._transport = transport
        self._handle = handle
        self._stop = stop
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._strangers: dict[ssl.SSLSocket, float] = {}
        self._peers: set[ssl.SSLSocket] = set()

    @property
    def peers(self) -> int:
        """How many authenticated connections there are."""
        with self._lock:
            return len(self._peers)

    @property
    def strangers(self) -> int:
        """How many connections have not shown who they are."""
        with self._lock:
            return len(self._strangers)

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _address = self._listener.accept()
            except socket.timeout:
                self._expire()
                continue
            except OSError as error:
                if self._stop.is_set():
                    return
                # Too many open files, a connection that was reset in the queue: not the end of the node.
                self._log(f"accept: {describe(error)}")
                self._expire()
                self._stop.wait(0.1)
                continue
            self._expire()
            self._let_in(connection)

    def close(self) -> None:
        """End all connections."""
        try:
            # Closed alone, it would go on listening as long as the door's thread waits for it.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        with self._lock:
            for connection in (*self._strangers, *self._peers):
                _abort(connection)

    def _let_in(self, plain: socket.socket) -> None:
        try:
            connection = self._transport.wrap(plain)
        except OSError:
            plain.close()
            return
        with self._lock:
            if len(self._strangers) >= MAX_HANDSHAKES:
                _abort(next(iter(self._strangers)))
            self._strangers[connection] = self._clock()
            full = len(self._strangers) > 2 * MAX_HANDSHAKES or len(self._peers) >= MAX_PEERS
        try:
            if full:
                raise RuntimeError("full")
            threading.Thread(target=self._serve, args=(connection,), name="peer", daemon=True).start()
        except RuntimeError:
            self._forget(connection)

    def _expire(self) -> None:
        now = self._clock()
        with self._lock:
            for connection, since in self._strangers.items():
                if now - since > HANDSHAKE_S:
                    _abort(connection)

    def _serve(self, connection: ssl.SSLSocket) -> None:
        who = "a stranger"

        def known() -> None:
            with self._lock:
                self._strangers.pop(connection, None)
                self._peers.add(connection)

        try:
            channel = self._transport.welcome(connection)
            who = channel.peer
            self._handle(channel, known)
        except (WrongIdentity, VersionMismatch) as error:
            self._log(error.message)
        except (OSError, RelayError, ValueError) as error:
            # Strangers may be many; they do not fill the log.
            if who != "a stranger" and not self._stop.is_set():
                self._log(f"{who}: {error}")
        finally:
            self._forget(connection)

    def _forget(self, connection: ssl.SSLSocket) -> None:
        with self._lock:
            self._strangers.pop(connection, None)
            self._peers.discard(connection)
        connection.close()


def _abort(connection: ssl.SSLSocket) -> None:
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        pass
