# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.files import leftovers, remove_leftovers
from ansible_collections.basecast.fleet.plugins.module_utils._machine.ignition import ignition_problems
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed import SeedWish
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed_images import SeedImages
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed_records import read_record

VERSION = {"ignition": {"version": "3.4.0"}}
HASH = "$6$saltsalt$" + "x" * 86


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (VERSION, ""),
        (json.dumps(VERSION), ""),
        ({"ignition": {"version": "2.2.0"}}, ""),
        ({"ignition": {"version": "3.6.0-experimental"}}, ""),
        ({**VERSION, "passwd": {"users": [{"name": "core", "passwordHash": HASH}, {"name": "b"}]}, "storage": {}}, ""),
        (None, "an Ignition configuration is a mapping, or its text in JSON"),
        ([], "an Ignition configuration is a mapping"),
        ("[]", "an Ignition configuration is a mapping"),
        ("", "line 1: it is not JSON"),
        ('{\n"ignition": hunter2}', "line 2: it is not JSON, as Ignition's configuration is"),
        ("[" * 100000, "it is nested too deep"),
        ('{"ignition": {"version": "3.4.0"}, "x": "\ud800"}', "it holds characters that are not text"),
        ("variant: fcos\nversion: 1.5.0\n", "it is Butane, not Ignition; 'butane --strict FILE' makes Ignition of it"),
        ({"variant": "fcos", "version": "1.5.0"}, "it is Butane"),
        ({}, "ignition.version: missing, or not a version of the specification such as 3.4.0"),
        ({"ignition": {"version": 3.4}}, "ignition.version: missing"),
        ({"ignition": {"version": "1.0.0"}}, "ignition.version: missing"),
        ({"ignition": "3.4.0"}, "ignition.version: missing"),
        ({**VERSION, "storage": []}, "storage: a mapping is expected"),
        ({**VERSION, "passwd": {"users": [{"passwordHash": "hunter2"}]}}, "passwd.users[0].passwordHash: a password that is not hashed"),
    ],
)
def test_what_ignition_does_not_understand(config: t.Any, told: str) -> None:
    problems = "\n".join(ignition_problems(config))
    assert (told in problems) if told else not problems
    assert "hunter2" not in problems


def test_the_file_is_the_configuration_and_private(pool: str) -> None:
    secret = {**VERSION, "passwd": {"users": [{"name": "core", "passwordHash": HASH}]}}
    wish = SeedWish(Owner("default", "shop", "web-1"), pool, kind="ignition", config=secret)
    ran: list[t.Any] = []
    images = SeedImages(lambda argv: ran.append(argv) or (0, "", ""))  # type: ignore[func-returns-value]
    first, before, after = images.ensure(wish)
    folder = Path(first["path"]).parent
    assert (first["action"], before, Path(first["path"]).name, ran) == ("created", None, "seed.ign", [])
    assert json.loads(Path(first["path"]).read_text()) == secret
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in folder.iterdir()} == {0o600}
    assert after == {
        "digest": first["digest"],
        "hostname": "web-1",
        "report": False,
        "customize": "ignition",
        "config": ["ignition", "passwd"],
    }
    record = read_record(str(folder))
    assert record is not None and record.token is None and HASH not in (folder / "seed.json").read_text()
    assert images.ensure(wish)[0]["action"] == "none"
    changed = SeedWish(wish.owner, pool, kind="ignition", config=json.dumps(VERSION))
    assert images.ensure(changed)[0]["action"] == "updated"
    assert Path(first["path"]).read_text() == json.dumps(VERSION)


def test_the_file_goes_with_its_machine(pool: str) -> None:
    wish = SeedWish(Owner("default", "shop", "web-1"), pool, kind="ignition", config=VERSION)
    folder = os.path.dirname(SeedImages(lambda argv: (1, "", "")).ensure(wish)[0]["path"])
    Path(folder, ".seed.ign.x1.tmp").write_text("{}")
    assert sorted(leftovers(folder)) == [".seed.ign.x1.tmp", "seed.ign", "seed.json"]
    assert remove_leftovers(folder) and not os.path.exists(folder)
