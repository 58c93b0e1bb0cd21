# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Measuring links: the rounds that nodes run among themselves.

A round is a set of disjoint pairs, so probes do not disturb each other. There is no common clock and no barrier: a node
goes through its own rounds in order, and a pair measures when both have come to it. The first of a pair connects, and
measures both directions.
"""

from __future__ import annotations

import os
import socket
import statistics
import threading
import typing as t
from collections import Counter

from ..clock import Clock
from ..errors import PeerLost, PeerRefused, ProtocolError, RelayError
from ..wire import messages, protocol
from ..wire.channel import Channel

# Of what arrives in the first part of the time nothing is counted: the connection is still speeding up, or the bucket of a
# shaper is full, which lets any number of bytes through at once. So it is time that counts, not bytes.
SKIPPED_PART = 0.5

# Of so many arrivals the rate is computed; more would cost time and add nothing.
MOST_POINTS = 48

# Rounds that are run later in the same run have higher numbers, so that a connection of the next series is not taken for one
# of the last.
SERIES = 1 << 20

# What the kernel may hold back unsent: a slow link must not swallow the whole payload at once.
UNSENT_BYTES = 128 * 1024

# Named by the socket module of newer Pythons only.
_TCP_NOTSENT_LOWAT = 25

ECHOES = 4
KNOCK_EVERY_S = 1.0
CONNECT_S = 2.0

# A partner that does not measure to the end of the time that it needs is given up.
PAIR_SPARE_S = 10.0

# How long a partner that came before its turn is kept.
WAIT_S = 120.0

# How long an answer to a knock may take.
ANSWER_S = 5.0

# Connections of one partner that may wait for their turns: one does, and the one before it may not have ended yet.
MOST_WAITING = 2

# A payload may be so much longer than what was agreed upon: its last frame need not fit.
SPARE_BYTES = protocol.PROBE_DATA_BYTES


# {pool: {"write_mbps", "read_mbps"}}
Disks = t.Dict[str, t.Dict[str, float]]


class Settings(t.NamedTuple):
    """:param payload_bytes: at most so many in each direction; max_s: and for at most so many seconds.
    :param deadline_s: after so many seconds the remaining rounds are left out.
    """

    payload_bytes: int = 8 * 1024 * 1024
    max_s: float = 0.2
    deadline_s: float = 60.0


class Turn(t.NamedTuple):
    """One round of this host: its number, the partner, and who connects."""

    number: int
    partner: str
    first: bool


def turns_of(host: str, rounds: t.Sequence[t.Sequence[t.Sequence[str]]], series: int = 0) -> list[Turn]:
    """This host's turns, in order; ``series`` counts how often the run has measured before."""
    turns = []
    for number, pairs in enumerate(rounds, start=series * SERIES):
        for first, second in pairs:
            if host == first:
                turns.append(Turn(number, second, True))
            elif host == second:
                turns.append(Turn(number, first, False))
    return turns


