# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""The structures that filters hand to each other, as JSON Schemas: what a filter needs of each to say which it was not given.

types.py names their keys. A manifest's own schema is in service/manifest_schema.py, that of a placement in
placement/request_schema.py, that of a watch in monitor/state.py.
"""

from __future__ import annotations

from .json_schema import Schema


def or_null(schema: Schema) -> Schema:
    """The same, or nothing."""
    kinds = schema["type"]
    return {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}


def mapping(description: str, *required: str, each: Schema | None = None) -> Schema:
    """A mapping that has these keys, and whose values are ``each`` of a kind."""
    found: dict[str, object] = {"type": "object", "description": description}
    if required:
        found["required"] = list(required)
    if each is not None:
        found["additionalProperties"] = each
    return found


def listing(description: str, each: Schema | None = None) -> Schema:
    """A list, and what stands in it."""
    return {"type": "array", "description": description, **({} if each is None else {"items": each})}


TEXT: Schema = {"type": "string", "description": "text"}
NUMBER: Schema = {"type": "number", "description": "a number"}
ANY_MAPPING = mapping("a dictionary")
TEXTS = listing("a list of text", TEXT)

HOST_NAMES = listing("a list of host names", TEXT)
GROUPS = or_null(mapping("a dictionary of groups and their hosts", each=HOST_NAMES))
# What modules told, by host.
LOOKS = mapping("a dictionary of host names and what each host told", each=mapping("a dictionary of what the host told"))
OUTCOMES = mapping("a dictionary of host names and what became of each", each=or_null(mapping("a dictionary of what became of the host")))
RESULTS = listing("a list of results of a loop", mapping("a result with item", "item"))

MANIFEST = mapping("a manifest that service_manifest has read", "service", "tenant", "bases", "machines")
SERVICE_PLAN = mapping("a plan of service_plan", "service", "machines", "bases", "hosts", "relays")
RELAYS = listing(
    "a list of relays, as service_plan names them,", mapping("a relay with base, sha256, sources and targets", "sources", "targets")
)
PLANS = listing("a list of plans, as relay_plans makes them,", mapping("a plan of relay_plans", "sources", "targets"))
REMOVAL = mapping("a plan of removal_plan", "service", "hosts", "machines", "unknown")
MIGRATION = mapping("a plan of migration_plan", "moves")
PRUNING = mapping("a plan of prune_plan", "hosts", "bases", "left", "unknown")
# What modules made for machines: disks, seeds.
MADE = listing("a list of what was made", mapping("a dictionary with machine and path", "machine", "path"))
WORK = mapping("the work of a host, as service_plan names it,", "machines")
ONE_MORE = mapping("a dictionary of groups and their places, as place_one_more returns it,", each=mapping("a place", "host"))
POLICY = mapping("a dictionary of limits", each=NUMBER)
# Of the plans above, what some filters need.
STOPPING = mapping("a plan of removal_plan", "service", "machines", "unknown")
MACHINES = mapping("a plan of service_plan", "machines")
POWERED_OFF = mapping(
    "a dictionary of host names and what was powered off there",
    each=listing("a list with machines and msg", mapping("a dictionary with machines", "machines")),
)
# A host that says no may say it in any form.
REASONS = mapping("a dictionary of host names and why each did not answer")
