# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan import json_schema
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest import ManifestError, parse_manifest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.manifest_schema import MANIFEST

GOOD = """\
format: 1
service: shop
bases:
  - name: debian-12
    version: "20261101"
    source: {host: kvm1, path: images/debian-12.qcow2}
machines:
  - name: web
    hosts: [kvm1, kvm2]
    per_host: 2
    memory_mib: 512
    disks:
      - {name: root, base: debian-12, size_gib: 4}
      - {name: data, size_gib: 0.5}
    cloud_init: {user_data: {hostname: x}}
"""


def errors(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text, "shop.yml")
    return t.cast("list[str]", caught.value.fields["errors"])


def test_defaults_are_filled_in() -> None:
    manifest = parse_manifest(GOOD, "shop.yml")
    group = manifest["machines"][0]
    assert manifest["tenant"] == "default"
    assert (group["cpus"], group["per_host"], group["count"]) == (1, 2, None)
    assert group["networks"] == [{"network": "default", "model": "virtio"}]
    root, data = group["disks"]
    assert root["size_bytes"] == 4 * 1024**3
    assert root["differencing"] is True
    assert root["pool"] is None  # left to the placement
    assert data["base"] is None
    assert data["differencing"] is False
    assert data["size_bytes"] == 2**29
    assert manifest["bases"][0]["source"]["kind"] == "host"
    assert manifest["bases"][0]["place"] == "shop.yml:4: bases[0]"


def test_the_parsed_mapping_is_accepted_as_well_as_its_text() -> None:
    import yaml

    parsed = parse_manifest(yaml.safe_load(GOOD), "inline")
    assert parsed["machines"][0]["place"] == "inline: machines[0]"


def test_hardware_may_be_written_as_texts() -> None:
    group = GOOD.replace("memory_mib: 512", "memory_mib: '512'\n    tpm: 2.0\n    autostart: 'no'\n    cpu: {topology: {cores: '1'}}")
    found = parse_manifest(group)["machines"][0]
    assert found["memory_mib"] == 512
    assert found["hardware"] == {"tpm": "2.0", "autostart": False, "cpu": {"topology": {"cores": 1}}}


def test_a_set_of_one_number_may_be_a_number() -> None:
    keys = "cpu: {pin: 0, pins: [1], emulator_pin: '0-1'}\n    memory: {nodes: 0, cells: [{cpus: 0, memory_mib: 512}]}"
    (group,) = parse_manifest(GOOD.replace("memory_mib: 512", f"memory_mib: 512\n    {keys}"))["machines"]
    assert group["hardware"]["cpu"] == {"pin": "0", "pins": ["1"], "emulator_pin": "0-1"}
    assert group["hardware"]["memory"] == {"nodes": "0", "cells": [{"cpus": "0", "memory_mib": 512}]}


def test_one_group_name_is_a_list_of_one() -> None:
    assert parse_manifest(GOOD.replace("[kvm1, kvm2]", "kvm"))["machines"][0]["hosts"] == ["kvm"]


