# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Fetching a base: which chunks are missing, from whom they come, and what happens when somebody fails."""

from __future__ import annotations

import hashlib
import queue
import threading
import typing as t

from . import protocol
from .channel import Channel, describe
from .chunks import ChunkList, chunk_count, list_bytes
from .endpoints import Endpoint
from .errors import (
    BadChunkList,
    Cancelled,
    CorruptChunk,
    PeerLost,
    PeerRefused,
    ProtocolError,
    RelayError,
    StorageFailed,
    VersionMismatch,
    WrongIdentity,
)
from .limits import Throttle
from .operations import Recheck, StoreChunk
from .source import FAILED, FETCHING, HOLDING, LOST, PENDING, ROOTED, Offer
from .stats import Clock

# Requests under way to one parent, in bytes: enough for 1 Gbit/s at 60 ms, little enough to be given back quickly.
WINDOW_BYTES = 8 * 1024 * 1024

# Received and not yet written, in chunks: lets hashing run beside receiving.
BUFFERS = 8

# Wrong chunks from one parent before it is not asked again.
MAX_STRIKES = 3

BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 4.0

MAX_ATTEMPTS_KEPT = 40


class Patience(t.NamedTuple):
    """How long a host waits, in seconds.

    :param pending: for a parent that has not been told its part yet.
    :param lost: for a parent that itself has nobody to fetch from, while another parent could be tried.
    :param alone: without any parent that has hope, until the base is given up.
    """

    pending: float = 60.0
    lost: float = 3.0
    alone: float = 60.0


class Attempt(t.NamedTuple):
    parent: str
    error: str


class Ledger:
    """Which chunks are missing, asked for, and done. Thread-safe."""

    MISSING, DONE, ASKED = 0, 1, 2

    def __init__(self, marks: bytearray) -> None:
        self._states = bytearray(marks)
        self._undone = len(marks) - self._states.count(self.DONE)
        self._generation = 0
        self._lock = threading.Lock()

    @property
    def complete(self) -> bool:
        return not self.undone

    @property
    def undone(self) -> int:
        """How many chunks are not there yet, whether asked for or not."""
        with self._lock:
            return self._undone

    @property
    def generation(self) -> int:
        """Grows when chunks were given back, so that who looks for work starts anew."""
        return self._generation

    def take(self, have: bytearray, cursor: int, most: int) -> tuple[list[int], int]:
        """At most so many missing chunks that a parent has, from the cursor on, and the cursor after them.

        The cursor passes chunks that the parent does not have: who hears that it has them now sets it back.
        """
        taken: list[int] = []
        with self._lock:
            while len(taken) < most:
                cursor = self._states.find(self.MISSING, cursor)
                if cursor >= 0 and not have[cursor]:
                    cursor = have.find(1, cursor)
                    if cursor >= 0 and self._states[cursor] != self.MISSING:
                        continue
                if cursor < 0:
                    return taken, len(self._states)
                self._states[cursor] = self.ASKED
                taken.append(cursor)
                cursor += 1
        return taken, cursor

    def done(self, index: int) -> None:
        with self._lock:
            if self._states[index] != self.DONE:
                self._states[index] = self.DONE
                self._undone -= 1

    def give_back(self, indexes: t.Iterable[int]) -> None:
        with self._lock:
            for index in indexes:
                if self._states[index] == self.ASKED:
                    self._states[index] = self.MISSING
            self._generation += 1


