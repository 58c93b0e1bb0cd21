# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Where a node is found: the directory of its run. What modules need that only talk to it imports nothing of the node itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import typing as t

from ..._untrusted import Malformed, read
from ..errors import ControlFailed, RelayError
from . import control_socket
from .daemon import Process, start_time

# How long the last words of a node are kept, in seconds, and the end of their name: no run has a name with it.
ENDING, ENDING_S = ",ended.json", 86400.0

_LARGEST_PIDFILE = 4096

# Settings as they arrive in JSON.
Json = t.Dict[str, t.Any]


class Listening(t.Protocol):
    """What is noted of a node. Its own class is not named: Ansible sends a module's imports along, those for type checkers too."""

    run_id: str
    host: str
    address: str
    port: int


class RunDirectory:
    """The directory of one run on this host: control socket, pidfile and log. Nothing in it is secret."""

    def __init__(self, runtime_dir: str, run: str) -> None:
        self.parent, self.run = runtime_dir, run
        self.directory = os.path.join(runtime_dir, run)
        self.socket = os.path.join(self.directory, "node.sock")
        self.pidfile = os.path.join(self.directory, "node.pid")
        self.log = os.path.join(self.directory, "node.log")
        # Beside the directory, which ends with the node.
        self.ending = os.path.join(runtime_dir, run + ENDING)
        self.given_up = os.path.join(runtime_dir, run + ",given-up" + ENDING)

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[t.Callable[[], bool]]:
        """One module call at a time starts or stops the node. Makes the directory.

        Gives a function that tells whether the directory is still there: a node that ends takes it along.
        """
        os.makedirs(self.parent, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.directory, 0o700)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise RelayError(f"{self.directory} belongs to somebody else or is open to others; remove it.")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield lambda: _is_same(self.directory, status)
        finally:
            os.close(descriptor)

    def ask(self, command: str, timeout: float = 30.0, **message: t.Any) -> Json:
        return control_socket.ask(self.socket, {"command": command, **message}, timeout)

    def look(self, command: str, timeout: float = 30.0, **message: t.Any) -> Json:
        """The same for questions: of a node that has ended, the answer is what it knew last, and why it ended (``ended``)."""
        try:
            return self.ask(command, timeout, **message)
        except ControlFailed:
            last = self.read_ending()
            if not last:
                raise
            return last

    def write_ending(self, last: Json) -> None:
        temporary = self.ending + ".new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(last, file)
        os.replace(temporary, self.ending)

    def read_ending(self) -> Json:
        """What a node that ended by itself knew last; empty if there is nothing."""
        try:
            with open(self.ending, "rb") as file:
                return control_socket.read_message(file.read(control_socket.MAX_LINE_BYTES + 1)).mapping()
        except (OSError, ControlFailed):
            return {}

    def give_up(self) -> None:
        """No node of this run is started here again, whatever its controller asks for."""
        os.makedirs(self.parent, mode=0o755, exist_ok=True)
        os.close(os.open(self.given_up, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))

    @property
    def is_given_up(self) -> bool:
        return os.path.lexists(self.given_up)

    def refuse_given_up(self) -> None:
        """:raises RelayError: the run was given up."""
        if self.is_given_up:
            raise RelayError(
                f"The relay node of the run {self.run} is not running on this host. It has ended: the run was stopped by its name. "
                "Deploy again: chunks that have arrived are kept, and only the missing ones are fetched.",
                run=self.run,
            )

    def forget_endings(self) -> None:
        """Of runs that nobody asks about any more."""
        for name in os.listdir(self.parent):
            path = os.path.join(self.parent, name)
            with contextlib.suppress(OSError):
                if name.endswith((ENDING, ENDING + ".new")) and time.time() - os.lstat(path).st_mtime > ENDING_S:
                    os.unlink(path)

    def read_pidfile(self) -> Json:
        """What the last node noted; empty if there is nothing to read."""
        try:
            with open(self.pidfile, "rb") as file:
                return read(file.read(_LARGEST_PIDFILE + 1), self.pidfile, _LARGEST_PIDFILE).mapping()
        except (OSError, Malformed):
            return {}

    def process(self) -> Process | None:
        noted = self.read_pidfile()
        try:
            process = Process(int(noted["pid"]), int(noted["start_time"]))
        except (KeyError, TypeError, ValueError):
            return None
        return process if process.alive else None

    def write_pidfile(self, node: Listening) -> None:
        noted = {
            "pid": os.getpid(),
            "start_time": start_time(os.getpid()),
            "run": node.run_id,
            "host": node.host,
            "address": node.address,
            "port": node.port,
        }
        temporary = self.pidfile + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(noted, file)
        os.replace(temporary, self.pidfile)

    def log_tail(self, lines: int = 5) -> str:
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return " | ".join(line.strip() for line in file.readlines()[-lines:])
        except OSError:
            return ""

    def remove(self) -> None:
        # In one step, so that the next node's files are never taken for this one's.
        doomed = f"{self.directory}.ended-{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.directory, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _is_same(path: str, status: os.stat_result) -> bool:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino)
