# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the hosts of a run know of each other's progress: a table that becomes the same everywhere, whoever hears what
first. No sockets, no threads, no clock of its own.

Each host numbers its own reports; the highest number wins, so old news never overwrites newer. How old a report is
travels as a number of seconds, since no two hosts' clocks are compared.

What one host tells of another is hearsay. A host's own word, which comes by a connection on which it has shown its
certificate, stands above all hearsay, whatever number that has; and where hearsay is in doubt, the host is asked itself.
"""

from __future__ import annotations

import json
import typing as t
import zlib

from ..._text import clean
from ..._untrusted import Value
from ..states import FAILED, FETCHING, HOLDING, MACHINES, WAITING
from ..wire import protocol
from ..wire.messages import fields_of, reading

# A report has to fit into one frame, whatever is in it.
MAX_BASES = 24
MAX_PARENTS = 8
MAX_MSG = 160
MAX_NAME = 255
MAX_MACHINES = 1_000_000
MAX_PAYLOAD_BYTES = 60_000

_MAX_NUMBER = 1 << 62
_STATES = (WAITING, FETCHING, HOLDING, FAILED)

# Nodes number themselves by the milliseconds of their host's clock. A number that lies further ahead of the own one than
# clocks of a run can is not believed.
AHEAD_MS = 2 * 86_400_000

# How long hearsay of a host is passed over after some of it was wrong, and how often that host is asked meanwhile.
DISPUTED_S = 60.0
ASK_AGAIN_S = 10.0

# Hosts of which there is only hearsay are asked in turn, one in so many seconds.
AUDIT_S = 5.0

# The longest that any news may have been on its way.
_MAX_AGE_S = 1e9


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
    :param machines: how far the machines of this host's job are, as many numbers as MACHINES has names; empty if nobody told.
    """

    born: int
    number: int
    started: bool
    settled: bool
    bases: dict[str, BaseReport]
    guarded: bool = False
    machines: tuple[int, ...] = ()

    def overrides(self, other: Report) -> bool:
        """Which of two reports of one host stands."""
        if (self.born, self.number) != (other.born, other.number):
            return (self.born, self.number) > (other.born, other.number)
        # Different reports with one number are a lie: then everybody has to believe the same one.
        return self != other and json.dumps(self, sort_keys=True) > json.dumps(other, sort_keys=True)


class News(t.NamedTuple):
    """What came by a connection.

    :param again: the peer asks for everything.
    :param own: it asks for this host's own report, and nothing else.
    """

    reports: list[tuple[str, float, Report]]
    again: bool
    own: bool


class _Record(t.NamedTuple):
    report: Report
    heard_at: float
    revision: int
    via: int


class _Words(t.NamedTuple):
    """A host's own word: the last one, and when it came."""

    report: Report
    at: float


