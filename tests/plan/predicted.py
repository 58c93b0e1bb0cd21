# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Predicted against measured finish of relays in the lab: ``python -m tests.plan.predicted [SEED …]``.

Eight hosts whose links have mixed rates by the seed. Links are probed as in a deployment, the relay is planned from that, and
run. Measured is the time from the moment when the first node had its part of the plan until the last had the whole base.
"""

from __future__ import annotations

import argparse
import random
import sys
import typing as t

from ansible_collections.basecast.fleet.tests.lab import Lab
from ansible_collections.basecast.fleet.tests.lab.relay_run import RelayRun

HOSTS = 8
SIZE = 64 * 1024 * 1024
RATES = (40, 60, 100, 150, 200)
MODES = ("staged", "cut_through")


class Row(t.NamedTuple):
    seed: int
    mode: str
    predicted_s: float
    measured_s: float
    replans: int

    @property
    def ratio(self) -> float:
        return self.predicted_s / self.measured_s


def measure(seed: int, modes: t.Sequence[str] = MODES, hosts: int = HOSTS, size_bytes: int = SIZE) -> t.Iterator[Row]:
    """:raises RuntimeError: with what the playbook said, if a host did not get the base."""
    chosen = random.Random(seed)
    rates = {f"kvm{number}": (chosen.choice(RATES), chosen.choice(RATES)) for number in range(1, hosts + 1)}
    with Lab(hosts=hosts, rate_mbps=rates) as lab:
        for mode in modes:
            run = RelayRun(lab, size_bytes)
            # As many forks as hosts: that a host is told its part late is not the plan's matter.
            run.begin("--forks", str(hosts), basecast_relay_mode=mode, basecast_links_max_age_s=3600)
            facts = run.end(timeout=280)
            arrived = run.arrived()
            if len(arrived) < hosts - 1:
                raise RuntimeError(run.said[-6000:])
            seconds = {h: facts[h]["basecast_relay_result"]["bases"][run.sha256]["seconds"] for h in arrived}
            began = min(arrived[host] - seconds[host] for host in arrived)
            watch = facts["kvm1"]["basecast_watch"]
            # The first plan's word, not that of one which was made when it was clear how things went.
            predicted = (watch.get("first_predicted_s") or [watch["plans"][0]["predicted_s"]])[0]
            yield Row(seed, mode, predicted, max(arrived.values()) - began, watch.get("replans", 0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=[1])
    parser.add_argument("--mode", choices=MODES, action="append")
    given = parser.parse_args()
    print("seed  mode         predicted  measured  ratio  planned again")
    good = True
    for seed in given.seeds:
        for row in measure(seed, given.mode or MODES):
            print(
                f"{row.seed:4}  {row.mode:11}  {row.predicted_s:7.1f} s  {row.measured_s:6.1f} s  {row.ratio:5.2f}  {row.replans}",
                flush=True,
            )
            good = good and 0.9 <= row.ratio <= 1.1
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
