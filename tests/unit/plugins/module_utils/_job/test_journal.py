# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import subprocess
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import UnsafePath
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption
from ansible_collections.basecast.fleet.plugins.module_utils._job.journal import Journal, this_process


def told(**changes: t.Any) -> dict[str, t.Any]:
    return {"format": 1, "state": "running", "msg": "", **this_process(), **changes}


@pytest.fixture
def journal(tmp_path: t.Any) -> Journal:
    found = Journal(str(tmp_path / "run"), "default", "shop")
    found.open()
    return found


def test_what_was_written_is_read(journal: Journal) -> None:
    assert journal.read("a") is None and journal.runs() == []
    journal.write("a", told())
    assert journal.read("a") == told()
    journal.write("a", told(state="done"))
    assert journal.read("a") == told(state="done")
    assert os.stat(journal.path("a")).st_mode & 0o777 == 0o600
    assert os.stat(journal.directory).st_mode & 0o777 == 0o700


def test_a_job_whose_process_is_gone_is_lost(journal: Journal) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    journal.write("a", told(pid=gone.pid))
    assert (journal.read("a") or {})["state"] == "lost"
    # Another process with the same number is not the job.
    journal.write("a", told(start_time=told()["start_time"] + 1))
    assert (journal.read("a") or {})["state"] == "lost"
    journal.write("a", told(pid=gone.pid, state="failed"))
    assert (journal.read("a") or {})["state"] == "failed"


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"format": 2}', '{"format": 1, "pid": "x"}', '{"format": 1, "pid": 1, "start_time": 1, "state": "x"}']
)
def test_what_cannot_be_understood_is_an_error(content: str, journal: Journal) -> None:
    with open(journal.path("a"), "w", encoding="utf-8") as file:
        file.write(content)
    with pytest.raises(FleetError):
        journal.read("a")


def test_the_latest_jobs_are_kept(journal: Journal) -> None:
    for number in range(30):
        journal.write(f"r{number}", told(state="done" if number else "running"))
        os.utime(journal.path(f"r{number}"), (number, number))
    assert journal.runs()[0] == "r29"
    journal.sweep()
    assert len(journal.runs()) == 21 and "r0" in journal.runs() and "r9" not in journal.runs()


def test_one_holds_the_lock(journal: Journal) -> None:
    first, second = journal.lock(), journal.lock()
    assert first.take() and first.take() and not second.take()
    assert second.holder() == os.getpid()
    first.release()
    assert second.take() and second.held and not first.held
    second.release()
    assert first.holder() == 0


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden"])
def test_names_cannot_leave_the_directory(name: str, tmp_path: t.Any) -> None:
    with pytest.raises(InvalidOption):
        Journal(str(tmp_path), name, "shop")
    with pytest.raises(InvalidOption):
        Journal(str(tmp_path), "default", name)
    with pytest.raises(InvalidOption):
        Journal(str(tmp_path), "default", "shop").path(name)


def test_a_directory_of_others_is_refused(tmp_path: t.Any) -> None:
    (tmp_path / ".jobs").mkdir(mode=0o777)
    (tmp_path / ".jobs").chmod(0o777)
    with pytest.raises(UnsafePath):
        Journal(str(tmp_path), "default", "shop").open()
    (tmp_path / ".jobs").rmdir()
    (tmp_path / ".jobs").symlink_to("/tmp")
    with pytest.raises(FleetError):
        Journal(str(tmp_path), "default", "shop").open()
