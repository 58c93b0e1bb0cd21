# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes docs/samples/demo.cast (asciinema's format) and docs/samples/demo.svg of a real run of the demonstration.

With the argument ``--draw`` the picture is drawn again from the recording that is there.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CAST = CHECKOUT / "docs/samples/demo.cast"
PICTURE = CHECKOUT / "docs/samples/demo.svg"

COLUMNS, ROWS = 100, 30
# The picture's pace: longer waits are shortened, so that a run of minutes can be watched.
LEAST_S, MOST_S, LAST_S = 0.12, 1.2, 10.0
CHARACTER, LINE, MARGIN, BAR = 8.43, 18, 16, 34
# Times vary from run to run; a title and what was seen are worth a glance.
TITLE = re.compile(r"^(basecast\.fleet:|\d\. |All of it was seen)")


class NotFit(Exception):
    """The recording cannot be published."""


def record() -> list[tuple[float, str]]:
    """What the demonstration shows, each line with the second in which it came."""
    began = time.monotonic()
    lines = [(0.0, "# make demo")]
    process = subprocess.Popen(
        [sys.executable, str(HERE / "demo.py")], cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append((round(time.monotonic() - began, 2), line.rstrip("\n")))
    if process.wait():
        raise NotFit(f"the demonstration ended with exit code {process.returncode}; nothing was recorded")
    return lines


def check(lines: Sequence[tuple[float, str]]) -> None:
    """Refuses what tells of this machine: its directories, its name, its user."""
    private = {str(CHECKOUT), str(Path.home()), socket.gethostname(), getpass.getuser()} - {"", "/", "root"}
    for _at, line in lines:
        found = [word for word in private if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", line)]
        if found or re.search(r"/(home|root|tmp|work|var/tmp)/", line):
            raise NotFit(f"this line tells of the machine that it was recorded on: {line}")


def write_cast(lines: Sequence[tuple[float, str]]) -> None:
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "idle_time_limit": 2.0, "title": "basecast.fleet: make demo"}
    events = [json.dumps([at, "o", f"{line}\r\n"], ensure_ascii=False) for at, line in lines]
    CAST.write_text("\n".join([json.dumps(header), *events]) + "\n")


def read_cast() -> list[tuple[float, str]]:
    events = [json.loads(line) for line in CAST.read_text().splitlines()[1:]]
    return [(at, text.rstrip("\r\n")) for at, _kind, text in events]


def rows(lines: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """Rows of the terminal; a line that is too long goes on below its own indentation."""
    for at, line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        for row in textwrap.wrap(line, COLUMNS, subsequent_indent=indent, drop_whitespace=False, break_long_words=True) or [""]:
            yield at, row.rstrip()


def shortened(times: Sequence[float]) -> list[float]:
    """When each row appears in the picture."""
    shown, now = [], 0.0
    for before, at in zip([0.0, *times], times, strict=False):
        now += min(MOST_S, max(LEAST_S, at - before))
        shown.append(now)
    return shown


def draw(lines: Sequence[tuple[float, str]]) -> str:
    """A terminal into which the rows come from below, by CSS alone; where motion is not wanted, it shows the end."""
    found = list(rows(lines))
    appear = shortened([at for at, _text in found])
    whole = appear[-1] + LAST_S
    steps = [f"{100 * at / whole:.2f}%{{transform:translateY({-LINE * (number + 1)}px)}}" for number, at in enumerate(appear)]
    end = -LINE * len(found)
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, ROWS * LINE + BAR + MARGIN
    texts = []
    for number, (_at, text) in enumerate(found):
        kind = "t" if TITLE.match(text) or text.startswith("# ") else "s" if " seen: " in text else ""
        if text:
            mark = f' class="{kind}"' if kind else ""
            texts.append(f'<text{mark} x="{MARGIN}" y="{BAR + (ROWS + number + 1) * LINE - 5}" xml:space="preserve">{escape(text)}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" aria-labelledby="title about">',
            '<title id="title">make demo, recorded</title>',
            '<desc id="about">Four hosts and four machines; a host loses power in the middle of the relay, the others are deployed, '
            "and the same command again brings what is missing. The recording as text: demo.cast.</desc>",
            "<style>text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d5dbe3}"
            ".t{fill:#fff;font-weight:700}.s{fill:#7ee2a0}"
            f"#r{{transform:translateY({end}px);animation:r {whole:.1f}s step-end infinite}}"
            f"@keyframes r{{0%{{transform:translateY(0)}}{''.join(steps)}100%{{transform:translateY({end}px)}}}}"
            "@media (prefers-reduced-motion:reduce){#r{animation:none}}</style>",
            f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#14181f"/>',
            *(f'<circle cx="{20 + 18 * n}" cy="17" r="5.5" fill="#4a5361"/>' for n in range(3)),
            f'<clipPath id="c"><rect x="0" y="{BAR}" width="{width:.0f}" height="{ROWS * LINE}"/></clipPath>',
            f'<g clip-path="url(#c)"><g id="r">{"".join(texts)}</g></g>',
            "</svg>",
            "",
        ]
    )


def main() -> int:
    os.environ["COLUMNS"] = str(COLUMNS)
    try:
        lines = read_cast() if "--draw" in sys.argv[1:] else record()
        check(lines)
    except NotFit as error:
        print(f"demo-recording: {error}", file=sys.stderr)
        return 1
    write_cast(lines)
    PICTURE.write_text(draw(lines))
    print(f"{CAST.relative_to(CHECKOUT)}, {PICTURE.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
