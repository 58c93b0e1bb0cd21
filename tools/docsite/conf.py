# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of Sphinx for the documentation site. The build of tools/docsite/build.py makes the folder that it reads."""

from __future__ import annotations

import re
import typing as t

from docutils import nodes

# Ansible's own documentation, by what the modules' pages name of it. The build asks no network for an inventory.
ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
LABELS = {
    "common_return_values": "reference_appendices/common_return_values.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "action_plugins": "plugins/action.html",
    "callback_plugins": "plugins/callback.html",
    "inventory_plugins": "plugins/inventory.html",
    "lookup_plugins": "plugins/lookup.html",
}

project = "basecast.fleet"
author = "basecast.fleet contributors"
project_copyright = "basecast.fleet contributors"
html_title = "basecast.fleet"
html_short_title = "basecast.fleet"

extensions = ["myst_parser", "sphinx_antsibull_ext"]
root_doc = "index"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns: list[str] = []

nitpicky = True
myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "colon_fence"]
# A document type's, not Sphinx's, languages: what a shell shows, and what a message looks like.
highlight_language = "text"

html_theme = "furo"
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False


def ansibles(_app: t.Any, _env: t.Any, node: t.Any, shown: t.Any) -> t.Any:
    """A link to Ansible's documentation, for what stands there; None, and so a warning, for all else."""
    target = node["reftarget"]
    plugin = re.fullmatch(r"ansible_collections\.(\w+)\.(\w+)\.(\w+_(?:module|filter|lookup))", target)
    if node["reftype"] == "envvar" and target.startswith("ANSIBLE_"):
        page = f"reference_appendices/config.html#envvar-{target}"
    elif plugin and plugin[1] != "basecast":
        page = f"collections/{plugin[1]}/{plugin[2]}/{plugin[3]}.html"
    elif target in LABELS:
        page = LABELS[target]
    else:
        return None
    return nodes.reference("", "", shown, internal=False, refuri=ANSIBLE + page)


def setup(app: t.Any) -> None:
    app.connect("missing-reference", ansibles)
