# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._machine import libvirt_host
from ansible_collections.basecast.fleet.plugins.modules import machine_resize

GIB = 2**30


@pytest.fixture
def run(capsys: t.Any, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    """On a host without libvirt, which is found out after the options were read."""
    monkeypatch.setattr(libvirt_host, "libvirt", None)

    def run_(*machines: dict[str, t.Any]) -> dict[str, t.Any]:
        with patch_module_args({"service": "shop", "machines": list(machines)}), pytest.raises(SystemExit):
            machine_resize.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


@pytest.mark.parametrize(
    "size",
    [0, -GIB, 513, GIB + 1, 1 << 63, 1 << 70, "9" * 5000, "²", "٣٣٣٣", "1G", "1e9", 1.5, 1024.0, True, None, "", " 512", [512], {"gib": 1}],
)
def test_a_size_that_no_disk_can_have_is_refused(run: t.Any, size: t.Any) -> None:
    told = run({"machine": "web-1", "disks": {"data": size}})
    assert told["failed"] and told["msg"].startswith("machines[0].disks.data: "), told["msg"]
    assert "multiple of 512" in told["msg"] and "Traceback" not in json.dumps(told) and len(told["msg"]) < 500


@pytest.mark.parametrize(
    ("machines", "words"),
    [
        ([{"machine": "web-1", "disks": {}}], "machines[0].disks: {} is not accepted"),
        ([{"machine": "../web-1", "disks": {"data": GIB}}], "machines[0].machine: "),
        ([{"machine": "web-1", "disks": {"data": GIB}}, {"machine": "web-1", "disks": {"data": GIB}}], "given once only"),
        ([{"machine": "web-1", "disks": {"data": str(GIB)}}], "python3-libvirt"),
        ([{"machine": "web-1", "disks": {"data": (1 << 63) - 512}}], "python3-libvirt"),
    ],
)
def test_options_are_read_before_anything_is_asked(run: t.Any, machines: list[dict[str, t.Any]], words: str) -> None:
    told = run(*machines)
    assert told["failed"] and words in told["msg"], told["msg"]
