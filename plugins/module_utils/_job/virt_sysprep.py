# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The one that knows virt-sysprep, which takes a machine's identity out of copies of its disks."""

from __future__ import annotations

import typing as t

from .._disk.packages import package
from .._disk.runner import Runner, require_program
from .._errors import FleetError

# What makes every machine of a base the same one, and what only fills it.
_SEALED = "machine-id,ssh-hostkeys,logfiles,tmp-files,bash-history,dhcp-client-state,net-hwaddr"


def require() -> str:
    """:raises FleetError: it is not installed, and in which package it comes."""
    return require_program("virt-sysprep", package("virt-sysprep"))


def seal(run_command: Runner, formats: t.Mapping[str, str]) -> None:
    """
    :param formats: of all disks of the machine, by path. If it were guessed, a guest could write the header of another format.
    """
    disks = [word for path, image_format in formats.items() for word in ("--format", image_format, "-a", path)]
    code, _output, errors = run_command([require(), "--quiet", "--operations", _SEALED, *disks])
    if code != 0:
        last = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise FleetError(
            f"virt-sysprep could not seal {', '.join(formats)}: {last[0]}. Try libguestfs-test-tool on this host, or capture without seal.",
            kind="seal_failed",
            code=code,
        )
