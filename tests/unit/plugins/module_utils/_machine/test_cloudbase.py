# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.cloudbase import cloudbase_problems, meta_data_problems
from ansible_collections.basecast.fleet.plugins.module_utils._machine.files import leftovers
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed import SeedWish
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed_images import SeedImages

NO_PASSWORD = "a password is not accepted, as Windows takes no hash of one; give keys or certificates"
MIME = "Content-Type: multipart/mixed; boundary=X\n\n--X\nContent-Type: %s\n\n#cloud-config\npassword: hunter2\n\n--X--\n"


@pytest.mark.parametrize(
    ("user_data", "told"),
    [
        (None, ""),
        ("", ""),
        ("#ps1_sysnative\r\nWrite-Host a\r\n", ""),
        ("#ps1\nWrite-Host a", ""),
        ("rem cmd\necho a", ""),
        ("#!/bin/sh\n", ""),
        ("<powershell>\nWrite-Host a\n</powershell>", ""),
        ("Content-Type: multipart/mixed; boundary=X\n\n--X--\n", ""),
        ("#cloud-config\nset_timezone: UTC\nusers: [{name: a, ssh_authorized_keys: [k]}]\n", ""),
        ({"set_hostname": "a", "runcmd": ["dir"]}, ""),
        (5, "a number is not accepted; a mapping (cloud-config) or a text is expected"),
        ("Write-Host hunter2", "its first line is not one that cloudbase-init knows (such as #ps1_sysnative"),
        ("#ps2\n", "its first line is not one that cloudbase-init knows"),
        ("\ufeff#ps1\n", "its first line is not one that cloudbase-init knows"),
        ("#cloud-config\na: b: hunter2\n", "line 2: it is not YAML"),
        ("#cloud-config\nusers: [{name: a, passwd: hunter2}]\n", f"users[0].passwd: {NO_PASSWORD}"),
        ({"users": [{"name": "a", "plain_text_passwd": "hunter2"}]}, f"users[0].plain_text_passwd: {NO_PASSWORD}"),
        ({"password": "hunter2"}, f"password: {NO_PASSWORD}"),
        ({"chpasswd": {"list": ["a:hunter2"]}}, f"chpasswd: {NO_PASSWORD}"),
        ("rem cmd\necho \ud800", "it holds characters that are not text"),
        (MIME % "text/cloud-config", f"cloud-config 1: password: {NO_PASSWORD}"),
        (MIME % "text/x-shellscript", ""),
        ({"runcmd": "dir"}, "runcmd: a string is not accepted; a list is expected"),
    ],
)
def test_what_cloudbase_init_does_not_understand(user_data: t.Any, told: str) -> None:
    problems = "\n".join(cloudbase_problems(user_data))
    assert (told in problems) if told else not problems
    assert "hunter2" not in problems


@pytest.mark.parametrize(
    ("meta_data", "told"),
    [({}, []), ({"meta": {"a": 1}}, []), ({"admin_pass": "x"}, ["admin_pass"]), ({"meta": {"admin_pass": "x"}}, ["meta.admin_pass"])],
)
def test_passwords_of_the_administrator_are_refused(meta_data: t.Any, told: list[str]) -> None:
    assert [problem.partition(":")[0] for problem in meta_data_problems(meta_data)] == told


def extracted(image: str, name: str) -> bytes:
    assert shutil.which("isoinfo"), "tools/setup installs genisoimage"
    return subprocess.run(["isoinfo", "-J", "-x", f"/openstack/latest/{name}", "-i", image], capture_output=True, check=True).stdout


def test_the_image_is_a_configuration_drive(pool: str, run_command: t.Any) -> None:
    wish = SeedWish(
        Owner("default", "shop", "win-1"),
        pool,
        kind="cloudbase",
        meta_data={"public_keys": {"a": "ssh-ed25519 K"}},
        user_data="rem cmd\necho hidden-word\n",
        network_data={"links": []},
    )
    images = SeedImages(run_command)
    first, _before, after = images.ensure(wish)
    image = Path(first["path"])
    assert image.name == "seed-cloudbase.iso" and stat.S_IMODE(os.stat(image).st_mode) == 0o600
    assert image.read_bytes()[16 * 2048 + 40 :][:32].decode().strip() == "config-2"
    assert json.loads(extracted(str(image), "meta_data.json")) == {
        "hostname": "win-1",
        "name": "win-1",
        "public_keys": {"a": "ssh-ed25519 K"},
        "uuid": wish.owner.instance_id,
    }
    assert extracted(str(image), "user_data") == b"rem cmd\necho hidden-word\n"
    assert json.loads(extracted(str(image), "network_data.json")) == {"links": []}
    assert "hidden-word" not in json.dumps(after) + (image.parent / "seed.json").read_text() and after["report"] is False
    assert images.ensure(wish)[0]["action"] == "none"
    assert sorted(leftovers(str(image.parent))) == ["seed-cloudbase.iso", "seed.json"]
