# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The node: one process for a host and a run. Its jobs bring this host's bases; it serves them to others."""

from __future__ import annotations

import socket
import threading
import typing as t
import zlib

from ..._text import clean
from ..clock import Clock
from ..download.transfer import Attempt
from ..endpoints import Endpoint
from ..errors import Cancelled, PeerLost
from ..measure.prober import Prober
from ..states import FAILED, FOREIGN, LOST, PENDING, WAITING
from ..status import table
from ..status.gossip import Gossip
from ..upload.link_meter import LinkMeter
from ..upload.offer import Offer
from ..upload.rate_limits import Limits
from ..upload.session import Session
from ..wire import messages, protocol
from ..wire.channel import Channel
from ..wire.compression import codecs
from ..wire.peer_limits import PeerLimits
from ..wire.tls import Contexts
from ..wire.transport import CONNECT_S, Acceptor, Address, Transport
from .base_store import BaseRequest, BaseStore
from .job import Job
from .settings import GUARD_SILENT_S, STAGED, Settings

# Bases that one peer may ask for before this host has been given its part of the plan.
MAX_EARLY = 256

# Why a node ended.
STOPPED = "stopped"
CANCELLED = "the run was cancelled on the controller"

# Threads wait for sockets and disks; deep stacks would only count as memory.
THREAD_STACK_BYTES = 512 * 1024


class Identity(t.NamedTuple):
    """Of a node. ``born`` grows with each node that this host has in the run."""

    run: str
    host: str
    born: int = 0


