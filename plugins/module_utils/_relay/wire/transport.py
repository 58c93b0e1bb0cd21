# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Connections between nodes: mutual TLS, identity, versions; and the door that keeps strangers out."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import typing as t
from collections import Counter

from ..._text import clean
from ..clock import Clock
from ..errors import PeerLost, PeerRefused, ProtocolError, RelayError, VersionMismatch, WrongIdentity, describe
from . import protocol, tls
from .channel import SILENCE_S, Channel
from .peer_limits import PeerLimits
from .socket_stream import SocketStream, tune

CONNECT_S = 5.0

# From the connection to the first request. A stranger can hold a place for so long, and not longer.
HANDSHAKE_S = 5.0

# Places for connections that have not shown a certificate yet; a newcomer takes the oldest one's of the address that has
# most of them.
MAX_HANDSHAKES = 64

# Places for peers. When all are taken, the newest connection of the peer that has most of them makes room.
MAX_PEERS = 1024


# OpenSSL's numbers of "certificate is not yet valid" and "certificate has expired".
_DATES = (9, 10)


class Address(t.NamedTuple):
    address: str
    port: int


class Transport:
    """Makes greeted, authenticated channels."""

    def __init__(
        self,
        contexts: tls.Contexts,
        host: str,
        address: str,
        clock: Clock,
        limits: PeerLimits,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._contexts = contexts
        self._host = host
        self._address = address
        self._clock = clock
        self._silence_s = silence_s
        self._limits = limits

    def channel(self, connection: socket.socket, peer: str) -> Channel:
        """What comes by it counts for this peer."""
        return Channel(SocketStream(connection), peer, self._clock, self._silence_s, count=lambda header: self._limits.count(peer, header))

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
            channel = self.channel(connection, host)
            with channel.within(timeout, "has been greeting"):
                channel.greet()
            return channel
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise WrongIdentity(
                f"{where} shows a certificate that is not accepted: {error.verify_message}.{self._clocks(error)}", peer=host
            ) from error
        except OSError as error:
            connection.close()
            raise PeerLost(f"{where}: the TLS handshake failed: {describe(error)}.", peer=host) from error
        except BaseException:  # an interrupt must not leave the socket open either
            connection.close()
            raise

    def _clocks(self, error: ssl.SSLCertVerificationError) -> str:
        """More on a certificate that is refused for its dates: the clocks of this host and of the controller."""
        if error.verify_code not in _DATES:
            return ""
        return f" By this host's clock, that is. {tls.clocks(self._contexts.made_at, time.time())}"

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """The server's side of a new connection; nothing is read or sent yet."""
        tune(connection)
        connection.settimeout(HANDSHAKE_S)
        return self._contexts.server.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def identify(self, connection: ssl.SSLSocket) -> str:
        """Whose it is. :raises OSError: RelayError: whatever is wrong with the peer."""
        connection.do_handshake()
        return tls.identity(connection)

    def welcome(self, connection: ssl.SSLSocket, peer: str) -> Channel:
        """:raises OSError: RelayError: whatever is wrong with the peer."""
        tls.agree(connection, self._contexts.encryption, peer)
        channel = self.channel(connection, peer)
        with channel.within(HANDSHAKE_S, "has been greeting"):
            channel.greet()
        return channel


class _Stranger(t.NamedTuple):
    address: str
    since: float


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
        limits: PeerLimits,
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
        self._limits = limits
        self._strangers: dict[ssl.SSLSocket, _Stranger] = {}
        self._peers: dict[ssl.SSLSocket, str] = {}

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
                connection, address = self._listener.accept()
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
            self._let_in(connection, str(address[0]))

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

    def _let_in(self, plain: socket.socket, address: str) -> None:
        try:
            connection = self._transport.wrap(plain)
        except OSError:
            plain.close()
            return
        with self._lock:
            if len(self._strangers) >= MAX_HANDSHAKES:
                _abort(self._first_of_most())
            self._strangers[connection] = _Stranger(address, self._clock())
            full = len(self._strangers) > 2 * MAX_HANDSHAKES
        try:
            if full:
                raise RuntimeError("full")
            threading.Thread(target=self._serve, args=(connection,), name="peer", daemon=True).start()
        except RuntimeError:
            self._forget(connection)

    def _first_of_most(self) -> ssl.SSLSocket:
        """The oldest of the address that has most: nobody takes the places of others by coming often."""
        counts = Counter(stranger.address for stranger in self._strangers.values())
        most = max(counts.values())
        return next(connection for connection, stranger in self._strangers.items() if counts[stranger.address] == most)

    def _know(self, connection: ssl.SSLSocket, name: str) -> None:
        """:raises PeerRefused: all places are taken by peers that have no more of them than this one."""
        with self._lock:
            self._strangers.pop(connection, None)
            if len(self._peers) >= MAX_PEERS:
                counts = Counter(self._peers.values())
                greedy, most = max(counts.items(), key=lambda item: item[1])
                if most <= counts[name] + 1:
                    raise PeerRefused(f"This host has {MAX_PEERS} connections already.")
                _abort(next(one for one in reversed(self._peers) if self._peers[one] == greedy))
            self._peers[connection] = name

    def _expire(self) -> None:
        now = self._clock()
        with self._lock:
            for connection, stranger in self._strangers.items():
                if now - stranger.since > HANDSHAKE_S:
                    _abort(connection)

    def _serve(self, connection: ssl.SSLSocket) -> None:
        try:
            name = self._transport.identify(connection)
        except (OSError, RelayError, ValueError) as error:
            # Strangers may be many; they do not fill the log.
            if isinstance(error, WrongIdentity):
                self._log(error.message)
            self._forget(connection)
            return
        try:
            self._attend(connection, name)
        except VersionMismatch as error:
            self._log(error.message)
        except ProtocolError as error:
            self._limits.violation(name, error.message)
            if self._limits.banned(name):
                self._end_all(name)
        except (OSError, RelayError, ValueError) as error:
            if not self._stop.is_set():
                self._log(f"{name}: {clean(error, 500)}")
        finally:
            self._forget(connection)

    def _attend(self, connection: ssl.SSLSocket, name: str) -> None:
        try:
            self._limits.enter(name)
        except PeerRefused as error:
            self._refuse(connection, name, error.message)
            return
        try:
            channel = self._transport.welcome(connection, name)
            try:
                self._handle(channel, lambda: self._know(connection, name))
            except PeerRefused as error:
                channel.send_message(protocol.BYE, {"msg": error.message})
        finally:
            self._limits.leave(name)

    def _refuse(self, connection: ssl.SSLSocket, name: str, reason: str) -> None:
        """In few words: it has a place of a stranger, and a stranger's time."""
        self._transport.welcome(connection, name).send_message(protocol.BYE, {"msg": reason})

    def _end_all(self, name: str) -> None:
        with self._lock:
            for connection, whose in self._peers.items():
                if whose == name:
                    _abort(connection)

    def _forget(self, connection: ssl.SSLSocket) -> None:
        with self._lock:
            self._strangers.pop(connection, None)
            self._peers.pop(connection, None)
        connection.close()


def _abort(connection: ssl.SSLSocket) -> None:
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        pass
