# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a program inside a lab, next to its hosts: `_enter.py SUPERVISOR_PID ARGV...`.

The program gets the lab's network, mounts and process numbers, so it ends with the lab. Signals that
arrive here are passed on, and it dies when this process does.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2] / ".collections")

from ansible_collections.basecast.fleet.tests.lab import _linux


def main(argv: list[str]) -> int:
    supervisor, command = argv[0], argv[1:]
    folder = os.getcwd()
    kinds = (("net", _linux.CLONE_NEWNET), ("pid", _linux.CLONE_NEWPID), ("mnt", _linux.CLONE_NEWNS))
    opened = [(os.open(f"/proc/{supervisor}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), kind) for name, kind in kinds]
    for fd, kind in opened:
        _linux.setns(fd, kind)
    os.chdir(folder)
    passed = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
    signal.pthread_sigmask(signal.SIG_BLOCK, passed)
    life_r, life_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(life_w)
        _linux.prctl(_linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.set_blocking(life_r, False)
        try:
            if os.read(life_r, 1) == b"":
                os._exit(1)
        except BlockingIOError:
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, passed)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    for number in passed:
        signal.signal(number, lambda got, _frame: os.kill(child, got))
    if os.isatty(0):
        # The terminal sends these to the whole group: the child has its own copy.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, passed)
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
