# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The door of a host to which machines come: a process of one run, which ends with the migration or by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
import time
import typing as t
from collections import Counter

from .._disk import file_io
from .._disk.errors import UnsafePath
from .._disk.room import Room
from .._errors import FleetError
from .._machine.files import SECRET_MODE, check_way
from .._names import check_name
from .._relay.node.daemon import Process, spawn, stay_small
from .._relay.wire.socket_stream import listen, tune
from .._relay.wire.tls import Contexts, agree, identity
from .._untrusted import Malformed, Value
from . import tunnel

LIBVIRT_SOCKET = "/run/libvirt/libvirt-sock"
LOCAL = "127.0.0.1"
PORTS = (61000, 65535)  # on the loopback; above those that Linux gives to connections, and those that libvirt takes by itself
_HANDSHAKE_S = 15.0
_STRANGERS = 16  # of one address, that have not shown yet who they are
_CALM_S = 0.5
_STOP_S = 5.0
_DIRECTORY = ".migrations"  # no run can have this name
_SUFFIX = ".json"


class Slot(t.NamedTuple):
    """A file that may arrive.

    :param path: its place.
    :param keep: whether it stays under its temporary name until somebody has looked into it.
    :param most_bytes: its largest size.
    :param room: of its pool, for a file that may be large.
    """

    path: str
    keep: bool
    most_bytes: int
    room: Room | None = None

    @property
    def temporary(self) -> str:
        directory, name = os.path.split(self.path)
        return os.path.join(directory, f".{name}.move.tmp")


Slots = t.Mapping[str, t.Mapping[str, Slot]]  # by machine and name


class Guests(t.NamedTuple):
    """Whose machines come here.

    :param machines: of each source host, by its inventory name.
    :param slots: files of each machine.
    """

    machines: t.Mapping[str, t.Collection[str]]
    slots: Slots


class Door:
    """Accepts connections of the source hosts, and of nobody else."""

    def __init__(self, listener: socket.socket, tls: Contexts, guests: Guests, libvirt_socket: str = LIBVIRT_SOCKET) -> None:
        self._listener = listener
        self._tls = tls
        self._guests = guests
        self._libvirt_socket = libvirt_socket
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._strangers: Counter[str] = Counter()
        self._promised: set[str] = set()

    def close(self) -> None:
        self._closed.set()

    def serve(self, until: float) -> None:
        with contextlib.closing(self._listener):
            self._serve(until)

    def _serve(self, until: float) -> None:
        self._listener.settimeout(_CALM_S)
        while time.monotonic() < until and not self._closed.is_set():
            try:
                connection, (address, *_port) = self._listener.accept()
            except socket.timeout:
                continue
            except OSError as error:
                _log(f"cannot accept: {error}")
                time.sleep(_CALM_S)
                continue
            with self._lock:
                full = self._strangers[address] >= _STRANGERS
                self._strangers[address] += 0 if full else 1
            if full:
                connection.close()
            else:
                threading.Thread(target=self._guarded, args=(connection, address), daemon=True).start()

    def _guarded(self, plain: socket.socket, address: str) -> None:
        with contextlib.closing(plain):
            try:
                self._one(plain, address)
            except (FleetError, OSError) as error:
                _log(error.message if isinstance(error, FleetError) else str(error))

    @contextlib.contextmanager
    def _stranger(self, plain: socket.socket, address: str) -> t.Iterator[None]:
        """Until it is known who is there, and what for: one place of its address, and little time for all of it."""
        other = plain.dup()  # TLS takes the first descriptor away
        timer = threading.Timer(_HANDSHAKE_S, _end, (other,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            other.close()
            with self._lock:
                self._strangers[address] -= 1
                if not self._strangers[address]:
                    del self._strangers[address]

    def _one(self, plain: socket.socket, address: str) -> None:
        plain.settimeout(_HANDSHAKE_S)
        tune(plain)
        with contextlib.ExitStack() as stack:
            with self._stranger(plain, address):
                secure = stack.enter_context(contextlib.closing(self._tls.server.wrap_socket(plain, server_side=True)))
                host = identity(secure)
                agree(secure, True, host)
                if host not in self._guests.machines:
                    tunnel.send_message(secure, {"error": f"no machine of {host} is expected here"})
                    return
                header = tunnel.receive_message(secure, f"what {host} asks for")
            try:
                self._answer(host, header, secure)
            except (FleetError, OSError) as error:
                told = error.message if isinstance(error, FleetError) else f"{error.filename or 'the file'}: {error.strerror}"
                with contextlib.suppress(OSError):
                    tunnel.send_message(secure, {"error": told})
                raise

    def _answer(self, host: str, header: Value, secure: t.Any) -> None:
        where = header["to"].choice(tunnel.LIBVIRT, tunnel.PORT, tunnel.FILE, tunnel.PROBE, tunnel.ROOM)
        if where in (tunnel.FILE, tunnel.ROOM):
            (self._receive if where == tunnel.FILE else self._keep_room)(host, header, secure)
            return
        if where == tunnel.PROBE:
            tunnel.send_message(secure, {"free": _is_free(header["port"].integer(*PORTS))})
            return
        if where == tunnel.LIBVIRT:
            inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            target: t.Any = self._libvirt_socket
        else:
            inner = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            target = (LOCAL, header["port"].integer(*PORTS))
        with contextlib.closing(inner):
            inner.connect(target)
            tunnel.send_message(secure, {"connected": True})
            tunnel.pump(inner, secure)

    def _expected(self, host: str, header: Value) -> tuple[str, Slot]:
        """The file that a host has announced, as an error names it, and its place."""
        machine, name = header["machine"].text(), header["name"].text()
        slot = self._guests.slots.get(machine, {}).get(name)
        if machine not in self._guests.machines[host] or slot is None:
            raise UnsafePath(f"no file {name} of {machine} is expected from {host}", path=name)
        return f"{name} of {machine}", slot

    @staticmethod
    def _size(told: Value, subject: str, slot: Slot, host: str) -> int:
        size = told["size"].integer()
        if size > slot.most_bytes:
            raise UnsafePath(
                f"{subject} has {size} bytes on {host}; at most {slot.most_bytes} are taken. Shorten it, or copy the disk without"
                " its snapshots (qemu-img convert).",
                path=slot.path,
            )
        return size

    def _keep_room(self, host: str, header: Value, secure: t.Any) -> None:
        """Promise the room of a disk that QEMU writes by itself, for as long as the source keeps the connection."""
        subject, slot = self._expected(host, header)
        if slot.room is None:
            raise UnsafePath(f"no room is promised for {subject}", path=slot.path)
        with self._lock:
            if slot.path in self._promised:
                raise UnsafePath(f"room for {subject} is promised already", path=slot.path)
            self._promised.add(slot.path)
        try:
            with contextlib.closing(slot.room.begin(subject, [slot.path])) as promise:
                told = header
                while True:
                    promise.cover(self._size(told, subject, slot, host))
                    secure.settimeout(_HANDSHAKE_S)
                    tunnel.send_message(secure, {"bytes": promise.size})
                    secure.settimeout(None)  # a host that is gone is noticed by the kernel
                    told = tunnel.receive_message(secure, f"what {host} needs")
        except tunnel.Ended:
            return
        finally:
            with self._lock:
                self._promised.discard(slot.path)

    def _receive(self, host: str, header: Value, secure: t.Any) -> None:
        subject, slot = self._expected(host, header)
        size = self._size(header, subject, slot, host)
        check_way(slot.path)  # before anything is sent: who sends does not read why it was cut off
        tunnel.send_message(secure, {"ready": True})
        secure.settimeout(None)
        with contextlib.ExitStack() as stack:
            promise = None
            if slot.room is not None:
                promise = stack.enter_context(contextlib.closing(slot.room.begin(subject, [slot.temporary])))
            digest = tunnel.receive_file(secure, slot.temporary, size, SECRET_MODE, promise)
        if not slot.keep:
            check_way(slot.path)  # a large file takes a while
            os.rename(slot.temporary, slot.path)
        file_io.sync_directory(os.path.dirname(slot.path))
        tunnel.send_message(secure, {"sha256": digest})


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCAL, port))
        except OSError:
            return False
        return True