def test_seed_digest_follows_the_content_and_nothing_else() -> None:
    first = parse_manifest(GOOD)["machines"][0]["seed_digest"]
    assert parse_manifest(GOOD.replace("memory_mib: 512", "memory_mib: 513"))["machines"][0]["seed_digest"] == first
    assert parse_manifest(GOOD.replace("hostname: x", "hostname: y"))["machines"][0]["seed_digest"] != first


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("format: 1", "format: 2", "shop.yml:1: format", "reads format 1"),
        ("base: debian-12, size_gib: 4", "size_gib: 4, device: cdrom", "shop.yml:13: machines[0].disks[0].device", "a cdrom needs a base"),
        ("size_gib: 4", "size_gib: 4, device: cdrom", "shop.yml:13: machines[0].disks[0].size_gib", "as large as its image"),
        ("size_gib: 4", "device: cdrom, backend: reflink", "shop.yml:13: machines[0].disks[0].backend", "not accepted for a cdrom"),
        ("size_gib: 4", "device: cd", "shop.yml:13: machines[0].disks[0].device", "a disk is a disk or a cdrom"),
        ("size_gib: 4", "device: cdrom, io: threads", "shop.yml:12: machines[0].disks", "io says how a disk is written"),
        ("service: shop", "service: ../shop", "shop.yml:2: service", "lower-case letters"),
        ("service: shop", 'service: "shop\\n"', "shop.yml:2: service", "lower-case letters"),
        ("memory_mib: 512", 'networks: [{bridge: "br0\\n"}]', "shop.yml:11: machines[0].networks[0].bridge", "at most 15 characters"),
        ("memory_mib: 512", "networks: [{bridge: ../br0}]", "shop.yml:11: machines[0].networks[0].bridge", "at most 15 characters"),
        ("memory_mib: 512", 'networks: [{network: "lan\\n"}]', "shop.yml:11: machines[0].networks[0].network", "one line"),
        ("service: shop\n", "", "shop.yml:1", "the key service is missing"),
        ("hosts: [kvm1, kvm2]", "hots: [kvm1]", "shop.yml:9: machines[0].hots", "did you mean hosts?"),
        ("memory_mib: 512", "memory_mib: lots", "shop.yml:11: machines[0].memory_mib", "MiB from 16"),
        (
            "memory_mib: 512",
            "networks: [{bridge: br0, network: lan}]",
            "shop.yml:11: machines[0].networks[0]",
            "exactly one of network, open_v",
        ),
        ("memory_mib: 512", "networks: [{bridge: br0, vlan: 5}]", "shop.yml:11: machines[0].networks[0].vlan", "use open_vswitch"),
        ("memory_mib: 512", "networks: [{open_vswitch: br0, vlan: 0}]", "shop.yml:11: machines[0].networks[0].vlan", "from 1 to 4094"),
        ("memory_mib: 512", "networks: [{macvtap: eth0, mtu: 9000}]", "shop.yml:11: machines[0].networks[0].mtu", "leave it out"),
        ("memory_mib: 512", "networks: [{network: a, queues: 2, model: e1000}]", "shop.yml:11: machines[0].networks[0].queues", "is e1000"),
        (
            "memory_mib: 512",
            "networks: [{network: a, boot: 1}, {network: b, boot: 1}]",
            "shop.yml:11: machines[0].networks[1].boot",
            "1 is taken by another card",
        ),
        (
            "memory_mib: 512",
            "networks: [{network: a, macs: {db-1: '52:54:00:00:00:01'}}]",
            "shop.yml:11: machines[0].networks[0].macs",
            "they are called web-NUMBER",
        ),
        (
            "memory_mib: 512",
            "networks: [{network: a, macs: {web-1: '53:54:00:00:00:01'}}]",
            "shop.yml:11: machines[0].networks[0].macs.web-1",
            "address of one card",
        ),
        (
            "memory_mib: 512",
            "networks: [{network: a, macs: {web-1: '52:54:00:00:00:0a', web-2: '52:54:00:00:00:0A'}}]",
            "shop.yml:11: machines[0].networks[0].macs",
            "is given to web-1 already",
        ),
        ("memory_mib: 512", "firmware: efi", "shop.yml:11: machines[0].firmware", "did you mean uefi?"),
        ("memory_mib: 512", "frimware: uefi", "shop.yml:11: machines[0].frimware", "did you mean firmware?"),
        ("memory_mib: 512", "tpm: 1.2", "shop.yml:11: machines[0].tpm", "a TPM has the version 2.0"),
        ("memory_mib: 512", "watchdog: reset", "shop.yml:11: machines[0].watchdog", "for example watchdog: {action: reset}"),
        ("memory_mib: 512", "watchdog: {acton: reset}", "shop.yml:11: machines[0].watchdog.acton", "did you mean action?"),
        ("memory_mib: 512", "firmware: uefi_secure\n    machine_type: pc", "shop.yml:11: machines[0].firmware", "it needs q35"),
        ("memory_mib: 512", "cpu: {topology: {cores: 2}}", "shop.yml:11: machines[0].cpu", "it has 2 CPUs, and cpus is 1"),
        ("memory_mib: 512", "cpu: {pin: '0-'}", "shop.yml:11: machines[0].cpu.pin", "such as 0-3,8"),
        ("memory_mib: 512", "memory: {at_start_mib: 2048}", "shop.yml:11: machines[0].memory", "more than memory_mib, which is 1024"),
        ("memory_mib: 512", "memory: {cells: [{cpus: '0'}]}", "shop.yml:11: machines[0].memory.cells[0]", "memory_mib is missing"),
        ("memory_mib: 512", "memory_mib: true", "shop.yml:11: machines[0].memory_mib", "MiB from 16"),
        ("base: debian-12,", "base: debian-13,", "shop.yml:13: machines[0].disks[0].base", "bases of this manifest are: debian-12"),
        ("name: data, size_gib: 0.5", "name: data", "shop.yml:14: machines[0].disks[1]", "one of base, size_gib, block and volume"),
        ("name: data,", "name: root,", "shop.yml:14: machines[0].disks[1].name", "'root' stands twice; names are unique here"),
        ("name: data,", "name: ../../etc,", "shop.yml:14: machines[0].disks[1].name", "a name has"),
        ('version: "20261101"', "version: 20261101", "shop.yml:5: bases[0].version", "quote it"),
        ("host: kvm1, path: images/debian-12.qcow2", "host: kvm1", "shop.yml:6: bases[0].source", "the key path is missing"),
        ("host: kvm1, path: images/debian-12.qcow2", "path: x", "shop.yml:6: bases[0].source", "host and path, or url, or controller"),
        ("host: kvm1, path: images/debian-12.qcow2", "url: ftp://x", "shop.yml:6: bases[0].source.url", "http://"),
        ("per_host: 2", "per_host: 2\n    count: 3", "shop.yml:11: machines[0].count", "exclude each other"),
        ("    hosts: [kvm1, kvm2]\n    per_host: 2\n", "", "shop.yml:8: machines[0]", "say where"),
        ("[kvm1, kvm2]", "[kvm1, kvm1]", "shop.yml:9: machines[0].hosts[1]", "stands twice"),
        ("service: shop", "service: shop\nservice: x", "shop.yml:3: service", "stands twice, first in line 2"),
        ("size_gib: 4", "size_gib: -4", "shop.yml:13: machines[0].disks[0].size_gib", "from 0.001"),
        ("size_gib: 4", "size_gib: 4, differencing: maybe", "shop.yml:13: machines[0].disks[0].differencing", "true or false"),
        ("cloud_init: {user_data", "cloud_init: {userdata", "shop.yml:15: machines[0].cloud_init.userdata", "did you mean user_data?"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_is_accepted(old: str, new: str, place: str, words: str) -> None:
    assert old in GOOD
    found = errors(GOOD.replace(old, new, 1))
    assert len(found) == 1, found
    assert found[0].startswith(place)
    assert words in found[0]


def test_all_mistakes_are_named_at_once() -> None:
    found = errors(GOOD.replace("memory_mib: 512", "memory_mib: 1").replace("size_gib: 4", "size_gib: 0"))
    assert len(found) == 2


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "42", "service: !!python/object:os.system x"])
def test_what_is_no_manifest_ends_in_a_message(text: str) -> None:
    assert errors(text)[0].startswith("shop.yml")


