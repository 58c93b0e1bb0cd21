# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""Limits as policy: what hosts, links and sites may carry, in mbps (10^6 bit/s)."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._errors import InvalidOption
from .. import json_data

KEYS = ("hosts", "links", "sites", "between")
PORT = '{"up_mbps": n, "down_mbps": n, "streams": n}'


def mbps_seconds(size_bytes: float, mbps: float) -> float:
    """Seconds that ``size_bytes`` take at ``mbps``."""
    return size_bytes * 8.0 / (mbps * 1e6)


class Limits:
    """Limits by host name, by pair of host names, by site, and by pair of sites (first to second)."""

    def __init__(self) -> None:
        self.up: dict[str, float] = {}
        self.down: dict[str, float] = {}
        self.streams: dict[str, int] = {}
        self.links: dict[tuple[str, str], float] = {}
        self.site_up: dict[str, float] = {}
        self.site_down: dict[str, float] = {}
        self.between: dict[tuple[str, str], float] = {}

    def __bool__(self) -> bool:
        return bool(self.up or self.down or self.streams or self.links or self.of_sites)

    @property
    def of_sites(self) -> bool:
        return bool(self.site_up or self.site_down or self.between)

    @property
    def sites(self) -> set[str]:
        """The sites that a limit names."""
        return {*self.site_up, *self.site_down, *(name for pair in self.between for name in pair)}

    @property
    def hosts(self) -> set[str]:
        """Hosts with a limit of their own, or of one of their links."""
        return {*self.up, *self.down, *self.streams, *(name for pair in self.links for name in pair)}

    def add(self, value: object, known: Mapping[str, int], option: str = "limits") -> None:
        """Merge limits; one may only tighten what is there already.

        ``{"hosts": {host: {"up_mbps", "down_mbps", "streams"}}, "links": [[from, to, mbps]], "sites": {site:
        {"up_mbps", "down_mbps"}}, "between": [[site, site, mbps]]}``, or just ``{host: {...}}``. ``streams``: to how many
        others a host sends at a time.

        :param known: the hosts that there are.
        """
        if value is None:
            return
        if not isinstance(value, Mapping):
            accepted = f"{{host: {PORT}}} or a dictionary with any of {', '.join(KEYS)} is wanted"
            raise InvalidOption(option, json_data.shown(value), accepted)
        if not set(value) <= set(KEYS) or (set(value) & set(known)):
            value = {"hosts": value}
        for key, up, down in (("hosts", self.up, self.down), ("sites", self.site_up, self.site_down)):
            given = value.get(key) or {}
            if not isinstance(given, Mapping):
                raise InvalidOption(f"{option}.{key}", json_data.shown(given), f"{{name: {PORT}}} is wanted")
            for name, values in given.items():
                json_data.names(f"{option}.{key}", [name], known if key == "hosts" else None)
                self._port(f"{option}.{key}.{name}", str(name), values, up, down)
                if key == "hosts" and values.get("streams") is not None:
                    most = int(json_data.number(f"{option}.{key}.{name}.streams", values["streams"], zero=False, integer=True))
                    self.streams[str(name)] = min(most, self.streams.get(str(name), most))
        for key, table in (("links", self.links), ("between", self.between)):
            self._pairs(f"{option}.{key}", value.get(key) or [], known if key == "links" else None, table)

    @staticmethod
    def _port(option: str, name: str, values: object, up: dict[str, float], down: dict[str, float]) -> None:
        if not isinstance(values, Mapping) or not set(values) <= {"up_mbps", "down_mbps", "streams"}:
            raise InvalidOption(option, json_data.shown(values), f"{PORT} is wanted")
        for key, table in (("up_mbps", up), ("down_mbps", down)):
            if values.get(key) is not None:
                mbps = json_data.number(f"{option}.{key}", values[key], zero=False)
                table[name] = min(mbps, table.get(name, math.inf))

    @staticmethod
    def _pairs(option: str, value: object, known: Mapping[str, int] | None, table: dict[tuple[str, str], float]) -> None:
        if not isinstance(value, (list, tuple)):
            raise InvalidOption(option, json_data.shown(value), "a list of [from, to, mbps] is wanted")
        for entry in value:
            if not isinstance(entry, (list, tuple)) or len(entry) != 3:
                raise InvalidOption(option, json_data.shown(entry), "[from, to, mbps] is wanted")
            a, b = json_data.names(option, list(entry[:2]), known)
            mbps = json_data.number(f"{option}[{a}, {b}]", entry[2], zero=False)
            table[a, b] = min(mbps, table.get((a, b), math.inf))

    def as_dict(self) -> dict[str, t.Any]:
        """The documented form."""
        hosts: dict[str, dict[str, t.Any]] = {name: dict(port) for name, port in _ports(self.up, self.down).items()}
        for name, most in self.streams.items():
            hosts.setdefault(name, {})["streams"] = most
        out: dict[str, t.Any] = {"hosts": hosts, "links": _listed(self.links)}
        if self.of_sites:
            out |= {"sites": _ports(self.site_up, self.site_down), "between": _listed(self.between)}
        return out


def _ports(up: Mapping[str, float], down: Mapping[str, float]) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for key, table in (("up_mbps", up), ("down_mbps", down)):
        for name, mbps in table.items():
            out.setdefault(name, {})[key] = mbps
    return out


def _listed(pairs: Mapping[tuple[str, str], float]) -> list[list[t.Any]]:
    return [[a, b, mbps] for (a, b), mbps in sorted(pairs.items())]


class SiteLoads(t.NamedTuple):
    """Sites with limits, by number: ``of[v]`` is each host's (0: none with a limit); seconds of the whole base at each
    site's limit out and in, and at that of each pair (``between[a * number + b]``); 0: no limit.
    """

    number: int
    of: list[int]
    out: list[float]
    inn: list[float]
    between: list[float]

    @property
    def any(self) -> bool:
        return self.number > 1


def site_loads(limits: Limits, site: Sequence[str], size_bytes: int | None) -> SiteLoads:
    """The limits of the sites that ``site`` names, host by host."""
    names = sorted(limits.sites & set(site)) if size_bytes else []
    number = {name: k for k, name in enumerate(names, 1)}
    count = len(names) + 1

    def seconds(mbps: float | None) -> float:
        return mbps_seconds(size_bytes, mbps) if mbps and size_bytes else 0.0

    between = [0.0] * (count * count)
    for (a, b), mbps in limits.between.items():
        if a in number and b in number:
            between[number[a] * count + number[b]] = seconds(mbps)
    return SiteLoads(
        count,
        [number.get(name, 0) for name in site],
        [0.0, *(seconds(limits.site_up.get(name)) for name in names)],
        [0.0, *(seconds(limits.site_down.get(name)) for name in names)],
        between,
    )
