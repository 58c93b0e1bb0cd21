# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the hosts of a run know of each other's progress: a table that becomes the same everywhere, whoever hears what
first. No sockets, no threads, no clock of its own.

Each host numbers its own reports; the highest number wins, so old news never overwrites newer. How old a report is
travels as a number of seconds, since no two hosts' clocks are compared.
"""

from __future__ import annotations

import json
import math
import typing as t

from ..errors import ProtocolError
from ..upload.session import FAILED, FETCHING, HOLDING, WAITING

# A report has to fit into one frame, whatever is in it.
MAX_BASES = 24
MAX_PARENTS = 8
MAX_MSG = 160
MAX_NAME = 255
MAX_PAYLOAD_BYTES = 60_000

_MAX_NUMBER = 1 << 62
_STATES = (WAITING, FETCHING, HOLDING, FAILED)
_HEX = frozenset("0123456789abcdef")


class Cadence(t.NamedTuple):
    """How often a host reports. In a large fleet less often: what one connection carries stays below 50 KB/s.

    :param own_s: while bytes arrive; a change of state is told at once.
    :param alive_s: when nothing has changed.
    :param stale_s: a host of which nothing was heard for so long is not counted on.
    """

    own_s: float
    alive_s: float
    stale_s: float

    @classmethod
    def of(cls, hosts: int) -> Cadence:
        alive_s = max(2.0, hosts / 100)
        return cls(max(1.0, hosts / 200), alive_s, 4.0 + 3 * alive_s)


class BaseReport(t.NamedTuple):
    """One base on one host.

    :param received_bytes: over the network, in this run; none at a host that had the base before.
    :param rate_mbps: in 10^6 bits per second.
    :param remaining_s: None if it cannot be told.
    """

    state: str
    bytes: int
    size_bytes: int
    received_bytes: int
    rate_mbps: float
    remaining_s: float | None
    parents: tuple[str, ...]
    msg: str

    @property
    def gist(self) -> tuple[t.Any, ...]:
        """What is worth being told at once when it changes."""
        return (self.state, self.parents, self.msg)


class Report(t.NamedTuple):
    """What a host says of itself.

    :param born: grows with each node that this host has in the run.
    :param number: grows with each report of a node.
    :param started: whether it was given its part of the plan.
    :param guarded: whether somebody holds the run on this host, see Node.guard.
    """

    born: int
    number: int
    started: bool
    settled: bool
    bases: dict[str, BaseReport]
    guarded: bool = False

    def overrides(self, other: Report) -> bool:
        """Which of two reports of one host stands."""
        if (self.born, self.number) != (other.born, other.number):
            return (self.born, self.number) > (other.born, other.number)
        # Different reports with one number are a lie: then everybody has to believe the same one.
        return self != other and json.dumps(self, sort_keys=True) > json.dumps(other, sort_keys=True)


class _Record(t.NamedTuple):
    report: Report
    heard_at: float
    revision: int
    via: int


class StatusTable:
    """The last report of each host. Not thread-safe.

    :param via: in all methods, the connection that a report came by; it need not go back there. 0 is no connection.
    """

    def __init__(self, host: str, born: int, now: float) -> None:
        self.host = host
        self._hosts = {host}
        self._since = now
        self._revision = 0
        self._urgent = 0
        # In the order of their revisions.
        self._records: dict[str, _Record] = {}
        self._own = Report(born, 0, False, False, {})
        self._put(host, self._own, now, 0)

    # -- writing -------------------------------------------------------------------------------------------------

    def set_hosts(self, hosts: t.Iterable[str], now: float) -> bool:
        """The hosts of the run, of which alone reports are taken; whether there are new ones."""
        fresh = set(hosts) - self._hosts
        self._hosts |= fresh
        if fresh:
            self._since = now
        return bool(fresh)

    def begin(self, now: float) -> None:
        """Hosts are being given their parts of the plan: nobody has been silent for long yet."""
        self._since = now

    def report(
        self, started: bool, settled: bool, bases: t.Mapping[str, BaseReport], now: float, guarded: bool = False
    ) -> bool:
        """This host's own news; whether they are to be told: they are new, or the last ones are old."""
        old, cadence = self._own, self.cadence
        age = now - self._records[self.host].heard_at
        urgent = (started, settled, guarded) != (old.started, old.settled, old.guarded) or _gist(bases) != _gist(old.bases)
        if not urgent and age < (cadence.own_s if dict(bases) != old.bases else cadence.alive_s):
            return False
        self._own = Report(old.born, old.number + 1, started, settled, dict(bases), guarded)
        self._put(self.host, self._own, now, 0)
        if urgent:
            self._urgent = self._revision
        return True

    def merge(self, host: str, report: Report, age_s: float, now: float, via: int) -> bool:
        """News of a host that came by a connection; whether they were news."""
        if host not in self._hosts:
            return False
        if host == self.host:
            # An earlier node of this host, when its clock was ahead: what this one says has to stand above that.
            if not report.overrides(self._own) or report.born + 1 >= _MAX_NUMBER:
                return False
            self._own = self._own._replace(born=report.born + 1)
            self._put(host, self._own, now, 0)
            self._urgent = self._revision
            return True
        old = self._records.get(host)
        heard_at = now - age_s
        if old is None or report.overrides(old.report):
            self._put(host, report, heard_at, via)
            if old is None or _gist(report.bases) != _gist(old.report.bases) or _flags(report) != _flags(old.report):
                self._urgent = self._revision
            return True
        if report == old.report and heard_at > old.heard_at:
            self._records[host] = old._replace(heard_at=heard_at)
        return False

    def _put(self, host: str, report: Report, heard_at: float, via: int) -> None:
        self._revision += 1
        self._records.pop(host, None)
        self._records[host] = _Record(report, heard_at, self._revision, via)

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> set[str]:
        return set(self._hosts)

    @property
    def cadence(self) -> Cadence:
        return Cadence.of(len(self._hosts))

    def has_news(self, cursor: int) -> bool:
        """Whether there is anything after the cursor."""
        return self._revision > cursor

    def has_urgent_news(self, cursor: int) -> bool:
        return self._urgent > cursor

    def news(self, cursor: int, via: int, now: float, limit: int = MAX_PAYLOAD_BYTES) -> tuple[list[str], int]:
        """Reports after the cursor in the form of the wire, oldest first, of at most ``limit`` bytes; the new cursor."""
        fresh = []
        for host in reversed(self._records):
            if self._records[host].revision <= cursor:
                break
            fresh.append(host)
        items: list[str] = []
        for host in reversed(fresh):
            record = self._records[host]
            if record.via != via or not via:
                item = _encode(host, record.report, now - record.heard_at)
                limit -= len(item) + 1
                if limit < 0 and items:
                    return items, cursor
                items.append(item)
            cursor = record.revision
        return items, self._revision

    def is_stale(self, host: str, now: float) -> bool:
        """Whether nothing was heard of a host for too long. This host is always heard."""
        heard_at = self._records[host].heard_at if host in self._records else self._since
        return host != self.host and now - heard_at > self.cadence.stale_s

    def guarded(self, now: float) -> bool:
        """Whether a host that is heard says that somebody holds the run there."""
        return any(record.report.guarded and not self.is_stale(host, now) for host, record in self._records.items())

    def settled(self, now: float) -> bool:
        """Whether there is nothing to wait for: no host that is heard has a base on its way.

        A host that was not given its part is waited for as long as one that is silent: then nobody will give it one.
        """
        for host in self._hosts:
            report = self._records[host].report if host in self._records else None
            if report is None or not report.started:
                if now - self._since <= self.cadence.stale_s:
                    return False
            elif not report.settled and not self.is_stale(host, now):
                return False
        return True

    def view(self, now: float) -> dict[str, dict[str, t.Any]]:
        """Everything, for people: {host: {"bases": {sha256: {…}}, "started", "age_s", "stale"}}."""
        fleet: dict[str, dict[str, t.Any]] = {}
        for host in sorted(self._hosts):
            record = self._records.get(host)
            fleet[host] = {
                "started": record is not None and record.report.started,
                "bases": {} if record is None else {key: _shown(one) for key, one in record.report.bases.items()},
                "age_s": None if record is None else 0.0 if host == self.host else round(now - record.heard_at, 1),
                "stale": self.is_stale(host, now),
            }
        return fleet


