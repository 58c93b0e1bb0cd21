# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""One base on this host, and the thread that brings it."""

from __future__ import annotations

import os
import threading
import typing as t

from ..._base_format.chunk_list import ChunkList
from ..._base_format.file_digest import FileDigest
from ..._text import clean
from ..clock import Clock, Stopwatch
from ..download.fetcher import Fetch, Sink, Surroundings
from ..download.transfer import Attempt, BaseIds, Terms
from ..endpoints import Endpoint
from ..endpoints.files import PartialFile, WholeFile
from ..endpoints.operations import Recheck
from ..errors import BadChunkList, Cancelled, PartialInUse, RelayError, StorageFailed, WrongDigest, storage_failure
from ..states import FAILED, FETCHING, HOLDING, LOST, PENDING, WAITING
from ..upload.offer import Offer
from ..upload.rate_limits import Limits
from ..upload.shared_partial import Place, SharedPartial, keep_list
from ..wire.channel import Channel
from .base_store import BaseRequest, BaseStore, Held, Lease
from .settings import CUT_THROUGH, Settings

# How often the lock of a partial that another process holds is tried.
LOCK_RETRY_S = 0.5

# How often the same base is read back with wrong bytes in it before the pool counts as broken.
MAX_MENDS = 3


class JobNode(t.Protocol):
    """What a job uses of its node."""

    host: str
    mode: str
    shelf: BaseStore
    clock: Clock
    settings: Settings
    stopping: threading.Event
    limits: Limits
    log: t.Callable[[str], None]
    wrap_endpoint: t.Callable[[Endpoint], Endpoint]

    def connect(self, host: str) -> Channel:
        """A greeted channel to a peer of the run. :raises RelayError:"""

    def others(self) -> t.Sequence[str]:
        """The other hosts of the run."""

    def await_base(self, sha256: str | None) -> None:
        """Wait for a base that has to be in its pool first. :raises Cancelled:"""

    def note_change(self) -> None: ...


class Job:
    """One base on this host: what is known of it, and the thread that brings it."""

    def __init__(self, node: JobNode, request: BaseRequest, offer: Offer) -> None:
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
        except BaseException:  # whatever ends it: children must not wait for this host
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
            claim.promise(self.request.metadata["size_bytes"])
            digest = claim.digest()
            endpoint = self._open(claim, digest)
        except BaseException:  # whatever ends it: the lock must be free for the next run
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
        except BaseException:  # whatever ends it: what is verified is kept, and children do not wait
            if not kept:
                self.offer.withdraw()
                self._give_up(claim, endpoint)
            raise
        finally:
            with self._lock:
                self._bytes, self._received_from = fetch.bytes, self._received(fetch)
                self._fetch = None
            # The offer's own endpoint is closed by the offer, after its readers.
            if not fetch.shared_chunks():
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

        sink = Sink(
            node.wrap_endpoint(endpoint),
            self.offer,
            trusted=endpoint.trusted,
            trust=endpoint.trust,
            scratch=os.path.dirname(claim.disk),
            keep_list=keep,
            follow=lambda end: digest.advance(end, endpoint.digesting),
            known=None if before is None else before.transfer.chunks.listed,
        )
        fetch = Fetch(
            BaseIds(request.sha256, metadata["size_bytes"], metadata["chunk_bytes"], metadata["chunks_sha256"]),
            request.route,
            Terms(node.host, node.mode == CUT_THROUGH, node.settings.compression, node.settings.patience),
            sink,
            Surroundings(node.connect, node.clock, node.stopping, node.limits.down, node.log, node.others),
            self._attempts,
        )
        if before is not None:
            fetch.chunk_list.source = before.chunk_list.source
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
        if fetch.shared_chunks():
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
                    f"{fetch.chunk_list.source or 'an earlier run'}. Nothing was published or kept. Compare the holders' base disks "
                    "with their digests (playbook basecast.fleet.verify), remove the wrong one, and deploy again.",
                    expected=request.sha256,
                    found=self._found,
                    chunks_sha256=chunks.sha256,
                    peer=fetch.chunk_list.source,
                )
            self._mends += 1
            line = f"chunks changed on this host's disk after they were stored, and fetched again: {check.wrong}."
            fetch.transfer.attempts.note(node.host, f"{node.host}: {line}")
            if self._mends >= MAX_MENDS:
                raise StorageFailed(
                    f"The pool {request.pool} ({request.pool_path}) does not keep what is written to it: {check.wrong} chunks "
                    f"were wrong when they were read back, after {MAX_MENDS} attempts. Check the disk under it."
                )
        except BaseException:  # whatever ends it: descriptors must not stay open
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
            raise RelayError(
                f"{held.disk} has {file.size_bytes} bytes, the base {chunks.size_bytes}. Run basecast.fleet.verify on this host."
            )
        self._bytes = chunks.size_bytes
        self.offer.set_whole(chunks, self._node.wrap_endpoint(file))
        self._settle(HOLDING)
