# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A terminal of few talents: what a person would see of a program that runs in it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import termios

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([@-~])")


class Terminal:
    """The master's side of a pseudo terminal. ``slave`` is what the program writes to."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.master, self.slave = pty.openpty()
        self.columns, self.rows = columns, rows
        self.lines = [""] * rows
        self.scrolled: list[str] = []
        self.bytes = b""
        self.x = self.y = 0
        self._pending = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Lines that are too long by then are shown in several, as most terminals do."""
        self.read()  # what was written for the old width
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.columns, self.rows = columns, rows
        above = self.lines[: self.y]
        folded = [line[i : i + columns] for line in above for i in range(0, max(1, len(line.rstrip())), columns)]
        kept = max(0, len(folded) - rows + 1)
        self.scrolled += folded[:kept]
        folded = folded[kept:]
        self.y = len(folded)
        self.lines = (folded + [""] * rows)[:rows]

    def read(self, seconds: float = 0.0) -> bool:
        """Take in what was written; whether there was anything."""
        found = False
        while select.select([self.master], [], [], 0.0 if found else seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break  # nobody has it open any more
            if not data:
                break
            found = True
            self.bytes += data
            self._feed(self._decoder.decode(data))
        return found

    def close(self) -> None:
        os.close(self.master)

    @property
    def text(self) -> str:
        """Everything that can be seen, also by scrolling back."""
        return "\n".join([*self.scrolled, *(line.rstrip() for line in self.lines)]).rstrip()

    def _feed(self, text: str) -> None:
        text = self._pending + text
        self._pending = ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = _SEQUENCE.match(text, at)
                if match is None:
                    self._pending = text[at:]
                    return
                self._obey(match[1], match[2])
                at = match.end()
            else:
                self._show(text[at])
                at += 1

    def _obey(self, argument: str, command: str) -> None:
        if command == "A":
            self.y = max(0, self.y - int(argument or 1))
        elif command == "K":
            self.lines[self.y] = self.lines[self.y][: self.x]
        elif command == "J" and not argument:
            self.lines[self.y] = self.lines[self.y][: self.x]
            self.lines[self.y + 1 :] = [""] * (self.rows - self.y - 1)
        elif command not in "m" and (command, argument[:1]) not in (("h", "?"), ("l", "?")):
            raise AssertionError(f"this terminal does not know ESC [ {argument} {command}")

    def _show(self, char: str) -> None:
        if char == "\r":
            self.x = 0
        elif char == "\n":
            self._down()
        elif char.isprintable():
            if self.x == self.columns:
                self.x = 0
                self._down()
            line = self.lines[self.y].ljust(self.x)
            self.lines[self.y] = line[: self.x] + char + line[self.x + 1 :]
            self.x += 1

    def _down(self) -> None:
        self.y += 1
        if self.y == self.rows:
            self.scrolled.append(self.lines.pop(0).rstrip())
            self.lines.append("")
            self.y -= 1
