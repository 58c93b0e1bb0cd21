# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Fetching a base: the feeds, what they share, and the thread that writes what they bring."""

from __future__ import annotations

import queue
import threading
import typing as t

from ..._base_format.chunk_list import ChunkList, FileBytes, chunk_count, digest_of, list_bytes
from ..clock import Clock
from ..endpoints import Endpoint
from ..endpoints.operations import Recheck, StoreChunk
from ..errors import BadChunkList, Cancelled, CorruptChunk, RelayError, StorageFailed
from ..states import FETCHING, LOST, PENDING, ROOTED
from ..upload.rate_limits import Throttle
from ..upload.session import Offer
from ..wire.channel import Channel, describe
from .chunk_picker import ChunkPicker
from .connection import Connection
from .parent import Parent
from .parent_selection import CONNECTING, Order, ParentSelection, Patience, Route
from .stripes import Stripes

# Received and not yet written, in chunks, beside one for each feed: lets hashing run beside receiving.
BUFFERS = 8

# How often it is decided anew from whom to fetch, if nothing happens.
TICK_S = 0.25

# How often what was stored is read back for the digest of the whole.
FOLLOW_S = 0.05
FOLLOW_BYTES = 8 * 1024 * 1024

# The chunk list is asked for from another parent when nothing of it came for so long.
LIST_STALL_S = 2.0

MAX_ATTEMPTS_KEPT = 40

# Of one parent: the first one and the last ones, so that none hides the others.
MAX_ATTEMPTS_OF_PARENT = 8


class Attempt(t.NamedTuple):
    """Why a parent is not fetched from any more.

    :param mbps: what it delivered at last, in 10^6 bit/s, if it was left for being slow.
    """

    parent: str
    error: str
    mbps: float | None = None


