# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether the user that QEMU runs as can reach a directory: libvirt gives it a machine's files, but not their directories."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
import typing as t

from . import packages

_ACL = "system.posix_acl_access"
_ENTRY = struct.Struct("<HHI")
_OWNER, _USER, _GROUP, _NAMED_GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_EXECUTE = 1
_MOST_STEPS = 4096  # links may lead in circles


class User(t.NamedTuple):
    name: str
    uid: int
    groups: frozenset[int]


def qemu_user() -> User | None:
    """The user of libvirt's QEMU on this host; None where it is not known here, as before libvirt is installed."""
    name, group = packages.qemu_user()
    try:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
        entry = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OSError):
        if name.isdigit() and group.isdigit():
            return User(name, int(name), frozenset({int(group)}))  # libvirt takes numbers that no user has
        return None
    return User(entry.pw_name, entry.pw_uid, frozenset({*os.getgrouplist(entry.pw_name, entry.pw_gid), gid}))


def may_enter(status: os.stat_result, acl: bytes | None, user: User) -> bool:
    """By mode and access control list, as the kernel decides it."""
    if user.uid == 0:
        return True
    entries = _entries(acl)
    if not entries:
        if status.st_uid == user.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid in user.groups:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)
    permissions = {tag: permission for tag, permission, _who in entries}
    mask = permissions.get(_MASK, 7)
    if status.st_uid == user.uid:
        return bool(permissions.get(_OWNER, 0) & _EXECUTE)
    for tag, permission, who in entries:
        if tag == _USER and who == user.uid:
            return bool(permission & mask & _EXECUTE)
    groups = [
        permission
        for tag, permission, who in entries
        if (tag == _GROUP and status.st_gid in user.groups) or (tag == _NAMED_GROUP and who in user.groups)
    ]
    if groups:
        return any(permission & mask & _EXECUTE for permission in groups)
    return bool(permissions.get(_OTHER, 0) & _EXECUTE)


def enters(path: str, user: User) -> bool:
    """The directory itself, whatever is above it. :raises OSError:"""
    return may_enter(os.stat(path), _acl(path), user)


def problem(path: str, user: User | None) -> str:
    """Why the user cannot come to the directory, and what to do; empty when it can, or when there is no such user yet."""
    if user is None:
        return ""
    for place in _way(os.path.abspath(path)):
        try:
            status = os.stat(place)
        except OSError:
            return ""  # that it is not there is told otherwise
        if not may_enter(status, _acl(place), user):
            return (
                f"QEMU runs as {user.name} on this host, which cannot enter {place} (mode {stat.S_IMODE(status.st_mode):04o}); "
                f"allow it with: setfacl -m u:{user.name}:x {place}"
            )
    return ""


def _way(path: str) -> list[str]:
    """Every directory that the kernel enters on the way to a path, the places of symbolic links on it included."""
    found: dict[str, None] = {"/": None}
    waiting = path.split("/")[::-1]
    place = "/"
    for _step in range(_MOST_STEPS):
        if not waiting:
            break
        part = waiting.pop()
        if part == "..":
            place = os.path.dirname(place)
        elif part not in ("", "."):
            there = os.path.join(place, part)
            if os.path.islink(there):
                target = os.readlink(there)
                waiting += target.split("/")[::-1]
                place = "/" if target.startswith("/") else place
            else:
                place = there
        found[place] = None
    return list(found)


def let_pass(path: str) -> bool:
    """Let QEMU's user through a directory of the store that an earlier version made with too narrow a mode, by the one bit
    that this takes; True when it was changed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        user = qemu_user() or User("", -1, frozenset())
        if status.st_uid != os.geteuid() or may_enter(status, _acl(descriptor), user):
            return False
        bit = stat.S_IXGRP if status.st_gid in user.groups else stat.S_IXOTH
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) | bit)
        return True
    finally:
        os.close(descriptor)


def _acl(place: str | int) -> bytes | None:
    try:
        return os.getxattr(place, _ACL)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES):
            return None
        raise


def _entries(acl: bytes | None) -> list[tuple[int, int, int]]:
    """(tag, permission, id) each; empty for what is no list of version 2."""
    if acl is None or len(acl) < 4 or (len(acl) - 4) % _ENTRY.size or acl[:4] != b"\2\0\0\0":
        return []
    return list(_ENTRY.iter_unpack(acl[4:]))
