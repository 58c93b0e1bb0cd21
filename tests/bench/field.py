# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab of one scenario: its hosts, the file, the start signal, and what every host has at the end."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import os
import subprocess
import threading
import time
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.basecast.fleet.tests.lab import Host, Lab, LabError

from . import machine
from .results import Run
from .scenarios import MIB, Scenario

POOL = "/var/lib/libvirt/images"

# Where peers find and leave the file, on every host.
FOLDER = f"{POOL}/peer"
FILE = f"{FOLDER}/image"

# One folder that all hosts see, for the start signal and for what they report; nothing of the file goes through it.
SHARED = "/srv/pools/bench"

READY_S = 40.0

# Everything that is not the host itself, its sshd, or this very shell.
SWEEP = r"""
for d in /proc/[0-9]*; do
  p=${d#/proc/}
  [ "$p" = 1 ] || [ "$p" = $$ ] && continue
  read -r name < "$d/comm" || continue
  case $name in sshd|lab-host) ;; *) kill -9 "$p" ;; esac
done 2>/dev/null
true
"""

PRELUDE = """\
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
stamp() {{ echo "$EPOCHREALTIME" > {shared}/stamp.{host}; }}
cd {folder}
"""


class Incident(t.NamedTuple):
    """One host dies after so many seconds: all its processes at once; its kernel closes their connections."""

    after_s: float
    victim: str


@dataclass
class Cast:
    """What a peer runs: shell scripts by host.

    :param operator: the host on which somebody would start the tool, and see its exit code.
    :param racers: begin at the start signal. Where no host stamps, their ends are the hosts' ends.
    :param daemons: run before; receivers that know when they are done call ``stamp``.
    :param ready: a shell condition for a host whose daemon has to be there first.
    :param stamps: the hosts that do.
    """

    operator: str
    racers: dict[str, str]
    daemons: dict[str, str] = field(default_factory=dict)
    ready: dict[str, str] = field(default_factory=dict)
    stamps: tuple[str, ...] = ()


