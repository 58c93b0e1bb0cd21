# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a test does with one host of a lab, or with the way between two."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import subprocess
import threading
import time
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if t.TYPE_CHECKING:
    import paramiko

    from ._lab import Lab

FILE_SYSTEMS = ("dir", "ext4", "xfs", "btrfs", "tmpfs")

Rate = float | tuple[float | None, float | None] | None
"""Mbit/s of a link: one number for both directions, or (up from the host, down to the host); None is unshaped."""


class LabError(Exception):
    """The lab cannot do what was asked."""


class LabTimeout(LabError):
    """A command on a host did not end in time."""


@dataclass(frozen=True)
class Result:
    """What a command on a host came to."""

    argv: str
    rc: int
    stdout: str
    stderr: str


class Host:
    """One host of a lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self._client: paramiko.SSHClient | None = None
        self._client_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    @property
    def _status(self) -> dict[str, t.Any]:
        return self.lab.status["hosts"][self.name]

    @property
    def address(self) -> str:
        return self._status["address"]

    @property
    def pools(self) -> dict[str, str]:
        """Paths in the host, by name."""
        return {name: pool["path"] for name, pool in self._status["pools"].items()}

    @property
    def running(self) -> bool:
        return self.lab.refresh()["hosts"][self.name]["running"]

    def path(self, path: str | os.PathLike[str]) -> Path:
        """A file of the host as everybody on this machine sees it, the host running or not.

        Not there: /proc, /sys and /dev. Absolute symbolic links on the way lead outside the host, and
        `resolve()` does too.
        """
        wanted = os.path.normpath(os.fspath(path))
        if not wanted.startswith("/"):
            raise LabError(f"the path of a file on a host is absolute, not {wanted!r}")
        for pool in self._status["pools"].values():
            if pool["fs"] == "dir" and (wanted == pool["path"] or wanted.startswith(pool["path"] + "/")):
                return Path(pool["source"] + wanted[len(pool["path"]) :])
        return Path(f"/proc/{self.lab.supervisor}/root{self._status['root']}{wanted}")

    def put(self, source: str | os.PathLike[str], target: str | os.PathLike[str], mode: int | None = None) -> None:
        """Copies a file to the host, holes kept; makes the folders on the way."""
        where = self.path(target)
        where.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--sparse=always", os.fspath(source), str(where)], check=True)
        where.chmod(0o644 if mode is None else mode)

    def get(self, source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
        subprocess.run(["cp", "--sparse=always", str(self.path(source)), os.fspath(target)], check=True)

    # ---- commands

    def _connect(self) -> paramiko.SSHClient:
        import paramiko

        with self._client_lock:
            client = self._client
            transport = client.get_transport() if client else None
            if client and transport and transport.is_active():
                return client
            if not self._status["running"] and not self.running:
                raise LabError(f"host {self.name} is not running")
            client = paramiko.SSHClient()
            client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
            try:
                client.connect(
                    self.address,
                    username="root",
                    sock=t.cast(t.Any, self.lab.connect(self.address, 22, timeout=5)),
                    pkey=paramiko.Ed25519Key.from_private_key_file(str(self.lab.state / "key")),
                    look_for_keys=False,
                    allow_agent=False,
                    timeout=10,
                    banner_timeout=10,
                    auth_timeout=10,
                )
            except (OSError, EOFError, paramiko.SSHException) as error:
                client.close()
                raise LabError(f"no ssh connection to host {self.name}: {error}") from error
            self._client = client
            return client

    def disconnect(self) -> None:
        with self._client_lock:
            if self._client:
                self._client.close()
            self._client = None

    def run(self, command: str | Sequence[str], check: bool = True, timeout: float = 60, stdin: str | bytes = b"") -> Result:
        """Runs a command (a shell line, or a list of arguments) as root over ssh.

        Raises LabError if it cannot be started, or fails while `check` is set; LabTimeout after `timeout` seconds.
        """
        import paramiko

        line = command if isinstance(command, str) else shlex.join(command)
        deadline = time.monotonic() + timeout
        out, err = bytearray(), bytearray()
        try:
            transport = self._connect().get_transport()
            if transport is None:
                raise LabError(f"no ssh connection to host {self.name}")
            channel = transport.open_session(timeout=min(timeout, 10))
            with contextlib.closing(channel):
                channel.exec_command(line)
                data = stdin.encode() if isinstance(stdin, str) else stdin
                if data:
                    channel.settimeout(timeout)
                    channel.sendall(data)
                channel.shutdown_write()
                # The exit status may overtake the last output.
                while True:
                    while channel.recv_ready():
                        out += channel.recv(65536)
                    while channel.recv_stderr_ready():
                        err += channel.recv_stderr(65536)
                    if channel.exit_status_ready() and channel.eof_received and not channel.recv_ready():
                        break
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise LabTimeout(f"{self.name}: {line}: not done after {timeout:g} s")
                    if channel.closed and not channel.exit_status_ready():
                        raise LabError(f"{self.name}: {line}: the connection was lost")
                    select.select([channel], [], [], min(left, 0.005))
                code = channel.recv_exit_status()
        except (OSError, EOFError, paramiko.SSHException) as error:
            self.disconnect()
            raise LabError(f"{self.name}: {line}: {error or type(error).__name__}") from error
        result = Result(line, code, out.decode(errors="replace"), err.decode(errors="replace"))
        if code == -1:
            raise LabError(f"{self.name}: {line}: the connection was lost")
        if check and code != 0:
            raise LabError(f"{self.name}: {line}: exit code {code}\n{result.stderr or result.stdout}".rstrip())
        return result

    # ---- trouble

    def crash(self) -> None:
        """All processes end at once; the kernel of the host lives on and closes their connections."""
        self.lab.request("crash", host=self.name)
        self.disconnect()

    def power_cut(self) -> None:
        """The host is gone in silence: its peers' connections hang."""
        self.lab.request("power_cut", host=self.name)
        self.disconnect()

    def revive(self) -> None:
        """Starts a crashed or cut-off host; files stay, /run and /tmp are empty. Returns when sshd answers."""
        self.lab.request("revive", host=self.name)

    def cut_link(self) -> None:
        self.lab.request("link", host=self.name, state="cut")

    def slow_link(self, mbps: Rate) -> None:
        up, down = both_ways(mbps)
        self.lab.request("link", host=self.name, state="slow", up_mbps=up, down_mbps=down)

    def restore_link(self) -> None:
        """The link as it was when the lab started."""
        self.lab.request("link", host=self.name, state="restore")

    # ---- pools

    def add_pool(self, name: str, fs: str = "dir", size_mib: int | None = None) -> str:
        """Adds a pool; returns its path in the host. `fs` is one of dir, ext4, xfs, btrfs and tmpfs."""
        check_pool(name, fs)
        self.lab.check_machine(False, [fs])
        self.lab.request("add_pool", host=self.name, pool=name, fs=fs, size_mib=size_mib)
        self.lab.write_inventory()
        return self.pools[name]

    def fill_pool(self, name: str, leave_bytes: int = 0) -> int:
        """Fills a pool that has its own file system (not `dir`) up; returns the free bytes."""
        return self.lab.request("fill_pool", host=self.name, pool=name, leave_bytes=leave_bytes)["free_bytes"]

    def free_pool(self, name: str) -> None:
        self.lab.request("free_pool", host=self.name, pool=name)


