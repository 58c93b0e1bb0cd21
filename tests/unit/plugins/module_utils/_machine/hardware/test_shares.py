# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Platform, build, describe, drift
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import table
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware.shares import is_nested

from .test_table import wish_of

MEDIA = {"name": "media", "source": "/srv/shared/media"}
DOCS = {"name": "docs", "source": "/srv/shared/docs", "readonly": True}


def xml_of(*shares: dict[str, t.Any], **more: t.Any) -> str:
    wish = wish_of({"shares": list(shares), **more} if shares else more)
    return build(wish, Platform("qemu", "x86_64"), ["52:54:00:00:00:01"], {})


def test_shares_are_read_back_by_their_names() -> None:
    assert describe(xml_of(MEDIA, DOCS)).hardware["shares"] == {
        "media": {"source": "/srv/shared/media", "readonly": False},
        "docs": {"source": "/srv/shared/docs", "readonly": True},
    }
    assert describe(xml_of()).hardware["shares"] is None


@pytest.mark.parametrize("memory", [{}, {"memory": {"hugepages": "2M"}}])
def test_the_guests_memory_can_be_shared(memory: t.Any) -> None:
    backing = ET.fromstring(xml_of(MEDIA, **memory)).find("memoryBacking")
    assert backing is not None and (backing.find("hugepages") is not None) is bool(memory)
    assert [(one.tag, one.attrib) for one in backing if one.tag != "hugepages"] == [
        ("source", {"type": "memfd"}), ("access", {"mode": "shared"})
    ]  # fmt: skip
    assert ET.fromstring(xml_of(**memory)).find("./memoryBacking/source") is None


@pytest.mark.parametrize(
    ("wanted", "paths"),
    [
        ([MEDIA], set()),
        ([{**MEDIA, "readonly": False}], set()),
        ([{**MEDIA, "readonly": True}], {"shares.media.readonly"}),
        ([{**MEDIA, "source": "/srv/other"}], {"shares.media.source"}),
        ([MEDIA, DOCS], {"shares.docs"}),
    ],
)
def test_another_directory_is_drift(wanted: t.Any, paths: set[str]) -> None:
    told = drift(describe(xml_of(*wanted)), describe(xml_of(MEDIA)), wish_of({"shares": wanted}))
    assert {one["path"] for one in told if one["path"].startswith("shares")} == paths


def test_what_xml_adds_is_none_of_the_manifests_shares() -> None:
    added = "<filesystem type='mount'><driver type='virtiofs'/><source dir='/a'/><target dir='a'/></filesystem>"
    assert set(describe(xml_of(MEDIA, xml=[{"path": "devices", "add": added}])).hardware["shares"]) == {"media"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{**MEDIA, "source": "srv"}], "the absolute path of a directory of the host, without .., * and ?, is wanted"),
        ([{**MEDIA, "source": "/srv/../etc"}], "without .., * and ?"),
        ([{**MEDIA, "source": "/srv/*"}], "without .., * and ?"),
        ([{**MEDIA, "name": "a b"}], "the name by which the guest mounts it"),
        ([{**MEDIA, "name": "a" * 37}], "the name by which the guest mounts it"),
        ([MEDIA, MEDIA], "[1].name: 'media' stands twice; the guest mounts each by a name of its own"),
        ([MEDIA, {"name": "b", "source": "/srv/shared"}], "/srv/shared and /srv/shared/media lie in one another"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: t.Any, words: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        table.checked({"cpus": 1, "memory_mib": 512, "shares": given}, "machines[0]")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("one", "other", "nested"),
    [("/a", "/a/b", True), ("/a/b/", "/a", True), ("/a", "/a/", False), ("/a", "/ab", False), ("/", "/a", True)],
)
def test_directories_in_one_another(one: str, other: str, nested: bool) -> None:
    assert is_nested(one, other) is nested


@pytest.mark.parametrize(("offers", "told"), [({"readonly_shares": False}, True), ({"readonly_shares": True}, False), ({"tpm": []}, False)])
def test_older_libvirt_cannot_share_read_only(offers: t.Any, told: bool) -> None:
    problems = list(table.lacks({"shares": [MEDIA, DOCS]}, offers, {"cpus": 1}))
    assert bool(problems) is told and all("has libvirt before 11.0, which cannot share" in problem for _key, problem in problems)
    assert list(table.lacks({"shares": [MEDIA]}, offers, {"cpus": 1})) == []
