# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from .conftest import only


def test_guests_are_asked_and_waited_for(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=True)
    host.on_shutdown = lambda domain: host.later.append((host.now + 3, domain.destroy))
    machine = only(machines().stop([wish.owner], 60, False))
    assert (machine.running, machine.actions, machine.problem) == (False, ["stopped"], None)
    assert 3 <= host.now < 4
    assert only(machines().stop([wish.owner], 60, False)).actions == []


def test_a_guest_that_was_still_booting_is_asked_again(host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=True)
    host.on_shutdown = lambda domain: domain.destroy() if host.now > 4 else None
    assert not only(machines().stop([wish.owner], 60, False)).running


@pytest.mark.parametrize("force", [False, True])
def test_a_guest_that_does_not_listen(force: bool, host: t.Any, machines: t.Any, make_wish: t.Any) -> None:
    wish = make_wish()
    machines().ensure([wish], start=True)
    machine = only(machines().stop([wish.owner], 10, force))
    assert host.known[0].running() is machine.running is not force
    if force:
        assert (machine.actions, machine.problem) == (["stopped", "forced"], None)
    else:
        assert (machine.actions, machine.reason) == ([], "still_running")
        assert "force=true" in str(machine.problem)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("drop_saved", [False, True])
def test_a_saved_guest_is_not_taken_for_one_that_is_off(
    force: bool, drop_saved: bool, host: t.Any, machines: t.Any, make_wish: t.Any
) -> None:
    wish = make_wish()
    machines().ensure([wish], start=False)
    host.known[0].is_saved = True
    machine = only(machines().stop([wish.owner], 10, force, drop_saved))
    assert machine.reason == (None if drop_saved else "saved")
    assert drop_saved or "virsh managedsave-remove" in str(machine.problem)


def test_stopping_what_is_not_there_changes_nothing(machines: t.Any, make_wish: t.Any) -> None:
    machine = only(machines().stop([make_wish().owner], 10, False))
    assert (machine.actions, machine.running, machine.problem) == ([], False, None)
