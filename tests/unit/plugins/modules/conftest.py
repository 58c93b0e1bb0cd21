# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import types
import typing as t

import pytest
from ansible.module_utils import _internal
from ansible.module_utils.testing import patch_module_args
from ansible_collections.basecast.fleet.plugins.module_utils._disk import file_trees


@pytest.fixture
def disk_pools(tmp_path: t.Any) -> t.Iterator[dict[str, str]]:
    """Two empty pools by name; immutable files in them are no obstacle to the clean-up."""
    paths = {name: str(tmp_path / name) for name in ("one", "two")}
    for name in paths:
        (tmp_path / name).mkdir()
    yield paths
    for path in paths.values():
        file_trees.remove_tree(path)


@pytest.fixture
def run_on_pools(
    disk_pools: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> t.Callable[[types.ModuleType], t.Callable[..., dict[str, t.Any]]]:
    """Makes of a module a function from (check mode, options) to its result."""

    def of(module: types.ModuleType) -> t.Callable[..., dict[str, t.Any]]:
        def call(check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
            options = {"pools": disk_pools, "_ansible_check_mode": check_mode, "_ansible_diff": True, **options}
            with patch_module_args(options), pytest.raises(SystemExit):
                module.main()
            return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))

        return call

    return of


@pytest.fixture(autouse=True)
def not_on_a_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of filters in the same process load the controller's code, to which warnings would then go."""
    monkeypatch.setattr(_internal, "is_controller", False)