def test_a_missing_jsonschema_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "jsonschema", None)
    with pytest.raises(FleetError, match=r"^jsonschema: this Python package is missing on the controller; install it: ") as caught:
        parse_manifest("format: 1")
    assert str(caught.value).endswith(f"{sys.executable} -m pip install jsonschema")


SEEDED = """format: 1
service: shop
machines:
  - name: web
    hosts: [kvm1]
    disks: [{name: root, size_gib: 1}]
    cloud_init:
      CLOUD
"""


@pytest.mark.parametrize(
    ("cloud", "told"),
    [
        ("user_data: {runcmd: [true-command]}", ""),
        ('user_data: "\\uFEFF#cloud-config"', "shop.yml:8: machines[0].cloud_init.user_data: it begins with a byte order mark"),
        ('user_data: "#cloud-config\\n\\tx: y"', "shop.yml:8: machines[0].cloud_init.user_data: line 2: it begins with a tab"),
        ("user_data: echo hello", "shop.yml:8: machines[0].cloud_init.user_data: its first line is not one"),
        ("user_data: {packages: vim}", "shop.yml:8: machines[0].cloud_init.user_data: packages: a string is not accepted"),
        ("vendor_data: 'packages: [vim]'", "shop.yml:8: machines[0].cloud_init.vendor_data: its first line is not one"),
        ("meta_data: {instance-id: x}", "shop.yml:8: machines[0].cloud_init.meta_data.instance-id: it is derived"),
        ("network_config: {ethernets: {}}", "shop.yml:8: machines[0].cloud_init.network_config: a mapping with the key version"),
        ("allow_degraded: 5", "shop.yml:8: machines[0].cloud_init.allow_degraded: 5 is not accepted; true or false"),
    ],
)
def test_a_seed_that_no_guest_understands_is_a_mistake(cloud: str, told: str) -> None:
    text = SEEDED.replace("CLOUD", cloud)
    if not told:
        assert parse_manifest(text, "shop.yml")["machines"][0]["cloud_init"]
        return
    with pytest.raises(ManifestError) as error:
        parse_manifest(text, "shop.yml")
    assert told in str(error.value)


