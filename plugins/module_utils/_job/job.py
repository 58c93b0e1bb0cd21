# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The job of one host: it waits for its bases and makes its machines, each as soon as its own bases are there.

One thread decides and knows the state of everything; what takes time runs in threads beside it, which tell it what came of
it. Nothing of it needs the controller.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
import typing as t

from .._disk import filesystem, holds
from .._disk.ownership import Change
from .._errors import FleetError
from . import bases as base_states
from . import steps
from .bases import Bases, Tell
from .boot import Boot
from .claims import Keeper
from .journal import DONE, FAILED, FORMAT, RUNNING, Journal, since_boot, this_process
from .outcome import BOOTING, CHECKING, MAKING, WAITING, Failure, MachineState, summary
from .outcome import THERE as MACHINE_THERE
from .steps import Context, StepResult
from .turns import STEP as WAIT
from .turns import Turns
from .work import Copy, MachineWork

LOOK_S = 0.5
_WRITE_S = 1.0
_SLICE = 16  # machines that are made together, so that the first ones start early
_LOCK_PAUSE_S = 0.2
_MOST_REASONS = 5
_LEFT_OUT = (("updated_at", "relay", "bases"), ("updated_at", "relay"))


class JobBusy(FleetError):
    kind = "busy"


class Gate:
    """Passed by what changes something on the host, as long as no other job of the service does the same."""

    def __init__(self, journal: Journal, limit_s: float, sleep: t.Callable[[float], None] = time.sleep) -> None:
        self._lock = journal.lock()
        self._limit_s = limit_s
        self._sleep = sleep
        self._inside = 0
        self._guard = threading.Lock()
        self.behind = 0

    def __enter__(self) -> Gate:
        deadline = time.monotonic() + self._limit_s
        while True:
            with self._guard:
                if self._lock.take():
                    self._inside += 1
                    self.behind = 0
                    return self
                self.behind = self._lock.holder()
            if time.monotonic() >= deadline:
                raise JobBusy(
                    f"Another job of this service, process {self.behind}, has been at work on this host for {self._limit_s:g} s.",
                    pid=self.behind,
                )
            self._sleep(_LOCK_PAUSE_S)

    def __exit__(self, *_exc_info: object) -> None:
        with self._guard:
            self._inside -= 1
            if self._inside == 0:
                self._lock.release()