class Fetch:
    """One base on its way to this host.

    One feed follows the plan's list of parents. Several feeds (a parent for each stripe) would share the ledger, the
    buffers and the writer; the chunks may come in any order.

    :param parents: in the plan's order, best first.
    :param connect: a greeted channel to a host; raises RelayError.
    :param endpoint: where the bytes go; its map tells what is there already.
    :param trusted: whether that map can be believed without reading the chunks again; ``trust`` is called after that.
    :param offer: told what children may have; each chunk at once if ``share``.
    """

    def __init__(
        self,
        sha256: str,
        size_bytes: int,
        chunk_bytes: int,
        chunks_sha256: str,
        host: str,
        parents: t.Sequence[str],
        connect: t.Callable[[str], Channel],
        endpoint: Endpoint,
        offer: Offer,
        clock: Clock,
        cancel: threading.Event,
        share: bool = False,
        trusted: bool = True,
        trust: t.Callable[[], None] = lambda: None,
        patience: Patience = Patience(),  # noqa: B008 - immutable
        throttle: Throttle | None = None,
        log: t.Callable[[str], None] = lambda _line: None,
        attempts: list[Attempt] | None = None,
    ) -> None:
        self.sha256 = sha256
        self.size_bytes = size_bytes
        self.chunk_bytes = chunk_bytes
        self.chunks_sha256 = chunks_sha256
        self.host = host
        self.connect = connect
        self.endpoint = endpoint
        self.offer = offer
        self.clock = clock
        self.cancel = cancel
        self.share = share
        self.patience = patience
        self.throttle = throttle or Throttle(clock)
        self.log = log
        self.chunks: ChunkList | None = None
        self.ledger: Ledger | None = None
        self.count = chunk_count(size_bytes, chunk_bytes)
        self.bytes = 0
        self.received_bytes = 0
        self.source: str | None = None
        self.attempts: list[Attempt] = [] if attempts is None else attempts
        self._trusted = trusted
        self._trust = trust
        self._parents = list(parents)
        self._parents_changed = threading.Event()
        self._failure: RelayError | None = None
        self._lock = threading.Lock()
        self._free: queue.Queue[memoryview] = queue.Queue()
        self._received: queue.Queue[tuple[int, memoryview, memoryview, Feed] | None] = queue.Queue()
        self._feed = Feed(self)

    # -- called from outside -------------------------------------------------------------------------------------

    def run(self) -> ChunkList:
        """Fetch until the last chunk is verified and stored.

        :raises Cancelled: the node stops; StorageFailed: this host's pool; RelayError: nobody can serve it.
        """
        for _number in range(BUFFERS):
            self._free.put(memoryview(bytearray(self.chunk_bytes)))
        writer = threading.Thread(target=self._write_received, name="writer", daemon=True)
        writer.start()
        try:
            self._feed.run()
        finally:
            self._received.put(None)
            writer.join()
        self.raise_failure()
        if self.chunks is None:
            raise RelayError("The fetch ended without a chunk list.")
        return self.chunks

    def set_parents(self, parents: t.Sequence[str]) -> None:
        """A new plan: a transfer from its first parent goes on, any other is moved there."""
        with self._lock:
            if list(parents) == self._parents:
                return
            self._parents = list(parents)
        self._parents_changed.set()
        self._feed.plan_changed()

    def abort(self) -> None:
        """Wake who waits; ``cancel`` has been set before."""
        self._parents_changed.set()
        self._feed.abort()

    @property
    def parents(self) -> list[str]:
        with self._lock:
            return list(self._parents)

    # -- called by the feed --------------------------------------------------------------------------------------

    def note_attempt(self, parent: str, error: str) -> None:
        attempt = Attempt(parent, error)
        with self._lock:
            if attempt in self.attempts:
                return
            self.attempts.append(attempt)
            del self.attempts[:-MAX_ATTEMPTS_KEPT]
        self.log(f"base {self.sha256[:12]}: {error}")

    def check(self) -> None:
        """:raises Cancelled: RelayError: if the fetch has failed."""
        if self.cancel.is_set():
            raise Cancelled("The node is being stopped.")
        self.raise_failure()

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def fail(self, error: RelayError) -> None:
        self._failure = self._failure or error
        self.abort()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond a new plan or the end of the node."""
        self._parents_changed.wait(seconds)
        if not self.cancel.is_set():
            self._parents_changed.clear()

    def set_chunks(self, data: bytes, peer: str) -> None:
        """The list as the parent sent it; nothing of it is believed unless its digest is the run's."""
        found = hashlib.sha256(data).hexdigest()
        if found != self.chunks_sha256:
            raise BadChunkList(f"{peer} sent a chunk list with digest {found}, not {self.chunks_sha256}.", peer=peer)
        chunks = ChunkList.from_bytes(data)
        if chunks.size_bytes != self.size_bytes or chunks.chunk_bytes != self.chunk_bytes:
            raise BadChunkList(
                f"The chunk list is that of a file of {chunks.size_bytes} bytes in chunks of {chunks.chunk_bytes}, "
                f"the base has {self.size_bytes} in chunks of {self.chunk_bytes}."
            )
        try:
            if not self._trusted:
                check = Recheck(self.endpoint, chunks, self.cancel)
                check.run()
                self._trust()
                self.log(f"base {self.sha256[:12]}: {check.size} bytes verified again, {check.wrong} chunks wrong")
            marks = self.endpoint.marks()
            for index in range(chunks.count):
                if not marks[index] and chunks.is_zero(index):
                    self.endpoint.mark(index)
                    marks[index] = 1
        except OSError as error:
            raise storage_failure(error) from error
        present = [index for index in range(chunks.count) if marks[index]]
        self.bytes = sum(chunks.length(index) for index in present)
        self.chunks = chunks
        self.ledger = Ledger(marks)
        if self.share:
            self.offer.set_parts(chunks, self.endpoint)
            self.offer.announce(present)

    def buffer(self) -> memoryview:
        """A free buffer of one chunk; waits for the writer."""
        while True:
            try:
                return self._free.get(timeout=0.5)
            except queue.Empty:
                self.check()

    def release(self, buffer: memoryview) -> None:
        self._free.put(buffer)

    def hand_over(self, index: int, buffer: memoryview, view: memoryview, feed: Feed) -> None:
        self._received.put((index, buffer, view, feed))

    def drain(self) -> None:
        """Wait until everything received was written or refused."""
        self._received.join()

    # -- the writer's thread -------------------------------------------------------------------------------------

    def _write_received(self) -> None:
        while True:
            item = self._received.get()
            if item is None:
                self._received.task_done()
                return
            index, buffer, view, feed = item
            try:
                if self._failure is None and self.chunks is not None and self.ledger is not None:
                    self._store(self.chunks, self.ledger, index, view, feed)
            finally:
                self._free.put(buffer)
                self._received.task_done()

    def _store(self, chunks: ChunkList, ledger: Ledger, index: int, view: memoryview, feed: Feed) -> None:
        try:
            StoreChunk(self.endpoint, chunks, index, view, feed.parent or "?").run()
        except CorruptChunk as error:
            # In this order: who sees the chunk given back has to see whom not to ask again.
            feed.blame(error)
            ledger.give_back([index])
        except OSError as error:
            self.fail(storage_failure(error))
        except Exception as error:  # the feed waits for this thread: it must not die in silence
            self.fail(RelayError(f"Unexpected {type(error).__name__} while storing chunk {index}: {error}"))
        else:
            self.bytes += len(view)
            ledger.done(index)
            if self.share:
                self.offer.announce([index])


