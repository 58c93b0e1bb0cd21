# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import runner
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import (
    DamagedImage,
    DiskBusy,
    NoSpace,
    ToolFailed,
    ToolMissing,
    UnsupportedImage,
)
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg, parse_check, parse_info
from ansible_collections.basecast.fleet.plugins.module_utils._disk.room import Room
from ansible_collections.basecast.fleet.tests.unit.plugins.module_utils._disk.conftest import FakeQemu, fixture


def test_info_of_an_overlay_tells_its_parent() -> None:
    info = parse_info(fixture("info_overlay.json"))
    assert info == ("qcow2", 67108864, "b.raw", "raw")


def test_info_of_an_image_without_parent() -> None:
    assert parse_info(fixture("info_vhdx.json")) == ("vhdx", 67108864, None, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json"])
def test_info_refuses_what_it_does_not_know(text: str) -> None:
    with pytest.raises(ValueError):
        parse_info(text)


def test_check_of_a_sound_image() -> None:
    assert parse_check(0, fixture("check_sound.json"), "") == ("", 0)


def test_leaks_are_no_problem() -> None:
    assert parse_check(3, fixture("check_leaks.json"), "") == ("", 130)


def test_check_of_a_truncated_image_tells_what_is_wrong() -> None:
    result = parse_check(2, fixture("check_cut_off.json"), fixture("check_cut_off.txt"))
    assert result.problem.startswith("45 corruptions: ERROR: counting reference for region exceeding the end of the file")


def test_a_check_that_could_not_run_is_a_problem() -> None:
    assert parse_check(1, "", "qemu-img: Could not open 'x': nonsense\n").problem == "Could not open 'x': nonsense"


def test_formats_without_check_pass() -> None:
    assert parse_check(63, "", "qemu-img: This image format does not support checks\n") == ("", 0)


@pytest.mark.parametrize(
    ("code", "errors", "kind"),
    [
        (1, "qemu-img: error while writing: No space left on device", NoSpace),
        (1, 'qemu-img: Could not open: Failed to get shared "write" lock\nIs another process using the image?', DiskBusy),
        (-9, "", DamagedImage),
        (137, "", DamagedImage),
    ],
)
def test_failures_have_names(qemu_runner: FakeQemu, code: int, errors: str, kind: type[Exception]) -> None:
    qemu_runner.fail = ("info", code, errors)
    with pytest.raises(kind):
        QemuImg(qemu_runner).info("/x", "qcow2")


def test_an_image_is_read_without_what_its_header_names(qemu_runner: FakeQemu, tmp_path: pathlib.Path) -> None:
    qemu = QemuImg(qemu_runner)
    qemu.info("/x", "qcow2")
    qemu.check("/x", "qcow2")
    qemu.convert("/x", "vmdk", f"{tmp_path}/y", "qcow2", Room(str(tmp_path)))
    for call, driver in zip(qemu_runner.calls, ("qcow2", "qcow2", "vmdk", "vmdk"), strict=True):
        node = json.loads(next(word for word in call if word.startswith("json:"))[len("json:") :])
        assert node == {"driver": driver, "file": {"driver": "file", "filename": "/x"}, "backing": None}


def test_the_format_is_always_said(qemu_runner: FakeQemu, tmp_path: pathlib.Path) -> None:
    qemu = QemuImg(qemu_runner)
    qemu.check_unused("/x", "raw")
    qemu.flatten("/x", "qcow2", f"{tmp_path}/y", "qcow2", Room(str(tmp_path)))
    qemu.create("/dev/null", 5)
    for call in qemu_runner.calls:
        assert "-f" in call


def test_an_overlay_is_made_without_opening_its_parent(qemu_runner: FakeQemu, tmp_path: object) -> None:
    QemuImg(qemu_runner).create_overlay(f"{tmp_path}/o", "../b", "raw", 4096)
    assert qemu_runner.calls == [["create", "-q", "-u", "-f", "qcow2", "-b", "../b", "-F", "raw", f"{tmp_path}/o", "4096"]]


def test_commands_run_under_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "find_program", lambda name: f"/usr/bin/{name}")
    assert runner.limited(["/q", "info"], 10, 5) == [
        "/usr/bin/prlimit",
        "--as=10485760",
        "--core=0",
        "--cpu=5",
        "--",
        "/q",
        "info",
    ]
    monkeypatch.setattr(runner, "find_program", lambda name: None)
    assert runner.limited(["/q"], 10) == ["/q"]


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(runner.shutil, "which", lambda name, path: None)
    with pytest.raises(ToolMissing) as error:
        QemuImg(lambda arguments: (0, "", "")).info("/x", "raw")
    assert error.value.message == "The program qemu-img is not on this host; install the package qemu-utils."
    assert error.value.fields["package"] == "qemu-utils"


def test_what_the_program_says_is_told(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ToolFailed, match="Looking at /x: qemu-img ended with 1: nonsense"):
        QemuImg(lambda _arguments: (1, "", "qemu-img: nonsense")).info("/x", "raw")
    odd = QemuImg(lambda _arguments: (0, "[]", ""))
    with pytest.raises(UnsupportedImage, match="/x: qemu-img's answer cannot be understood: the output of qemu-img info"):
        odd.info("/x", "raw")
    with pytest.raises(
        ToolFailed, match="Measuring /x: qemu-img ended with 0: its answer cannot be understood: the output of qemu-img meas"
    ):
        odd.measure("/x", "raw")


@pytest.mark.parametrize("alone", [False, True])
def test_a_damaged_image_has_the_name_that_the_user_knows(alone: bool) -> None:
    staging = "/pool/bases/.partial/.import-1/disk"
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": staging}, "backing": None}
    spoken = f"json:{json.dumps(node)}" if alone else staging
    image = QemuImg(lambda _arguments: (1, "", f"qemu-img: Could not open '{spoken}': \x1b[2JImage is corrupt\n"))
    assert image.check(staging, "qcow2", "debian.qcow2").problem == "Could not open 'debian.qcow2': \\x1b[2JImage is corrupt"
    with pytest.raises(ToolFailed, match=r"Converting debian.qcow2 from qcow2 to qcow2: .*'debian.qcow2'") as raised:
        image.convert(staging, "qcow2", "/x", "qcow2", Room("/x"), "debian.qcow2")
    assert ".import" not in raised.value.message
