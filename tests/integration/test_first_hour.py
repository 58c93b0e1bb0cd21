# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the README, the first deployment and the lab of the second day tell a newcomer to type, typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.documented import PAGES, typed
from ansible_collections.basecast.fleet.tests.integration.cores import wheels
from ansible_collections.basecast.fleet.tests.lab import Lab, _linux, images
from ansible_collections.basecast.fleet.tests.lab._lab import CHECKOUT

# What a reader is to see, by a part of the command.
SEEN = {
    "prepare --check": "",
    "scp": "",
    "plan": "web-5…6 on kvm3: to be made",
    "deploy": "6 of 6 machines are there",
    "status": "6 machines, 6 running",
    "remove -e service=shop --check": "6 machines would be removed",
}
# In place of a user's own key and known hosts.
SSH = """\
IdentityFile {key}
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


def block(page: str, name: str) -> str:
    """The file of that name that the page shows."""
    (found,) = (text for text in re.findall(r"```yaml\n(.*?)```", PAGES[page].read_text(), re.S) if text.startswith(f"# {name}"))
    return t.cast("str", found)


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short, because sockets are made in it.
    made = Path(tempfile.mkdtemp(prefix="first-", dir="/var/tmp"))
    yield made
    _linux.remove_tree(made)


def bash(line: str, folder: Path, environment: Mapping[str, str], lab: Lab | None = None) -> str:
    argv = ["bash", "-c", line] if lab is None else lab.controller_argv(["bash", "-c", line])
    done = subprocess.run(
        argv, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, timeout=500, check=False,
    )  # fmt: skip
    print(f"$ {line}\n{done.stdout}", flush=True)
    assert done.returncode == 0, line
    return done.stdout


@pytest.mark.variant
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("page", "lines"),
    [
        ("README.md", typed("README.md", "# make lab-up")),
        (
            "docs/second-day.md",
            [*typed("docs/second-day.md", "# make lab-up"), "tests/lab/lab playbook basecast.fleet.deploy -e manifest=shop.yml"],
        ),
    ],
    ids=["README", "second day"],
)
def test_a_lab_is_enough(page: str, lines: list[str], folder: Path) -> None:
    # A clone of this checkout, as far as the commands can tell.
    clone = folder / "clone"
    clone.mkdir()
    for entry in CHECKOUT.iterdir():
        (clone / entry.name).symlink_to(entry)
    (clone / "shop.yml").write_text(block(page, "shop.yml"))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "BASECAST_", "PYTHON"))}
    environment = {**inherited, "BASECAST_LAB_DIR": str(folder / "labs")}
    try:
        shown = {line: bash(line, clone, environment) for line in lines if line != "make lab-down"}
    finally:
        bash("make lab-down", clone, environment)
    (deployed,) = (text for line, text in shown.items() if "fleet.deploy" in line)
    assert re.search(r"([36]) of \1 machines are there", deployed)
    for line, text in shown.items():
        assert not line.endswith("virsh list") or {"shop-web-3", "shop-web-4"} <= set(text.split()), text


def repository(folder: Path) -> Path:
    """What a clone has, as a repository to install from."""
    made = folder / "fleet"
    files = "git ls-files -z -co --exclude-standard"
    bash(f"{files} | rsync -a --from0 --ignore-missing-args --files-from=- ./ {shlex.quote(str(made))}", CHECKOUT, os.environ)
    bash(
        "git init -q -b main && git add -A && git -c user.name=a -c user.email=a@example.org -c commit.gpgsign=false commit -qm x",
        made,
        os.environ,
    )
    return made


def reachable(lab: Lab) -> None:
    """The hosts have the addresses that the pages give them."""
    lab.exec_in_controller(["ip", "address", "add", "192.0.2.1/24", "dev", "br0"], check=True)
    for number, host in enumerate(lab.hosts.values(), 11):
        host.run(f"ip address add 192.0.2.{number}/24 dev eth0")


@pytest.mark.timeout(900)
def test_the_first_deployment_goes_as_it_is_written(folder: Path, lab_factory: t.Callable[..., Lab]) -> None:
    lab = lab_factory(hosts=3, libvirt=True)
    reachable(lab)
    home, programs = folder / "home", folder / "bin"
    home.mkdir()
    programs.mkdir()
    (folder / "ssh_config").write_text(SSH.format(key=lab.state / "key"))
    for name in ("ssh", "scp", "sftp"):
        (programs / name).write_text(f'#!/bin/sh\nexec /usr/bin/{name} -F {folder / "ssh_config"} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {
        "HOME": str(home),
        "PATH": f"{home}/fleet/bin:{programs}:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        # The packages come from a folder, and the collection from a repository that is here.
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels("/usr/bin/python3", "ansible-core>=2.19", "jsonschema")),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{repository(folder)}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://example.org/basecast/fleet.git",
    }
    # Lab hosts have no /dev/kvm.
    (folder / "inventory.yml").write_text(block("docs/first-deployment.md", "inventory.yml") + "    basecast_domain_type: qemu\n")
    (folder / "shop.yml").write_text(block("docs/first-deployment.md", "shop.yml"))
    (folder / "debian-12.qcow2").symlink_to(images.tiny())
    lines = typed("docs/first-deployment.md", "$ ")
    assert all(any(part in line for line in lines) for part in SEEN)
    for line in lines:
        said = bash(line, folder, environment, lab)
        assert "WARNING" not in said, line
        assert not [words for part, words in SEEN.items() if part in line and words not in said], line
    assert "</html>" in (folder / "run.html").read_text()

    readme = " ".join(PAGES["README.md"].read_text().split())
    for line in ("ansible-galaxy collection build ./fleet", "ansible-galaxy collection install basecast-fleet-0.1.0.tar.gz"):
        assert line in readme
        bash(f"{line} --force", folder, environment)
