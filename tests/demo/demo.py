# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demonstration: four hosts, a service of four machines, and a host that dies in the middle of the relay.

Everything is real (sshd, libvirt, QEMU, Debian with cloud-init) but the hosts, which are namespaces on this machine.
Exits 0 only if all that it announces was seen.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import textwrap
import time
import typing as t
from pathlib import Path

from ansible_collections.basecast.fleet.tests.lab import Host, Lab, LabError, images, slowness

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]

OUTPUT = CHECKOUT / "tests/output/demo"
RATE_MBPS = 200  # of every host's link, each way
VICTIM = "kvm3"
# On an idle machine; a slower or busier one gets more.
BOOT_TIMEOUT_S = 420
ASK_TIMEOUT_S = 20
RUN_S = 900
START = time.monotonic()

MANIFEST = """\
format: 1
service: shop
bases:
  - name: debian
    version: "1"
    source: {host: kvm1, path: images/debian.qcow2}
machines:
  - name: web
    hosts: [kvm1, kvm2, kvm3, kvm4]
    per_host: 1
    cpus: 1
    memory_mib: 512
    disks:
      - {name: root, base: debian, size_gib: 4}
      - {name: data, size_gib: 1}
    networks: [{network: default}]
    cloud_init:
      user_data:
        write_files:
          - {path: /etc/motd, content: "deployed by basecast.fleet\\n"}
"""


class NotSeen(Exception):
    """Something that the demonstration announces did not happen."""


def say(text: str = "", indent: int = 0) -> None:
    stamp = f"{time.monotonic() - START:5.0f} s  " if text else ""
    print(textwrap.indent(f"{stamp}{text}", " " * indent), flush=True)


def title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def expect(seen: t.Any, what: str) -> None:
    if not seen:
        raise NotSeen(what)
    say(f"seen: {what}", 2)


class Deadline:
    """A time to wait in, longer on a machine that is slow or busy: it is measured at the start, and again before giving up."""

    def __init__(self, reference_s: float) -> None:
        self._reference_s = reference_s
        self._began = time.monotonic()
        self.seconds = reference_s * slowness()

    def is_over(self) -> bool:
        if time.monotonic() - self._began > self.seconds:
            self.seconds = max(self.seconds, self._reference_s * slowness())
        return time.monotonic() - self._began > self.seconds


class Run:
    """One run of the playbook, its log and its report."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.log = OUTPUT / f"{name}.log"
        self.report_file = OUTPUT / f"{name}.json"
        self.report_file.unlink(missing_ok=True)
        self._handle = self.log.open("w")
        self.deadline = Deadline(RUN_S)
        factor = self.deadline.seconds / RUN_S
        self.process = lab.popen_playbook(
            [
                "basecast.fleet.deploy",
                "-e", f"manifest={OUTPUT / 'shop.yml'}",
                "-e", f"basecast_report_file={self.report_file}",
                "-e", f"basecast_boot_timeout_s={BOOT_TIMEOUT_S * factor:.0f}",
                "-e", f"basecast_ask_timeout_s={ASK_TIMEOUT_S * factor:.0f}",
            ],
            stdout=self._handle,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        say(f"running: ansible-playbook basecast.fleet.deploy -e manifest=shop.yml   (log: {self.log.relative_to(CHECKOUT)})")

    def is_running(self) -> bool:
        if self.process.poll() is None and self.deadline.is_over():
            self.process.kill()
            raise NotSeen(f"the end of the run within {self.deadline.seconds:.0f} s; the log ends with:\n{self.log.read_text()[-3000:]}")
        return self.process.poll() is None

    def wait(self) -> int:
        try:
            while self.is_running():
                time.sleep(0.2)
            code = self.process.wait()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._handle.close()
        say(f"finished with exit code {code}")
        if not self.report_file.exists():
            raise NotSeen(f"a report of the run; the log ends with:\n{self.log.read_text()[-3000:]}")
        for line in self.report["text"]:
            print(f"          | {line}", flush=True)
        return code

    @property
    def report(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", json.loads(self.report_file.read_text()))

    def states(self) -> dict[str, str]:
        return {machine["host"]: machine["state"] for machine in self.report["machines"]}

    def changed(self) -> dict[str, int]:
        """Changed tasks by host, from Ansible's own recap."""
        recap = self.log.read_text().rsplit("PLAY RECAP", 1)[-1]
        return {m[1]: int(m[2]) for m in re.finditer(r"^(\S+)\s*: ok=\d+\s+changed=(\d+)", recap, re.M)}