class Node:
    """Owns the sources and sinks of one host in one run.

    :param listener: bound and listening.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        identity: Identity,
        listener: socket.socket,
        contexts: Contexts,
        shelf: BaseStore,
        clock: Clock,
        settings: Settings = Settings(),  # noqa: B008 - immutable
        log: t.Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.run_id, self.host = identity.run, identity.host
        self.address, self.port = listener.getsockname()[:2]
        self.shelf = shelf
        self.clock = clock
        self.settings = settings
        # Much of it was said by others.
        self.log: t.Callable[[str], None] = lambda line: log(clean(line))
        # Lets tests put a faulty endpoint around a pool's.
        self.wrap_endpoint: t.Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint
        self.mode = STAGED
        self.stopping = threading.Event()
        self.meter = LinkMeter(clock)
        self.limits = Limits(clock)
        self.prober = Prober(self.host, self.connect, clock, self.stopping)
        self.news = Gossip(self.host, identity.born, clock, self.connect, self.stopping, self._observed)
        self.peer_limits = PeerLimits(clock, self.log)
        self.transport = Transport(contexts, self.host, str(self.address), clock, self.peer_limits, settings.silence_s)
        self.door = Acceptor(listener, self.transport, self._welcome, self.stopping, clock, self.log, self.peer_limits)
        self._peers: dict[str, Address] = {}
        self._jobs: dict[str, Job] = {}
        self._offers: dict[str, Offer] = {}
        self._asked_early: dict[str, set[str]] = {}
        self._started = False
        self._interrupted = False
        self._changed = threading.Condition()
        self._born = clock()
        self._contact = clock()
        # When the guard on this host spoke last, and when any guard of the run was heard.
        self._guard_at: float | None = None
        self._machines: tuple[int, ...] = ()
        self._guarded_at: float | None = None
        self._door_thread = threading.Thread(target=self.door.run, name="door", daemon=True)

    # -- life ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._door_thread.start()

    def live(self) -> str:
        """Until the node is stopped, or has no reason to live any more; the reason for its end."""
        while not self.stopping.wait(min(1.0, self.settings.linger_s / 4)):
            now = self.clock()
            if self._interrupted:
                return "interrupted by a signal"
            if now - self._born > self.settings.ttl_s:
                return f"time to live of {self.settings.ttl_s:g} s passed"
            if self._abandoned(now):
                return CANCELLED
            # The controller may be slow: until the node has its part, the end of its work counts for nothing.
            if not self._started:
                if self.settings.part_s is not None and now - self._contact > self.settings.part_s:
                    return f"the controller gave it no part of a plan within {self.settings.part_s:g} s"
                continue
            # A host that has everything stays as long as others of the fleet have not: they may still need it, and the controller
            # asks in the order of its plan.
            if self.door.peers > self.news.served or not self.settled or not self.news.settled():
                self.touch()
            if now - self._contact > self.settings.linger_s:
                return f"no contact for {self.settings.linger_s:g} s after the last work"
        return STOPPED

    def guard(self) -> None:
        """A guard on this host sees that the run is not cancelled, and says so every GUARD_S.

        A run that was never guarded needs no guard. One that was ends when no host has had a guard for ``lease_s``.
        """
        fresh = self._guard_at is None
        self._guard_at = self.clock()
        if fresh:
            self.news.note_change()

    def note_machines(self, counts: tuple[int, ...]) -> None:
        """How far the job of this host is, for the others to know. See states.MACHINES."""
        if counts != self._machines:
            self._machines = counts
            self.news.note_change()

    @property
    def _guarded_here(self) -> bool:
        return self._guard_at is not None and self.clock() - self._guard_at <= GUARD_SILENT_S

    def _abandoned(self, now: float) -> bool:
        if self.news.guarded():
            self._guarded_at = now
        return self._guarded_at is not None and now - self._guarded_at > self.settings.lease_s

    def stop(self) -> None:
        """Ask for the end."""
        self.stopping.set()

    def stop_soon(self) -> None:
        """The same for a signal handler, which must not take a lock that the interrupted thread may hold."""
        self._interrupted = True

    def close(self) -> None:
        """End everything. Partials keep what is verified."""
        self.stopping.set()
        self.door.close()
        for job in list(self._jobs.values()):
            job.abort()
        self.wait(2.0)
        with self._changed:
            self._changed.notify_all()

    def touch(self) -> None:
        self._contact = self.clock()

    # -- the plan ------------------------------------------------------------------------------------------------

    def start(
        self,
        requests: t.Sequence[BaseRequest],
        peers: t.Mapping[str, Address],
        mode: str = STAGED,
    ) -> bool:
        """Give the node its part of the plan, or a new one; whether anything changed."""
        fresh: list[Job] = []
        self.touch()
        with self._changed:
            changed = self.set_peers(peers) or mode != self.mode
            self.mode = mode
            for request in requests:
                offer = self._offer(request.sha256)
                offer.order.set(request.children)
                job = self._jobs.get(request.sha256)
                if job is not None and job.state != FAILED:
                    changed = job.set_route(request) or changed
                    continue
                if job is not None:
                    offer.set_view(WAITING, PENDING)
                job = Job(self, request, offer)
                self._jobs[request.sha256] = job
                fresh.append(job)
            self._started = True
            for sha256, offer in self._offers.items():
                if sha256 not in self._jobs:
                    offer.set_view(FOREIGN, LOST, (), "it is not in this host's part of the plan")
        for job in fresh:
            job.start()
        self.news.begin(parent for job in list(self._jobs.values()) for parent in job.request.route.hosts)
        return changed or bool(fresh)

    def set_peers(self, peers: t.Mapping[str, Address]) -> bool:
        """Where the nodes of the run listen; whether any of it is new."""
        fresh = {host: at for host, at in peers.items() if self._peers.get(host) != at}
        self._peers.update(fresh)
        self.news.set_hosts(fresh)
        return bool(fresh)

    @property
    def settled(self) -> bool:
        with self._changed:
            return self.prober.idle and all(job.settled for job in self._jobs.values())

    def wait(self, seconds: float) -> bool:
        """Until every base is holding or failed; whether that is so."""
        deadline = self.clock() + seconds
        with self._changed:
            while not all(job.settled for job in self._jobs.values()):
                left = deadline - self.clock()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def progress(self) -> dict[str, t.Any]:
        with self._changed:
            jobs = dict(self._jobs)
        return {
            "run": self.run_id,
            "host": self.host,
            "address": self.address,
            "port": self.port,
            "started": self._started,
            "mode": self.mode,
            "limits": self.limits.told(),
            "bases": {sha256: self._with_violations(job.progress()) for sha256, job in jobs.items()},
        }

    def _with_violations(self, progress: dict[str, t.Any]) -> dict[str, t.Any]:
        """What peers did that they must not is told with each base: they may have held up any of them."""
        broken = [Attempt(peer, sentence)._asdict() for peer, sentence in self.peer_limits.violations]
        return {**progress, "attempts": [*progress["attempts"], *broken]}

    def await_base(self, sha256: str | None) -> None:
        """A base appears in its pool after its parent, if that is on its way too. :raises Cancelled:"""
        with self._changed:
            while sha256 in self._jobs and not self._jobs[str(sha256)].settled:
                if self.stopping.is_set():
                    raise Cancelled("The node is being stopped.")
                self._changed.wait(1.0)

    def note_change(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self.news.note_change()

    def _observed(self) -> dict[str, t.Any]:
        """What the news tell of this host."""
        with self._changed:
            jobs = dict(self._jobs)
            started = self._started
        return {
            "started": started,
            "guarded": self._guarded_here,
            "machines": self._machines,
            "settled": all(job.settled for job in jobs.values()),
            "bases": {sha256: job.progress() for sha256, job in jobs.items()},
        }

    # -- peers ---------------------------------------------------------------------------------------------------

    def connect(self, host: str, timeout: float = CONNECT_S) -> Channel:
        """A channel to a peer of the run. :raises RelayError:"""
        at = self._peers.get(host)
        if at is None:
            raise PeerLost(f"{host} is not among the peers of this run.", peer=host)
        return self.transport.connect(host, at, timeout)

    def others(self) -> list[str]:
        """The other hosts of the run; each host has them in another order, so that they do not all ask the same one."""
        hosts = sorted(host for host in self._peers if host != self.host)
        start = zlib.crc32(self.host.encode()) % len(hosts) if hosts else 0
        return hosts[start:] + hosts[:start]

    def _offer(self, sha256: str) -> Offer:
        if sha256 not in self._offers:
            self._offers[sha256] = Offer(self.host, sha256, self.clock)
        return self._offers[sha256]

    def _welcome(self, channel: Channel, known: t.Callable[[], None]) -> None:
        header, payload = channel.receive(protocol.TO_BEGIN)
        if header.kind == protocol.OPEN:
            asked = messages.read_open(payload, channel.peer)
            known()
            self.touch()
            self._serve(channel, asked)
        elif header.kind == protocol.PROBE:
            probe = messages.read_probe(payload, channel.peer)
            known()
            self.touch()
            self.prober.attend(channel, probe)
        else:
            told = table.decode(payload, channel.peer)
            known()
            if not told.own:
                self.touch()
            self.news.attend(channel, told)

    def _serve(self, channel: Channel, asked: messages.Open) -> None:
        offer, job = self._wanted(channel.peer, asked.base)
        if offer is None:
            bye = {"msg": "that base is not in this host's part of the plan", "foreign": True}
            channel.send_message(protocol.BYE, bye)
            return
        if job is not None and job.request.metadata["chunks_sha256"] != asked.chunks_sha256:
            channel.send_message(protocol.BYE, {"msg": "this host has another chunk list for that base"})
            return
        Session(
            channel,
            offer,
            self.limits,
            self.stopping,
            self.meter,
            self._codec(asked.codecs),
            lambda: self.peer_limits.served(channel.peer),
        ).run()

    def _wanted(self, peer: str, sha256: str) -> tuple[Offer | None, Job | None]:
        """Before it has its part of the plan a host cannot know what it will serve: it remembers what it is asked for."""
        with self._changed:
            offer = self._offers.get(sha256)
            if offer is None and not self._started:
                early = self._asked_early.setdefault(peer, set())
                if len(early) < MAX_EARLY and len(self._offers) < protocol.MAX_ITEMS:
                    early.add(sha256)
                    offer = self._offer(sha256)
            return offer, self._jobs.get(sha256)

    def _codec(self, theirs: t.Sequence[str]) -> str | None:
        """How chunks may be compressed for a child; None for not at all."""
        if not self.settings.compression:
            return None
        return next((name for name in codecs() if name in theirs), None)