@dataclass(frozen=True)
class Pair:
    """The way from one host to another, and (unless a method's `both` is false) back."""

    lab: Lab
    source: str
    target: str

    def _ask(self, both: bool, **what: t.Any) -> None:
        self.lab.request("pair", source=self.source, target=self.target, **what)
        if both:
            self.lab.request("pair", source=self.target, target=self.source, **what)

    def cut(self, both: bool = True) -> None:
        """Packets are dropped in silence."""
        self._ask(both, state="cut")

    def slow(self, mbps: float, both: bool = True) -> None:
        self._ask(both, state="slow", mbps=mbps)

    def restore(self, both: bool = True) -> None:
        self._ask(both, state="restore")


def both_ways(rate: Rate) -> tuple[float | None, float | None]:
    up, down = rate if isinstance(rate, tuple | list) else (rate, rate)
    for value in (up, down):
        if value is not None and value <= 0:
            raise LabError(f"a rate is a positive number of Mbit/s or None, not {value!r}")
    return up, down


def check_pool(name: str, fs: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", name):
        raise LabError(f"{name!r} is no name for a pool: letters, digits, '-' and '_'")
    if fs not in FILE_SYSTEMS:
        raise LabError(f"pool {name!r}: file system {fs!r} is not one of {', '.join(FILE_SYSTEMS)}")
