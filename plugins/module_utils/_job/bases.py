# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether the bases are there yet: the store is asked first, then the run's relay node on this host.

A base that the node calls failed may still come: whoever watches the relay may have it planned again, and a node that
has ended may be started anew. So a failure counts only when it has lasted.
"""

from __future__ import annotations

import typing as t

from .._disk import local_copies
from .._disk.store import Store
from .._relay.errors import ControlFailed, RelayError
from .._relay.node.run_directory import RunDirectory
from .._relay.states import MACHINES
from .outcome import BaseState

HERE, COMING, FAILED = "here", "coming", "failed"

# How long a node may be away, or not know of a base: it is being started anew, or is about to get a new part.
NODE_S = 15.0

Node = t.Callable[[], t.Optional[t.Mapping[str, t.Any]]]
Tell = t.Callable[[t.Mapping[str, int]], None]


class _Problem(t.NamedTuple):
    """Nothing is wrong without a ``kind``; otherwise it counts once it has lasted for ``limit_s``."""

    kind: str = ""
    limit_s: float = 0.0
    msg: str = ""


def node_of(runtime: RunDirectory) -> Node:
    """Asks this host's node of the run; None while there is none."""

    def ask() -> t.Mapping[str, t.Any] | None:
        try:
            return runtime.ask("progress", timeout=10.0)
        except (ControlFailed, RelayError, OSError):
            return None

    return ask


def teller(runtime: RunDirectory) -> Tell:
    """Tells this host's node how far the machines are, so that one look at the relay shows them too."""

    def tell(counts: t.Mapping[str, int]) -> None:
        try:
            runtime.ask("machines", timeout=2.0, counts=[counts[name] for name in MACHINES])
        except (ControlFailed, RelayError, OSError):
            pass  # there is no node, or none any more: nobody is looking

    return tell


class Bases:
    """The bases that this host's machines need.

    :param patience_s: how long a base that has failed may be planned again.
    :param timeout_s: how long to wait for any of them.
    """

    def __init__(
        self,
        stores: t.Mapping[str, Store],
        wanted: t.Sequence[str],
        run: str,
        node: Node,
        patience_s: float = 60.0,
        timeout_s: float = 7200.0,
    ) -> None:
        self.states = {sha256: BaseState(sha256) for sha256 in wanted}
        self.relay: dict[str, t.Any] | None = None
        self._stores = stores
        self._run = run
        self._node = node
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._since: dict[str, tuple[str, float]] = {}
        self._began: float | None = None

    @property
    def coming(self) -> list[str]:
        return [sha256 for sha256, state in self.states.items() if state.state == COMING]

    def look(self, now: float, wall: float) -> list[BaseState]:
        """What has changed since the last look.

        :param now: seconds of a clock that is never set; wall: since the epoch.
        """
        self._began = now if self._began is None else self._began
        before = dict(self.states)
        self._look_at_stores(wall)
        waiting = self.coming
        if waiting:
            node = self._node()
            self._look_at_stores(wall)  # it may have been published, and its node have ended, between the two
            for sha256 in self.coming:
                self.states[sha256] = self._judged(sha256, node, now)
            if node is not None:
                self.relay = dict(node)
        return [state for sha256, state in self.states.items() if state != before[sha256]]

    def note_relay(self) -> None:
        """What the node says of bases that have come, for the report."""
        node = self._node()
        if node is not None:
            self.relay = dict(node)

    def _look_at_stores(self, wall: float) -> None:
        for sha256 in self.coming:
            base = local_copies.find(self._stores, sha256, self._stores)
            if base is not None:
                size = base.size_bytes
                self.states[sha256] = BaseState(sha256, HERE, base.pool, size, size, "", round(wall, 3))

    def _judged(self, sha256: str, node: t.Mapping[str, t.Any] | None, now: float) -> BaseState:
        state = self.states[sha256]
        told = ((node or {}).get("bases") or {}).get(sha256)
        if told is not None:
            state = state._replace(bytes=told["bytes"], size_bytes=told["size_bytes"], pool=told["pool"], msg=told["msg"])
        problem = self._problem(sha256, node, told)
        lasted = self._lasted(sha256, problem.kind, now)
        waited = now - (self._began if self._began is not None else now)
        if problem.kind and lasted >= problem.limit_s:
            return state._replace(state=FAILED, msg=problem.msg)
        if waited >= self._timeout_s:
            late = f"The base disk {sha256} is not complete after {self._timeout_s:g} s. {problem.msg}"
            return state._replace(state=FAILED, msg=late.strip())
        return state

    def _problem(self, sha256: str, node: t.Mapping[str, t.Any] | None, told: t.Mapping[str, t.Any] | None) -> _Problem:
        """Why the base will not come if nothing changes."""
        nowhere = f"The base disk {sha256} is in none of the pools {', '.join(self._stores)}{self._damage(sha256)}"
        if node is None:
            msg = f"{nowhere}, and no relay node of the run {self._run} is on this host to bring it."
            return _Problem("no_node", NODE_S, msg)
        if told is None:
            if not node.get("started"):
                return _Problem()  # it has not got its part of the plan yet
            return _Problem("not_asked", NODE_S, f"{nowhere}, and the relay node was not asked to bring it.")
        if told["state"] == "failed":
            attempts = "; ".join(attempt["error"] for attempt in told["attempts"])
            tried = f" Attempts: {attempts}" if attempts and attempts not in told["msg"] else ""
            msg = f"The base disk {sha256} did not arrive in the pool {told['pool']}: {told['msg']}{tried}"
            return _Problem("failed", self._patience_s, msg)
        return _Problem()

    def _damage(self, sha256: str) -> str:
        """Where there is something by that name, why it is not the base."""
        problems = {pool: store.problem(sha256) for pool, store in self._stores.items()}
        told = "; ".join(f"that in {pool} is damaged, {problem}" for pool, problem in problems.items() if problem)
        return f" ({told})" if told else ""

    def _lasted(self, sha256: str, kind: str, now: float) -> float:
        """For how long there has been a problem of this kind."""
        if not kind:
            self._since.pop(sha256, None)
            return 0.0
        known, since = self._since.get(sha256, ("", now))
        if known != kind:
            self._since[sha256] = (kind, now)
            return 0.0
        return now - since