class Job:
    """
    :param bases: whether they are there.
    :param boot: starts machines.
    :param tell: is told how far the machines are whenever that has changed.
    :param claim: what the run has claimed on the host; the job keeps it until it ends.
    """

    def __init__(
        self,
        context: Context,
        run: str,
        bases: Bases,
        boot: Boot,
        journal: Journal,
        tell: Tell = lambda counts: None,
        claim: Keeper | None = None,
    ) -> None:
        self._context = context
        self._work = context.work
        self._run = run
        self._bases = bases
        self._boot = boot
        self._journal = journal
        self._tell = tell
        self._claim = claim
        self._told_counts: t.Mapping[str, int] = {}
        self._clock = time.monotonic
        self._wall = time.time
        self._gate = Gate(journal, context.copy_timeout_s)
        self._events: queue.Queue[t.Callable[[], None]] = queue.Queue()
        self._threads = 0
        self._pools = {pool: threading.Lock() for pool in context.stores}
        self.machines = {machine.name: MachineState(machine.name, machine.role) for machine in self._work.machines}
        self._by_name = {machine.name: machine for machine in self._work.machines}
        roles = {machine.name: machine.role for machine in self._work.machines}
        self._turns = Turns(self._work.turns, roles, journal, run, context.turn_timeout_s)
        self._live: dict[str, t.Any] = {}
        self._actions: dict[str, list[str]] = {}
        self._copies: dict[Copy, str] = {}
        self._problems: dict[str | Copy, Failure] = {}
        self._added: dict[str, list[Change]] = {}
        self._prepared = False
        self._given_back: bool | None = None
        self._result = StepResult()
        self._began_at = round(time.time(), 3)
        self._began_s = since_boot()
        self._written: tuple[float, t.Any, t.Any] = (-_WRITE_S, None, None)

    # --- the life of a job ----------------------------------------------------------------------

    def perform(self) -> dict[str, t.Any]:
        """Everything, to the end; what came of it, see ``told``."""
        try:
            with self._claim or contextlib.nullcontext():
                return self._perform()
        finally:
            # Disks, or a relay node, say by now that the bases are needed; what is left ends by itself.
            with contextlib.suppress(OSError):
                for store in self._context.stores.values():
                    holds.release(store, self._run)

    def _perform(self) -> dict[str, t.Any]:
        self._journal.open()
        self._journal.sweep()
        self._write(RUNNING)
        state = FAILED
        try:
            self._spawn(self._prepare)
            with self._turns:
                while not self._finished():
                    self._look()
                    self._advance()
                    self._write(RUNNING)
                    self._take_events(LOOK_S)
            self._tidy()
            state = DONE if all(machine.state in MACHINE_THERE for machine in self.machines.values()) else FAILED
        except Exception as error:  # what is known by then is told, with the reason for the end
            self._fail_all(steps.failure_of("run the job", error))
        finally:
            told = self._write(state, ended=True)
        return told

    def _finished(self) -> bool:
        return self._threads == 0 and self._prepared and all(machine.settled for machine in self.machines.values())

    def _look(self) -> None:
        waiting = self._bases.coming
        changed = self._bases.look(self._clock(), self._wall()) if waiting else []
        if any(state.state == base_states.HERE for state in changed):
            self._bases.note_relay()
        for state in changed:
            if state.state == base_states.FAILED:
                self._problems.setdefault(state.sha256, Failure("wait for its base", "base_missing", state.msg))
        for name, machine in self._live.items():
            if machine.report is not None:
                self.machines[name].times.setdefault("reported_at", round(self._wall(), 3))

    def _advance(self) -> None:
        """Begin everything for which all is there."""
        if not self._prepared:
            return
        self._turns.look()
        self._given_back = None
        for copy in self._work.copies:
            if copy not in self._copies and copy.sha256 in self._problems:
                self._copies[copy] = FAILED
                self._problems[copy] = self._problems[copy.sha256]
            elif copy not in self._copies and self._is_here(copy.sha256):
                self._copies[copy] = RUNNING
                self._spawn(self._copy, copy)
        ready = [machine for machine in self._work.machines if self._is_ready(machine)]
        quick = [machine for machine in ready if not machine.copies]
        for first in range(0, len(quick), _SLICE):
            self._make(quick[first : first + _SLICE])
        slow: dict[tuple[str, ...], list[MachineWork]] = {}
        for machine in ready:
            if machine.copies:
                slow.setdefault(tuple(sorted({str(disk.pool) for disk in machine.disks})), []).append(machine)
        for together in slow.values():
            self._make(together)

    def _is_here(self, sha256: str) -> bool:
        return self._bases.states[sha256].state == base_states.HERE

    def _is_ready(self, machine: MachineWork) -> bool:
        """Whether it can be made now; it has failed if something that it needs has."""
        state = self.machines[machine.name]
        if state.state != WAITING:
            return False
        needs = machine.needs(self._work.copies)
        wanted: list[str | Copy] = [*sorted(machine.bases), *needs]
        for need in wanted:
            if need in self._problems:
                state.fail(self._problems[need])
                return False
        if not all(self._is_here(sha256) for sha256 in machine.bases):
            return False
        there = [self._bases.states[sha256].there_at or self._wall() for sha256 in machine.bases]
        if there:
            state.times.setdefault("base_there_at", round(max(there), 3))
        late = self._turns.failure(machine.name, self.machines)
        if late is not None:
            state.fail(late)
            return False
        awaited = self._turns.awaited(machine.name, self.machines)
        if awaited and self._is_given_back():
            state.fail(Failure(WAIT, "stopped", f"{machine.name} was not started: the run was ended while it waited for {awaited[0]}."))
        if awaited:
            return False
        return all(self._copies.get(need) == DONE for need in needs)

    def _is_given_back(self) -> bool:
        """Whether the run was ended. A file of the host says so; it is read once for all that wait."""
        if self._given_back is None:
            self._given_back = self._claim is not None and self._claim.given_back()
        return self._given_back

    # --- threads ---------------------------------------------------------------------------------

    def _spawn(self, work: t.Callable[..., t.Callable[[], None]], *args: t.Any) -> None:
        """``work`` runs beside, and returns what is then done here."""

        def body() -> None:
            try:
                then = work(*args)
            except Exception as error:  # whatever it is, the job must not wait for ever
                failure = steps.failure_of("run the job", error)
                then = functools.partial(self._on_defect, failure, *args)
            self._events.put(lambda: self._ended(then))

        self._threads += 1
        threading.Thread(target=body, daemon=True).start()

    def _ended(self, then: t.Callable[[], None]) -> None:
        self._threads -= 1
        then()

    def _take_events(self, wait_s: float) -> None:
        try:
            event = self._events.get(timeout=wait_s)
            while True:
                event()
                event = self._events.get_nowait()
        except queue.Empty:
            return

    def _on_defect(self, failure: Failure, *args: t.Any) -> None:
        """A thread ended by itself: what it was to do has failed, and nothing else."""
        if not self._prepared:
            self._fail_all(failure)
        for subject in args:
            if isinstance(subject, Copy):
                self._copies[subject] = FAILED
                self._problems[subject] = failure
            for machine in subject if isinstance(subject, list) else [subject] if isinstance(subject, MachineWork) else ():
                if not self.machines[machine.name].settled:
                    self.machines[machine.name].fail(failure)

    def _fail_all(self, failure: Failure) -> None:
        self._prepared = True
        for machine in self.machines.values():
            if not machine.settled:
                machine.fail(failure)

    # --- the work ---------------------------------------------------------------------------------

    def _prepare(self) -> t.Callable[[], None]:
        """What protects the bases that are on their way, and what is kept of the service."""
        with self._gate:
            kept = steps.keep_record(self._context)
            referred = StepResult()
            for wish in self._work.references if not kept.failed else ():
                referred.join(steps.refer(self._context, wish))
        return lambda: self._on_prepared(kept, referred)

    def _on_prepared(self, kept: StepResult, referred: StepResult) -> None:
        self._result.join(kept).join(referred)
        self._added = referred.values
        self._problems.update(referred.failed)
        if kept.failed:
            self._fail_all(next(iter(kept.failed.values())))
        self._prepared = True

    def _copy(self, copy: Copy) -> t.Callable[[], None]:
        with self._gate:
            result = steps.copy_base(self._context, copy)
        return lambda: self._on_copied(copy, result)

    def _on_copied(self, copy: Copy, result: StepResult) -> None:
        self._copies[copy] = FAILED if result.failed else DONE
        if result.failed:
            self._problems[copy] = result.failed[copy.sha256]
        self._result.join(result)

    def _make(self, machines: list[MachineWork]) -> None:
        for machine in machines:
            self.machines[machine.name].state = MAKING
        self._spawn(self._make_machines, machines)

    def _make_machines(self, machines: list[MachineWork]) -> t.Callable[[], None]:
        with self._gate:
            with Held([self._pools[pool] for pool in sorted({str(disk.pool) for one in machines for disk in one.disks})]):
                disks = steps.make_disks(self._context, machines)
            disks_at = round(self._wall(), 3)
            left = [machine for machine in machines if machine.name not in disks.failed]
            seeds = steps.make_seeds(self._context, left).join(steps.place_variables(self._context, left))
            left = [machine for machine in left if machine.name not in seeds.failed]
            wishes = steps.wishes_of(left, disks.values, seeds.values) if left else []
            self._events.put(lambda: self._on_made(machines, disks, seeds, disks_at))
            started = self._boot.start(wishes) if wishes else StepResult()
        if self._claim is not None:
            self._claim.there(started.values.keys() - started.failed.keys())
        started_at = round(self._wall(), 3)
        self._events.put(lambda: self._on_started(started, started_at))
        booting = [wish for wish in wishes if wish.owner.machine not in started.failed]
        came_up = self._boot.await_reports(booting, self._tell_live) if booting else StepResult()
        return lambda: self._on_came_up(booting, came_up)

    def _tell_live(self, found: StepResult) -> None:
        self._events.put(lambda: self._live.update(found.values))

    def _on_made(self, machines: t.Sequence[MachineWork], disks: StepResult, seeds: StepResult, disks_at: float) -> None:
        for result in (disks, seeds):
            self._result.join(result)
            for name, failure in result.failed.items():
                self.machines[name].fail(failure)
        for machine in machines:
            state = self.machines[machine.name]
            if machine.name not in disks.failed:
                state.times["disks_at"] = disks_at
                new = [disk for disk in disks.values.get(machine.name, ()) if disk["action"] == "created"]
                state.new_disks = [{key: disk[key] for key in ("name", "pool")} for disk in new]

    def _on_started(self, started: StepResult, started_at: float) -> None:
        self._result.join(started)
        for name, machine in started.values.items():
            self._actions[name] = list(machine.actions)
            self.machines[name].result = self._shown(name, machine)
        for name, failure in started.failed.items():
            self.machines[name].fail(failure)
        for name in started.values:
            if name not in started.failed:
                self.machines[name].state = BOOTING
                self.machines[name].times["started_at"] = started_at

    def _on_came_up(self, booting: t.Sequence[t.Any], came_up: StepResult) -> None:
        for wish in booting:
            name = wish.owner.machine
            state = self.machines[name]
            machine = came_up.values.get(name)
            if machine is not None:
                state.result = self._shown(name, machine)
                if machine.report is not None:
                    state.times.setdefault("reported_at", round(self._wall(), 3))
            self._live.pop(name, None)
            work = self._by_name[name]
            if name in came_up.failed:
                state.fail(came_up.failed[name])
            elif work.health and machine is not None:
                state.state = CHECKING
                self._spawn(self._check_health, work, machine)
            else:
                state.settle()

    def _check_health(self, work: MachineWork, machine: t.Any) -> t.Callable[[], None]:
        results, failure = self._boot.check_health(work, machine)
        return lambda: self._on_checked(work.name, results, failure)

    def _on_checked(self, name: str, results: t.Sequence[t.Mapping[str, t.Any]], failure: Failure | None) -> None:
        state = self.machines[name]
        state.health = results
        if failure is None:
            state.settle()
        else:
            state.fail(failure)

    def _shown(self, name: str, machine: t.Any) -> dict[str, t.Any]:
        """What libvirt has of it now, and what was done to it when it was started."""
        return {**machine.result(), "actions": self._actions.get(name, [])}

    def _tidy(self) -> None:
        """References to bases that did not come are no use to anybody."""
        for sha256, added in self._added.items():
            if sha256 in self._problems and added:
                with self._gate:
                    self._result.join(steps.drop_references(self._context, added))

    # --- what is told -------------------------------------------------------------------------------

    def told(self, state: str, ended: bool = False) -> dict[str, t.Any]:
        """The job as data, as it is kept and returned."""
        machines = list(self.machines.values())
        now = round(self._wall(), 3)
        return {
            "format": FORMAT,
            "run": self._run,
            "service": self._work.service,
            "tenant": self._work.tenant,
            **this_process(),
            "state": state,
            "msg": self._sentence(state),
            "changed": self._result.changed,
            "began_at": self._began_at,
            "began_s": self._began_s,
            "updated_at": now,
            "written_s": since_boot(),
            "boot": filesystem.boot_id(),
            "ended_at": now if ended else None,
            "summary": summary(machines),
            "bases": [base.told() for base in self._bases.states.values()],
            "machines": [machine.told() for machine in machines],
            "relay": self._bases.relay,
            "warnings": [*self._result.warnings, *dict.fromkeys(self._claim.warnings if self._claim else ())],
        }

    def _sentence(self, state: str) -> str:
        if state == RUNNING and self._gate.behind:
            return f"Another job of this service, process {self._gate.behind}, is at work on this host; this one waits for it."
        failed = [machine for machine in self.machines.values() if machine.failure is not None]
        if state == RUNNING and not failed:
            return self._waits()
        if not failed:
            return ""
        reasons = list(dict.fromkeys(machine.failure.msg for machine in failed if machine.failure))
        more = f"; and {len(reasons) - _MOST_REASONS} other reasons" if len(reasons) > _MOST_REASONS else ""
        return f"{len(failed)} of {len(self.machines)} machines failed: {'; '.join(reasons[:_MOST_REASONS])}{more}"

    def _waits(self) -> str:
        """Whom machines wait for, once all else that they need is there."""
        waiting = [machine.name for machine in self.machines.values() if machine.state == WAITING]
        roles = list(dict.fromkeys(role for name in waiting for role in self._turns.awaited(name, self.machines)))
        return f"{len(waiting)} machines wait for {', '.join(roles)}." if roles else ""

    def _write(self, state: str, ended: bool = False) -> dict[str, t.Any]:
        """At once when something has happened to a machine, once in a while when only bytes have come."""
        told = self.told(state, ended)
        machines, all_of_it = ({key: value for key, value in told.items() if key not in left_out} for left_out in _LEFT_OUT)
        written_at, old_machines, old_all = self._written
        now = self._clock()
        if told["summary"] != self._told_counts:
            self._told_counts = told["summary"]
            self._tell(told["summary"])
        if ended or machines != old_machines or (all_of_it != old_all and now - written_at >= _WRITE_S):
            self._written = (now, machines, all_of_it)
            try:
                self._journal.write(self._run, told)
            except (FleetError, OSError) as error:  # the work goes on, whoever can read of it
                warning = f"How far the job is could not be written down: {steps.failure_of('', error).msg}"
                self._result.join(StepResult(warnings=[warning]))
        return told

    @property
    def result(self) -> StepResult:
        """What the steps have changed, for a diff."""
        return self._result


