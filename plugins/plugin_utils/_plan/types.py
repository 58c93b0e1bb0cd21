# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The plain data that passes between floors, as types. What may be absent is read with ``get``.

docs/measuring.md and the documentation of the filters say what each key means.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

# A transfer of a plan: ``share`` of the base (all of it by default) goes over the link in that time.
Move = t.TypedDict(
    "Move", {"from": str, "to": str, "start_s": float, "end_s": float, "share": float, "bytes": int, "resume": bool}, total=False
)


class Tree(t.TypedDict):
    """One tree of a cut-through plan, and the part of the base that goes along it."""

    weight: float
    edges: Sequence[Move]


class Relay(t.TypedDict, total=False):
    """A base that crosses the network, as service_plan names it."""

    base: str
    sha256: str
    size_bytes: int
    sources: Mapping[str, str]
    targets: Mapping[str, str]
    helpers: Mapping[str, str]
    copies: Mapping[str, Mapping[str, int]]
    metadata: Mapping[str, t.Any]
    estimated: bool
    shared_pools: Sequence[Sequence[str]]
    fixed: Sequence[Sequence[str]]


class Part(t.TypedDict):
    """What a host is to do for one base of a plan, as relay_parts says and relay_transfer takes it."""

    metadata: Mapping[str, t.Any]
    pool: str
    parents: Sequence[Sequence[str]]
    weights: Sequence[float]
    expected_mbps: float | None
    children: Sequence[str]


class Plan(t.TypedDict, total=False):
    """How a base crosses the network, as relay_plan and relay_plans make it, and relay_replan makes it again."""

    format: int
    base: str
    mode: str
    strategy: str
    contention: str
    sources: Sequence[str]
    targets: Sequence[str]
    unreachable: Sequence[str]
    helpers: Sequence[str]
    standby: Sequence[str]
    shares: Mapping[str, str]
    stages: Sequence[Sequence[Move]]
    trees: Sequence[Tree]
    parents: Mapping[str, Sequence[Sequence[str]]]
    local: Sequence[Mapping[str, t.Any]]
    links: Sequence[Mapping[str, t.Any]]
    arrivals: Mapping[str, Mapping[str, t.Any]]
    paths: Sequence[Mapping[str, t.Any]]
    whole_paths: Sequence[Mapping[str, t.Any]]
    limits: Mapping[str, t.Any]
    assumed: bool
    estimated: bool
    estimated_links: Sequence[Sequence[str]]
    proven_optimal: bool
    predicted_s: float
    lower_bound_s: float
    at_s: float
    size_bytes: int
    chunk_bytes: int
    streams: int
    copied_s: float | None


class Manifest(t.TypedDict, total=False):
    """A manifest as service_manifest returns it: checked, and with everything that it leaves out."""

    service: str
    tenant: str
    bases: Sequence[Mapping[str, t.Any]]
    machines: Sequence[Mapping[str, t.Any]]
    placement: Mapping[str, t.Any]
    on_failure: str
    quotas: Mapping[str, Mapping[str, t.Any]]
    source: str
    lines: Mapping[str, int]
    cloud_init: Mapping[str, t.Any]
    scale: Mapping[str, t.Any]
    scaled: Mapping[str, t.Any]


class PlannedMachine(t.TypedDict, total=False):
    """A machine that was asked for, and what is to become of it."""

    machine: str
    group: str
    number: int
    host: str
    state: str
    reason: str
    drift: Sequence[Mapping[str, t.Any]]
    pools: Mapping[str, str]
    place: str
    exists: bool
    uuid: str
    spec: Mapping[str, t.Any]
    report: Mapping[str, t.Any] | None
    health: Sequence[Mapping[str, t.Any]]


class Outcome(t.TypedDict, total=False):
    """What became of a host in a run, as the roles note it."""

    state: str
    step: str
    msg: str
    machines: Sequence[Mapping[str, t.Any]]
    relay: Mapping[str, t.Any] | None
    bases: Sequence[Mapping[str, t.Any]]
    failure: Mapping[str, t.Any]
    began_at: float | None
    ended_at: float | None
    cause: str


class ServicePlan(t.TypedDict, total=False):
    """A deployment as service_plan returns it."""

    format: int
    service: str
    tenant: str
    machines: Sequence[PlannedMachine]
    bases: Mapping[str, Mapping[str, t.Any]]
    hosts: Mapping[str, Mapping[str, t.Any]]
    relays: Sequence[Relay]
    relay_hosts: Sequence[str]
    ratings: Mapping[str, Sequence[Mapping[str, t.Any]]]
    group_ratings: Sequence[Mapping[str, t.Any]]
    unplaced: Sequence[Mapping[str, t.Any]]
    binds: Sequence[str]
    surplus: Sequence[Mapping[str, t.Any]]
    notes: Sequence[str]
    problems: Sequence[str]
    bad_hosts: Mapping[str, Sequence[str]]
    silent: Sequence[str]
    order: Mapping[str, t.Any]
    wanted_files: Mapping[str, t.Any]
    adoptions: Mapping[str, Sequence[Mapping[str, t.Any]]]
