# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts and ends Debian machines that play hosts: `hosts.py up DIRECTORY NAME NAME`, `hosts.py down DIRECTORY`.

Each has two network cards: one through which it is reached by ssh (QEMU's user network, a port of 127.0.0.1), and one
to the other machine (a socket in DIRECTORY). Nothing else of this machine is touched, no namespace and no bridge.
DIRECTORY gets inventory.yml.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / ".collections"))

from ansible_collections.basecast.fleet.tests.lab import images
from ansible_collections.basecast.fleet.tests.lab.images import boot

BOOT_S = 300.0
SSH = "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes"


def born(pid: int) -> int | None:
    """When a process started, in ticks since boot; None if there is none. With the number it is that process and no other."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _number in range(count)]
        return [listening.getsockname()[1] for listening in sockets]


def wait_for_ssh(name: str, guest: boot.Guest, port: int, key: Path) -> None:
    """Return when root's key is accepted; sshd starts after cloud-init has put it there."""
    deadline = guest.started_at + BOOT_S
    while True:
        if guest.process.poll() is not None or time.monotonic() > deadline:
            tail = guest.console.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise images.ImageError(f"{name} (TCG) does not answer to ssh after {BOOT_S:g} s; its console: {tail}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            # QEMU accepts at once; the banner comes from the guest, or the connection ends.
            if connection.recv(4) == b"SSH-":
                break
        time.sleep(0.3)
    options = [*SSH.split(), "-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "-i", str(key), "-p", str(port)]
    argv = ["ssh", *options, "root@127.0.0.1", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise images.ImageError(f"{name} does not let root in: {done.stderr.strip()}")


def up(folder: Path, names: list[str]) -> None:
    """Start the machines and wait until each lets root in."""
    image = images.debian(variant="vm_host")
    folder.mkdir(parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "molecule", "-f", str(folder / "key")], check=True)
    key = (folder / "key.pub").read_text(encoding="utf-8").strip()
    guests: dict[str, boot.Guest] = {}
    inventory: dict[str, dict[str, object]] = {}
    for index, (name, port) in enumerate(zip(names, free_ports(len(names)), strict=True), 1):
        home = folder / name
        home.mkdir()
        macs = [f"52:54:00:ba:5e:{card}{index}" for card in range(2)]
        address = f"192.0.2.{10 + index}"
        network = {
            "version": 2,
            "ethernets": {
                "ssh": {"match": {"macaddress": macs[0]}, "dhcp4": True},
                "lan": {"match": {"macaddress": macs[1]}, "addresses": [f"{address}/24"]},
            },
        }
        seed = boot.seed(
            home / "seed.iso",
            {
                "meta-data": json.dumps({"instance-id": f"molecule-{name}", "local-hostname": name}),
                "user-data": "#cloud-config\n" + json.dumps({"users": [{"name": "root", "ssh_authorized_keys": [key]}]}),
                "network-config": json.dumps(network),
            },
        )
        lan = f"stream,id=lan,server={'on' if index == 1 else 'off'},addr.type=unix,addr.path=../lan.sock"
        cards = ["-netdev", f"user,id=ssh,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22", "-netdev", lan,
                 "-device", f"virtio-net-pci,netdev=ssh,mac={macs[0]}", "-device", f"virtio-net-pci,netdev=lan,mac={macs[1]}"]  # fmt: skip
        guests[name] = boot.Guest(image, home, seed, memory_mib=768, arguments=cards, detached=True)
        pid = guests[name].process.pid
        (home / "process.json").write_text(json.dumps([pid, born(pid)]), encoding="utf-8")
        deadline = time.monotonic() + 10
        while not (folder / "lan.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        inventory[name] = {"ansible_port": port, "basecast_address": address}
    for name, guest in guests.items():
        wait_for_ssh(name, guest, int(str(inventory[name]["ansible_port"])), folder / "key")
    shared = {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(folder / "key"),
        "ansible_ssh_common_args": SSH,
        "ansible_python_interpreter": "/usr/bin/python3",
        "basecast_pools": {"default": "/var/lib/libvirt/images"},
        "basecast_domain_type": "qemu",
    }
    (folder / "inventory.yml").write_text(json.dumps({"fleet": {"hosts": inventory, "vars": shared}}, indent=2), encoding="utf-8")


def down(folder: Path) -> None:
    """End the machines and remove the directory; nothing there is fine."""
    for record in folder.glob("*/process.json"):
        pid, start = json.loads(record.read_text(encoding="utf-8"))
        if start is None or born(pid) != start:
            continue
        for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + patience
            while born(pid) == start and time.monotonic() < deadline:
                time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def main(argv: list[str]) -> int:
    """Exit status."""
    action, folder, names = argv[0], Path(argv[1]).absolute(), argv[2:]
    if action == "down":
        down(folder)
        return 0
    down(folder)
    try:
        up(folder, names)
    except BaseException:
        down(folder)
        raise
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except images.ImageError as error:
        sys.exit(f"hosts: {error}")
