# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The host that a machine leaves: it keeps the machine whole until the target has proven that it has it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import tempfile
import threading
import time
import typing as t
from urllib.parse import quote

from .._disk import filesystem, layout
from .._disk.safe_directory import SafeDirectory
from .._errors import FleetError
from .._machine.backing import Layer
from .._machine.domain import Moved, disk_targets, moved
from .._machine.files import check_log
from .._machine.libvirt_host import OFF, RUNNING, Domain, LibvirtError, LibvirtHost, LiveMove, PortTaken
from .._machine.machines import Machines
from .._machine.moves import HANDED, LEAVING, SOURCE, Entry
from .._machine.owner import Owner
from .._machine.records import RecordUnreadable, ServiceRecords
from .._relay.wire.tls import Contexts
from . import look as looking
from . import tunnel
from .door import LOCAL, PORTS
from .host import Host, MoveFailed, Numbers, check_run, part_of
from .look import Seen
from .target import DEFINITION, OLD_CONSOLE, RECORD
from .tunnel import LocalDoor, Peer

_ABORT_EVERY_S = 2.0
_ABORT_FOR_S = 60.0
_PORTS_TRIED = 50
_PORT_ATTEMPTS = 5


class Place(t.NamedTuple):
    """Where the target keeps the machine, as it has said it.

    :param disks: path of each disk by name; chains: what lies under each, by path.
    """

    home: str
    disks: t.Mapping[str, str]
    chains: t.Mapping[str, list[Layer]]
    security: t.Sequence[str]


class Departure(t.NamedTuple):
    """A machine that leaves this host.

    :param live: it runs while it moves; otherwise it is off, or its guest is asked to power off.
    """

    owner: Owner
    run: str
    peer: Peer
    live: bool
    place: Place


class Limits(t.NamedTuple):
    """:param timeout_s: of a live migration, from its start to its end."""

    shutdown_timeout_s: float = 120.0
    timeout_s: float = 3600.0