class Fetch:
    """One base on its way to this host. Its feeds share the ledger, the buffers and the writer.

    :param connect: a greeted channel to a host; raises RelayError.
    :param endpoint: where the bytes go; its map tells what is there already.
    :param trusted: whether that map can be believed without reading the chunks again; ``trust`` is called after that.
    :param offer: told what children may have; each chunk at once if ``share``.
    :param others: hosts of the run that may have the base when nobody of the plan is left.
    :param scratch: directory for the chunk list while it comes.
    :param keep_list: told the chunk list as soon as it is known and right.
    :param follow: told, by a thread of its own, up to which byte everything from the beginning on is stored.
    :param known: the chunk list, if this host has it already.
    """

    def __init__(
        self,
        sha256: str,
        size_bytes: int,
        chunk_bytes: int,
        chunks_sha256: str,
        host: str,
        route: Route,
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
        others: t.Callable[[], t.Sequence[str]] = tuple,
        compression: bool = False,
        scratch: str | None = None,
        keep_list: t.Callable[[ChunkList], None] = lambda _chunks: None,
        follow: t.Callable[[int], None] = lambda _end: None,
        known: ChunkList | None = None,
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
        self.compression = compression
        self.patience = patience
        self.throttle = throttle or Throttle(clock)
        self.log = log
        self.chunks: ChunkList | None = None
        self.ledger: ChunkPicker | None = None
        self.count = chunk_count(size_bytes, chunk_bytes)
        self.bytes = 0
        self.source: str | None = None
        self.attempts: list[Attempt] = [] if attempts is None else attempts
        self.steering = ParentSelection(route, patience, clock(), others, self.note_attempt, self._missing)
        # Chunks that somebody had who answered since there is no holder in sight any more.
        self._seen = bytearray()
        self._scratch = scratch
        self._keep_list = keep_list
        self._follow = follow
        self._known = known
        self._stored = threading.Event()
        # Who sent the chunk list, and the holder that this host was told it comes from.
        self.list_from = ""
        self._trusted = trusted
        self._trust = trust
        self._route = route
        self._route_changed = False
        self._failure: RelayError | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._feeds: dict[str, Parent] = {}
        self._stopped: list[Connection] = []
        self._ended: queue.Queue[Connection] = queue.Queue()
        self._received_from: dict[str, int] = {}
        self._view_lock = threading.Lock()
        self._list_feed: Connection | None = None
        self._list_at = 0.0
        self._brought: tuple[FileBytes, Connection] | None = None
        self._free: queue.Queue[memoryview] = queue.Queue()
        self._surplus = 0
        self._received: queue.Queue[tuple[int, memoryview, memoryview, Connection] | None] = queue.Queue()
        self._storing = threading.Lock()
        self._closed = False

    # -- called from outside -------------------------------------------------------------------------------------

    def run(self) -> ChunkList:
        """Fetch until the last chunk is verified and stored.

        :raises Cancelled: the node stops; StorageFailed: this host's pool; RelayError: nobody can serve it.
        """
        for _number in range(BUFFERS):
            self._free.put(memoryview(bytearray(self.chunk_bytes)))
        writer = threading.Thread(target=self._write_received, name="writer", daemon=True)
        writer.start()
        follower = threading.Thread(target=self._follow_stored, name="digest", daemon=True)
        follower.start()
        try:
            while self.ledger is None or not self.ledger.complete:
                self.check()
                self._changed.clear()
                self._take_list()
                self._steer()
                if self.ledger is None or not self.ledger.complete:
                    self._changed.wait(TICK_S)
        finally:
            self._stop_feeds()
            self._received.put(None)
            writer.join()
            self._stored.set()
            follower.join()
            with self._storing:
                # Whatever a feed still has in its hands: the endpoint is not ours any more.
                self._closed = True
        if self.chunks is None:
            raise RelayError("The fetch ended without a chunk list.")
        return self.chunks

    def set_route(self, route: Route) -> None:
        """A new plan: a stripe from its first choice goes on, any other is moved there."""
        with self._lock:
            if route == self._route:
                return
            self._route, self._route_changed = route, True
        self._changed.set()

    def abort(self) -> None:
        """Wake who waits; ``cancel`` has been set before."""
        self._changed.set()
        for feed in self._running():
            feed.stop()

    @property
    def parents(self) -> list[str]:
        """The hosts that it comes from at this moment."""
        return [lanes.parent for lanes in self._parents() if lanes.state == ROOTED]

    @property
    def received_bytes(self) -> int:
        """Over the network, with everything that belongs to the transfer."""
        return sum(self.received_from.values())

    @property
    def received_from(self) -> dict[str, int]:
        """The same by sender."""
        with self._lock:
            received = dict(self._received_from)
            running = [feed for lanes in self._feeds.values() for feed in lanes.feeds]
            for feed in [*running, *self._stopped]:
                received[feed.parent] = received.get(feed.parent, 0) + feed.received_bytes
        return {host: count for host, count in received.items() if count}

    # -- from whom -----------------------------------------------------------------------------------------------

    def _parents(self) -> list[Parent]:
        with self._lock:
            return list(self._feeds.values())

    def _running(self) -> list[Connection]:
        with self._lock:
            return [feed for lanes in self._feeds.values() for feed in lanes.feeds]

    def _steer(self) -> None:
        now = self.clock()
        with self._lock:
            route, changed, self._route_changed = self._route, self._route_changed, False
        if not any(lanes.state == ROOTED for lanes in self._parents()):
            self._seen = self._seen or bytearray(self.count)
        elif self._seen:
            self._seen = bytearray()
        if changed:
            self.steering.set_route(route)
            if self.ledger is not None:
                self.ledger.restripe(Stripes(route.weights))
        self._reap(now)
        for lanes in self._parents():
            lanes.sample(now)
        with self._lock:
            feeds = dict(self._feeds)
        left = None if self.ledger is None else self.ledger.left
        orders = self.steering.decide(now, feeds, left, self.chunk_bytes)
        for host in feeds.keys() - orders.keys():
            with self._lock:
                self._stopped.extend(self._feeds.pop(host).feeds)
            feeds[host].dismiss(now)
        for feed in list(self._stopped):
            if feed.overdue(now):
                feed.stop()
        for host, order in orders.items():
            if host not in feeds:
                self._open(host, order, now)
                continue
            if order.limit is None and feeds[host].worth_another(now):
                self._open(host, order, now)
            feeds[host].order(order)
        self.feed_changed()

    def _open(self, host: str, order: Order, now: float) -> None:
        feed = Connection(self, host, order)
        with self._lock:
            if host in self._feeds:
                self._feeds[host].widen(feed, now)
            else:
                self._feeds[host] = Parent(feed, now)
        # One of its own, so that slow feeds cannot hold all buffers of the others.
        self._free.put(memoryview(bytearray(self.chunk_bytes)))
        feed.start()

    def _reap(self, now: float) -> None:
        while not self._ended.empty():
            feed = self._ended.get()
            with self._lock:
                lanes = self._feeds.get(feed.parent)
                first = lanes is not None and feed is lanes.feeds[0]
                further = lanes is not None and feed in lanes.feeds[1:]
                if lanes is None or not (first or further):
                    self._stopped.remove(feed)
                elif further:
                    lanes.narrow(feed)
                else:
                    self._stopped.extend(lanes.feeds[1:])
                    del self._feeds[feed.parent]
                received = self._received_from.get(feed.parent, 0)
                self._received_from[feed.parent] = received + feed.received_bytes
            if feed.error is not None:
                parent, error = feed.parent, feed.error
                message = error.message if parent in error.message else f"{parent}: {error.message}"
                if further:
                    self.log(f"base {self.sha256[:12]}: one connection less: {message}")
                else:
                    self.note_attempt(parent, message)
            if lanes is not None and first:
                lanes.stop()
                self.steering.ended(feed.parent, feed.error, now)

    def _stop_feeds(self) -> None:
        with self._lock:
            self._stopped.extend(feed for lanes in self._feeds.values() for feed in lanes.feeds)
            self._feeds.clear()
            feeds = list(self._stopped)
        for feed in feeds:
            feed.stop()
        for feed in feeds:
            # One that is still connecting ends by itself.
            feed.join(0.5)

    # -- called by feeds -----------------------------------------------------------------------------------------

    def feed_ended(self, feed: Connection, asked: t.Iterable[int]) -> None:
        with self._lock:
            if self._list_feed is feed:
                self._list_feed = None
            self._surplus += 1
        self.give_back(asked)
        self._ended.put(feed)
        self._changed.set()

    def feed_changed(self) -> None:
        """Tell the children where our bytes come from in the end."""
        with self._view_lock:
            feeds = self._parents()
            first = not self.attempts and any(feed.state == CONNECTING for feed in feeds)
            state = LOST
            told: list[Parent] = []
            for state in (ROOTED, PENDING, LOST):
                told = [feed for feed in feeds if feed.state == state and (feed.paths or state == LOST)]
                if told or (first and state == PENDING):
                    break
            # One path over each parent before a second one over the same.
            ranked = sorted((nth, len(path), path) for feed in told for nth, path in enumerate(feed.paths))
            self.source = ranked[0][2][0] if ranked else told[0].parent if told else None
            self.offer.set_view(FETCHING, state, [path for _nth, _length, path in ranked])

    def saw(self, first: int, number: int) -> None:
        """Some host has these chunks."""
        with self._lock:
            if self._seen:
                self._seen[first : first + number] = b"\1" * number

    def _missing(self) -> str:
        if self.ledger is None:
            return "Nobody sent the chunk list."
        with self._lock:
            nowhere = sum(not seen and not self.ledger.is_done(index) for index, seen in enumerate(self._seen))
        missing = self.ledger.undone
        return f"{missing} chunks are missing, of which no host that answered has {nowhere or 'none'}."

    def give_back(self, indexes: t.Iterable[int]) -> None:
        if self.ledger is not None and self.ledger.give_back(indexes):
            for feed in self._running():
                feed.wake()

    def note_attempt(self, parent: str, error: str, mbps: float | None = None) -> None:
        attempt = Attempt(parent, error, mbps)
        with self._lock:
            if attempt in self.attempts:
                return
            mine = [one for one in self.attempts if one.parent == parent]
            if len(mine) >= MAX_ATTEMPTS_OF_PARENT:
                self.attempts.remove(mine[1])
            self.attempts.append(attempt)
            del self.attempts[:-MAX_ATTEMPTS_KEPT]
        self.log(f"base {self.sha256[:12]}: {error}")

    def check(self) -> None:
        """:raises Cancelled: RelayError: if the fetch has failed."""
        if self.cancel.is_set():
            raise Cancelled("The node is being stopped.")
        if self._failure is not None:
            raise self._failure

    def fail(self, error: RelayError) -> None:
        self._failure = self._failure or error
        self._changed.set()

    def claim_list(self, feed: Connection) -> FileBytes | None:
        """A place for the chunk list, if this feed is to bring it: one at a time does."""
        now = self.clock()
        with self._lock:
            if self.chunks is not None or self._brought is not None:
                return None
            other = self._list_feed
            better = other is None or (feed.state == ROOTED and other.state != ROOTED)
            if not better and now - self._list_at < LIST_STALL_S:
                return None
            self._list_feed, self._list_at = feed, now
        try:
            return FileBytes.temporary(self._scratch, list_bytes(self.size_bytes, self.chunk_bytes))
        except OSError as error:
            self.fail(storage_failure(error))
            return None

    def list_part(self, feed: Connection, place: FileBytes, offset: int, payload: memoryview) -> None:
        try:
            place.write(offset, payload)
        except OSError as error:
            self.fail(storage_failure(error))
        if self._list_feed is feed:
            self._list_at = self.clock()

    def bring_list(self, data: FileBytes, feed: Connection) -> None:
        """:raises BadChunkList: nothing of it is believed unless its digest is the run's."""
        found = digest_of(data)
        if found != self.chunks_sha256:
            raise BadChunkList(f"{feed.parent} sent a chunk list with digest {found}, not {self.chunks_sha256}.", peer=feed.parent)
        with self._lock:
            if self._brought is None:
                self._brought = (data, feed)
                path = min(feed.paths, key=len, default=())
                self.list_from = " over ".join(dict.fromkeys([*path[-1:], feed.parent]))
        self._changed.set()

    def buffer(self, stopped: t.Callable[[], bool]) -> memoryview:
        """A free buffer of one chunk; waits for the writer."""
        while True:
            try:
                return self._free.get(timeout=0.5)
            except queue.Empty:
                self.check()
                if stopped():
                    raise Cancelled("Not needed any more.") from None

    def release(self, buffer: memoryview) -> None:
        with self._lock:
            if self._surplus > 0:
                self._surplus -= 1
                return
        self._free.put(buffer)

    def hand_over(self, index: int, buffer: memoryview, view: memoryview, feed: Connection) -> None:
        if feed.own_hands:
            self._finish(index, buffer, view, feed)
        else:
            self._received.put((index, buffer, view, feed))

    # -- the chunk list ------------------------------------------------------------------------------------------

    def _take_list(self) -> None:
        if self.chunks is not None or (self._brought is None and self._known is None):
            return
        chunks = self._known if self._brought is None else ChunkList(self._brought[0])
        if chunks is None:
            return
        if chunks.size_bytes != self.size_bytes or chunks.chunk_bytes != self.chunk_bytes:
            raise BadChunkList(
                f"The chunk list is that of a file of {chunks.size_bytes} bytes in chunks of {chunks.chunk_bytes}, "
                f"the base has {self.size_bytes} in chunks of {self.chunk_bytes}."
            )
        self._keep_list(chunks)
        try:
            if not self._trusted:
                check = Recheck(self.endpoint, chunks, self.cancel)
                check.run()
                self._trust()
                self.log(f"base {self.sha256[:12]}: {check.size} bytes verified again, {check.wrong} chunks wrong")
            marks = self.endpoint.marks()
            for index in chunks.zeros():
                if not marks[index]:
                    self.endpoint.mark(index)
                    marks[index] = 1
        except OSError as error:
            raise storage_failure(error) from error
        self.bytes = sum(chunks.length(index) for index in range(chunks.count) if marks[index])
        self.chunks = chunks
        self.ledger = ChunkPicker(marks, Stripes(self.steering.route.weights))
        if self.share:
            self.offer.set_parts(chunks, self.endpoint)
            self.offer.announce(index for index in range(chunks.count) if marks[index])
        for feed in self._running():
            feed.wake()

    # -- the digest of the whole -----------------------------------------------------------------------------------

    def _follow_stored(self) -> None:
        first = read = 0
        while not self._stored.wait(FOLLOW_S):
            if self.ledger is None:
                continue
            first = self.ledger.leading(first)
            end = min(first * self.chunk_bytes, self.size_bytes)
            # In steps: of an interrupted fetch there may be much to read, and the end of the fetch does not wait for it.
            while read < end and not self._stored.is_set():
                read = min(end, read + FOLLOW_BYTES)
                try:
                    self._follow(read)
                except OSError as error:
                    # Who publishes the base reads the rest, and then it is a failure.
                    self.log(f"base {self.sha256[:12]}: it cannot be read back: {describe(error)}")
                    return

    # -- the writer's thread, or a feed's ------------------------------------------------------------------------

    def _write_received(self) -> None:
        while True:
            item = self._received.get()
            if item is None:
                return
            self._finish(*item)

    def _finish(self, index: int, buffer: memoryview, view: memoryview, feed: Connection) -> None:
        if self._failure is None and self.chunks is not None and self.ledger is not None:
            self._store(self.chunks, self.ledger, index, view, feed)
        self.release(buffer)

    def _store(self, chunks: ChunkList, ledger: ChunkPicker, index: int, view: memoryview, feed: Connection) -> None:
        if ledger.is_done(index):
            # Another parent was quicker.
            return
        operation = StoreChunk(self.endpoint, chunks, index, view, feed.parent)
        try:
            operation.verify()
            with self._storing:
                if self._closed:
                    return
                operation.run()
                self.bytes += len(view)
        except CorruptChunk as error:
            self.note_attempt(feed.parent, error.message)
            self.steering.standings[feed.parent].strike(error.message)
            # In this order: who sees the chunk given back has to see whom not to ask again.
            feed.blame(error)
            self.give_back([index])
        except OSError as error:
            self.fail(storage_failure(error))
        except Exception as error:  # the feeds wait for this thread: it must not die in silence
            self.fail(RelayError(f"Unexpected {type(error).__name__} while storing chunk {index}: {error}"))
        else:
            ledger.done(index)
            if self.share:
                self.offer.announce([index])
            if ledger.complete:
                self._changed.set()


def storage_failure(error: OSError) -> StorageFailed:
    return StorageFailed(f"The pool cannot take the base: {describe(error)}", errno=error.errno or 0)
