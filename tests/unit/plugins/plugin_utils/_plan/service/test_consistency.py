# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.consistency import consistency, playbook

from .test_fleet_status import HALF, SILENT, TINY, base, disk, look, machine, record

GIB = 2**30


def both(**more: t.Any) -> dict[str, t.Any]:
    """A host with web-1, which its record names."""
    return look("web-1", **{"services": record("web-1", host="a"), **more})


def sized(size: object) -> dict[str, t.Any]:
    path = machine("web-1")["disks"]
    return machine("web-1", spec={"disks": {"root": {"size_bytes": size}}}, disks=path)


GONE = disk("web-1", has_parent=False, in_store=True, base_path=f"/pool/bases/{TINY}/disk")
FOREIGN = disk("web-1", sha256=None, parent="/srv/gold.qcow2", has_parent=False)


@pytest.mark.parametrize("size", [None, GIB, "a lot", True])
def test_what_belongs_together_is_no_finding(size: object) -> None:
    assert consistency({"a": both(machines=[sized(size)])}) == ([], [])


@pytest.mark.parametrize(
    ("looks", "words", "is_wrong"),
    [
        ({"a": both(pool={"disks": []})}, "the disk of web-1 is not there", True),
        ({"a": both(machines=[machine("web-1", problem="its migration to b is unfinished")])}, "its migration to b is unfinished", True),
        ({"a": both(), "b": look("web-1")}, "shop web-1 (tenant default) is on a and b", True),
        ({"a": both(pool={"disks": [FOREIGN]})}, "is based on /srv/gold.qcow2, which is not there", True),
        ({"a": both(), "b": SILENT}, "Connection timed out", True),
        ({"a": both(machines=[sized(2 * GIB)])}, "has 1.0 GiB, recorded are 2.0 GiB", False),
        ({"a": both(services=record("web-1", host="b")), "b": look(bases=[])}, "web-1 is here, its record names b", False),
        ({"a": both(services=record("web-1", "web-2", host="a"))}, "record web-2: it was recorded for this host", False),
        ({"a": both(services=[])}, "has no record of its service", False),
        ({"a": both(), "b": look(pool={"disks": [disk("web-9")]}, bases=[])}, "shop has no machine web-9", False),
        ({"a": both(pool={"partials": [{"sha256": "3" * 64, "in_use": False}]})}, "no run is fetching it", False),
        ({"a": both(pool={"references": [{"sha256": "3" * 64, "names": ["old 1"]}]})}, "reference old 1", False),
    ],
)
def test_each_finding_says_what_would_mend_it(looks: dict[str, t.Any], words: str, is_wrong: bool) -> None:
    found, missing = consistency(looks)
    (one,) = [finding for finding in found if words in finding.found]
    assert one.is_wrong == is_wrong and one.repair and not missing
    assert [finding for finding in found if finding.is_wrong] == ([one] if is_wrong else [])


@pytest.mark.parametrize(
    ("looks", "kind", "place", "repair", "mends"),
    [
        ({"a": look(pool={"disks": [disk("web-9")]})}, "disk", "/root.qcow2", "-e service=shop -e machines=web-9", False),
        ({"a": both(pool={"disks": []})}, "disk_lost", "/root.qcow2", "-e service=shop -e machines=web-1", False),
        ({"a": look(services=record("web-2", host="a"))}, "record", "web-2", "-e service=shop -e machines=web-2", False),
        ({"a": both(pool={"references": [{"sha256": "3" * 64, "names": ["old 1"]}]})}, "reference_stale", "old 1", "drop the name", True),
        ({"a": both(pool={"half_clones": [HALF]})}, "clone", "web-5", "-e service=shop -e machine=web-1 -e clone_name=web-5", False),
        ({"a": both(services=[])}, "machine_unrecorded", "shop web-1", "basecast.fleet.deploy -e manifest=FILE", False),
        ({"a": both(), "b": look("web-1")}, "machine_twice", "shop web-1", "fleet.migrate -e service=shop -e machine=web-1", False),
    ],
)
def test_a_person_is_told_the_command(looks: dict[str, t.Any], kind: str, place: str, repair: str, mends: bool) -> None:
    (one,) = [finding for finding in consistency(looks)[0] if finding.kind == kind]
    assert one.place.endswith(place) and repair in one.repair and (one.mends, one.mended) == (mends, False)


def test_a_command_names_an_unusual_tenant_and_quotes() -> None:
    assert playbook("remove", service="shop", tenant="blue co", machines=None) == (
        "ansible-playbook basecast.fleet.remove -e service=shop -e tenant='blue co'"
    )


def test_a_base_that_is_gone_is_told_with_its_disks() -> None:
    names = [{"sha256": TINY, "names": ["tiny 1"]}]
    found, missing = consistency({"a": both(pool={"disks": [GONE], "references": names}, bases=[])})
    assert found == [] and [(one.host, one.pool, one.sha256, one.users) for one in missing] == [("a", "default", TINY, (GONE["path"],))]


@pytest.mark.parametrize(
    "pool", [{"bases": [base()]}, {"damaged": [{"sha256": TINY, "damage": "chunks is missing"}]}, {"disks": [{**GONE, "has_parent": True}]}]
)
def test_a_base_that_is_there_is_not_missing(pool: dict[str, t.Any]) -> None:
    assert consistency({"a": both(pool={"disks": [GONE], "bases": [], **pool})})[1] == []


def test_where_a_pool_is_unknown_no_base_is_missing() -> None:
    host = both(pool={"disks": [GONE]}, bases=[])
    host["status"]["pools"]["fast"] = {"path": "/fast", "known": False, "error": "no answer"}
    assert consistency({"a": host})[1] == []


def test_a_base_of_another_pool_is_missed_in_that_one() -> None:
    host = both(pool={"disks": [{**GONE, "in_store": False, "base_path": f"/fast/bases/{TINY}/disk"}]}, bases=[])
    host["status"]["pools"]["fast"] = {"path": "/fast", "known": True, "bases": [], "damaged": [], "disks": [], "references": []}
    assert [one.pool for one in consistency({"a": host})[1]] == ["fast"]
