# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks of a running machine as they are at one moment, all of them at the same one, in files beside them.

QEMU mirrors each disk into its file until that is the same, and then ends the mirrors together. Neither the machine's definition
nor its chain of disks changes at any time, so whatever interrupts this leaves nothing but those files.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
import xml.etree.ElementTree as ET

from .._disk.errors import DiskConflict
from .._errors import FleetError
from .libvirt_host import Domain, LibvirtError
from .xml_document import parse_xml

_POLL_S = 0.1


class MirrorFailed(FleetError):
    """The disk could not be copied; the machine goes on as before."""

    kind = "mirror_failed"


class Mirror(t.NamedTuple):
    """
    :param disk: the machine's disk.
    :param copy: a file that exists, with the same size, and over the same parent if the mirror is shallow.
    """

    disk: str
    copy: str
    shallow: bool


def abandon(domain: Domain, mirrors: t.Iterable[Mirror]) -> None:
    """End what an interrupted run has begun with these files."""
    for mirror in mirrors:
        target = target_of(domain, mirror.disk)
        if _state(domain, target).get("file") == mirror.copy:
            domain.end_copy(target)


def take(domain: Domain, mirrors: t.Sequence[Mirror], timeout_s: float) -> bool:
    """Whether the guest's file systems were at rest at that moment: its agent has brought them there.

    :param timeout_s: how long the copying may take.
    :raises MirrorFailed, LibvirtError:
    """
    targets = [target_of(domain, mirror.disk) for mirror in mirrors]
    deadline = time.monotonic() + timeout_s
    try:
        for mirror, target in zip(mirrors, targets):
            domain.begin_copy(target, mirror.copy, mirror.shallow)
        for target in targets:
            _await(domain, target, deadline, timeout_s)
        frozen = domain.freeze()
        try:
            for target in targets:
                domain.end_copy(target)
        finally:
            if frozen:
                domain.thaw()
    except BaseException:  # an interrupt must not leave the machine writing everything twice either
        for target in targets:
            with contextlib.suppress(LibvirtError):
                domain.end_copy(target)
        raise
    return frozen


def _await(domain: Domain, target: str, deadline: float, timeout_s: float) -> None:
    while True:
        state = _state(domain, target)
        if state.get("ready") == "yes":
            return
        if not state:
            raise MirrorFailed(f"QEMU has ended the copy of the disk {target} of {domain.name}; its log tells why.")
        if time.monotonic() >= deadline:
            raise MirrorFailed(
                f"The disk {target} of {domain.name} was not copied within {timeout_s:g} s; give it more time (copy_timeout_s), "
                "or stop the machine first."
            )
        time.sleep(_POLL_S)


def target_of(domain: Domain, path: str) -> str:
    """The name in the guest of the disk whose file it is. :raises DiskConflict: the running machine does not have it."""
    for disk in parse_xml(domain.live_xml()).iterfind("./devices/disk"):
        if os.path.realpath(_of(disk, "source", "file")) == os.path.realpath(path):
            return _of(disk, "target", "dev")
    raise DiskConflict(f"{domain.name} is running and does not have the disk {path}; nothing was touched.", path=path)


def _state(domain: Domain, target: str) -> dict[str, str]:
    """The copy of a disk that is going on; empty where there is none."""
    for disk in parse_xml(domain.live_xml()).iterfind("./devices/disk"):
        mirror = disk.find("mirror")
        if mirror is not None and _of(disk, "target", "dev") == target:
            return {"file": mirror.get("file") or _of(mirror, "source", "file"), "ready": mirror.get("ready", "")}
    return {}


def _of(element: ET.Element, child: str, key: str) -> str:
    found = element.find(child)
    return found.get(key, "") if found is not None else ""