def test_what_a_guest_may_be_is_not_on_its_seed() -> None:
    strict, lax = (parse_manifest(SEEDED.replace("CLOUD", f"allow_degraded: {value}")) for value in ("false", "true"))
    assert strict["machines"][0]["seed_digest"] == lax["machines"][0]["seed_digest"]


@pytest.mark.parametrize(
    ("disk", "default", "differencing"),
    [
        ({"base": "b"}, True, True),
        ({"base": "b"}, False, False),
        ({"base": "b", "differencing": True}, False, True),
        ({"base": "b", "differencing": False}, True, False),
        ({"base": "b", "backend": "reflink"}, False, True),
        ({"size_gib": 1}, True, False),
    ],
)
def test_the_administrator_says_what_disks_are_by_default(disk: dict[str, t.Any], default: bool, differencing: bool) -> None:
    base = {"name": "b", "version": "1", "pool": "fast", "source": {"url": "http://x/y"}}
    group = {"name": "web", "count": 1, "disks": [{"name": "root", **disk}]}
    read = parse_manifest({"format": 1, "service": "s", "bases": [base], "machines": [group]}, differencing=default)
    assert read["machines"][0]["disks"][0]["differencing"] is differencing
    assert read["bases"][0]["pool"] == "fast"


ROOT = "    disks: [{name: root, size_gib: 1}]\n"
SHORT = f"format: 1\nservice: s\nmachines:\n  - name: w\n    count: 1\n{ROOT}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "a manifest is a mapping; for example format: 1"),
        (SHORT + "bases: {name: x}\n", "a list of bases is wanted; for example bases: [{name: debian-12, version: '1',"),
        (SHORT + "bases: [x]\n", "bases[0]: 'x' is not accepted; a base is a mapping; for example - {name: debian-12,"),
        ("format: 1\nservice: s\nmachines: {web: {count: 1}}\n", "at least one group of machines is wanted; for example machines: [{name:"),
        (SHORT.replace(ROOT, "    disks: {name: root}\n"), "a list of at least one disk is wanted; for example disks: [{name: root,"),
        (SHORT.replace(ROOT, "    disks: [root]\n"), "a disk is a mapping; for example - {name: root, base: debian-12}"),
        (SHORT + "    networks: default\n", "a list of networks is wanted; for example networks: [{network: default}]"),
        (SHORT + "    networks: [default]\n", "one of network, open_vswitch, bridge and macvtap; for example - {network: default}"),
        (SHORT + "    hosts: {kvm1: 1}\n", "{'kvm1': 1} is not accepted; hosts are a list of host or group names"),
        (SHORT + "    cloud_init: [x]\n", "for example cloud_init: {user_data: {hostname: web}}"),
        (SHORT + "    placement: {avoid: kvm1}\n", "to avoid are a list; for example avoid: [kvm1]"),
        (SHORT + "    placement: {spread: site}\n", "for example spread: {by: site, at_most: 1}"),
        (SHORT + "    placement: {together_with: {groups: w}}\n", "together_with.groups"),
        (SHORT.replace("size_gib: 1", "size_gib: 1, pool: [a]"), "for example pool: default"),
        (SHORT.replace("size_gib: 1", "size_gib: 1, pool: {label: [a]}"), "pool.label: unknown key (did you mean labels?)"),
        (SHORT + "bases: [{name: x, version: v, source: http://x}]\n", "for example source: {host: kvm1, path: debian-12.qcow2}"),
        (SHORT + "bases: [{name: x, version: v, source: {hst: a, path: b}}]\n", "is not accepted (did you mean host?); a source has"),
        (SHORT + "bases: [{name: x, version: v, source: {ulr: a}}]\n", "is not accepted (did you mean url?); a source has"),
        (SHORT.replace("size_gib: 1", "size_gib: 1, backend: reflnk"), "(did you mean reflink?); a backend is"),
        (SHORT + "placement: {prefer: sooner}\n", "(did you mean soonest?); spread"),
    ],
)
def test_a_wrong_form_is_told_with_the_right_one(text: str, told: str) -> None:
    found = errors(text)
    assert any(told in sentence for sentence in found), found
    assert len(set(found)) == len(found)
    assert not any("one of  is" in sentence or "one of labels" in sentence for sentence in found)


