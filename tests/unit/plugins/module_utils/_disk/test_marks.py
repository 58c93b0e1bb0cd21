# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import threading
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import marks

RUN = "20260101T000000-abcdefgh"


@pytest.fixture
def pool(tmp_path: t.Any) -> str:
    return str(tmp_path)


def test_hosts_of_one_pool_see_each_other_and_leave_nothing(pool: str) -> None:
    left = [marks.leave(pool, RUN) for _host in range(3)]
    assert len(set(left)) == 3 and None not in left
    for nonce in left:
        assert marks.look(pool, RUN, str(nonce)) == sorted(map(str, left))
    assert os.listdir(pool) == []


def test_many_hosts_at_once(pool: str) -> None:
    found: list[list[str]] = []
    barrier = threading.Barrier(8)

    def host() -> None:
        own = marks.leave(pool, RUN)
        barrier.wait()
        found.append(marks.look(pool, RUN, str(own)))

    threads = [threading.Thread(target=host) for _host in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(one) for one in found] == [8] * 8
    assert os.listdir(pool) == []


def test_two_hosts_that_are_the_last_both_know(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = str(marks.leave(pool, RUN))
    real = marks._remove_looked_at

    def after_another(directory: str) -> None:
        marks.remove(pool, RUN)
        real(directory)

    monkeypatch.setattr(marks, "_remove_looked_at", after_another)
    assert marks.look(pool, RUN, own) == [own]
    assert os.listdir(pool) == []


def test_copies_of_one_directory_see_only_their_own(tmp_path: t.Any) -> None:
    (tmp_path / "a" / "bases").mkdir(parents=True)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    left = {name: str(marks.leave(str(tmp_path / name), RUN)) for name in "ab"}
    assert {name: marks.look(str(tmp_path / name), RUN, left[name]) for name in "ab"} == {name: [left[name]] for name in "ab"}


def test_a_host_that_never_looks_keeps_the_marks_for_an_hour(pool: str) -> None:
    marks.leave(pool, RUN)
    one = marks.leave(pool, RUN)
    assert len(marks.look(pool, RUN, str(one))) == 2
    folder = os.path.join(pool, marks.FOLDER)
    assert os.listdir(folder) == [RUN]
    os.utime(os.path.join(folder, RUN), (0, 0))
    other = marks.leave(pool, "another")
    assert os.listdir(folder) == ["another"]
    assert marks.look(pool, "another", str(other)) == [other]
    assert os.listdir(pool) == []


def test_a_mark_that_comes_late_is_waited_for(pool: str) -> None:
    own = str(marks.leave(pool, RUN))
    timer = threading.Timer(0.3, marks.leave, (pool, RUN))
    timer.start()
    assert len(marks.look(pool, RUN, own, expected=2, wait_s=5.0)) == 2
    timer.join()


@pytest.mark.parametrize("case", ["no pool", "a file", "a link"])
def test_where_no_mark_can_be_left_nothing_is_known(tmp_path: t.Any, case: str) -> None:
    pool = tmp_path / "pool"
    if case != "no pool":
        pool.mkdir()
        (tmp_path / "elsewhere").mkdir()
        if case == "a file":
            (pool / marks.FOLDER).write_text("")
        else:
            (pool / marks.FOLDER).symlink_to(tmp_path / "elsewhere")
    assert marks.leave(str(pool), RUN) is None
    assert case == "no pool" or os.listdir(tmp_path / "elsewhere") == []


def test_marks_that_somebody_removed_tell_nothing(pool: str) -> None:
    own = str(marks.leave(pool, RUN))
    marks.remove(pool, RUN)
    assert marks.look(pool, RUN, own) == []
