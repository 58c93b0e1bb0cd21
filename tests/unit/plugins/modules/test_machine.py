# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._machine import libvirt_host
from ansible_collections.basecast.fleet.plugins.modules import machine

MACHINES = [
    {
        "machine": "web-1",
        "disks": [{"name": "root", "path": "/pool/root.qcow2"}],
        "networks": [{"network": "default"}],
    }
]


class _NoServer:
    """The library where no libvirtd runs."""

    class libvirtError(Exception):
        def get_error_message(self) -> str:
            return "Failed to connect socket"

    def registerErrorHandler(self, *_args: t.Any) -> None:
        pass

    def open(self, uri: str) -> t.NoReturn:
        raise self.libvirtError


@pytest.fixture
def run(capsys: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    def run_(**args: t.Any) -> dict[str, t.Any]:
        with patch_module_args(args), pytest.raises(SystemExit):
            machine.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


@pytest.mark.parametrize(
    "library, message, package",
    [
        (None, "Install the package python3-libvirt", "python3-libvirt"),
        (_NoServer(), "Cannot connect to libvirt at qemu:///system: Failed to connect socket", "libvirt-daemon-system"),
    ],
)
def test_a_host_without_libvirt_is_told_what_to_install(library: t.Any, message: str, package: str, run: t.Any, monkeypatch: t.Any) -> None:
    monkeypatch.setattr(libvirt_host, "libvirt", library)
    result = run(service="shop", machines=MACHINES)
    assert result["failed"] and message in result["msg"]
    assert result["failure"]["package"] == package


@pytest.mark.parametrize(
    "args, message",
    [
        ({"state": "started"}, "missing required arguments: service"),
        ({"state": "started", "service": "a/b"}, "service: 'a/b' is not accepted"),
        ({"service": "s", "tenant": ".."}, "tenant: '..' is not accepted"),
        ({"state": "started", "service": "s", "machines": [{"machine": "A"}]}, "machines[0].machine: 'A' is not accepted"),
        (
            {"state": "started", "service": "s", "machines": [{"machine": "a", "networks": [{}]}]},
            "one of the following is required: network, open_vswitch, bridge, macvtap",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(args: t.Any, message: str, run: t.Any) -> None:
    result = run(**args)
    assert result["failed"] and message in result["msg"]
