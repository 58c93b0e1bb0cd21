# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.reports import console_tail, find_report

GOOD = b'BASECAST-REPORT {"token":"t","hostname":"web-1","instance_id":"i","status":"done","addresses":["192.0.2.7"]}'


def test_a_report_is_found_among_other_output() -> None:
    report = find_report(b"boot\r\n\xff\xfe\n" + GOOD + b"\r\nlogin: \n", "t")
    assert report == {
        "hostname": "web-1",
        "instance_id": "i",
        "status": "done",
        "addresses": ["192.0.2.7"],
        "errors": [],
    }


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD, id="the line is not complete"),
        pytest.param(GOOD.replace(b'"t"', b'"other"') + b"\n", id="another machine's token"),
        pytest.param(GOOD[:40] + b"\n", id="cut off"),
        pytest.param(b"BASECAST-REPORT [1]\n", id="no mapping"),
        pytest.param(b"BASECAST-REPORT " + b"[" * 70000 + b"\n", id="too long"),
        pytest.param(b'BASECAST-REPORT {"token":null}\n', id="no token"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_report(content: bytes) -> None:
    assert find_report(content, "t") is None


def test_the_last_report_counts() -> None:
    later = GOOD.replace(b"done", b"error")
    report = find_report(GOOD + b"\n" + later + b"\nBASECAST-REPORT {\n", "t")
    assert report is not None and report["status"] == "error"


def test_values_of_other_types_become_text() -> None:
    report = find_report(
        b'BASECAST-REPORT {"token":"t","hostname":5,"status":[],"addresses":{"a":1},"result":{"v1":7}}\n', "t"
    )
    assert report == {"hostname": "5", "instance_id": "", "status": "[]", "addresses": [], "errors": []}


def test_console_shows_the_last_lines_without_control_characters(pool: str) -> None:
    path = os.path.join(pool, "console.log")
    with open(path, "wb") as file:
        file.write(b"x" * 100000 + b"\r\n\r\n\x1b[2J\x1b[1;32mStarting\x1b[0m it\x07\r\n\xffpanic\r\n" + b"y" * 500)
    assert console_tail(path, 3) == ["Starting it", "\N{REPLACEMENT CHARACTER}panic", "y" * 200]
    assert console_tail(os.path.join(pool, "none")) == []