class Field:
    """A lab in which tools race, one after another."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        count = scenario.receivers + 1
        # Memory file systems: all hosts would otherwise share this machine's one disk, and that would be measured.
        needed = (scenario.receivers + 3) * scenario.data_bytes
        self.fs = "tmpfs" if machine.available_bytes() > needed * 1.3 else "dir"
        self.lab = Lab(hosts=count, rate_mbps=scenario.rate_mbps, pools={"default": (self.fs, 4 * scenario.size_mib + 64)})
        self.lab.up()
        try:
            self.lab.share_pool("bench", self.lab.names)
            self.source = self.lab.names[0]
            self.receivers = self.lab.names[1:]
            self.shared = self.host(self.source).path(SHARED)
            self._file = (-1, "")
            self.congestion_control = self.host(self.source).run("cat /proc/sys/net/ipv4/tcp_congestion_control").stdout.strip()
            if scenario.between_mbps:
                self._divide(scenario.between_mbps)
            for name in self.lab.names:
                self.path(name, FOLDER).mkdir(parents=True)
        except BaseException:
            self.lab.down()
            raise

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.lab.down()

    # ---- hosts and links

    def host(self, name: str) -> Host:
        return self.lab.hosts[name]

    def address(self, name: str) -> str:
        return self.host(name).address

    def path(self, name: str, path: str) -> Path:
        """A file of a host, seen from here."""
        return self.host(name).path(path)

    @property
    def sites(self) -> dict[str, int]:
        """Which site each host is in."""
        names = self.lab.names
        half = len(names) // 2 if self.scenario.between_mbps else len(names)
        return {name: int(number >= half) for number, name in enumerate(names)}

    def _divide(self, mbps: float) -> None:
        """A second bridge for the second site, and one link between both, shaped in each direction."""
        shape = f"root tbf rate {mbps * 1000:.0f}kbit burst {max(int(mbps * 1e6 / 8 * 0.016), 16384)} latency 60ms"
        lines = [
            "ip link add br1 type bridge forward_delay 0 stp_state 0",
            "ip link set br1 up",
            "ip link add way0 type veth peer name way1",
            "ip link set way0 master br0 up",
            "ip link set way1 master br1 up",
            f"tc qdisc replace dev way0 {shape}",
            f"tc qdisc replace dev way1 {shape}",
            *(f"ip link set p{self.lab.names.index(name) + 1} master br1" for name, site in self.sites.items() if site),
        ]
        self.lab.exec_in_controller(["sh", "-e", "-c", "\n".join(lines)], check=True)

    def links(self) -> list[dict[str, t.Any]]:
        """What is known of the links, as deployment_matrix takes it."""
        sites = self.sites
        inside = self.scenario.rate_mbps or 10000.0
        between = self.scenario.between_mbps or inside
        return [
            {"from": a, "to": b, "mbps": inside if sites[a] == sites[b] else between}
            for a in self.lab.names
            for b in self.lab.names
            if a != b
        ]

    def received_on_links(self) -> dict[str, int]:
        """Bytes that the bridge has sent to each host, frames with their headers."""
        shown = self.lab.exec_in_controller(["ip", "-j", "-s", "link", "show"], check=True).stdout
        ports = {entry["ifname"]: entry["stats64"]["tx"]["bytes"] for entry in json.loads(shown)}
        return {name: ports[f"p{number}"] for number, name in enumerate(self.lab.names, start=1)}

    # ---- the file

    def put_file(self, size: int) -> str:
        """The file of this size is at its place on the source; its SHA-256."""
        if size != self._file[0]:
            hasher = hashlib.sha256()
            with open(self.path(self.source, FILE), "wb") as file:
                for start in range(0, size, MIB):
                    part = os.urandom(min(MIB, size - start))
                    hasher.update(part)
                    file.write(part)
            self._file = (size, hasher.hexdigest())
        return self._file[1]

    def judge(self, size: int, sha256: str, where: str, dead: tuple[str, ...] = ()) -> dict[str, str]:
        """What each receiver has at this path: one of results.STATES."""

        def look(name: str) -> str:
            path = self.path(name, where)
            if name in dead:
                return "dead"
            try:
                found = path.stat().st_size
            except FileNotFoundError:
                return "missing"
            if found < size:
                return "truncated"
            with open(path, "rb") as file:
                return "complete" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else "wrong"

        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            return dict(zip(self.receivers, threads.map(look, self.receivers), strict=True))

    def clear(self) -> None:
        """Nothing of the last tool is left on any host, which are all alive again."""
        for name in self.lab.names:
            host = self.host(name)
            if not host.running:
                host.revive()
            host.run(SWEEP)
            for path in self.path(name, FOLDER).iterdir():
                if (name, path.name) != (self.source, Path(FILE).name):
                    subprocess.run(["rm", "-rf", str(path)], check=True)
        for path in self.shared.iterdir():
            path.unlink()

    # ---- the race

    def _start(self, name: str, kind: str, script: str) -> None:
        """Runs a script on a host, apart from the connection that brought it."""
        path = f"/run/bench-{kind}"
        text = PRELUDE.format(shared=SHARED, host=name, folder=FOLDER) + script
        self.host(name).run(f"cat > {path}.sh && setsid -f bash {path}.sh > {path}.log 2>&1 < /dev/null", stdin=text)

    def race(self, cast: Cast, size: int, timeout_s: float, incident: Incident | None = None) -> Run:
        """Lets a peer bring the file of this size from the source to all receivers."""
        sha256 = self.put_file(size)
        grace_s = 3.0 + 2 * (self.scenario.limit_s(size) or 0.0)
        signal = self.shared / "go"
        os.mkfifo(signal)
        for name, script in cast.daemons.items():
            self._start(name, "daemon", script)
        for name, condition in cast.ready.items():
            self.host(name).run(f"until {condition}; do sleep 0.05; done", timeout=READY_S)
        for name, script in cast.racers.items():
            waiting = f"echo > {SHARED}/waits.{name}\n: < {SHARED}/go\n"
            ended = f'\ncode=$?\necho "$code $EPOCHREALTIME" > {SHARED}/.end.{name}\nmv {SHARED}/.end.{name} {SHARED}/end.{name}\n'
            self._start(name, "racer", f"{waiting}(\n{script}\n){ended}")
        self._wait(lambda: all((self.shared / f"waits.{name}").exists() for name in cast.racers), READY_S)

        self.take_memory(size)
        carried, processor = self.received_on_links(), machine.ProcessorTime(self.lab)
        begin = time.time()
        # Every host waits in open(), which returns as soon as somebody opens the pipe for writing.
        go = os.open(signal, os.O_RDWR)
        try:
            with fate(self, incident) as dead:
                over = self._wait(lambda: self._is_over(cast, dead, grace_s), timeout_s)
                cpu, other = processor.seconds()
        finally:
            os.close(go)
        ends = {name: self._ended(name) for name in cast.racers}
        stamps = [self._stamp(name) for name in cast.stamps] or [end[1] for name, end in ends.items() if name not in dead]
        hosts = self.judge(size, sha256, FILE, tuple(dead))
        whole = over and set(hosts.values()) <= {"complete", "dead"}
        code = ends[cast.operator][0]
        return Run(
            seconds=max(stamps) - begin if whole else None,
            hosts=hosts,
            exit=code,
            cpu_s=cpu,
            other_cpu_s=other,
            wire_ratio=self.wire_ratio(carried, size, dead),
            said="" if whole and code == 0 else self._log(cast.operator),
        )

    def take_memory(self, size: int) -> None:
        """As much as all copies of so many bytes of the file will take."""
        machine.take_memory(len(self.receivers) * min(size, self.scenario.data_bytes))

    def wire_ratio(self, before: Mapping[str, int], size: int, dead: set[str]) -> float:
        after = self.received_on_links()
        return max(after[name] - before[name] for name in self.receivers if name not in dead) / size

    def _is_over(self, cast: Cast, dead: set[str], grace_s: float) -> bool:
        racing = [name for name in cast.racers if name not in dead]
        if not all((self.shared / f"end.{name}").exists() for name in racing):
            return False
        stamping = [name for name in cast.stamps if name not in dead]
        if all((self.shared / f"stamp.{name}").exists() for name in stamping):
            return True
        # The operator was told that it is over. What is still in buffers on the way has some time to arrive.
        return bool(racing) and time.time() - max(self._ended(name)[1] for name in racing) > grace_s

    def _ended(self, name: str) -> tuple[int | None, float]:
        try:
            code, _space, at = (self.shared / f"end.{name}").read_text().partition(" ")
        except FileNotFoundError:
            return None, 0.0
        return int(code), float(at)

    def _stamp(self, name: str) -> float:
        try:
            return float((self.shared / f"stamp.{name}").read_text())
        except (FileNotFoundError, ValueError):
            return 0.0

    def _log(self, name: str) -> str:
        try:
            lines = self.host(name).run("tail -c 2000 /run/bench-racer.log", check=False).stdout.splitlines()
        except LabError as error:
            return str(error)
        return " | ".join(line.strip() for line in lines[-4:])[-400:]

    @staticmethod
    def _wait(condition: Callable[[], bool], seconds: float) -> bool:
        """Ends of processes are stamped where they happen, so this may look rarely."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@contextlib.contextmanager
def fate(ground: Field, incident: Incident | None) -> t.Iterator[set[str]]:
    """Lets the incident happen in its time; the set of hosts that are dead by now."""
    dead: set[str] = set()

    def strike() -> None:
        if incident is not None:
            dead.add(incident.victim)
            ground.host(incident.victim).crash()

    timer = threading.Timer(incident.after_s, strike) if incident else None
    if timer:
        timer.start()
    try:
        yield dead
    finally:
        if timer:
            timer.cancel()
            timer.join()
