# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Copies of a running machine's disks: QEMU mirrors each disk into a file until that is the same.

``take`` then ends the mirrors together: the files are as the disks were at one moment. Neither the machine's definition nor its chain
of disks changes at any time, so whatever interrupts this leaves nothing but those files. ``move`` lets the machine go on in the files
instead.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
import xml.etree.ElementTree as ET

from .._disk import file_io, layout
from .._disk.errors import DiskConflict
from .._disk.qemu_img import QemuImg
from .._disk.room import Promise
from .._errors import FleetError
from .libvirt_host import PAUSED, RUNNING, Domain, LibvirtError
from .xml_document import parse_xml

_POLL_S = 0.1
FROZEN, SUSPENDED = "frozen", "suspended"


class MirrorFailed(FleetError):
    """The disk could not be copied; the machine goes on as before."""

    kind = "mirror_failed"


class Mirror(t.NamedTuple):
    """
    :param disk: the machine's disk.
    :param copy: a file that exists, with the same size, and over the same parent if the mirror is shallow.
    :param image_format: of the file.
    """

    disk: str
    copy: str
    shallow: bool
    image_format: str = "qcow2"


def needed_bytes(qemu: QemuImg, image_format: str, mirror: Mirror) -> int:
    """What the copy has at most, if the machine writes nothing meanwhile."""
    return file_io.allocated_bytes(mirror.disk) if mirror.shallow else qemu.measure(mirror.disk, image_format)


def abandon(domain: Domain, mirrors: t.Iterable[Mirror]) -> None:
    """End what an interrupted run has begun with these files."""
    for mirror in mirrors:
        target = target_of(domain, mirror.disk)
        if _state(domain, target).get("file") == mirror.copy:
            domain.end_copy(target)


def end_left(domain: Domain, pools: t.Iterable[str], service: str) -> None:
    """End all copies that interrupted runs of the service have begun, even those into deleted files, and let the guest go on that one
    has left standing still. The caller holds the service's lock.

    :param pools: paths of all pools of the host.
    """
    let_go_on(domain)
    services = {layout.service_directory(pool, service) for pool in pools}
    for disk in parse_xml(domain.live_xml()).iterfind("./devices/disk"):
        directory, name = os.path.split(_copy_of(disk))
        if layout.is_unfinished(name) and os.path.dirname(directory) in services:
            domain.end_copy(_of(disk, "target", "dev"))


def abandon_all(domain: Domain, directories: t.Collection[str]) -> None:
    """End every copy into the directories, whatever disk it is of."""
    for disk in parse_xml(domain.live_xml()).iterfind("./devices/disk"):
        if os.path.dirname(_copy_of(disk)) in directories:
            domain.end_copy(_of(disk, "target", "dev"))


def take(domain: Domain, mirrors: t.Sequence[Mirror], timeout_s: float, promises: t.Sequence[Promise]) -> bool:
    """All disks as they are at one moment. Whether the guest's file systems were at rest then: its agent has brought them there.

    :param timeout_s: how long the copying may take.
    :param promises: of room for the copies. They grow with what the guest writes meanwhile.
    :raises MirrorFailed, LibvirtError, NoSpace:
    """
    with _mirrored(domain, mirrors, timeout_s, promises) as targets:
        let_go_on(domain)  # we alone copy its disks by now, so a note is an interrupted run's
        with _standing(domain, len(targets) > 1) as frozen:
            for target in targets:
                domain.end_copy(target)
    return frozen


@contextlib.contextmanager
def _standing(domain: Domain, several: bool) -> t.Iterator[bool]:
    """Whether the guest's file systems are at rest, which its agent has brought them to.

    :param several: disks. Copies end one after another, and what the guest wrote meanwhile would be on some of its disks only.
    """
    if domain.power() != RUNNING:
        yield False
        return
    domain.note_standing(FROZEN)  # before it is, so that no interrupt leaves a guest of which nothing tells
    frozen = domain.freeze()
    if not frozen:
        domain.note_standing(SUSPENDED if several else None)
    if several and not frozen:
        domain.suspend()
    try:
        yield frozen
    finally:
        if several and not frozen:
            domain.resume()
        if frozen:
            domain.thaw()
        if several or frozen:
            domain.note_standing(None)


def let_go_on(domain: Domain) -> None:
    """A guest goes on that an interrupted run has left standing still; one that its operator has suspended does not."""
    how = domain.stands()
    if how is None:
        return
    if how == SUSPENDED and domain.power() == PAUSED:
        domain.resume()
    if how == FROZEN:
        try:
            domain.thaw()
        except LibvirtError:  # it was interrupted before that, or the agent does not answer
            return
    domain.note_standing(None)


def move(domain: Domain, mirrors: t.Sequence[Mirror], timeout_s: float, promises: t.Sequence[Promise]) -> None:
    """The machine goes on in the copies, disk after disk, once all of them are the same. What each disk is, libvirt knows at any time.

    :param promises: as of ``take``.
    :raises MirrorFailed, LibvirtError, NoSpace: disks of which libvirt says so have moved, the others have not.
    """
    with _mirrored(domain, mirrors, timeout_s, promises) as targets:
        for target in targets:
            domain.go_over(target)


@contextlib.contextmanager
def _mirrored(domain: Domain, mirrors: t.Sequence[Mirror], timeout_s: float, promises: t.Sequence[Promise]) -> t.Iterator[list[str]]:
    """Names in the guest of disks whose copies are the same, and stay so."""
    targets = [target_of(domain, mirror.disk) for mirror in mirrors]
    deadline = time.monotonic() + timeout_s
    try:
        for mirror, target in zip(mirrors, targets):
            domain.begin_copy(target, mirror.copy, mirror.shallow, mirror.image_format)
        for target in targets:
            _await(domain, target, deadline, timeout_s, promises)
        yield targets
    except BaseException:  # an interrupt must not leave the machine writing everything twice either
        for target in targets:
            with contextlib.suppress(LibvirtError):
                domain.end_copy(target)
        raise


def _await(domain: Domain, target: str, deadline: float, timeout_s: float, promises: t.Sequence[Promise]) -> None:
    while True:
        for promise in promises:
            promise.keep_ahead()
        state = _state(domain, target)
        if state.get("ready") == "yes":
            return
        if not state:
            raise MirrorFailed(f"QEMU has ended the copy of the disk {target} of {domain.name}; its log tells why.")
        if time.monotonic() >= deadline:
            raise MirrorFailed(
                f"The disk {target} of {domain.name} was not copied within {timeout_s:g} s; give it more time "
                "(copy_timeout_s, for a migration timeout_s), or stop the machine first."
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
            return {"file": _copy_of(disk), "ready": mirror.get("ready", "")}
    return {}


def _copy_of(disk: ET.Element) -> str:
    mirror = disk.find("mirror")
    return "" if mirror is None else mirror.get("file") or _of(mirror, "source", "file")


def _of(element: ET.Element, child: str, key: str) -> str:
    found = element.find(child)
    return found.get(key, "") if found is not None else ""
