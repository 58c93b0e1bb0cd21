# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast this machine is right now: what the deadlines of programs that wait for guests are made of."""

from __future__ import annotations

import functools
import subprocess
import sys
import time

PROCESSES = 4  # as many as the demo boots guests
WORK = "n = 0\nfor i in range(8_000_000): n ^= i"
REFERENCE_S = 1.1  # of that work in all processes at once, on two idle cores (AMD EPYC)


def slowness() -> float:
    """How many times longer than on the reference machine several processes at once take for their work; at least 1."""
    began = time.monotonic()
    running = [subprocess.Popen([sys.executable, "-S", "-E", "-c", WORK]) for _number in range(PROCESSES)]
    for process in running:
        process.wait()
    return max(1.0, (time.monotonic() - began) / REFERENCE_S)


@functools.cache
def patience() -> float:
    """How many times longer time limits of this process hold than they say: what this machine was like when one was first asked for."""
    return slowness()


def limit_s(seconds: float) -> float:
    """The limit of what takes at most `seconds` on an idle machine: beside other tests twice as long, and longer on a slow machine."""
    return 2 * seconds * patience()