class StatusTable:
    """The last report of each host. Not thread-safe.

    :param via: in all methods, the connection that a report came by; it need not go back there. 0 is no connection.
    """

    def __init__(self, host: str, born: int, now: float) -> None:
        self.host = host
        self._hosts: dict[str, str] = {host: host}
        self._since = now
        self._revision = 0
        self._urgent = 0
        # In the order of their revisions.
        self._records: dict[str, _Record] = {}
        self._own = Report(born, 0, False, False, {})
        self._begun, self._first_born = now, born
        self._words: dict[str, _Words] = {}
        # Hosts that can say themselves what is true at the moment, by the number of their connections.
        self._direct: dict[str, int] = {}
        # Hosts that are to be asked, and when; hosts of which something wrong was told, and until when that counts.
        self._doubts: dict[str, float] = {}
        self._disputed: dict[str, float] = {}
        self._asked_at: dict[str, float] = {}
        self._audit_at = now + AUDIT_S
        self._put(host, self._own, now, 0)

    # -- writing -------------------------------------------------------------------------------------------------

    def set_hosts(self, hosts: t.Iterable[str], now: float) -> bool:
        """The hosts of the run, of which alone reports are taken; whether there are new ones."""
        fresh = set(hosts) - self._hosts.keys()
        self._hosts.update((host, host) for host in fresh)
        if fresh:
            self._since = now
        return bool(fresh)

    def begin(self, now: float) -> None:
        """Hosts are being given their parts of the plan: nobody has been silent for long yet."""
        self._since = now

    def report(
        self,
        started: bool,
        settled: bool,
        bases: t.Mapping[str, BaseReport],
        now: float,
        guarded: bool = False,
        machines: tuple[int, ...] = (),
    ) -> bool:
        """This host's own news; whether they are to be told: they are new, or the last ones are old."""
        old, cadence = self._own, self.cadence
        age = now - self._records[self.host].heard_at
        urgent = (started, settled, guarded, machines) != _flags(old) or _gist(bases) != _gist(old.bases)
        if not urgent and age < (cadence.own_s if dict(bases) != old.bases else cadence.alive_s):
            return False
        self._own = Report(old.born, old.number + 1, started, settled, dict(bases), guarded, machines)
        self._put(self.host, self._own, now, 0)
        if urgent:
            self._urgent = self._revision
        return True

    def merge(self, host: str, report: Report, age_s: float, now: float, via: int, own: bool = False) -> bool:
        """News of a host that came by a connection; whether they were news.

        :param own: it is the host itself that says so.
        """
        if host not in self._hosts:
            return False
        if host == self.host:
            return self._overrule(report, now)
        report = self._trimmed(report)
        old = self._records.get(host)
        heard_at = now - age_s
        if own:
            if not self._take_word(host, report, now):
                return False
        elif not self._is_credible(host, report, now):
            return False
        elif old is not None and not report.overrides(old.report):
            if report == old.report and heard_at > old.heard_at:
                self._records[host] = old._replace(heard_at=heard_at)
            return False
        elif old is not None and report.born != old.report.born:
            # A new node, or an answer to a lie, or a lie.
            self._doubt(host, now)
        if old is not None and report == old.report:
            self._records[host] = old._replace(heard_at=max(heard_at, old.heard_at))
            return False
        self._put(host, report, heard_at, via)
        if old is None or _gist(report.bases) != _gist(old.report.bases) or _flags(report) != _flags(old.report):
            self._urgent = self._revision
        return True

    def _overrule(self, report: Report, now: float) -> bool:
        """An earlier node of this host, when its clock was ahead, or a lie: what this one says has to stand above that."""
        if not report.overrides(self._own) or report.born + 1 >= _MAX_NUMBER:
            return False
        self._own = self._own._replace(born=report.born + 1)
        self._put(self.host, self._own, now, 0)
        self._urgent = self._revision
        return True

    def _take_word(self, host: str, report: Report, now: float) -> bool:
        """Whether it is the host's newest word. Hearsay that claims to be newer was wrong."""
        before, told = self._words.get(host), self._records.get(host)
        if before is not None and before.report[:2] > report[:2]:
            return False
        if told is not None and told.report[:2] > report[:2] and (before is None or told.report != before.report):
            self._disputed[host] = now + DISPUTED_S
        self._words[host] = _Words(report, now)
        self._doubts.pop(host, None)
        return True

    def _is_credible(self, host: str, report: Report, now: float) -> bool:
        """Whether hearsay counts: of hosts that speak for themselves it does not."""
        if host in self._direct and host in self._words:
            return False
        if self._disputed.get(host, 0.0) > now:
            return False
        if report.born > self._first_born + (now - self._begun) * 1000 + AHEAD_MS:
            self._doubt(host, now)
            return False
        return True

    def _doubt(self, host: str, now: float) -> None:
        """It is to be asked; not by all hosts of the run in the same moment."""
        spread_s = len(self._hosts) / 100 * (zlib.crc32(f"{self.host} {host}".encode()) % 1000) / 1000
        self._doubts.setdefault(host, now + spread_s)

    def _trimmed(self, report: Report) -> Report:
        """With hosts of the run only, each under the one text that is kept of its name."""
        names = self._hosts
        bases = {
            sha256: one._replace(parents=tuple(names[parent] for parent in one.parents if parent in names))
            for sha256, one in report.bases.items()
        }
        return report._replace(bases=bases)

    # -- hosts' own words ----------------------------------------------------------------------------------------

    def connected(self, host: str, by: int) -> None:
        """A connection on which this host speaks for itself: one more (1), or one less (-1)."""
        count = self._direct.pop(host, 0) + by
        if count > 0:
            self._direct[host] = count

    def to_ask(self, now: float) -> str | None:
        """A host that is to be asked for its own word now, if there is one."""
        due = [host for host, at in self._doubts.items() if at <= now]
        due += [
            host
            for host, until in self._disputed.items()
            if until > now and host not in self._direct and now - self._asked_at.get(host, -ASK_AGAIN_S) >= ASK_AGAIN_S
        ]
        if not due and now >= self._audit_at:
            self._audit_at = now + AUDIT_S
            hearsay = [host for host in self._records if host != self.host and host not in self._direct]
            hearsay = [host for host in hearsay if not self.is_stale(host, now)]
            due = sorted(hearsay, key=lambda host: self._asked_at.get(host, 0.0))[:1]
        for host in due:
            self._doubts.pop(host, None)
            self._asked_at[host] = now
            return host
        return None

    def own_item(self, now: float) -> str:
        """This host's own report in the form of the wire."""
        return _encode(self.host, self._own, now - self._records[self.host].heard_at)

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
                "machines": dict(zip(MACHINES, record.report.machines)) if record is not None and record.report.machines else None,
                "age_s": None if record is None else 0.0 if host == self.host else round(now - record.heard_at, 1),
                "stale": self.is_stale(host, now),
            }
        return fleet


def _flags(report: Report) -> tuple[bool, bool, bool, tuple[int, ...]]:
    return report.started, report.settled, report.guarded, report.machines


