# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine import xml_check
from ansible_collections.basecast.fleet.plugins.module_utils._machine.xml_check import xml_problems


def run(command: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def group(name: str, path: str, add: str, **hardware: t.Any) -> dict[str, t.Any]:
    return {"name": name, "cpus": 2, "memory_mib": 512, "hardware": {**hardware, "xml": [{"path": path, "add": add}]}}


PCI = "<source><address domain='0' bus='1' slot='0' function='0'/></source>"
MDEV = "<source><address uuid='c2177883-f1bb-47f0-914d-32a22e3a8804'/></source>"


@pytest.mark.parametrize(
    ("path", "add", "told"),
    [
        ("devices", "<sound model='ich9'/>", None),
        ("devices", f"<hostdev mode='subsystem' type='pci'>{PCI}</hostdev>", None),
        ("devices", f"<hostdev mode='subsystem' type='mdev' model='vfio-pci'>{MDEV}</hostdev>", None),
        ("cpu", "<feature policy='require' name='vmx'/>", None),
        ("devices", "<sund model='ich9'/>", "libvirt's schema does not accept the machine with its xml"),
        ("devices", "<sound model='nonsense'/>", "libvirt's schema"),
        ("features", "<hyperv><relaxed state='maybe'/></hyperv>", "libvirt's schema"),
        (".", "<nonsense/>", "libvirt's schema"),
    ],
)
def test_libvirts_own_schema_judges(path: str, add: str, told: str | None) -> None:
    problems = xml_problems([group("web", path, add), group("db", "features", "<hap/>")], run)
    assert list(problems) == ([] if told is None else ["web"]) and all(str(told) in problem for problem in problems.values())
    assert all(len(problem) < 700 and "/tmp" not in problem for problem in problems.values())


def test_without_its_program_nothing_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_check, "find_program", lambda name: None)
    assert "virt-xml-validate is missing" in xml_problems([group("web", "devices", "<sound model='ich9'/>")], run)["web"]
    assert xml_problems([], run) == {}


def test_what_cannot_be_built_is_a_problem_of_its_group() -> None:
    assert "is not XML" in xml_problems([group("web", "devices", "<sound")], run)["web"]
