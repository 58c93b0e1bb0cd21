# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`connect.py HOST PORT`: standard input and output become a TCP connection; what ssh wants of a ProxyCommand."""

from __future__ import annotations

import os
import select
import socket
import sys


def main(host: str, port: int) -> None:
    """Returns when the host has closed the connection."""
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.settimeout(None)
        waiting = [sys.stdin.fileno(), connection.fileno()]
        while True:
            ready = select.select(waiting, [], [])[0]
            if connection.fileno() in ready:
                data = connection.recv(65536)
                if not data:
                    return
                while data:
                    data = data[os.write(sys.stdout.fileno(), data) :]
            if sys.stdin.fileno() in ready:
                data = os.read(sys.stdin.fileno(), 65536)
                if data:
                    connection.sendall(data)
                else:
                    connection.shutdown(socket.SHUT_WR)
                    waiting.remove(sys.stdin.fileno())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