class Prober:
    """Runs one host's turns. Connections of partners are handed to ``attend`` by the door's threads."""

    def __init__(self, host: str, connect: t.Callable[[str, float], Channel], clock: Clock, stop: threading.Event) -> None:
        self._host = host
        self._connect = connect
        self._clock = clock
        self._stop = stop
        self._changed = threading.Condition()
        self._turns: list[Turn] = []
        self._settings = Settings()
        self._number = -1  # of the round under way; between series: one that lies between theirs
        self._granted: tuple[int, str] | None = None
        self._arrived: set[tuple[int, str]] = set()
        self._left: set[tuple[int, str]] = set()
        self._waiting: Counter[str] = Counter()
        self._begun = False
        self._ended = False
        self._ends_at = 0.0
        self._links: list[dict[str, t.Any]] = []
        self._skipped: list[dict[str, t.Any]] = []
        self._disks: Disks = {}

    # -- control -------------------------------------------------------------------------------------------------

    def start(self, turns: t.Sequence[Turn], settings: Settings, disks: t.Callable[[], Disks]) -> bool:
        """Begin, unless that was done already; whether it was not."""
        with self._changed:
            if self._begun and list(turns) == self._turns:
                return False
            if self._begun and not self._ended:
                raise RelayError("Other rounds are being measured on this host; collect them first.")
            self._turns, self._settings = list(turns), settings
            self._begun, self._ended = True, False
            self._left.clear()
            self._links, self._skipped = [], []
            self._ends_at = self._clock() + settings.deadline_s
        threading.Thread(target=self._run, args=(disks,), name="prober", daemon=True).start()
        return True

    @property
    def idle(self) -> bool:
        return not self._begun or self._ended

    def wait(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._ended or not self._begun, seconds) and self._begun

    def result(self) -> dict[str, t.Any]:
        with self._changed:
            return {
                "links": list(self._links),
                "unmeasured": list(self._skipped),
                "complete": self._ended,
                "begun": self._begun,
                "cpus": os.cpu_count() or 1,
                "load_1m": os.getloadavg()[0],
                "disks": dict(self._disks),
            }

    # -- this host's turns ---------------------------------------------------------------------------------------

    def _run(self, disks: t.Callable[[], Disks]) -> None:
        try:
            measured = disks()
            with self._changed:
                self._disks.update(measured)
            for turn in self._turns:
                with self._changed:
                    self._number = turn.number
                    self._changed.notify_all()
                try:
                    self._take(turn)
                except (OSError, RelayError) as error:
                    message = error.message if isinstance(error, RelayError) else str(error)
                    # Of a partner that was not reached the link is missing; one that came too late is only unknown.
                    lost = isinstance(error, (OSError, PeerLost))
                    skipped = {"partner": turn.partner, "round": turn.number % SERIES, "msg": message, "lost": lost}
                    with self._changed:
                        self._skipped.append(skipped)
        finally:
            with self._changed:
                if self._turns:
                    self._number = (self._turns[0].number // SERIES + 1) * SERIES - 1
                self._ended = True
                self._changed.notify_all()

    def _take(self, turn: Turn) -> None:
        if self._left_s() <= 0 or self._stop.is_set():
            raise RelayError("The time for measuring was over.")
        if turn.first:
            channel = self._connect(turn.partner, CONNECT_S)
            try:
                self._measure(channel, turn)
            finally:
                channel.close()
        else:
            self._be_measured(turn)

    def _left_s(self) -> float:
        return self._ends_at - self._clock()

    def _measure(self, channel: Channel, turn: Turn) -> None:
        settings = self._settings
        channel.send_message(
            protocol.PROBE,
            {"round": turn.number, "payload_bytes": settings.payload_bytes, "max_s": settings.max_s},
        )
        with channel.within(max(0.0, self._left_s()), "has not come to its turn", RelayError):
            channel.receive_frame(protocol.PROBE_GO)
        with channel.within(2 * settings.max_s + PAIR_SPARE_S, "has been measuring"):
            self._measure_now(channel, turn)

    def _measure_now(self, channel: Channel, turn: Turn) -> None:
        settings = self._settings
        trips = []
        for number in range(ECHOES):
            begin = self._clock()
            channel.send(protocol.PROBE_ECHO, number)
            channel.receive_frame(protocol.PROBE_ECHO)
            trips.append(self._clock() - begin)
        latency = min(trips) / 2
        send_payload(channel, settings, self._clock)
        self._found(turn.partner, _result(channel).mbps, latency)
        back = receive_payload(channel, settings, self._clock)
        channel.send_message(protocol.PROBE_RESULT, {"mbps": back, "latency_s": latency})

    def _found(self, partner: str, mbps: float, latency_s: float) -> None:
        row = {"from": self._host, "to": partner, "mbps": round(mbps, 3), "latency_s": round(latency_s, 6)}
        with self._changed:
            self._links.append(row)

    def _be_measured(self, turn: Turn) -> None:
        key = (turn.number, turn.partner)
        knock_at = self._clock() + KNOCK_EVERY_S
        with self._changed:
            while key not in self._arrived:
                if self._left_s() <= 0 or self._stop.is_set():
                    raise RelayError(f"{turn.partner} did not come to its turn in time.")
                self._changed.wait(min(KNOCK_EVERY_S, max(0.01, self._left_s())))
                if key not in self._arrived and self._clock() >= knock_at:
                    self._changed.release()
                    try:
                        self._knock(turn)
                    finally:
                        self._changed.acquire()
                    knock_at = self._clock() + KNOCK_EVERY_S
            self._granted = key
            self._changed.notify_all()
            limit = 2 * self._settings.max_s + PAIR_SPARE_S
            done = self._changed.wait_for(lambda: key in self._left, limit)
            self._granted = None
            if not done:
                raise PeerLost(f"{turn.partner} did not end its turn.")

    def _knock(self, turn: Turn) -> None:
        """:raises RelayError: the partner is dead, or has left this turn out."""
        channel = self._connect(turn.partner, CONNECT_S)
        try:
            channel.send_message(protocol.PROBE, {"round": turn.number, "knock": True})
            with channel.within(ANSWER_S, "has been answering"):
                theirs = _result(channel).round
        finally:
            channel.close()
        with self._changed:
            if theirs is not None and theirs > turn.number and (turn.number, turn.partner) not in self._arrived:
                raise PeerRefused(f"{turn.partner} has left this turn out.")

    # -- partners' turns -----------------------------------------------------------------------------------------

    def attend(self, channel: Channel, asked: messages.Probe) -> None:
        """A partner has connected. :raises RelayError:"""
        if asked.knock:
            channel.send_message(protocol.PROBE_RESULT, {"round": self._number})
            return
        key = (asked.round, channel.peer)
        with self._changed:
            self._waiting[channel.peer] += 1
            much = self._waiting[channel.peer] > MOST_WAITING
            if not much:
                self._arrived.add(key)
                self._changed.notify_all()
        try:
            if much:
                raise ProtocolError(f"{channel.peer} wants to measure more than one link at a time.", peer=channel.peer)
            if self._await_turn(channel, key):
                with channel.within(2 * self._settings.max_s + PAIR_SPARE_S, "has been measuring"):
                    self._answer(channel, asked)
            else:
                channel.send_message(protocol.BYE, {"msg": "this turn is over"})
        finally:
            self._gone(key, counted=not much)

    def _gone(self, key: tuple[int, str], counted: bool) -> None:
        with self._changed:
            self._waiting[key[1]] -= 1
            if not self._waiting[key[1]]:
                del self._waiting[key[1]]
            if counted:
                self._arrived.discard(key)
                if self._is_mine(key):
                    self._left.add(key)
                self._changed.notify_all()

    def _is_mine(self, key: tuple[int, str]) -> bool:
        return any((turn.number, turn.partner) == key for turn in self._turns)

    def _await_turn(self, channel: Channel, key: tuple[int, str]) -> bool:
        until = self._clock() + WAIT_S
        while not self._stop.is_set() and self._clock() < until:
            with self._changed:
                if self._number > key[0] or (self._begun and not self._ended and not self._is_mine(key)):
                    return False
                if self._granted == key:
                    return True
                self._changed.wait(channel.heartbeat_s / 2)
            channel.beat()
        return False

    def _answer(self, channel: Channel, asked: messages.Probe) -> None:
        """What a partner asks for counts as far as this host was told the same."""
        ours = self._settings
        settings = Settings(min(asked.payload_bytes, ours.payload_bytes), min(asked.max_s, ours.max_s))
        channel.send(protocol.PROBE_GO)
        for number in range(ECHOES):
            channel.receive_frame(protocol.PROBE_ECHO)
            channel.send(protocol.PROBE_ECHO, number)
        mbps = receive_payload(channel, settings, self._clock)
        channel.send_message(protocol.PROBE_RESULT, {"mbps": mbps})
        send_payload(channel, settings, self._clock)
        result = _result(channel)
        self._found(channel.peer, result.mbps, result.latency_s)


def send_payload(channel: Channel, settings: Settings, clock: Clock) -> None:
    """Bytes without meaning, until there are enough or the time is over."""
    _hold_back(channel)
    frame = protocol.encode(protocol.PROBE_DATA, 0, os.urandom(protocol.PROBE_DATA_BYTES))
    until = clock() + settings.max_s
    sent = 0
    while sent < settings.payload_bytes and clock() < until:
        channel.send_frame(frame)
        sent += protocol.PROBE_DATA_BYTES
    channel.send(protocol.PROBE_END)


def receive_payload(channel: Channel, settings: Settings, clock: Clock) -> float:
    """10^6 bit/s at which it arrived. :raises ProtocolError: there is more of it than was agreed upon."""
    arrivals: list[tuple[float, int]] = []
    total = 0
    kinds = (protocol.PROBE_DATA, protocol.PROBE_END, protocol.PING)
    while True:
        header, payload = channel.receive(kinds)
        channel.check_silence()
        if header.kind == protocol.PROBE_END:
            return rate_of(arrivals)
        if header.kind == protocol.PROBE_DATA:
            total += len(payload)
            if not payload or total > settings.payload_bytes + SPARE_BYTES:
                raise ProtocolError(f"{channel.peer} sends more than is to be measured.", peer=channel.peer)
            arrivals.append((clock(), total))


def rate_of(arrivals: t.Sequence[tuple[float, int]]) -> float:
    """10^6 bit/s from (second, bytes up to then), without what came in the first part of the time."""
    if len(arrivals) < 2:
        return 0.0
    end, total = arrivals[-1]
    after = arrivals[0][0] + (end - arrivals[0][0]) * SKIPPED_PART
    # The last arrival before that, so that a link on which little arrived has something to count at all.
    first = max(number for number, row in enumerate(arrivals[:-1]) if row[0] <= after)
    counted = arrivals[first:]
    counted = counted[:: max(1, len(counted) // MOST_POINTS)]
    # Theil and Sen: the median of the slopes between all pairs. A process that did not get the processor for a moment, at
    # either end, shifts some arrivals, and with them few of the slopes.
    slopes = [
        (more - less) / (later - earlier)
        for number, (earlier, less) in enumerate(counted)
        for later, more in counted[number + 1 :]
        if later > earlier
    ]
    rate = statistics.median(slopes) if slopes else (total - counted[0][1]) / 1e-6
    return rate * 8 / 1e6


def _result(channel: Channel) -> messages.ProbeResult:
    _header, payload = channel.receive_frame(protocol.PROBE_RESULT)
    return messages.read_probe_result(payload, channel.peer)


def _hold_back(channel: Channel) -> None:
    descriptor = os.dup(channel.stream.fileno())
    with socket.socket(fileno=descriptor) as copy:
        copy.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def disk_rates(path: str, size_bytes: int, clock: Clock) -> dict[str, float]:
    """10^6 bit/s at which a nameless file in the directory is written and flushed, and read again from the disk.

    Empty where that is impossible.
    """
    block = os.urandom(1024 * 1024)
    try:
        descriptor = os.open(path, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return {}
    rates = {}
    try:
        # The first block tells what a flush costs by itself; a base is flushed once, however large it is.
        times, written = [], 0
        for size in (len(block), size_bytes):
            begin, before = clock(), written
            while written - before < size:
                written += os.write(descriptor, block)
            os.fsync(descriptor)
            times.append(clock() - begin)
        flush, whole = times
        rates["write_mbps"] = _mbps(written - len(block), max(whole - flush, whole / 4))
        # What the kernel keeps of it would be read from memory.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        begin = clock()
        found = 0
        while found < written:
            found += len(os.pread(descriptor, len(block), found)) or written
        rates["read_mbps"] = _mbps(written, clock() - begin)
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return rates


def _mbps(count: int, seconds: float) -> float:
    return round(count * 8 / 1e6 / max(seconds, 1e-6), 3)
