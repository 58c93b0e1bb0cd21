# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback ``progress`` beside a relay of a lab: in a terminal, in a file, and when the user has enough."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import termios
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.integration.relay_site import begin_relay, put_base
from ansible_collections.basecast.fleet.tests.lab import Lab
from ansible_collections.basecast.fleet.tests.terminal import Terminal

MiB = 1024 * 1024
SIZE = 40 * MiB
RATE_MBPS = 16

# In a role, as in the collection's playbooks: Ansible then names the task in other ways here and there.
WATCHING = """
- name: Watch the relay
  basecast.fleet.relay_info:
    run: test
  register: watched
  until: watched.fleet_settled
  retries: 60
  delay: 1
"""

WATCH = """
- hosts: kvm3
  gather_facts: false
  roles: [watching]
  tasks:
    - name: Say what came
      ansible.builtin.debug:
        msg: "{{ watched.fleet | dict2items | map(attribute='value.bases') | map('dict2items') | flatten | map(attribute='value.state') }}"
"""

WAIT = """
- hosts: kvm3
  gather_facts: false
  tasks:
    - basecast.fleet.relay_info:
        run: test
        wait_s: 150
      register: watched
    - ansible.builtin.assert:
        that:
          - watched.fleet_settled
          - watched.fleet.kvm2.bases.values() | map(attribute='state') == ['holding']
"""


class Watcher:
    """``ansible-playbook watch.yml`` in a terminal."""

    def __init__(self, lab: Lab, playbook: Path, **environment: str) -> None:
        self.terminal = Terminal(90, 24)
        self.process = lab.popen_playbook(
            [playbook],
            extra_env={**ENABLED, "TERM": "xterm", "CI": "", "LC_ALL": "C.UTF-8", **environment},
            stdin=self.terminal.slave,
            stdout=self.terminal.slave,
            stderr=self.terminal.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(self.terminal.slave)

    def until(self, pattern: str, seconds: float = 40.0) -> re.Match[str]:
        deadline = time.monotonic() + seconds
        while True:
            self.terminal.read(0.2)
            found = re.search(pattern, self.terminal.text)
            if found:
                return found
            assert time.monotonic() < deadline, f"never shown: {pattern}\n{self.terminal.text}"

    def end(self, seconds: float = 60.0) -> str:
        """What is left in the terminal at the end."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            self.terminal.read(0.1)
            assert time.monotonic() < deadline, self.terminal.text
        self.terminal.read(0.2)
        self.terminal.close()
        return self.terminal.text


ENABLED = {"ANSIBLE_CALLBACKS_ENABLED": "basecast.fleet.progress"}

ROW = r"(?m)^ kvm%d +[━╸─]{10,} +[1-9][0-9]?%% +[0-9.]+/40\.0 MiB  [0-9.]+ [kM]bit/s  ← %s +[0-9]:[0-9]{2}$"


@pytest.mark.timeout(170)
def test_a_relay_is_watched_in_a_terminal_and_in_a_log(fresh_lab_factory: t.Callable[..., Lab], tmp_path: Path) -> None:
    """One relay of some twenty seconds, seen by four: a terminal, one who interrupts, a log, and one who waits for its end."""
    lab = fresh_lab_factory(hosts=3, rate_mbps=RATE_MBPS)
    for name, text in (("watch.yml", WATCH), ("wait.yml", WAIT)):
        (tmp_path / name).write_text(text)
    role = tmp_path / "roles" / "watching" / "tasks"
    role.mkdir(parents=True)
    (role / "main.yml").write_text(WATCHING)
    metadata = put_base(lab, SIZE)[1]
    begin_relay(lab, metadata, {"kvm1": [], "kvm2": ["kvm1"], "kvm3": ["kvm2", "kvm1"]})

    seen = Watcher(lab, tmp_path / "watch.yml")
    impatient = Watcher(lab, tmp_path / "watch.yml", ANSIBLE_FORCE_COLOR="0")
    logged = lab.popen_playbook(
        [tmp_path / "watch.yml"], extra_env={**ENABLED, "BASECAST_PROGRESS_LOG_INTERVAL_S": "4"}, stderr=subprocess.STDOUT
    )

    waiting = lab.popen_playbook([tmp_path / "wait.yml"])

    # Asked of the last host of the chain, about all of them.
    impatient.until(ROW % (2, "kvm1"))
    os.write(impatient.terminal.master, b"\x03")  # Ctrl-C
    seen.until(ROW % (2, "kvm1"))
    seen.until(ROW % (3, "kvm2"))
    seen.until(r"(?m)^ total .*% +[0-9.]+/80\.0 MiB  [0-9.]+ Mbit/s  0/2 done  +[0-9]:[0-9]{2} left$")

    seen.terminal.resize(60, 20)
    seen.until(r"(?m)^ kvm2 +[━╸─]{10,} +[0-9]+%  [0-9.]+ [kM]bit/s  ← kvm1 +[0-9]:[0-9]{2}$")
    left = impatient.end()
    assert impatient.process.returncode != 0
    assert "interrupted" in left
    assert "kvm2" not in left
    assert impatient.terminal.x == 0

    shown = seen.end()
    assert seen.process.returncode == 0, shown
    assert re.search(r"relay: 2 of 2 hosts served, 80\.0 MiB in 0:[0-9]{2}\n", shown)
    assert "RETRYING" not in shown
    assert "━" not in shown
    tasks = [line for line in shown.splitlines() if line.startswith(("PLAY [", "TASK [", "ok: ", "PLAY RECAP"))]
    assert [line.split(" *")[0].rstrip("* ") for line in tasks] == [
        "PLAY [kvm3]",
        "TASK [watching : Watch the relay]",
        "ok: [kvm3]",
        "TASK [Say what came]",
        "ok: [kvm3] => {",
        "PLAY RECAP",
    ]
    assert '"holding"' in shown

    waited, _nothing = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, waited

    log, _nothing = logged.communicate(timeout=60)
    assert logged.returncode == 0, log
    assert "\x1b" not in log
    assert "RETRYING" not in log
    lines = [line for line in log.splitlines() if line.startswith("relay: ")]
    assert re.fullmatch(r"relay: 2 of 2 hosts served, 80\.0 MiB in 0:[0-9]{2}", lines[-1])
    # Some twenty seconds, at most one line in four of them.
    assert 2 <= len(lines[:-1]) <= 12
    assert any(
        re.match(r"relay: 0 of 2 hosts done, [0-9.]+ of 80\.0 MiB \([0-9]+%\), [0-9.]+ Mbit/s, 0:[0-9]{2} left", line) for line in lines
    )
