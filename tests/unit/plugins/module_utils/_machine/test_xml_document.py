# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.xml_document import parse_xml
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed

BOMB = (
    "<!DOCTYPE a [<!ENTITY b 'x'>" + "".join(f"<!ENTITY b{n} '&b{n - 1 or ''};&b{n - 1 or ''};'>" for n in range(1, 30)) + "]><a>&b29;</a>"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is not XML"),
        ("<a>", "it is not XML"),
        ("<a>\x00</a>", "it is not XML"),
        ("<a>\ud800</a>", "it is not XML"),
        ("<a>&none;</a>", "it is not XML"),
        ("<a b='1' b='2'/>", "it is not XML"),
        ("<a/><a/>", "it is not XML"),
        (BOMB, "it has a document type"),
        ("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "it has a document type"),
        ("<a>" * 65 + "</a>" * 65, "it is nested more than 64 deep"),
        ("<a>" * 100_000, "it is nested more than 64 deep"),
        ("<a>" + "<b/>" * 50_000 + "</a>", "it has more than 50000 elements"),
        ("<a>" + "x" * (4 << 20) + "</a>", "characters; at most 4194304 are accepted"),
    ],
)
def test_what_is_not_read(text: str, told: str) -> None:
    with pytest.raises(Malformed, match=told):
        parse_xml(text)


def test_what_libvirt_writes_is_read() -> None:
    text = "<domain type='kvm'><name>é &amp; x</name><metadata><m:x xmlns:m='urn:y' z='1'/></metadata></domain>"
    root = parse_xml(text)
    assert (root.get("type"), root.findtext("name")) == ("kvm", "é & x")
    assert root.find("./metadata/{urn:y}x") is not None
