# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import sources
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._machine import shares
from ansible_collections.basecast.fleet.plugins.module_utils._machine.shares import has_virtiofsd, look, share_problems


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("qemu", "vhost-user", "shared/media", "pool/machines/shop"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(sources, "_DEFINITIONS", (str(tmp_path / "qemu"), "/nowhere"))
    monkeypatch.setattr(shares, "_PROGRAMS", ("/nowhere", str(tmp_path / "vhost-user")))
    program(tmp_path, "fs", "/bin/true")
    return tmp_path.resolve()


def program(top: Path, kind: str, binary: str, name: str = "50.json") -> None:
    (top / "vhost-user" / name).write_text(json.dumps({"type": kind, "binary": binary}))


def problem(top: Path, name: str) -> str | None:
    found = look(str(top / name), {"default": Store(str(top / "pool"))})
    return None if found is None else found.problem


def test_a_directory_of_its_own_can_be_shared(top: Path) -> None:
    assert problem(top, "shared/media") == "" and problem(top, "shared/none") is None


def test_what_is_no_plain_directory_is_refused(top: Path) -> None:
    (top / "shared/file").touch()
    (top / "shared/link").symlink_to("/etc")
    (top / "shared/dead").symlink_to("/nowhere")
    assert problem(top, "shared/file") == "is not a directory"
    assert problem(top, "shared/link") == "is reached through a symbolic link; name the directory itself, /etc"
    assert problem(top, "shared/link/apt") is None or "name the directory itself, /etc/apt" in str(problem(top, "shared/link/apt"))
    assert problem(top, "shared/dead") is None


@pytest.mark.parametrize("name", ["pool", "pool/machines", "pool/machines/shop", "."])
def test_disks_and_bases_are_not_shared(top: Path, name: str) -> None:
    assert str(problem(top, name)).startswith("has, or lies in, disks of machines or the base store of a pool")


@pytest.mark.parametrize(("other", "told"), [("shared/media", False), ("shared", True), ("shared/media/x", True), ("shared/med", False)])
def test_a_guest_puts_no_link_into_anothers_way(top: Path, other: str, told: bool) -> None:
    (top / "qemu/crm.xml").write_text(f"<domain><devices><filesystem><source dir='{top / other}'/></filesystem></devices></domain>")
    assert str(problem(top, "shared/media")).startswith("lies in, or around, another directory that machines share") is told


def test_what_is_not_known_is_not_taken_for_nothing(top: Path) -> None:
    (top / "qemu/crm.xml").mkdir()
    told = f"cannot be shared: A domain's definition cannot be read, so nobody knows what the domain has; the host's administrator finds it in {top}/qemu"
    assert str(problem(top, "shared/media")).startswith(told) and "crm" not in str(problem(top, "shared/media"))


def test_no_disk_lies_in_a_shared_directory(top: Path) -> None:
    (top / "qemu/crm.xml").write_text(f"<domain><devices><disk><source file='{top}/shared/media/a.raw'/></disk></devices></domain>")
    assert problem(top, "shared/media") == "has a disk of a machine in it; share a directory apart from disks"
    assert problem(top, "qemu") == ""


def test_virtiofsd_is_found_as_libvirt_finds_it(top: Path) -> None:
    for kind, binary in (("gpu", "/bin/true"), ("fs", "/nowhere")):
        program(top, kind, binary)
        assert not has_virtiofsd()
    assert problem(top, "shared/media") == "needs virtiofsd on the host; install the package virtiofsd (Debian 12: qemu-system-common)"
    (top / "vhost-user/10.json").write_text("[]")
    (top / "vhost-user/20.json").write_text("{")
    program(top, "fs", "/bin/true", "60.json")
    assert has_virtiofsd()


def test_what_a_machine_shares_is_looked_at(top: Path) -> None:
    asked = [{"name": name, "source": str(top / "shared" / name)} for name in ("media", "none")]
    assert list(share_problems(asked, "shop-web-1", [str(top / "pool")])) == [
        f"The share none of shop-web-1, {top}/shared/none, is not there; make or mount the directory."
    ]
    (told,) = share_problems([{"name": "all", "source": str(top / "pool")}], "shop-web-1", [str(top / "pool")])
    assert told.startswith(f"The share all of shop-web-1, {top}/pool, has, or lies in, disks") and told.endswith(".")
