# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The node: one process for a host and a run. It fetches this host's bases and serves them to others."""

from __future__ import annotations

import os
import socket
import threading
import typing as t
import zlib

from ..._base_format.chunk_list import ChunkList, Listed
from ..._base_format.file_digest import FileDigest
from ..._text import clean
from ..clock import Clock, Stopwatch
from ..download.fetcher import Attempt, Fetch, storage_failure
from ..download.parent_selection import Patience, Route
from ..endpoints import Endpoint
from ..endpoints.files import PartialFile, WholeFile
from ..endpoints.operations import Recheck
from ..errors import BadChunkList, Cancelled, PartialInUse, PeerLost, RelayError, StorageFailed, WrongDigest
from ..measure.prober import Prober
from ..states import FAILED, FETCHING, FOREIGN, HOLDING, LOST, PENDING, WAITING
from ..status import table
from ..status.gossip import Gossip
from ..upload.link_meter import LinkMeter
from ..upload.rate_limits import Limits
from ..upload.session import Offer, Session
from ..upload.shared_partial import Place, SharedPartial, keep_list
from ..wire import messages, protocol
from ..wire.channel import SILENCE_S, Channel, describe
from ..wire.compression import codecs
from ..wire.peer_limits import PeerLimits
from ..wire.tls import Contexts
from ..wire.transport import CONNECT_S, Acceptor, Address, Transport

# A run that is guarded (see Node.guard) ends when no guard was heard for so long. A guard speaks every GUARD_S, and counts as
# gone after GUARD_SILENT_S. Together with what it takes until everybody has heard of it this stays under 30 seconds.
GUARD_S = 2.0
GUARD_SILENT_S = 6.0
LEASE_S = 15.0

STAGED, CUT_THROUGH = "staged", "cut_through"

# Bases that one peer may ask for before this host has been given its part of the plan.
MAX_EARLY = 256

# Why a node ended.
STOPPED = "stopped"
CANCELLED = "the run was cancelled on the controller"

# How often the lock of a partial that another process holds is tried.
LOCK_RETRY_S = 0.5

# How often the same base is read back with wrong bytes in it before the pool counts as broken.
MAX_MENDS = 3

# Threads wait for sockets and disks; deep stacks would only count as memory.
THREAD_STACK_BYTES = 512 * 1024


class Held(t.NamedTuple):
    """Paths of a base that lies in a pool."""

    disk: str
    chunks: str


class Lease(t.Protocol):
    """The right to write a partial, until one of the last three is called."""

    disk: str
    map: str

    def digest(self) -> FileDigest:
        """Of ``disk``, which is there by then; kept up to date by whoever writes, finished by ``publish``."""

    def publish(self, metadata: dict[str, t.Any], chunks: Listed) -> Held:
        """The caller has ended its write access. :raises WrongDigest: the file is not the base; RelayError: OSError:"""

    def discard(self) -> None: ...

    def close(self) -> None: ...


class BaseStore(t.Protocol):
    """The pools of this host, as far as the node needs them."""

    def held(self, pool_path: str, sha256: str) -> Held | None: ...

    def place(self, pool_path: str, sha256: str) -> Place:
        """Where the partial of a base is, whoever holds it."""

    def claim(self, pool_path: str, sha256: str) -> Lease:
        """:raises PartialInUse: another process is fetching it; RelayError: OSError:"""


class Settings(t.NamedTuple):
    """Times in seconds."""

    ttl_s: float = 14400.0
    linger_s: float = 300.0
    silence_s: float = SILENCE_S
    patience: Patience = Patience()
    compression: bool = False
    lease_s: float = LEASE_S
    # How long a node waits for its part after the controller was heard; None: as long as it may live.
    part_s: float | None = None


class BaseRequest(t.NamedTuple):
    """One base of this host's part of the plan; a route without choices means that the base is here."""

    metadata: dict[str, t.Any]
    pool: str
    pool_path: str
    route: Route
    children: t.Sequence[str] = ()

    @property
    def sha256(self) -> str:
        return str(self.metadata["sha256"])


