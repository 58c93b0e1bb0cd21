# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees
from ansible_collections.basecast.fleet.plugins.module_utils._disk.disk_options import disk_arguments
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._job.bases import Bases
from ansible_collections.basecast.fleet.plugins.module_utils._job.boot import Boot
from ansible_collections.basecast.fleet.plugins.module_utils._job.job import Job
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import Journal
from ansible_collections.basecast.fleet.plugins.module_utils._job.steps import Context
from ansible_collections.basecast.fleet.plugins.module_utils._job.work import HostWork, Secrets, checked_work
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.key import Place
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.table import write as write_hardware
from ansible_collections.basecast.fleet.plugins.module_utils._machine.machine_options import machine_arguments
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed_options import seed_arguments
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._machine.conftest import FakeDomain, FakeHost


def run_command(argv: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def _filled(spec: t.Mapping[str, t.Any], given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options of one entry, as Ansible fills them in."""
    return {**{name: about.get("default") for name, about in spec.items()}, **given}


class Site:
    """A host in memory with real pools, and jobs on it."""

    def __init__(self, directory: str) -> None:
        self.pools = {name: os.path.join(directory, name) for name in ("one", "two")}
        for path in self.pools.values():
            os.mkdir(path)
        self.directory = directory
        self.stores = {name: Store(path, run_command, name) for name, path in self.pools.items()}
        self.libvirt = FakeHost()
        self.libvirt.on_start = self.report
        self.silent: set[str] = set()
        self.node: dict[str, t.Any] | None = None
        self.runtime_dir = os.path.join(directory, "run")
        self.state_dir = os.path.join(directory, "state")

    def report(self, domain: FakeDomain) -> None:
        """What the guest does when it starts."""
        root = ET.fromstring(domain.xml())
        paths = [source.get("path", "") for source in root.iterfind("./devices/serial/source")]
        directory = os.path.dirname(paths[1])
        if domain.name in self.silent or not os.path.exists(os.path.join(directory, "seed.json")):
            return
        with open(os.path.join(directory, "seed.json"), encoding="utf-8") as file:
            seed = json.load(file)
        said = {"token": seed["token"], "hostname": seed["hostname"], "instance_id": seed["instance_id"], "status": "done", "addresses": []}
        with open(paths[1], "w", encoding="utf-8") as file:
            file.write("BASECAST-REPORT " + json.dumps(said) + "\n")

    @contextlib.contextmanager
    def connect(self, _uri: str) -> t.Iterator[FakeHost]:
        yield self.libvirt

    def work(self, *bases: str, service: str = "shop", **changes: t.Any) -> HostWork:
        """Machines m-1, m-2 … on these bases, one each."""
        names = [f"m-{number + 1}" for number in range(len(bases))]
        given: dict[str, t.Any] = {
            "tenant": "default",
            "service": service,
            "machines": [{"machine": name, "pool": "one", "memory_mib": 64, "networks": []} for name in names],
            "disks": [{"machine": name, "name": "root", "pool": "one", "base": base} for name, base in zip(names, bases, strict=True)],
            "clones": [],
            "references": [],
            **changes,
        }
        given["machines"] = [_filled(machine_arguments(), entry) for entry in given["machines"]]
        given["disks"] = [_filled(disk_arguments(), entry) for entry in given["disks"]]
        seeds = given.get("seeds", [{"machine": entry["machine"], "pool": "one"} for entry in given["machines"]])
        secrets = Secrets([_filled(seed_arguments(), entry) for entry in seeds], given.get("record"))
        return checked_work(given, self.pools, secrets)

    def context(self, work: HostWork, check: bool = False) -> Context:
        return Context(work, self.stores, run_command, state_dir=self.state_dir, copy_timeout_s=20.0, check=check)

    def boot(self, context: Context, timeout_s: float = 1.0) -> Boot:
        return Boot(context, timeout_s, connect=t.cast(t.Any, self.connect))

    def job(self, work: HostWork, run: str = "run-1", **bases: t.Any) -> Job:
        context = self.context(work)
        watch = Bases(self.stores, work.bases, run, lambda: self.node, **bases)
        return Job(context, run, watch, self.boot(context), Journal(self.runtime_dir, work.tenant, work.service))


@pytest.fixture
def site(tmp_path: t.Any) -> t.Iterator[Site]:
    found = Site(str(tmp_path))
    yield found
    file_trees.remove_tree(str(tmp_path / "one"))
    file_trees.remove_tree(str(tmp_path / "two"))


def give_device(site: Site) -> None:
    """The one machine of the site gets a device of the host."""
    _give(site, {"host_devices": [{"usb": "0951:1666"}]})


def give_share(site: Site) -> None:
    _give(site, {"shares": [{"name": "media", "source": "/srv/media"}]})


def _give(site: Site, hardware: dict[str, t.Any]) -> None:
    (domain,) = site.libvirt.known
    root = ET.fromstring(domain.xml())
    write_hardware(root, hardware, Place("/nowhere", "x86_64", "qemu"))
    site.libvirt.definitions[domain.name] = ET.tostring(root, "unicode")


def give_disk(site: Site, path: str = "/dev/disk/by-id/data") -> None:
    """The one machine of the site gets a block device of the host."""
    _give(site, {"attached": [{"name": "data-1", "kind": "block", "path": path, "image_format": "raw"}]})
