# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Paths that a user chose: who gets a base from whom, whatever was measured."""

from __future__ import annotations

import itertools
import typing as t
from collections.abc import Collection, Iterable, Sequence

Links = list[tuple[str, str]]
OPTION = "basecast_paths"


def links_of(paths: Iterable[Sequence[str]]) -> Links:
    """The (sender, receiver) pairs of the paths, each once."""
    return list(dict.fromkeys((str(a), str(b)) for path in paths for a, b in itertools.pairwise(path)))


def mistakes(paths: object, hosts: Collection[str]) -> list[str]:
    """What is wrong with the paths, as sentences; none where they can be followed."""
    if not isinstance(paths, (list, tuple)):
        return [f"{OPTION}: invalid value {paths!r}; expected a list of paths, each a list of hosts: [[kvm1, kvm2, kvm3]]"]
    found: list[str] = []
    for number, path in enumerate(paths):
        place = f"{OPTION}[{number}]"
        if not isinstance(path, (list, tuple)) or len(path) < 2 or len(set(map(str, path))) < len(path):
            found.append(f"{place}: invalid value {path!r}; expected two or more hosts, each once, in the order of the relay")
            continue
        unknown = [str(host) for host in path if str(host) not in hosts]
        if unknown:
            found.append(f"{place}: invalid value {', '.join(unknown)}; expected hosts of this run: {', '.join(hosts)}")
    return found or _contradictions(links_of(paths))


def _contradictions(links: Links) -> list[str]:
    senders: dict[str, str] = {}
    for a, b in links:
        if senders.setdefault(b, a) != a:
            return [f"{OPTION}: {b} is to get its bases from {senders[b]} and from {a}; expected one sender for each host"]
    for start in senders:
        at, seen = start, {start}
        while at in senders:
            at = senders[at]
            if at in seen:
                return [f"{OPTION}: {' and '.join(sorted(seen))} would wait for each other; expected paths that begin at a holder"]
            seen.add(at)
    return []


def refused(fixed: Sequence[Sequence[str]], hosts: Sequence[str], lost_links: Collection[tuple[str, str]] = ()) -> list[list[t.Any]]:
    """Matrix exceptions ``[from, to, None]`` that leave a host with a fixed path only the chosen way in.

    A link of a fixed path that is lost, or whose sender is not among the hosts, is not insisted on: its host is served as
    the plan finds best.
    """
    chosen = {b: a for a, b in fixed if a in hosts and b in hosts and (a, b) not in lost_links}
    return [[other, b, None] for b, a in chosen.items() for other in hosts if other not in (a, b)]
