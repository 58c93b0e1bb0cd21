# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What is checked whenever a machine starts, whoever starts it: the files that libvirt and QEMU are going to open."""

from __future__ import annotations

import typing as t

from .._disk.errors import UnsafeImage
from .._disk.store import Store
from .backing import Layer, Places, backing_chain
from .domain import Description
from .files import check_log
from .owner import Owner


def checked_chains(about: Description, owner: Owner, pools: t.Iterable[str]) -> dict[str, list[Layer]]:
    """What lies under each disk, by its path.

    :param pools: paths of the host's pools.
    :raises FleetError: the machine must not start.
    """
    places = Places(pools, owner.service)
    chains = {path: backing_chain(path, kind, places) for path, kind in about.files}
    for path in (about.console, about.report, about.nvram):
        check_log(path)
    check_given(about, pools)
    return chains


def check_given(about: Description, pools: t.Iterable[str]) -> None:
    """:raises UnsafeImage: a thing of the host is not as the machine needs it, or somebody else has it."""
    named = {key: [{"name": name, **one} for name, one in (about.hardware[key] or {}).items()] for key in ("attached", "shares")}
    for problem in given_problems({**about.hardware, **named}, about.domain, pools):
        raise UnsafeImage(problem)


def given_problems(hardware: t.Mapping[str, t.Any], domain: str, pools: t.Iterable[str]) -> t.Iterator[str]:
    """What a machine of this hardware needs of the host, and does not get.

    :param hardware: in the form of the module's options.
    :param domain: of the machine, which may have it itself.
    """
    yield from attached_problems(hardware.get("attached") or (), domain, pools)
    if hardware.get("host_devices"):
        from .host_devices import device_problems  # noqa: PLC0415 - a host compiles all that is imported, and few machines have such

        yield from device_problems(hardware["host_devices"], domain)
    if hardware.get("shares"):
        from .shares import share_problems  # noqa: PLC0415 - as above

        yield from share_problems(hardware["shares"], domain, pools)


def attached_problems(disks: t.Sequence[t.Mapping[str, t.Any]], domain: str, pools: t.Iterable[str]) -> t.Iterator[str]:
    """
    :param disks: in the form of the option ``attached``.
    :param domain: of the machine, which may have them itself.
    """
    if not disks:
        return
    from .._disk import outside  # noqa: PLC0415 - a host compiles all that is imported, and few machines have such disks

    stores = {path: Store(path, pool=path) for path in pools}
    for disk in disks:
        found = outside.look(disk["kind"], disk["path"], disk["image_format"], stores)
        what = f"The disk {disk['name']} of {domain}, {disk['path']},"
        others = [user for user in found.used_by if user != f"domain {domain}"] if found is not None else []
        if found is None:
            yield f"{what} is not there; attach or mount it."
        elif found.problem:
            yield f"{what} {found.problem}."
        elif others:
            yield f"{what} is in use by {', '.join(others)}; one machine at a time has it."
