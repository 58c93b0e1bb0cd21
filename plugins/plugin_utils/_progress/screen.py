# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Lines at the end of a terminal that are drawn again and again, below whatever others print."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import typing as t

from .text import cells

_CODES = re.compile(r"\x1b\[[0-9;]*m")

# Terminals that know it show everything between at once; others pass over it.
_TOGETHER, _SHOW = "\x1b[?2026h", "\x1b[?2026l"


class Screen:
    """A block of lines below everything that is written to the streams of a terminal.

    The block is taken away before anybody else's bytes reach the terminal, and comes back with the next ``draw``. It
    stands above the cursor, which is neither moved elsewhere nor hidden: whatever kills the program leaves a terminal
    that works.

    :param streams: text streams that write to one terminal; the block goes to the first.
    :param lock: held by whoever writes to them, and while the process forks.
    :param size: columns and lines of the terminal.
    """

    def __init__(
        self,
        streams: t.Sequence[t.Any],
        lock: t.Any = None,
        size: t.Callable[[int], tuple[int, int]] = os.get_terminal_size,
    ) -> None:
        self._streams = streams
        self._descriptor = streams[0].fileno()
        self._lock = lock or threading.RLock()
        self._size = size
        self._drawn: list[str] = []
        self._shown: tuple[int, list[str]] = (0, [])
        self._at_begin = True
        self._restore: list[t.Callable[[], None]] = []
        self._pid = os.getpid()
        for stream in streams:
            self._watch(stream.buffer)

    def _watch(self, buffer: t.Any) -> None:
        """See every write to a stream before it happens. Display does the same in order to synchronise writers."""
        write = buffer.write

        def watched(data: t.Any) -> t.Any:
            if os.getpid() == self._pid:
                with self._lock:
                    self._before(bytes(data))
                    return write(data)
            return write(data)

        def restore() -> None:
            if buffer.write is watched:
                buffer.write = write

        buffer.write = watched
        self._restore.append(restore)

    def _before(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.clear()
        if data:
            self._at_begin = data.endswith(b"\n")

    @property
    def room(self) -> tuple[int, int]:
        """(cells of a line, lines) that the block can have: the last column would make some terminals wrap."""
        columns, rows = self._size(self._descriptor)
        return max(1, columns - 1), max(0, rows - 2)

    def draw(self, lines: t.Sequence[str]) -> None:
        """:raises OSError: the terminal is gone."""
        with self._lock:
            for stream in self._streams:
                stream.flush()
            # A prompt is open, or somebody's line is not complete.
            if not self._at_begin:
                return
            columns = self._size(self._descriptor)[0]
            if self._drawn and self._shown == (columns, list(lines)):
                return
            text = "".join(f"{line}\x1b[K\n" for line in lines)
            self._write(f"{_TOGETHER}{self._up()}{text}\x1b[J{_SHOW}")
            self._drawn = [_CODES.sub("", line) for line in lines]
            self._shown = (columns, list(lines))

    def clear(self) -> None:
        """:raises OSError: the terminal is gone."""
        with self._lock:
            if self._drawn:
                self._write(f"{self._up()}\x1b[J")
                self._drawn = []

    def close(self) -> None:
        """Take the block away, and let the streams alone."""
        with self._lock:
            with contextlib.suppress(OSError):
                self.clear()
            for restore in self._restore:
                restore()
            self._restore.clear()

    def _up(self) -> str:
        """To the begin of the block, which has more lines by now if the terminal became narrower."""
        columns = max(1, self._size(self._descriptor)[0])
        rows = sum(max(1, -(-cells(line) // columns)) for line in self._drawn)
        return f"\x1b[{rows}A\r" if rows else "\r"

    def _write(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self._descriptor, data) :]
