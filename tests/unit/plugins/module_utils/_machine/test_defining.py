# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.backing import Layer

from .conftest import only, plant

NAMED = {"networks": [{"network": "default", "address": "192.0.2.10/24", "dns_entry": True}]}
LAN = "<network><name>default</name><ip address='192.0.2.1'/></network>"


def test_a_missing_machine_is_defined_and_started_once(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    first = only(machines().ensure([wish], start=True))
    second = only(machines().ensure([wish], start=True))
    assert (first.actions, second.actions) == (["defined", "started"], [])
    assert second.running and second.drift == []
    assert host.known[0].starts_itself
    assert second.result()["spec"] == {"version": 1}
    assert second.result()["uuid"] == wish.owner.domain_uuid


def test_defined_neither_starts_nor_stops(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    assert not only(machines().ensure([wish], start=False)).running
    host.known[0].start()
    again = only(machines().ensure([wish], start=False))
    assert (again.running, again.actions) == (True, [])


def test_check_mode_predicts_and_changes_nothing(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    os.unlink(wish.disks[0].path)  # an earlier step of the run would make it
    machine = only(machines(check=True).ensure([wish], start=True))
    assert (machine.actions, host.known) == (["defined", "started"], [])
    assert machine.shown()["state"] == "running"


def test_an_existing_machine_is_never_redefined(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=False)
    before = host.known[0].xml()
    changed = replace(wish, memory_mib=512, spec={"version": 2}, hardware={"autostart": False})
    machine = only(machines().ensure([changed], start=True))
    assert host.known[0].xml() == before
    assert machine.actions == ["started"]
    assert machine.drift == [
        {"path": "memory_mib", "from": 256, "to": 512},
        {"path": "spec.version", "from": 1, "to": 2},
        {"path": "autostart", "from": True, "to": False},
    ]


def test_a_chain_that_changed_is_told_to_libvirt_before_the_start(
    host: t.Any, machines: t.Any, make_wish: t.Any, monkeypatch: t.Any
) -> None:
    module = "ansible_collections.basecast.fleet.plugins.module_utils._machine.defining.backing_chain"
    monkeypatch.setattr(module, lambda path, image_format, places: [Layer("/pool/bases/old/disk", "qcow2")])
    wish = make_wish()
    machines().ensure([wish], start=False)
    assert "/pool/bases/old/disk" in host.known[0].xml()
    monkeypatch.setattr(module, lambda path, image_format, places: [])
    machines(check=True).ensure([wish], start=True)
    assert "/pool/bases/old/disk" in host.known[0].xml()
    machines().ensure([wish], start=True)
    assert "/pool/bases/old/disk" not in host.known[0].xml()


def test_one_machine_that_does_not_start_does_not_keep_the_others(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.broken = {"shop-web-1"}
    bad, good = machines().ensure([make_wish("web-1"), make_wish("web-2")], start=True)
    assert (bad.reason, bad.problem) == ("start_failed", "libvirt could not start shop-web-1: no such thing")
    assert (bad.actions, bad.running) == (["defined"], False)
    assert (good.problem, good.running) == (None, True)


def test_variables_in_whose_place_a_link_was_put_keep_it_off(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish(hardware={"firmware": "uefi"})
    machines().ensure([wish], start=False)
    os.symlink("/etc/passwd", os.path.join(wish.directory, "nvram-uefi.fd"))
    found = only(machines().ensure([wish], start=True))
    assert found.reason == "start_failed" and "symbolic link" in str(found.problem) and not host.known[0].running()


def test_kvm_where_there_is_none(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    with pytest.raises(InvalidOption, match="domain_type: 'kvm' is not accepted; this host offers no kvm"):
        machines(domain_type="kvm").ensure([make_wish()], start=False)
    host.kvm = True
    assert only(machines(domain_type="auto").ensure([make_wish()], start=False)).result()["accelerator"] == "kvm"


def test_added_xml_is_validated_when_it_is_defined(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    xml = [{"path": "devices", "add": "<sound model='ich9'/>"}]
    machines().ensure([make_wish("web-1"), make_wish("web-2", hardware={"xml": xml})], start=False)
    assert host.validated == [False, True]


@pytest.mark.parametrize("name", ["console.log", "report.log"])
@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link", "hard link", "directory"])
def test_nothing_starts_that_would_write_elsewhere(name: str, kind: str, machines: t.Any, make_wish: t.Any) -> None:
    bad, good = make_wish(), make_wish("web-2")
    plant(os.path.join(bad.directory, name), kind)
    first, second = machines().ensure([bad, good], start=True)
    assert (first.reason, first.running) == ("start_failed", False)
    assert os.path.join(bad.directory, name) in str(first.problem)
    assert (second.problem, second.running) == (None, True)
    assert not os.path.exists("/etc/basecast-planted")


def test_a_started_machines_own_disks_are_checked(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=False)
    os.unlink(wish.disks[0].path)
    os.symlink("/etc/passwd", wish.disks[0].path)
    # Whoever only wants it to run need not name its disks.
    again = only(machines().ensure([replace(wish, disks=())], start=True))
    assert (again.reason, again.running) == ("start_failed", False)
    assert "is a symbolic link" in str(again.problem)


def test_labels_are_left_alone_in_the_models_of_the_host(host: t.Any, machines: t.Any, make_wish: t.Any, monkeypatch: t.Any) -> None:
    module = "ansible_collections.basecast.fleet.plugins.module_utils._machine.defining.backing_chain"
    monkeypatch.setattr(module, lambda path, image_format, places: [Layer("/pool/bases/x/disk", "qcow2")])
    machines().ensure([make_wish()], start=False)
    assert "selinux" not in host.known[0].xml()
    # A host that has SELinux since then: told at the next start.
    host.models = ["selinux", "dac"]
    machines().ensure([make_wish()], start=True)
    assert '<seclabel model="selinux" relabel="no" />' in host.known[0].xml()
    assert '<seclabel model="dac" relabel="no" />' in host.known[0].xml()


def test_a_machine_is_named_before_it_starts_and_no_longer_when_gone(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    host.live["default"] = host.lasting["default"] = LAN
    wish, known = make_wish(spec=NAMED), []
    host.on_start = lambda _domain: known.append("web-1.shop.internal" in host.live["default"])
    (predicted,) = machines(check=True).ensure([wish], start=True)
    assert predicted.actions == ["defined", "named", "started"] and "192.0.2.10" not in host.live["default"]
    (made,) = machines().ensure([wish], start=True)
    assert made.actions == ["defined", "named", "started"] and known == [True]
    assert made.shown()["dns"] == ["192.0.2.10"] and made.result()["dns_missing"] == []
    assert only(machines().ensure([wish], start=True)).actions == []
    host.live["default"] = LAN
    (seen,) = machines().query("default", "shop")
    assert seen.result()["dns_missing"] == ["192.0.2.10"] and seen.shown()["dns"] == []
    assert only(machines().ensure([wish], start=True)).actions == ["named"]
    machines(check=True).remove([wish.owner], {wish.owner: wish.directory})
    assert "192.0.2.10" in host.live["default"]
    machines().remove([wish.owner], {wish.owner: wish.directory})
    assert "192.0.2.10" not in host.live["default"] + host.lasting["default"]
