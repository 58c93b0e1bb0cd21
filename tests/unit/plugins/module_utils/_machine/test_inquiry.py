# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine import inquiry
from ansible_collections.basecast.fleet.plugins.module_utils._machine.libvirt_host import LibvirtError, LibvirtMissing
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machines import Machines

from .conftest import FakeHost


def test_machines_and_everything_beside_them_are_told(host: FakeHost, make_wish: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Machines(t.cast(t.Any, host)).ensure([make_wish("web-1"), make_wish("db-1", service="other")], start=True)
    monkeypatch.setattr(inquiry, "LibvirtHost", lambda uri: contextlib.nullcontext(host))
    monkeypatch.setattr(inquiry, "bridges", lambda: ["br0"])
    told = inquiry.inquire("test:///", {}, "default", "shop")
    assert told["known"] and [machine["machine"] for machine in told["machines"]] == ["web-1"]
    assert "actions" not in told["machines"][0] and "drift" not in told["machines"][0]
    assert [domain["domain"] for domain in told["domains"]] == ["other-db-1", "shop-web-1"]
    assert (told["networks"], told["bridges"]) == ({"default": True, "lost": False}, ["br0"])


@pytest.mark.parametrize(
    "error, may_have, known",
    [(LibvirtMissing("No."), True, False), (LibvirtMissing("No."), False, True), (LibvirtError("No."), False, False)],
)
def test_no_answer_is_not_taken_as_nothing(error: Exception, may_have: bool, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_uri: str) -> t.NoReturn:
        raise error

    monkeypatch.setattr(inquiry, "LibvirtHost", refuse)
    monkeypatch.setattr(inquiry, "may_have_domains", lambda uri: may_have)
    told = inquiry.inquire("test:///", {}, "default", None)
    assert (told["known"], told["reason"], told["machines"]) == (known, "No.", [])
