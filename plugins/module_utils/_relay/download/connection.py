# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""One connection to one parent: asks for chunks, takes them, tells how it goes."""

from __future__ import annotations

import math
import queue
import threading
import typing as t
from collections import Counter

from ..._base_format.chunk_list import FileBytes
from ..._text import clean
from ..errors import Cancelled, CorruptChunk, PeerLost, PeerRefused, ProtocolError, RelayError
from ..states import FAILED, FOREIGN, HOLDING, LOST, PENDING, ROOTED, WAITING, is_tellable
from ..upload.offer import Path
from ..wire import messages, protocol
from ..wire.channel import FRAME_BYTES_PER_S, Channel
from ..wire.compression import Codec, codecs
from ..wire.socket_stream import Waker, poll
from .account import Account
from .chunk_list_fetch import ChunkListFetch
from .chunk_picker import Ranges, everything
from .parent_selection import CONNECTING, Order
from .transfer import Transfer

# Requests under way to one parent: as much as comes in a second, so that little has to be given back by one that
# crawls, and at most enough for 1 Gbit/s at 60 ms.
WINDOW_S = 1.0
MIN_WINDOW_BYTES = 1024 * 1024
FIRST_WINDOW_BYTES = 2 * 1024 * 1024
MAX_WINDOW_BYTES = 8 * 1024 * 1024

# How long a parent that waits for another run on its host may have nothing new, in seconds. Two runs may wait for each
# other over several hosts; as whoever has such a parent leaves it, that ends.
OTHER_RUN_S = 6.0

# What a connection keeps of what it asked for when the rest is recalled.
KEEP = 2

# A parent that got nothing new for so long is not asked for what it does not have: others may come to have it.
AHEAD_IDLE_S = 1.0

# How long a parent that is left may take to finish the chunk that is half here, and how long it may bring nothing of
# it, in seconds.
LEAVE_S = 4.0
LEAVE_IDLE_S = 0.5

# A parent whose disk cannot give so many chunks is left for somebody else.
MAX_UNREADABLE = 32

# How long a parent may take to say what it has of the base; and, once it has the chunk list, for each part of that.
STATE_S = 6.0
LIST_S = 6.0

# How long it may owe chunks of which none comes, at least; longer where a slow link takes longer for one, or where the
# host is as patient with parents that have not begun.
OWED_S = 15.0

# How often the place of its bytes may change from one useful thing that it sends to the next: each change is a sign that
# more will come.
MAX_CHANGES = 16

# A parent may announce each chunk, and all of them once more when it has the whole base.
MOST_ANNOUNCED = 2

# Empty announcements: a parent sends one, when it begins.
MOST_EMPTY = 4

# Announced ranges that have not been looked at. When there are more, everything is looked at anew.
MOST_RANGES = 4096

# What a host waits for a parent that has the base, or is promised it, and serves others first: so many times the patience
# for one that has not begun, and as long as the base would take at this rate.
LAST_WAIT_PART = 5
SLOWEST_BYTES_PER_S = 1024 * 1024


class Events(t.NamedTuple):
    """What a connection reports, each with itself.

    :param chunk: a chunk has come: its number, the buffer that it lies in, and the bytes.
    :param state: its state or its paths have changed.
    :param returned: chunks that it was to bring may be asked for elsewhere.
    :param end: it has ended, and these chunks have not come.
    """

    chunk: t.Callable[[int, memoryview, memoryview, Connection], None]
    state: t.Callable[[], None]
    returned: t.Callable[[t.Iterable[int]], None]
    end: t.Callable[[Connection, t.Collection[int]], None]