def schemas(schema: t.Any) -> t.Iterator[dict[str, t.Any]]:
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from schemas(inner)


def test_every_example_is_accepted_by_its_own_rule() -> None:
    import jsonschema
    import yaml

    found = [(schema, example) for schema in schemas(MANIFEST) for example in schema.get("examples", ())]
    assert len(found) > 20
    for schema, example in found:
        bare = {key: value for key, value in schema.items() if key != "required"}
        jsonschema.Draft202012Validator(bare).validate(yaml.safe_load(example))
    # What may be a list or a mapping, or needs one, is shown.
    for schema in schemas(MANIFEST["properties"]):
        if schema.get("type") in ("array", "object") and "description" in schema:
            assert "examples" in schema, schema["description"]


SOURCES = [
    ("url: https://h/x, compression: lzma", "compression", "one of auto"),
    ("url: https://h/x, compression: gzp", "compression", "did you mean gzip?"),
    ("url: https://h/x, mirror: [https://m/x]", "mirror: unknown key", "did you mean mirrors?"),
    ("url: https://h/x, mirrors: https://m/x", "mirrors", "a list of URLs"),
    ("url: https://h/x, mirrors: [ftp://m/x]", "mirrors[0]", "begins with http:// or https://"),
    ("url: https://h/x, mirrors: [https://m/x, 'file:///x']", "mirrors[1]", "begins with http:// or https://"),
    ("url: https://h/x, checksum: SHA256SUMS", "checksum", "the URL of a list"),
    ("url: https://h/x, checksum: md5:d41d8cd98f00b204e9800998ecf8427e", "checksum", "sha256:…, sha384:… or sha512:…"),
    (f"url: https://h/x, checksum: 'sha512:{'a' * 64}'", "checksum", "a sha512 checksum has 128 hexadecimal digits"),
    ("url: https://h/x, secret: please", "secret", "true (the path of the URL is shown nowhere)"),
    ("url: https://h/x, ca: ''", "ca", "PEM"),
    ("url: 'file:///x', mirrors: [https://m/x]", "mirrors", "not accepted with a file: URL"),
    (f"url: 'file:///x', checksum: {'a' * 64}", "checksum", "give sha256 with the base instead"),
    ("url: 'oci://h/a', mirrors: [https://m/x]", "mirrors", "which has its digest as @sha256:"),
    (f"url: 'oci://h/a', checksum: {'a' * 64}", "checksum", "which has its digest as @sha256:"),
    ("url: 'oci:h/a'", "url", "file:// or oci://"),
    ("host: kvm1, path: x, mirrors: [https://m/x]", "mirrors: unknown key", "accepted are: compression, format, host, path, pool"),
    ("controller: x, checksum: https://h/SUMS", "checksum: unknown key", "accepted are: compression, controller, format"),
]