def verified_share(host: Host) -> float:
    """How much of the base has arrived on a host, from the map of its partial copy."""
    for found in host.path("/var/lib/libvirt/images").glob("bases/.partial/*/map"):
        try:
            data = found.read_bytes()
        except OSError:
            continue
        if len(data) > 16:
            (count,) = struct.unpack_from(">Q", data, 8)  # after the magic; then a byte for each chunk
            return data[16 : 16 + count].count(1) / count
    return 0.0


def machine_report(host: Host, machine: str) -> tuple[str, dict[str, t.Any]]:
    """The token that the seed carries, and what the guest itself wrote to its second serial port."""
    folder = host.path(f"/var/lib/libvirt/images/machines/shop/{machine}")
    token = json.loads((folder / "seed.json").read_text())["token"]
    lines = [line for line in (folder / "report.log").read_text(errors="replace").splitlines() if line.startswith("BASECAST-REPORT ")]
    return token, json.loads(lines[-1].split(" ", 1)[1]) if lines else {}


def check_guests(lab: Lab, run: Run, hosts: list[str]) -> None:
    for entry in run.report["machines"]:
        if entry["host"] in hosts:
            token, reported = machine_report(lab.hosts[entry["host"]], entry["machine"])
            expect(
                reported.get("hostname") == entry["machine"] and reported.get("token") == token,
                f"{entry['machine']} on {entry['host']} booted and reported its own name and token",
            )


def demonstrate() -> None:
    title("basecast.fleet: a service on a fleet from one manifest")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "shop.yml").write_text(MANIFEST)
    say("building the Debian image, unless it is cached (a few minutes the first time)")
    image = images.debian()
    size_mib = image.stat().st_size / 2**20
    say(
        f"the base disk is {image.name}, {size_mib:.0f} MiB; one copy over a link of {RATE_MBPS} Mbit/s takes {size_mib * 8.388608 / RATE_MBPS:.0f} s"
    )
    factor = slowness()
    if factor > 1.5:
        say(
            f"this machine is slow or busy (a step took {factor:.1f} times as long as on an idle one): everything may take that much longer"
        )
    with Lab(hosts=4, rate_mbps=RATE_MBPS, libvirt=True, slowness=factor) as lab:
        say("four hosts are up, each with its own sshd and libvirtd; kvm1 has the image, the others have nothing")
        lab.hosts["kvm1"].run(["mkdir", "-p", "/var/lib/libvirt/images/images"])
        lab.hosts["kvm1"].put(image, "/var/lib/libvirt/images/images/debian.qcow2")

        title(f"1. {VICTIM} dies in the middle of the relay")
        run = Run(lab, "1-host-dies")
        while not 0.3 < verified_share(lab.hosts[VICTIM]) < 1:
            if not run.is_running():
                raise NotSeen(f"the base arriving on {VICTIM}; the log ends with:\n{run.log.read_text()[-3000:]}")
            time.sleep(0.02)
        share = verified_share(lab.hosts[VICTIM])
        lab.hosts[VICTIM].power_cut()
        say(f"pulled the plug of {VICTIM} when {share:.0%} of the base had arrived there")
        code = run.wait()
        others = [name for name in lab.hosts if name != VICTIM]
        expect(code != 0, f"the exit code {code} says that something asked for is missing")
        expect(run.states()[VICTIM] not in ("deployed", "present"), f"{VICTIM} is reported with what it misses")
        expect(all(run.states()[name] == "deployed" for name in others), "everybody else was deployed")
        check_guests(lab, run, others)

        title(f"2. {VICTIM} is back: the same playbook again")
        lab.hosts[VICTIM].revive()
        run = Run(lab, "2-again")
        code = run.wait()
        expect(code == 0, "the exit code is 0")
        expect(run.states()[VICTIM] == "deployed", f"{VICTIM} has its machine now")
        expect(all(run.states()[name] == "present" for name in others), "the other machines were found in place and left alone")
        check_guests(lab, run, [VICTIM])

        title("3. And again: nothing is left to do")
        run = Run(lab, "3-nothing")
        code = run.wait()
        expect(code == 0, "the exit code is 0")
        expect(set(run.changed().values()) == {0}, "no task changed anything on any host")

    title("All of it was seen")
    print(
        textwrap.dedent(f"""\
        Logs and reports of the three runs:  {OUTPUT.relative_to(CHECKOUT)}/
        The manifest that was deployed:      {OUTPUT.relative_to(CHECKOUT)}/shop.yml
        A lab of your own:                   make lab-up, then docs/lab.md
        How it works:                        docs/architecture.md
        Every module:                        ansible-doc basecast.fleet.diff_disk, and so on"""),
        flush=True,
    )


def main() -> int:
    try:
        demonstrate()
    except NotSeen as missing:
        print(f"\nNOT SEEN: {missing}", flush=True)
        return 1
    except (LabError, images.ImageError) as error:
        print(f"\ndemo: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the hosts are gone", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
