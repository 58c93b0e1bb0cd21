# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One service from two controllers at once: who comes second finds or awaits what the first one made."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import POOL, bases, deploy, give, manifest
from ansible_collections.basecast.fleet.tests.lab import Lab, images

HOSTS = ["kvm1", "kvm2"]
RECORD = "/var/lib/basecast/services/default/shop.json"


class Controller:
    """A deployment that runs beside another one."""

    def __init__(self, lab: Lab, name: str, wanted: dict[str, t.Any], *options: str) -> None:
        folder = lab.state / name
        folder.mkdir()
        (folder / "shop.json").write_text(json.dumps(wanted))
        self.report_file, self.output = folder / "report.json", folder / "out"
        arguments = ["-e", "manifest=shop.json", "-e", f"basecast_report_file={self.report_file}", "-e", "basecast_boot_timeout_s=180"]
        with self.output.open("w") as file:
            self.process: subprocess.Popen[str] = lab.popen_playbook(
                ["basecast.fleet.deploy", *arguments, *options], {"ANSIBLE_HOME": str(folder / "home")}, stdout=file, cwd=folder
            )

    def end(self, timeout: float = 300) -> int:
        try:
            return self.process.wait(timeout)
        finally:
            self.process.kill()
            self.process.wait()

    @property
    def said(self) -> str:
        return self.output.read_text()[-6000:]

    @property
    def states(self) -> dict[str, str]:
        return {m["machine"]: m["state"] for m in json.loads(self.report_file.read_text())["machines"]}


def domains(lab: Lab) -> list[str]:
    return sorted(name for host in lab.hosts.values() for name in host.run("virsh -q list --name").stdout.split())


def check_records(lab: Lab, wanted: dict[str, t.Any]) -> None:
    """Both hosts know the same numbers, nothing half-made is left, and another run finds nothing to do."""
    records = [json.loads(host.path(RECORD).read_text()) for host in lab.hosts.values()]
    assert records[0]["assignments"] == records[1]["assignments"]
    for host in lab.hosts.values():
        assert not list(host.path(f"{POOL}/bases/.partial").glob("*/disk"))
        assert not list(host.path(f"{POOL}/bases/.incoming").glob("*"))
        assert len(bases(host)) == 1
    again = deploy(lab, wanted)
    assert (again.code, set(again.changed.values())) == (0, {0}), again


@pytest.mark.timeout(700)
@pytest.mark.parametrize("source", ["host", "controller"])
def test_the_same_service_from_two_controllers_at_once(fresh_lab_factory: t.Callable[..., Lab], source: str) -> None:
    lab = fresh_lab_factory(hosts=2, libvirt=True, rate_mbps=60)
    wanted = manifest(hosts=HOSTS)
    if source == "host":
        give(lab.hosts["kvm1"])
    else:
        shutil.copy(images.tiny(version="v1", pad_mib=16), lab.state / "tiny.qcow2")
        wanted["bases"][0]["source"] = {"controller": str(lab.state / "tiny.qcow2")}
    runs = [Controller(lab, name, wanted) for name in ("first", "second")]
    for run in runs:
        assert run.end() == 0, run.said
    # Each machine was made by one of them, and both find it there.
    made = [[name for name, state in run.states.items() if state == "deployed"] for run in runs]
    assert all(set(run.states) == {"web-1", "web-2"} for run in runs)
    assert sorted(set(made[0] + made[1])) == ["web-1", "web-2"]
    assert domains(lab) == ["shop-web-1", "shop-web-2"]
    check_records(lab, wanted)


@pytest.mark.timeout(700)
def test_two_controllers_that_want_different_numbers(fresh_lab_factory: t.Callable[..., Lab]) -> None:
    """The larger wish is there in the end, whichever of them was quicker; a second run of it finds or makes what it wants."""
    lab = fresh_lab_factory(hosts=2, libvirt=True, rate_mbps=60)
    give(lab.hosts["kvm1"])
    small, large = manifest(hosts=HOSTS), manifest(hosts=HOSTS, per_host=2)
    runs = [Controller(lab, name, copy.deepcopy(wanted)) for name, wanted in (("small", small), ("large", large))]
    codes = [run.end() for run in runs]
    assert codes == [0, 0], [run.said for run in runs]
    assert domains(lab) == [f"shop-web-{number}" for number in (1, 2, 3, 4)]
    check_records(lab, large)