def _flags(report: Report) -> tuple[bool, bool, bool]:
    return report.started, report.settled, report.guarded


def _gist(bases: t.Mapping[str, BaseReport]) -> dict[str, tuple[t.Any, ...]]:
    return {sha256: one.gist for sha256, one in bases.items()}


def _shown(base: BaseReport) -> dict[str, t.Any]:
    return {**base._asdict(), "parents": list(base.parents)}


# -- the form on the wire: {"hosts": {host: [age_s, born, number, started, settled, {sha256: [fields of a base]}, guarded]}}


def _encode(host: str, report: Report, age_s: float) -> str:
    flags = int(report.started), int(report.settled)
    value = [round(age_s, 2), report.born, report.number, *flags, report.bases, int(report.guarded)]
    return f"{json.dumps(host)}:{json.dumps(value, separators=(',', ':'))}"


def encode(items: t.Sequence[str], again: bool = False) -> bytes:
    """:param again: asks for everything from the begin."""
    return f'{{"again":{int(again)},"hosts":{{{",".join(items)}}}}}'.encode()


def decode(message: t.Mapping[str, t.Any], peer: str) -> tuple[list[tuple[str, float, Report]], bool]:
    """(host, age, report) of each host, and whether the peer asks for everything. :raises ProtocolError:"""
    try:
        hosts = message["hosts"].items()
        return [(host, _number(value[0]), _report(value)) for host, value in hosts], bool(message.get("again"))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"{peer} sent news that cannot be read: {error}") from error


