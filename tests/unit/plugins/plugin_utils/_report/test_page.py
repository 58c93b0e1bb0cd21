# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import html.parser
import re
import typing as t

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._report.page import page
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._report.runs import HOSTILE, hostile, run


class Elements(html.parser.HTMLParser):
    """Names of elements, attributes, and whether every element that was opened was closed."""

    EMPTY = {"meta", "input", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"{tag} at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.text += data


CASES = {
    "one host": {"count": 1},
    "eight hosts": {"count": 8, "per_host": 2},
    "failures": {"count": 8, "failed": [3, 5]},
    "everything failed": {"count": 4, "failed": [0, 1, 2, 3]},
    "a plan": {"count": 8, "kind": "plan"},
    "links were never measured": {"count": 8, "links": False},
    "many hosts": {"count": 100, "per_host": 3, "failed": [17]},
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_whole_and_loads_nothing(case: str) -> None:
    found = Elements(page(run(**CASES[case])))
    assert (found.wrong, found.open) == ([], [])
    assert [(key, value) for key, value in found.attributes if key in ("src", "srcset", "action", "style") or key.startswith("on")] == []
    assert {value[:1] for key, value in found.attributes if key == "href" and value} == {"#"}
    ids = [value for key, value in found.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    assert {value for key, value in found.attributes if key == "href"} <= {f"#{name}" for name in ids}


def test_a_browser_takes_only_its_own_script_and_style() -> None:
    made = page(run())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', made)
    assert policy
    told = policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in told and "unsafe" not in told
    for element in ("style", "script"):
        (body,) = re.findall(f"<{element}>(.*?)</{element}>", made, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in told


@pytest.mark.parametrize("case", CASES)
def test_what_others_wrote_is_only_text(case: str) -> None:
    plain, made = Elements(page(run(**CASES[case]))), Elements(page(hostile(run(**CASES[case]))))
    assert made.wrong == []
    assert made.names.count("script") == 1 and "img" not in made.names
    assert set(made.names) == set(plain.names)
    assert HOSTILE in made.text
    assert "{{ 7 * 7 }}" in made.text


def test_64_hosts_stay_under_two_megabytes() -> None:
    assert len(page(run(64, 8)).encode()) < 2_000_000


def test_nothing_secret_is_in_it() -> None:
    made = page(run())
    assert "secret" not in made
    assert "https://example.org/tiny.qcow2" in made


@pytest.mark.parametrize(
    "told",
    [
        "8 of 8 machines are there",
        "no more than the least possible, 667.6 MiB",
        "predicted 11.5 s, no plan can take less than 10.0 s",
        "kvm002 ✓ 1 of 1 machine",
        "95.4 MiB from kvm001 100% at 77 Mbit/s",
        "the whole file was hashed before it was published",
        "basecast_address",
        "web-1 on kvm001: holds tiny",
        "Not kvm008: no room",
    ],
)  # fmt: skip
def test_a_run_is_told_in_words(told: str) -> None:
    assert told in re.sub(r"\s+", " ", Elements(page(run())).text)


@pytest.mark.parametrize(
    "told",
    [
        "7 of 8 machines are there",
        "the base did not arrive",
        "ansible -i INVENTORY kvm004 -m ansible.builtin.ping",
        "ansible-playbook -i INVENTORY basecast.fleet.deploy -e manifest=shop.yml",
        "2 retries",
        "kvm001: has been silent for 6.0 s",
        "kvm004 was lost: no answer",
        "kvm004 is lost",
    ],
)  # fmt: skip
def test_a_failure_has_its_cause_and_what_to_try(told: str) -> None:
    assert told in re.sub(r"\s+", " ", Elements(page(run(failed=[3]))).text)


def test_a_plan_says_what_would_be() -> None:
    text: t.Any = Elements(page(run(kind="plan"))).text
    assert "8 of 8 machines would be there" in text and "to be deployed" in text and "there after" in text
    assert "measured" not in text.split("Links")[0].split("Timeline")[-1]
