# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A member of a run with a valid certificate that misbehaves: as a child, as a parent, in the gossip and in probes.

Every attack is a function of a table, so that tests go through all of them; what is random in them comes from a seed.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import ssl
import struct
import threading
import time
import typing as t

from ansible_collections.basecast.fleet.plugins.module_utils._base_format.chunk_list import ChunkList
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import protocol
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire.tls import ENCRYPTED, contexts

HEADER = struct.Struct(">B3xIQ")
PREFACE = protocol.preface()
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[1A\u202e\x9b31m"
TEXTS = ["", "x", ESCAPES, "x" * 70_000, "\ud800", "\0", "../../etc", "NaN", "９"]
NUMBERS: list[t.Any] = [-1, 0, 1, 2**31, 2**62, 2**63, 2**64, 10**40, 1e308, -0.5, float("nan"), float("inf"), True, None]
KINDS = [*range(24), 255]


class Gone(Exception):
    """The other side has ended the connection."""


class Line:
    """A greeted connection. What comes is only read when an attack asks for it."""

    def __init__(self, stream: ssl.SSLSocket) -> None:
        self.stream = stream

    def raw(self, data: bytes) -> None:
        try:
            self.stream.sendall(data)
        except (OSError, ValueError) as error:
            raise Gone from error

    def frame(self, kind: int, number: int = 0, payload: bytes = b"", length: int | None = None) -> None:
        """:param length: what the header claims, if it lies."""
        self.raw(HEADER.pack(kind & 255, len(payload) if length is None else length, number & (2**64 - 1)) + payload)

    def message(self, kind: int, value: t.Any) -> None:
        self.frame(kind, 0, value if isinstance(value, bytes) else json.dumps(value).encode("utf-8", "surrogatepass"))

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = self.stream.recv(count - len(data))
            except (OSError, ValueError) as error:
                raise Gone from error
            if not part:
                raise Gone
            data += part
        return data

    def read(self) -> tuple[int, int, bytes]:
        kind, length, number = HEADER.unpack(self.exactly(HEADER.size))
        return kind, number, self.exactly(length)

    def await_kind(self, kind: int) -> bytes:
        while True:
            found, _number, payload = self.read()
            if found == kind:
                return payload

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.close()


class Rogue:
    """:param pem: its credentials, as relay_certificates makes them.
    :param base: what the run relays, so that it can ask for it, and lie about it.
    """

    def __init__(self, name: str, pem: t.Mapping[str, str], base: t.Mapping[str, t.Any], seed: int = 1) -> None:
        self.name = name
        self.base = base
        self.random = random.Random(seed)
        self.contexts = contexts(pem["ca"], pem["certificate"], pem["key"])
        self.lines: list[Line] = []
        self.listener: socket.socket | None = None
        self.ended = threading.Event()
        # When the victim ended the last connection, on monotonic time.
        self.dropped: list[float] = []

    def connect(self, target: tuple[str, int], preface: bytes = PREFACE) -> Line:
        plain = socket.create_connection(target, timeout=5)
        try:
            line = Line(self.contexts.client.wrap_socket(plain))
            line.raw(preface)
            line.exactly(len(PREFACE)) if preface == PREFACE else None
        except (OSError, Gone) as error:
            plain.close()
            raise Gone from error
        self.lines.append(line)
        return line

    def opened(self, target: tuple[str, int]) -> Line:
        line = self.connect(target)
        line.message(protocol.OPEN, self.opening)
        return line

    @property
    def opening(self) -> dict[str, t.Any]:
        return {"base": self.base["sha256"], "chunks_sha256": self.base["chunks_sha256"]}

    @property
    def count(self) -> int:
        return -(-int(self.base["size_bytes"]) // int(self.base["chunk_bytes"]))

    def attack(self, name: str, target: tuple[str, int], seconds: float) -> int:
        """Until that time is over; how often the victim had to end a connection."""
        until = time.monotonic() + seconds
        drops = 0
        try:
            while time.monotonic() < until:
                try:
                    ATTACKS[name](self, target, until)
                except (Gone, OSError):
                    drops += 1
                    time.sleep(0.02)
        finally:
            for line in self.lines:
                line.close()
            self.lines.clear()
        return drops

    # -- as a parent -----------------------------------------------------------------------------------------------

    def serve(self, name: str, chunks: ChunkList, data: bytes) -> tuple[str, int]:
        """Behave like that towards everybody who asks for the base; where."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, args=(name, chunks, data), daemon=True).start()
        return self.listener.getsockname()[:2]

    def _accept(self, name: str, chunks: ChunkList, data: bytes) -> None:
        assert self.listener is not None
        while not self.ended.is_set():
            try:
                plain, _address = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(name, plain, chunks, data), daemon=True).start()

    def _answer(self, name: str, plain: socket.socket, chunks: ChunkList, data: bytes) -> None:
        try:
            plain.settimeout(20)
            line = Line(self.contexts.server.wrap_socket(plain, server_side=True))
            assert line.stream.selected_alpn_protocol() == ENCRYPTED
            self.lines.append(line)
            line.raw(PREFACE)
            line.exactly(len(PREFACE))
            kind, _number, _payload = line.read()
            if kind == protocol.OPEN:
                PARENTS[name](Serving(self, line, chunks, data))
        except (OSError, Gone):
            self.dropped.append(time.monotonic())
        finally:
            plain.close()

    def close(self) -> None:
        self.ended.set()
        if self.listener is not None:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        for line in self.lines:
            line.close()


Attack = t.Callable[[Rogue, tuple[str, int], float], None]


def going(until: float) -> bool:
    return time.monotonic() < until


def hold(line: Line, until: float, ping: bool = True) -> None:
    """Stay, and look alive."""
    while going(until):
        if ping:
            line.frame(protocol.PING)
        time.sleep(0.2)


# -- as a child, or anybody who connects -------------------------------------------------------------------------------


def many_connections(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    for _number in range(1033):
        if not going(until):
            return
        with contextlib.suppress(Gone, OSError):
            rogue.opened(target)
    for line in list(rogue.lines):
        with contextlib.suppress(Gone):
            line.frame(protocol.PING)


def handshakes_only(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    for _number in range(200):
        if going(until):
            rogue.connect(target)


def half_handshakes(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    sockets: list[socket.socket] = []
    while going(until) and len(sockets) < 500:
        sockets.append(socket.create_connection(target, timeout=5))
        sockets[-1].send(b"\x16\x03\x01\x02\x00\x01")
    for one in sockets:
        one.close()


def reconnects(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    while going(until):
        rogue.opened(target).close()


def headers_of_16_mib(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    for _number in range(40):
        line = rogue.opened(target)
        with contextlib.suppress(Gone):
            line.frame(protocol.DATA, 0, b"x" * 64, length=16 * 1024 * 1024)
    time.sleep(0.5)
    rogue.lines[-1].frame(protocol.PING)
    rogue.lines[-1].read()


def largest_of_each_kind(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    for kind in KINDS:
        for length in (0, 65536, 16 * 1024 * 1024, 2**32 - 1):
            if not going(until):
                return
            line = rogue.opened(target)
            with contextlib.suppress(Gone):
                line.frame(kind, 0, b"x" * 64, length=length)


def flood_of(kind: int, payload: t.Callable[[Rogue], bytes] = lambda _rogue: b"") -> Attack:
    def attack(rogue: Rogue, target: tuple[str, int], until: float) -> None:
        line = rogue.opened(target)
        line.await_kind(protocol.HAVE)
        frame = HEADER.pack(kind, len(payload(rogue)), 1) + payload(rogue)
        while going(until):
            line.raw(frame * max(1, 65536 // len(frame)))

    return attack


def indexes(rogue: Rogue) -> bytes:
    return struct.pack(">4096Q", *(rogue.random.randrange(rogue.count) for _number in range(4096)))


def wants_and_never_reads(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    many = min(rogue.count, 4096)
    for _number in range(64):
        line = rogue.opened(target)
        line.frame(protocol.WANT, 0, struct.pack(f">{many}Q", *range(many)))
    while going(until):
        time.sleep(0.1)


def drops(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    """Frames byte by byte, on many connections."""
    lines = [rogue.opened(target) for _number in range(32)]
    frame = HEADER.pack(protocol.WANT, 32768, 0)
    for byte in frame * 1000:
        if not going(until):
            return
        for line in lines:
            line.raw(bytes((byte,)))
        time.sleep(0.05)


def early_bases(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    while going(until):
        line = rogue.connect(target)
        line.message(protocol.OPEN, {"base": f"{rogue.random.getrandbits(256):064x}", "chunks_sha256": "0" * 64})
        line.read()
        line.close()


def deep_messages(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    for kind in (protocol.OPEN, protocol.PROBE, protocol.NEWS):
        for payload in (b"[" * 65536, b'{"a":' * 10000, b'{"base":' + b"9" * 60000 + b"}", b"\xff" * 100, b'{"hosts":NaN}'):
            line = rogue.connect(target)
            with contextlib.suppress(Gone):
                line.message(kind, payload)


def any_value(rogue: Rogue, depth: int = 0) -> t.Any:
    pick = rogue.random.randrange(6 if depth < 4 else 3)
    if pick == 0:
        return rogue.random.choice(NUMBERS)
    if pick in (1, 2):
        return rogue.random.choice(TEXTS)[: 2 ** rogue.random.randrange(12)]
    if pick == 3:
        return [any_value(rogue, depth + 1) for _number in range(rogue.random.randrange(5))]
    keys = ["base", "chunks_sha256", "codecs", "state", "feed", "paths", "hosts", "again", "own", "round", "payload_bytes", "msg", "x"]
    return {rogue.random.choice(keys): any_value(rogue, depth + 1) for _number in range(rogue.random.randrange(5))}


def any_message(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    """Right fields with wrong values, and wrong fields."""
    whole: dict[int, dict[str, t.Any]] = {
        protocol.OPEN: {**rogue.opening, "codecs": ["deflate"]},
        protocol.PROBE: {"round": 1, "payload_bytes": 1000, "max_s": 0.1, "knock": True},
        protocol.NEWS: {"hosts": {"A": [0.0, 1, 1, 1, 1, {}]}, "again": 0, "own": 0},
    }
    while going(until):
        kind = rogue.random.choice(list(whole))
        message = dict(whole[kind])
        message[rogue.random.choice([*message, "more"])] = any_value(rogue)
        line = rogue.connect(target)
        with contextlib.suppress(Gone):
            line.message(kind, message)
            line.frame(rogue.random.choice(KINDS), rogue.random.getrandbits(64), rogue.random.randbytes(rogue.random.randrange(200)))
        line.close()


def fully_told(rogue: Rogue, hosts: t.Iterable[str]) -> bytes:
    """As much as fits into a frame, new each time."""
    number = rogue.random.randrange(2**40)
    bases = {f"{nth:064x}": ["failed", 1, 1, 1, 1e9, 0, ["A"] * 8, "x" * 160] for nth in range(24)}
    told = {host: [0.0, number, number, 1, 1, bases] for host in hosts}
    return json.dumps({"hosts": told, "again": 1}, separators=(",", ":")).encode()


def news_flood(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    lines = [rogue.connect(target) for _number in range(64)]
    while going(until):
        for line in lines:
            with contextlib.suppress(Gone):
                line.frame(protocol.NEWS, 0, fully_told(rogue, ["A", "S", rogue.name]))
    raise Gone


def lies_about_others(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    """A is done, or has failed, says its newest node of all times."""
    line = rogue.connect(target)
    sha256 = rogue.base["sha256"]
    while going(until):
        born = rogue.random.choice([0, 1, 2, 100, 86_400_000, 2**40, 2**61, 2**62 - 2])
        for state, settled in (("failed", 1), ("holding", 1)):
            base = [state, 1, 1, 0, 0.0, None, [], ESCAPES]
            told = {"A": [0.0, born, rogue.random.randrange(2**40), 1, settled, {sha256: base}]}
            line.message(protocol.NEWS, {"hosts": told, "again": 0})
        time.sleep(0.05)


def news_of_strangers(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    line = rogue.connect(target)
    while going(until):
        hosts = {f"host{rogue.random.getrandbits(60)}": [0.0, 1, 1, 1, 1, {}] for _number in range(500)}
        line.message(protocol.NEWS, {"hosts": hosts})
        time.sleep(0.02)


def number_too_large(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    line = rogue.connect(target)
    line.message(protocol.NEWS, {"hosts": {"A": [0.0, 2**63, 1, 1, 1, {}]}})
    line.await_kind(protocol.DATA)


def probes_for_ever(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    number = 0
    while going(until):
        line = rogue.connect(target)
        number += 1
        line.message(protocol.PROBE, {"round": number, "payload_bytes": 2**30, "max_s": 3600.0})
        with contextlib.suppress(Gone):
            for _frame in range(50):
                line.frame(protocol.PROBE_DATA, 0, bytes(16384))


def knocks(rogue: Rogue, target: tuple[str, int], until: float) -> None:
    while going(until):
        line = rogue.connect(target)
        line.message(protocol.PROBE, {"round": 1, "knock": True})
        line.read()
        line.close()


ATTACKS: dict[str, Attack] = {
    "1,033 connections": many_connections,
    "handshakes and nothing after them": handshakes_only,
    "half handshakes": half_handshakes,
    "connects again and again": reconnects,
    "40 headers that announce 16 MiB": headers_of_16_mib,
    "every kind of frame in every length": largest_of_each_kind,
    "asks for all on 64 connections, reads nothing": wants_and_never_reads,
    "frames by drops on 32 connections": drops,
    "bases that nobody knows": early_bases,
    "deep, long and broken messages": deep_messages,
    "random messages and frames": any_message,
    "flood of PING": flood_of(protocol.PING),
    "flood of WANT": flood_of(protocol.WANT, indexes),
    "flood of CANCEL": flood_of(protocol.CANCEL, indexes),
    "flood of PACE": flood_of(protocol.PACE),
    "flood of LIST": flood_of(protocol.LIST),
    "flood of gossip on 64 lines": news_flood,
    "gossip of strangers": news_of_strangers,
    "lies about another host": lies_about_others,
    "a number of 2^63": number_too_large,
    "probes for ever": probes_for_ever,
    "knocks for ever": knocks,
}


# -- as a parent -------------------------------------------------------------------------------------------------------


class Serving:
    """One child that it serves badly."""

    def __init__(self, rogue: Rogue, line: Line, chunks: ChunkList, data: bytes) -> None:
        self.rogue, self.line, self.chunks, self.data = rogue, line, chunks, data
        self.wanted: list[int] = []

    def state(self, state: str = "holding", feed: str = "rooted", **more: t.Any) -> None:
        told = {"state": state, "feed": feed, "paths": [[self.rogue.name]], "msg": "", "turn": True}
        self.line.message(protocol.STATE, {**told, **more})

    def list(self) -> None:
        self.line.await_kind(protocol.LIST)
        for offset in range(0, self.chunks.list_bytes, protocol.LIST_PART_BYTES):
            self.line.frame(protocol.LIST_PART, offset, self.chunks.part(offset, protocol.LIST_PART_BYTES))

    def ready(self) -> None:
        """As a good parent up to the first request for chunks."""
        self.state()
        self.list()
        self.line.frame(protocol.HAVE, 0, protocol.encode_whole(self.chunks.count))
        self.wanted = protocol.decode_indexes(self.line.await_kind(protocol.WANT), self.chunks.count)

    def chunk(self, index: int) -> bytes:
        size = int(self.rogue.base["chunk_bytes"])
        return self.data[index * size : (index + 1) * size]

    def alive(self, seconds: float = 60.0) -> None:
        """Show it for so long, and read what comes so that nothing is stuck."""
        self.line.stream.settimeout(0.1)
        until = time.monotonic() + seconds
        while going(until) and not self.rogue.ended.is_set():
            self.line.frame(protocol.PING)
            with contextlib.suppress(socket.timeout, TimeoutError):
                try:
                    if not self.line.stream.recv(65536):
                        raise Gone
                except TimeoutError:
                    continue
                except OSError as error:
                    raise Gone from error


Behave = t.Callable[[Serving], None]


def says_nothing(one: Serving) -> None:
    one.alive()


def says_holding_and_gives_no_list(one: Serving) -> None:
    one.state()
    one.line.frame(protocol.HAVE)
    one.alive()


def gives_the_list_by_drops(one: Serving) -> None:
    one.state()
    one.line.await_kind(protocol.LIST)
    one.line.raw(HEADER.pack(protocol.LIST_PART, one.chunks.list_bytes, 0))
    for byte in one.chunks.part(0, one.chunks.list_bytes):
        one.line.raw(bytes((byte,)))
        time.sleep(0.2)


def gives_small_parts_of_the_list(one: Serving) -> None:
    one.state()
    one.line.await_kind(protocol.LIST)
    for offset in range(one.chunks.list_bytes):
        one.line.frame(protocol.LIST_PART, offset, one.chunks.part(offset, 1))
        time.sleep(0.2)


def gives_another_list(one: Serving) -> None:
    one.state()
    one.line.await_kind(protocol.LIST)
    one.line.frame(protocol.LIST_PART, 0, bytes(one.chunks.list_bytes))
    one.alive()


def gives_no_chunk(one: Serving) -> None:
    one.ready()
    one.alive()


def gives_the_first_chunk_by_drops(one: Serving) -> None:
    one.ready()
    chunk = one.chunk(one.wanted[0])
    one.line.raw(HEADER.pack(protocol.DATA, len(chunk), one.wanted[0]))
    for byte in chunk:
        one.line.raw(bytes((byte,)))
        time.sleep(0.2)


def gives_wrong_bytes(one: Serving) -> None:
    one.ready()
    for index in one.wanted:
        one.line.frame(protocol.DATA, index, bytes(len(one.chunk(index))))
    one.alive()


def gives_chunks_that_nobody_asked_for(one: Serving) -> None:
    one.ready()
    one.line.frame(protocol.DATA, one.chunks.count - 1, one.chunk(one.chunks.count - 1))
    one.line.frame(protocol.DATA, 2**63, bytes(16))
    one.alive()


def announces_16_mib(one: Serving) -> None:
    one.ready()
    one.line.frame(protocol.DATA, one.wanted[0], b"x", length=16 * 1024 * 1024)
    one.alive()


def gives_a_bomb(one: Serving) -> None:
    one.ready()
    one.line.frame(protocol.PACKED, one.wanted[0], b"x" * 2000)
    one.alive()


def cannot_read_anything(one: Serving) -> None:
    one.ready()
    for index in one.wanted * 3:
        one.line.frame(protocol.NOT_HERE, index, ESCAPES.encode())
    one.alive()


def changes_its_mind(one: Serving) -> None:
    """Each change once was a sign that more would come."""
    until = time.monotonic() + 60
    while going(until):
        for feed in ("pending", "rooted", "lost"):
            one.state("fetching", feed)
            time.sleep(0.05)


def floods_states(one: Serving) -> None:
    number = 0
    while not one.rogue.ended.is_set():
        number += 1
        one.state("fetching", "rooted", msg="x" * 400, paths=[[one.rogue.name, f"kvm{number}"]])


def announces_without_end(one: Serving) -> None:
    one.state("fetching")
    one.list()
    while not one.rogue.ended.is_set():
        one.line.frame(protocol.HAVE, 0, struct.pack(">QQ", 0, one.chunks.count) * 4096)


def floods_pings(one: Serving) -> None:
    one.state()
    while not one.rogue.ended.is_set():
        one.line.raw(HEADER.pack(protocol.PING, 0, 0) * 4096)


def says_goodbye_in_colours(one: Serving) -> None:
    one.line.message(protocol.BYE, {"msg": ESCAPES})
    one.alive(1.0)


def says_what_cannot_be_read(one: Serving) -> None:
    one.line.frame(protocol.STATE, 0, b'{"paths":' + b"[" * 60000)
    one.alive()


def says_what_is_not_a_state(one: Serving) -> None:
    one.line.message(protocol.STATE, {"state": one.rogue.random.choice(NUMBERS), "feed": ESCAPES, "paths": [[None]]})
    one.alive()


def sends_what_children_send(one: Serving) -> None:
    one.state()
    one.line.frame(protocol.WANT, 0, bytes(8))
    one.alive()


PARENTS: dict[str, Behave] = {
    "says nothing": says_nothing,
    "says holding and gives no list": says_holding_and_gives_no_list,
    "gives the list by drops": gives_the_list_by_drops,
    "gives the list in parts of a byte": gives_small_parts_of_the_list,
    "gives another list": gives_another_list,
    "gives no chunk": gives_no_chunk,
    "gives the first chunk by drops": gives_the_first_chunk_by_drops,
    "gives wrong bytes": gives_wrong_bytes,
    "gives chunks that nobody asked for": gives_chunks_that_nobody_asked_for,
    "announces a chunk of 16 MiB": announces_16_mib,
    "gives a compressed chunk unasked": gives_a_bomb,
    "cannot read anything": cannot_read_anything,
    "changes its mind": changes_its_mind,
    "floods states": floods_states,
    "announces without end": announces_without_end,
    "floods pings": floods_pings,
    "says goodbye in colours": says_goodbye_in_colours,
    "says what cannot be read": says_what_cannot_be_read,
    "says what is not a state": says_what_is_not_a_state,
    "sends what children send": sends_what_children_send,
}
