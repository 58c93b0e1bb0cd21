# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""What a caller of the placement hands over beside the manifest, as JSON Schemas.

The survey of this collection is one caller; another tool that knows its hosts from elsewhere is another. Errors name the place of what
is wrong. Only what the placement reads of a host is checked; other keys pass.
"""

from __future__ import annotations

import typing as t

from ..json_schema import Schema, check
from .quota import LIMITS


def _mapping(description: str, each: Schema | None = None, null: bool = False, **keys: Schema) -> Schema:
    kinds = ["object", "null"] if null else "object"
    return {"type": kinds, "description": description, "properties": keys, "additionalProperties": each if each is not None else {}}


def _list(description: str, each: Schema, **more: t.Any) -> Schema:
    return {"type": ["array", "null"], "description": description, "items": each, **more}


FLAG: Schema = {"type": ["boolean", "null"], "description": "true or false"}
NAME: Schema = {"type": "string", "description": "a name"}
TEXT: Schema = {"type": ["string", "number", "null"], "description": "text"}
AMOUNT: Schema = {"type": ["number", "null"], "minimum": 0, "description": "a number of at least 0"}
RATIO: Schema = {"type": ["number", "null"], "exclusiveMinimum": 0, "description": "a number above 0"}

LABELS: Schema = {
    "description": "a list of labels, or a mapping of keys to values,",
    "anyOf": [
        {"type": ["string", "null"]},
        {"type": "array", "items": {"type": ["string", "number"]}},
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
    ],
}

_AMOUNTS = _mapping("a mapping with bytes and growth_bytes", bytes=AMOUNT, growth_bytes=AMOUNT)
_CLAIM = _mapping(
    "a mapping with cpus, memory_mib, hugepages_mib and pools",
    cpus=AMOUNT,
    memory_mib=AMOUNT,
    machines=AMOUNT,
    disk_bytes=AMOUNT,
    hugepages_mib=_mapping("a mapping of sizes to MiB", AMOUNT, null=True),
    pools=_mapping("a mapping of pools to bytes and growth_bytes", _AMOUNTS, null=True),
)
_DOMAIN = _mapping("a mapping with cpus and memory_mib", cpus=AMOUNT, memory_mib=AMOUNT, disk_bytes=AMOUNT)
_NUMBER: Schema = {"type": ["integer", "null"], "minimum": 0, "description": "a whole number of at least 0"}
_MACHINE = _mapping("a mapping with the machine's name and group", machine=TEXT, name=TEXT, group=TEXT, number=_NUMBER)
_ASSIGNMENT = {
    **_mapping("a mapping with group, number and host", group=NAME, number={**_NUMBER, "type": "integer"}, host=NAME),
    "required": ["group", "number", "host"],
}
_RECORD = _mapping(
    "a mapping with service, generation and assignments",
    null=True,
    generation=AMOUNT,
    assignments=_mapping("a mapping of machines to group, number and host", _ASSIGNMENT, null=True),
)
_BASE_NAME = {**_mapping("a mapping with tenant, name and version", NAME), "required": ["tenant", "name", "version"]}
_BASE = {
    **_mapping("a mapping with the base's sha256 and names", sha256=NAME, names=_list("a list of names", _BASE_NAME)),
    "required": ["sha256"],
}
_SPACE = _mapping(
    "a mapping with exists, writable, free_bytes, reserve_bytes and promised_bytes",
    null=True,
    exists=FLAG,
    writable=FLAG,
    free_bytes=AMOUNT,
    reserve_bytes=AMOUNT,
    promised_bytes=AMOUNT,
)
_CAPACITY = _mapping(
    "a mapping with cpus, memory_mib and pools",
    null=True,
    cpus=AMOUNT,
    memory_mib=AMOUNT,
    load_1m=AMOUNT,
    pools=_mapping("a mapping of pools to what is free in them", _SPACE, null=True),
)
_POOL = _mapping("a mapping with the pool's bases", bases=_list("a list of bases", _BASE), storage=TEXT)

_LINK = {
    **_mapping("a link with from, to and mbps"),
    "properties": {"from": NAME, "to": NAME, "mbps": AMOUNT, "latency_s": AMOUNT, "age_s": AMOUNT},
    "required": ["from", "to"],
}

_HOST = _mapping(
    "a mapping of what is known of the host",
    reachable=FLAG,
    known=FLAG,
    capacity=_CAPACITY,
    pools=_mapping("a mapping of pools to their bases", _POOL, null=True),
    domains=_list("a list of what domains have", _DOMAIN),
    machines=_list("a list of machines", _MACHINE),
    record=_RECORD,
    offers=_mapping(
        "a mapping with hugepages_mib",
        null=True,
        hugepages_mib=_mapping("a mapping of sizes to MiB", {**AMOUNT, "type": "number"}, null=True),
    ),
    claims=_list("a list of claims", _CLAIM),
    site=TEXT,
    labels=LABELS,
    maintenance=FLAG,
    pool_labels=_mapping("a mapping of pools to labels", LABELS, null=True),
    overcommit=_mapping(
        "a mapping with cpus, memory and pools",
        null=True,
        cpus=RATIO,
        memory=RATIO,
        pools={
            "description": "a number above 0, or one by pool,",
            "anyOf": [RATIO, {"type": "object", "additionalProperties": RATIO}],
        },
    ),
    members=_mapping("a mapping of named sets to numbers of machines", {**AMOUNT, "type": "number"}, null=True),
    measured=_mapping(
        "a mapping with links",
        null=True,
        links=_list("a list of links", _LINK),
        disk_read_mbps=AMOUNT,
        disk_write_mbps=AMOUNT,
        disks_age_s=AMOUNT,
        cpus=AMOUNT,
        load_1m=AMOUNT,
        memory_available_mib=AMOUNT,
    ),
)

HOSTS = _mapping("a mapping of host names to what is known of each", _HOST)
GROUPS = _mapping("a mapping of groups to lists of host names", {**_list("a list of host names", NAME), "type": "array"})
_SECONDS = _mapping("a mapping of storages or hosts to seconds", AMOUNT)
BRING = _mapping("a mapping of layers to seconds by storage or host", _SECONDS, null=True)
# A limit under a misspelt name would be none.
_QUOTA: Schema = {
    "type": "object",
    "description": "a mapping of machines, cpus, memory_mib and disk_gib to numbers",
    "properties": dict.fromkeys(LIMITS, AMOUNT),
    "additionalProperties": False,
}
QUOTAS = _mapping("a mapping of tenants to limits", _QUOTA)


def check_request(hosts: object, groups: object, bring: object = None, quotas: object = None, memory_overcommit: object = None) -> None:
    """Refuses what the placement cannot read. :raises InvalidOption: with the place of the first mistake."""
    check("hosts", hosts, HOSTS)
    check("groups", groups, GROUPS)
    check("bring", bring, BRING)
    check("quotas", quotas or {}, QUOTAS)
    check("memory_overcommit", memory_overcommit, RATIO)
