# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.filter import deploy_report, service_plan, service_plan_text

FORGED = "\x1b]0;owned\x07\x1b[2Kok\u202e"


def harmless(value: t.Any) -> bool:
    if isinstance(value, str):
        return "\x1b" not in value and "\u202e" not in value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return all(harmless(part) for part in parts)


@pytest.mark.parametrize(
    ("module", "name"),
    [(deploy_report, "report"), (service_plan, "plan"), (service_plan_text, "plan_text")],
)
def test_what_hosts_say_is_fit_for_a_terminal(module: t.Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [FORGED] if name == "plan_text" else {"problems": [FORGED], "notes": [FORGED]}
    monkeypatch.setattr(module, name, lambda *_arguments, **_options: said)
    plan = dict.fromkeys(["service", "tenant", "machines", "bases", "hosts", "relays"])
    arguments: tuple[t.Any, ...] = (plan,) if name == "plan_text" else (plan, {})
    filters = module.FilterModule().filters()
    (result,) = [function(*arguments) for function in filters.values()]
    assert harmless(result)
