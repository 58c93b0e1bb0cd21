# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab: hosts in namespaces of this machine, for tests, demonstrations and benchmarks.

    with Lab(hosts=4, rate_mbps=200) as lab:
        lab.hosts["kvm1"].run(["hostname"])
        lab.playbook(["basecast.fleet.deploy"])

docs/lab.md tells what it offers.
"""

from __future__ import annotations

from ._host import Host, LabError, LabTimeout, Pair, Result
from ._lab import Lab
from ._pace import limit_s, slowness

__all__ = ["Host", "Lab", "LabError", "LabTimeout", "Pair", "Result", "limit_s", "slowness"]
