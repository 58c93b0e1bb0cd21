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

from .._disk import file_io, in_use, layout
from .._disk.safe_directory import SafeDirectory
from .._errors import FleetError
from .._job import half_clones
from .._machine import disk_mirror
from .._machine.backing import Layer
from .._machine.domain import Moved, disk_targets, moved
from .._machine.libvirt_host import OFF, RUNNING, LibvirtError, LibvirtHost, LiveMove, PortTaken, UnsafeMove
from .._machine.machines import Machines
from .._machine.moves import HANDED, LEAVING, SOURCE, Entry
from .._machine.owner import Owner
from .._machine.records import RecordUnreadable, ServiceRecords
from .._machine.starting import checked_chains
from .._machine.xml_document import parse_xml
from .._relay.wire.tls import Contexts
from . import look as looking
from . import tunnel
from .door import LOCAL, PORTS
from .far_room import FarRoom, RoomLost
from .host import Host, MoveFailed, Numbers, check_off, check_run, part_of
from .look import Seen
from .target import DEFINITION, OLD_CONSOLE, RECORD
from .tunnel import LocalDoor, Peer

_ABORT_EVERY_S = 2.0
_ABORT_FOR_S = 60.0
_LOOK_S = 0.5
_PORTS_TRIED = 50
_PORT_ATTEMPTS = 5
_DROPS_CACHE = 4_000_000  # the version of QEMU as libvirt tells it
_NO_CACHE = {"none", "directsync"}


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
    :param shared: pools of this host that the target has as well: what the machine has there stays, and is the target's.
    """

    owner: Owner
    run: str
    peer: Peer
    live: bool
    place: Place
    shared: t.Sequence[str] = ()


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
            seen = self._find(libvirt, owner, departure.live)
            journal = self._host.journal(owner)
            if journal.read(owner.machine) is not None:
                raise MoveFailed(f"An earlier migration of {owner.machine} has not ended here; run again.")
            disk_mirror.let_go_on(seen.domain)
            state = seen.domain.power()
            if departure.live and state != RUNNING:
                raise MoveFailed(f"{owner.machine} is {state}; a live migration needs it running.")
            half_clones.end_all(libvirt, seen.domain if state != OFF else None, self._host.pools, owner)
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
                shared=list(departure.shared),
            )
            journal.write(entry)
            try:
                if entry.autostart:
                    seen.domain.set_autostart(False)  # a host that restarts now must not start it
                if departure.live:
                    told = _Live(seen, departure, tls, limits, self._host, libvirt.emulator_version()).perform()
                else:
                    told, sent = self._send_off(seen, departure, tls, limits, libvirt)
                    journal.write(entry._replace(sent=sent))
            except BaseException as error:  # an interrupt must leave the machine as it was as well
                self._restore(entry, owner, libvirt, error)
                raise
        return {"state": "sent", **told}

    def _send_off(
        self, seen: Seen, departure: Departure, tls: Contexts, limits: Limits, libvirt: LibvirtHost
    ) -> tuple[dict[str, t.Any], dict[str, int]]:
        """What was sent, and when each disk had been changed."""
        began = time.monotonic()
        if seen.domain.power() != OFF:
            stopped = Machines(libvirt, pools=self._host.pools.values()).stop([seen.owner], limits.shutdown_timeout_s, force=False)
            if stopped[0].problem:
                raise MoveFailed(stopped[0].problem.replace("; force=true would cut its power", "; it was not moved"))
        files = _Files(seen, departure, tls, self._host)
        with self._kept_off(seen):
            changed = {disk["path"]: os.lstat(disk["path"]).st_mtime_ns for disk in files.own_disks()}
            sent = files.send_small(console=True)
            for disk in files.own_disks():
                sent += files.send_disk(disk)
            files.send_definition(moved(seen.xml, files.places(keep_console=False)))
        return {"bytes": sent, "seconds": round(time.monotonic() - began, 3)}, changed

    @staticmethod
    @contextlib.contextmanager
    def _kept_off(seen: Seen) -> t.Iterator[None]:
        """Nobody writes the machine's disks meanwhile, or starts it: what they write would be lost. :raises DiskBusy:"""
        with contextlib.ExitStack() as held:
            for disk in seen.told["disks"]:
                descriptor = file_io.open_regular(disk["path"])
                held.callback(os.close, descriptor)
                held.enter_context(in_use.reading(descriptor, disk["path"], "moved"))
            check_off(seen.domain, seen.owner.machine)
            yield

    def _find(self, libvirt: LibvirtHost, owner: Owner, live: bool) -> Seen:
        seen = looking.find(libvirt, owner, self._host.stores)
        if seen is None:
            raise MoveFailed(f"{owner.machine} is not on this host any more; run again.")
        problems = [*seen.told["problems"], *seen.told["bound"], *(() if live else seen.told["bound_off"])]
        if problems:
            raise MoveFailed(f"{owner.machine} cannot be moved: {'; '.join(problems)}.")
        return seen

    # -- back

    def _restore(self, entry: Entry, owner: Owner, libvirt: LibvirtHost, error: BaseException) -> None:
        """After a failure: as before, or the journal stays and the next run decides."""
        try:
            self._undo(entry, owner, libvirt)
        except (FleetError, OSError) as another:
            told, more = (one.message if isinstance(one, FleetError) else str(one) for one in (error, another))
            raise MoveFailed(f"{told} And it is not as it was before: {more}", unknown=True) from error

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
            checked_chains(looking.domains.describe(domain.xml()), owner, self._host.pools.values())
            domain.start()
        self._host.journal(owner).remove(owner.machine)

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
                raise MoveFailed(f"{owner.machine} is {state} here after it was sent: it was started meanwhile.")
            for path, when in entry.sent.items():
                if not os.path.lexists(path) or os.lstat(path).st_mtime_ns != when:
                    raise MoveFailed(f"{path} has changed after it was sent: {owner.machine} was started meanwhile. Run again.")
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
            removed = self._host.remove(owner, shared=entry.shared)
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
        self._shared = {departure.owner.directory(host.pools[pool]) for pool in departure.shared if pool in host.pools}

    def own_disks(self) -> list[t.Mapping[str, t.Any]]:
        """Those that the target does not have already."""
        return [disk for disk in self._seen.told["disks"] if os.path.dirname(disk["path"]) not in self._shared]

    def places(self, keep_console: bool) -> Moved:
        """The files of the domain, here and there."""
        place = self._departure.place
        paths = {disk["path"]: place.disks[disk["name"]] for disk in self._seen.told["disks"]}
        for path in (self._seen.about.seed, self._seen.about.console, self._seen.about.report, self._seen.about.nvram):
            if path:
                paths[path] = os.path.join(place.home, os.path.basename(path))
        return Moved(paths, place.chains, place.security, keep_console)

    def send_small(self, console: bool) -> int:
        """The seed, what the guest has reported, its firmware variables, and where disks come from.

        Of a machine that runs, QEMU writes the variables anew on the target when the machine arrives there.

        :param console: what the guest has written so far as well.
        """
        sent = 0
        directories = {self._home, *(os.path.dirname(disk["path"]) for disk in self._seen.told["disks"])}
        for directory in sorted(directories - self._shared):
            for name in looking.small_files(directory, firmware=True):
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
        if self._home in self._shared:
            return 0
        return self._send(self._home, "console.log", OLD_CONSOLE)

    def send_disk(self, disk: t.Mapping[str, t.Any]) -> int:
        directory, name = os.path.split(disk["path"])
        return self._send(directory, name, self._name_there(disk))

    def far_room(self) -> FarRoom:
        """Room on the target for disks that libvirt copies."""
        disks = {self._name_there(disk): disk["path"] for disk in self.own_disks()}
        return FarRoom(self._departure.peer, self._tls, str(self._departure.owner), disks)

    @staticmethod
    def _name_there(disk: t.Mapping[str, t.Any]) -> str:
        return os.path.basename(layout.disk_path("/", "s", "m", disk["name"], disk["image_format"]))

    def send_definition(self, xml: str) -> int:
        return self._send_text(DEFINITION, xml)

    def _send(self, directory: str, name: str, there: str) -> int:
        with SafeDirectory.open(directory) as opened:
            opened.check_file(name)
            descriptor = file_io.open_regular(os.path.join(directory, name))
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

    def __init__(self, seen: Seen, departure: Departure, tls: Contexts, limits: Limits, host: Host, emulator: int) -> None:
        self._emulator = emulator
        self._unsafe = False
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
        with files.far_room() as room:
            for attempts_left in range(_PORT_ATTEMPTS - 1, -1, -1):
                try:
                    self._through_doors(files, room)
                    break
                except PortTaken:
                    if not attempts_left:
                        raise
                except UnsafeMove:
                    self._insist()
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

    def _insist(self) -> None:
        """libvirt judges by the kind of file system whether two hosts share it; here each has seen the other's mark in it.

        What counts is that QEMU does not read what its host has cached: from 4.0 on, it drops that when a machine arrives.
        """
        caches = {drive.get("cache", "default") for drive in parse_xml(self._seen.xml).iterfind("./devices/disk/driver")}
        if self._unsafe or not self._departure.shared or (self._emulator < _DROPS_CACHE and caches - _NO_CACHE):
            old = self._emulator < _DROPS_CACHE
            raise MoveFailed(
                f"libvirt does not consider it safe to move it while it runs; its disks have the cache {', '.join(sorted(caches))}"
                f"{', which QEMU before 4.0 does not drop' if old else ''}. Set cache none, or move it off (live=false)."
            )
        self._unsafe = True

    def _through_doors(self, files: _Files, room: FarRoom) -> None:
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
                disks=[targets[disk["path"]] for disk in files.own_disks()],
                xml=moved(self._seen.domain.movable_xml(), places),
                lasting_xml=moved(self._seen.xml, places._replace(keep_console=False)),
                unsafe=self._unsafe,
            )
            self._migrate(move, doors, room)

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
        raise MoveFailed(
            f"{_PORTS_TRIED} ports from {PORTS[0]} to {PORTS[1]} were tried, and none is free on {LOCAL} of both hosts. Run again."
        )

    def _is_free_there(self, port: int) -> bool:
        return tunnel.ask(self._departure.peer, self._tls, {"to": tunnel.PROBE, "port": port})["free"].flag()

    def _migrate(self, move: LiveMove, doors: t.Sequence[LocalDoor], room: FarRoom) -> None:
        self._error = None
        deadline = time.monotonic() + self._limits.timeout_s
        thread = threading.Thread(target=self._in_thread, args=(move,), daemon=True, name="migrate")
        thread.start()
        refusal = None
        while thread.is_alive() and (refusal := room.refusal) is None and time.monotonic() < deadline:
            thread.join(min(_LOOK_S, max(0.0, deadline - time.monotonic())))
        late = thread.is_alive()
        if late:
            self._abort(thread, doors)
        if thread.is_alive():
            raise MoveFailed("libvirt does not end the migration.", unknown=True)
        if self._error is not None:
            reasons = "; ".join(dict.fromkeys(error for made in doors for error in made.errors))
            told = self._error.message if isinstance(self._error, FleetError) else str(self._error)
            if isinstance(self._error, (PortTaken, UnsafeMove)) and not late:
                raise self._error
            if late and isinstance(refusal, RoomLost):
                raise MoveFailed(f"It was ended, as the target could fill up unnoticed. {refusal.message}") from refusal
            if late and refusal is not None:
                raise MoveFailed(f"It was ended, as its disks grow. {refusal.message}") from refusal
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
