# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._job.arguments import forget


@pytest.mark.parametrize(
    "words, gone",
    [
        (["/usr/bin/python3", "{dir}/AnsiballZ_host_job.py"], True),
        (["/usr/bin/python3", "-B", "{dir}/AnsiballZ_host_job.py", "x"], True),
        (["/usr/bin/python3"], False),
        (["/usr/bin/python3", "AnsiballZ_host_job.py"], False),
        (["/usr/bin/python3", "{dir}/AnsiballZ_other.py"], False),
        (["/usr/bin/python3", "{dir}/gone/AnsiballZ_host_job.py"], False),
    ],
)
def test_only_the_own_arguments_are_deleted(words: list[str], gone: bool, tmp_path: t.Any) -> None:
    for name in ("AnsiballZ_host_job.py", "AnsiballZ_other.py"):
        (tmp_path / name).write_text("secret")
    (tmp_path / "cmdline").write_bytes(b"\0".join(word.replace("{dir}", str(tmp_path)).encode() for word in words) + b"\0")
    assert forget("host_job", str(tmp_path / "cmdline")) is gone
    assert (tmp_path / "AnsiballZ_host_job.py").exists() is not gone and (tmp_path / "AnsiballZ_other.py").exists()


def test_without_a_process_nothing_is_deleted(tmp_path: t.Any) -> None:
    assert not forget("host_job", str(tmp_path / "none"))
