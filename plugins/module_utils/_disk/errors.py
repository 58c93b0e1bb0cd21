# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Named failures of the disk layer, with the facts a playbook may branch on."""

from __future__ import annotations

import errno
import typing as t

from .._errors import FleetError

# Of the host's storage, and not of what was brought.
_OF_STORAGE = (errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EUCLEAN)


class ToolMissing(FleetError):
    kind = "tool_missing"

    def __init__(self, program: str, package: str) -> None:
        super().__init__(
            f"The program {program} is not on this host; install the package {package}.",
            program=program,
            package=package,
        )


class ToolFailed(FleetError):
    kind = "tool_failed"

    def __init__(self, attempt: str, program: str, code: int, detail: str) -> None:
        super().__init__(f"{attempt}: {program} ended with {code}: {detail}", program=program, code=code, detail=detail)


class StoreBusy(FleetError):
    """Another process holds the lock; ``fields.pid`` is its id on its own host, 0 where unknown, ``fields.host`` that host where
    it is another one."""

    kind = "busy"

    def __init__(self, subject: str, path: str, pid: int = 0, host: str = "") -> None:
        holder = f" by process {pid}" + (f" of {host}" if host else "") if pid else ""
        super().__init__(f"{subject} is being written{holder} ({path}); try again when that has ended.", path=path, pid=pid, host=host)


class LockLost(FleetError):
    """This host held a lock of shared storage and stood still for so long that another one took it over."""

    kind = "lock_lost"

    def __init__(self, subject: str, path: str, host: str = "") -> None:
        super().__init__(
            f"{subject}: this host did not write to the storage for too long, so {host or 'another host'} has taken over its lock "
            f"({path}); try again.",
            path=path,
            host=host,
        )


class DigestMismatch(FleetError):
    kind = "digest_mismatch"

    def __init__(self, subject: str, wanted: str, found: str) -> None:
        super().__init__(
            f"{subject} has the SHA-256 digest {found}, but {wanted} was asked for; nothing was kept.",
            wanted=wanted,
            found=found,
        )


class WrongDigest(FleetError):
    """The bytes in the store's own hands are not what their name says."""

    kind = "wrong_digest"

    def __init__(self, wanted: str, found: str) -> None:
        super().__init__(
            f"The base disk {wanted} cannot be published: its file has the SHA-256 digest {found}.", wanted=wanted, found=found
        )


class NameTaken(FleetError):
    kind = "name_taken"

    def __init__(self, tenant: str, name: str, version: str, pool: str, found: str, wanted: str) -> None:
        super().__init__(
            f"The name {name} {version} of tenant {tenant} already stands for the base disk {found} in pool {pool}, "
            f"not for {wanted}. Give the new one another version, or drop the name with base_disk_reference.",
            tenant=tenant,
            name=name,
            version=version,
            pool=pool,
            found=found,
            wanted=wanted,
        )


class BaseMissing(FleetError):
    kind = "base_missing"

    def __init__(self, sha256: str, pools: t.Iterable[str]) -> None:
        names = ", ".join(sorted(pools))
        super().__init__(f"The base disk {sha256} is in none of the pools {names} of this host.", sha256=sha256, pools=names)


class BaseInUse(FleetError):
    kind = "base_in_use"

    def __init__(self, sha256: str, pool: str, needed_by: t.Mapping[str, t.Sequence[str]]) -> None:
        reasons = "; ".join(f"{what}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''}" for what, names in needed_by.items())
        super().__init__(
            f"The base disk {sha256} in pool {pool} is still needed by {reasons}. Remove such machines and disks first, and "
            "drop references with base_disk_reference.",
            sha256=sha256,
            pool=pool,
            needed_by={what: list(names) for what, names in needed_by.items()},
        )


class UnsafeImage(FleetError):
    """An image that must not be opened, or not as what it claims to be."""

    kind = "unsafe_image"


class UnsupportedImage(FleetError):
    kind = "unsupported_image"


class DamagedImage(FleetError):
    kind = "damaged_image"


class FormatUnclear(FleetError):
    kind = "format_unclear"


class UnsafePath(FleetError):
    kind = "unsafe_path"


class NoSpace(FleetError):
    kind = "no_space"


class StorageFailed(FleetError):
    """The host's own storage does not do what it is asked for."""

    kind = "storage"


class DiskConflict(FleetError):
    """A disk that exists is not the one that was asked for, and was left alone."""

    kind = "disk_conflict"


class DiskBusy(FleetError):
    kind = "disk_busy"


def no_space(error: OSError, attempt: str, path: str) -> NoSpace | None:
    """The named failure when the error says that the disk or quota is full."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return NoSpace(f"{attempt}: no space left in {path}; nothing incomplete was kept.", path=path)


def storage_failed(error: OSError, attempt: str, path: str) -> NoSpace | StorageFailed | None:
    """The named failure when the error is one of this host's storage, full or out of order, and not of what was brought."""
    if error.errno in _OF_STORAGE:
        return StorageFailed(f"{attempt}: the storage of {path} is out of order ({error.strerror}); look at the host's storage.", path=path)
    return no_space(error, attempt, path)
