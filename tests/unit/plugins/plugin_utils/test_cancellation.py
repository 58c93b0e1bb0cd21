# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

# The main process of a controller in short: Ansible's own handlers are there first, and processes are forked after that.
MAIN = """
import os, select, signal, time
from ansible_collections.basecast.fleet.plugins.plugin_utils import _cancellation as cancellation
# What runs the tests may ignore them, as nohup does and a shell for what it runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
def own(number, frame):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
if {handler}:
    signal.signal(signal.SIGTERM, own)
    signal.signal(signal.SIGINT, own)
assert cancellation.descriptor() is None
assert cancellation.arm() and cancellation.arm()
# Its only writer is the main process, so it ends with that.
alive, mine = os.pipe()
if not os.fork():
    os.close(mine)
    assert not cancellation.arm()
    os.setsid()
    cancelled = cancellation.descriptor()
    select.select([cancelled, alive], [], [])
    # Whoever cancels is noted before the main process ends, so it is known by then.
    print(bool(select.select([cancelled], [], [], 0)[0]), flush=True)
    os._exit(0)
print("armed", flush=True)
# Not pause(): of a signal that comes just before it, Python would hear with the next one only.
while True:
    time.sleep(0.05)
"""


@pytest.mark.parametrize("handler", [True, False])
@pytest.mark.parametrize(
    ("number", "noted"), [(signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGKILL, False), (signal.SIGHUP, False)]
)
def test_what_cancels_is_told_apart(handler: bool, number: int, noted: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(MAIN.format(handler=handler))],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "armed\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"{noted}\n"
        # It ends as it would have without.
        code = process.wait()
    finally:
        process.kill()
    assert code == -number or (number == signal.SIGINT and not handler and code == 1)
