# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes docs/samples/report.html: the page of a real run on eight lab hosts in two rooms, one of which dies on the way."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.basecast.fleet.tests.lab import Host, Lab, images

CHECKOUT = Path(__file__).resolve().parents[2]
OUTPUT = CHECKOUT / "tests/output/sample"
SAMPLE = CHECKOUT / "docs/samples/report.html"
POOL = "/var/lib/libvirt/images"
HOSTS, RATE_MBPS, PAD_MIB, VICTIM = 8, 100, 96, "kvm7"
HEADER = 16

MANIFEST = {
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "images/tiny.qcow2"}}],
    "machines": [
        {
            "name": "web",
            "count": 12,
            "memory_mib": 128,
            "disks": [{"name": "root", "base": "tiny", "size_gib": 1}],
            "networks": [],
            "cloud_init": {"user_data": {"runcmd": ["true"]}},
        },
        {
            "name": "db",
            "hosts": ["kvm2", VICTIM],
            "memory_mib": 128,
            "disks": [{"name": "root", "base": "tiny", "size_gib": 1}, {"name": "data", "size_gib": 1}],
            "networks": [],
            "cloud_init": {"user_data": {"runcmd": ["true"]}},
        },
    ],
}


def arrived(host: Host) -> float:
    """How much of the base has arrived on a host, from the map of its partial copy."""
    for found in host.path(POOL).glob("bases/.partial/*/map"):
        try:
            data = found.read_bytes()
        except FileNotFoundError:
            continue
        if len(data) > HEADER:
            (count,) = struct.unpack_from(">Q", data, 8)  # after the magic; then a byte for each chunk
            return data[HEADER : HEADER + count].count(1) / count
    return 0.0


def run() -> Path:
    """The report of a run in which a host loses power while its base arrives."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    (OUTPUT / "shop.yml").write_text(json.dumps(MANIFEST))
    with Lab(hosts=HOSTS, rate_mbps=RATE_MBPS, libvirt=True) as lab:
        lab.hosts["kvm1"].run(["mkdir", "-p", f"{POOL}/images"])
        lab.hosts["kvm1"].put(images.tiny(version="v1", pad_mib=PAD_MIB), f"{POOL}/images/tiny.qcow2")
        options = [
            "-e", "manifest=shop.yml",
            "-e", "basecast_report_file=run.html",
            "-e", "basecast_boot_timeout_s=240",
            "-e", "basecast_ask_timeout_s=5",
            "-e", "{basecast_site: '{{ \"room-a\" if inventory_hostname in [\"kvm1\", \"kvm2\", \"kvm3\", \"kvm4\"] else \"room-b\" }}'}",
        ]  # fmt: skip
        with (OUTPUT / "log").open("w") as log:
            playing = lab.popen_playbook(["basecast.fleet.deploy", *options], stdout=log, stderr=subprocess.STDOUT, cwd=OUTPUT)
            while playing.poll() is None and not 0.3 < arrived(lab.hosts[VICTIM]) < 0.95:
                time.sleep(0.02)
            if playing.poll() is None:
                lab.hosts[VICTIM].power_cut()
            playing.wait()
    return OUTPUT / "run.html"


def main() -> int:
    made = run()
    if not made.exists():
        print((OUTPUT / "log").read_text()[-3000:], file=sys.stderr)
        return 1
    SAMPLE.parent.mkdir(exist_ok=True)
    shutil.copyfile(made, SAMPLE)
    print(f"{SAMPLE.relative_to(CHECKOUT)}: {SAMPLE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
