# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from email import message_from_bytes

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed import (
    SeedWish,
    check_seed,
    seed_digest,
    seed_files,
    seed_outline,
)

WISH = SeedWish(Owner("default", "shop", "web-1"), "/pool")


def test_meta_data_names_the_machine() -> None:
    meta = json.loads(seed_files(replace(WISH, meta_data={"public-keys": ["k"]}), "t")["meta-data"])
    assert meta == {"instance-id": WISH.owner.instance_id, "local-hostname": "web-1", "public-keys": ["k"]}


@pytest.mark.parametrize(
    "user_data, expected",
    [
        ({"runcmd": [["true"]]}, b'#cloud-config\n{"runcmd":[["true"]]}\n'),
        ("#!/bin/sh\n# \u00e4{{ x }}\n", "#!/bin/sh\n# \u00e4{{ x }}\n".encode()),
        (None, b"#cloud-config\n{}\n"),
    ],
)
def test_user_data_is_taken_as_it_is(user_data: t.Any, expected: bytes) -> None:
    files = seed_files(replace(WISH, user_data=user_data), "t")
    assert files["user-data"] == expected
    assert "network-config" not in files


def test_every_character_survives_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    value = {"t": "a\u00e9\u20ac\U0001f600 \x00\x1f\x7f\x85\u2028\ufeff\ufffe\\ud83d 'x' \"y\" : # \n\t", "\u00e9": 1}
    content = seed_files(replace(WISH, user_data=value), "t")["user-data"]
    assert yaml.safe_load(content) == value


def test_the_report_is_vendor_data_and_can_be_left_out() -> None:
    assert seed_files(WISH, "t0k3n")["vendor-data"].startswith(b"#!/bin/sh\n")
    assert b'"t0k3n"' in seed_files(WISH, "t0k3n")["vendor-data"]
    assert "vendor-data" not in seed_files(replace(WISH, report=False), "t0k3n")


@pytest.mark.parametrize(
    "vendor_data, kind",
    [
        ("#cloud-config\nruncmd: [[true]]\n", "text/cloud-config"),
        ({"runcmd": []}, "text/cloud-config"),
        ("#!/bin/sh\n# \u00e4\n", "text/x-shellscript"),
        ("#include\nhttp://192.0.2.1/x\n", "text/x-include-url"),
        ("## template: jinja\n#cloud-config\n", "text/jinja2"),
        ("#cloud-config-archive\n[]\n", "text/cloud-config-archive"),
    ],
)
def test_the_users_vendor_data_travels_beside_the_report(vendor_data: t.Any, kind: str) -> None:
    content = seed_files(replace(WISH, vendor_data=vendor_data), "t0k3n")["vendor-data"]
    users, ours = t.cast(t.Any, message_from_bytes(content).get_payload())
    assert users.get_content_type() == kind
    expected = vendor_data if isinstance(vendor_data, str) else "#cloud-config\n" + json.dumps(vendor_data, separators=(",", ":")) + "\n"
    assert users.get_payload(decode=True).decode() == expected
    assert ours.get_content_type() == "text/x-shellscript"
    assert b"t0k3n" in ours.get_payload(decode=True)
    assert content == seed_files(replace(WISH, vendor_data=vendor_data), "t0k3n")["vendor-data"]


def test_multipart_vendor_data_stays_whole() -> None:
    both = seed_files(replace(WISH, vendor_data="#!/bin/sh\n"), "t")["vendor-data"].decode()
    nested = message_from_bytes(seed_files(replace(WISH, vendor_data=both), "u")["vendor-data"])
    kinds = [part.get_content_type() for part in nested.walk() if not part.is_multipart()]
    assert kinds == ["text/x-shellscript"] * 3


def test_vendor_data_that_cloud_init_would_ignore_is_refused() -> None:
    with pytest.raises(FleetError, match="first line is none that cloud-init knows"):
        seed_files(replace(WISH, vendor_data="hello hunter2"), "t")


@pytest.mark.parametrize(
    "changes",
    [
        {"user_data": {"a": 2}},
        {"meta_data": {"a": 1}},
        {"vendor_data": "#!/bin/sh\n"},
        {"network_config": {"version": 2}},
        {"report": False},
    ],
)
def test_the_digest_follows_the_content(changes: t.Any) -> None:
    assert seed_digest(replace(WISH, **changes)) != seed_digest(WISH)


def test_the_order_of_keys_does_not_matter() -> None:
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert seed_digest(replace(WISH, user_data=one)) == seed_digest(replace(WISH, user_data=other))


def test_the_outline_tells_no_secret() -> None:
    wish = replace(
        WISH,
        meta_data={"key": "hunter2"},
        user_data={"password": "hunter2", "users": [{"passwd": "hunter2"}]},
        vendor_data="#!/bin/sh\necho hunter2\n",
        network_config={"version": 2, "wifis": {"w": {"password": "hunter2"}}},
    )
    assert "hunter2" not in json.dumps(seed_outline(wish))
    assert seed_outline(wish)["user_data"] == ["password", "users"]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, "web-1"),
        ({"meta_data": {"local-hostname": "shop"}}, "shop"),
        ({"user_data": {"hostname": "front"}}, "front"),
        ({"user_data": {"fqdn": "front.example.org"}}, "front.example.org"),
        ({"user_data": "#cloud-config\nhostname: 'front'\n"}, "front"),
        ({"user_data": "#cloud-config\nfqdn: front.example.org\n"}, "front.example.org"),
        ({"user_data": "#!/bin/sh\necho hostname: x\n"}, "web-1"),
    ],
)
def test_the_hostname_that_is_waited_for(changes: t.Any, expected: str) -> None:
    assert replace(WISH, **changes).hostname == expected


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"meta_data": {"instance-id": "i"}}, "seeds.0..meta_data: 'instance-id' is not accepted"),
        ({"user_data": ["hunter2"]}, "seeds.0..user_data: a list is not accepted; a mapping"),
        ({"vendor_data": 7}, "seeds.0..vendor_data: a number is not accepted"),
        ({"network_config": {"eth0": "hunter2"}}, "seeds.0..network_config: .'eth0'. is not accepted; .*version"),
    ],
)
def test_what_no_guest_could_use_is_refused_without_a_secret(changes: t.Any, message: str) -> None:
    with pytest.raises(FleetError, match=message) as error:
        check_seed(replace(WISH, **changes), "seeds[0]")
    assert "hunter2" not in str(error.value) + str(error.value.fields)
