# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates are valid for a time, and a host whose clock lies outside of it is told what is wrong."""

from __future__ import annotations

import datetime
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._relay.errors import ClockDiffers, PeerLost, WrongIdentity
from ansible_collections.basecast.fleet.plugins.module_utils._relay.wire import tls
from ansible_collections.basecast.fleet.plugins.plugin_utils._certificates import make_certificates

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
HOUR = 3600.0


def load(ahead_s: float) -> tls.Contexts:
    pem = make_certificates("test", ["A"], 600, NOON)["A"]
    return tls.contexts(pem["ca"], pem["certificate"], pem["key"], clock=lambda: NOON.timestamp() + ahead_s)


@pytest.mark.parametrize("ahead_s", [0.0, -23.9 * HOUR, 24.1 * HOUR])
def test_a_day_on_either_side_is_allowed(ahead_s: float) -> None:
    assert load(ahead_s).made_at == NOON.timestamp()


@pytest.mark.parametrize(
    ("ahead_s", "told"),
    [
        (
            30 * HOUR,
            "It says 2026-03-02T18:00:00Z; the controller's said 2026-03-01T12:00:00Z when it made them: this host is 30.0 h ahead.",
        ),
        (
            -30 * HOUR,
            "It says 2026-02-28T06:00:00Z; the controller's said 2026-03-01T12:00:00Z when it made them: this host is 30.0 h behind.",
        ),
        (-NOON.timestamp(), "It says 1970-01-01T00:00:00Z;"),
    ],
)
def test_more_names_both_clocks_and_what_to_do(ahead_s: float, told: str) -> None:
    with pytest.raises(ClockDiffers) as caught:
        load(ahead_s)
    assert f"The certificates of this run are not valid by this host's clock. {told}" in caught.value.message
    assert "Set both clocks" in caught.value.message
    assert caught.value.fields["ahead_s"] == ahead_s


@pytest.mark.parametrize(("days", "told"), [(-3, "has expired"), (3, "not yet valid")])
def test_a_peers_certificate_of_another_time_names_them_too(fleet: t.Any, days: int, told: str) -> None:
    """The clock was set after the node had started."""
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    old = make_certificates("test", ["S", "A"], 60, then)
    for host in "SA":
        pem = old[host]
        context = tls.contexts(pem["ca"], pem["certificate"], pem["key"], clock=then.timestamp)
        fleet.add(host)
        fleet.nodes[host].transport._contexts = context
    fleet.nodes["A"].set_peers(fleet.peers())
    with pytest.raises((WrongIdentity, PeerLost)) as caught:
        fleet.nodes["A"].connect("S")
    assert told in caught.value.message
    assert "the controller's said" in caught.value.message
    assert f"{abs(days) * 24}.0 h" in caught.value.message
