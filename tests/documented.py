# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands by which the documentation works on a fleet, and which test types them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
# A prompt, then a command up to what explains it.
LINE = re.compile(r"^[$#] (ansible-(?:playbook|inventory|rulebook) .*?)(?:\s+# .*)?$")

# Pages that a test types whole, and commands of others that belong where they have more company.
WHOLE = {
    "README.md": "tests/integration/test_first_hour.py",
    "docs/second-day.md": "tests/integration/test_second_day.py",
}
APART = {
    "ansible-playbook -i inventory.yml basecast.fleet.prepare": "tests/integration/test_prepare.py",
    "ansible-playbook -i inventory.yml basecast.fleet.prepare --check --diff": "tests/integration/test_prepare.py",
    "ansible-playbook -i inventory.yml basecast.fleet.status -e basecast_hosts_file=/etc/hosts": "tests/unit/roles/test_status.py",
    "ansible-playbook configure.yml -e aap_hostname=awx.example.org -e aap_token=… -e @my-names.yml": "tests/unit/extensions/awx/test_configs.py",
    "ansible-rulebook -i inventory.yml -r basecast.fleet.scale --vars scale_vars.yml": "tests/unit/extensions/eda/test_readings.py",
}

# Typed one after another, on one fleet, by tests/integration/test_documented_commands.py; and what a reader is to see.
PLAYBOOK = "ansible-playbook -i inventory.yml basecast.fleet."
WALK = (
    (PLAYBOOK + "plan -e manifest=shop.yml", "web-1"),
    (PLAYBOOK + "plan -e manifest=shop.yml -e basecast_report_file=plan.html", "web-1 on kvm1: to be made"),
    (PLAYBOOK + "plan -e manifest=shop.yml -e basecast_plan_file=plan.json", "web-1"),
    (PLAYBOOK + "deploy -e manifest=shop.yml -e basecast_report_file=run.html", "3 of 3 machines are there"),
    (PLAYBOOK + "deploy -e manifest=shop.yml", "3 of 3 machines are there"),
    (PLAYBOOK + "status", "3 machines, 3 running"),
    (PLAYBOOK + "status -e manifest=shop.yml", "3 machines, 3 running"),
    (PLAYBOOK + "status -e basecast_status_file=status.json", "3 machines, 3 running"),
    ("ansible-inventory -i machines.yml --graph", "shop-web-1"),
    ("ansible-playbook -i machines.yml configure.yml", "shop-web-1 is on kvm1"),
    (PLAYBOOK + "update -e manifest=shop.yml --check --diff", "nothing to update"),
    (PLAYBOOK + "update -e manifest=shop.yml -e role=web -e update_serial=25% -e health_port=443", "3 of 3 machines"),
    (PLAYBOOK + "update -e manifest=shop.yml", "nothing to update"),
    (PLAYBOOK + "capture -e service=shop -e machine=web-1 -e base=golden -e version=7 -e template=true", "golden"),
    (PLAYBOOK + "capture -e service=shop -e machine=web-1 -e base=shop-web -e version=7", "shop-web"),
    (PLAYBOOK + "capture -e service=shop -e machine=web-1 -e base=shop-web -e version=7-whole -e flatten=true", "shop-web"),
    (PLAYBOOK + "clone -e service=shop -e machine=web-2 -e clone_name=web-9", "web-9"),
    (PLAYBOOK + "remove -e manifest=shop.yml -e remove=surplus", "1 of 1 machines are removed"),
    (PLAYBOOK + "migrate -e service=shop -e machine=web-1 -e to=kvm3", "1 of 1 machines were moved"),
    (PLAYBOOK + "migrate -e service=shop -e machine=web-1 -e to=kvm3 -e to_pool=fast", "1 of 1 machines were moved"),
    (PLAYBOOK + "migrate -e service=shop -e machine=web-1 -e to=kvm1 -e to_pool=fast", "1 of 1 machines were moved"),
    (PLAYBOOK + "migrate -e service=shop -e machine=web-1", "1 of 1 machines were moved"),
    (PLAYBOOK + "migrate -e manifest=shop.yml -e machine=web-1,web-2 -e live=false", "2 of 2 machines were moved"),
    (PLAYBOOK + "evacuate -e host=kvm2", "machines were moved"),
    (PLAYBOOK + "verify", "all sound"),
    (PLAYBOOK + "verify -e basecast_repair=true", "all sound"),
    (PLAYBOOK + "prune --check", ""),
    (PLAYBOOK + "prune", ""),
    (PLAYBOOK + "scale -e manifest=shop.yml -e role=web -e count=8", "8"),
    (PLAYBOOK + """scale -e manifest=shop.yml -e '{"readings": {"requests": 290}}'""", "web"),
    (PLAYBOOK + "power_off -e service=shop", "8 of 8 machines are powered off"),
    (PLAYBOOK + "remove -e service=shop -e machines=web-2,web-3", "2 of 2 machines are removed"),
    (PLAYBOOK + "remove -e service=shop -e role=web", "6 of 6 machines are removed"),
    (PLAYBOOK + "remove -e service=shop --check --diff", ""),
    (PLAYBOOK + "remove -e service=shop", ""),
)  # fmt: skip


def commands(page: str) -> list[str]:
    """Commands of a page that work on a fleet, in their order."""
    found = []
    for text in re.findall(r"^```console\n(.*?)^```", PAGES[page].read_text(), re.S | re.M):
        found += [" ".join(match[1].split()) for line in text.splitlines() if (match := LINE.match(line))]
    return found
