# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is shown, as it is shown."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._progress import text
from ansible_collections.basecast.fleet.plugins.plugin_utils._progress.fleet import Fleet
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._progress.conftest import MiB, base, host
from hypothesis import given
from hypothesis import strategies as st

WIDE = """\
 kvm2  ━━━━━━━━━━━━━━━━━━━━━━━ 100%      600 MiB                                                 done
 kvm3  ━━━━━━━━━━━━━━━────────  67%  402/600 MiB  943 Mbit/s  ← kvm1                             0:02
 kvm4  ━━━━━━━━━──────────────  40%  240/600 MiB  512 Mbit/s  ← kvm2, kvm1                       0:06
 kvm5  ───────────────────────   0%    0/600 MiB  waits for kvm4
 kvm6  ━━━╸───────────────────  17%  failed: No living parent for 60 s; last: kvm9 has been silent f…
 kvm7  ━━━────────────────────  15%  silent for 0:34
 kvm8  ━━━━━━━━━━━╸───────────  50%  300/600 MiB  looks for another parent
 kvm9  ───────────────────────   0%    0/600 MiB  Another run fetches this base into /srv/pool.
 kvm10 ───────────────────────   0%  not heard of yet
 total ━━━━━━━━───────────────  36%  1.7/4.7 GiB  1.5 Gbit/s  1/9 done, 1 failed, 1 silent  0:12 left"""

USUAL = """\
 kvm6  ━━╸─────────────  17%  failed: No living parent for 60 s; last: kvm9 has…
 kvm7  ━━──────────────  15%  silent for 0:34
 kvm5  ────────────────   0%    0/600 MiB  waits for kvm4
 kvm8  ━━━━━━━━────────  50%  300/600 MiB  looks for another parent
 and 5 more: 1 done, 4 on their way, 0:06 left
 total ━━━━━╸──────────  36%  1.7/4.7 GiB  1.5 Gbit/s  1/9 done, 1 f…  0:12 left"""

NARROW = """\
 kvm6  ===----------------  17%  failed...
 kvm7  ==>----------------  15%  silent...
 and 7 more: 1 done, 6 on their way, 0:...
 total ======>------------  36%  0:12 left"""


def fleet_of(hosts: dict[str, t.Any]) -> Fleet:
    fleet = Fleet("nightly", 0.0)
    fleet.update(hosts, False, 10.0)
    return fleet


def plain(lines: list[str]) -> str:
    return "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in lines)


@pytest.mark.parametrize(
    ("width", "height", "style", "expected"),
    [(101, 30, text.UNICODE, WIDE), (80, 6, text.UNICODE, USUAL), (42, 4, text.ASCII, NARROW)],
    ids=["wide", "usual", "narrow"],
)
def test_the_view(hosts: dict[str, t.Any], width: int, height: int, style: text.Style, expected: str) -> None:
    assert plain(text.lines(fleet_of(hosts), 10.0, width, height, style)) == expected


def test_the_view_when_all_is_done() -> None:
    fleet = fleet_of({"kvm1": host(base("holding", 600, received_bytes=0)), "kvm2": host(base("holding", 600))})
    (row, total) = text.lines(fleet, 10.0, 80, 24)
    assert plain([row]) == " kvm2  ━━━━━━━━━━━━━━━━━━━━━━━━ 100%      600 MiB                           done"
    assert plain([total]) == " total ━━━━━━━━━━━━━━━━━━━━━━━━ 100%  600/600 MiB            1/1 done"
    assert "\x1b[32m" in row
    assert text.lines(fleet_of({}), 10.0, 80, 24) == []
    assert text.lines(fleet, 10.0, 80, 0) == []


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
bases = st.builds(
    lambda state, part, size, rate, remaining, parents, msg: base(
        state, part * size // 100, size, rate_mbps=rate, remaining_s=remaining, parents=parents, msg=msg
    ),
    st.sampled_from(("waiting", "fetching", "holding", "failed")),
    st.integers(0, 100),
    st.integers(0, 10_000_000),
    st.sampled_from((0.0, 0.3, 99.96, 940.0, 123_456.0)),
    st.none() | st.floats(0, 1e9),
    st.lists(names, max_size=3),
    names,
)
entries = st.builds(
    lambda found, age_s, stale, started: host(*found, age_s=age_s, stale=stale, started=started),
    st.lists(bases, max_size=2),
    st.none() | st.floats(0, 1e6),
    st.booleans(),
    st.booleans(),
)


@given(
    st.dictionaries(names, entries, min_size=1, max_size=12),
    st.integers(24, 200),
    st.integers(0, 15),
    st.sampled_from((text.UNICODE, text.ASCII)),
)
def test_no_line_is_too_long_nor_are_there_too_many(hosts: dict[str, t.Any], width: int, height: int, style: text.Style) -> None:
    lines = plain(text.lines(fleet_of(hosts), 12.0, width, height, style)).split("\n")
    assert len(lines) <= max(1, height)
    for line in lines:
        assert text.cells(line) <= width
        assert line.isprintable()
    for line in (text.log_line(fleet_of(hosts), 12.0), text.last_line(fleet_of(hosts), 12.0)):
        assert line.isprintable()


