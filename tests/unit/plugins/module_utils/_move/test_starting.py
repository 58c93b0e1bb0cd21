# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that a migration starts is checked like one that a deployment starts."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils import _machine
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import Numbers
from ansible_collections.basecast.fleet.plugins.module_utils._move.source import Source
from ansible_collections.basecast.fleet.plugins.module_utils._move.target import Target
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import qcow2
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._move.conftest import OWNER, FakeDomain, Known


class Changed(FakeDomain):
    """Off, with a disk and a console that somebody has changed since it ran."""

    def __init__(self, disk: Path, console: Path) -> None:
        super().__init__("off", True)
        self._disk, self._console = disk, console

    def xml(self) -> str:
        return (
            "<domain type='kvm'><name>shop-web-1</name><vcpu>1</vcpu><memory unit='KiB'>1</memory><devices>"
            f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{self._disk}'/><target dev='vda'/></disk>"
            f"<serial type='file'><source path='{self._console}'/><target port='0'/></serial></devices></domain>"
        )


def _loop(disk: Path) -> None:
    disk.write_bytes(qcow2(backing=disk.name, backing_format="qcow2"))


CHANGES: dict[str, tuple[t.Callable[[Path], object], str]] = {
    "a file of the host": (lambda disk: disk.write_bytes(qcow2(backing="/etc/shadow", backing_format="raw")), "/etc/shadow"),
    "a URL": (lambda disk: disk.write_bytes(qcow2(backing="nbd://192.0.2.1/x", backing_format="raw")), "nbd"),
    "options": (lambda disk: disk.write_bytes(qcow2(backing='json:{"driver":"host_device"}', backing_format="raw")), "json"),
    "a guessed format": (lambda disk: disk.write_bytes(qcow2(backing="other.qcow2")), "format|other.qcow2"),
    "data elsewhere": (lambda disk: disk.write_bytes(qcow2(data_file="/etc/shadow", features=4)), "/etc/shadow"),
    "another service": (lambda disk: disk.write_bytes(qcow2(backing="../../blog/db-1/root.qcow2", backing_format="qcow2")), "blog"),
    "a loop": (_loop, "loop"),
    "not qcow2": (lambda disk: disk.write_bytes(b"x" * 4096), "cannot be used as qcow2"),
    "a link": (lambda disk: disk.symlink_to("/etc/shadow"), "/etc/shadow|link"),
    "gone": (lambda disk: None, "Cannot read"),
}


@pytest.mark.parametrize("who", ["undone", "finished"])
@pytest.mark.parametrize("change", [*CHANGES, "a linked console"])
def test_a_changed_machine_does_not_start(known: t.Callable[..., Known], tmp_path: Path, change: str, who: str) -> None:
    home = tmp_path / "pool" / "machines" / "shop" / "web-1"
    home.mkdir(parents=True)
    disk, console = home / "root.qcow2", home / "console.log"
    write, words = CHANGES.get(change, (lambda disk: disk.write_bytes(qcow2()), "console.log"))
    write(disk)
    if change not in CHANGES:
        console.symlink_to("/etc/motd")
    other = tmp_path / "pool" / "machines" / "blog" / "db-1"
    other.mkdir(parents=True)
    (other / "root.qcow2").write_bytes(qcow2())
    domain = Changed(disk, console)
    side, phase = ("source", "leaving") if who == "undone" else ("target", "arrived")
    here = known(domain, Entry(side, phase, "r1", "web-1", "kvm2", False, True, True, "default"))
    with pytest.raises(FleetError, match=words):
        Source(here.host).undo(OWNER, "r1") if who == "undone" else Target(here.host).finish(OWNER, "r1", Numbers(2, {}))
    assert domain.calls == [] and here.entry() is not None


def test_nothing_starts_a_machine_unchecked() -> None:
    root = Path(t.cast(str, _machine.__path__[0])).parent
    starting = {path: path.read_text() for path in root.rglob("*.py") if re.search(r"domain\.start(_paused)?\(\)", path.read_text())}
    assert len(starting) == 4
    for path, text in starting.items():
        assert text.count("checked_chains(") + text.count("self._chains(") >= len(re.findall(r"domain\.start(_paused)?\(\)", text)), path
