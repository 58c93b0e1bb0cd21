# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts of this machine, versions of the tools, and processor time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
import typing as t
from collections.abc import Callable, Iterable
from pathlib import Path

from ansible_collections.basecast.fleet.tests.lab import Lab

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

CHECKOUT = Path(__file__).resolve().parents[2]

# Some kernels have this: memory that is free for less than so many ms is not handed back to the machine's host. Five
# minutes are accepted, ten are not.
KEEPING = Path("/sys/module/page_reporting/parameters/min_free_ms")
KEEP_MS = 300_000


def facts() -> dict[str, t.Any]:
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": platform.python_version(),
        "load_1m": round(os.getloadavg()[0], 2),
    }


def calibration() -> dict[str, float | None]:
    """How fast one core does what the relay and Ansible spend their time with."""
    block = os.urandom(1 << 20)
    target = bytearray(64 << 20)
    source = memoryview(bytes(64 << 20))

    def copy() -> None:
        target[:] = source

    return {
        "sha256_gib_s": round(_rate(lambda: hashlib.sha256(block), len(block)), 3),
        "aes_gcm_gib_s": _aes_gib_s(),
        "memory_gib_s": round(_rate(copy, len(source)), 2),
        "empty_task_s": _empty_task_s(),
    }


def _rate(work: Callable[[], object], size: int, least_s: float = 0.5) -> float:
    """GiB per processor second of work on so many bytes."""
    begin, done = time.process_time(), 0
    while (took := time.process_time() - begin) < least_s or not done:
        work()
        done += size
    return done / 2**30 / took


def _aes_gib_s() -> float | None:
    """As OpenSSL tells it, for records of TLS; None without its program."""
    try:
        told = subprocess.run(
            ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "16384", "-evp", "aes-256-gcm"],
            text=True,
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"^\+F:\d+:aes-256-gcm:([\d.]+)", told, re.I | re.M)
    return round(float(found[1]) / 2**30, 3) if found else None


def _empty_task_s(tasks: int = 40) -> float:
    """Seconds that Ansible needs for a task that does nothing, on one host of this machine."""

    def play(number: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "play.yml")
            path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.meta": "noop"}] + [
                {"ansible.builtin.set_fact": {"nothing": 1}}] * number}]))  # fmt: skip
            begin = time.monotonic()
            subprocess.run(
                [CHECKOUT / ".venv/bin/ansible-playbook", "-i", "localhost,", "-c", "local", path],
                capture_output=True,
                check=True,
                cwd=folder,
            )
            return time.monotonic() - begin

    return round(max(0.0, play(tasks) - play(0)) / tasks, 4)


def available_bytes() -> int:
    """Memory that can be used without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def take_memory(bytes_: int) -> None:
    """Uses so much memory once, as far as there is any, and gives it back.

    A virtual machine gets memory from its host when it first touches it, which takes longer than to copy a file there: the
    first of several tools would pay for all.
    """
    bytes_ = min(bytes_, available_bytes() * 9 // 10)
    if bytes_ > 0:
        mmap.mmap(-1, bytes_, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


@contextlib.contextmanager
def keeping_memory(knob: Path = KEEPING) -> t.Iterator[bool]:
    """Lets this machine keep its free memory meanwhile, where its kernel can; whether it does."""
    try:
        before = knob.read_text().strip()
        knob.write_text(str(KEEP_MS))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        knob.write_text(before)


def commit() -> str:
    """The commit that is measured; with a mark if there is more than that in the checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=CHECKOUT, text=True, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def missing(programs: Iterable[str]) -> list[str]:
    return [program for program in programs if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")]


def version(package: str) -> str:
    """Version of a Debian package."""
    found = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], text=True, capture_output=True, check=False)
    return found.stdout.strip() or "not installed"


class ProcessorTime:
    """Processor seconds from its making until asked."""

    def __init__(self, lab: Lab) -> None:
        self._processes = Path(f"/proc/{lab.supervisor}/root/proc")
        self._lab = self._of_lab()
        self._all = self._of_machine()

    def seconds(self) -> tuple[float, float]:
        """(all processes of the lab, everything else on the machine)"""
        lab = max(0.0, self._of_lab() - self._lab)
        return lab, max(0.0, self._of_machine() - self._all - lab)

    def _of_lab(self) -> float:
        """The living, and the dead by what their parents inherited: the sum only grows."""
        ticks = 0
        for entry in self._processes.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            ticks += sum(int(number) for number in fields[11:15])
        return ticks / TICKS_PER_S

    @staticmethod
    def _of_machine() -> float:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8])
        return (user + nice + system + irq + softirq) / TICKS_PER_S
