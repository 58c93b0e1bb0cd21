# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/schemas/service.schema.json says to an editor what the manifest's reader says later."""

from __future__ import annotations

import copy
import json
import typing as t
from pathlib import Path

import jsonschema
import pytest
import yaml
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service import manifest_schema
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest

ROOT = Path(manifest_schema.__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs/schemas/service.schema.json").read_text())
EDITOR = jsonschema.Draft202012Validator(SCHEMA)
GOOD: dict[str, t.Any] = {
    "$schema": "https://example.org/service.schema.json",
    "format": 1,
    "service": "shop",
    "bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "tiny.qcow2"}}],
    "machines": [{"name": "web", "count": 2, "disks": [{"name": "root", "base": "tiny", "size_gib": 1}]}],
}
SOURCES = [
    {"url": "https://example.org/tiny.qcow2"},
    {"url": "https://example.org/tiny.raw.xz", "mirrors": ["http://m/tiny.raw.xz"], "checksum": "https://example.org/SHA256SUMS"},
    {"url": "https://example.org/t", "compression": "zstd", "checksum": f"sha512:{'a' * 128}", "secret": True, "ca": "-----BEGIN"},
    {"url": "oci://quay.example.org/disks/tiny:1"},
    {"controller": "tiny.qcow2"},
    {"controller": "tiny.qcow2.gz", "compression": "none"},
    {"machine": "web-1", "service": "shop"},
    {"host": "kvm1", "path": "tiny.qcow2", "format": "raw"},
]


def accepts(document: t.Any) -> tuple[bool, bool]:
    """The editor's answer, and the reader's."""
    editor = EDITOR.is_valid(document)
    try:
        parse_manifest(yaml.safe_dump(document, sort_keys=False))
    except ManifestError:
        return editor, False
    return editor, True


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_readme_has_a_good_manifest() -> None:
    block = next(part for part in (ROOT / "README.md").read_text().split("```yaml\n") if "service: shop" in part).partition("```")[0]
    assert accepts(yaml.safe_load(block)) == (True, True)


@pytest.mark.parametrize("source", SOURCES)
def test_every_form_of_a_source_is_accepted(source: dict[str, t.Any]) -> None:
    assert accepts({**GOOD, "bases": [{**GOOD["bases"][0], "source": source}]}) == (True, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"servise": "shop"},
        {"machines": []},
        {"machines": [{"name": "web", "disks": [{"name": "root"}]}]},
        {"machines": [{"name": "Web_1", "disks": [{"name": "root", "size_gib": 1}]}]},
        {"bases": [{"name": "tiny", "version": 1}]},
        {"bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1"}}]},
        {"bases": [{"name": "tiny", "version": "1", "source": {"host": "kvm1", "path": "a", "url": "http://b"}}]},
        {"bases": [{"name": "tiny", "version": "1", "source": {"path": "a"}}]},
        {"placement": {"prefer": "full"}},
    ],
)
def test_what_the_reader_refuses_an_editor_marks(changes: dict[str, t.Any]) -> None:
    assert accepts({**GOOD, **changes}) == (False, False)


#: All keys of a manifest, with values that are right.
WHOLE: dict[str, t.Any] = {
    **GOOD,
    "tenant": "blue",
    "bases": [
        {**GOOD["bases"][0], "sha256": "a" * 64, "pool": "fast"},
        *({"name": f"b{n}", "version": "1", "source": source} for n, source in enumerate(SOURCES)),
    ],
    "placement": {
        "labels": ["ssd"],
        "avoid": ["kvm9"],
        "spread": {"by": "site", "at_most": 1, "of": "all"},
        "prefer": "pack",
        "partial": True,
    },
    "machines": [
        {
            "name": "web",
            "hosts": ["kvm1"],
            "count": 2,
            "cpus": 2,
            "memory_mib": 64,
            "disks": [
                {"name": "root", "base": "tiny", "size_gib": 1.5, "pool": {"labels": {"disk": "ssd"}}},
                {"name": "data", "size_gib": 2, "pool": "fast", "backend": "qcow2"},
            ],
            "networks": [{"network": "default", "model": "virtio"}, {"bridge": "br0"}],
            "cloud_init": {"meta_data": {"a": "b"}, "allow_degraded": True},
            "placement": {"anti_affinity": True, "pools": ["fast"]},
        },
        {
            "name": "core",
            "count": 1,
            "disks": [{"name": "root"}],
            "customize": "ignition",
            "ignition": {"config": {"ignition": {"version": "3.4.0"}}, "templates": True},
        },
        {"name": "win", "count": 1, "disks": [{"name": "root"}], "cloudbase": {"user_data": "rem cmd ", "network_data": {}}},
    ],
}
ODD: list[t.Any] = [None, True, 0, 2, -1, 2.0, 1.5, 10**30, "", "a", "1", "a/b", "A_b", "x" * 70, [], {}, ["a"], [1], [None], {"a": "b"}]


def places(value: t.Any, path: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    if path:
        yield path
    for key, one in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(one, (*path, key))


@pytest.mark.parametrize("path", list(places(WHOLE)), ids=str)
def test_no_odd_value_is_read_that_an_editor_marks(path: tuple[t.Any, ...]) -> None:
    """The reader looks at what a schema cannot say besides, such as names of bases."""
    for value in ODD:
        document = copy.deepcopy(WHOLE)
        holder = document
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
        try:
            parse_manifest(document)
        except ManifestError:
            continue
        assert EDITOR.is_valid(document), f"{path}: {value!r}"


def test_examples_are_values_of_their_keys() -> None:
    """Not the texts from which error messages are made."""

    def wrong(schema: t.Any, path: str) -> t.Iterator[str]:
        if isinstance(schema, dict):
            for example in schema.get("examples") or [] if path else []:
                if not jsonschema.Draft202012Validator(schema).is_valid(example):
                    yield f"{path}: {example}"
            for key, value in schema.items():
                yield from wrong(value, f"{path}.{key}") if key != "examples" else ()
        elif isinstance(schema, list):
            for at, value in enumerate(schema):
                yield from wrong(value, f"{path}[{at}]")

    assert list(wrong(SCHEMA, "")) == []
