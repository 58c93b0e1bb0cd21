# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine.owner import Owner
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed import SeedWish
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed_images import SeedImages
from ansible_collections.basecast.fleet.plugins.module_utils._machine.seed_records import read_record


@pytest.fixture
def wish(pool: str) -> SeedWish:
    return SeedWish(Owner("default", "shop", "web-1"), pool, user_data={"password": "hunter2"})


@pytest.fixture
def images(run_command: t.Any) -> SeedImages:
    return SeedImages(run_command)


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_a_seed_is_made_once(images: SeedImages, wish: SeedWish) -> None:
    first, before, after = images.ensure(wish)
    content = _bytes(first["path"])
    second, _before, _after = images.ensure(wish)
    assert (first["action"], second["action"]) == ("created", "none")
    assert _bytes(first["path"]) == content
    assert before is None
    assert after["digest"] == first["digest"]
    assert b"hunter2" in content


def test_seed_and_record_are_private_and_their_directories_passable(images: SeedImages, wish: SeedWish) -> None:
    path = images.ensure(wish)[0]["path"]
    folder = os.path.dirname(path)
    assert sorted(os.listdir(folder)) == ["seed.iso", "seed.json"]
    for name in os.listdir(folder):
        assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600
    for directory in (folder, os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o711
    assert b"hunter2" not in _bytes(os.path.join(folder, "seed.json"))


def test_an_edited_seed_keeps_token_and_instance(images: SeedImages, wish: SeedWish) -> None:
    first = images.ensure(wish)[0]
    folder = os.path.dirname(first["path"])
    token = t.cast(t.Any, read_record(folder)).token
    second, before, after = images.ensure(replace(wish, user_data={"password": "other"}))
    assert second["action"] == "updated"
    assert second["digest"] != first["digest"]
    assert second["instance_id"] == first["instance_id"]
    assert t.cast(t.Any, read_record(folder)).token == token
    assert token.encode() in _bytes(second["path"])
    assert before == {**after, "digest": first["digest"]}


def test_equal_seeds_of_two_machines_have_different_tokens(images: SeedImages, wish: SeedWish) -> None:
    tokens = set()
    for name in ("web-1", "web-2"):
        path = images.ensure(replace(wish, owner=Owner("default", "shop", name)))[0]["path"]
        tokens.add(t.cast(t.Any, read_record(os.path.dirname(path))).token)
    assert len(tokens) == 2
    assert all(len(token) == 32 for token in tokens)


@pytest.mark.parametrize("lost", ["seed.iso", "seed.json"])
def test_what_an_interrupted_run_left_is_completed(lost: str, images: SeedImages, wish: SeedWish) -> None:
    path = images.ensure(wish)[0]["path"]
    os.unlink(os.path.join(os.path.dirname(path), lost))
    assert images.ensure(wish)[0]["action"] == "created"
    record = t.cast(t.Any, read_record(os.path.dirname(path)))
    assert record.token.encode() in _bytes(path)


def test_without_a_report_there_is_no_token(images: SeedImages, wish: SeedWish) -> None:
    path = images.ensure(replace(wish, report=False))[0]["path"]
    assert t.cast(t.Any, read_record(os.path.dirname(path))).token is None
    assert b"BASECAST-REPORT" not in _bytes(path)


def test_check_mode_predicts_and_writes_nothing(run_command: t.Any, wish: SeedWish, pool: str) -> None:
    assert SeedImages(run_command, check=True).ensure(wish)[0]["action"] == "created"
    assert os.listdir(pool) == []


def test_a_tool_that_fails_leaves_the_old_seed(images: SeedImages, wish: SeedWish) -> None:
    path = images.ensure(wish)[0]["path"]
    content = _bytes(path)
    with pytest.raises(FleetError, match="disk full"):
        SeedImages(lambda argv: (1, "", "disk full")).ensure(replace(wish, user_data="#!/bin/sh\n"))
    assert _bytes(path) == content
    assert sorted(os.listdir(os.path.dirname(path))) == ["seed.iso", "seed.json"]
    assert images.ensure(wish)[0]["action"] == "none"


def test_a_pool_that_is_not_there_is_not_made(images: SeedImages, wish: SeedWish, pool: str) -> None:
    with pytest.raises(FleetError, match="none does not exist"):
        images.ensure(replace(wish, pool_path=os.path.join(pool, "none")))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"digest": 1', "[" * 90000, '{"digest": 1, "digest": 2}'])
def test_a_damaged_record_is_an_error_and_made_anew(content: str, images: SeedImages, wish: SeedWish) -> None:
    folder = os.path.dirname(images.ensure(wish)[0]["path"])
    with open(os.path.join(folder, "seed.json"), "w", encoding="utf-8") as file:
        file.write(content)
    with pytest.raises(FleetError, match=r"seed\.json"):
        read_record(folder)
    assert images.ensure(wish)[0]["action"] == "created"
    assert read_record(folder) is not None


@pytest.mark.parametrize("place", ["machines", "machines/shop", "machines/shop/web-1"])
def test_nothing_is_written_through_a_planted_link(
    place: str, images: SeedImages, wish: SeedWish, pool: str, tmp_path_factory: t.Any
) -> None:
    other = tmp_path_factory.mktemp("other")
    os.makedirs(os.path.join(pool, os.path.dirname(place)), exist_ok=True)
    os.symlink(other, os.path.join(pool, place))
    with pytest.raises(FleetError, match=rf"{place} is a symbolic link"):
        images.ensure(wish)
    assert os.listdir(other) == []


@pytest.mark.parametrize("name", ["seed.iso", "seed.json", ".seed.iso.tmp"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_planted_file_is_replaced_not_followed(name: str, kind: str, images: SeedImages, wish: SeedWish, tmp_path_factory: t.Any) -> None:
    other = tmp_path_factory.mktemp("other") / "victim"
    other.write_text("precious")
    folder = wish.owner.directory(wish.pool_path)
    os.makedirs(folder)
    path = os.path.join(folder, name)
    os.symlink(other, path) if kind == "link" else os.mkfifo(path)
    try:
        images.ensure(wish)
    except FleetError as error:
        assert path in error.message
    else:
        assert b"hunter2" in _bytes(os.path.join(folder, "seed.iso"))
    assert other.read_text() == "precious"


def test_the_record_says_what_machine_needs(images: SeedImages, wish: SeedWish) -> None:
    folder = os.path.dirname(images.ensure(wish)[0]["path"])
    with open(os.path.join(folder, "seed.json"), encoding="utf-8") as file:
        record = json.load(file)
    assert (record["format"], record["hostname"], record["instance_id"]) == (1, "web-1", wish.owner.instance_id)
