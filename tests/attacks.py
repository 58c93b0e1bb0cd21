# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure a node under every attack of rogue.py, and print the tables of docs/relay-security.md.

sudo .venv/bin/python tests/attacks.py [options of pytest]
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGEST = 100


def table(rows: list[dict[str, object]], what: str) -> list[str]:
    lines = [f"| {what} | memory, MiB | time, s | in `attempts` |", "|---|---|---|---|"]
    for row in rows:
        named = " ".join(str(text) for text in row["named"]) if isinstance(row["named"], list) else ""
        short = named if len(named) <= LONGEST else named[:LONGEST] + "…"
        shown = f"`{short}`" if "\\" in short else short.replace("|", "\\|")
        lines.append(f"| {row['attack']} | {row['mib']} | {row['s']} | {shown} |")
    return lines


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        seen = pathlib.Path(directory, "rows")
        seen.touch()
        environment = {
            **os.environ,
            "BASECAST_ATTACK_TABLE": str(seen),
            "BASECAST_CHECKOUT": str(ROOT),
            "PYTHONPATH": str(ROOT / ".collections"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
        }
        command = [str(ROOT / ".venv/bin/python"), "-m", "pytest", "-q", "tests/integration/test_rogue.py", *sys.argv[1:]]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=sys.stderr, check=False)
        rows = [json.loads(line) for line in seen.read_text(encoding="utf-8").splitlines()]
    parent = "parent "
    children = [row for row in rows if not row["attack"].startswith(parent)]
    parents = [{**row, "attack": row["attack"][len(parent) :]} for row in rows if row["attack"].startswith(parent)]
    print("\n".join([*table(children, "attack"), "", *table(parents, "the parent")]))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