# --- the process -------------------------------------------------------------------------------


def start(runtime_dir: str, run: str, address: str, ports: tuple[int, int], tls: Contexts, guests: Guests, ttl_s: float) -> int:
    """Start the run's door on this host, instead of one that is there; its port."""
    stop(runtime_dir, run)
    _sweep(runtime_dir)
    path = _path(runtime_dir, run)
    listener = listen(address, *ports)

    def main() -> None:
        stay_small()
        signal.signal(signal.SIGTERM, lambda *_unused: os._exit(0))
        Door(listener, tls, guests).serve(time.monotonic() + ttl_s)

    try:
        _make_directory(runtime_dir)
        process = spawn(main, {listener.fileno()}, path + ".log")
        port = int(listener.getsockname()[1])
        told = {"pid": process.pid, "start_time": process.start_time, "port": port}
        file_io.replace_file(path, file_io.json_bytes(told), SECRET_MODE)
    finally:
        listener.close()
    return port


def stop(runtime_dir: str, run: str) -> bool:
    """End the run's door on this host; whether there was one."""
    path = _path(runtime_dir, run)
    try:
        process = _process(path)
    except FileNotFoundError:
        return False
    alive = process.alive
    process.signal(signal.SIGTERM)
    if not process.wait(_STOP_S):
        process.signal(signal.SIGKILL)
        process.wait(_STOP_S)
    _forget(path)
    return alive


def _sweep(runtime_dir: str) -> None:
    """Remove what is left of doors whose time was over before any run came back to their machines."""
    directory = os.path.join(runtime_dir, _DIRECTORY)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(directory, name)
        with contextlib.suppress(FileNotFoundError, Malformed):  # gone meanwhile, or not ours to judge
            if name.endswith(_SUFFIX) and not _process(path).alive:
                _forget(path)


def _process(path: str) -> Process:
    value = file_io.read_value(path)
    return Process(value["pid"].integer(), value["start_time"].integer())


def _forget(path: str) -> None:
    for one in (path + ".log", path):  # in this order: the log is found by the other's name
        file_io.remove_file(one)


def _path(runtime_dir: str, run: str) -> str:
    return os.path.join(runtime_dir, _DIRECTORY, check_name("run", run) + _SUFFIX)


def _make_directory(runtime_dir: str) -> None:
    os.makedirs(runtime_dir, mode=0o755, exist_ok=True)
    path = os.path.join(runtime_dir, _DIRECTORY)
    file_io.ensure_directory(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise UnsafePath(f"{path} belongs to somebody else or is open to others; remove it.", path=path)


def _log(text: str) -> None:
    os.write(1, f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n".encode())
