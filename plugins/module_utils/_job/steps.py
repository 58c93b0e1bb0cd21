# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The steps of a job. Each is idempotent, and tells of each machine by itself: one that fails hides no other.

They are compositions over the same code as the modules of these steps, and know nothing of time or order.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .._disk import ownership
from .._disk.disk_options import disk_difference
from .._disk.local_copies import LocalCopies
from .._disk.overlay import Disks
from .._disk.ownership import Change
from .._disk.ownership import Wish as ReferenceWish
from .._disk.qemu_img import QemuImg
from .._disk.runner import Runner
from .._disk.store import Store
from .._errors import FleetError
from .._machine import flattening
from .._machine.domain import MachineWish
from .._machine.files import SECRET_MODE, open_machine_directory
from .._machine.hardware.board import nvram_name
from .._machine.libvirt_host import LibvirtError, LibvirtHost
from .._machine.machine import Machine, MachinesFailed
from .._machine.machines import Machines
from .._machine.records import ServiceRecords
from .._machine.seed_images import SeedImages
from .._machine.wishes import checked_wishes
from .outcome import Failure
from .work import Copy, HostWork, MachineWork


@dataclass(frozen=True)
class Context:
    """What every step may use.

    :param check: predict only.
    :param copy_timeout_s: how long to wait for somebody else who writes the same base.
    :param turn_timeout_s: how long machines wait for those that start before them.
    """

    work: HostWork
    stores: t.Mapping[str, Store]
    run_command: Runner
    uri: str = "qemu:///system"
    domain_type: str = "auto"
    state_dir: str = "/var/lib/basecast"
    copy_timeout_s: float = 7200.0
    check: bool = False
    turn_timeout_s: float = 7200.0