class Source:
    def __init__(self, host: Host) -> None:
        self._host = host

    # -- send

    def send(self, departure: Departure, tls: Contexts, limits: Limits) -> dict[str, t.Any]:
        """Bring the machine to the target. Where that fails, it is here as it was before.

        :raises FleetError: why; ``unknown`` is in its fields where it cannot be known which host has the machine.
        """
        owner = departure.owner
        with self._host.alone(owner), self._host.connect(self._host.uri) as libvirt:
            seen = self._find(libvirt, owner)
            journal = self._host.journal(owner)
            if journal.read(owner.machine) is not None:
                raise MoveFailed(f"An earlier migration of {owner.machine} has not ended here; run again.")
            state = seen.domain.power()
            if departure.live and state != RUNNING:
                raise MoveFailed(f"{owner.machine} is {state}; a live migration needs it running.")
            entry = Entry(
                SOURCE,
                LEAVING,
                departure.run,
                owner.machine,
                departure.peer.host,
                departure.live,
                state != OFF,
                seen.domain.autostart(),
                seen.told["home"],
            )
            journal.write(entry)
            try:
                if entry.autostart:
                    seen.domain.set_autostart(False)  # a host that restarts now must not start it
                if departure.live:
                    told = _Live(seen, departure, tls, limits, self._host).perform()
                else:
                    told = self._send_off(seen, departure, tls, limits, libvirt)
            except BaseException as error:  # an interrupt must leave the machine as it was as well
                self._restore(entry, owner, libvirt, error)
                raise
        return {"state": "sent", **told}

    def _send_off(self, seen: Seen, departure: Departure, tls: Contexts, limits: Limits, libvirt: LibvirtHost) -> dict[str, t.Any]:
        began = time.monotonic()
        if seen.domain.power() != OFF:
            stopped = Machines(libvirt, pools=self._host.pools.values()).stop([seen.owner], limits.shutdown_timeout_s, force=False)
            if stopped[0].problem:
                raise MoveFailed(stopped[0].problem.replace("; force=true would cut its power", "; it was not moved"))
        files = _Files(seen, departure, tls, self._host)
        sent = files.send_small(console=True)
        for disk in seen.told["disks"]:
            sent += files.send_disk(disk)
        files.send_definition(moved(seen.xml, files.places(keep_console=False)))
        return {"bytes": sent, "seconds": round(time.monotonic() - began, 3)}

    def _find(self, libvirt: LibvirtHost, owner: Owner) -> Seen:
        seen = looking.find(libvirt, owner, self._host.stores)
        if seen is None:
            raise MoveFailed(f"{owner.machine} is not on this host any more; run again.")
        if seen.told["problems"]:
            raise MoveFailed(f"{owner.machine} cannot be moved: {'; '.join(seen.told['problems'])}.")
        return seen

    # -- back

    def _restore(self, entry: Entry, owner: Owner, libvirt: LibvirtHost, error: BaseException) -> None:
        """After a failure: as before, or the journal stays and the next run decides."""
        try:
            self._undo(entry, owner, libvirt)
        except FleetError as another:
            told = error.message if isinstance(error, FleetError) else str(error)
            raise MoveFailed(f"{told} And it is not as it was before: {another.message}", unknown=True) from error

    def undo(self, owner: Owner, run: str, certain: bool = False) -> dict[str, t.Any]:
        """The machine is here as it was before it was to leave.

        :param certain: the other host was seen without the machine.
        """
        journal = self._host.journal(owner)
        with self._host.alone(owner), self._host.connect(self._host.uri) as libvirt:
            entry = journal.read(owner.machine)
            if entry is None:
                return {"state": "as before"}
            check_run(entry, run, owner.machine)
            if entry.side != SOURCE or entry.phase != LEAVING:
                raise MoveFailed(f"{owner.machine} was handed over to {entry.peer}, which has it; nothing was changed.")
            self._undo(entry, owner, libvirt, certain)
        return {"state": "as before"}

    def _undo(self, entry: Entry, owner: Owner, libvirt: LibvirtHost, certain: bool = False) -> None:
        domain = libvirt.domain(owner.domain_uuid)
        if domain is None:
            raise MoveFailed(f"{owner.machine} is not defined on this host any more.")
        state = domain.power()
        if entry.live and state == RUNNING:
            with contextlib.suppress(LibvirtError):  # as a rule there is none: it ends with the process that began it
                domain.abort_job()
            state = domain.power()
        if entry.live and state != RUNNING and not (certain and state == OFF):
            raise MoveFailed(f"{owner.machine} is {state} on this host; whether {entry.peer} has it is not known. Run again.")
        if domain.autostart() != entry.autostart:
            domain.set_autostart(entry.autostart)
        if entry.running and state == OFF and not entry.live:  # a guest that was to move live has powered off by itself
            self._start(domain)
        self._host.journal(owner).remove(owner.machine)

    @staticmethod
    def _start(domain: Domain) -> None:
        about = looking.domains.describe(domain.xml())
        for log in (about.console, about.report):
            check_log(log)
        domain.start()

    # -- forward

    def hand_over(self, owner: Owner, run: str) -> dict[str, t.Any]:
        """From here on the machine is the target's, whatever happens. It is off here."""
        journal = self._host.journal(owner)
        with self._host.alone(owner), self._host.connect(self._host.uri) as libvirt:
            entry = journal.read(owner.machine)
            if entry is None or entry.side != SOURCE:
                raise MoveFailed(f"{owner.machine} does not leave this host; run again.")
            check_run(entry, run, owner.machine)
            domain = libvirt.domain(owner.domain_uuid)
            state = domain.power() if domain else OFF
            if state != OFF:
                raise MoveFailed(f"{owner.machine} is {state} here after it was sent; somebody has started it.")
            journal.write(entry._replace(phase=HANDED))
        return {"state": "handed over"}

    def finish(self, owner: Owner, run: str, numbers: Numbers) -> dict[str, t.Any]:
        """Remove what is left here of a machine that the target has."""
        journal = self._host.journal(owner)
        entry = journal.read(owner.machine)
        if entry is not None and (entry.side != SOURCE or entry.phase != HANDED):
            raise MoveFailed(f"{owner.machine} was not handed over; nothing was removed.")
        removed: dict[str, t.Any] = {"references": []}
        if entry is not None:
            check_run(entry, run, owner.machine)
            removed = self._host.remove(owner)
            journal.remove(owner.machine)
        self._host.assign(owner.tenant, owner.service, numbers)
        return {"state": "gone", "references": removed["references"]}


