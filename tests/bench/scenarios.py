# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is measured: hosts, links, file, and which tools take part. Pure data."""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass, replace

MIB = 1024 * 1024

Kind = t.Literal["spread", "sites", "kill", "single", "memory", "deploy", "survey", "clone"]

OURS = ("relay", "relay-staged")
PEERS = (
    "mbuffer", "uftp", "udpcast", "taktuk-chain", "aria2", "taktuk-tree", "rsync", "nbdcopy", "clush", "clush-tree",
)  # fmt: skip


class UnknownName(ValueError):
    """A scenario or a tool that does not exist."""


@dataclass(frozen=True)
class Scenario:
    """One measurement.

    :param receivers: hosts that get the file; the source is one more.
    :param rate_mbps: of every host's link, each way; None is unshaped.
    :param between_mbps: of the one link between two sites, each way; half of all hosts are in each.
    :param size_mib: of the file.
    :param repeat: runs of each tool; tools whose runs are long by their nature have one.
    :param data_mib: of the file's begin; the rest are zero bytes, which take no room on disk. None: all of it.
    :param most_s: how long one run may take by plan: a tool that copies to one host after another gets a smaller file.
    """

    name: str
    title: str
    kind: Kind
    receivers: int
    rate_mbps: float | None
    size_mib: int
    tools: tuple[str, ...]
    repeat: int = 1
    between_mbps: float | None = None
    most_s: float = 60.0
    data_mib: int | None = None

    @property
    def data_bytes(self) -> int:
        """The bytes of the file that take room."""
        return (self.data_mib or self.size_mib) * MIB

    @property
    def size_bytes(self) -> int:
        return self.size_mib * MIB

    @property
    def narrowest_mbps(self) -> float | None:
        return self.between_mbps or self.rate_mbps

    def limit_s(self, size_bytes: int) -> float | None:
        """The physical limit: the file's bits over the rate of the narrowest link that all of them have to cross."""
        return size_bytes * 8 / (self.narrowest_mbps * 1e6) if self.narrowest_mbps else None

    def size_for(self, copies: float) -> int:
        """Bytes of the file for a tool that needs the time of so many copies, one after another.

        Halved until a run is short enough, to at least 4 MiB: the ratio to the limit hardly depends on the size where
        copies follow each other.
        """
        size, limit = self.size_bytes, self.limit_s(self.size_bytes) or 0.0
        while size > 4 * MIB and limit * copies > self.most_s:
            size, limit = size // 2, limit / 2
        return size


FULL = (
    Scenario("hosts8", "8 hosts, 200 Mbit/s each", "spread", 8, 200, 128, OURS + PEERS, repeat=3),
    Scenario("hosts16", "16 hosts, 100 Mbit/s each", "spread", 16, 100, 128, OURS + PEERS),
    Scenario("hosts32", "32 hosts, 50 Mbit/s each", "spread", 32, 50, 128, OURS + PEERS),
    Scenario(
        "sites", "two sites of 4 hosts, 20 Mbit/s between them, 200 Mbit/s inside", "sites", 7, 200, 32,
        ("relay", "mbuffer", "uftp", "udpcast", "taktuk-chain", "aria2", "rsync"), between_mbps=20,
    ),
    Scenario(
        "kill", "8 hosts, 200 Mbit/s each, one relay killed in the middle", "kill", 8, 200, 128,
        ("relay", "mbuffer", "taktuk-chain", "clush-tree", "aria2", "udpcast"), most_s=30,
    ),
    Scenario(
        "single", "one to one, unshaped", "single", 1, None, 1024,
        ("relay", "relay-plain", "scp", "rsync", "nbdcopy-tls"), repeat=3,
    ),
    Scenario(
        "memory", "200 GiB, 256 MiB of which are not zero, from one host to 16 at once", "memory", 16, None, 200 * 1024,
        ("relay-large",), data_mib=256,
    ),
    Scenario(
        "deploy", "16 machines on 8 hosts, from an image of 16 MiB, 200 Mbit/s each", "deploy", 8, 200, 16, ("deploy", "plain"),
    ),
    Scenario(
        "survey", "what one look at a host takes, on the host", "survey", 1, None, 0, ("survey", "survey-empty", "setup", "ping"), repeat=5,
    ),
    Scenario(
        "clone", "a clone of a running guest until it reports, beside a deployment", "clone", 1, None, 0,
        ("clone-virsh", "clone-deploy", "clone"), repeat=3,
    ),
)  # fmt: skip

# The same with smaller files, fewer repetitions and only the hosts that show it: a few minutes in all.
QUICK = (
    replace(FULL[0], size_mib=32, repeat=1, most_s=15),
    replace(FULL[3], size_mib=8, tools=("relay", "rsync", "mbuffer")),
    replace(FULL[4], size_mib=64, tools=("relay", "mbuffer"), most_s=15),
    replace(FULL[5], size_mib=256, repeat=1),
)


def select(words: Sequence[str], tools: Sequence[str] = ()) -> list[Scenario]:
    """The scenarios that were asked for.

    :param words: "quick" and names of scenarios; none of either means the full set.
    :param tools: only these; none means all.
    :raises UnknownName: naming what there is.
    """
    pool = QUICK if "quick" in words else FULL
    names = [word for word in words if word not in ("quick", "full")]
    known = {scenario.name: scenario for scenario in (*FULL, *pool)}
    for name in names:
        if name not in known:
            raise UnknownName(f"there is no scenario {name!r}; there are quick, full, {', '.join(known)}")
    offered = {tool for scenario in FULL for tool in scenario.tools}
    for tool in tools:
        if tool not in offered:
            raise UnknownName(f"there is no tool {tool!r}; there are {', '.join(sorted(offered))}")
    chosen = [known[name] for name in names] or list(pool)
    if tools:
        chosen = [replace(one, tools=tuple(tool for tool in one.tools if tool in tools)) for one in chosen]
    return [one for one in chosen if one.tools]
