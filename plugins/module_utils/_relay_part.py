# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A host's part of the plan, as modules take it and nodes want it."""

from __future__ import annotations

import typing as t

from ._errors import InvalidOption
from ._module import checked_pools, pool_path
from ._names import check_sha256
from ._relay.download.stripes import MAX_STRIPES

BASES: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "metadata": {"type": "dict", "required": True},
        "pool": {"type": "str", "required": True},
        "parents": {"type": "list", "elements": "raw", "default": []},
        "weights": {"type": "list", "elements": "float", "default": []},
        "expected_mbps": {"type": "float"},
        "children": {"type": "list", "elements": "str", "default": []},
    },
}
LIMITS: dict[str, t.Any] = {"rate_mbps": {"type": "float"}, "links": {"type": "dict"}, "streams": {"type": "int"}}


def bases(params: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The option O(bases), checked as far as the node relies on it, with the paths of the pools."""
    pools = checked_pools(params["pools"])
    checked = []
    for number, base in enumerate(params["bases"]):
        option = f"bases[{number}].metadata"
        metadata = base["metadata"]
        for key in ("sha256", "chunks_sha256"):
            check_sha256(f"{option}.{key}", metadata.get(key))
        for key in ("size_bytes", "chunk_bytes"):
            if not isinstance(metadata.get(key), int) or metadata[key] < (1 if key == "chunk_bytes" else 0):
                raise InvalidOption(f"{option}.{key}", metadata.get(key), "it has to be a number of bytes")
        path = pool_path(pools, base["pool"], f"bases[{number}].pool")
        check_stripes(f"bases[{number}]", base)
        hosts = {key: base[key] for key in ("parents", "weights", "expected_mbps", "children")}
        checked.append({"metadata": metadata, "pool": base["pool"], "pool_path": path, **hosts})
    return checked


def check_stripes(option: str, base: t.Mapping[str, t.Any]) -> None:
    parents, weights, expected = base["parents"], base["weights"], base["expected_mbps"]
    names = all(isinstance(host, str) for host in parents)
    lists = all(isinstance(stripe, list) and all(isinstance(host, str) for host in stripe) for stripe in parents)
    if not names and not lists:
        raise InvalidOption(f"{option}.parents", parents, "it is a list of hosts, or a list of such lists")
    stripes = 1 if names else len(parents)
    if stripes > MAX_STRIPES:
        raise InvalidOption(f"{option}.parents", f"{stripes} lists", f"at most {MAX_STRIPES} stripes are possible")
    if weights and (len(weights) != stripes or min(weights) < 0 or not 0 < sum(weights) < float("inf")):
        raise InvalidOption(
            f"{option}.weights", weights, f"it needs one number for each of the {stripes} stripes, none negative, not all 0"
        )
    if expected is not None and not 0 < expected < float("inf"):
        raise InvalidOption(f"{option}.expected_mbps", expected, "it has to be greater than 0")


def limits(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The limits that are given; others stay as they are."""
    for option in ("rate_mbps", "streams"):
        if params[option] is not None and not 0 <= params[option] < float("inf"):
            raise InvalidOption(option, params[option], "it is 0 for no limit, or greater")
    given = {option: params[option] for option in ("rate_mbps", "links", "streams") if params[option] is not None}
    if "links" in given:
        given["links"] = {peer: link_rate(f"links.{peer}", mbps) for peer, mbps in given["links"].items()}
    return given


def link_rate(option: str, value: t.Any) -> float:
    try:
        mbps = float(value)
    except (TypeError, ValueError):
        mbps = -1.0
    if not 0 <= mbps < float("inf"):
        raise InvalidOption(option, value, "it is a number of 10^6 bits per second, 0 for no limit")
    return mbps
