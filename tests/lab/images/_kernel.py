# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian's cloud kernel from the machine's own package sources, unpacked, never installed."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

from ._build import ImageError, run, tool
from ._cache import cached, newest

META = "linux-image-cloud-amd64"


class Kernel(t.NamedTuple):
    """An unpacked kernel: its release (uname -r), the bootable file and the directory with lib/modules."""

    release: str
    vmlinuz: Path
    tree: Path

    def modules(self, names: t.Iterable[str]) -> list[Path]:
        """Files of the modules and of all they need, in an order in which insmod takes them; unknown names are left out."""
        base = self.tree / "lib/modules" / self.release
        needs = {}
        for line in (base / "modules.dep").read_text(encoding="utf-8").splitlines():
            file, _colon, others = line.partition(":")
            needs[file] = others.split()
        by_name = {Path(file).stem.replace("-", "_"): file for file in needs}
        order: list[str] = []

        def add(file: str) -> None:
            for other in needs[file]:
                add(other)
            if file not in order:
                order.append(file)

        for name in names:
            if name in by_name:
                add(by_name[name])
        return [base / file for file in order]


def _candidate() -> tuple[str, str]:
    """(package that holds the kernel, its version), as apt would install them now."""
    shown = run([tool("apt-cache", "apt"), "show", "--no-all-versions", META])
    version = re.search(r"^Version: (\S+)", shown, re.MULTILINE)
    package = re.search(r"^Depends: (linux-image-\S+)", shown, re.MULTILINE)
    if not version or not package:
        raise ImageError(f"the package sources of this machine have no {META} with a kernel behind it")
    return package[1], version[1]


def kernel() -> Kernel:
    """The newest cloud kernel that the package sources offer; without sources, the newest that was unpacked before."""
    try:
        package, version = _candidate()
    except ImageError as error:
        before = newest("kernel-*")
        if before is None:
            if os.geteuid() != 0:
                raise ImageError(f"{error} (are the package lists there? `apt-get update` as root brings them)") from None
            run([tool("apt-get", "apt"), "-q", "update"])
            package, version = _candidate()
        else:
            return _read(before)

    def unpack(made: Path, scratch: Path) -> None:
        # The download is world-readable scratch: apt fetches as its own user where it can.
        deb = scratch / "deb"
        deb.mkdir()
        try:
            run([tool("apt-get", "apt"), "-q", "download", f"{package}={version}"], cwd=deb)
        except ImageError:
            if os.geteuid() != 0:
                raise
            # Lists older than the mirror name files that are gone.
            run([tool("apt-get", "apt"), "-q", "update"])
            run([tool("apt-get", "apt"), "-q", "download", package], cwd=deb)
        found = next(deb.glob("*.deb"))
        run([tool("dpkg-deb", "dpkg"), "-x", str(found), str(made)])
        release = next((made / "lib/modules").iterdir()).name
        run([tool("depmod", "kmod"), "-b", str(made), release])

    return _read(cached("kernel", f"kernel-{version.replace('/', '_')}", unpack))


def _read(tree: Path) -> Kernel:
    release = next((tree / "lib/modules").iterdir()).name
    return Kernel(release, tree / "boot" / f"vmlinuz-{release}", tree)
