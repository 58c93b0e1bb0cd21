# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Files of the controller: where a relative path leads, and what is there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
import typing as t
from collections.abc import Sequence

from ..module_utils._names import is_sha256


class Found(t.NamedTuple):
    """A path that was looked up; ``tried`` are the absolute paths in the order of the search.

    ``other`` says what stands there instead of a file, or why nobody can tell; ``outside`` are those that were not looked at.
    """

    path: str
    tried: list[str]
    isreg: bool
    size: int
    other: str = ""
    outside: tuple[str, ...] = ()


def directories(current: str, playbooks: Sequence[str]) -> list[str]:
    """Where a relative path is looked up: in the current directory, then beside the playbooks that were called."""
    return [current, *(os.path.dirname(os.path.join(current, playbook)) for playbook in playbooks)]


def find(path: str, directories: Sequence[str], within: Sequence[str] = ()) -> Found:
    """The first of the directories that has the file; without any, the path in the first of them.

    :param within: directories below which the file has to lie, all links resolved; the path is the resolved one then. Of others it
        is not even told whether they exist.
    """
    path = os.path.expanduser(path)
    tried = list(dict.fromkeys(os.path.normpath(os.path.join(directory, path)) for directory in directories))
    others, outside = [], []
    allowed = [os.path.realpath(os.path.expanduser(directory)) for directory in within]
    for candidate in tried:
        if within:
            real = "" if "\0" in candidate else os.path.realpath(candidate)
            if not any(real.startswith(f"{directory.rstrip('/')}/") for directory in allowed):
                outside.append(candidate)
                continue
            candidate = real
        try:
            facts = os.stat(candidate)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            others.append(f"{candidate} cannot be looked at: {getattr(error, 'strerror', None) or error}")
            continue
        if stat.S_ISREG(facts.st_mode):
            return Found(candidate, tried, True, facts.st_size)
        others.append(f"{candidate} is {_KINDS.get(stat.S_IFMT(facts.st_mode), 'a device')}")
    return Found(tried[0], tried, False, 0, "; ".join(others), tuple(outside))


_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def sha256_of(path: str, memory: str | None = None) -> str:
    """The digest of a file, which is read once as long as it is not touched.

    :param memory: a directory that keeps what was read; without it nothing is kept.
    """
    with open(path, "rb") as file:
        seen = _touched(os.fstat(file.fileno()))
        note = os.path.join(memory, f"{hashlib.sha256(os.fsencode(path)).hexdigest()}.json") if memory else None
        known = _noted(note) if note else {}
        if known.get("file") == seen and is_sha256(known.get("sha256")):
            return str(known["sha256"])
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        settled = time.time_ns() - seen[3] > _SETTLED_NS and _touched(os.fstat(file.fileno())) == seen
    if note and settled:
        _keep(note, {"file": seen, "sha256": sha256, "path": path})
    return sha256


#: A file that was written this recently may be written again without its time stamp showing it.
_SETTLED_NS = 2 * 10**9


def _touched(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _noted(note: str) -> dict[str, t.Any]:
    try:
        with open(note, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _keep(note: str, data: dict[str, t.Any]) -> None:
    """Where it cannot be kept, the file is read again next time."""
    try:
        os.makedirs(os.path.dirname(note), mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(note), delete=False, encoding="utf-8") as file:
            json.dump(data, file)
        os.replace(file.name, note)
    except OSError:
        return


def why_not_writable(path: str) -> str | None:
    """What stands in the way of writing a file, or nothing."""
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        return f"{path} is a directory; expected a file"
    if os.path.exists(path) and not os.path.isfile(path):
        return f"{path} is {_KINDS.get(stat.S_IFMT(os.stat(path).st_mode), 'a device')}; expected a file"
    if not os.path.isdir(folder):
        return f"the directory {folder} does not exist; make it, or name another file"
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        return f"{path} cannot be written; name another file"
    return None


def holds(path: str, text: str) -> bool:
    """Whether this is the whole content of the file."""
    data = text.encode("utf-8")
    try:
        with open(path, "rb") as file:
            return file.read(len(data) + 1) == data
    except FileNotFoundError:
        return False


def write(path: str, text: str, public: bool = False, before: str | None = None) -> bool:
    """Replaces the file as a whole, or not at all. Only its owner can read it.

    :param public: everybody can read it, or who could read the file that was there; it keeps its owner, and a link stays a link.
    :param before: what the file holds that is to be replaced, empty for none; any if it is None.
    :returns: whether it was that file. Otherwise somebody else was first, and nothing is written.
    :raises OSError: it cannot be written.
    """
    if public:
        path = os.path.realpath(path)
    if before is None:
        _replace(path, text, public)
        return True
    # Runs of this collection that change one file take turns. The file itself cannot be locked, since each replaces it.
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not holds(path, before) and (before or os.path.exists(path)):
            return False
        _replace(path, text, public)
        return True
    finally:
        os.close(folder)


def _replace(path: str, text: str, public: bool) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".basecast-", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
            if public:
                _as_before(path, file.fileno())
        os.replace(name, path)
    except BaseException:  # an interrupt must not leave the temporary file either
        os.unlink(name)
        raise


def _as_before(path: str, descriptor: int) -> None:
    try:
        before = os.stat(path)
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    if os.geteuid() == 0:
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