@dataclass
class StepResult:
    """What came of a step.

    :param values: what later steps need, by machine.
    :param failed: by machine, or by what else the step is about.
    :param before, after: what a diff shows, by kind of thing.
    """

    changed: bool = False
    values: dict[str, t.Any] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    before: dict[str, t.Any] = field(default_factory=dict)
    after: dict[str, t.Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def join(self, other: StepResult) -> StepResult:
        self.changed = self.changed or other.changed
        self.values.update(other.values)
        self.failed.update(other.failed)
        for mine, theirs in ((self.before, other.before), (self.after, other.after)):
            for key, value in theirs.items():
                mine[key] = {**mine[key], **value} if isinstance(value, dict) and key in mine else value
        self.warnings += [warning for warning in other.warnings if warning not in self.warnings]
        return self


def failure_of(step: str, error: Exception) -> Failure:
    """What is told of an error that a step has met."""
    if isinstance(error, FleetError):
        return Failure(step, str(error.fields.get("kind") or "failed"), error.message)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Failure(step, "system", f"{where}{error.strerror}")
    return Failure(step, "unexpected", f"Unexpected {type(error).__name__}: {error}. This is a defect.")


def keep_record(context: Context) -> StepResult:
    """Leave the host its part of the manifest."""
    work = context.work
    if work.record is None:
        return StepResult()
    records = ServiceRecords(context.state_dir, work.tenant)
    try:
        if records.read(work.service) == work.record:
            return StepResult()
        if not context.check:
            records.write(work.service, work.record)
    except (FleetError, OSError) as error:
        return StepResult(failed={work.service: failure_of("keep the service's record", error)})
    shown = {"generation": work.record.get("generation")}
    return StepResult(True, after={"record": shown})


def refer(context: Context, wish: ReferenceWish) -> StepResult:
    """Say who needs a base, before it is there: then it is never removed in between.

    ``values``: the changes that were made, by digest.
    """
    sha256 = str(wish.sha256)
    try:
        changes = ownership.plan_present(context.stores, context.work.tenant, [wish], True, context.check)
        added = [change for change in changes if change.action == "added"]
        if not context.check:
            ownership.apply(context.stores, added)
    except (FleetError, OSError) as error:
        return StepResult(failed={sha256: failure_of("reference the base", error)})
    shown = {" ".join(filter(None, [change.pool, change.sha256, *change.reference])): "present" for change in added}
    return StepResult(bool(added), {sha256: added}, after={"references": shown} if shown else {})


def drop_references(context: Context, added: t.Sequence[Change]) -> StepResult:
    """Take back what was written for a base that has not come."""
    changes = [change._replace(action="removed") for change in added if context.stores[change.pool].find(change.sha256) is None]
    try:
        ownership.apply(context.stores, changes)
    except (FleetError, OSError) as error:
        return StepResult(warnings=[f"A reference to a base that has not come is left: {failure_of('', error).msg}"])
    return StepResult()


def copy_base(context: Context, copy: Copy) -> StepResult:
    """A base into a further pool of the host."""
    copies = LocalCopies(context.stores, context.work.tenant, context.copy_timeout_s, check=context.check)
    try:
        actions = copies.present(copy.pool, copy.sha256)
    except (FleetError, OSError) as error:
        return StepResult(failed={copy.sha256: failure_of(f"copy the base to pool {copy.pool}", error)})
    return StepResult(bool(actions), after={"bases": {copy.pool: actions}} if actions else {})


def make_disks(context: Context, machines: t.Sequence[MachineWork]) -> StepResult:
    """``values``: what was made of each machine's disks, in its own order."""
    wishes = [disk for machine in machines for disk in machine.disks]
    result = StepResult(values={machine.name: [] for machine in machines})
    if not wishes:
        return result
    # The job waits for the bases that it has references for.
    coming = {reference.sha256 for reference in context.work.references if reference.sha256}
    disks = Disks(context.stores, QemuImg(context.run_command), context.work.tenant, context.work.service, context.check, coming)
    try:
        made = disks.present(wishes)
    except (FleetError, OSError) as error:
        if len(machines) == 1:
            return StepResult(failed={machines[0].name: failure_of("make disks", error)})
        # All of a call's disks are made, or none: so each machine's by themselves.
        return _each(lambda machine: make_disks(context, [machine]), machines)
    for disk in made:
        result.values[disk["machine"]].append(disk)
    changed = any(disk["action"] != "none" for disk in made)
    if changed:
        shown = disk_difference(made, disks.sizes_before)
        for mine, key in ((result.before, "before"), (result.after, "after")):
            mine["disks"] = {disk["path"]: disk for disk in shown[key]["disks"]}
    result.changed, result.warnings = changed, list(disks.warnings)
    return result


def make_seeds(context: Context, machines: t.Sequence[MachineWork]) -> StepResult:
    """``values``: path of each machine's seed."""
    images = SeedImages(context.run_command, check=context.check)
    result = StepResult()
    for machine in machines:
        if machine.seed is None:
            continue
        try:
            seed, before, after = images.ensure(machine.seed)
        except (FleetError, OSError) as error:
            result.failed[machine.name] = failure_of("make the seed", error)
            continue
        result.values[machine.name] = seed["path"]
        if seed["action"] != "none":
            result.changed = True
            result.before.setdefault("seeds", {})[machine.name] = before
            result.after.setdefault("seeds", {})[machine.name] = after
    return result


def place_variables(context: Context, machines: t.Sequence[MachineWork]) -> StepResult:
    """Firmware variables of a template for machines that have none: libvirt makes new ones only where there is no file."""
    result = StepResult()
    for machine in machines:
        if machine.variables is None:
            continue
        firmware, content = machine.variables
        try:
            with open_machine_directory(machine.directory, make=not context.check) as directory:
                if nvram_name(firmware) in directory.names():
                    continue
                if not context.check:
                    directory.replace(nvram_name(firmware), content, SECRET_MODE)
        except FileNotFoundError:
            pass  # in check mode there is no directory yet
        except (FleetError, OSError) as error:
            result.failed[machine.name] = failure_of("write firmware variables", error)
            continue
        result.changed = True
        result.after.setdefault("firmware variables", {})[machine.name] = "of the template"
    return result


def wishes_of(machines: t.Sequence[MachineWork], disks: t.Mapping[str, t.Any], seeds: t.Mapping[str, str]) -> list[MachineWish]:
    """What libvirt is to have, from what was made."""
    options = [
        {
            **machine.options,
            "disks": [{key: disk[key] for key in ("name", "path", "image_format")} for disk in disks.get(machine.name) or ()],
            "seed": seeds.get(machine.name),
        }
        for machine in machines
    ]
    return checked_wishes(options, {machine.owner: machine.directory for machine in machines})


def start(context: Context, host: LibvirtHost, wishes: t.Sequence[MachineWish], start_them: bool = True) -> tuple[Machines, StepResult]:
    """Define what is missing, start what is off. ``values``: each machine as libvirt's host code sees it.

    :raises LibvirtError: libvirt gives no answer.
    """
    machines = Machines(host, context.domain_type, check=context.check, pools=context.work.pools.values(), state_dir=context.state_dir)
    before = {machine.owner.machine: machine.shown() for machine in machines.query(context.work.tenant, context.work.service)}
    try:
        found = machines.ensure(wishes, start=start_them)
    except LibvirtError:
        raise  # what concerns one machine is told by that machine; this is the host's
    except FleetError as error:
        if len(wishes) == 1:
            return machines, StepResult(failed={wishes[0].owner.machine: _failure_of_machine(error)})
        # Nothing is changed unless all of a call can be tried: so each by itself.
        return machines, _each(lambda wish: start(context, host, [wish], start_them)[1], wishes)
    result = _started(found, before)
    return machines, result.join(_flatten(context, found)) if start_them else result


def _flatten(context: Context, machines: t.Sequence[Machine]) -> StepResult:
    """Let disks go on losing their bases, which ended with the machine's QEMU. A machine that runs over its bases is no failure."""
    result = StepResult()
    qemu = QemuImg(context.run_command)
    for machine in machines:
        is_predicted = context.check and machine.actions
        if machine.problem or not machine.running or machine.domain is None or is_predicted:
            continue
        try:
            done = flattening.Flattening(context.stores, qemu, machine.owner).go_on(machine.domain, context.check)
        except (FleetError, OSError) as error:
            result.warnings.append(f"{machine.owner.machine} keeps its bases for now: {failure_of('', error).msg}")
            continue
        if done:
            result.changed = True
            result.after.setdefault("disks without bases", {})[machine.owner.machine] = done
    return result


def _started(found: t.Sequence[Machine], before: t.Mapping[str, t.Any]) -> StepResult:
    result = StepResult()
    for machine in found:
        name = machine.owner.machine
        result.values[name] = machine
        if machine.problem:
            result.failed[name] = Failure("define and start", machine.reason or "failed", machine.problem)
        if machine.actions:
            result.changed = True
            result.before.setdefault("machines", {})[name] = before.get(name, {"state": "absent"})
            result.after.setdefault("machines", {})[name] = machine.shown()
    return result


def _failure_of_machine(error: FleetError) -> Failure:
    failed = error.fields.get("failed") if isinstance(error, MachinesFailed) else None
    reason = next((one.get("reason") for one in failed or ()), None)
    kind = "define_failed" if isinstance(error, MachinesFailed) else str(error.fields.get("kind"))
    return Failure("define and start", reason or kind, error.message)


_T = t.TypeVar("_T")


def _each(step: t.Callable[[_T], StepResult], things: t.Iterable[_T]) -> StepResult:
    result = StepResult()
    for thing in things:
        result.join(step(thing))
    return result