def _gist(bases: t.Mapping[str, BaseReport]) -> dict[str, tuple[t.Any, ...]]:
    return {sha256: one.gist for sha256, one in bases.items()}


def _shown(base: BaseReport) -> dict[str, t.Any]:
    return {**base._asdict(), "parents": list(base.parents)}


# -- the form on the wire: {"hosts": {host: [age_s, born, number, started, settled, {sha256: [fields of a base]}, guarded,
# [numbers of machines]]}}


def _encode(host: str, report: Report, age_s: float) -> str:
    """What may have come from another host, so that the next one accepts it: a lie must not make a liar of who passes it on."""
    item = _item(host, report, age_s)
    if len(item) <= MAX_PAYLOAD_BYTES:
        return item
    bases = {sha256: base._replace(parents=(), msg="") for sha256, base in report.bases.items()}
    return _item(host, report._replace(bases=bases), age_s)


def _item(host: str, report: Report, age_s: float) -> str:
    flags = int(report.started), int(report.settled)
    value = [round(min(age_s, _MAX_AGE_S), 2), report.born, report.number, *flags, report.bases, int(report.guarded), report.machines]
    return f"{json.dumps(host)}:{json.dumps(value, separators=(',', ':'))}"


def encode(items: t.Sequence[str], again: bool = False, own: bool = False) -> bytes:
    """:param again: asks for everything from the start. :param own: asks for the other host's own report."""
    return f'{{"again":{int(again)},"own":{int(own)},"hosts":{{{",".join(items)}}}}}'.encode()


def decode(payload: t.Any, peer: str) -> News:
    """:raises ProtocolError:"""
    with reading(peer):
        value = fields_of(payload, "news", "hosts", "again", "own")
        again, own = value.get("again"), value.get("own")
        reports = [_report(host, item) for host, item in value["hosts"].entries(protocol.MAX_ITEMS).items()]
        return News(reports, again is not None and again.integer(0, 1) == 1, own is not None and own.integer(0, 1) == 1)


def _report(host: str, value: Value) -> tuple[str, float, Report]:
    if len(host) > MAX_NAME:
        raise value.wrong("the report of a host whose name is shorter")
    fields = value.items(8)
    if len(fields) < 6:
        raise value.wrong("6 to 8 fields")
    age_s, born, number, started, settled, bases, *others = fields
    report = Report(
        _count(born),
        _count(number),
        started.integer(0, 1) == 1,
        settled.integer(0, 1) == 1,
        {Value(sha256, base.place).digest(): _base(base) for sha256, base in bases.entries(MAX_BASES).items()},
        any(flag.integer(0, 1) == 1 for flag in others[:1]),
        machine_counts(others[1].items(len(MACHINES))) if len(others) > 1 else (),
    )
    return host, age_s.number(0.0, _MAX_AGE_S), report


def machine_counts(numbers: t.Sequence[Value]) -> tuple[int, ...]:
    """:raises Malformed: they are not as many as MACHINES has names, or not whole numbers."""
    if numbers and len(numbers) != len(MACHINES):
        raise numbers[0].wrong(f"one of {len(MACHINES)} numbers")
    return tuple(number.integer(0, MAX_MACHINES) for number in numbers)


def _base(value: Value) -> BaseReport:
    state, done, size, received, rate, remaining, parents, msg = _fields(value, 8)
    return BaseReport(
        state.choice(*_STATES),
        _count(done),
        _count(size),
        _count(received),
        rate.number(0.0, 1e15),
        None if remaining.raw is None else remaining.number(0.0, 1e15),
        tuple(parent.text(MAX_NAME) for parent in parents.items(MAX_PARENTS)),
        _line(msg),
    )


def _fields(value: Value, count: int) -> list[Value]:
    fields = value.items(count)
    if len(fields) != count:
        raise value.wrong(f"{count} fields")
    return fields


def _count(value: Value) -> int:
    return value.integer(0, _MAX_NUMBER - 1)


def _line(value: Value) -> str:
    if not isinstance(value.raw, str) or len(value.raw) > MAX_MSG:
        raise value.wrong(f"a text of at most {MAX_MSG} characters")
    return _said(value.raw)


def _said(text: str) -> str:
    """Of a text only what can be shown on a terminal, and no more than a report may hold."""
    return clean(text[:MAX_MSG])[:MAX_MSG]


def base_report(progress: t.Mapping[str, t.Any], parents: t.Sequence[str], rate_mbps: float, remaining_s: float | None) -> BaseReport:
    """What a host says of one of its bases, cut to what a report may hold."""
    return BaseReport(
        progress["state"],
        progress["bytes"],
        progress["size_bytes"],
        progress["received_bytes"],
        round(rate_mbps, 2),
        None if remaining_s is None else round(min(remaining_s, 1e9), 1),
        tuple(parents[:MAX_PARENTS]),
        _said(progress["msg"]),
    )
