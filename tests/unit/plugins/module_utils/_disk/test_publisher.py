# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.module_utils._disk import references
from ansible_collections.basecast.fleet.plugins.module_utils._disk.import_request import Outcome, Request
from ansible_collections.basecast.fleet.plugins.module_utils._disk.publisher import Publisher
from ansible_collections.basecast.fleet.plugins.module_utils._disk.qemu_img import QemuImg
from ansible_collections.basecast.fleet.plugins.module_utils._disk.store import Store
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError, InvalidOption

from .conftest import FakeQemu, put_base


@pytest.fixture
def publisher(pools: dict[str, Store], qemu_runner: FakeQemu) -> Publisher:
    return Publisher(pools, pools["one"], QemuImg(qemu_runner), False, Outcome())


def test_a_base_that_was_removed_meanwhile_gets_no_reference(publisher: Publisher, store: Store) -> None:
    base = put_base(store)
    store.remove(base.sha256)
    with pytest.raises(FleetError, match="was removed while it was looked at; run the import again"):
        publisher.refer(base.sha256, [references.tenant_of("blue")], Request("blue"))
    assert store.references(base.sha256) == []


def test_records_of_other_holders_are_whole(publisher: Publisher, store: Store) -> None:
    base = put_base(store)
    record = {key: value for key, value in base.metadata.items() if key not in ("parent", "signatures")}
    with pytest.raises(InvalidOption, match=r"metadata: .* is not accepted; it lacks parent, signatures"):
        publisher.check_metadata(Request("blue", metadata=record), base.sha256, t.cast(t.Any, None))
