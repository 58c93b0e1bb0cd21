# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state folders of labs, and what dead labs left in them: a running lab holds the lock of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from . import _linux
from ._host import LabError
from ._network import SUBNETS

SUBNET_CLAIMS = Path("/run/basecast-lab")
"""Of the whole machine, wherever its labs keep their files."""


def lab_root() -> Path:
    """The folder that holds the state folders of all labs."""
    return Path(os.environ.get("BASECAST_LAB_DIR") or "/var/tmp/basecast-lab").absolute()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def claim(state: Path) -> int:
    """Makes a state folder, after removing what dead labs left; returns the descriptor of its lock."""
    with locked(state.parent):
        sweep(state.parent)
        try:
            state.mkdir(mode=0o755)
        except FileExistsError:
            if (state / ".lock").exists():
                raise LabError(f"a lab runs in {state} already") from None
            raise LabError(f"{state} is there and is no lab's state folder") from None
        fd = os.open(state / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd


def claim_subnet() -> tuple[int, int]:
    """A subnet that no running lab of this machine has, and the descriptor that claims it as long as anybody holds it open."""
    SUBNET_CLAIMS.mkdir(exist_ok=True)
    for subnet in SUBNETS:
        fd = os.open(SUBNET_CLAIMS / f"subnet-{subnet}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            continue
        return subnet, fd
    raise LabError(f"all {len(SUBNETS)} subnets for labs are in use; `lab list` names the labs, `lab down` ends one")


def is_stale(state: Path) -> bool:
    """Whether nobody holds the lock of this state folder (or it is not there)."""
    try:
        fd = os.open(state / ".lock", os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def remove_stale(state: Path) -> None:
    if (state / ".lock").exists() and is_stale(state):
        _linux.wait_for_loops(state)
        with contextlib.suppress(FileNotFoundError):
            _linux.remove_tree(state)


def sweep(root: Path) -> None:
    """Removes what labs left that were killed together with their keeper."""
    if root.is_dir():
        for entry in root.iterdir():
            if entry.is_dir():
                remove_stale(entry)
