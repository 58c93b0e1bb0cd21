# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the playbooks write for basecast_report_file; tests/demo/sample_report.py shows a run in which a host dies."""

from __future__ import annotations

import copy
import json
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.lab import Lab, images

POOL = "/var/lib/libvirt/images"
MANIFEST: dict[str, t.Any] = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [
        {
            "name": "web",
            "hosts": ["kvm1", "kvm2"],
            "memory_mib": 128,
            "disks": [{"name": "root", "base": "tiny", "size_gib": 1}],
            "networks": [],
            "cloud_init": {"user_data": {"write_files": [{"path": "/etc/key", "content": "hidden-word"}]}},
        }
    ],
}


@pytest.fixture(scope="module")
def lab(lab_factory: t.Callable[..., Lab]) -> Lab:
    made = lab_factory(hosts=2, libvirt=True)
    made.hosts["kvm1"].run(["mkdir", "-p", f"{POOL}/images"])
    made.hosts["kvm1"].put(images.tiny(version="v1"), f"{POOL}/images/tiny.qcow2")
    return made


def play(
    lab: Lab, folder: Path, name: str, wanted: dict[str, t.Any], *options: str, file: str = "run.html"
) -> subprocess.CompletedProcess[str]:
    (folder / "shop.yml").write_text(json.dumps(wanted))
    return lab.playbook(
        [f"basecast.fleet.{name}", "-e", f"manifest={folder / 'shop.yml'}", "-e", f"basecast_report_file={folder / file}", *options],
        timeout=200,
    )


@pytest.mark.timeout(400)
def test_a_plan_check_mode_and_a_run_write_pages(lab: Lab, tmp_path: Path) -> None:
    for name, options, told in (
        ("plan", (), "2 of 2 machines would be there"),
        ("deploy", ("--check",), "2 of 2 machines would be there"),
        ("deploy", (), "2 of 2 machines are there"),
        ("deploy", (), "2 of 2 machines are there"),
    ):
        done = play(lab, tmp_path, name, MANIFEST, *options)
        assert done.returncode == 0, done.stdout[-5000:]
        page, data = (tmp_path / "run.html").read_text(), json.loads((tmp_path / "run.json").read_text())
        assert told in page and data["kind"] == name and data["ok"]
        assert "hidden-word" not in page and "hidden-word" not in json.dumps(data)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run.html", "run.json", "shop.yml"]
        assert (tmp_path / "run.html").stat().st_mode & 0o777 == 0o600
    assert data["traffic"]["minimum_bytes"] == 0


@pytest.mark.variant
@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", ["plan", "deploy"])
def test_a_plan_that_cannot_be_has_a_page_with_the_reason(lab: Lab, tmp_path: Path, name: str) -> None:
    wanted = copy.deepcopy(MANIFEST)
    wanted["service"] = "other"
    wanted["bases"][0].update(version="2", source={"host": "kvm1", "path": "images/none.qcow2"})
    done = play(lab, tmp_path, name, wanted)
    assert done.returncode != 0
    assert "none.qcow2" in (tmp_path / "run.html").read_text()
    assert json.loads((tmp_path / "run.json").read_text())["problems"]


@pytest.mark.variant
@pytest.mark.timeout(200)
def test_any_other_name_is_the_data_alone(lab: Lab, tmp_path: Path) -> None:
    assert play(lab, tmp_path, "plan", MANIFEST, file="run.json").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "shop.yml"]
