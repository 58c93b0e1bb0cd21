# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's network: the bridge, the hosts' links to it, and what slows or cuts them."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from ._common import LabHost, command

BRIDGE = "br0"
PREFIX = 16
SUBNETS = range(77, 256)  # 10.77.0.0/16 to 10.255.0.0/16
DEAD_MAC = "02:bc:de:ad:00:00"

# Debian's. The kernel gives its own default to every new namespace, and what a transfer takes would depend on that: BBR,
# for one, stops each connection for 0.2 s every 10 s.
CONGESTION_CONTROL = "cubic"
IPV4 = Path("/proc/sys/net/ipv4")
CHOOSE = f"echo {CONGESTION_CONTROL} > {IPV4}/tcp_congestion_control"


def permit_congestion_control() -> bool:
    """Whether the lab's hosts can have that congestion control.

    Other network namespaces than the machine's own may choose from what it allows everybody, and only it can add to that.
    What was allowed stays so: another lab may need it.
    """
    allowed = IPV4 / "tcp_allowed_congestion_control"
    words = allowed.read_text().split()
    if CONGESTION_CONTROL not in words:
        try:
            allowed.write_text(" ".join((*words, CONGESTION_CONTROL)))
        except OSError:
            return False
    return True


def controller_address(subnet: int) -> str:
    return f"10.{subnet}.0.1"


def host_address(subnet: int, index: int) -> str:
    number = 10 + index
    return f"10.{subnet}.{number >> 8}.{number & 255}"


class Network:
    def __init__(self, hosts: dict[str, LabHost], subnet: int) -> None:
        self.hosts = hosts
        self.controller = controller_address(subnet)
        self.pairs: dict[tuple[str, str], dict[str, t.Any]] = {}

    def make_bridge(self) -> None:
        command("ip", "-batch", "-", stdin="\n".join((
            "link set lo up",
            f"link add {BRIDGE} type bridge forward_delay 0 stp_state 0",
            f"addr add {self.controller}/{PREFIX} brd + dev {BRIDGE}",
            f"link set {BRIDGE} up",
        )))  # fmt: skip
        filtering = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if filtering.exists():
            filtering.write_text("0")  # costs, and there is nothing to filter

    def connect(self, host: LabHost) -> None:
        """Gives a host that just started its link."""
        host.net = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        # Where it may not be chosen, the lab has said so.
        command("sh", "-c", CHOOSE, net=host.net, check=False)
        command("ip", "-batch", "-", stdin="\n".join((
            f"link add {host.port} type veth peer name eth0 address {host.mac} netns {host.pid}",
            f"link set {host.port} master {BRIDGE}",
        )))  # fmt: skip
        command("ip", "-batch", "-", net=host.net, stdin="\n".join((
            "link set lo up",
            f"addr add {host.address}/{PREFIX} brd + dev eth0",
            "link set eth0 up",
            f"route add default via {self.controller}",
        )))  # fmt: skip
        self.shape(host)
        for (source, target), pair in self.pairs.items():
            if source == host.name:
                self.shape_pair(host, self.hosts[target], pair)

    @staticmethod
    def disconnect(host: LabHost) -> None:
        if host.net >= 0:
            os.close(host.net)
            host.net = -1
            command("ip", "link", "del", host.port, check=False)

    def shape(self, host: LabHost) -> None:
        """Sets a link's state and its rates: the way up on the host's own side, the way down on the bridge's."""
        up, down = host.rates()
        script = [
            f"class replace dev eth0 parent 1: classid 1:ffff {htb(up)}",
            f"class replace dev eth0 parent 1:ffff classid 1:1 {htb(up)}",
            f"qdisc replace dev eth0 parent 1:1 {bfifo(up)}",
        ]
        has_htb = "qdisc htb" in command("tc", "qdisc", "show", "dev", "eth0", net=host.net)
        if not has_htb:
            script.insert(0, "qdisc replace dev eth0 root handle 1: htb default 1")
        slow_pairs = any(pair.get("mbps") for (source, _to), pair in self.pairs.items() if source == host.name)
        if has_htb or slow_pairs or up is not None:
            command("tc", "-batch", "-", net=host.net, stdin="\n".join(script))
        if down is None:
            command("tc", "qdisc", "del", "dev", host.port, "root", check=False)
        else:
            command("tc", "qdisc", "replace", "dev", host.port, "root", *tbf(down).split())
        command("ip", "link", "set", host.port, "down" if host.cut else "up")

    def shape_pair(self, source: LabHost, target: LabHost, pair: dict[str, t.Any]) -> None:
        """Traffic of one direction only; the other direction is another pair."""
        if source.net < 0:
            return
        number = 0x10 + target.index
        # A neighbour nobody answers for drops in silence. A route would tell the sender at once.
        if pair.get("cut"):
            dead = ("lladdr", DEAD_MAC, "dev", "eth0", "nud", "permanent")
            command("ip", "neigh", "replace", target.address, *dead, net=source.net)
        else:
            command("ip", "neigh", "del", target.address, "dev", "eth0", net=source.net, check=False)
        class_id = f"1:{number:x}"
        where = ("dev", "eth0", "parent", "1:", "protocol", "ip", "prio", str(number))
        if pair.get("mbps"):
            self.shape(source)
            for line in (
                f"class replace dev eth0 parent 1:ffff classid {class_id} {htb(pair['mbps'])}",
                f"qdisc replace dev eth0 parent {class_id} {bfifo(pair['mbps'])}",
            ):
                command("tc", *line.split(), net=source.net)
            command("tc", "filter", "del", *where, net=source.net, check=False)
            match = ("u32", "match", "ip", "dst", f"{target.address}/32", "flowid", class_id)
            command("tc", "filter", "add", *where, *match, net=source.net)
        else:
            command("tc", "filter", "del", *where, net=source.net, check=False)
            command("tc", "class", "del", "dev", "eth0", "classid", class_id, net=source.net, check=False)


def htb(mbps: float | None) -> str:
    rate = f"{mbps * 1000:.0f}kbit" if mbps else "100gbit"
    size = burst(mbps) if mbps else 4_000_000
    return f"htb rate {rate} ceil {rate} burst {size} cburst {size} quantum 60000"


def bfifo(mbps: float | None) -> str:
    return f"bfifo limit {max(int(mbps * 1e6 / 8 * 0.06), 131072) if mbps else 8_000_000}"


def tbf(mbps: float) -> str:
    return f"tbf rate {mbps * 1000:.0f}kbit burst {burst(mbps)} latency 60ms"


def burst(mbps: float) -> int:
    return max(int(mbps * 1e6 / 8 * 0.016), 16384)