class Feed:
    """Follows a list of parents: one connection at a time, the first living one."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._channel: Channel | None = None
        self._lock = threading.Lock()
        self._blamed: queue.Queue[CorruptChunk] = queue.Queue()
        self._strikes: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._backoff: dict[str, float] = {}
        self._banned: dict[str, str] = {}
        self._hope_at = 0.0
        self._moving = False
        self.waited_for: set[str] = set()
        self.parent: str | None = None

    def run(self) -> None:
        fetch = self._fetch
        self._hope_at = fetch.clock()
        while not (fetch.ledger is not None and fetch.ledger.complete):
            fetch.check()
            parent = self._choose()
            if parent is None:
                continue
            self.parent = parent
            self._moving = False
            try:
                self._follow(parent)
            except (Cancelled, StorageFailed):
                raise
            except RelayError as error:
                fetch.check()
                if not self._moving:
                    self._note(parent, error)
            finally:
                self.parent = None
                fetch.source = None
                self._set_channel(None)

    def blame(self, error: CorruptChunk) -> None:
        """Called by the writer."""
        self._blamed.put(error)

    def plan_changed(self) -> None:
        self._banned.clear()
        self._retry_at.clear()
        parents = self._fetch.parents
        if self.parent is not None and parents and parents[0] != self.parent:
            self._moving = True
            self.abort()

    def abort(self) -> None:
        with self._lock:
            if self._channel is not None:
                self._channel.abort()

    def _set_channel(self, channel: Channel | None) -> None:
        with self._lock:
            old, self._channel = self._channel, channel
            if old is not None:
                old.close()

    def _choose(self) -> str | None:
        """The first parent that may be tried now; None after a pause."""
        fetch = self._fetch
        now = fetch.clock()
        parents = [parent for parent in fetch.parents if parent not in self._banned]
        if not parents:
            reasons = "; ".join(list(self._banned.values())) or "the plan names none"
            raise PeerRefused(f"No parent can serve this base: {reasons}")
        if now - self._hope_at > fetch.patience.alone:
            raise PeerLost(
                f"No living parent for {fetch.patience.alone:g} s (tried: {', '.join(fetch.parents)}); "
                f"last: {fetch.attempts[-1].error if fetch.attempts else 'nothing tried'}"
            )
        for parent in parents:
            if self._retry_at.get(parent, 0.0) <= now:
                return parent
        fetch.offer.set_view(FETCHING, LOST)
        # A new plan may forget the times meanwhile.
        fetch.pause(min(self._retry_at.get(parent, now) for parent in parents) - now)
        return None

    def _note(self, parent: str, error: RelayError) -> None:
        fetch = self._fetch
        message = error.message if parent in error.message else f"{parent}: {error.message}"
        fetch.note_attempt(parent, message)
        if isinstance(error, (WrongIdentity, VersionMismatch, BadChunkList)):
            self._banned[parent] = message
        if isinstance(error, ProtocolError):
            self._strikes[parent] = self._strikes.get(parent, 0) + 1
            if self._strikes[parent] >= MAX_STRIKES:
                self._banned[parent] = message
        pause = self._backoff.get(parent, BACKOFF_FIRST_S)
        self._backoff[parent] = min(2 * pause, BACKOFF_LAST_S)
        self._retry_at[parent] = fetch.clock() + pause
        fetch.offer.set_view(FETCHING, LOST)

    def _follow(self, parent: str) -> None:
        """Take from one parent until everything is here. :raises RelayError: why not."""
        fetch = self._fetch
        channel = fetch.connect(parent)
        self._set_channel(channel)
        fetch.check()
        transfer = _Transfer(fetch, self, channel, parent)
        try:
            transfer.run()
        finally:
            fetch.drain()
            transfer.give_back()
            self._blamed_late(parent)

    def _blamed_late(self, parent: str) -> None:
        try:
            self.wrong_chunks(parent)
        except CorruptChunk:
            pass  # noted, and the parent is banned: whatever ended the transfer is the better reason

    def hope(self) -> None:
        self._hope_at = self._fetch.clock()

    def patience_for(self, parent: str) -> float:
        """How long to wait for a parent that has not begun. Hope lasts as long, but only the first time."""
        if parent in self.waited_for:
            return self._fetch.patience.lost
        self.hope()
        return self._fetch.patience.pending

    def progressed(self, parent: str) -> None:
        self._backoff.pop(parent, None)
        self.hope()

    def wrong_chunks(self, parent: str) -> list[CorruptChunk]:
        """What the writer found wrong since the last look. :raises CorruptChunk: if it was once too often."""
        found: list[CorruptChunk] = []
        while not self._blamed.empty():
            error = self._blamed.get()
            found.append(error)
            self._fetch.note_attempt(parent, error.message)
            self._strikes[parent] = self._strikes.get(parent, 0) + 1
            if self._strikes[parent] >= MAX_STRIKES:
                self._banned[parent] = error.message
                raise error
        return found


class _Transfer:
    """One connection to one parent."""

    def __init__(self, fetch: Fetch, feed: Feed, channel: Channel, parent: str) -> None:
        self._fetch = fetch
        self._feed = feed
        self._channel = channel
        self._parent = parent
        self._have = bytearray(fetch.count)
        self._list: bytearray | None = None
        self._list_at = 0
        self._asked: set[int] = set()
        self._not_here: set[int] = set()
        self._spoilt: RelayError | None = None
        self._cursor = 0
        self._generation = -1
        self._window = max(2, WINDOW_BYTES // fetch.chunk_bytes)
        self._feed_state = PENDING
        self._idle_since = fetch.clock()
        self._buffer: memoryview | None = None

    def run(self) -> None:
        fetch, channel = self._fetch, self._channel
        channel.send_message(protocol.OPEN, {"base": fetch.sha256, "chunks_sha256": fetch.chunks_sha256})
        if fetch.chunks is None:
            self._list = bytearray(list_bytes(fetch.size_bytes, fetch.chunk_bytes))
            channel.send(protocol.LIST)
        while True:
            if self._finished():
                return
            self._note_wrong()
            fetch.check()
            before = channel.received_bytes
            try:
                header, payload = channel.receive(self._place)
            finally:
                fetch.received_bytes += channel.received_bytes - before
            self._handle(header, payload)
            self._ask()
            self._judge()
            channel.beat()

    def give_back(self) -> None:
        if self._buffer is not None:
            self._fetch.release(self._buffer)
            self._buffer = None
        if self._fetch.ledger is not None:
            self._fetch.ledger.give_back(self._asked)

    def _finished(self) -> bool:
        """With the last chunk received only the writer has to end: the parent has nothing more to say."""
        fetch = self._fetch
        ledger = fetch.ledger
        if ledger is None or self._asked or self._cursor < fetch.count:
            return False
        fetch.drain()
        fetch.check()
        self._note_wrong()
        if self._spoilt is not None and len(self._not_here) >= ledger.undone > 0:
            raise self._spoilt
        return ledger.complete

    def _note_wrong(self) -> None:
        for error in self._feed.wrong_chunks(self._parent):
            self._spoil(int(error.fields["chunk"]), error)

    def _spoil(self, index: int, error: RelayError) -> None:
        """This chunk is not asked from this parent again as long as the connection lasts; others still are."""
        self._not_here.add(index)
        self._have[index] = 0
        self._spoilt = error

    def _place(self, header: protocol.Header) -> memoryview:
        chunks = self._fetch.chunks
        if chunks is None or header.number not in self._asked or header.length != chunks.length(header.number):
            raise ProtocolError(f"{self._parent} sent a chunk that was not asked for.")
        self._buffer = self._fetch.buffer()
        return self._buffer[: header.length]

    def _handle(self, header: protocol.Header, payload: memoryview) -> None:
        fetch = self._fetch
        if header.kind == protocol.DATA:
            self._asked.discard(header.number)
            buffer, self._buffer = self._buffer, None
            if buffer is not None:
                fetch.hand_over(header.number, buffer, payload, self._feed)
            self._feed.progressed(self._parent)
            self._idle_since = fetch.clock()
            wait = fetch.throttle.take(header.length, self._parent)
            if wait:
                fetch.cancel.wait(min(wait, self._channel.heartbeat_s))
        elif header.kind == protocol.STATE:
            self._told(protocol.decode_message(payload))
        elif header.kind == protocol.LIST_PART:
            self._take_list(header.number, payload)
        elif header.kind == protocol.HAVE:
            for first, number in protocol.decode_ranges(payload, fetch.count):
                self._have[first : first + number] = b"\1" * number
                for index in self._not_here:
                    self._have[index] = 0
                self._cursor = min(self._cursor, first)
        elif header.kind == protocol.NOT_HERE:
            if header.number in self._asked:
                reason = bytes(payload).decode(errors="replace")
                error = PeerRefused(f"{self._parent} cannot read chunk {header.number}: {reason}", peer=self._parent)
                fetch.note_attempt(self._parent, error.message)
                self._asked.discard(header.number)
                self._spoil(header.number, error)
                if fetch.ledger is not None:
                    fetch.ledger.give_back([header.number])
        elif header.kind == protocol.BYE:
            raise PeerRefused(f"{self._parent}: {protocol.decode_message(payload).get('msg')}", peer=self._parent)
        elif header.kind != protocol.PING:
            raise ProtocolError(f"{self._parent} sent a frame of kind {header.kind}.")

    def _take_list(self, offset: int, payload: memoryview) -> None:
        if self._list is None or offset != self._list_at or offset + len(payload) > len(self._list):
            raise ProtocolError(f"{self._parent} sent a part of a chunk list that was not asked for.")
        self._list[offset : offset + len(payload)] = payload
        self._list_at += len(payload)
        if self._list_at == len(self._list):
            data, self._list = bytes(self._list), None
            self._fetch.set_chunks(data, self._parent)

    def _told(self, message: dict[str, t.Any]) -> None:
        fetch = self._fetch
        state, feed, path = message.get("state"), message.get("feed"), message.get("path")
        if not isinstance(path, list) or feed not in (ROOTED, PENDING, LOST):
            raise ProtocolError(f"{self._parent} sent a state that cannot be read.")
        if state == FAILED:
            raise PeerRefused(f"{self._parent} has no such base: {message.get('msg') or 'it failed there'}")
        # A parent that waits for us has nobody else.
        now = ROOTED if state == HOLDING else LOST if fetch.host in path else feed
        if now != self._feed_state:
            self._feed_state, self._idle_since = now, fetch.clock()
        fetch.source = self._parent
        fetch.offer.set_view(FETCHING, now, [str(host) for host in path][:64])

    def _ask(self) -> None:
        ledger = self._fetch.ledger
        if ledger is None:
            return
        if ledger.generation != self._generation:
            self._generation = ledger.generation
            self._cursor = 0
            self._note_wrong()
        # In lots, so that a request costs little beside its chunks.
        room = self._window - len(self._asked)
        if room < self._window // 4 and self._asked:
            return
        indexes, self._cursor = ledger.take(self._have, self._cursor, room)
        if indexes:
            self._asked.update(indexes)
            self._channel.send(protocol.WANT, 0, protocol.encode_indexes(indexes))

    def _judge(self) -> None:
        """Leave a parent that has nothing for us and nobody to get it from."""
        fetch = self._fetch
        if self._asked:
            return
        if self._feed_state == LOST:
            if fetch.clock() - self._idle_since > fetch.patience.lost:
                raise PeerRefused(f"{self._parent} has no living parent itself.", peer=self._parent)
            return
        if self._feed_state == ROOTED:
            self._idle_since = fetch.clock()
            self._feed.hope()
            return
        patience = self._feed.patience_for(self._parent)
        if fetch.clock() - self._idle_since > patience:
            self._feed.waited_for.add(self._parent)
            raise PeerRefused(f"{self._parent} has not begun after {patience:g} s.", peer=self._parent)


def storage_failure(error: OSError) -> StorageFailed:
    return StorageFailed(f"The pool cannot take the base: {describe(error)}", errno=error.errno or 0)
