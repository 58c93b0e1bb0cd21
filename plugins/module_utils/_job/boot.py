# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Starting machines and waiting for what their guests report, over a libvirt that may be restarted meanwhile."""

from __future__ import annotations

import threading
import time
import typing as t

from .._errors import FleetError
from .._machine import health
from .._machine.domain import MachineWish
from .._machine.libvirt_host import LibvirtError, LibvirtHost, LibvirtMissing
from .._machine.machine import Machine
from . import steps
from .outcome import Failure
from .steps import Context, StepResult
from .work import MachineWork

# How long libvirtd may be away, as it is while it is restarted.
RETURN_S = 30.0
_PAUSE_S = 1.0

Connect = t.Callable[[str], LibvirtHost]
Tell = t.Callable[[StepResult], None]


class Boot:
    """
    :param defining: held while machines are defined: addresses are chosen from what is there.
    """

    def __init__(
        self,
        context: Context,
        timeout_s: float,
        connect: Connect = LibvirtHost,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], None] = time.sleep,
    ) -> None:
        self._context = context
        self._timeout_s = timeout_s
        self._connect = connect
        self._clock = clock
        self._sleep = sleep
        self._defining = threading.Lock()

    def start(self, wishes: t.Sequence[MachineWish]) -> StepResult:
        """Define and start; ``values``: the machines."""
        deadline = self._clock() + RETURN_S
        while True:
            try:
                with self._defining, self._connect(self._context.uri) as host:
                    return steps.start(self._context, host, wishes)[1]
            except (LibvirtMissing, LibvirtError) as error:
                # A library that is not installed will not be there in a moment either.
                if self._clock() >= deadline or self._context.check or error.fields.get("package") == "python3-libvirt":
                    failure = steps.failure_of("define and start", error)
                    return StepResult(failed={wish.owner.machine: failure for wish in wishes})
            self._sleep(_PAUSE_S)

    def await_reports(self, wishes: t.Sequence[MachineWish], tell: Tell) -> StepResult:
        """Until each guest has reported, or the time is over. ``values``: the machines as they are then.

        :param tell: is given the machines at the begin, whose reports fill in as they come.
        """
        began = self._clock()
        away_since: float | None = None
        while True:
            try:
                with self._connect(self._context.uri) as host:
                    machines, found = steps.start(self._context, host, wishes, start_them=False)
                    if self._is_waited_for(found, away_since):
                        raise _Unsaid("libvirt does not tell whether a machine runs")
                    away_since = None
                    tell(found)
                    waiting: list[Machine] = [machine for name, machine in found.values.items() if name not in found.failed]
                    machines.await_reports(waiting, max(0.0, self._timeout_s - (self._clock() - began)))
                    for machine in waiting:
                        if machine.problem:
                            failure = Failure("wait for its report", machine.reason or "failed", machine.problem)
                            found.failed[machine.owner.machine] = failure
                    return found
            except FleetError as error:
                away_since = self._clock() if away_since is None else away_since
                if self._clock() - away_since >= RETURN_S and not isinstance(error, _Unsaid):
                    failure = Failure("wait for its report", "unknown", error.message)
                    return StepResult(failed={wish.owner.machine: failure for wish in wishes})
            self._sleep(_PAUSE_S)

    def check_health(self, machine: MachineWork, found: Machine) -> tuple[list[dict[str, t.Any]], Failure | None]:
        """Until everything that is asked of a machine that has come up was seen once, or the time is over.

        :returns: ``[{"check", "ok", "seconds", "reason"}]``, and why the machine is unhealthy.
        """
        asked = machine.health or {}
        checks = health.checks_of(asked)
        limit_s = float(asked.get("timeout_s") or self._timeout_s)
        began = self._clock()
        asking = _Asking(began, limit_s, {})
        results = [{"check": check.text, "ok": False, "seconds": None, "reason": "it was not asked"} for check in checks]
        running = True
        while running:
            running = self._look_at_health(asked, checks, found, results, asking)
            if all(result["ok"] for result in results):
                return results, None
            if self._clock() - began >= limit_s:
                break
            self._sleep(health.PAUSE_S)
        failed = [f"{result['check']}: {result['reason']}" for result in results if not result["ok"]]
        when = (
            f"is not healthy within {limit_s:g} s" if running else f"has stopped after {self._clock() - began:.0f} s, before it was healthy"
        )
        return results, Failure("check its health", "unhealthy", found.with_console(f"{when} ({'; '.join(failed)})"))

    def _look_at_health(
        self,
        asked: t.Mapping[str, t.Any],
        checks: t.Sequence[health.Check],
        found: Machine,
        results: t.Sequence[dict[str, t.Any]],
        asking: _Asking,
    ) -> bool:
        """Ask once what has not answered yet; whether the machine runs. A libvirt that is away for a moment says nothing of it."""
        given, reported = (health.usable(one.get("addresses") or ()) for one in (asked, found.report or {}))
        try:
            with self._connect(self._context.uri) as host:
                domain = host.domain(found.found.uuid if found.found else found.owner.domain_uuid)
                running = domain is not None and domain.running()
                known = given or reported or health.usable(_seen_by_libvirt(domain) if domain and running else ())
                for check, result in zip(checks, results):
                    if self._clock() - asking.began >= asking.limit_s:
                        break
                    if not result["ok"] and running:
                        self._ask(check, known, domain, result, asking)
        except FleetError as error:
            for result in results:
                result["reason"] = result["reason"] if result["ok"] else error.message
            return True
        return running

    def _ask(self, check: health.Check, known: t.Sequence[str], domain: t.Any, result: dict[str, t.Any], asking: _Asking) -> None:
        try:
            health.attempt(check, known, domain, begun=asking.begun)
        except health.Unhealthy as error:
            result["reason"] = error.message
            return
        result.update(ok=True, seconds=round(self._clock() - asking.began, 1), reason="")

    def _is_waited_for(self, found: StepResult, away_since: float | None) -> bool:
        """Whether libvirt may still say of every machine whether it runs: it may just be ending, or coming back."""
        unsaid = any(failure.reason == "unknown" for failure in found.failed.values())
        return unsaid and (away_since is None or self._clock() - away_since < RETURN_S)


def _seen_by_libvirt(domain: t.Any) -> t.Iterator[str]:
    """Addresses of a guest that has reported none, the surest first."""
    for source in ("lease", "agent", "arp"):
        yield from (one["address"] for one in domain.addresses(source))


class _Asking(t.NamedTuple):
    """One check of a machine's health.

    :param began: by the clock, when it began.
    :param begun: processes of the guest that earlier attempts have left, as ``health.attempt`` has it.
    """

    began: float
    limit_s: float
    begun: dict[health.Check, int]


class _Unsaid(LibvirtError):
    """libvirt answers, but not for each machine."""
