# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where built images are kept: one file per recipe, complete or not there at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import typing as t
from pathlib import Path

MONTH_S = 30 * 86400


def directory() -> Path:
    """${BASECAST_CACHE:-${XDG_CACHE_HOME:-~/.cache}/basecast-fleet}/images, made if need be."""
    base = os.environ.get("BASECAST_CACHE")
    if not base:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "basecast-fleet")
    path = Path(base) / "images"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(*parts: t.Any) -> str:
    """A short name for a recipe: JSON-serialisable parts, and files by content (Path)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if path.is_file():
                    digest.update(f"{path.name}\0{path.stat().st_mode & 0o100}\0".encode())
                    digest.update(path.read_bytes())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def lock(family: str) -> t.Iterator[None]:
    """One builder of a family at a time on this machine; the others wait and then find it built."""
    with (directory() / f".{family}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cached(family: str, name: str, build: t.Callable[[Path, Path], None]) -> Path:
    """The cached `name` (a file or a directory), built first if it is not there.

    :param family: what the name begins with; its members are built one at a time, and those that nobody asked for
        in a month go when a new one is made.
    :param build: gets the path to make and a scratch directory beside it (same file system), removed afterwards.
    """
    final = directory() / name
    if final.exists():
        os.utime(final)  # asked for; newest() and the month count from here
        return final
    with lock(family):
        if not final.exists():
            with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=directory()) as scratch:
                made = Path(scratch) / "made"
                build(made, Path(scratch))
                if made.is_file():
                    with made.open("rb") as handle:
                        os.fsync(handle.fileno())
                    made.chmod(0o444)
                os.utime(made)
                made.rename(final)
            for old in directory().glob(f"{family}-*"):
                if old.stat().st_mtime < final.stat().st_mtime - MONTH_S:
                    drop(old)
    return final


def newest(pattern: str) -> Path | None:
    """The cached thing that matches and was made last."""
    return max(directory().glob(pattern), key=lambda path: path.stat().st_mtime, default=None)


def drop(path: Path) -> None:
    """Remove a cached image or directory."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
