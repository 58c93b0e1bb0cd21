# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils import _relay_part as relay_part
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption

METADATA = {"sha256": "1" * 64, "chunks_sha256": "2" * 64, "size_bytes": 10, "chunk_bytes": 4096}
BASE: dict[str, t.Any] = {
    "metadata": METADATA,
    "pool": "default",
    "parents": ["kvm2"],
    "weights": [],
    "expected_mbps": None,
    "children": ["kvm3"],
}
PARAMS = {"pools": {"default": "/srv//pool"}, "bases": [BASE]}
UNLIMITED = {"rate_mbps": None, "links": None, "streams": None}


def test_bases_come_with_the_paths_of_their_pools() -> None:
    assert relay_part.bases(PARAMS) == [
        {
            "metadata": METADATA,
            "pool": "default",
            "pool_path": "/srv/pool",
            "parents": ["kvm2"],
            "weights": [],
            "expected_mbps": None,
            "children": ["kvm3"],
        }
    ]
    striped = {**BASE, "parents": [["kvm2"], ["kvm3", "kvm2"]], "weights": [0.25, 0.75], "expected_mbps": 90.0}
    assert relay_part.bases({**PARAMS, "bases": [striped]})[0]["parents"] == [["kvm2"], ["kvm3", "kvm2"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parents": ["kvm2", ["kvm3"]]}, r"bases\[0\].parents: .* a list of hosts, or a list of such lists"),
        ({"parents": [["kvm2"], ["kvm3"]], "weights": [1.0]}, r"bases\[0\].weights: .* one number for each of the 2 stripes"),
        ({"weights": [-1.0]}, r"bases\[0\].weights"),
        ({"parents": [["kvm2"]] * 256}, r"bases\[0\].parents: .* at most 255"),
        ({"expected_mbps": 0.0}, r"bases\[0\].expected_mbps: 0.0"),
        ({"pool": "other"}, r"bases\[0\].pool: 'other' is not accepted; this host's pools are: default"),
        ({"metadata": {**METADATA, "sha256": "../x"}}, r"bases\[0\].metadata.sha256: '../x'"),
        ({"metadata": {**METADATA, "size_bytes": "1"}}, r"bases\[0\].metadata.size_bytes: '1'"),
        ({"metadata": {**METADATA, "chunk_bytes": 0}}, r"bases\[0\].metadata.chunk_bytes: 0"),
        ({"metadata": {}}, r"bases\[0\].metadata.sha256: none given"),
    ],
    ids=["parents", "too few weights", "weights", "stripes", "rate", "pool", "digest", "size", "chunk", "empty"],
)
def test_bases_are_checked(change: dict[str, t.Any], message: str) -> None:
    base = {**BASE, **change}
    with pytest.raises(InvalidOption, match=message):
        relay_part.bases({**PARAMS, "bases": [base]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate_mbps": -1.0}, "rate_mbps: -1.0 is not accepted"),
        ({"streams": -1}, "streams: -1 is not accepted"),
        ({"links": {"kvm2": "fast"}}, "links.kvm2: 'fast' is not accepted"),
        ({"links": {"kvm2": -5}}, "links.kvm2: -5 is not accepted"),
    ],
    ids=str,
)
def test_limits_are_checked(change: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        relay_part.limits({**UNLIMITED, **change})