def test_lines_of_a_log(hosts: dict[str, t.Any]) -> None:
    fleet = fleet_of(hosts)
    assert text.log_line(fleet, 10.0) == (
        "relay: 1 of 9 hosts done, 1.7 of 4.7 GiB (36%), 1.5 Gbit/s, 0:12 left; slowest: kvm4 40%, kvm3 67%; "
        "kvm6 failed: No living parent for 60 s; last: kvm9 has been silent for 6.0 s; kvm7 is silent"
    )
    one = fleet_of({name: hosts[name] for name in ("kvm1", "kvm3")})
    assert text.log_line(one, 10.0) == "relay: 0 of 1 host done, 402 of 600 MiB (67%), 943 Mbit/s, 0:02 left"


def test_the_last_line(hosts: dict[str, t.Any]) -> None:
    fleet = fleet_of({name: hosts[name] for name in ("kvm1", "kvm2", "kvm6")})
    fleet.update({}, True, 83.2)
    assert text.last_line(fleet, 100.0) == (
        "relay: 1 of 2 hosts served, 600 MiB in 1:24; kvm6 failed: No living parent for 60 s; last: kvm9 has been silent for 6.0 s"
    )
    assert text.last_line(fleet_of({"kvm1": hosts["kvm1"]}), 100.0) == ""
    many = fleet_of({f"kvm{number}": host(base("failed", msg="no")) for number in range(8)})
    assert text.last_line(many, 11.0).endswith("kvm4 failed: no; 3 more hosts in trouble")


def test_amounts() -> None:
    assert [text.amount(size) for size in (0, 1023, 1024, 1.5 * MiB, 99.96 * MiB, 2048 * MiB, 3 << 41)] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 MiB", "100 MiB", "2.0 GiB", "6.0 TiB",
    ]  # fmt: skip
    assert text.amounts(512 * MiB, 4096 * MiB) == "0.5/4.0 GiB"
    assert text.amounts(0, 0) == "0/0 B"
    assert [text.rate(mbps) for mbps in (0.05, 9.44, 99.96, 999.0, 1000.0, 25_000.0)] == [
        "50 kbit/s", "9.4 Mbit/s", "100 Mbit/s", "999 Mbit/s", "1.0 Gbit/s", "25.0 Gbit/s",
    ]  # fmt: skip
    assert [text.duration(seconds) for seconds in (0, 0.2, 59.5, 61, 3600, 86_400)] == [
        "0:00", "0:01", "1:00", "1:01", "1:00:00", "24:00:00",
    ]  # fmt: skip
    assert [text.percent(done, 1000) for done in (0, 9, 999, 1000)] == [0, 0, 99, 100]


def test_a_gauge_is_full_only_at_the_end() -> None:
    def shown(done: int) -> str:
        return plain([text.gauge(done, 1000, 4, text.UNICODE, "fetching")])

    assert [shown(done) for done in (0, 125, 250, 999, 1000)] == ["────", "╸───", "━───", "━━━╸", "━━━━"]


def with_machines(**counts: int) -> dict[str, t.Any]:
    told = {"wanted": 4, "disks": 0, "started": 0, "reported": 0, "failed": 0, **counts}
    return {
        "kvm1": host(base("holding", 600, received_bytes=0), machines={**told, "wanted": 1}),
        "kvm2": host(base("holding", 600), machines=told),
        "kvm3": host(base("fetching", 402, rate_mbps=943.0, remaining_s=2.0, parents=["kvm1"]), machines={**told, "disks": 0}),
    }


@pytest.mark.parametrize(
    ("counts", "of_host", "of_all"),
    [
        ({}, "0/4 machines", "0/9 machines"),
        ({"disks": 1}, "1/4 disks", "2/9 disks"),
        ({"disks": 4, "started": 1}, "1/4 started", "3/9 started"),
        ({"disks": 4, "started": 4, "reported": 1}, "1/4 reported", "3/9 reported"),
        ({"failed": 1, "started": 3}, "1/4 machines failed", "3/9 machines failed"),
    ],
)  # fmt: skip
def test_the_view_tells_how_far_machines_are(counts: dict[str, int], of_host: str, of_all: str) -> None:
    fleet = Fleet("run", 0.0)
    fleet.update(with_machines(**counts), False, 10.0)
    view = text.lines(fleet, 10.0, 120, 10)
    assert of_host in view[0] and view[0].rstrip().endswith("done\x1b[0m")
    assert "← kvm1" in view[1] and of_all in view[-1]


def test_a_log_tells_how_far_machines_are() -> None:
    fleet = Fleet("run", 0.0)
    fleet.update(with_machines(started=3, reported=1), False, 10.0)
    assert ", 9 of 9 machines started, 3 reported" in text.log_line(fleet, 10.0)