class _Files:
    """What is sent of a machine beside its memory."""

    def __init__(self, seen: Seen, departure: Departure, tls: Contexts, host: Host) -> None:
        self._seen = seen
        self._departure = departure
        self._tls = tls
        self._host = host
        self._home = os.path.dirname(seen.about.report or seen.about.console or seen.about.seed or "")

    def places(self, keep_console: bool) -> Moved:
        """The files of the domain, here and there."""
        place = self._departure.place
        paths = {disk["path"]: place.disks[disk["name"]] for disk in self._seen.told["disks"]}
        for path in (self._seen.about.seed, self._seen.about.console, self._seen.about.report):
            if path:
                paths[path] = os.path.join(place.home, os.path.basename(path))
        return Moved(paths, place.chains, place.security, keep_console)

    def send_small(self, console: bool) -> int:
        """The seed, what the guest has reported, and where disks come from.

        :param console: what the guest has written so far as well.
        """
        sent = 0
        for directory in sorted({self._home, *(os.path.dirname(disk["path"]) for disk in self._seen.told["disks"])}):
            for name in looking.small_files(directory):
                if name != "console.log":
                    sent += self._send(directory, name, name)
                elif console:
                    sent += self._send(directory, name, OLD_CONSOLE)
        owner = self._departure.owner
        with contextlib.suppress(RecordUnreadable):
            record = ServiceRecords(self._host.state_dir, owner.tenant).read(owner.service)
            sent += self._send_text(RECORD, json.dumps(part_of(record, self._seen.about.group or "")))
        return sent

    def send_console(self) -> int:
        return self._send(self._home, "console.log", OLD_CONSOLE)

    def send_disk(self, disk: t.Mapping[str, t.Any]) -> int:
        directory, name = os.path.split(disk["path"])
        there = os.path.basename(layout.disk_path("/", "s", "m", disk["name"], disk["image_format"]))
        return self._send(directory, name, there)

    def send_definition(self, xml: str) -> int:
        return self._send_text(DEFINITION, xml)

    def _send(self, directory: str, name: str, there: str) -> int:
        with SafeDirectory.open(directory) as opened:
            opened.check_file(name)
            descriptor = filesystem.open_regular(os.path.join(directory, name))
        try:
            return self._to_target(there, descriptor)
        finally:
            os.close(descriptor)

    def _send_text(self, there: str, text: str) -> int:
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            return self._to_target(there, file.fileno())

    def _to_target(self, there: str, descriptor: int) -> int:
        return tunnel.send_file(self._departure.peer, self._tls, str(self._departure.owner), there, descriptor)


