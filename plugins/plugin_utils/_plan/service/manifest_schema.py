# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""JSON Schema (draft 2020-12) of the service manifest, format 1.

Every ``description`` completes the sentence "… is not accepted; <description>", and every example what follows the key in a manifest:
the error messages are made from them.
"""

from __future__ import annotations

import typing as t

from ....module_utils._machine import health
from ....module_utils._machine.hardware import attached, cards, drives, table
from ....module_utils._names import HOST_LABEL_RULE, NAME_RULE
from ....module_utils._urls import COMPRESSIONS
from . import addresses, customization, scale_rules

# "$" alone would let a line end pass: Python's stands before the last one too.
_END = r"$(?!\n)"
_NAME = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}" + _END,
    "description": f"a name has {NAME_RULE}",
}
_LABEL = {
    "type": "string",
    "pattern": r"^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?" + _END,
    "description": f"it becomes part of host names and has {HOST_LABEL_RULE}",
}
_SHA256 = {
    "type": "string",
    "pattern": "^[0-9a-f]{64}" + _END,
    "description": "a SHA-256 digest has 64 lower-case hexadecimal digits",
}
_FORMAT = {
    "enum": ["raw", "qcow2", "vmdk", "vpc", "vhdx"],
    "description": "an image format is one of raw, qcow2, vmdk, vpc (vhd) and vhdx",
}
_COMPRESSION = {
    "enum": list(COMPRESSIONS),
    "description": "a compression is one of auto (by the suffix of the name), none, gzip, xz, zstd and bzip2",
}
_TEXT = {"type": "string", "minLength": 1, "description": "a non-empty string is wanted"}
_LINE = {"type": "string", "pattern": r"^[^/\x00-\x1f]+" + _END}

SOURCE_RULE = "a source has host and path, or url, or controller, or machine and service"
# A source has exactly one of these forms; which one is decided by the key that names the place.
SOURCE_FORMS: dict[str, dict[str, t.Any]] = {
    "url": {
        "type": "object",
        "properties": {
            "url": {
                "type": "string",
                "pattern": "^(https?|file|oci)://.+",
                "description": "a URL begins with http://, https://, file:// or oci://",
            },
            "host": {"type": "string", "minLength": 1, "description": "the inventory name of the host that fetches it"},
            "format": _FORMAT,
            "compression": _COMPRESSION,
            "mirrors": {
                "type": "array",
                "items": {"type": "string", "pattern": "^https?://.+", "description": "a mirror's URL begins with http:// or https://"},
                "description": "mirrors are a list of URLs of the same file, tried in order after url",
                "examples": ["[https://mirror.example.net/debian-12.qcow2]"],
            },
            "checksum": {
                "type": "string",
                "pattern": "^((sha256|sha384|sha512):)?([0-9A-Fa-f]{64}|[0-9A-Fa-f]{96}|[0-9A-Fa-f]{128}|https?://.+)" + _END,
                "description": "a checksum of the file as it is downloaded is sha256:…, sha384:… or sha512:…, or the URL of a list of them",
            },
            "secret": {"type": "boolean", "description": "true (the path of the URL is shown nowhere) or false is expected"},
            "ca": {**_TEXT, "description": "certificates in PEM form are expected, as text"},
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    "machine": {
        "type": "object",
        "properties": {
            "machine": {**_LABEL, "description": f"the name of a machine has {HOST_LABEL_RULE}"},
            "service": _LABEL,
            "disk": _NAME,
            "flatten": {"type": "boolean", "description": "true (a base without a parent) or false is expected"},
        },
        "required": ["machine", "service"],
        "additionalProperties": False,
    },
    "controller": {
        "type": "object",
        "properties": {
            "controller": {**_TEXT, "description": "a path on the controller, absolute or relative to the manifest"},
            "format": _FORMAT,
            "compression": _COMPRESSION,
        },
        "required": ["controller"],
        "additionalProperties": False,
    },
    "host": {
        "type": "object",
        "properties": {
            "host": {"type": "string", "minLength": 1, "description": "the inventory name of a host is wanted"},
            "path": {"type": "string", "minLength": 1, "description": "a path on that host, absolute or relative to its pool"},
            "pool": _NAME,
            "format": _FORMAT,
            "compression": _COMPRESSION,
        },
        "required": ["host", "path"],
        "additionalProperties": False,
    },
}

_LABELS = {
    "description": "labels are a list of texts, or a mapping of them",
    "examples": ["[ssd]"],
    "oneOf": [
        {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
        {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
    ],
}

_NAMES = {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}

# Where machines may go. A group's keys stand over those of the service.
_RULES: dict[str, dict[str, t.Any]] = {
    "labels": {**_LABELS, "description": "labels that a host must have are a list of texts, or a mapping", "examples": ["[ssd]"]},
    "avoid": {**_NAMES, "description": "hosts, or labels of hosts, to avoid are a list", "examples": ["[kvm1]"]},
    "spread": {
        "type": "object",
        "description": "spread is a mapping of by and at_most",
        "examples": ["{by: site, at_most: 1}"],
        "properties": {
            "by": {**_TEXT, "description": "machines are spread by site, by host, or by a key of the hosts' labels"},
            "at_most": {"type": "integer", "minimum": 1, "maximum": 10000, "description": "a whole number from 1 to 10000 is wanted"},
            "of": {**_NAME, "description": f"the name of a set that several groups share has {NAME_RULE}"},
        },
        "required": ["by", "at_most"],
        "additionalProperties": False,
    },
    "anti_affinity": {
        "description": "anti_affinity is true, or the name of a set of which each host gets at most one machine",
        "oneOf": [{"type": "boolean"}, {"type": "string", "minLength": 1}],
    },
    "together_with": {
        "description": "together_with is a list of groups, or a mapping of groups and by",
        "examples": ["[db]"],
        "oneOf": [
            {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            {
                "type": "object",
                "properties": {"groups": _NAMES, "by": {"type": "string", "minLength": 1}},
                "required": ["groups"],
                "additionalProperties": False,
            },
        ],
    },
    "pools": {**_NAMES, "description": "the pools among which disks without one may go are a list of names", "examples": ["[default]"]},
    "prefer": {
        "enum": ["spread", "pack", "soonest"],
        "description": "spread (as many on each host), pack (few hosts) or soonest (least time to bring bases) is wanted",
    },
}

_GROUP_PLACEMENT = {
    "type": "object",
    "description": "placement is a mapping of rules",
    "examples": ["{anti_affinity: true}"],
    "properties": _RULES,
    "additionalProperties": False,
}

_SERVICE_PLACEMENT = {
    **_GROUP_PLACEMENT,
    "properties": {
        **_RULES,
        "partial": {"type": "boolean", "description": "true (place what fits) or false is wanted"},
    },
}

_DISK = {
    "type": "object",
    "description": "a disk is a mapping",
    "examples": ["{name: root, base: debian-12}"],
    "properties": {
        "name": _NAME,
        "base": _NAME,
        "size_gib": {
            "type": "number",
            "minimum": 0.001,
            "maximum": 65536,
            "description": "a size is a number of GiB from 0.001 (1 MiB) to 65536",
        },
        "differencing": {"type": "boolean", "description": "true or false is wanted"},
        "pool": {
            "description": "a pool is a name, or a mapping with the labels that it must have",
            "examples": ["default"],
            "oneOf": [
                _NAME,
                {"type": "object", "properties": {"labels": _LABELS}, "required": ["labels"], "additionalProperties": False},
            ],
        },
        "backend": {"enum": ["qcow2", "reflink"], "description": "a backend is qcow2 or reflink"},
        "block": attached.BLOCK_SCHEMA,
        "volume": attached.VOLUME_SCHEMA,
        **drives.SCHEMAS,
    },
    "required": ["name"],
    "anyOf": [{"required": ["base"]}, {"required": ["size_gib"]}, {"required": ["block"]}, {"required": ["volume"]}],
    "additionalProperties": False,
}

_NETWORK = {
    "type": "object",
    "description": "a network is a mapping with one of network, open_vswitch, bridge and macvtap",
    "examples": ["{network: default}"],
    "properties": {
        **cards.schemas(),
        **addresses.SCHEMAS,
        "model": cards.MODEL,
        "macs": {
            "type": "object",
            "description": "macs is a mapping of machines and their addresses",
            "examples": ["{web-1: '52:54:00:12:34:56'}"],
            "additionalProperties": {
                "type": "string",
                "pattern": cards.MAC_PATTERN,
                "description": "a MAC address of one card, such as '52:54:00:12:34:56' (in quotes), is wanted; none that begins with fe",
            },
        },
    },
    "oneOf": [{"required": [name]} for name in cards.KIND_NAMES],
    "additionalProperties": False,
}

_CLOUD_INIT = {
    "type": "object",
    "description": "cloud_init is a mapping of user_data, vendor_data, meta_data, network_config, templates and allow_degraded",
    "examples": ["{user_data: {hostname: web}}"],
    "properties": {
        "user_data": {
            "type": ["object", "string"],
            "description": "user data is a mapping (cloud-config) or a string",
            "examples": ["{hostname: web}"],
        },
        "vendor_data": {"type": "string", "description": "vendor data is a string"},
        "meta_data": {"type": "object", "description": "meta data is a mapping", "examples": ["{local-hostname: web}"]},
        "network_config": {"type": "object", "description": "a network configuration is a mapping", "examples": ["{version: 2}"]},
        "templates": {
            "type": "boolean",
            "description": "true ({{ host }} and the like are filled in) or false (all braces are the guest's) is expected",
        },
        "allow_degraded": {"type": "boolean", "description": "true or false is expected"},
    },
    "additionalProperties": False,
}

# Of a group of machines: a machine is copied as a whole.
GROUP_SOURCE_RULE = "a group's source has machine, or domain and host, or template and version"
_GROUP_SOURCE = {
    "type": "object",
    "description": GROUP_SOURCE_RULE,
    "examples": ["{machine: web-1, service: shop}"],
    "properties": {
        "machine": {**_LABEL, "description": f"the name of a machine has {HOST_LABEL_RULE}"},
        "service": _LABEL,
        "domain": {**_LINE, "description": "the name of a libvirt domain, one line without a slash, is wanted"},
        "host": {"type": "string", "minLength": 1, "description": "the inventory name of the host with the domain is wanted"},
        "template": {**_NAME, "description": f"the name of a template has {NAME_RULE}"},
        "version": {**_NAME, "description": f"a version is a string (quote it) that has {NAME_RULE}"},
    },
    "additionalProperties": False,
}

_COUNT = {"type": "integer", "minimum": 1, "maximum": 10000, "description": "a whole number from 1 to 10000 is wanted"}

_MACHINE = {
    "type": "object",
    "description": "a group of machines is a mapping",
    "examples": ["{name: web, count: 2, disks: [{name: root, base: debian-12}]}"],
    "properties": {
        "name": _LABEL,
        "hosts": {
            "description": "hosts are a list of host or group names, or one group's name",
            "examples": ["[kvm1, kvm2]"],
            "oneOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            ],
        },
        "per_host": _COUNT,
        "count": _COUNT,
        "cpus": {
            "type": "integer",
            "minimum": 1,
            "maximum": 4096,
            "description": "a whole number of virtual CPUs from 1 to 4096 is wanted",
        },
        "memory_mib": {
            "type": "integer",
            "minimum": 16,
            "maximum": 2**30,
            "description": "a whole number of MiB from 16 to 1073741824 (1 PiB) is wanted",
        },
        **table.schemas(),
        "disks": {
            "type": "array",
            "minItems": 1,
            "items": _DISK,
            "description": "a list of at least one disk is wanted",
            "examples": ["[{name: root, base: debian-12}]"],
        },
        "networks": {
            "type": "array",
            "items": _NETWORK,
            "description": "a list of networks is wanted",
            "examples": ["[{network: default}]"],
        },
        "source": _GROUP_SOURCE,
        "customize": customization.SCHEMA,
        "cloud_init": _CLOUD_INIT,
        "ignition": customization.IGNITION_SCHEMA,
        "cloudbase": customization.CLOUDBASE_SCHEMA,
        "health": health.SCHEMA,
        "after": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "minLength": 1, "description": "the name of a group of machines of this manifest is wanted"},
            "description": "after is a list of groups whose machines have to be there and healthy before these start",
            "examples": ["[db]"],
        },
        "placement": _GROUP_PLACEMENT,
        "scale": scale_rules.SCHEMA,
    },
    "required": ["name"],
    "anyOf": [{"required": ["disks"]}, {"required": ["source"]}],
    "additionalProperties": False,
}

MANIFEST: dict[str, t.Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "description": "a manifest is a mapping",
    "examples": ["format: 1"],
    "properties": {
        "$schema": {"type": "string", "description": "the schema's address is a string; editors read it"},
        "format": {"const": 1, "description": "this version of basecast.fleet reads format 1: write format: 1"},
        "service": _LABEL,
        "tenant": _NAME,
        "bases": {
            "type": "array",
            "description": "a list of bases is wanted",
            "examples": ["[{name: debian-12, version: '1', source: {host: kvm1, path: debian-12.qcow2}}]"],
            "items": {
                "type": "object",
                "description": "a base is a mapping",
                "examples": ["{name: debian-12, version: '1', source: {host: kvm1, path: debian-12.qcow2}}"],
                "properties": {
                    "name": _NAME,
                    "version": {**_NAME, "description": f"a version is a string (quote it) that has {NAME_RULE}"},
                    "source": {
                        "type": "object",
                        "description": SOURCE_RULE,
                        "examples": ["{host: kvm1, path: debian-12.qcow2}"],
                    },
                    "sha256": _SHA256,
                    "parent": {
                        "type": "object",
                        "description": "the parent of a base is a mapping of name and version",
                        "examples": ["{name: debian-12, version: '1'}"],
                        "properties": {
                            "name": _NAME,
                            "version": {**_NAME, "description": f"a version is a string (quote it) that has {NAME_RULE}"},
                        },
                        "required": ["name", "version"],
                        "additionalProperties": False,
                    },
                    "pool": {**_NAME, "description": f"the name of the pool into which hosts get the base has {NAME_RULE}"},
                },
                "required": ["name", "version"],
                "additionalProperties": False,
            },
        },
        "placement": _SERVICE_PLACEMENT,
        "on_failure": {
            "enum": ["keep", "roll_back"],
            "description": "keep (what has come up stays) or roll_back (what this run made is removed if a machine fails) is wanted",
        },
        "machines": {
            "type": "array",
            "minItems": 1,
            "items": _MACHINE,
            "description": "a list of at least one group of machines is wanted",
            "examples": ["[{name: web, count: 2, disks: [{name: root, base: debian-12}]}]"],
        },
    },
    "required": ["format", "service", "machines"],
    "additionalProperties": False,
}
