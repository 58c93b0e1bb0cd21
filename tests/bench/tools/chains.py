# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts pass on what they receive, without checking it."""

from __future__ import annotations

from ..field import FILE, SHARED, Cast, Field
from .base import SSH, Peer

MBUFFER_PORT = 5000


class Taktuk(Peer):
    """TakTuk is connected to all hosts before the start, and waits for its command."""

    packages = {"taktuk": "taktuk", "ssh": "openssh-client"}
    arity = 1

    def cast(self, field: Field, size: int) -> Cast:
        hosts = " ".join(f"-m {field.address(name)}" for name in field.receivers)
        # Commands come through a pipe; the first one shows who is connected.
        daemon = (
            f"mkfifo commands; taktuk -d {self.arity} -c '{SSH}' {hosts} < commands & exec 3> commands\n"
            f"echo 'broadcast exec [ echo > {SHARED}/connected.$TAKTUK_RANK ]' >&3\n"
            "wait $!; echo $? > .code; mv .code code"
        )
        racer = (
            f"echo 'broadcast put [ {FILE} ] [ {FILE} ]' > commands; echo quit > commands\n"
            "until [ -e code ]; do sleep 0.02; done; exit $(cat code)"
        )
        connected = f"[ $(ls {SHARED} | grep -c connected) = {len(field.receivers)} ]"
        return Cast(field.source, {field.source: racer}, {field.source: daemon}, {field.source: connected})


class TaktukChain(Taktuk):
    name = "taktuk-chain"
    title = "taktuk, chain"
    note = "taktuk -d 1 broadcast put, over ssh (aes128-gcm), connected before the start."


class TaktukTree(Taktuk):
    name = "taktuk-tree"
    title = "taktuk, tree"
    note = "taktuk -d 2 broadcast put, over ssh (aes128-gcm), connected before the start."
    arity = 2

    def copies(self, receivers: int) -> float:
        return 2.0


class MbufferChain(Peer):
    name = "mbuffer"
    title = "mbuffer, chain"
    note = "mbuffer listens on all hosts before the start and passes on, unencrypted."
    packages = {"mbuffer": "mbuffer"}

    def cast(self, field: Field, size: int) -> Cast:
        options = "-q -s 256k -m 32M"
        daemons, ready = {}, {}
        following = dict(zip(field.receivers, [*field.receivers[1:], None], strict=True))
        for name, after in following.items():
            on = f" -O {field.address(after)}:{MBUFFER_PORT}" if after else ""
            daemons[name] = f"mbuffer {options} -I {MBUFFER_PORT} -o {FILE}{on}; stamp"
            ready[name] = f"ss -Hltn sport = :{MBUFFER_PORT} | grep -q ."
        first = field.address(field.receivers[0])
        # A listener connects to its successor as soon as it begins: the last one is started first.
        racer = f"mbuffer {options} -i {FILE} -O {first}:{MBUFFER_PORT}"
        return Cast(
            field.source,
            {field.source: racer},
            dict(reversed(daemons.items())),
            ready,
            tuple(field.receivers),
        )
