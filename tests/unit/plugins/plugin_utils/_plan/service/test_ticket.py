# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.ticket import ticket
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.wrapped_text import WIDTH
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._report.runs import run


def test_a_failed_run_says_what_is_missing_and_why() -> None:
    assert run(4, failed=[2])["ticket"] == [
        "basecast.fleet, deployment of shop (tenant default), run 20261128T085815-abcdefgh, 2026-11-28",
        "  08:58:15 UTC",
        "3 of 4 machines are there after 95.0 s.",
        "219.3 MiB crossed the network, less than the 286.1 MiB that were planned.",
        "Relay of tiny 1, 95.4 MiB to 3 hosts: last host after 11.9 s, 11.0 s after the first transfer began,",
        "  predicted 11.0 s, lower bound 10.0 s.",
        "kvm003: machines could not be made (web-3)",
        "  Make machines: 1 of 1 machines failed: the base did not arrive",
        "5.0 s: kvm003 was lost: no answer",
        "6.0 s: kvm003 is lost (no answer). The order stays.",
        "Next:",
        "  ansible -i INVENTORY kvm003 -m ansible.builtin.ping",
        "  ansible-playbook -i INVENTORY basecast.fleet.deploy -e manifest=shop.yml",
    ]


def test_the_version_is_told_where_it_is_known() -> None:
    assert ticket({**run(1), "version": "1.2.3"})[0].startswith("basecast.fleet 1.2.3, deployment of shop")


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ({"kind": "plan"}, "8 of 8 machines would be there."),
        ({"count": 1}, "1 of 1 machines are there after 95.0 s."),
        ({"count": 40, "failed": range(1, 40)}, "and 29 more causes"),
        ({"count": 4, "per_host": 20, "failed": [1]}, "web-28 and 12 more)"),
    ],
)  # fmt: skip
def test_each_kind_of_run_is_told(case: dict[str, t.Any], told: str) -> None:
    report = run(**case)
    assert told in " ".join(line.strip() for line in report["ticket"])


@pytest.mark.parametrize("count", [1, 8, 100])
def test_it_fits_100_columns_and_a_page(count: int) -> None:
    lines = run(count, 5, failed=range(0, count, 3))["ticket"]
    assert max(map(len, lines)) <= WIDTH and len(lines) < 60
