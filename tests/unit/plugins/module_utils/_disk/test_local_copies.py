# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import references
from ansible_collections.basecast.fleet.plugins.module_utils._disk.errors import BaseMissing
from ansible_collections.basecast.fleet.plugins.module_utils._disk.local_copies import LocalCopies, find
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store

from .conftest import put_base

NAME, MINE = references.name_of("default", "tiny", "1"), references.tenant_of("default")
GONE = "ab" * 32


@pytest.fixture
def stores(tmp_path: object) -> dict[str, Store]:
    found = {}
    for name in ("one", "two"):
        path = tmp_path / name  # type: ignore[operator]
        path.mkdir()
        found[name] = Store(str(path), pool=name)
    return found


def test_a_base_is_copied_once_with_its_names(stores: dict[str, Store]) -> None:
    base = put_base(stores["one"], refer=[NAME, MINE, references.name_of("other", "x", "1")])
    copies = LocalCopies(stores, "default", 5.0)
    assert copies.present("two", base.sha256) == [f"clone base disk {base.sha256} from pool one to pool two"]
    found = find(stores, base.sha256, ["two"])
    assert found is not None and set(found.references) == {NAME, MINE}
    assert copies.present("two", base.sha256) == []


def test_where_it_is_only_the_reference_is_added(stores: dict[str, Store]) -> None:
    base = put_base(stores["two"])
    copies = LocalCopies(stores, "default", 5.0)
    assert copies.present("two", base.sha256) == [f"add reference of tenant default to base disk {base.sha256}"]
    assert copies.present("two", base.sha256) == []


def test_prediction_changes_nothing(stores: dict[str, Store]) -> None:
    base = put_base(stores["one"])
    copies = LocalCopies(stores, "default", 5.0, check=True)
    assert copies.present("two", base.sha256) and copies.present("two", GONE) == [f"clone base disk {GONE} to pool two"]
    assert stores["two"].ids() == []


@pytest.mark.parametrize("from_pool, sha256", [(None, GONE), ("two", "")])
def test_what_is_nowhere_cannot_be_copied(from_pool: str | None, sha256: str, stores: dict[str, Store]) -> None:
    base = put_base(stores["one"])
    with pytest.raises(BaseMissing):
        LocalCopies(stores, "default", 5.0, from_pool).present("two", sha256 or base.sha256)
