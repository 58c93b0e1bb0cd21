# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A process that outlives the module that started it, and how to find and end it."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
import typing as t


class Process(t.NamedTuple):
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    start_time: int

    @property
    def alive(self) -> bool:
        return self.start_time != 0 and start_time(self.pid) == self.start_time

    def signal(self, number: int) -> None:
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def wait(self, seconds: float) -> bool:
        """Until it is gone; whether it is."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def start_time(pid: int) -> int:
    """In clock ticks since the boot; 0 if there is no such process.

    A zombie is none, unless other threads of it are still ending: up to then its files, locks and sockets are open.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    state, threads, began = fields[0], int(fields[17]), int(fields[19])
    return 0 if state in (b"Z", b"X") and threads <= 1 else began


def yield_to_others(nice: int, idle_io: bool) -> None:
    """Lower this process's priority. Before it starts threads: each has its own, and inherits it.

    :param nice: 0 leaves it as it is. For I/O the kernel derives a priority from it, unless ``idle_io``.
    :raises OSError: the system does not allow it, or has no such command.
    """
    if nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if idle_io:
        # Python knows no call for it; class 3 is "idle".
        done = subprocess.run(
            ["ionice", "-c", "3", "-p", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            raise OSError(done.returncode, done.stderr.decode(errors="replace").strip() or "ionice failed")


# mallopt() of the GNU C library: numbers of its options.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def stay_small() -> None:
    """Buffers that are freed go back to the system. Before threads are started; where it cannot be asked for, do without.

    Otherwise each thread allocates in a heap of its own, up to eight for a processor, and what is freed stays in them.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):
        # Not every Python has it.
        mallopt = importlib.import_module("ctypes").CDLL(None).mallopt
        for option, value in ((_ARENA_MAX, 4), (_MMAP_THRESHOLD, 128 * 1024), (_TRIM_THRESHOLD, 1024 * 1024)):
            mallopt(option, value)


def spawn(main: t.Callable[[], None], keep: t.Container[int], log_path: str) -> Process:
    """Run ``main`` in a new session, with only the descriptors ``keep`` and its output in the log.

    Everything it needs has to be imported already: the module's payload is deleted when the module ends.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            _detach(main, keep, log_path, writer)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        pid = int(pipe.read() or b"0")
    os.waitpid(child, 0)
    return Process(pid, start_time(pid))


def _detach(main: t.Callable[[], None], keep: t.Container[int], log_path: str, writer: int) -> None:
    os.setsid()
    if os.fork():
        return
    os.chdir("/")
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != writer and descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:
                pass
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout = sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    os.write(writer, str(os.getpid()).encode())
    os.close(writer)
    try:
        main()
    except BaseException:  # the forked process must never go on in the module's code
        traceback.print_exc()
        os._exit(1)