@pytest.mark.parametrize(("source", "place", "words"), SOURCES)
def test_mistakes_in_sources(source: str, place: str, words: str) -> None:
    (found,) = errors(GOOD.replace("host: kvm1, path: images/debian-12.qcow2", source, 1))
    assert found.startswith(f"shop.yml:6: bases[0].source.{place}")
    assert words in found


@pytest.mark.parametrize(
    "source",
    [
        "url: htps://h/x?sig=topsecret",
        "urll: https://h/x?sig=topsecret",
        "url: https:/h/x?sig=topsecret",
        "url: h/x?sig=topsecret",
        "url: 'https:/u:topsecret@h/x'",
        "url: 'https:/h/topsecret/x', secret: true",
        "url: https://h/x, checksum: 'https:/h/x?sig=topsecret'",
        "url: https://h/x, mirrors: ['ftp://m/x?sig=topsecret']",
        "url: https://h/x, checksum: 'ftp://m/x?sig=topsecret'",
        "url: 'htps://h/topsecret/x', secret: true",
        "urll: 'https://h/topsecret/x', secret: true",
        "url: https://h/x, mirrors: 'https://u:topsecret@h/x'",
    ],
)
def test_mistakes_do_not_tell_secrets(source: str) -> None:
    found = errors(GOOD.replace("host: kvm1, path: images/debian-12.qcow2", source, 1))
    assert found and "topsecret" not in str(found)


@pytest.mark.parametrize(
    "written",
    [
        f"{key}: {value}"
        for key in ("cloud_init", "ignition", "cloudbase")
        for value in ("topsecret", "[topsecret]", "[{passwd: topsecret}]")
    ]
    + [
        f"cloud_init: {{{key}: {value}}}"
        for key in ("user_data", "vendor_data", "meta_data")
        for value in ("[topsecret]", "[{a: topsecret}]")
    ]
    + ["cloud_init: {network_config: topsecret}", "ignition: {config: topsecret}", "cloudbase: {meta_data: [topsecret]}"],
)
def test_mistakes_do_not_tell_what_machines_are_given(written: str) -> None:
    found = errors(GOOD.replace("cloud_init: {user_data: {hostname: x}}", written, 1))
    assert found and "topsecret" not in str(found)


def test_machines_that_are_no_list_do_not_tell_it_either() -> None:
    found = errors(GOOD.split("machines:", 1)[0] + "machines: {web: {cloud_init: {password: topsecret}}}\n")
    assert "cloud_init" in str(found) and "topsecret" not in str(found)


@pytest.mark.parametrize(
    ("written", "key", "read"),
    [("count: 2.0", "count", 2), ("per_host: 3.0", "per_host", 3), ("cpus: 2.0", "cpus", 2), ("memory_mib: 64.0", "memory_mib", 64)],
)
def test_a_whole_number_may_have_a_point(written: str, key: str, read: int) -> None:
    text = GOOD.replace("    per_host: 2\n    memory_mib: 512\n", f"    {written}\n    placement: {{spread: {{by: site, at_most: 1.0}}}}\n")
    (group,) = parse_manifest(text)["machines"]
    for found, wanted in ((group[key], read), (group["placement"]["spread"]["at_most"], 1)):
        assert found == wanted and isinstance(found, int)


def test_user_data_stay_as_they_are_written() -> None:
    (group,) = parse_manifest(GOOD.replace("{hostname: x}", "{hostname: x, timeout: 2.0}"))["machines"]
    assert isinstance(group["cloud_init"]["user_data"]["timeout"], float)


@pytest.mark.parametrize("size", ["1e-12", "0.0000001", "0", "-1", "65537", ".inf", ".nan"])
def test_a_disk_has_a_size_that_a_disk_can_have(size: str) -> None:
    assert "size_gib" in errors(GOOD.replace("size_gib: 0.5", f"size_gib: {size}"))[0]
