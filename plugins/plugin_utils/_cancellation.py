# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether somebody cancels this ansible-playbook: told by its main process to processes that it started."""

from __future__ import annotations

import os
import signal
import threading
import typing as t

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_pipe: tuple[int, int] | None = None
_owner = 0
_before: dict[int, t.Any] = {}


def arm() -> bool:
    """Have the signals noted; whether that is possible in this process: only its main thread is told of signals."""
    global _pipe, _owner
    if _pipe is not None:
        return _owner == os.getpid()
    if threading.current_thread() is not threading.main_thread():
        return False
    _pipe, _owner = os.pipe(), os.getpid()
    for number in SIGNALS:
        before = signal.getsignal(number)
        # One that is ignored, as under nohup, cancels nothing.
        if before is not signal.SIG_IGN:
            _before[number] = before
            signal.signal(number, _note)
    return True


def descriptor() -> int | None:
    """Readable once the run is cancelled; never, if the main process ends otherwise. None if nothing was armed."""
    return None if _pipe is None else _pipe[0]


def _note(number: int, frame: t.Any) -> None:
    # Processes that Ansible forks have this handler too, until they set their own.
    if _pipe is not None and os.getpid() == _owner:
        os.write(_pipe[1], b"!")
    before = _before[number]
    if callable(before):
        before(number, frame)
        return
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
