# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_io, sparse_copy


def sparse(path: t.Any) -> bytes:
    with open(path, "wb") as file:
        file.write(b"head".ljust(65536, b"."))
        file.seek(8 << 20)
        file.write(b"middle".ljust(65536, b"."))
        file.truncate((16 << 20) + 512)
    return t.cast(bytes, path.read_bytes())


def test_a_sparse_copy_stays_sparse_and_is_seen_whole(tmp_path: t.Any) -> None:
    data = sparse(tmp_path / "a")
    seen = bytearray()
    source = os.open(tmp_path / "a", os.O_RDONLY)
    target = os.open(tmp_path / "b", os.O_RDWR | os.O_CREAT)
    sparse_copy.copy_sparse(source, target, len(data), seen.extend)
    os.close(source)
    os.close(target)
    assert bytes(seen) == data
    assert (tmp_path / "b").read_bytes() == data
    assert file_io.allocated_bytes(str(tmp_path / "b")) < 1 << 20


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: t.Any) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    with pytest.raises(OSError, match="shorter"):
        sparse_copy.read_all(descriptor, 2000, lambda data: os.truncate(tmp_path / "a", 0))
    os.close(descriptor)
