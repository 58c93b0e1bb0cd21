# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host sends to all others: each copy crosses the source's link."""

from __future__ import annotations

import secrets

from ..field import FILE, FOLDER, Cast, Field
from .base import SSH, Peer

NBD_PORT = 10809


class Star(Peer):
    def copies(self, receivers: int) -> float:
        return float(receivers)

    def to_each(self, field: Field, command: str) -> Cast:
        """The command for every receiver's ADDRESS, side by side; fails if one fails."""
        started = "\n".join(f"{command.replace('ADDRESS', field.address(name))} & pids+=($!)" for name in field.receivers)
        script = f'pids=()\n{started}\nrc=0\nfor pid in "${{pids[@]}}"; do wait "$pid" || rc=$?; done\nexit $rc'
        return Cast(field.source, {field.source: script})


class Rsync(Star):
    name = "rsync"
    title = "rsync, star"
    note = "rsync -W --inplace over ssh (aes128-gcm) to all hosts at once, from the source; with the start of ssh."
    packages = {"rsync": "rsync", "ssh": "openssh-client"}

    def cast(self, field: Field, size: int) -> Cast:
        return self.to_each(field, f"rsync -W --inplace -e '{SSH}' {FILE} root@ADDRESS:{FILE}")


class Scp(Star):
    name = "scp"
    title = "scp"
    note = "scp (aes128-gcm) from the source; with the start of ssh."
    packages = {"scp": "openssh-client"}

    def cast(self, field: Field, size: int) -> Cast:
        return self.to_each(field, f"{SSH.replace('ssh', 'scp -q', 1)} {FILE} root@ADDRESS:{FILE}")


class Nbdcopy(Star):
    name = "nbdcopy"
    title = "nbdcopy, star"
    note = "nbdkit serves the file, unencrypted, before the start; nbdcopy fetches it on all hosts at once (4 connections each)."
    packages = {"nbdkit": "nbdkit", "nbdcopy": "libnbd-bin"}

    def server(self, field: Field) -> str:
        return f"exec nbdkit -f -r -p {NBD_PORT} file {FILE}"

    def uri(self, field: Field) -> str:
        return f"nbd://{field.address(field.source)}:{NBD_PORT}"

    def cast(self, field: Field, size: int) -> Cast:
        return Cast(
            field.receivers[0],
            {name: f"nbdcopy '{self.uri(field)}' {FILE}" for name in field.receivers},
            {field.source: self.server(field)},
            {field.source: f"ss -Hltn sport = :{NBD_PORT} | grep -q ."},
        )


class NbdcopyTls(Nbdcopy):
    name = "nbdcopy-tls"
    title = "nbdcopy with TLS, star"
    note = "The same with TLS 1.3 and a pre-shared key; nobody compares digests."

    def cast(self, field: Field, size: int) -> Cast:
        key = f"bench:{secrets.token_hex(32)}\n"
        for name in field.lab.names:
            path = field.path(name, f"{FOLDER}/psk")
            path.write_text(key)
            path.chmod(0o600)
        return super().cast(field, size)

    def server(self, field: Field) -> str:
        return f"exec nbdkit -f -r -p {NBD_PORT} --tls=require --tls-psk={FOLDER}/psk file {FILE}"

    def uri(self, field: Field) -> str:
        return f"nbds://bench@{field.address(field.source)}:{NBD_PORT}?tls-psk-file={FOLDER}/psk"


class Clush(Star):
    name = "clush"
    title = "clush --copy, flat"
    note = "clush --copy (ClusterShell) over scp (aes128-gcm) from the source, all hosts at once; with the start of ssh."
    packages = {"clush": "clustershell"}

    def cast(self, field: Field, size: int) -> Cast:
        hosts = ",".join(field.receivers)
        command = f"clush -S -f 64 -o '{SSH.removeprefix('ssh ')}' -w {hosts} --copy {FILE} --dest {FILE}"
        return Cast(field.source, {field.source: command})


class ClushTree(Clush):
    name = "clush-tree"
    title = "clush --copy, tree"
    note = "The same through gateways, about as many as the square root of the number of hosts."

    @staticmethod
    def gateways(receivers: list[str]) -> dict[str, list[str]]:
        """Which hosts each gateway serves; every gateway gets the file as well."""
        number = max(1, round(len(receivers) ** 0.5))
        first, rest = receivers[:number], receivers[number:]
        return {gateway: rest[index::number] for index, gateway in enumerate(first)}

    def copies(self, receivers: int) -> float:
        # Each gateway's share goes to it once for every host behind it, in base64.
        return 1.4 * receivers

    def victim(self, field: Field) -> str:
        return next(iter(self.gateways(field.receivers)))

    def cast(self, field: Field, size: int) -> Cast:
        tree = self.gateways(field.receivers)
        routes = [f"{field.source}: {','.join(tree)}", *(f"{gateway}: {','.join(hosts)}" for gateway, hosts in tree.items() if hosts)]
        field.path(field.source, f"{FOLDER}/topology").write_text("[routes]\n" + "\n".join(routes) + "\n")
        hosts = ",".join(field.receivers)
        command = (
            "export CLUSTERSHELL_GW_PYTHON_EXECUTABLE=/usr/bin/python3\n"
            f"clush -S -f 64 -o '{SSH.removeprefix('ssh ')}' --topology {FOLDER}/topology -w {hosts} --copy {FILE} --dest {FOLDER}/"
        )
        return Cast(field.source, {field.source: command})