class _Live:
    """The live migration of one machine: this host's libvirt does it, with a deadline that is ours."""

    def __init__(self, seen: Seen, departure: Departure, tls: Contexts, limits: Limits, host: Host) -> None:
        self._seen = seen
        self._departure = departure
        self._tls = tls
        self._limits = limits
        self._host = host
        self._error: BaseException | None = None

    def perform(self) -> dict[str, t.Any]:
        began = time.monotonic()
        files = _Files(self._seen, self._departure, self._tls, self._host)
        sent = files.send_small(console=False)
        for attempts_left in range(_PORT_ATTEMPTS - 1, -1, -1):
            try:
                self._through_doors(files)
                break
            except PortTaken:
                if not attempts_left:
                    raise
        statistics = self._seen.domain.job_statistics()
        # What the guest had said before goes beside what it says there.
        with contextlib.suppress(FileNotFoundError):
            sent += files.send_console()
        return {
            "bytes": sent,
            "seconds": round(time.monotonic() - began, 3),
            "downtime_ms": statistics.get("downtime"),
            "memory_bytes": statistics.get("memory_processed"),
            "disk_bytes": statistics.get("disk_processed"),
        }

    def _through_doors(self, files: _Files) -> None:
        """One attempt: through ports that are free on both hosts."""
        with contextlib.ExitStack() as held:
            uri, doors = self._libvirt_door(held)
            memory, memory_door = self._port_door(held)
            disks, disks_door = self._port_door(held)
            doors += [memory_door, disks_door]
            places = files.places(keep_console=True)
            targets = disk_targets(self._seen.xml)
            move = LiveMove(
                uri=uri,
                address=LOCAL,
                memory_port=memory,
                disks_port=disks,
                disks=[targets[disk["path"]] for disk in self._seen.told["disks"]],
                xml=moved(self._seen.domain.movable_xml(), places),
                lasting_xml=moved(self._seen.xml, places._replace(keep_console=False)),
            )
            self._migrate(move, doors)

    def _libvirt_door(self, held: contextlib.ExitStack) -> tuple[str, list[LocalDoor]]:
        """The target's libvirt under a path of this host, which root alone can reach."""
        directory = held.enter_context(tempfile.TemporaryDirectory(prefix="basecast-", dir="/run"))
        path = os.path.join(directory, "libvirt")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(8)
        made = LocalDoor(listener, self._departure.peer, self._tls, {"to": tunnel.LIBVIRT})
        held.callback(made.close)
        return f"qemu+unix:///system?socket={quote(path, safe='/')}", [made]

    def _port_door(self, held: contextlib.ExitStack) -> tuple[int, LocalDoor]:
        """A port of this host that leads to the same port of the target, where nobody listens yet."""
        for port in random.sample(range(PORTS[0], PORTS[1] + 1), _PORTS_TRIED):
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.bind((LOCAL, port))
                listener.listen(8)
                if self._is_free_there(port):
                    made = LocalDoor(listener, self._departure.peer, self._tls, {"to": tunnel.PORT, "port": port})
                    held.callback(made.close)
                    return port, made
            except OSError:
                pass
            listener.close()
        raise MoveFailed(f"{_PORTS_TRIED} ports from {PORTS[0]} to {PORTS[1]} were tried, and none is free on {LOCAL} of both hosts.")

    def _is_free_there(self, port: int) -> bool:
        return tunnel.ask(self._departure.peer, self._tls, {"to": tunnel.PROBE, "port": port})["free"].flag()

    def _migrate(self, move: LiveMove, doors: t.Sequence[LocalDoor]) -> None:
        self._error = None
        thread = threading.Thread(target=self._in_thread, args=(move,), daemon=True, name="migrate")
        thread.start()
        thread.join(self._limits.timeout_s)
        late = thread.is_alive()
        if late:
            self._abort(thread, doors)
        if thread.is_alive():
            raise MoveFailed("libvirt does not end the migration.", unknown=True)
        if self._error is not None:
            reasons = "; ".join(dict.fromkeys(error for made in doors for error in made.errors))
            told = self._error.message if isinstance(self._error, FleetError) else str(self._error)
            if isinstance(self._error, PortTaken) and not late:
                raise self._error
            why = f"It took longer than {self._limits.timeout_s:g} s and was ended. " if late else ""
            raise MoveFailed(f"{why}{told}{f' ({reasons})' if reasons else ''}") from self._error

    def _in_thread(self, move: LiveMove) -> None:
        try:
            self._seen.domain.migrate(move)
        except BaseException as error:  # told by the other thread
            self._error = error

    def _abort(self, thread: threading.Thread, doors: t.Sequence[LocalDoor]) -> None:
        """End it: libvirt is told to, and where it still waits for the other host, its connections end."""
        begin = time.monotonic()
        while thread.is_alive() and time.monotonic() - begin < _ABORT_FOR_S:
            with contextlib.suppress(LibvirtError):  # it may have ended just now
                self._seen.domain.abort_job()
            thread.join(_ABORT_EVERY_S)
            if thread.is_alive():
                for made in doors:
                    made.close()
