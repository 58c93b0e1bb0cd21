# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""All machines of a host whose disks are to lose their bases: what has stopped goes on."""

from __future__ import annotations

import contextlib
import typing as t

from .._disk.qemu_img import QemuImg
from .._disk.runner import Runner
from .._disk.store import Store
from .._errors import FleetError
from .._machine import flattening
from .._machine.domain import with_chains
from .._machine.libvirt_host import LibvirtHost, LibvirtMissing, MemorySaved, may_have_domains
from .._machine.machine import Machine
from .._machine.machines import Machines
from .._machine.moves import unended
from .alone import alone, refuse_jobs
from .journal import Journal
from .steps import failure_of

FLATTENED, GOING_ON, FAILED = "flattened", "going on", "failed"

Connect = t.Callable[[str], t.ContextManager[t.Any]]


class Request(t.NamedTuple):
    uri: str
    state_dir: str
    runtime_dir: str
    busy_timeout_s: float = 60.0
    check: bool = False


def go_on(request: Request, stores: t.Mapping[str, Store], run_command: Runner, connect: Connect = LibvirtHost) -> list[dict[str, t.Any]]:
    """What became of each machine. One that has failed keeps no other from it."""
    pools = {name: store.pool_path for name, store in stores.items()}
    told = []
    with contextlib.ExitStack() as held:
        try:
            host = held.enter_context(connect(request.uri))
        except LibvirtMissing:
            if may_have_domains(request.uri):
                raise
            return []
        for machine in Machines(host, check=request.check, pools=pools.values()).query(None, None):
            if not flattening.noted_disks(pools, machine.owner):
                continue
            done: list[str] = []
            problem = None
            try:
                done = _go_on(request, stores, QemuImg(run_command), host, machine)
            except (FleetError, OSError) as error:
                problem = f"{machine.owner.machine} keeps its bases for now: {failure_of('', error).msg}"
            state = FAILED if problem else GOING_ON if flattening.due(pools, machine.owner) else FLATTENED
            owner = {"tenant": machine.owner.tenant, "service": machine.owner.service, "machine": machine.owner.machine}
            told.append({**owner, "state": state, "done": done, "problem": problem})
    return told


def _go_on(request: Request, stores: t.Mapping[str, Store], qemu: QemuImg, host: LibvirtHost, machine: Machine) -> list[str]:
    owner = machine.owner
    journal = Journal(request.runtime_dir, owner.tenant, owner.service)
    moving = unended(request.state_dir, owner)
    if moving is not None:
        raise FleetError(moving, kind="moving")
    if machine.memory_saved and flattening.due({name: store.pool_path for name, store in stores.items()}, owner):
        raise MemorySaved()
    with contextlib.ExitStack() as held:
        if not request.check:
            refuse_jobs(journal, owner.service)
            held.enter_context(alone(journal, owner.service, request.busy_timeout_s))
        done = flattening.Flattening(stores, qemu, owner).go_on(machine.domain if machine.running else None, request.check)
        if done and not machine.running and not request.check:
            _let_go(host, machine)
    return done


def _let_go(host: LibvirtHost, machine: Machine) -> None:
    """The definition of a machine that is off names the bases still, which may go now."""
    if machine.domain is None or machine.found is None:
        return
    xml = with_chains(machine.domain.xml(), {path: [] for path, kind in machine.found.files if kind == "qcow2"}, ())
    if xml is not None:
        host.define(xml, machine.domain.name)
