# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the documentation site without a network: .build/docs/html/index.html.

Pages are the files of docs/, README and CONTRIBUTING, what the roles, modules and plugins say of themselves, and references
that are made of the manifest's schema and the settings' argument spec. Any warning is an error.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

import messages
import reference
from site_pages import PLACES, SECTIONS

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tools/docsite"
BUILD = ROOT / ".build/docs"
# What the theme leaves out for those who use the keyboard or a screen reader.
ACCESSIBLE = (
    ('<p class="caption" role="heading">', '<p class="caption" role="heading" aria-level="2">'),
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="All pages">'),
    ('<aside class="toc-drawer', '<aside aria-label="On this page" class="toc-drawer'),
    ("aria-role=", "role="),
    ("<pre>", '<pre tabindex="0">'),
)
CONTENTS = re.compile(r"^\.\. contents::\n(   :\w+:.*\n)*", re.M)
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")
ABOUT = (
    "Virtual machines for fleets of KVM hosts: each base disk crosses the network once per host, handed on from host to host, and every "
    "machine gets a differencing disk instead of a copy."
)
# In the list of pages, where a page's own title says too little.
LABELS = {"readme": "Overview <readme>"}
KINDS = {
    "module": "Modules",
    "filter": "Filters",
    "lookup": "Lookups",
    "inventory": "Inventory plugins",
    "callback": "Callbacks",
    "role": "Roles",
}


def placed(text: str, folder: str) -> str:
    """The page with its links to files of the repository as links of the site."""

    def target(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[1]))
        place = PLACES.get(path, path.removeprefix("docs/"))
        return posixpath.relpath(place, folder.removeprefix("docs/")) if folder.startswith("docs/") else place

    return LINK.sub(target, text)


def pages(source: Path) -> None:
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.is_file():
            copy = source / path.relative_to(ROOT / "docs")
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                copy.write_text(placed(path.read_text(), path.parent.relative_to(ROOT).as_posix()))
            else:
                shutil.copyfile(path, copy)
    (source / "readme.md").write_text(placed((ROOT / "README.md").read_text(), ""))
    (source / "contributing.md").write_text(placed((ROOT / "CONTRIBUTING.md").read_text(), ""))
    shutil.copyfile(ROOT / "LICENSES/GPL-3.0-or-later.txt", source / "GPL-3.0-or-later.txt")
    (source / "manifest.md").write_text(reference.manifest(ROOT / "docs/schemas/service.schema.json"))
    (source / "tuning.md").write_text(placed(reference.settings(ROOT / "roles"), "docs"))
    (source / "failures.md").write_text(placed(handbook(), "docs"))
    (source / "_static").mkdir()
    shutil.copyfile(HERE / "site.css", source / "_static/site.css")
    shutil.copyfile(HERE / "conf.py", source / "conf.py")


def handbook() -> str:
    """The failure handbook, with every text of the product below the entry that it belongs to."""
    page = (ROOT / "docs/failures.md").read_text()
    found = messages.entries(page)
    texts: dict[str, list[str]] = {}
    for message in messages.messages(ROOT):
        for entry in messages.entries_of(message.text, found):
            texts.setdefault(entry.title, []).append(message.text)

    def listed(entry: re.Match[str]) -> str:
        lines = "\n".join(texts.get(entry["title"], []))
        return f"{entry[0].rstrip()}\n\n<details><summary>All texts of this kind</summary>\n\n```text\n{lines}\n```\n\n</details>\n\n"

    return re.sub(r"^### (?P<title>[^\n]+)\n.*?(?=^##|\Z)", listed, page, flags=re.S | re.M)


def title_of(page: Path) -> str:
    return page.read_text().partition("\n")[0].removeprefix("# ")


def index(source: Path) -> None:
    lines = ["# basecast.fleet", "", ABOUT, ""]
    listed_pages = {page for entries in SECTIONS.values() for page, _purpose in entries}
    more = sorted(path.stem for path in source.glob("*.md") if path.stem not in listed_pages | {"index"})
    sections = {**SECTIONS, **({"More": [(page, title_of(source / f"{page}.md")) for page in more]} if more else {})}
    for section, entries in sections.items():
        lines += [f"## {section}", "", *(f"- [](<{page}>): {purpose}" for page, purpose in entries), ""]
        lines += [
            "```{toctree}",
            ":hidden:",
            f":caption: {section}",
            "",
            *(LABELS.get(page, page) for page, _purpose in entries),
            "```",
            "",
        ]
    lines += ["## Reference", ""]
    listed = []
    for kind, title in KINDS.items():
        found = sorted(path.stem for path in (source / "reference").glob(f"*_{kind}.rst"))
        names = [name.removesuffix(f"_{kind}") for name in found]
        lines += [f"{title}", ": " + ", ".join(f"[{name}](reference/{stem}.rst)" for name, stem in zip(names, found, strict=True)), ""]
        listed.append((title, [f"{name} <{stem}>" for name, stem in zip(names, found, strict=True)]))
        page = [title, "=" * len(title), "", ".. toctree::", "   :maxdepth: 1", "", *(f"   {entry}" for entry in listed[-1][1]), ""]
        (source / f"reference/{kind}s.rst").write_text("\n".join(page))
    lines += ["```{toctree}", ":hidden:", ":caption: Reference", "", *(f"reference/{kind}s" for kind in KINDS), "```", ""]
    (source / "index.md").write_text("\n".join(lines))


def run(*command: str) -> None:
    tree, binaries = str(ROOT / ".collections"), Path(sys.executable).parent
    environment = {
        **os.environ, "ANSIBLE_COLLECTIONS_PATH": tree, "PYTHONPATH": tree, "PATH": f"{binaries}:{os.environ['PATH']}", "NO_COLOR": "1",
    }  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"{Path(command[0]).name} ended with exit code {done.returncode}:\n{done.stdout[-8000:]}")


def accessible(page: str) -> str:
    for found, better in ACCESSIBLE:
        page = page.replace(found, better)
    return page


def main() -> int:
    binaries = Path(sys.executable).parent
    source, html = BUILD / "source", BUILD / "html"
    shutil.rmtree(source, ignore_errors=True)
    (source / "reference").mkdir(parents=True)
    run(
        str(binaries / "antsibull-docs"), "collection", "--use-current", "--squash-hierarchy", "--fail-on-error",
        "--no-breadcrumbs", "--no-add-antsibull-docs-version", "--dest-dir", str(source / "reference"), "basecast.fleet",
    )  # fmt: skip
    (source / "reference/index.rst").unlink(missing_ok=True)
    for page in (source / "reference").glob("*.rst"):
        # A key that is a star comes unescaped, as a transition. The theme shows a list of headings beside each page itself.
        text = page.read_text().replace("\n      *****\n", "\n      **\\***\n")
        page.write_text(CONTENTS.sub("", text))
    pages(source)
    index(source)
    run(str(binaries / "sphinx-build"), "-q", "-W", "-n", "--keep-going", "-E", "-j", "2", "-b", "html", str(source), str(html))
    for page in html.rglob("*.html"):
        page.write_text(accessible(page.read_text()))
    print(html.relative_to(ROOT) / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