class Connection:
    """In a thread of its own from ``start`` until ``ended``; what others may call stands together."""

    def __init__(self, transfer: Transfer, chunk_list: ChunkListFetch, events: Events, parent: str, order: Order) -> None:
        self.parent = parent
        self.state = CONNECTING
        self.paths: list[Path] = []
        self.error: RelayError | None = None
        self.ended = False
        # Whether its chunks are stored by its own thread.
        self.inline_store = True
        self._transfer = transfer
        self._chunk_list = chunk_list
        self._events = events
        self._record = transfer.records[parent]
        self._order = order
        self._obeyed: Order | None = None
        self._lock = threading.Lock()
        self._waker: Waker | None = None
        self._channel: Channel | None = None
        self._stopping = False
        self._dismissed_at: float | None = None
        # When a part of the last chunk came after that.
        self._part_at: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"connection-{parent}", daemon=True)
        # What the parent has, and what became of it here.
        self._have = bytearray(transfer.base.number)
        self._ranges: Ranges = everything(0)
        self._below = transfer.base.number
        # What it was asked for: of what it has, and of what it will have.
        self._asked: set[int] = set()
        self._ahead: set[int] = set()
        self._takes_ahead = False
        self._front = 0
        self._asked_ever = 0
        self._not_here: set[int] = set()
        self._unreadable = 0
        self._spoilt: RelayError | None = None
        self._told_pace = 0
        self._blamed: queue.Queue[CorruptChunk] = queue.Queue()
        self._generation = -1
        self._window = max(2, FIRST_WINDOW_BYTES // transfer.base.chunk_bytes)
        # What may come though it is not asked for any more, how often.
        self._recalled: Counter[int] = Counter()
        self._buffer: memoryview | None = None
        self._codec: Codec | None = None
        # The chunk list, if it is this connection that brings it.
        self._list: FileBytes | None = None
        self._list_at = 0
        # Time accounts.
        self._turn = True
        self._holding = False
        self._waiting = False
        self._account = Account(transfer.clock)
        # It has the chunk list: before its first announcement it may not.
        self._has_list = False
        self._announced = 0
        self._empty = 0
        self._other_bytes = 0

    # -- called by others ----------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def order(self, order: Order) -> None:
        if order != self._order:
            self._order = order
            self.wake()

    def blame(self, error: CorruptChunk) -> None:
        """The writer found it wrong; it is not asked for again here."""
        self._blamed.put(error)
        self.wake()

    def wake(self) -> None:
        """Look for work again."""
        with self._lock:
            if self._waker is not None:
                self._waker.wake()

    def dismiss(self, now: float) -> None:
        """End the connection as soon as the chunk that is half here has come, see ``overdue``."""
        self._dismissed_at = now
        self.wake()

    def overdue(self, now: float) -> bool:
        """Whether it was dismissed and has had its time."""
        at = self._dismissed_at
        return at is not None and (now - at > LEAVE_S or now - (self._part_at or at) > LEAVE_IDLE_S)

    def stop(self) -> None:
        """End the connection at once, whatever is under way."""
        with self._lock:
            self._stopping = True
            if self._waker is not None:
                self._waker.wake()
            if self._channel is not None:
                self._channel.abort()

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)

    @property
    def asked(self) -> int:
        return len(self._asked) + len(self._ahead)

    @property
    def received_bytes(self) -> int:
        channel = self._channel
        return 0 if channel is None else channel.received_bytes

    def measure(self, now: float) -> tuple[float, int]:
        """Seconds in which the parent owed us something, and bytes of the base that came, since the begin."""
        return self._account.busy_s(now), max(0, self.received_bytes - self._other_bytes)

    def expect(self, rate: float | None) -> None:
        """What this connection brings in a second while the parent owes us something; None: not known yet."""
        if rate is not None:
            window = min(max(rate * WINDOW_S, MIN_WINDOW_BYTES), MAX_WINDOW_BYTES)
            self._window = max(2, int(window) // self._transfer.base.chunk_bytes)

    # -- the connection's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._connect()
            self._receive()
        except RelayError as error:
            unasked = self._stopping or self._dismissed_at is not None
            self.error = None if unasked or isinstance(error, Cancelled) else error
        except Exception as error:  # whatever it is, it is the end of this connection and of no other
            self.error = ProtocolError(
                f"Unexpected {type(error).__name__} while fetching from {self.parent}: {clean(error, 500)}. This is a defect.",
                peer=self.parent,
            )
        finally:
            with self._lock:
                waker, self._waker = self._waker, None
                if self._channel is not None:
                    self._channel.close()
            if waker is not None:
                waker.close()
            if self._buffer is not None:
                self._transfer.buffers.release(self._buffer)
            self.state = LOST
            self.ended = True
            self._chunk_list.leave(self)
            self._events.end(self, self._asked | self._ahead)

    def _connect(self) -> None:
        channel = self._transfer.connect(self.parent)
        with self._lock:
            # Kept after the end: what it received counts.
            self._channel = channel
            self._waker = Waker()
            if self._stopping:
                raise Cancelled("Not needed any more.")

    def _receive(self) -> None:
        transfer, channel, waker = self._transfer, self._channel, self._waker
        if channel is None or waker is None:
            return
        stream = channel.stream
        opening: dict[str, t.Any] = {"base": transfer.base.sha256, "chunks_sha256": transfer.base.chunks_sha256}
        if transfer.terms.compression:
            opening["codecs"] = list(codecs())
        channel.send_message(protocol.OPEN, opening)
        pause = min(channel.heartbeat_s, max(0.05, transfer.terms.patience.lost / 2))
        while not self._stopping and self._dismissed_at is None:
            transfer.check()
            self._note_wrong()
            if transfer.chunks.listed is None:
                self._want_list(channel)
            self._ask(channel)
            self._tell_pace(channel)
            self._judge()
            if not stream.readable():
                readable, woken = poll(stream.fileno(), waker.fileno(), pause)
                if woken:
                    waker.clear()
                if not readable:
                    channel.check_silence()
                    channel.beat()
                    continue
            header, payload = channel.receive(protocol.FROM_PARENT, self._place, self._part)
            self._handle(channel, header, payload)
            channel.beat()

    def _part(self, header: protocol.Header) -> None:
        """While a chunk comes, however slowly: of a parent that is dismissed, or on trial against another one, that one is
        taken, and others may ask for the rest at once.
        """
        if header.kind not in protocol.CHUNKS or self._channel is None:
            return
        if self._dismissed_at is not None:
            if self._part_at is None:
                self._recall(self._channel, (self._asked | self._ahead) - {header.number})
            self._part_at = self._transfer.clock()
        elif self._order.recall and self._order != self._obeyed:
            self._recall(self._channel, (self._asked | self._ahead) - {header.number})

    def _check(self) -> None:
        """:raises RelayError: if what comes here is not needed any more."""
        self._transfer.check()
        if self._stopping:
            raise Cancelled("Not needed any more.")

    def _note_wrong(self) -> None:
        """:raises CorruptChunk: if it was once too often."""
        while not self._blamed.empty():
            error = self._blamed.get()
            self._spoil(int(error.fields["chunk"]), error)
            if self._record.banned:
                raise error

    def _spoil(self, index: int, error: RelayError) -> None:
        """This chunk is not asked from this parent again as long as the connection lasts; others still are."""
        self._not_here.add(index)
        self._have[index] = 0
        self._spoilt = error

    def _place(self, header: protocol.Header) -> memoryview | None:
        """Where a chunk goes: nothing is taken in of one that was not asked for, or is longer than it can be."""
        if header.kind not in protocol.CHUNKS:
            return None
        chunks, packed = self._transfer.chunks.listed, header.kind == protocol.PACKED
        if chunks is None or not self._owes(header.number) or (packed and self._codec is None):
            raise ProtocolError(f"{self.parent} sent a chunk that was not asked for.", peer=self.parent)
        length = chunks.length(header.number)
        if packed and header.length >= length:
            raise ProtocolError(f"{self.parent} sent a compressed chunk that is not smaller.", peer=self.parent)
        if not packed and header.length != length:
            raise ProtocolError(f"{self.parent} sent {header.length} bytes as a chunk of {length}.", peer=self.parent)
        if packed:
            return None
        if header.number in self._ahead:
            # It has come there, and is on its way.
            self._has(header.number)
            self._note_owes()
        self._buffer = self._transfer.buffers.take(self._check)
        return self._buffer[: header.length]

    def _has(self, index: int) -> None:
        self._have[index] = 1
        self._ahead.discard(index)
        self._asked.add(index)

    def _unpack(self, header: protocol.Header, payload: memoryview) -> memoryview:
        """A chunk as it was; its digest is checked as that of any other."""
        chunks = self._transfer.chunks.listed
        if chunks is None or self._codec is None:
            raise ProtocolError(f"{self.parent} sent a chunk that was not asked for.", peer=self.parent)
        length = chunks.length(header.number)
        self._buffer = self._transfer.buffers.take(self._check)
        self._codec.decompress(payload, self._buffer[:length])
        return self._buffer[:length]

    def _owes(self, index: int) -> bool:
        return index in self._asked or index in self._ahead or self._recalled[index] > 0

    def _handle(self, channel: Channel, header: protocol.Header, payload: memoryview) -> None:
        transfer = self._transfer
        if header.kind == protocol.DATA:
            self._other_bytes += protocol.HEADER_BYTES
            self._take(channel, header, payload)
            return
        if header.kind == protocol.PACKED:
            view = self._unpack(header, payload)
            # The pace of a parent is that of the base, not of the wire.
            self._other_bytes += protocol.HEADER_BYTES + header.length - len(view)
            self._take(channel, header, view)
            return
        self._other_bytes += protocol.HEADER_BYTES + header.length
        if header.kind == protocol.STATE:
            self._told(messages.read_state(payload, self.parent))
        elif header.kind == protocol.LIST_PART:
            self._take_list(header.number, payload)
        elif header.kind == protocol.HAVE:
            self._take_announced(protocol.decode_ranges(payload, transfer.base.number))
        elif header.kind == protocol.NOT_HERE:
            if self._owes(header.number):
                self._cannot_read(header.number, messages.read_reason(payload))
        elif header.kind == protocol.BYE:
            bye = messages.read_bye(payload, self.parent)
            raise PeerRefused(f"{self.parent}: {bye.msg}", peer=self.parent, foreign=bye.foreign)

    def _take_announced(self, ranges: t.Sequence[tuple[int, int]]) -> None:
        transfer = self._transfer
        self._announced += sum(number for _first, number in ranges)
        self._empty += not ranges
        if self._announced > MOST_ANNOUNCED * transfer.base.number or self._empty > MOST_EMPTY:
            raise ProtocolError(f"{self.parent} announces more chunks than there are.", peer=self.parent)
        for first, number in ranges:
            self._have[first : first + number] = b"\1" * number
            for index in self._not_here:
                self._have[index] = 0
            self._ranges.append((first, first + number))
            transfer.chunks.saw(first, number)
            self._below = max(self._below, first + number)
            for index in [one for one in self._ahead if first <= one < first + number and self._have[one]]:
                self._has(index)
        if len(self._ranges) > MOST_RANGES:
            self._ranges = everything(transfer.base.number)
        self._takes_ahead = self._has_list = True
        self._account.note_useful()
        self._note_owes()

    def _take(self, channel: Channel, header: protocol.Header, payload: memoryview) -> None:
        transfer = self._transfer
        self._came(header.number)
        self._takes_ahead = True
        self._account.note_chunk()
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self._events.chunk(header.number, buffer, payload, self)
        self._record.progressed()
        self._note_owes()
        wait = transfer.throttle.take(header.length, self.parent)
        if wait:
            transfer.cancel.wait(min(wait, channel.heartbeat_s))

    def _cannot_read(self, index: int, reason: str) -> None:
        transfer = self._transfer
        error = PeerRefused(f"{self.parent} cannot read chunk {index}: {reason}", peer=self.parent)
        transfer.attempts.note(self.parent, error.message)
        self._came(index)
        self._account.idle_since = transfer.clock()
        self._note_owes()
        self._spoil(index, error)
        self._events.returned([index])
        self._unreadable += 1
        if self._unreadable >= MAX_UNREADABLE:
            raise error

    def _came(self, index: int) -> None:
        if index in self._asked or index in self._ahead:
            self._asked.discard(index)
            self._ahead.discard(index)
        else:
            self._recalled[index] -= 1

    def _told(self, said: messages.State) -> None:
        transfer = self._transfer
        if self._codec is None and transfer.terms.compression and said.codec in codecs():
            self._codec = codecs()[str(said.codec)]()
        if said.state in (FAILED, FOREIGN):
            raise PeerRefused(
                f"{self.parent} has no such base: {said.msg or 'it failed there'}",
                peer=self.parent,
                foreign=said.state == FOREIGN,
            )
        self._turn = said.turn
        # A parent that waits for us on every path has nobody else.
        self.paths = [path for path in said.paths if is_tellable(path) and transfer.terms.host not in path]
        self._holding = said.state == HOLDING
        self._waiting = said.state == WAITING
        now = ROOTED if said.state == HOLDING else said.feed if self.paths else LOST
        if now != self.state:
            self.state = now
            self._account.note_change()
            if self._account.changes > MAX_CHANGES:
                self._broke_word(f"has changed its mind {MAX_CHANGES} times and sent nothing")
        self._note_owes()
        self._events.state()

    def _want_list(self, channel: Channel) -> None:
        if self.state != CONNECTING and self._list is None:
            self._list = self._chunk_list.claim(self)
            if self._list is not None:
                channel.send(protocol.LIST)
        # Without one of the latter it may have no list yet.
        self._account.expect_list(self._list is not None and (self._holding or self._has_list))

    def _take_list(self, offset: int, payload: memoryview) -> None:
        wanted = 0 if self._list is None else min(protocol.LIST_PART_BYTES, len(self._list) - self._list_at)
        if self._list is None or offset != self._list_at or len(payload) != wanted or not wanted:
            raise ProtocolError(f"{self.parent} sent a part of a chunk list that was not asked for.")
        self._chunk_list.part(self, self._list, offset, payload)
        self._list_at += len(payload)
        self._account.list_since = None
        self._account.note_useful()
        if self._list_at == len(self._list):
            data, self._list = self._list, None
            self._chunk_list.bring(self, data)

    def _note_owes(self) -> None:
        self._account.note_owes(bool(self._asked) and self._turn)

    def _ask(self, channel: Channel) -> None:
        picker, order = self._transfer.chunks.picker, self._order
        if picker is None:
            return
        if picker.generation != self._generation or order != self._obeyed:
            self._generation, self._obeyed = picker.generation, order
            self._ranges, self._below, self._front = everything(self._transfer.base.number), self._transfer.base.number, 0
            self._note_wrong()
            if order.recall and self.asked > KEEP:
                self._recall(channel, sorted(self._asked | self._ahead)[KEEP:])
                self._window = KEEP
                return
            self._recall(channel, self._ahead - (picker.of_stripes(self._ahead, order.own) if order.ahead else set()))
        if self._ahead and self._transfer.clock() - self._account.idle_since > AHEAD_IDLE_S:
            self._takes_ahead = False
            self._recall(channel, self._ahead)
        # In lots, so that a request costs little beside its chunks.
        room = self._window - self.asked
        if order.limit is not None:
            room = min(room, order.limit - self._asked_ever)
        elif room < self._window // 4 and self.asked:
            return
        if room <= 0:
            return
        indexes = picker.take(self._have, self._ranges, room, order.own)
        ahead: list[int] = []
        if order.ahead and self._takes_ahead and order.limit is None and len(indexes) < room:
            ahead, self._front = picker.take_ahead(self._front, room - len(indexes), order.own, self._not_here)
        if not indexes and not self._asked and order.help:
            indexes, self._below = picker.take_last(self._have, self._below, self._window // 4, order.help)
        if indexes or ahead:
            self._asked.update(indexes)
            self._ahead.update(ahead)
            self._asked_ever += len(indexes)
            self._note_owes()
            channel.send(protocol.WANT, 0, protocol.encode_indexes([*indexes, *ahead]))

    def _tell_pace(self, channel: Channel) -> None:
        pace = self._order.pace
        if pace != self._told_pace:
            self._told_pace = pace
            channel.send(protocol.PACE, pace)

    def _recall(self, channel: Channel, indexes: t.Collection[int]) -> None:
        """Others may ask for what was asked for here; what is on its way already is taken."""
        if not indexes:
            return
        recalled = list(indexes)
        channel.send(protocol.CANCEL, 0, protocol.encode_indexes(recalled))
        self._asked.difference_update(recalled)
        self._ahead.difference_update(recalled)
        self._recalled.update(recalled)
        self._note_owes()
        self._events.returned(recalled)

    def _broke_word(self, what: str) -> t.NoReturn:
        """Nobody counts on it any more until it has sent a chunk."""
        record = self._record
        record.stalled = record.waited = True
        raise PeerLost(f"{self.parent} {what}.", peer=self.parent)

    def _last_wait_s(self) -> float:
        """The longest that any promise is believed."""
        transfer = self._transfer
        return LAST_WAIT_PART * transfer.terms.patience.pending + transfer.base.size_bytes / SLOWEST_BYTES_PER_S

    def _judge(self) -> None:
        """Leave a parent that has nothing for us and nobody to get it from, or does not keep its word."""
        transfer = self._transfer
        now = transfer.clock()
        if self.state == CONNECTING and now - self._account.begun > STATE_S:
            raise PeerLost(f"{self.parent} has not said what it has of the base for {STATE_S:g} s.", peer=self.parent)
        owed_s = max(OWED_S, transfer.terms.patience.pending, transfer.base.chunk_bytes / FRAME_BYTES_PER_S)
        waits = (self._asked and not self._turn) or (self.state == ROOTED and not transfer.terms.share and not self._holding)
        if self._account.list_since is not None and now - self._account.list_since > LIST_S:
            self._broke_word(f"has the chunk list and has sent nothing of it for {LIST_S:g} s")
        elif self._account.owed_since is not None and now - self._account.owed_since > owed_s:
            self._broke_word(f"has sent no chunk of those that it has for {owed_s:g} s")
        elif waits and now - self._account.idle_since > self._last_wait_s():
            self._broke_word(f"has sent nothing for {now - self._account.idle_since:.0f} s")
        if self._asked:
            return
        picker = transfer.chunks.picker
        if self._spoilt is not None and picker is not None:
            here = sum(not picker.is_done(index) for index in self._not_here)
            if here >= picker.undone > 0:
                raise self._spoilt
        waited = transfer.clock() - self._account.idle_since
        if self.state == LOST and waited > self._order.lost_s:
            raise PeerRefused(f"{self.parent} has no living parent itself.", peer=self.parent)
        if self.state == ROOTED and self._waiting:
            # In a staged run nothing comes before the base is whole.
            if waited > min(transfer.terms.patience.pending, OTHER_RUN_S if transfer.terms.share else math.inf):
                raise PeerRefused(f"{self.parent} waits for another run, which has got nothing new.", peer=self.parent)
            return
        if self.state == ROOTED and transfer.terms.share and not self._holding and waited > transfer.terms.patience.pending:
            # Whoever is next to the cause leaves it much sooner; this is for causes that nobody thought of.
            self._record.stalled = True
            raise PeerRefused(f"{self.parent} has got nothing new for {waited:.0f} s.", peer=self.parent)
        if self.state == PENDING:
            record = self._record
            patience = transfer.terms.patience.lost if record.waited else transfer.terms.patience.pending
            if waited > patience:
                record.waited = True
                raise PeerRefused(f"{self.parent} has not begun after {patience:g} s.", peer=self.parent)