def _report(value: t.Sequence[t.Any]) -> Report:
    _age, born, number, started, settled, bases, *guarded = value
    if len(guarded) > 1:
        raise ValueError(f"{len(value)} fields")
    if len(bases) > MAX_BASES:
        raise ValueError(f"{len(bases)} bases")
    return Report(
        _count(born),
        _count(number),
        bool(started),
        bool(settled),
        {_digest(sha256): _base(base) for sha256, base in bases.items()},
        guarded[:1] == [1],
    )


def _base(value: t.Sequence[t.Any]) -> BaseReport:
    state, done, size, received, rate, remaining, parents, msg = value
    if state not in _STATES or not isinstance(parents, list) or len(parents) > MAX_PARENTS:
        raise ValueError(f"a base with state {state!r}")
    return BaseReport(
        state,
        _count(done),
        _count(size),
        _count(received),
        _number(rate),
        None if remaining is None else _number(remaining),
        tuple(_text(parent, MAX_NAME) for parent in parents),
        _text(msg, MAX_MSG),
    )


def _count(value: t.Any) -> int:
    if not isinstance(value, int) or not 0 <= value < _MAX_NUMBER:
        raise ValueError(f"{str(value)[:40]} is not a number that can be")
    return int(value)


def _number(value: t.Any) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value < 1e15:
        raise ValueError(f"{str(value)[:40]} is not a number that can be")
    return value


def _digest(value: str) -> str:
    if len(value) != 64 or not _HEX.issuperset(value):
        raise ValueError("a base is known by its digest")
    return value


def _text(value: t.Any, most: int) -> str:
    """Of a peer's text only what can be shown on a terminal."""
    if not isinstance(value, str) or len(value) > most:
        raise ValueError("a text is too long")
    return value if value.isprintable() else "".join(char if char.isprintable() else " " for char in value)


def base_report(
    progress: t.Mapping[str, t.Any], parents: t.Sequence[str], rate_mbps: float, remaining_s: float | None
) -> BaseReport:
    """What a host says of one of its bases, cut to what a report may hold."""
    return BaseReport(
        progress["state"],
        progress["bytes"],
        progress["size_bytes"],
        progress["received_bytes"],
        round(rate_mbps, 2),
        None if remaining_s is None else round(min(remaining_s, 1e9), 1),
        tuple(parents[:MAX_PARENTS]),
        _text(progress["msg"][:MAX_MSG], MAX_MSG),
    )
