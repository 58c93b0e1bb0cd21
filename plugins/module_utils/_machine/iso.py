# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The host's tool that writes ISO 9660 images: the only file that knows any of them."""

from __future__ import annotations

import os
import shutil
import tempfile
import typing as t

from .._errors import FleetError

Runner = t.Callable[[t.List[str]], t.Tuple[int, str, str]]

VOLUME_ID = "cidata"  # NoCloud finds its medium by this name
CONFIG_DRIVE_ID = "config-2"  # and OpenStack's configuration drive is found by this one

# 2020-01-01: a fixed date everywhere makes equal content equal bytes.
_EPOCH = 1577836800
_DATE = b"2020010100000000"

# Debian's package of each, the first is what is recommended when none is there.
TOOLS = {"xorriso": "xorriso", "genisoimage": "genisoimage", "mkisofs": "genisoimage"}


class NoIsoTool(FleetError):
    kind = "missing_package"


def find_tool() -> str:
    """Path of the first tool that this host has."""
    for name in TOOLS:
        path = shutil.which(name)
        if path:
            return path
    raise NoIsoTool(
        f"A seed image needs one of {', '.join(TOOLS)} on the host, and none is there. Install the package xorriso.",
        package="xorriso",
    )


def write_iso(path: str, files: t.Mapping[str, bytes], run: Runner, tool: str | None = None, volume_id: str = VOLUME_ID) -> None:
    """Write an image of some small files; equal files give equal bytes.

    :param path: the image; a file that is there already is overwritten.
    :param files: content by name; folders in it are made.
    :param tool: path of the program, found when omitted.
    """
    tool = tool or find_tool()
    with tempfile.TemporaryDirectory(prefix="basecast-seed-") as folder:
        for name, content in sorted(files.items()):
            inner = os.path.join(folder, name)
            os.makedirs(os.path.dirname(inner), exist_ok=True)
            with open(os.open(inner, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            os.chmod(inner, 0o444)  # in the image; the folder around it is private
            os.utime(inner, (_EPOCH, _EPOCH))
        for inner_folder, _folders, _files in os.walk(folder, topdown=False):
            os.utime(inner_folder, (_EPOCH, _EPOCH))
        argv = _command(tool, path, folder, volume_id)
        code, out, err = run(argv)
    if code != 0:
        reason = (err or out).strip().splitlines()
        raise FleetError(
            f"{os.path.basename(tool)} could not write the seed image {path}: {reason[-1] if reason else f'exit code {code}'}",
            command=argv,
        )
    _fix_dates(path)


def _command(tool: str, path: str, folder: str, volume_id: str) -> list[str]:
    common = ["-quiet", "-volid", volume_id, "-joliet"]
    if os.path.basename(tool) == "xorriso":
        return [tool, "-as", "mkisofs", *common, "--set_all_file_dates", _DATE.decode(), "-o", path, folder]
    # No Rock Ridge: these tools copy the times of access and of inode change into it.
    return [tool, *common, "-o", path, folder]


def _fix_dates(path: str) -> None:
    """The volume descriptors' own dates come from the clock in every tool."""
    with open(path, "r+b") as file:
        for sector in range(16, 32):
            file.seek(sector * 2048)
            kind = file.read(1)[0]
            if kind == 255:
                break
            if kind in (1, 2):  # primary and supplementary (Joliet)
                file.seek(sector * 2048 + 813)
                file.write((_DATE + b"\0") * 2)  # created, modified
                file.seek(sector * 2048 + 864)
                file.write(_DATE + b"\0")  # effective
