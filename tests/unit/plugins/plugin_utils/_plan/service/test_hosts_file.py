# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.basecast.fleet.plugins.filter.hosts_file import hosts_file as hosts_file_filter
from ansible_collections.basecast.fleet.plugins.module_utils._errors import FleetError
from ansible_collections.basecast.fleet.plugins.plugin_utils._plan.service.hosts_file import hosts_file

OTHERS = "127.0.0.1 localhost\n\n# BEGIN somebody else\n192.0.2.99 printer\n# END somebody else\n"
SHOP = "# BEGIN basecast.fleet default/shop\n192.0.2.1 shop-web-1 web-1.shop.internal\n# END basecast.fleet default/shop\n"
BLOG = SHOP.replace("shop", "blog")


def machine(name: str, address: str | None, **more: t.Any) -> dict[str, t.Any]:
    known = {"tenant": "default", "service": "shop", "machine": name, "role": "web", "number": 1, "host": "kvm1", "known": True}
    addresses = [{"address": address, "source": "lease"}] if address else []
    return {**known, "running": True, "state": "running", "addresses": addresses, **more}


def status(*machines: dict[str, t.Any], unknown: dict[str, str] | None = None) -> dict[str, t.Any]:
    return {"format": 1, "machines": list(machines), "unknown": unknown or {}}


def test_lines_of_others_stay_and_blocks_are_replaced() -> None:
    once = hosts_file(status(machine("web-10", "192.0.2.3"), machine("web-2", "192.0.2.2"), machine("web-3", None)), OTHERS)
    assert once == (
        OTHERS
        + "\n# BEGIN basecast.fleet default/shop\n192.0.2.2 shop-web-2 web-2.shop.internal\n192.0.2.3 shop-web-10 web-10.shop.internal\n"
        "# END basecast.fleet default/shop\n"
    )
    assert hosts_file(status(machine("web-1", "192.0.2.1")), once) == f"{OTHERS}\n{SHOP}"
    assert hosts_file(status(machine("web-1", "192.0.2.1")), f"{OTHERS}\n{SHOP}") == f"{OTHERS}\n{SHOP}"


def test_a_block_whose_machines_are_gone_goes() -> None:
    assert hosts_file(status(), f"{OTHERS}\n{SHOP}") == OTHERS
    assert hosts_file(status(machine("web-1", "192.0.2.1", state="shutoff")), SHOP) == ""


def test_what_cannot_be_known_stays() -> None:
    now = status(machine("web-2", "192.0.2.2"), unknown={"kvm1": "cannot be reached"})
    assert hosts_file(now, SHOP).splitlines()[1:3] == [
        "192.0.2.1 shop-web-1 web-1.shop.internal",
        "192.0.2.2 shop-web-2 web-2.shop.internal",
    ]
    moved = status(machine("web-1", "192.0.2.7"), unknown={"kvm1": "cannot be reached"})
    assert hosts_file(moved, SHOP) == SHOP.replace("192.0.2.1", "192.0.2.7")


def test_blocks_that_the_status_does_not_tell_of_stay() -> None:
    assert hosts_file(status(), BLOG + SHOP, service="shop") == BLOG
    assert hosts_file(status(), BLOG + SHOP, tenant="acme") == BLOG + SHOP
    assert hosts_file(status(), BLOG + SHOP, tenant="default") == ""


@pytest.mark.parametrize(
    "text",
    [SHOP.rpartition("# END")[0], SHOP + SHOP.splitlines()[-1], SHOP.replace("END basecast.fleet default/shop", BLOG.splitlines()[0])],
)
def test_marks_that_do_not_belong_together_are_refused(text: str) -> None:
    with pytest.raises(FleetError, match="has no counterpart in the file; expected pairs of BEGIN and END"):
        hosts_file(status(), text)


def test_what_a_guest_says_becomes_no_line() -> None:
    wild = machine("web-1", None, addresses=[{"address": "192.0.2.1\n6.6.6.6 bank", "source": "report"}])
    assert hosts_file(status(wild, machine("a\nb", "192.0.2.2")), "") == ""


def test_the_filter_takes_the_json_of_a_status() -> None:
    assert hosts_file_filter(json.dumps(status(machine("web-1", "192.0.2.1"))), "") == SHOP
    with pytest.raises(AnsibleFilterError, match="not the status of a fleet"):
        hosts_file_filter({"format": 2})


def test_other_lines_stay_to_the_byte() -> None:
    wild = "127.0.0.1 localhost \x0c# page\u2028two\r\n10.0.0.1 a\n\n\n"
    assert hosts_file(status(), wild) == wild
    assert hosts_file(status(machine("web-1", "192.0.2.1")), wild) == wild.rstrip("\n") + "\n" + f"\n{SHOP}".replace("\n", "\r\n")
    assert hosts_file(status(machine("web-1", "192.0.2.1")), "10.0.0.1 a") == f"10.0.0.1 a\n\n{SHOP}"
    assert hosts_file(status(), SHOP.replace("\n", " \r\n")) == ""


def test_no_machine_has_a_name_of_the_internet() -> None:
    assert hosts_file(status(machine("www", "6.6.6.6", service="github.com")), "").splitlines()[1].split()[1:] == [
        "github.com-www",
        "www.github.com.internal",
    ]
