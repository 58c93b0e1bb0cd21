# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same service from two controllers at once: both end well, and each machine is there once."""

from __future__ import annotations

import copy
import json
import subprocess
import typing as t

import pytest
from ansible_collections.basecast.fleet.tests.integration.test_deploy import MANIFEST, PAD_MIB, deploy
from ansible_collections.basecast.fleet.tests.lab import Lab, images

POOL = "/var/lib/libvirt/images"


def wanted(count: int, source: dict[str, str] | None = None) -> dict[str, t.Any]:
    made = copy.deepcopy(MANIFEST)
    made["machines"][0].update(count=count)
    made["bases"][0].update(source=source or made["bases"][0]["source"])
    return made


def begin(lab: Lab, name: str, manifest: dict[str, t.Any]) -> subprocess.Popen[str]:
    (lab.state / f"{name}.json").write_text(json.dumps(manifest))
    files = {"manifest": lab.state / f"{name}.json", "basecast_report_file": lab.state / f"{name}-report.json"}
    given = [argument for key, value in files.items() for argument in ("-e", f"{key}={value}")]
    with (lab.state / f"{name}.out").open("w") as out:
        return lab.popen_playbook(["basecast.fleet.deploy", *given, "-e", "basecast_boot_timeout_s=120"], stdout=out)


def domains(lab: Lab) -> dict[str, list[str]]:
    """Hosts by machine."""
    found: dict[str, list[str]] = {}
    for name, host in lab.hosts.items():
        for domain in host.run("virsh -q list --all --name").stdout.split():
            found.setdefault(domain, []).append(name)
    return found


def left_behind(lab: Lab) -> list[str]:
    """Uploads, staged and partial files, and claims that nobody needs any more."""
    files = [
        path
        for host in lab.hosts.values()
        for pattern in (".uploads/*", ".staging/*", ".partial/*")
        for path in host.path(f"{POOL}/bases").glob(pattern)
    ]
    claims = [
        json.loads(file.read_text())["claims"]
        for host in lab.hosts.values()
        for file in [host.path("/var/lib/basecast/claims.json")]
        if file.exists()
    ]
    return [*map(str, files), *[json.dumps(claim) for told in claims for claim in told]]


@pytest.mark.variant
@pytest.mark.timeout(400)
def test_two_controllers_want_other_numbers_of_machines(lab_factory: t.Callable[..., Lab]) -> None:
    lab = lab_factory(hosts=3, rate_mbps=200, libvirt=True)
    source = {"controller": str(images.tiny(pad_mib=PAD_MIB))}
    numbers = {"a": 3, "b": 5}
    runs = {name: begin(lab, name, wanted(count, source)) for name, count in numbers.items()}
    try:
        for process in runs.values():
            process.wait(300)
    finally:
        for process in runs.values():
            process.kill()
            process.wait()
    said = {name: (lab.state / f"{name}.out").read_text()[-5000:] for name in runs}
    assert {name: process.returncode for name, process in runs.items()} == {"a": 0, "b": 0}, "\n".join(said.values())
    places = domains(lab)
    assert sorted(places) == [f"shop-web-{number}" for number in range(1, 6)], places
    assert {machine: hosts for machine, hosts in places.items() if len(hosts) > 1} == {}
    assert left_behind(lab) == []
    again = deploy(lab, wanted(5, source))
    assert (again.code, set(again.states.values())) == (0, {"present"}), again
    assert domains(lab) == places
