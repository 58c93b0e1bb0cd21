# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the README tells a newcomer to type, typed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.basecast.fleet.tests.integration.cores import core
from ansible_collections.basecast.fleet.tests.lab import Lab, _linux, images
from ansible_collections.basecast.fleet.tests.lab._lab import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
POOL = "/var/lib/libvirt/images"


def block(language: str, marker: str) -> str:
    """The README's one block of that language with the marker in it."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", README, re.S) if marker in text)
    return t.cast("str", found)


def commands(marker: str) -> list[str]:
    return [line[2:].partition("  ")[0] for line in block("console", marker).splitlines() if line.startswith(("$ ", "# "))]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short, because sockets are made in it.
    made = Path(tempfile.mkdtemp(prefix="first-", dir="/var/tmp"))
    yield made
    _linux.remove_tree(made)


@pytest.mark.variant
@pytest.mark.timeout(600)
def test_the_readmes_lab(folder: Path) -> None:
    # A clone of this checkout, as far as the commands can tell.
    clone = folder / "clone"
    clone.mkdir()
    for entry in CHECKOUT.iterdir():
        (clone / entry.name).symlink_to(entry)
    (clone / "shop.yml").write_text(block("yaml", "# shop.yml"))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "BASECAST_", "PYTHON"))}
    environment = {**inherited, "BASECAST_LAB_DIR": str(folder / "labs")}

    def typed(line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=clone,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-6000:]}"
        return done.stdout

    *lines, last = commands("make lab-up")
    assert last == "make lab-down"
    try:
        shown = {line: typed(line) for line in lines}
    finally:
        typed(last)
    (listed,) = (text for line, text in shown.items() if line.endswith("virsh list"))
    assert {"shop-web-3", "shop-web-4"} <= set(listed.split()), listed


@pytest.mark.timeout(600)
def test_the_built_collection_deploys_from_an_empty_environment(folder: Path, lab_factory: t.Callable[..., Lab]) -> None:
    # The environment that the README's first commands make, but for the packages' source.
    install = commands("python3 -m venv")
    assert install[1] == "python -m pip install 'ansible-core>=2.19' jsonschema"
    bin_ = core("2.19")
    assert bin_ is not None
    home = folder / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PWD": str(folder), "PATH": f"{bin_}:/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
    copy = folder / "fleet"
    subprocess.run(
        f"git ls-files -z -co --exclude-standard | rsync -a --from0 --ignore-missing-args --files-from=- ./ {shlex.quote(str(copy))}",
        shell=True, cwd=CHECKOUT, check=True,
    )  # fmt: skip
    for line in ("ansible-galaxy collection build ./fleet", "ansible-galaxy collection install basecast-fleet-0.1.0.tar.gz"):
        assert line in " ".join(README.split())
        subprocess.run(shlex.split(line), cwd=folder, env=environment, check=True, timeout=120)
    shutil.rmtree(copy)

    lab = lab_factory(hosts=3, libvirt=True)
    inventory = yaml.safe_load(block("yaml", "# inventory.yml"))
    for name, variables in inventory["all"]["hosts"].items():
        variables["ansible_host"] = lab.address(name)
    # In place of a user's own key and known hosts; lab hosts have no /dev/kvm.
    inventory["all"]["vars"] |= {"ansible_ssh_private_key_file": str(lab.state / "key"), "basecast_domain_type": "qemu"}
    inventory["all"]["vars"]["ansible_ssh_common_args"] += " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory))
    manifest = block("yaml", "# shop.yml")
    (folder / "shop.yml").write_text(manifest)
    lab.hosts["kvm1"].put(images.tiny(), f"{POOL}/{yaml.safe_load(manifest)['bases'][0]['source']['path']}")
    for line in commands("$ ansible-playbook"):
        argv = lab.controller_argv(shlex.split(line))
        done = subprocess.run(
            argv, env=environment, cwd=folder, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=400, check=False
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        assert "WARNING" not in done.stderr, done.stderr
    assert "6 of 6 machines are there" in done.stdout
