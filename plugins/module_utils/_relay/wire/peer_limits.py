# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What one peer may take of this node, by its name in the run: however many connections it uses, they count together.

A peer that takes more, or breaks the protocol, loses its connection and is noted; after the third time it is not let in
for some minutes.
"""

from __future__ import annotations

import threading
import typing as t

from ..clock import Clock
from ..errors import LimitExceeded, PeerRefused
from . import protocol

# Connections to this node: four for each of 14 bases, one for the gossip and some for probes.
MAX_CONNECTIONS = 64

# New connections in a row, and in a second: one that is refused comes again after a quarter of a second and more.
CONNECTIONS_BURST = 256
CONNECTIONS_PER_S = 32.0

# Control frames in a row, and in a second. A frame counts once, and once more for so many bytes of it; a chunk that is
# sent or received gives some, as each may have to be asked for, announced and called off.
FRAMES_BURST = 20_000
FRAMES_PER_S = 1000.0
FRAME_UNIT_BYTES = 256
FRAMES_OF_CHUNK = 8

# Broken rules before a peer is not let in, and for how long.
MAX_VIOLATIONS = 3
BANNED_S = 300.0

# What is kept of each peer's violations, and of all.
KEPT_OF_PEER = 4
KEPT = 40


class _Bucket:
    """So many at once, and so many more in each second."""

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left, self._at = burst, now

    def take(self, count: float, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s) - count
        self._at = now
        return self._left >= 0

    def give(self, count: float) -> None:
        self._left = min(self._burst, self._left + count)


class _Peer:
    def __init__(self, now: float) -> None:
        self.connections = 0
        self.arrivals = _Bucket(CONNECTIONS_BURST, CONNECTIONS_PER_S, now)
        self.frames = _Bucket(FRAMES_BURST, FRAMES_PER_S, now)
        self.violations = 0
        self.banned_until = 0.0


class PeerLimits:
    """Of one node. Thread-safe. Only peers with a certificate of the run have an entry: as many as the run has hosts.

    :param log: told each violation.
    """

    def __init__(self, clock: Clock, log: t.Callable[[str], None]) -> None:
        self._clock = clock
        self._log = log
        self._lock = threading.Lock()
        self._peers: dict[str, _Peer] = {}
        self._noted: list[tuple[str, str]] = []

    def enter(self, name: str) -> None:
        """One more connection of this peer; ``leave`` has to follow. :raises PeerRefused: LimitExceeded: not now."""
        with self._lock:
            now = self._clock()
            peer = self._of(name, now)
            if peer.banned_until > now:
                raise PeerRefused(f"{name} has broken the rules of this run {peer.violations} times and is not let in.")
            if not peer.arrivals.take(1, now):
                raise LimitExceeded(f"{name} connects more often than {CONNECTIONS_PER_S:g} times a second.", peer=name)
            if peer.connections >= MAX_CONNECTIONS:
                # No reason to keep it out: of very many bases each may have wanted some.
                refused = f"{name} has {MAX_CONNECTIONS} connections to this host already."
                self._keep(name, refused)
                raise PeerRefused(refused, peer=name)
            peer.connections += 1

    def leave(self, name: str) -> None:
        with self._lock:
            self._peers[name].connections -= 1

    def connections(self, name: str) -> int:
        with self._lock:
            peer = self._peers.get(name)
            return 0 if peer is None else peer.connections

    def count(self, name: str, header: protocol.Header) -> None:
        """A frame of this peer has come. :raises LimitExceeded:"""
        with self._lock:
            now = self._clock()
            peer = self._of(name, now)
            if header.kind in protocol.CHUNKS:
                peer.frames.give(FRAMES_OF_CHUNK)
                return
            # Announcements have a limit of their own: no more chunks than there are.
            weighed = header.kind not in protocol.FREIGHT and header.kind != protocol.HAVE
            cost = 1 + (header.length / FRAME_UNIT_BYTES if weighed else 0)
            if header.kind != protocol.PROBE_DATA and not peer.frames.take(cost, now):
                raise LimitExceeded(f"{name} sends more control frames than a peer may.", peer=name)

    def served(self, name: str) -> None:
        """A chunk was sent to this peer."""
        with self._lock:
            self._of(name, self._clock()).frames.give(FRAMES_OF_CHUNK)

    def violation(self, name: str, text: str) -> None:
        """This peer has broken a rule."""
        with self._lock:
            now = self._clock()
            peer = self._of(name, now)
            peer.violations += 1
            if peer.violations >= MAX_VIOLATIONS:
                peer.banned_until = now + BANNED_S
            line = self._keep(name, text)
            quiet = peer.violations > MAX_VIOLATIONS
        if not quiet:
            self._log(line)

    def banned(self, name: str) -> bool:
        with self._lock:
            peer = self._peers.get(name)
            return peer is not None and peer.banned_until > self._clock()

    def _keep(self, name: str, text: str) -> str:
        sentence = text if name in text else f"{name}: {text}"
        if (name, sentence) not in self._noted:
            mine = [one for one in self._noted if one[0] == name]
            if len(mine) >= KEPT_OF_PEER:
                self._noted.remove(mine[1])
            self._noted.append((name, sentence))
            del self._noted[:-KEPT]
        return sentence

    @property
    def violations(self) -> list[tuple[str, str]]:
        """(peer, sentence), the first one and the last ones of each peer."""
        with self._lock:
            return list(self._noted)

    def _of(self, name: str, now: float) -> _Peer:
        return self._peers.setdefault(name, _Peer(now))
