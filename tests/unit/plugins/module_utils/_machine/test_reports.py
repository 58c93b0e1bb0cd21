# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.reports import console_tail, find_report
from ansible_collections.basecast.fleet.plugins.module_utils._untrusted import Malformed

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


@pytest.mark.parametrize(
    "line",
    [
        GOOD[:40],
        GOOD.replace(b'"web-1"', b"5"),
        GOOD.replace(b'"done"', b"[]"),
        GOOD.replace(b'["192.0.2.7"]', b'{"a":1}'),
        GOOD.replace(b"192.0.2.7", b"\\u001b[2J"),
        GOOD.replace(b'"i"', b"[" * 5000 + b"]" * 5000),
    ],
    ids=["cut off", "number", "list", "mapping", "escape", "deep"],
)
def test_what_is_of_another_type_is_told_and_no_report(line: bytes) -> None:
    with pytest.raises(Malformed, match="the report"):
        find_report(line + b"\n", "t")
    assert find_report(GOOD + b"\n" + line + b"\n", "t") is not None


def test_the_reasons_of_degraded_are_told() -> None:
    stages = b'{"v1":{"stage":null,"init":{"errors":[],"recoverable_errors":{"WARNING":["bad\\u001b[2J key"]}},"x":7}}'
    line = GOOD.replace(b"done", b"degraded")[:-1] + b',"result":{"v1":{"errors":["none"]}},"stages":' + stages + b"}\n"
    report = find_report(line, "t")
    assert report is not None
    assert report["errors"] == ["none", "WARNING: bad\\x1b[2J key"]


def test_console_shows_the_last_lines_without_control_characters(pool: str) -> None:
    path = os.path.join(pool, "console.log")
    with open(path, "wb") as file:
        file.write(b"x" * 100000 + b"\r\n\r\n\x1b[2J\x1b[1;32mStarting\x1b[0m it\x07\r\n\xffpanic\r\n" + b"y" * 500)
    assert console_tail(path, 3) == ["Starting it", "\N{REPLACEMENT CHARACTER}panic", "y" * 200]
    assert console_tail(os.path.join(pool, "none")) == []
