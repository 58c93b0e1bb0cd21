# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import RelayError
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.daemon import Process, start_time
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node.run_directory import RunDirectory

# Its first thread ends by the system call for that (60 on x86-64, 93 on 64-bit ARM); another one lives on for a line of input.
HEADLESS = """
import ctypes, os, sys, threading
threading.Thread(target=sys.stdin.readline).start()
print("ready", flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""

# Threads that live on have used and freed 4 MiB each: what the process has resident then, in KiB beyond before.
SPENDTHRIFT = """
import re, sys, threading
from ansible_collections.basecast.fleet.plugins.module_utils._relay.node import daemon

def resident():
    with open("/proc/self/status") as file:
        return int(re.search(r"VmRSS:\\s+(\\d+)", file.read()).group(1))

def work(done):
    for size in (256 * 1024, 1024 * 1024):
        held = [bytearray(b"x") * size for _number in range(4)]
        del held
    done.wait()
    threading.Event().wait()

if sys.argv[1:] == ["small"]:
    daemon.stay_small()
done = threading.Barrier(17)
before = resident()
for _number in range(16):
    threading.Thread(target=work, args=(done,), daemon=True).start()
done.wait()
print(resident() - before)
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


def test_what_threads_free_does_not_stay_in_memory() -> None:
    """Without it each of them keeps some."""
    grown = [
        int(subprocess.run([sys.executable, "-c", SPENDTHRIFT, *options], stdout=subprocess.PIPE, check=True).stdout)
        for options in ((), ("small",))
    ]
    assert grown[1] < 4 * 1024, grown


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o702])
def test_a_directory_that_is_open_to_others_is_not_used(tmp_path: Path, mode: int) -> None:
    runtime = RunDirectory(str(tmp_path), "run")
    Path(runtime.directory).mkdir()
    Path(runtime.directory).chmod(mode)
    with pytest.raises(RelayError, match="belongs to somebody else or is open to others"), runtime.locked():
        pass
    Path(runtime.directory).chmod(0o700)
    with runtime.locked() as is_current:
        assert is_current()
