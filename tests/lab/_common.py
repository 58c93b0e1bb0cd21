# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the parts of the supervisor have in common: hosts, pools, commands and refusals."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import _linux

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/bash",
}


class Refused(Exception):
    """A request that cannot be carried out: the message is for the one who asked."""


@dataclass
class Pool:
    name: str
    path: str
    """Where the host sees it."""
    fs: str
    source: Path
    """Where the supervisor sees it; for a plain directory this is also where everybody else does."""
    shared: bool = False
    size_mib: int | None = None


@dataclass
class LabHost:
    name: str
    index: int
    address: str
    up_mbps: float | None
    down_mbps: float | None
    folder: Path
    pools: dict[str, Pool] = field(default_factory=dict)
    pid: int = 0
    net: int = -1
    cut: bool = False
    slow: tuple[float | None, float | None] | None = None

    @property
    def port(self) -> str:
        return f"p{self.index}"

    @property
    def mac(self) -> str:
        return f"02:bc:00:00:{self.index >> 8:02x}:{self.index & 255:02x}"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def rates(self) -> tuple[float | None, float | None]:
        return self.slow if self.slow is not None else (self.up_mbps, self.down_mbps)


def command(*argv: str | Path, stdin: str | None = None, net: int = -1, check: bool = True) -> str:
    """Runs a program, in the network namespace of the descriptor `net` if one is given."""
    enter = (lambda: _linux.setns(net, _linux.CLONE_NEWNET)) if net >= 0 else None
    done = subprocess.run(
        [str(arg) for arg in argv],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=enter,
        env=ENVIRONMENT,
    )
    if check and done.returncode != 0:
        raise Refused(f"{' '.join(map(str, argv))}: {(done.stderr or done.stdout).strip() or f'exit code {done.returncode}'}")
    return done.stdout
