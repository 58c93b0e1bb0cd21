# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._machine import libvirt_host
from ansible_collections.basecast.fleet.plugins.modules import machine_info


class _Library:
    """libvirt's binding where the daemon gives no answer, or stops to."""

    VIR_ERR_NO_DOMAIN = 42

    VIR_ERR_MIGRATE_UNSAFE = 81

    class libvirtError(Exception):
        def get_error_message(self) -> str:
            return "Failed to connect \x1b]0;owned\x07socket"

        def get_error_code(self) -> int:
            return 38

    def __init__(self, opens: bool) -> None:
        self.opens = opens

    def registerErrorHandler(self, *_args: t.Any) -> None:
        pass

    def open(self, uri: str) -> t.Any:
        if not self.opens:
            raise self.libvirtError
        return self

    def close(self) -> None:
        pass

    def listAllDomains(self) -> t.NoReturn:
        raise self.libvirtError


@pytest.fixture
def run(capsys: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    def run_(**args: t.Any) -> dict[str, t.Any]:
        with patch_module_args(args), pytest.raises(SystemExit):
            machine_info.main()
        return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

    return run_


@pytest.mark.parametrize("library", [None, _Library(False)], ids=["no binding", "no answer"])
@pytest.mark.parametrize(
    ("trace", "args", "known"),
    [
        (None, {}, True),
        ("etc/networks", {}, True),
        ("etc/web-7.xml", {}, False),
        ("run/web-7.xml", {}, False),
        ("etc", {}, False),
        (None, {"uri": "qemu+tcp://elsewhere/system"}, False),
    ],
    ids=["nothing", "no domain", "defined", "running", "not to be listed", "another host"],
)
def test_what_does_not_answer_is_not_taken_as_empty(
    trace: str | None, args: dict[str, str], known: bool, library: t.Any, run: t.Any, monkeypatch: t.Any, tmp_path: t.Any
) -> None:
    monkeypatch.setattr(libvirt_host, "libvirt", library)
    monkeypatch.setattr(libvirt_host, "_DEFINITIONS", (str(tmp_path / "etc"), str(tmp_path / "run")))
    if trace:
        (tmp_path / trace).parent.mkdir(exist_ok=True)
        (tmp_path / trace).touch()
    result = run(**args)
    assert (result["known"], result["machines"], result["domains"], result["changed"]) == (known, [], [], False)
    assert result["reason"] and "\x1b" not in result["reason"]


def test_a_daemon_that_ends_meanwhile_is_no_empty_host(run: t.Any, monkeypatch: t.Any) -> None:
    monkeypatch.setattr(libvirt_host, "libvirt", _Library(True))
    result = run()
    assert not result["known"] and "libvirt could not list the domains" in result["reason"]


@pytest.mark.parametrize(
    ("args", "message"), [({"tenant": ".."}, "tenant: '..' is not accepted"), ({"service": "a/b"}, "service: 'a/b' is not")]
)
def test_what_cannot_be_meant_is_refused(args: dict[str, str], message: str, run: t.Any) -> None:
    result = run(**args)
    assert result["failed"] and message in result["msg"]
