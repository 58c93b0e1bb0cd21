# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno

from ansible_collections.basecast.fleet.plugins.module_utils._disk import errors
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import NoSpace


def test_a_full_disk_has_a_name() -> None:
    assert isinstance(errors.no_space(OSError(errno.ENOSPC, ""), "Copying", "/p"), NoSpace)
    assert errors.no_space(OSError(errno.EIO, ""), "Copying", "/p") is None


def test_failures_of_the_storage_are_named() -> None:
    assert isinstance(errors.storage_failed(OSError(errno.EDQUOT, ""), "Copying", "/p"), NoSpace)
    failed = errors.storage_failed(OSError(errno.EIO, "Input/output error"), "Copying", "/p")
    assert failed is not None
    assert (failed.message, failed.kind) == (
        "Copying: the storage of /p is out of order (Input/output error); look at the host's storage.",
        "storage",
    )
    assert errors.storage_failed(OSError(errno.ECONNRESET, ""), "Copying", "/p") is None
