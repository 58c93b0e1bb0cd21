# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every supported ansible-core deploys; an older one is refused by the first task, before a host was asked anything."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.basecast.fleet.tests.integration.cores import core
from ansible_collections.basecast.fleet.tests.lab import Lab, images
from ansible_collections.basecast.fleet.tests.lab._lab import CHECKOUT

POOL = "/var/lib/libvirt/images"
PLAYBOOKS = sorted(path.stem for path in (CHECKOUT / "playbooks").glob("*.yml"))
LEAST = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text())["requires_ansible"].removeprefix(">=").removesuffix(".0")


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    return lab_factory(hosts=2, libvirt=True)


def environment(release: str) -> Path:
    made = core(release)
    if made is None:
        pytest.skip(f"no Python that ansible-core {release} runs on is installed here")
    return made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("release", [*(pytest.param(release, marks=pytest.mark.variant) for release in ("2.19", "2.20")), "2.21"])
def test_a_supported_ansible_core_deploys(lab: Lab, release: str, tmp_path: Path) -> None:
    bin_ = environment(release)
    name = f"core{release.replace('.', '')}"
    manifest, report = tmp_path / "manifest.yml", tmp_path / "report.json"
    lab.hosts["kvm1"].put(images.tiny(version=release, pad_mib=1), f"{POOL}/images/{name}.qcow2")
    manifest.write_text(yaml.safe_dump({
        "format": 1,
        "service": name,
        "bases": [{"name": name, "version": "1", "source": {"host": "kvm1", "path": f"images/{name}.qcow2"}}],
        "machines": [{
            "name": "web", "hosts": ["kvm1", "kvm2"], "memory_mib": 128, "networks": [], "cloud_init": {"user_data": {}},
            "disks": [{"name": "root", "base": name, "size_gib": 1}],
        }],
    }))  # fmt: skip

    def run(playbook: str) -> str:
        done = lab.exec_in_controller(
            [bin_ / "ansible-playbook", f"basecast.fleet.{playbook}", "-e", f"manifest={manifest}", "-e", f"basecast_report_file={report}"]
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        # Seen with each release: what it warns of will break with a later one.
        assert not re.findall(r"DEPRECATION WARNING.*", done.stderr)
        return done.stdout

    assert "2 machines, 2 to be made" in run("plan")
    run("deploy")
    assert {machine["state"] for machine in json.loads(report.read_text())["machines"]} == {"deployed"}
    again = run("deploy")
    assert set(re.findall(r"changed=(\d+)", again)) == {"0"}
    if release == "2.20":  # what else there is, of one of them
        run("probe")
        assert "all sound" in run("verify")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("release", [*(pytest.param(release, marks=pytest.mark.variant) for release in ("2.16", "2.17")), "2.18"])
def test_an_older_ansible_core_is_refused_at_once(lab: Lab, release: str) -> None:
    bin_ = environment(release)
    # One task of one role refuses for all playbooks, so one release is enough to see that each has it.
    for playbook in PLAYBOOKS if release == "2.17" else ["deploy"]:
        done = lab.exec_in_controller([bin_ / "ansible-playbook", f"basecast.fleet.{playbook}", "-e", "manifest=/none"])
        assert done.returncode == 2, done.stdout
        assert re.search(rf"ansible-core: {re.escape(release)}\.\d+ on the controller; expected {re.escape(LEAST)} or later", done.stdout)
        assert done.stdout.count("\nTASK [") == 1
