# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boots an image as a plain QEMU machine, without libvirt: for tests of the images and for hosts that are machines."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import typing as t
from pathlib import Path

from .._pace import patience
from ._build import ImageError, run, tool


def seed(path: Path, files: dict[str, str]) -> Path:
    """An ISO image labelled cidata with `files` (name -> text), made with the first ISO tool that is there."""
    work = path.with_name(path.name + ".files")
    work.mkdir()
    for name, text in files.items():
        (work / name).write_text(text, encoding="utf-8")
    options = ["-quiet", "-volid", "cidata", "-joliet", "-rock", "-output", str(path), str(work)]
    try:
        run([tool("genisoimage", "genisoimage"), *options])
    except ImageError:
        run([tool("xorriso", "xorriso"), "-as", "mkisofs", *options])
    return path


class Guest:
    """A running QEMU machine over a throw-away differencing disk; a context manager that leaves nothing running.

    :param directory: where disk, console.log (serial 0), report.log (serial 1) and the monitor's socket lie; must exist.
    :param arguments: further arguments of QEMU (network, disks).
    :param detached: it shall outlive this program; end it by its process id.
    """

    def __init__(
        self,
        image: Path,
        directory: Path,
        seed: Path | None = None,
        memory_mib: int = 128,
        arguments: t.Sequence[str] = (),
        detached: bool = False,
    ) -> None:
        self.directory = directory
        self.console = directory / "console.log"
        self.report = directory / "report.log"
        self._monitor = directory / "qmp.sock"
        disk = directory / "disk.qcow2"
        create = [tool("qemu-img", "qemu-utils"), "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(disk)]
        run(create)
        argv = [tool("qemu-system-x86_64", "qemu-system-x86"), "-M", "pc", "-cpu", "max", "-accel", "tcg",
                "-m", str(memory_mib), "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot",
                "-drive", f"file={disk},if=virtio,format=qcow2,cache=unsafe",
                "-serial", f"file:{self.console}", "-serial", f"file:{self.report}",
                "-qmp", f"unix:{self._monitor},server=on,wait=off"]  # fmt: skip
        if seed is not None:
            argv += ["-drive", f"file={seed},if=virtio,format=raw,readonly=on"]
        self.started_at = time.monotonic()
        self._log = directory / "qemu.log"
        with self._log.open("wb") as log:
            # Relative names in `arguments` are meant from the directory: names of sockets have to be short.
            self.process = subprocess.Popen(
                [*argv, *arguments], cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=detached
            )

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()

    def wait_for(self, log: Path, text: str, timeout_s: float) -> str:
        """The first complete line of `log` (console or report) with `text`; an ImageError with the console's end if none comes.

        :param timeout_s: since the start; longer on a slow machine.
        """
        timeout_s *= patience()
        deadline = self.started_at + timeout_s
        while True:
            dead = self.process.poll() is not None
            if log.exists():
                for line in log.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
                    if text in line:
                        return line.rstrip("\r")
            if dead or time.monotonic() > deadline:
                tail = self.console.read_text(encoding="utf-8", errors="replace")[-1500:] if self.console.exists() else ""
                what = f"QEMU ended with {self.process.returncode}: {self._log.read_text()[-500:]}" if dead else "it stayed silent"
                raise ImageError(f"no {text!r} in {log.name} after {timeout_s:.0f} s; {what}; console (TCG): {tail}")
            time.sleep(0.05)

    def power_button(self) -> None:
        """Press it (ACPI)."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            # The path may be longer than a socket's name may be.
            here = os.open(self.directory, os.O_RDONLY)
            try:
                monitor.connect(f"/proc/self/fd/{here}/{self._monitor.name}")
            finally:
                os.close(here)
            stream = monitor.makefile("rw")
            stream.readline()
            for command in ("qmp_capabilities", "system_powerdown"):
                stream.write(json.dumps({"execute": command}) + "\n")
                stream.flush()
                while "return" not in json.loads(stream.readline()):
                    pass

    def kill(self) -> None:
        """End QEMU at once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=30)
