# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with one domain, without libvirt."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.moves import Entry
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._move.host import Host

OWNER = Owner("default", "shop", "web-1")
XML = "<domain type='kvm'><name>shop-web-1</name><vcpu>1</vcpu><memory unit='KiB'>1</memory></domain>"


class FakeDomain:
    def __init__(self, power: str, autostart: bool = False) -> None:
        self._power, self._autostart = power, autostart
        self.calls: list[str] = []

    def power(self) -> str:
        return self._power

    def autostart(self) -> bool:
        return self._autostart

    def abort_job(self) -> None:
        raise LibvirtError("no job is active")

    def set_autostart(self, value: bool) -> None:
        self._autostart = value

    def xml(self) -> str:
        return XML

    def start(self) -> None:
        self.calls.append("start")
        self._power = "running"

    def resume(self) -> None:
        self.calls.append("resume")
        self._power = "running"


class FakeLibvirt:
    def __init__(self, domain: FakeDomain | None) -> None:
        self._domain = domain

    def domain(self, uuid: str) -> FakeDomain | None:
        assert uuid == OWNER.domain_uuid
        return self._domain


class Known(t.NamedTuple):
    host: Host
    removed: list[Owner]

    def entry(self) -> Entry | None:
        return self.host.journal(OWNER).read(OWNER.machine)


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., Known]:
    def make(domain: FakeDomain | None, entry: Entry | None) -> Known:
        removed: list[Owner] = []
        state, runtime, pool = (tmp_path / name for name in ("state", "run", "pool"))
        for directory in (state, runtime, pool):
            directory.mkdir(exist_ok=True)
        runtime.chmod(0o755)

        def remove(_self: Host, owner: Owner, keep_record: bool = False, shared: t.Collection[str] = ()) -> dict[str, t.Any]:
            assert list(shared) == list(entry.shared if entry else ())
            assert keep_record is (entry is not None and entry.side == "target")
            removed.append(owner)
            return {"references": []}

        monkeypatch.setattr(Host, "remove", remove)
        libvirt = FakeLibvirt(domain)
        host = Host(
            {"default": str(pool)},
            lambda _command: (0, "", ""),
            "x",
            str(state),
            str(runtime),
            1.0,
            lambda _uri: contextlib.nullcontext(libvirt),
        )
        if entry is not None:
            host.journal(OWNER).write(entry)
        return Known(host, removed)

    return make
