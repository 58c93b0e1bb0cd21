# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pages in a headless Chromium that has no network."""

from __future__ import annotations

import base64
import os
import shutil
import typing as t
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from selenium import webdriver

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
OUTPUT = Path(__file__).resolve().parents[1] / "output" / "browser"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


class Browser:
    """One page at a time, of a given width, light or dark."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = t.cast("str", shutil.which("chromium"))
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)

    def show(self, html: str | Path, width: int = 1200, height: int = 900, dark: bool = False, media: str = "") -> None:
        if isinstance(html, str):
            OUTPUT.mkdir(parents=True, exist_ok=True)
            path = OUTPUT / "page.html"
            path.write_text(html)
        else:
            path = html
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", size)
        self.driver.get_log("browser")
        self.driver.get(path.resolve().as_uri())

    def send(self, command: str, arguments: Mapping[str, t.Any]) -> t.Any:
        return self.driver.execute_cdp_cmd(command, dict(arguments))

    def run(self, script: str, *arguments: t.Any) -> t.Any:
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console says: errors of scripts, and what the page's policy has refused."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def violations(self) -> list[str]:
        """What axe-core finds of WCAG 2.2 AA and its best practices."""
        self.run(AXE.read_text())
        found = self.driver.execute_async_script(
            """
            const done = arguments[arguments.length - 1];
            const failed = (error) => done({violations: [{id: String(error), nodes: []}]});
            axe.run(document, {resultTypes: ['violations']}).then(done, failed);
            """
        )
        return [
            f"{one['id']}: {node['html'][:160]}: {node.get('failureSummary', '')[:300]}"
            for one in found["violations"]
            for node in one["nodes"] or [{"html": ""}]
        ]

    def picture(self, name: str, whole: bool = True) -> Path:
        """A screenshot, for people to look at."""
        OUTPUT.mkdir(parents=True, exist_ok=True)
        shot = self.send("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        path = OUTPUT / f"{name}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
        return path

    def printed(self, name: str) -> Path:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        path = OUTPUT / f"{name}.pdf"
        path.write_bytes(base64.b64decode(self.send("Page.printToPDF", {"printBackground": False})["data"]))
        return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    if missing:
        told = f"not installed: {', '.join(missing)} (tools/setup installs them)"
        pytest.fail(told) if os.environ.get("BASECAST_REQUIRE_BROWSER") else pytest.skip(told)
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.driver.quit()
