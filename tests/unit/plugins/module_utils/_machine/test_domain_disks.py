# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine import domain_disks as module
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain_disks import domain_disks
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError, LibvirtMissing

from .conftest import FakeDomain, FakeHost


def domain(host: FakeHost, *disks: str, name: str = "other", tag: str = "domain") -> str:
    xml = f"<{tag}><name>{name}</name><devices>{''.join(disks)}</devices></{tag}>"
    if tag == "domain":
        host.known.append(FakeDomain(host, xml))
    return xml


def disk(source: str, kind: str = "qcow2", more: str = "") -> str:
    return f"<disk><driver type='{kind}'/><source {source}/>{more}<target dev='vda'/></disk>"


def look(host: FakeHost) -> tuple[list[tuple[str, str | None]], list[str]]:
    found, unknown = domain_disks("test:///", lambda uri: contextlib.nullcontext(host))
    return [(one.path, one.image_format) for one in found], unknown


@pytest.mark.parametrize(
    ("xml", "found"),
    [
        (disk("file='/a'"), [("/a", "qcow2")]),
        (disk("file='/a'", "raw"), [("/a", "raw")]),
        (disk("dev='/dev/vg/a'"), [("/dev/vg/a", "qcow2")]),
        ("<disk><source file='/a'/></disk>", [("/a", None)]),
        (disk("file='/a'", more="<backingStore><format type='raw'/><source file='/b'/></backingStore>"), [("/a", "qcow2"), ("/b", "raw")]),
        (disk("file='/a'", more="<mirror><format type='qcow2'/><source file='/b'/></mirror>"), [("/a", "qcow2"), ("/b", "qcow2")]),
        (disk("volume='v' pool='p'"), [("/volumes/v", "qcow2")]),
        (disk("protocol='rbd' name='x'"), []),
        ("<disk device='cdrom'/>", []),
    ],
)
def test_every_kind_of_disk_is_found(xml: str, found: list[tuple[str, str]], host: FakeHost) -> None:
    host.volumes["p", "v"] = "/volumes/v"
    domain(host, xml)
    assert look(host) == (found, [])


def test_what_runs_and_what_was_saved_counts(host: FakeHost) -> None:
    domain(host, disk("file='/defined'"))
    host.living["other"] = domain(host, disk("file='/living'"), tag="living")
    host.snapshots["other"] = [domain(host, disk("file='/saved'"), tag="snapshot")]
    assert [path for path, _format in look(host)[0]] == ["/defined", "/saved"]
    host.known[0].is_running = True
    assert [path for path, _format in look(host)[0]] == ["/defined", "/living", "/saved"]


@pytest.mark.parametrize(
    ("xml", "words"),
    [(disk("volume='gone' pool='p'"), "could not find the volume gone"), (disk("protocol='nbd' name='x'"), "is behind NBD")],
)
def test_what_cannot_be_followed_is_said(xml: str, words: str, host: FakeHost) -> None:
    domain(host, xml)
    assert words in look(host)[1][0]


def test_a_domain_that_cannot_be_read_hides_no_other(host: FakeHost) -> None:
    domain(host, disk("file='/a'"), name="broken")
    domain(host, disk("file='/b'"))
    host.unreadable.add("broken")
    found, unknown = look(host)
    assert found == [("/b", "qcow2")] and "the domain broken cannot be read" in unknown[0]


@pytest.mark.parametrize(
    ("error", "may_have", "known"),
    [(LibvirtMissing("No."), True, False), (LibvirtMissing("No."), False, True), (LibvirtError("No."), False, False)],
)
def test_no_answer_is_not_taken_as_nothing(error: Exception, may_have: bool, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_uri: str) -> t.NoReturn:
        raise error

    monkeypatch.setattr(module, "may_have_domains", lambda uri: may_have)
    assert domain_disks("test:///", refuse) == ([], [] if known else ["No."])
