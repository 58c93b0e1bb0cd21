# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The commands of the documentation, and which test types them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.S | re.M)
# A prompt, then a command up to what explains it.
LINE = re.compile(r"^ *[$#] (.*?)(?:\s+# .*)?$")

# Tests that take commands from a page and type them: all of those blocks of it that have the words.
BLOCKS = (
    ("README.md", "# apt install", "tests/integration/test_prepare.py"),
    ("README.md", "# make lab-up", "tests/integration/test_first_hour.py"),
    ("docs/bench.md", "# make bench", "tests/unit/bench/test_bench.py"),
    ("docs/examples/three-tiers/README.md", "# ", "tests/integration/test_three_tiers.py"),
    ("docs/first-deployment.md", "$ ", "tests/integration/test_first_hour.py"),
    ("docs/hardware.md", "$ virsh net-dumpxml", "tests/integration/test_machine.py"),
    ("docs/lab.md", "# tests/lab/lab", "tests/integration/test_lab_program.py"),
    ("docs/molecule.md", "$ molecule test", "tests/molecule/test_users_scenario.py"),
    ("docs/second-day.md", "# make lab-up", "tests/integration/test_first_hour.py"),
    ("docs/second-day.md", "$ ", "tests/integration/test_second_day.py"),
)
# Typed in the form that its test has room for.
APART = {
    "ansible-builder build -f execution-environment.yml -t registry.example.org/basecast-ee:1": "tests/integration/test_awx.py",
    "ansible-playbook -i inventory.yml basecast.fleet.status -e basecast_hosts_file=/etc/hosts": "tests/unit/roles/test_status.py",
    "ansible-playbook configure.yml -e aap_hostname=awx.example.org -e aap_token=… -e @my-names.yml": "tests/unit/extensions/awx/test_configs.py",
    "ansible-rulebook -i inventory.yml -r basecast.fleet.scale --vars scale_vars.yml": "tests/unit/extensions/eda/test_readings.py",
}
# By reason. Shorten it; add to it only with a reason.
NOT_TYPED = {
    "it runs the tests, or what they are for, as a whole": ("make demo", "make test"),
    "it fetches from a server that tests do without": ("ansible-galaxy collection install -r requirements.yml",),
    "no host of the tests has SELinux": (
        "semanage fcontext -a -t virt_image_t '/srv/pool(/.*)?'",
        "semanage fcontext -a -t virt_content_t '/srv/pool/bases(/.*)?'",
        "restorecon -R /srv/pool",
    ),
    "dig is not installed where the tests run; tests/integration/test_machine.py asks the same server": (
        "dig +short web-1.named.internal @192.168.122.1",
    ),
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


def told(text: str, words: str = "") -> list[str]:
    """The commands of a text, in their order: of those blocks that have the words."""
    blocks = [body for language, body in BLOCK.findall(text) if language == "console" and words in body]
    return [" ".join(match[1].split()) for body in blocks for line in body.splitlines() if (match := LINE.match(line))]


def typed(page: str, words: str) -> list[str]:
    """What a test has to type of a page."""
    left = {line for lines in NOT_TYPED.values() for line in lines}
    return [line for line in told(PAGES[page].read_text(), words) if line not in left]


def untold(texts: dict[str, str]) -> tuple[set[str], set[str]]:
    """Commands of pages that stand in none of the lists above, and what stands in the lists and on no page."""
    every = {line for text in texts.values() for line in told(text)}
    apart = {line for line, _words in WALK} | APART.keys() | {line for lines in NOT_TYPED.values() for line in lines}
    read = {line for page, words, _test in BLOCKS for line in told(PAGES[page].read_text(), words)}
    return every - read - apart, apart - every
