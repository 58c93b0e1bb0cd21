# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t

from ansible_collections.basecast.fleet.plugins.module_utils._relay.daemon import Process, start_time

# Its first thread ends by the system call for that (60 on x86-64, 93 on 64-bit ARM); another one lives on for a line of input.
HEADLESS = """
import ctypes, os, sys, threading
threading.Thread(target=sys.stdin.readline).start()
print("ready", flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""


def until(condition: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    until(lambda: state(pid) == "Z")
    assert start_time(pid) == 0
    os.waitpid(pid, 0)
    assert start_time(pid) == 0


def test_a_process_lives_as_long_as_one_of_its_threads() -> None:
    """Its locks and sockets do."""
    with subprocess.Popen([sys.executable, "-c", HEADLESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as headless:
        assert headless.stdout is not None
        assert headless.stdout.readline() == b"ready\n"
        process = Process(headless.pid, start_time(headless.pid))
        until(lambda: state(headless.pid) == "Z")
        assert process.alive
        assert headless.stdin is not None
        headless.stdin.close()
        assert process.wait(10)
