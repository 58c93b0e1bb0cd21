# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import subprocess
import time
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.module_utils._machine import iso

FILES = {"meta-data": b'{"local-hostname":"web-1"}\n', "user-data": b"#cloud-config\n{}\n", "vendor-data": b"#!/bin/sh\n"}


def _tools() -> list[str]:
    found = {os.path.realpath(path): path for path in (shutil.which(name) for name in iso.TOOLS) if path}
    return list(found.values())


def _extract(image: str, name: str) -> bytes:
    return subprocess.run(["isoinfo", "-J", "-x", f"/{name}", "-i", image], capture_output=True, check=True).stdout


@pytest.mark.parametrize("tool", _tools())
def test_image_holds_the_files_under_the_name_that_nocloud_looks_for(tool: str, pool: str, run_command: t.Any) -> None:
    image = os.path.join(pool, "seed.iso")
    iso.write_iso(image, FILES, run_command, tool)
    with open(image, "rb") as file:
        file.seek(16 * 2048 + 40)
        assert file.read(32).decode().strip() == "cidata"
    if shutil.which("isoinfo") is None:
        pytest.skip("isoinfo (genisoimage) reads the image back")
    for name, content in FILES.items():
        assert _extract(image, name) == content


@pytest.mark.parametrize("tool", _tools())
def test_equal_files_give_equal_bytes_a_second_later(tool: str, pool: str, run_command: t.Any) -> None:
    images = [os.path.join(pool, name) for name in ("one.iso", "two.iso")]
    iso.write_iso(images[0], FILES, run_command, tool)
    time.sleep(1.01)  # the resolution of the dates in question
    iso.write_iso(images[1], FILES, run_command, tool)
    contents = []
    for image in images:
        with open(image, "rb") as file:
            contents.append(file.read())
    assert contents[0] == contents[1]


def test_a_host_without_a_tool_is_told_what_to_install(monkeypatch: t.Any) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(iso.NoIsoTool, match="Install the package xorriso") as error:
        iso.find_tool()
    assert error.value.fields["package"] == "xorriso"


def test_the_tools_own_words_are_passed_on(pool: str) -> None:
    with pytest.raises(FleetError, match=r"mkisofs could not write the seed image .*/seed.iso: no space"):
        iso.write_iso(os.path.join(pool, "seed.iso"), FILES, lambda argv: (1, "", "hm\nno space\n"), "/usr/bin/mkisofs")
