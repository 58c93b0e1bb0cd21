# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One stream of packets for all hosts, which the bridge multiplies."""

from __future__ import annotations

from ..field import FILE, FOLDER, SHARED, Cast, Field
from .base import Peer

# What of a link's rate is offered to it: more is lost packets, which cost more than they bring.
SHARE = 0.95

# Receivers that wait find a sender by its next hello: with its own choice that would be a second of the time.
HELLO_MS = 100


def rate_kbps(field: Field) -> int:
    mbps = field.scenario.narrowest_mbps or 1000.0
    return int(mbps * 1000 * SHARE)


class Uftp(Peer):
    name = "uftp"
    title = "uftp, multicast"
    note = f"uftpd runs on all hosts before the start; uftp -R {SHARE:g} of the rate, blocks of 1440 bytes, buffers of 4 MB, unencrypted."
    packages = {"uftp": "uftp", "uftpd": "uftp"}

    def cast(self, field: Field, size: int) -> Cast:
        daemons, ready, ids = {}, {}, []
        for number, name in enumerate(field.receivers, start=1):
            ids.append(f"0x{number:X}")
            done = f"{FOLDER}/done"
            daemons[name] = (
                f"printf '#!/bin/bash\\necho \"$EPOCHREALTIME\" > {SHARED}/stamp.{name}\\n' > {done}; chmod +x {done}\n"
                f"exec uftpd -d -I eth0 -U 0x{number:X} -D {FOLDER} -B 4194304 -s {done}"
            )
            ready[name] = "ss -Hlun sport = :1044 | grep -q ."
        racer = f"uftp -I eth0 -R {rate_kbps(field)} -b 1440 -B 4194304 -H {','.join(ids)} {FILE}"
        return Cast(field.source, {field.source: racer}, daemons, ready, tuple(field.receivers))


class Udpcast(Peer):
    name = "udpcast"
    title = "udpcast, multicast"
    note = (
        f"udp-receiver waits on all hosts before the start; udp-sender --full-duplex at {SHARE:g} of the rate, "
        f"a hello every {HELLO_MS} ms, unencrypted."
    )
    packages = {"udp-sender": "udpcast", "udp-receiver": "udpcast"}

    def cast(self, field: Field, size: int) -> Cast:
        receiver = f"udp-receiver --interface eth0 --nokbd --file {FILE}; stamp"
        racer = (
            f"udp-sender --interface eth0 --nokbd --full-duplex --min-receivers {len(field.receivers)} --max-wait 10 "
            f"--max-bitrate {rate_kbps(field)}k --rexmit-hello-interval {HELLO_MS} --retries-until-drop 30 --file {FILE}"
        )
        ready = dict.fromkeys(field.receivers, "ss -Hlun sport = :9000 | grep -q .")
        return Cast(field.source, {field.source: racer}, dict.fromkeys(field.receivers, receiver), ready, tuple(field.receivers))
