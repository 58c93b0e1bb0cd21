# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.domain import Moved, Platform, build, describe, drift, moved
from ansible_collections.basecast.fleet.plugins.module_utils._machine.hardware import table

from .test_table import wish_of

CONSOLE = "/pool/machines/shop/web-1/console.log"
REPORT = "/pool/machines/shop/web-1/report.log"


def xml_of(hardware: dict[str, t.Any]) -> str:
    return build(wish_of(hardware), Platform("qemu", "x86_64"), ["52:54:00:00:00:01"], {})


@pytest.mark.parametrize(
    ("graphics", "found"),
    [
        ({}, {"type": "vnc", "listen": "socket"}),
        ({"type": "spice", "listen": "port"}, {"type": "spice", "listen": "port"}),
        ({"type": "none"}, {"type": "none"}),
    ],
)
def test_a_screen_listens_where_nobody_else_can_be(graphics: dict[str, str], found: dict[str, t.Any]) -> None:
    xml = xml_of({"graphics": graphics})
    assert describe(xml).hardware["graphics"] == found
    root = ET.fromstring(xml)
    assert {one.get("listen") for one in root.iterfind("./devices/graphics")} <= {None, "127.0.0.1"}
    assert (root.find("./devices/video") is not None) == (graphics.get("type") != "none")


@pytest.mark.parametrize(
    ("xml", "listen"),
    [
        ("<graphics type='vnc' port='-1' autoport='yes' listen='0.0.0.0'><listen type='address' address='0.0.0.0'/></graphics>",
         "port of 0.0.0.0"),
        ("<graphics type='vnc' listen='127.0.0.1'/>", "port"),
        ("<graphics type='vnc'><listen type='socket' socket='/run/x'/></graphics>", "socket"),
        ("<graphics type='vnc'><listen type='none'/></graphics>", "none"),
    ],
)  # fmt: skip
def test_where_a_screen_listens_is_read(xml: str, listen: str) -> None:
    found = table.read(ET.fromstring(f"<domain><devices>{xml}</devices></domain>"))["graphics"]
    assert found == {"type": "vnc", "listen": listen}


def test_a_screen_that_the_host_lacks_is_said() -> None:
    ((key, problem),) = table.lacks({"graphics": {"type": "spice"}}, {"graphics": ["vnc"]}, {})
    assert (key, problem) == ("graphics", "cannot give machines graphics of the type spice; it can give vnc")
    assert not list(table.lacks({"graphics": {"type": "none"}}, {"graphics": []}, {}))


@pytest.mark.parametrize(("console", "kind"), [("file", "file"), ("terminal", "pty")])
def test_the_log_is_kept_whatever_the_console_is(console: str, kind: str) -> None:
    xml = xml_of({"console": console})
    found = describe(xml)
    assert (found.console, found.report, found.hardware["console"]) == (CONSOLE, REPORT, console)
    assert ET.fromstring(xml).find(f"./devices/serial[@type='{kind}']") is not None
    other = wish_of({"console": "file"})
    assert bool(drift(describe(xml_of({"console": "file"})), found, other)) == (console == "terminal")


@pytest.mark.parametrize("keep", [True, False])
def test_the_log_moves_with_the_machine(keep: bool) -> None:
    """libvirt shows the first serial port a second time, as a console."""
    xml = xml_of({"console": "terminal"}).replace(
        "</devices>", f"<console type='pty'><log file='{CONSOLE}' append='off'/><target type='serial' port='0'/></console></devices>"
    )
    disk = "/pool/machines/shop/web-1/root.qcow2"
    there = {path: path.replace("/pool/", "/other/") for path in (CONSOLE, REPORT, disk)}
    root = ET.fromstring(moved(xml, Moved(there, {}, (), keep)))
    logs = [(log.get("file"), log.get("append")) for log in root.iterfind("./devices/*/log")]
    assert logs == [(there[CONSOLE], "on" if keep else "off")] * 2
    assert describe(ET.tostring(root, "unicode")).report == there[REPORT]
