# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Where bytes come from and go to: the same few methods whatever lies behind."""

from __future__ import annotations

import typing as t


class Endpoint(t.Protocol):
    """A base's bytes, and the map of its verified chunks. All methods may be called from several threads."""

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill the view. :raises PartialContent: if fewer bytes are there; OSError."""

    def write(self, offset: int, view: memoryview) -> None:
        """Write all of the view. :raises OSError:"""

    def marks(self) -> bytearray:
        """A copy of the map: 1 for each chunk whose bytes were verified and written."""

    def mark(self, index: int, value: int = 1) -> None:
        """Note that the chunk's bytes are there."""

    def settle(self) -> None:
        """Nobody reads it at the moment: it may leave the memory of the host."""

    def close(self) -> None: ...


class StreamTimeout(Exception):
    """Nothing could be moved within the stream's timeout; the stream can still be used."""


class Stream(t.Protocol):
    """A connection. Used by one thread, except ``abort``."""

    def set_timeout(self, seconds: float) -> None: ...

    def send(self, view: memoryview) -> int:
        """How much of it was sent, at least one byte. :raises StreamTimeout: OSError."""

    def receive_into(self, view: memoryview, least: int = 1) -> int:
        """How much arrived; 0 for the end. :raises StreamTimeout: OSError.

        :param least: if nothing is there yet, bytes to sleep for, so that few of them do not wake the thread. So many are still to
            come. What has come when the time is over stays for the next call.
        """

    def readable(self) -> bool:
        """Whether bytes wait that were received already and that a poll of the descriptor would not show."""

    def fileno(self) -> int:
        """A descriptor to poll, which shows each byte."""

    def abort(self) -> None: ...

    def close(self) -> None: ...
