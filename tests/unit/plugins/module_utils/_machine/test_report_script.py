# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import time

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._machine.report_script import report_script
from ansible_collections.basecast.fleet.plugins.module_utils._machine.reports import find_report

TOKEN = "0123456789abcdef0123456789abcdef"

SHELLS = [pytest.param(argv, id=" ".join(argv)) for argv in (["sh"], ["busybox", "sh"], ["bash", "--posix"]) if shutil.which(argv[0])]


def _run(shell: list[str], folder: str, cloud_init: str, result: str | None = None) -> tuple[bytes, float]:
    """What the script writes to its port when the command cloud-init is as given, and how long it was in the way."""
    commands = os.path.join(folder, "bin")
    os.mkdir(commands)
    with open(os.path.join(commands, "cloud-init"), "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" + cloud_init)
    os.chmod(file.name, 0o755)
    master, slave = pty.openpty()
    try:
        script = report_script(TOKEN, "made-id").replace("/dev/ttyS1", os.ttyname(slave))
        script = script.replace("/sys/class/net", os.path.join(folder, "net"))
        os.makedirs(os.path.join(folder, "net", "lo"))
        if result is not None:
            with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as file:
                file.write(result)
            script = script.replace("/run/cloud-init/result.json", file.name)
        path = os.path.join(folder, "script")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)
        begin = time.monotonic()
        subprocess.run([*shell, path], env={"PATH": f"{commands}:{os.environ['PATH']}"}, check=True, timeout=10)
        lasted = time.monotonic() - begin
        return _read(master, b"}\n"), lasted
    finally:
        os.close(master)
        os.close(slave)


def _read(master: int, end: bytes) -> bytes:
    content = b""
    deadline = time.monotonic() + 10
    while not content.replace(b"\r", b"").endswith(end):
        assert time.monotonic() < deadline, content
        if select.select([master], [], [], 0.1)[0]:
            content += os.read(master, 65536)
    return content.replace(b"\r", b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_reports_in_the_background_once_cloud_init_is_done(shell: list[str], pool: str) -> None:
    # A script that waited itself would wait forever: cloud-init waits for its scripts.
    content, lasted = _run(shell, pool, '[ "$*" = "status --wait" ] && sleep 1\n')
    assert lasted < 0.9
    report = find_report(content, TOKEN)
    assert report is not None
    assert report["status"] == "done"
    assert report["hostname"] == os.uname().nodename
    assert report["instance_id"] == "made-id"
    assert report["errors"] == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("code, status", [(1, "error"), (2, "degraded"), (127, "error")])
def test_reports_what_went_wrong(shell: list[str], code: int, status: str, pool: str) -> None:
    result = json.dumps({"v1": {"datasource": "NoCloud", "errors": ['("runcmd", "exit 1")']}}, indent=1)
    content, _lasted = _run(shell, pool, f"exit {code}\n", result)
    report = find_report(content, TOKEN)
    assert report is not None
    assert (report["status"], report["errors"]) == (status, ['("runcmd", "exit 1")'])


def test_a_broken_result_file_does_not_break_the_report(pool: str) -> None:
    content, _lasted = _run(["sh"], pool, "exit 1\n", '{"v1": {"err')
    report = find_report(content, TOKEN)
    assert report is not None
    assert (report["status"], report["errors"]) == ("error", [])


@pytest.mark.parametrize("shell", SHELLS)
def test_an_address_that_comes_late_is_waited_for(shell: list[str], pool: str) -> None:
    os.makedirs(f"{pool}/net/lo")
    os.mkdir(f"{pool}/net/eth0")
    fake = f"{pool}/ip"
    with open(fake, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\n[ -e {pool}/asked ] && echo '    inet 192.0.2.7/24 scope global eth0'\n: >{pool}/asked\n")
    os.chmod(fake, 0o755)
    script = report_script(TOKEN, "i").replace("ip addr", f"{fake} addr").replace("/sys/class/net", f"{pool}/net")
    function = script[script.index("keep()") : script.index("report()")]
    begin = time.monotonic()
    done = subprocess.run([*shell, "-c", function + "wait_for_address; addresses"], capture_output=True, check=True)
    assert done.stdout == b'"192.0.2.7"'
    assert 0.9 < time.monotonic() - begin < 5


@pytest.mark.parametrize("shell", SHELLS)
def test_addresses_are_those_that_others_can_reach(shell: list[str], pool: str) -> None:
    output = """1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536
    inet 127.0.0.1/8 scope host lo
    inet6 ::1/128 scope host
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500
    link/ether 52:54:00:00:00:01 brd ff:ff:ff:ff:ff:ff
    inet 192.0.2.7/24 brd 192.0.2.255 scope global dynamic eth0
    inet6 2001:db8::7/64 scope global dynamic
    inet6 fe80::1/64 scope link
"""
    os.mkdir(os.path.join(pool, "ip"))
    fake = os.path.join(pool, "ip", "ip")
    with open(fake, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\ncat <<'END'\n{output}END\n")
    os.chmod(fake, 0o755)
    # busybox would prefer its own ip; a name with a slash is never one of its own.
    script = report_script(TOKEN, "i").replace("ip addr", f"{fake} addr")
    function = script[script.index("keep()") : script.index("has_card()")]
    done = subprocess.run([*shell, "-c", function + "addresses"], capture_output=True, check=True)
    assert done.stdout == b'"192.0.2.7","2001:db8::7"'


def test_a_guest_without_the_port_is_left_alone(pool: str) -> None:
    missing = os.path.join(pool, "ttyS1")
    script = report_script(TOKEN, "i").replace("/dev/ttyS1", missing)
    subprocess.run(["sh", "-c", script], check=True, timeout=10)
    assert not os.path.exists(missing)


def test_shellcheck_has_nothing_to_say() -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not there")
    done = subprocess.run([program, "--shell=sh", "-"], input=report_script(TOKEN, "i"), capture_output=True, text=True, check=False)
    assert done.stdout == ""
