# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Fetching a base: opens and ends connections as parent selection decides, and stores what they bring."""

from __future__ import annotations

import queue
import threading
import typing as t

from ..._base_format.chunk_list import ChunkList
from ..clock import Clock
from ..endpoints import Endpoint
from ..endpoints.operations import Recheck, StoreChunk
from ..errors import BadChunkList, CorruptChunk, RelayError, describe, storage_failure
from ..states import FETCHING, LOST, PENDING, ROOTED
from ..upload.offer import Offer
from ..upload.rate_limits import Throttle
from ..wire.channel import Channel
from .chunk_list_fetch import ChunkListFetch
from .chunk_picker import ChunkPicker
from .connection import Connection, Events
from .parent import Parent
from .parent_selection import CONNECTING, Order, ParentSelection, Route
from .stripes import Stripes
from .transfer import Attempt, Attempts, BaseIds, Buffers, Terms, Transfer

# Received and not yet written, in chunks, beside one for each connection: lets hashing run beside receiving.
BUFFERS = 8

# How often it is decided anew from whom to fetch, if nothing happens.
TICK_S = 0.25

# How often what was stored is read back for the digest of the whole: often where much comes, as the rest is read when all has
# come; seldom where little does, as each look costs more than its bytes.
FOLLOW_S, SLOW_FOLLOW_S = 0.05, 0.25
FAST_BYTES_PER_S = 32 * 1024 * 1024
FOLLOW_BYTES = 8 * 1024 * 1024


class Sink(t.NamedTuple):
    """Where the bytes go.

    :param endpoint: its map tells what is there already.
    :param offer: told what children may have; each chunk at once if the terms say ``share``.
    :param trusted: whether that map can be believed without reading the chunks again; ``trust`` is called after that.
    :param scratch: directory for the chunk list while it comes.
    :param keep_list: told the chunk list as soon as it is known and right.
    :param follow: told, by a thread of its own, up to which byte everything from the beginning on is stored.
    :param known: the chunk list, if this host has it already.
    """

    endpoint: Endpoint
    offer: Offer
    trusted: bool = True
    trust: t.Callable[[], None] = lambda: None
    scratch: str | None = None
    keep_list: t.Callable[[ChunkList], None] = lambda _chunks: None
    follow: t.Callable[[int], None] = lambda _end: None
    known: ChunkList | None = None


class Surroundings(t.NamedTuple):
    """What a fetch uses of its node.

    :param connect: a greeted channel to a host; raises RelayError.
    :param cancel: set when the node stops.
    :param others: hosts of the run that may have the base when no host of the plan is left.
    """

    connect: t.Callable[[str], Channel]
    clock: Clock
    cancel: threading.Event
    throttle: Throttle
    log: t.Callable[[str], None] = lambda _line: None
    others: t.Callable[[], t.Sequence[str]] = tuple


