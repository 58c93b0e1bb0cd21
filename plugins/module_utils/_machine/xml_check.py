# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether libvirt's own schema accepts what a manifest adds to machines; asked before anything is made."""

from __future__ import annotations

import os
import tempfile
import typing as t

from .._disk.runner import Runner, find_program
from .._errors import FleetError
from .._text import clean
from .domain import MachineWish, Platform, build
from .owner import Owner

_PROGRAM = "virt-xml-validate"
_MOST_CHARACTERS = 500


def xml_problems(groups: t.Sequence[t.Mapping[str, t.Any]], run: Runner) -> dict[str, str]:
    """The problem of each group whose machines would be no domains, by its name.

    :param groups: ``name``, ``cpus``, ``memory_mib`` and ``hardware`` of each; disks and networks do not matter here.
    """
    if not groups:
        return {}
    program = find_program(_PROGRAM)
    if program is None:
        missing = f"{_PROGRAM} is missing, so added XML cannot be checked; install the packages libvirt-clients and libxml2-utils"
        return {group["name"]: missing for group in groups}
    found = {}
    for group in groups:
        try:
            problem = _problem(group, program, run)
        except FleetError as error:
            problem = error.message
        if problem:
            found[group["name"]] = problem
    return found


def _problem(group: t.Mapping[str, t.Any], program: str, run: Runner) -> str:
    wish = MachineWish(
        owner=Owner("check", "check", "check-1"),
        directory="/nonexistent",
        number=1,
        group=group["name"],
        cpus=group["cpus"],
        memory_mib=group["memory_mib"],
        disks=(),
        seed=None,
        cards=(),
        hardware=group["hardware"],
    )
    with tempfile.TemporaryDirectory(prefix="basecast-xml-") as private:
        path = os.path.join(private, "domain.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(build(wish, Platform("kvm", "x86_64"), (), {}))
        code, out, errors = run([program, path, "domain"])
    if code == 0:
        return ""
    lines = [line.replace(path, "the domain").strip() for line in (errors + "\n" + out).splitlines() if line.strip()]
    said = "; ".join(line for line in lines if not line.startswith("the domain fails")) or f"{_PROGRAM} ended with {code}"
    return f"libvirt's schema does not accept the machine with its xml: {clean(said, _MOST_CHARACTERS)}"
