# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A pool that cannot be listed is neither empty nor absent, and hides no other."""

from __future__ import annotations

import errno
import os
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import capacity, listing
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._disk.survey import survey

from .conftest import put_base


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOTCONN])
@pytest.mark.parametrize("folder", ["", "/bases", "/machines"])
def test_a_pool_that_cannot_be_listed(number: int, folder: str, store: Store, tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put_base(store)
    bad = tmp_path / "bad"
    (bad / "bases").mkdir(parents=True)
    stores = {"bad": Store(str(bad), store.runner, "bad"), "good": store}
    real = os.scandir

    def scandir(path: t.Any = ".") -> t.Any:
        if str(path) == f"{bad}{folder}":
            raise OSError(number, os.strerror(number), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = survey(stores)["pools"]
    assert (found["bad"]["known"], found["bad"]["exists"], found["bad"]["bases"]) == (False, True, [])
    assert found["bad"]["reason"] == f"The pool bad cannot be listed: {bad}{folder}: {os.strerror(number)}."
    assert (found["good"]["known"], found["good"]["reason"], len(found["good"]["bases"])) == (True, None, 1)
    assert list(capacity.survey(stores)["pools"]) == ["good"]


def test_a_pool_that_is_not_there_is_known(store: Store, tmp_path: t.Any) -> None:
    missing = Store(str(tmp_path / "none"), store.runner, "none")
    assert listing.listing_problem(missing) == ""
    told = survey({"none": missing})["pools"]["none"]
    assert (told["exists"], told["known"]) == (False, True)