class Fetch:
    """One base on its way to this host.

    :param attempts: what went wrong with parents so far.
    """

    def __init__(
        self,
        base: BaseIds,
        route: Route,
        terms: Terms,
        sink: Sink,
        around: Surroundings,
        attempts: list[Attempt] | None = None,
    ) -> None:
        self._log = lambda line: around.log(f"base {base.sha256[:12]}: {line}")
        self._base = base
        self._terms = terms
        self._sink = sink
        self.transfer = Transfer(
            base,
            terms,
            around.connect,
            around.clock,
            around.cancel,
            around.throttle,
            Attempts([] if attempts is None else attempts, self._log),
            Buffers(base.chunk_bytes),
        )
        self.chunk_list = ChunkListFetch(self.transfer, sink.scratch)
        self.bytes = 0
        self.source: str | None = None
        self._selection = ParentSelection(
            route,
            terms.patience,
            around.clock(),
            around.others,
            self.transfer.attempts.note,
            self.transfer.chunks.missing,
            self.transfer.records,
        )
        self._events = Events(self.take_chunk, self._tell_children, self._give_back, self._connection_ended)
        self._route = route
        self._route_changed = False
        self._lock = threading.Lock()
        self._parents: dict[str, Parent] = {}
        self._stopped: list[Connection] = []
        self._ended: queue.Queue[Connection] = queue.Queue()
        self._received_from: dict[str, int] = {}
        self._view_lock = threading.Lock()
        self._received: queue.Queue[tuple[int, memoryview, memoryview, Connection] | None] = queue.Queue()
        self._storing = threading.Lock()
        self._stored = threading.Event()
        self._closed = False

    # -- called from outside -------------------------------------------------------------------------------------

    def run(self) -> ChunkList:
        """Fetch until the last chunk is verified and stored.

        :raises Cancelled: the node stops; StorageFailed: this host's pool; RelayError: no host can serve it.
        """
        transfer, chunks = self.transfer, self.transfer.chunks
        transfer.buffers.add(BUFFERS)
        writer = threading.Thread(target=self._write_received, name="writer", daemon=True)
        writer.start()
        follower = threading.Thread(target=self._follow_stored, name="digest", daemon=True)
        follower.start()
        try:
            while not chunks.complete:
                transfer.check()
                transfer.changed.clear()
                self._take_list()
                self._steer()
                if not chunks.complete:
                    transfer.changed.wait(TICK_S)
        finally:
            self._stop_connections()
            self._received.put(None)
            writer.join()
            self._stored.set()
            follower.join()
            with self._storing:
                # Whatever a connection still has in its hands: the endpoint is not ours any more.
                self._closed = True
        if chunks.listed is None:
            raise RelayError("The fetch ended without a chunk list.")
        return chunks.listed

    def set_route(self, route: Route) -> None:
        """A new plan: a stripe from its first choice goes on, any other is moved there."""
        with self._lock:
            if route == self._route:
                return
            self._route, self._route_changed = route, True
        self.transfer.changed.set()

    def abort(self) -> None:
        """Wake all that wait; the node's ``cancel`` has been set before."""
        self.transfer.changed.set()
        for connection in self.connections():
            connection.stop()

    def shared_chunks(self) -> bool:
        """Whether children were offered chunks of this host's endpoint."""
        return self._terms.share and self.transfer.chunks.listed is not None

    @property
    def attempts(self) -> list[Attempt]:
        return self.transfer.attempts.kept

    @property
    def parents(self) -> list[str]:
        """The hosts that it comes from at this moment."""
        return [parent.parent for parent in self._open_parents() if parent.state == ROOTED]

    @property
    def received_bytes(self) -> int:
        """Over the network, with everything that belongs to the transfer."""
        return sum(self.received_from.values())

    @property
    def received_from(self) -> dict[str, int]:
        """The same by sender."""
        with self._lock:
            received = dict(self._received_from)
            running = [one for parent in self._parents.values() for one in parent.connections]
            for one in [*running, *self._stopped]:
                received[one.parent] = received.get(one.parent, 0) + one.received_bytes
        return {host: count for host, count in received.items() if count}

    def connections(self) -> list[Connection]:
        """Those that are to go on."""
        with self._lock:
            return [one for parent in self._parents.values() for one in parent.connections]

    # -- from which hosts ----------------------------------------------------------------------------------------

    def _open_parents(self) -> list[Parent]:
        with self._lock:
            return list(self._parents.values())

    def _steer(self) -> None:
        transfer, now = self.transfer, self.transfer.clock()
        picker = transfer.chunks.picker
        with self._lock:
            route, changed, self._route_changed = self._route, self._route_changed, False
        rooted = any(parent.state == ROOTED for parent in self._open_parents())
        transfer.chunks.look_out(0 if rooted else self._base.number)
        if changed:
            self._selection.set_route(route)
            if picker is not None:
                picker.restripe(Stripes(route.weights))
        self._reap(now)
        for parent in self._open_parents():
            parent.sample(now)
        with self._lock:
            parents = dict(self._parents)
        orders = self._selection.decide(now, parents, None if picker is None else picker.left, self._base.chunk_bytes)
        for host in parents.keys() - orders.keys():
            with self._lock:
                self._stopped.extend(self._parents.pop(host).connections)
            parents[host].dismiss(now)
        for connection in list(self._stopped):
            if connection.overdue(now):
                connection.stop()
        for host, order in orders.items():
            if host not in parents:
                self._open(host, order, now)
                continue
            if order.limit is None and parents[host].worth_another(now):
                self._open(host, order, now)
            parents[host].order(order)
        self._tell_children()

    def _open(self, host: str, order: Order, now: float) -> None:
        connection = Connection(self.transfer, self.chunk_list, self._events, host, order)
        with self._lock:
            if host in self._parents:
                self._parents[host].widen(connection, now)
            else:
                self._parents[host] = Parent(connection, now)
        # One of its own, so that slow connections cannot hold all buffers of the others.
        self.transfer.buffers.add()
        connection.start()

    def _reap(self, now: float) -> None:
        while not self._ended.empty():
            connection = self._ended.get()
            with self._lock:
                parent = self._parents.get(connection.parent)
                first = parent is not None and connection is parent.connections[0]
                further = parent is not None and connection in parent.connections[1:]
                if parent is None or not (first or further):
                    self._stopped.remove(connection)
                elif further:
                    parent.narrow(connection)
                else:
                    self._stopped.extend(parent.connections[1:])
                    del self._parents[connection.parent]
                received = self._received_from.get(connection.parent, 0)
                self._received_from[connection.parent] = received + connection.received_bytes
            if connection.error is not None:
                host, error = connection.parent, connection.error
                message = error.message if host in error.message else f"{host}: {error.message}"
                if further:
                    self._log(f"one connection less: {message}")
                else:
                    self.transfer.attempts.note(host, message)
            if parent is not None and first:
                parent.stop()
                self._selection.ended(connection.parent, connection.error, now)

    def _stop_connections(self) -> None:
        with self._lock:
            self._stopped.extend(one for parent in self._parents.values() for one in parent.connections)
            self._parents.clear()
            connections = list(self._stopped)
        for connection in connections:
            connection.stop()
        for connection in connections:
            # One that is still connecting ends by itself.
            connection.join(0.5)

    # -- called by connections -----------------------------------------------------------------------------------

    def _connection_ended(self, connection: Connection, asked: t.Collection[int]) -> None:
        self.transfer.buffers.drop_one()
        self._give_back(asked)
        self._ended.put(connection)
        self.transfer.changed.set()

    def _tell_children(self) -> None:
        """Where this host's bytes come from in the end."""
        with self._view_lock:
            parents = self._open_parents()
            first = not self.attempts and any(parent.state == CONNECTING for parent in parents)
            state = LOST
            told: list[Parent] = []
            for state in (ROOTED, PENDING, LOST):
                told = [parent for parent in parents if parent.state == state and (parent.paths or state == LOST)]
                if told or (first and state == PENDING):
                    break
            # One path over each parent before a second one over the same.
            ranked = sorted((nth, len(path), path) for parent in told for nth, path in enumerate(parent.paths))
            self.source = ranked[0][2][0] if ranked else told[0].parent if told else None
            self._sink.offer.set_view(FETCHING, state, [path for _nth, _length, path in ranked])

    def _give_back(self, indexes: t.Iterable[int]) -> None:
        picker = self.transfer.chunks.picker
        if picker is not None and picker.give_back(indexes):
            for connection in self.connections():
                connection.wake()

    def take_chunk(self, index: int, buffer: memoryview, view: memoryview, connection: Connection) -> None:
        if connection.inline_store:
            self._finish(index, buffer, view, connection)
        else:
            self._received.put((index, buffer, view, connection))

    # -- the chunk list ------------------------------------------------------------------------------------------

    def _take_list(self) -> None:
        known, brought, base = self.transfer.chunks, self.chunk_list.brought, self._base
        chunks = self._sink.known if brought is None else ChunkList(brought)
        if known.listed is not None or chunks is None:
            return
        if chunks.size_bytes != base.size_bytes or chunks.chunk_bytes != base.chunk_bytes:
            raise BadChunkList(
                f"The chunk list is that of a file of {chunks.size_bytes} bytes in chunks of {chunks.chunk_bytes}, "
                f"the base has {base.size_bytes} in chunks of {base.chunk_bytes}."
            )
        self._sink.keep_list(chunks)
        try:
            marks = self._marks_of(chunks)
        except OSError as error:
            raise storage_failure(error) from error
        self.bytes = sum(chunks.length(index) for index in range(chunks.count) if marks[index])
        known.known(chunks, ChunkPicker(marks, Stripes(self._selection.route.weights)))
        if self._terms.share:
            self._sink.offer.set_parts(chunks, self._sink.endpoint)
            self._sink.offer.announce(index for index in range(chunks.count) if marks[index])
        for connection in self.connections():
            connection.wake()

    def _marks_of(self, chunks: ChunkList) -> bytearray:
        """Which chunks are here, after those of an earlier run were checked. :raises OSError:"""
        endpoint = self._sink.endpoint
        if not self._sink.trusted:
            check = Recheck(endpoint, chunks, self.transfer.cancel)
            check.run()
            self._sink.trust()
            self._log(f"{check.size} bytes verified again, {check.wrong} chunks wrong")
        marks = endpoint.marks()
        for index in chunks.zeros():
            if not marks[index]:
                endpoint.mark(index)
                marks[index] = 1
        return marks

    # -- the digest of the whole -----------------------------------------------------------------------------------

    def _follow_stored(self) -> None:
        first = read = 0
        pause = FOLLOW_S
        while not self._stored.wait(pause):
            picker = self.transfer.chunks.picker
            if picker is None:
                continue
            first = picker.leading(first)
            end = min(first * self._base.chunk_bytes, self._base.size_bytes)
            pause = FOLLOW_S if end - read > FAST_BYTES_PER_S * pause else SLOW_FOLLOW_S
            # In steps: of an interrupted fetch there may be much to read, and the end of the fetch does not wait for it.
            while read < end and not self._stored.is_set():
                read = min(end, read + FOLLOW_BYTES)
                try:
                    self._sink.follow(read)
                except OSError as error:
                    # Publishing the base reads the rest, and then it is a failure.
                    self._log(f"it cannot be read back: {describe(error)}")
                    return

    # -- the writer's thread, or a connection's ------------------------------------------------------------------

    def _write_received(self) -> None:
        while True:
            item = self._received.get()
            if item is None:
                return
            self._finish(*item)

    def _finish(self, index: int, buffer: memoryview, view: memoryview, connection: Connection) -> None:
        chunks = self.transfer.chunks
        if not self.transfer.failures and chunks.listed is not None and chunks.picker is not None:
            self._store(chunks.listed, chunks.picker, index, view, connection)
        self.transfer.buffers.release(buffer)

    def _store(self, chunks: ChunkList, picker: ChunkPicker, index: int, view: memoryview, connection: Connection) -> None:
        transfer, parent = self.transfer, connection.parent
        if picker.is_done(index):
            # Another parent was quicker.
            return
        operation = StoreChunk(self._sink.endpoint, chunks, index, view, parent)
        try:
            operation.verify()
            with self._storing:
                if self._closed:
                    return
                operation.run()
                self.bytes += len(view)
        except CorruptChunk as error:
            transfer.attempts.note(parent, error.message)
            transfer.records[parent].strike(error.message)
            # In this order: a connection that sees the chunk given back has to see which host not to ask again.
            connection.blame(error)
            self._give_back([index])
        except OSError as error:
            transfer.fail(storage_failure(error))
        except Exception as error:  # connections wait for this thread: it must not die in silence
            transfer.fail(RelayError(f"Unexpected {type(error).__name__} while storing chunk {index}: {error}. This is a defect."))
        else:
            picker.done(index)
            if self._terms.share:
                self._sink.offer.announce([index])
            if picker.complete:
                transfer.changed.set()