class Job:
    """One base on this host: what is known of it, and the thread that brings it."""

    def __init__(self, node: Node, request: BaseRequest, offer: Offer) -> None:
        self.request = request
        self.offer = offer
        self._node = node
        self._lock = threading.Lock()
        self._watch = Stopwatch(node.clock)
        self._fetch: Fetch | None = None
        self._attempts: list[Attempt] = []
        self._state = WAITING
        self._msg = ""
        self._bytes = 0
        self._received_from: dict[str, int] = {}
        self._received_before: dict[str, int] = {}
        self._mends = 0
        self._found = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"base-{self.request.sha256[:8]}", daemon=True).start()

    @property
    def settled(self) -> bool:
        return self._state in (HOLDING, FAILED)

    @property
    def state(self) -> str:
        return self._state

    def set_route(self, request: BaseRequest) -> bool:
        """A new plan for a base that is on its way; whether it differs."""
        if request.route == self.request.route:
            return False
        self.request = request
        with self._lock:
            if self._fetch is not None:
                self._fetch.set_route(request.route)
        return True

    def abort(self) -> None:
        with self._lock:
            if self._fetch is not None:
                self._fetch.abort()

    def progress(self) -> dict[str, t.Any]:
        with self._lock:
            fetch = self._fetch
        received = self._received_from if fetch is None else self._received(fetch)
        return {
            "state": self._state,
            "pool": self.request.pool,
            "bytes": self._bytes if fetch is None else fetch.bytes,
            "size_bytes": self.request.metadata["size_bytes"],
            "received_bytes": sum(received.values()),
            "sent_bytes": self.offer.sent_bytes,
            "from": None if fetch is None else fetch.source,
            "parents": [] if fetch is None else fetch.parents,
            "received_from": received,
            "seconds": round(self._watch.seconds, 3),
            "msg": self._msg,
            "attempts": [one._asdict() for one in list(self._attempts)],
        }

    def _run(self) -> None:
        try:
            self._bring()
        except Cancelled:
            self._settle(FAILED, "The node was stopped before the base was complete; what is verified is kept.")
        except RelayError as error:
            self._settle(FAILED, error.message)
        except OSError as error:
            self._settle(FAILED, storage_failure(error).message)
        except Exception as error:  # whatever it is, the base must not stay "fetching" for ever
            self._settle(FAILED, f"Unexpected {type(error).__name__}: {clean(error, 500)}. This is a defect.")
            raise

    def _settle(self, state: str, msg: str = "") -> None:
        self._watch.stop()
        self._state, self._msg = state, msg
        if state == FAILED:
            self.offer.set_view(FAILED, LOST, (), msg)
        self._node.log(f"base {self.request.sha256[:12]}: {state} {msg}".rstrip())
        self._node.note_change()

    def _bring(self) -> None:
        node, request = self._node, self.request
        place = node.shelf.place(request.pool_path, request.sha256)
        follower = SharedPartial(
            place,
            request.metadata,
            self.offer,
            node.clock,
            node.mode == CUT_THROUGH,
            node.settings.patience.pending,
            node.wrap_endpoint,
        )
        try:
            claim = self._await_claim(follower)
            if claim is not None:
                self._fetch_into(claim, place, follower)
        except BaseException:
            self.offer.withdraw()
            raise
        finally:
            follower.close()

    def _await_claim(self, follower: SharedPartial) -> Lease | None:
        """The right to write the partial; None if the base has come without that. :raises RelayError:"""
        node, request = self._node, self.request
        while True:
            held = node.shelf.held(request.pool_path, request.sha256)
            if held is not None:
                self._hold(held)
                return None
            if not self.request.route.hosts:
                raise RelayError(
                    f"The base {request.sha256} is not in the pool {request.pool} ({request.pool_path}), "
                    "and the plan names no host to fetch it from."
                )
            try:
                claim = node.shelf.claim(request.pool_path, request.sha256)
            except PartialInUse as error:
                self._msg = error.message
                follower.look(error.message)
                self._bytes = follower.bytes
                if node.stopping.wait(LOCK_RETRY_S):
                    raise Cancelled("The node is being stopped.")
                continue
            break
        self._msg = ""
        # Between the look and the lock another process may have published it.
        held = node.shelf.held(request.pool_path, request.sha256)
        if held is None:
            return claim
        claim.discard()
        self._hold(held)
        return None

    def _fetch_into(self, claim: Lease, place: Place, follower: SharedPartial) -> None:
        try:
            digest = claim.digest()
            endpoint = self._open(claim, digest)
        except BaseException:
            claim.close()
            raise
        follower.hand_over(endpoint.marks())
        fetch = self._begin_fetch(claim, place, endpoint, digest)
        kept = False
        try:
            chunks = fetch.run()
            held = self._publish(claim, endpoint, digest, chunks)
            while held is None:
                endpoint = self._mend(claim, endpoint, digest, fetch, chunks)
                fetch = self._begin_fetch(claim, place, endpoint, digest, fetch)
                fetch.run()
                held = self._publish(claim, endpoint, digest, chunks)
            kept = True
            self._bytes, self._received_from = fetch.bytes, self._received(fetch)
            self._hold(held, received=True)
        except BaseException:
            if not kept:
                self.offer.withdraw()
                self._give_up(claim, endpoint)
            raise
        finally:
            with self._lock:
                self._bytes, self._received_from = fetch.bytes, self._received(fetch)
                self._fetch = None
            # The offer's own endpoint is closed by the offer, after its readers.
            if not fetch.share or fetch.chunks is None:
                endpoint.close()

    def _open(self, claim: Lease, digest: FileDigest) -> PartialFile:
        size_bytes, chunk_bytes = self.request.metadata["size_bytes"], self.request.metadata["chunk_bytes"]
        return PartialFile(claim.disk, claim.map, size_bytes, chunk_bytes, readers=self.offer.readers, digest=digest)

    def _begin_fetch(self, claim: Lease, place: Place, endpoint: PartialFile, digest: FileDigest, before: Fetch | None = None) -> Fetch:
        """:param before: the fetch whose bytes turned out to be wrong in part."""
        node, request, metadata = self._node, self.request, self.request.metadata

        def keep(chunks: ChunkList) -> None:
            try:
                keep_list(place.chunks, chunks)
            except OSError as error:
                node.log(f"chunk list of {request.sha256[:12]}: other runs cannot read it: {error}")

        fetch = Fetch(
            request.sha256,
            metadata["size_bytes"],
            metadata["chunk_bytes"],
            metadata["chunks_sha256"],
            node.host,
            request.route,
            node.connect,
            node.wrap_endpoint(endpoint),
            self.offer,
            node.clock,
            node.stopping,
            share=node.mode == CUT_THROUGH,
            trusted=endpoint.trusted,
            trust=endpoint.trust,
            patience=node.settings.patience,
            throttle=node.limits.down,
            log=node.log,
            attempts=self._attempts,
            others=node.others,
            compression=node.settings.compression,
            scratch=os.path.dirname(claim.disk),
            keep_list=keep,
            follow=lambda end: digest.advance(end, endpoint.digesting),
            known=None if before is None else before.chunks,
        )
        if before is not None:
            fetch.list_from = before.list_from
            self._received_before = self._received(before)
        with self._lock:
            self._fetch = fetch
            # A new plan may have come since the request was read.
            fetch.set_route(self.request.route)
        self._state = FETCHING
        self.offer.set_view(FETCHING, PENDING)
        return fetch

    def _received(self, fetch: Fetch) -> dict[str, int]:
        """By sender, what was fetched before it turned out to be wrong included."""
        received = dict(self._received_before)
        for host, count in fetch.received_from.items():
            received[host] = received.get(host, 0) + count
        return received

    def _publish(self, claim: Lease, endpoint: PartialFile, digest: FileDigest, chunks: ChunkList) -> Held | None:
        """The published base; None if the file is not what its name says."""
        self._node.await_base(self.request.metadata.get("parent"))
        with digest.own_close():
            endpoint.seal()
        try:
            return claim.publish(self.request.metadata, chunks.serialised)
        except WrongDigest as error:
            self._found = str(error.fields["found"])
            return None

    def _mend(self, claim: Lease, sealed: PartialFile, digest: FileDigest, fetch: Fetch, chunks: ChunkList) -> PartialFile:
        """The partial again, in which chunks that are not what was stored have lost their marks.

        :raises BadChunkList: every chunk is what the list says, and the whole is not what its name says. StorageFailed:
        """
        node, request = self._node, self.request
        if fetch.share:
            # Children were told that these chunks are here.
            self.offer.retract()
        else:
            sealed.close()
        endpoint = self._open(claim, digest)
        try:
            digest.restart()
            check = Recheck(endpoint, chunks, node.stopping)
            check.run()
            if not check.wrong:
                claim.discard()
                raise BadChunkList(
                    f"The chunk list {chunks.sha256} is not that of the base {request.sha256}: every chunk is what the list "
                    f"says, and together they have the digest {self._found}. The list came from "
                    f"{fetch.list_from or 'an earlier run'}. Nothing was published or kept. Compare the holders' base disks "
                    "with their digests (playbook basecast.fleet.verify), remove the wrong one, and deploy again.",
                    expected=request.sha256,
                    found=self._found,
                    chunks_sha256=chunks.sha256,
                    peer=fetch.list_from,
                )
            self._mends += 1
            line = f"{check.wrong} chunks were changed on this host's disk after they were stored; they are fetched again."
            fetch.note_attempt(node.host, f"{node.host}: {line}")
            if self._mends >= MAX_MENDS:
                raise StorageFailed(
                    f"The pool {request.pool} ({request.pool_path}) does not keep what is written to it: {check.wrong} chunks "
                    f"were wrong when they were read back, after {MAX_MENDS} attempts. Check the disk under it."
                )
        except BaseException:
            endpoint.close()
            raise
        return endpoint

    def _give_up(self, claim: Lease, endpoint: PartialFile) -> None:
        """What is verified is kept for the next run; an empty partial is of no use to anybody."""
        try:
            if any(endpoint.marks()):
                claim.close()
            else:
                claim.discard()
        except (OSError, RelayError) as error:
            self._node.log(f"partial of {self.request.sha256[:12]}: {error}")

    def _hold(self, held: Held, received: bool = False) -> None:
        metadata = self.request.metadata
        chunks = ChunkList.open(held.chunks)
        if chunks.sha256 != metadata["chunks_sha256"]:
            raise BadChunkList(f"{held.chunks} is not the chunk list of this run (digest {chunks.sha256}).")
        file = WholeFile(held.disk, received, self.offer.readers)
        if file.size_bytes != chunks.size_bytes:
            file.close()
            raise RelayError(f"{held.disk} has {file.size_bytes} bytes, the base {chunks.size_bytes}.")
        self._bytes = chunks.size_bytes
        self.offer.set_whole(chunks, self._node.wrap_endpoint(file))
        self._settle(HOLDING)


