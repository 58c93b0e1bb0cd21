# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmark still works: the relay and a peer bring a small file to two hosts, and a liar is found out."""

from __future__ import annotations

import jsonschema
import pytest
from ansible_collections.basecast.fleet.tests.bench import results
from ansible_collections.basecast.fleet.tests.bench.__main__ import measure
from ansible_collections.basecast.fleet.tests.bench.field import FILE, Cast, Field
from ansible_collections.basecast.fleet.tests.bench.scenarios import Scenario
from ansible_collections.basecast.fleet.tests.bench.tools import TOOLS
from ansible_collections.basecast.fleet.tests.bench.tools.stars import Star


class Half(Star):
    """Leaves one host with half of the file, and says that all is well."""

    name, title, note = "half", "half", ""

    def cast(self, field: Field, size: int) -> Cast:
        first, second = field.receivers
        part = f"head -c {size // 2} {FILE} | ssh root@{field.address(second)} 'cat > {FILE}'"
        return Cast(field.source, {field.source: f"scp -q {FILE} root@{field.address(first)}:{FILE}; {part}; exit 0"})


@pytest.mark.timeout(150)
def test_the_relay_and_its_peers_race_and_are_judged() -> None:
    scenario = Scenario("smoke", "two hosts", "spread", 2, 200, 4, ("relay", "rsync"))
    with Field(scenario) as field:
        relay, rsync = (measure(field, TOOLS[name]) for name in scenario.tools)
        half = measure(field, Half())
    for one, copies in ((relay, 1), (rsync, 2)):
        assert one.complete, one
        assert set(one.runs[0].hosts.values()) == {"complete"}
        # Nothing is quicker than the links; how much slower depends on what else this machine does.
        assert one.ratio is not None
        assert one.ratio > 0.9 * copies
    assert 1.0 <= (relay.most("payload_ratio") or 0) < 1.05
    assert 1.0 <= (relay.most("wire_ratio") or 0) < 1.5
    assert 5 < (relay.most("resident_mib") or 0) < 64
    assert relay.runs[0].cpu_s > 0
    assert not half.complete
    assert half.failure == "1 of 2 truncated, exit 0"
    found = {
        "name": "smoke", "title": "two hosts", "kind": "spread", "receivers": 2, "rate_mbps": 200, "between_mbps": None,
        "congestion_control": field.congestion_control,
        "results": [results.as_json(one) for one in (relay, rsync, half)],
    }  # fmt: skip
    jsonschema.validate(found, {**results.SCHEMA["$defs"]["scenario"], "$defs": results.SCHEMA["$defs"]})
