# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What jobs write down on their host: how far they are, and what came of them. One small file per run, replaced in one step,
so that a later module run can tell of a job whose controller has died.

    <runtime_dir>/.jobs/<tenant>/<service>/{lock, <run>.json, <run>.turns}

In a run's turns stands what the controller has told the job of roles that its machines wait for.

The files are gone after a restart of the host, as are the jobs.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
import typing as t

from .._disk import file_io
from .._disk.errors import UnsafePath
from .._errors import FleetError
from .._names import check_name
from .._relay.node.daemon import Process, start_time

FORMAT = 1
RUNNING, DONE, FAILED = "running", "done", "failed"
LOST, ABSENT = "lost", "absent"

_JOBS = ".jobs"  # no run can have this name
_KEPT = 20
_LARGEST = 1 << 26
_MODE = 0o600


class Journal:
    """The jobs of one service on this host."""

    def __init__(self, runtime_dir: str, tenant: str, service: str) -> None:
        self._runtime_dir = runtime_dir
        self.directory = os.path.join(runtime_dir, _JOBS, check_name("tenant", tenant), check_name("service", service))

    def path(self, run: str) -> str:
        return os.path.join(self.directory, check_name("run", run) + ".json")

    def turns(self, run: str) -> dict[str, dict[str, str]]:
        """``{role: {"state": ready | failed, "msg"}}``; empty as long as nothing was told."""
        try:
            value = file_io.read_value(self._turns_path(run), _LARGEST)
        except FileNotFoundError:
            return {}
        return {
            role: {"state": told["state"].choice("ready", "failed"), "msg": told["msg"].cleaned(4000)}
            for role, told in value.entries(10_000).items()
        }

    def write_turns(self, run: str, turns: t.Mapping[str, t.Any]) -> None:
        file_io.replace_file(self._turns_path(run), file_io.json_bytes(turns), _MODE)

    def _turns_path(self, run: str) -> str:
        return os.path.join(self.directory, check_name("run", run) + ".turns")

    def open(self) -> None:
        """Make the directory; refuse one that somebody else could write to."""
        os.makedirs(self._runtime_dir, mode=0o755, exist_ok=True)
        path = self._runtime_dir
        for part in os.path.relpath(self.directory, self._runtime_dir).split(os.sep):
            path = os.path.join(path, part)
            file_io.ensure_directory(path, 0o700)
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                raise UnsafePath(f"{path} belongs to somebody else or is open to others; remove it.", path=path)

    def lock(self) -> JobLock:
        return JobLock(os.path.join(self.directory, "lock"))

    def write(self, run: str, told: t.Mapping[str, t.Any]) -> None:
        file_io.replace_file(self.path(run), file_io.json_bytes(told), _MODE)

    def read(self, run: str) -> dict[str, t.Any] | None:
        """What the job of a run has written last; None where there was none.

        A job that says it is running, and is not, is lost: it was killed. Its machines may be anything.
        """
        try:
            value = file_io.read_value(self.path(run), _LARGEST)
        except FileNotFoundError:
            return None
        told = dict(value.mapping())
        if value["format"].integer() != FORMAT:
            raise value["format"].wrong(str(FORMAT))
        process = Process(value["pid"].integer(), value["start_time"].integer())
        if value["state"].choice(RUNNING, DONE, FAILED) == RUNNING and not process.alive:
            told["state"] = LOST
            told["msg"] = "The job was ended before its work was done. Run it again, it goes on from what is there."
        return told

    def runs(self) -> list[str]:
        """Names of the runs that have left something, the latest first as far as the host's clock was not set back."""
        try:
            entries = [entry for entry in os.scandir(self.directory) if entry.name.endswith(".json") and not entry.is_symlink()]
        except FileNotFoundError:
            return []
        written = sorted(((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name) for entry in entries), reverse=True)
        return [name[: -len(".json")] for _when, name in written]

    def sweep(self) -> None:
        """Forget the oldest jobs that have ended."""
        for run in self.runs()[_KEPT:]:
            try:
                told = self.read(run)
            except FleetError:
                told = None
            if told is None or told["state"] != RUNNING:
                file_io.remove_file(self.path(run))
                file_io.remove_file(self._turns_path(run))


class JobLock:
    """Held by the one job of a service that changes something on this host; the kernel releases it with its holder."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    @property
    def held(self) -> bool:
        return self._descriptor >= 0

    def take(self) -> bool:
        """Whether it is held now; without waiting."""
        if self.held:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._descriptor = descriptor
        return True

    def holder(self) -> int:
        """Process id of who holds it, 0 if that cannot be told."""
        try:
            return int(file_io.read_file(self._path, 64).strip() or b"0")
        except (OSError, ValueError, FleetError):
            return 0

    def release(self) -> None:
        if self.held:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def since_boot() -> float:
    """Seconds since the host booted; setting its clock does not change them."""
    return round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)


def this_process() -> dict[str, int]:
    return {"pid": os.getpid(), "start_time": start_time(os.getpid())}