class Node:
    """Owns the sources and sinks of one host in one run.

    :param listener: bound and listening.
    :param clock: monotonic seconds.
    :param wrap_endpoint: lets tests put a faulty endpoint around a pool's.
    :param born: grows with each node that this host has in the run.
    """

    def __init__(
        self,
        run: str,
        host: str,
        listener: socket.socket,
        contexts: Contexts,
        shelf: BaseStore,
        clock: Clock,
        settings: Settings = Settings(),  # noqa: B008 - immutable
        log: t.Callable[[str], None] = lambda _line: None,
        wrap_endpoint: t.Callable[[Endpoint], Endpoint] = lambda endpoint: endpoint,
        born: int = 0,
    ) -> None:
        self.run_id = run
        self.host = host
        self.address, self.port = listener.getsockname()[:2]
        self.shelf = shelf
        self.clock = clock
        self.settings = settings
        # Much of it was said by others.
        self.log: t.Callable[[str], None] = lambda line: log(clean(line))
        self.wrap_endpoint = wrap_endpoint
        self.mode = STAGED
        self.stopping = threading.Event()
        self.meter = LinkMeter(clock)
        self.limits = Limits(clock)
        self.prober = Prober(host, self.connect, clock, self.stopping)
        self.news = Gossip(host, born, clock, self.connect, self.stopping, self._observed)
        self.peer_limits = PeerLimits(clock, self.log)
        self.transport = Transport(contexts, host, str(self.address), clock, self.peer_limits, settings.silence_s)
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
            # Who has everything stays as long as others of the fleet have not: they may still need it, and the controller
            # asks in the order of its plan.
            if self.door.peers > self.news.served or not self.settled or not self.news.settled():
                self.touch()
            if now - self._contact > self.settings.linger_s:
                return f"no contact for {self.settings.linger_s:g} s after the last work"
        return STOPPED

    def guard(self) -> None:
        """Somebody on this host sees that the run is not cancelled, and says so every GUARD_S.

        A run that was never guarded needs no guard. One that was ends when nobody has guarded it anywhere for ``lease_s``.
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


def bind(address: str, first: int, last: int, preferred: int | None = None) -> socket.socket:
    """Listen on the first free port of a range. :raises RelayError: if there is none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ports = list(range(first, last + 1))
    if preferred in ports:
        ports.insert(0, preferred)
    reason = "the range is empty"
    for port in ports:
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A connection of an earlier node in TIME_WAIT is no reason to take another port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(256)
            return listener
        except OSError as error:
            listener.close()
            reason = describe(error)
    raise RelayError(f"No port of {first}-{last} on {address} can be bound: {reason}.")
