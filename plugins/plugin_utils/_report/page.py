# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The report of a run as one HTML file that needs nothing else: no server, no network, and no script to be read.

Whatever others wrote is text in it, never markup. The page's own script and style are the only ones that a browser takes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import typing as t
from collections.abc import Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup

from . import view

TEMPLATES = Path(__file__).parent / "templates"


def page(report: Mapping[str, t.Any]) -> str:
    """The page.

    :param report: as deploy_report makes it, with how the run went; its texts may be anybody's.
    """
    style, script = _part("style.css"), _part("script.js")
    ours = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    policy = f"default-src 'none'; {ours}; img-src data:; base-uri 'none'; form-action 'none'"
    template = _environment().get_template("page.html.j2")
    return template.render(view=view.view_of(report), style=Markup(style), script=Markup(script), policy=policy)


def _part(name: str) -> str:
    """A file of our own, to be put into the page as it is."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
