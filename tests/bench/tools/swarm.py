# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""BitTorrent: every host asks every other for what it lacks."""

from __future__ import annotations

import hashlib

from ..field import FILE, FOLDER, SHARED, Cast, Field
from .base import Peer

TRACKER_PORT = 6969


def info_hash(torrent: bytes) -> str:
    """Identity of a torrent: the SHA-1 of its dictionary "info", as it stands in the file.

    It is found by parsing, for the bytes of piece digests may look like anything.
    """

    def end(at: int) -> int:
        """Where the value that begins here ends."""
        kind = torrent[at : at + 1]
        if kind == b"i":
            return torrent.index(b"e", at) + 1
        if kind in (b"l", b"d"):
            at += 1
            while torrent[at : at + 1] != b"e":
                at = end(at)
            return at + 1
        colon = torrent.index(b":", at)
        return colon + 1 + int(torrent[at:colon])

    at = 1
    while torrent[at : at + 1] != b"e":
        value = end(at)
        key = torrent[at:value]
        after = end(value)
        if key == b"4:info":
            return hashlib.sha1(torrent[value:after], usedforsecurity=False).hexdigest()
        at = after
    raise ValueError("the torrent has no info")


class Aria2(Peer):
    name = "aria2"
    title = "aria2, swarm"
    note = (
        "opentracker and a seeding aria2c run on the source before the start; all others begin at the start, with pieces of 256 KiB, "
        "and go on serving; with the start of aria2c."
    )
    packages = {"aria2c": "aria2", "opentracker": "opentracker", "mktorrent": "mktorrent"}

    def copies(self, receivers: int) -> float:
        return 2.0

    def cast(self, field: Field, size: int) -> Cast:
        torrent = f"{FOLDER}/image.torrent"
        address = field.address(field.source)
        made = f"mktorrent -l 18 -a http://{address}:{TRACKER_PORT}/announce -o {torrent} {FILE}"
        field.host(field.source).run(f"cd {FOLDER} && {made}")
        data = field.path(field.source, torrent).read_bytes()
        field.path(field.source, f"{FOLDER}/whitelist").write_text(info_hash(data).upper() + "\n")
        field.host(field.source).run(f"chmod 755 {FOLDER} && chmod 644 {FOLDER}/whitelist")
        for name in field.receivers:
            field.path(name, torrent).write_bytes(data)
        options = (
            "--enable-dht=false --enable-peer-exchange=true --bt-enable-lpd=false --seed-ratio=0 --file-allocation=none "
            f"--bt-max-peers=0 --bt-request-peer-speed-limit=1000M --console-log-level=error --summary-interval=0 -d {FOLDER}"
        )
        tracker = f"opentracker -i {address} -p {TRACKER_PORT} -P {TRACKER_PORT} -u nobody -d {FOLDER} -w whitelist"
        seed = f"aria2c {options} --check-integrity=true {torrent}"
        daemons = {field.source: f"{tracker} &\nexec {seed}"}
        ready = {field.source: f"ss -Hltn sport = :{TRACKER_PORT} | grep -q . && ss -Hltn | grep -q ':69[0-9][0-9] '"}
        racers = {}
        for name in field.receivers:
            done = f"{FOLDER}/done"
            racers[name] = (
                f"printf '#!/bin/bash\\necho \"$EPOCHREALTIME\" > {SHARED}/stamp.{name}\\n' > {done}; chmod +x {done}\n"
                f"aria2c {options} --on-bt-download-complete={done} {torrent} &\n"
                f"until [ -e {SHARED}/stamp.{name} ]; do kill -0 $! || exit 1; sleep 0.1; done"
            )
        return Cast(field.receivers[0], racers, daemons, ready, tuple(field.receivers))
