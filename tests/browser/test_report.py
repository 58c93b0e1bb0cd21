# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report in a browser: what people see, press and print. Pictures for looking at are in tests/output/browser."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.plugins.plugin_utils._report.page import page
from ansible_collections.basecast.fleet.tests.unit.plugins.plugin_utils._report.runs import hostile, run

if t.TYPE_CHECKING:
    from ansible_collections.basecast.fleet.tests.browser.conftest import Browser

SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "samples" / "report.html"
CASES: dict[str, dict[str, t.Any]] = {
    "run": {"count": 8, "per_host": 2},
    "failed": {"count": 8, "per_host": 2, "failed": [3, 5]},
    "plan": {"count": 8, "kind": "plan"},
    "many": {"count": 100, "per_host": 2, "failed": [17]},
}
TABLE = "const box = document.getElementById('t-' + arguments[0]);"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: page(run(**case)) for name, case in CASES.items()}


def open_all(browser: Browser) -> None:
    browser.run("for (const part of document.querySelectorAll('details')) part.open = true;")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("case", CASES)
def test_axe_finds_nothing(browser: Browser, pages: dict[str, str], case: str, dark: bool) -> None:
    browser.show(pages[case], dark=dark)
    if case != "many":  # axe takes minutes for thousands of rows
        open_all(browser)
    assert browser.violations() == []
    assert browser.complaints() == []
    browser.picture(f"{case}-{'dark' if dark else 'light'}")


@pytest.mark.parametrize("case", ["run", "failed", "plan"])
def test_no_table_is_cut_off_on_a_desk(browser: Browser, pages: dict[str, str], case: str) -> None:
    browser.show(pages[case])
    open_all(browser)
    script = (
        "return [...document.querySelectorAll('.table')].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.innerText);"
    )
    assert browser.run(script) == []


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_wider_than_a_phone(browser: Browser, pages: dict[str, str], case: str) -> None:
    browser.show(pages[case], width=400)
    open_all(browser)
    assert browser.run("return document.documentElement.scrollWidth") == 400
    browser.picture(f"{case}-phone")


def test_what_others_wrote_runs_nothing(browser: Browser) -> None:
    browser.show(page(hostile(run(8, 2, failed=[3]))))
    open_all(browser)
    assert browser.complaints() == []
    assert browser.run("return document.images.length + document.scripts.length") == 1
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_a_foreign_script_is_refused(browser: Browser, pages: dict[str, str]) -> None:
    browser.show(pages["run"].replace("<footer>", "<script>document.title = 'taken over';</script><footer>"))
    assert browser.run("return document.title") == "shop: deployment"
    assert any("Content Security Policy" in told for told in browser.complaints())


@pytest.mark.timeout(180)
def test_500_hosts_and_5000_machines_are_usable(browser: Browser) -> None:
    made = page(run(500, 10, failed=[17, 333]))
    browser.show(made)
    browser.picture("500-hosts")
    table = "all-machines"
    assert browser.run(f"return document.querySelectorAll('#{table} tbody tr').length") == 5000
    browser.run(f"document.querySelector('#{table} details').open = true;")
    shown = browser.run(
        "return new Promise((done) => setTimeout(() => done([...document.querySelectorAll('#t-machines tbody tr')].filter((row) => !row.hidden).length), 200));"
    )
    assert shown == 100
    took = browser.run(
        """
        const began = performance.now();
        document.querySelector('#t-machines thead button').click();
        const field = document.querySelector('#all-machines input');
        field.value = 'kvm334 failed';
        field.dispatchEvent(new Event('input'));
        return new Promise((done) => setTimeout(() => done(performance.now() - began - 200), 200));
        """
    )
    rows = browser.run(
        "return [...document.querySelectorAll('#t-machines tbody tr')].filter((row) => !row.hidden).map((row) => row.cells[0].textContent);"
    )
    assert rows == [f"web-{number}" for number in range(3331, 3341)]
    assert browser.run("return document.querySelector('#all-machines [role=status]').textContent") == "1 to 10 of 10 (of 5,000)"
    assert browser.run("return document.body.innerText.match(/\\b\\d{4,} (?:of|machines|hosts|rows)\\b/g)") is None
    assert took < 2000
    browser.picture("500-hosts-filtered")


def test_a_table_is_ordered_with_the_keyboard(browser: Browser, pages: dict[str, str]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(pages["run"])
    head = browser.run(f"{TABLE} const button = box.querySelectorAll('thead button')[9]; button.focus(); return button;", "machines")
    first = f"{TABLE} return box.querySelector('tbody tr').cells[9].textContent;"
    head.send_keys(Keys.ENTER)
    least = browser.run(first, "machines")
    assert browser.run(f"{TABLE} return box.querySelectorAll('th')[9].getAttribute('aria-sort');", "machines") == "ascending"
    head.send_keys(Keys.SPACE)
    assert browser.run(f"{TABLE} return box.querySelectorAll('th')[9].getAttribute('aria-sort');", "machines") == "descending"
    assert float(browser.run(first, "machines").split()[0]) > float(least.split()[0])


def test_every_control_is_reached_with_the_tab_key(browser: Browser, pages: dict[str, str]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    browser.show(pages["failed"])
    wanted = browser.run(
        "return [...document.querySelectorAll('a, button, summary, input')].filter((one) => one.checkVisibility()).length;"
    )
    seen = set()
    body = browser.driver.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    for _step in range(wanted * 2):
        focus = browser.driver.switch_to.active_element
        if focus.tag_name in ("a", "button", "summary", "input"):
            seen.add(focus.id)
        focus.send_keys(Keys.TAB)
    assert len(seen) == wanted


def test_it_prints_with_its_tables_open(browser: Browser, pages: dict[str, str]) -> None:
    browser.show(pages["failed"])
    browser.run("dispatchEvent(new Event('beforeprint'));")
    assert browser.run("return document.querySelectorAll('details:not([open])').length") == 0
    browser.run("dispatchEvent(new Event('afterprint'));")
    assert browser.run("return document.querySelectorAll('#placement details[open]').length") == 0
    assert browser.printed("failed").read_bytes().startswith(b"%PDF")
    browser.show(pages["failed"], width=760, media="print")
    assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.picture("failed-print")


def test_it_says_everything_without_its_script(browser: Browser, pages: dict[str, str]) -> None:
    browser.send("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.show(pages["failed"])
        browser.picture("failed-without-script")
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", {"value": False})
    assert browser.run("return document.querySelectorAll('#t-machines tbody tr').length") == 16


@pytest.mark.timeout(180)
def test_the_sample_of_a_real_run_is_sound(browser: Browser) -> None:
    text = SAMPLE.read_text()
    assert len(text.encode()) < 300_000
    assert "/work" not in text and "/root" not in text and "/tmp" not in text
    browser.show(text)
    open_all(browser)
    assert browser.violations() == [] and browser.complaints() == []
    told = browser.run("return document.body.innerText")
    assert "kvm7" in told and "not complete" in told
    json.dumps(told)