class Held:
    """Several locks at once, always taken in the same order."""

    def __init__(self, locks: t.Sequence[threading.Lock]) -> None:
        self._locks = locks

    def __enter__(self) -> None:
        for one in self._locks:
            one.acquire()

    def __exit__(self, *_exc_info: object) -> None:
        for one in reversed(self._locks):
            one.release()


def predict(context: Context, boot: Boot) -> tuple[dict[str, MachineState], StepResult]:
    """What a job would do, in check mode: every step once, in order, nothing waited for."""
    work = context.work
    result = steps.keep_record(context)
    states = {machine.name: MachineState(machine.name, machine.role) for machine in work.machines}
    failed: dict[str | Copy, Failure] = {}
    for wish in work.references:
        referred = steps.refer(context, wish)
        failed.update(referred.failed)
        result.join(referred)
    for copy in work.copies:
        copied = steps.copy_base(context, copy)
        if copied.failed:
            failed[copy] = copied.failed[copy.sha256]
        result.join(copied)
    machines = []
    for machine in work.machines:
        needs: list[str | Copy] = [*sorted(machine.bases), *machine.needs(work.copies)]
        failure = next((failed[need] for need in needs if need in failed), None)
        if failure is None:
            machines.append(machine)
        else:
            states[machine.name].fail(failure)
    disks = steps.make_disks(context, machines)
    left = [machine for machine in machines if machine.name not in disks.failed]
    seeds = steps.make_seeds(context, left).join(steps.place_variables(context, left))
    wishes = steps.wishes_of(
        [machine for machine in machines if machine.name not in {**disks.failed, **seeds.failed}], disks.values, seeds.values
    )
    started = boot.start(wishes) if wishes else StepResult()
    for step in (disks, seeds, started):
        result.join(step)
        for name, failure in step.failed.items():
            states[name].fail(failure)
    for name, machine in started.values.items():
        states[name].result = machine.result()
        if name not in started.failed:
            states[name].settle()
    return states, result
