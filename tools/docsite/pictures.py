# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pictures of docs/pictures, drawn from data: the rooms from the table that the tests of imports check, relays from plans.

With ``--check``, names those that are out of date.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/pictures"
STYLE = """<style>
text{font:13px system-ui,'DejaVu Sans',sans-serif;fill:#1c2430}.h{font-weight:600;font-size:14px}.q{fill:#5b6675;font-size:12px}
.card{fill:#fff;stroke:#d5dbe3}.box{fill:#eef3f9;stroke:#8aa2bf}.bar{fill:#2f6fb3}.two{fill:#b35c00}.line{stroke:#8aa2bf;fill:none}
.grid{stroke:#e3e8ee}.tip{fill:#8aa2bf}.on{fill:#fff;font-size:12px}
@media (prefers-color-scheme:dark){text{fill:#e3e8ee}.q{fill:#a3afbd}.card{fill:#171c24;stroke:#38424f}.box{fill:#243040;stroke:#6b86a8}
.bar{fill:#6ca6e0}.two{fill:#f0a35a}.line{stroke:#6b86a8}.grid{stroke:#2a323d}.tip{fill:#6b86a8}.on{fill:#10141a}}
</style>"""
# The relay of the pictures: a base of 2 GiB on kvm1, and seven hosts without it.
HOSTS, SIZE, MBPS = 8, 2 * 2**30, 1000
# Rooms of the host side and of the controller; the rest is Ansible's.
HOST_SIDE = ("_base_format", "_disk", "_machine", "_job", "_move", "_relay")
CONTROLLER_SIDE = ("_plan", "_progress", "_report")


def svg(width: float, height: float, title: str, about: str, body: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="t d">'
    card = f'<rect class="card" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8"/>'
    return "\n".join([head, f'<title id="t">{escape(title)}</title><desc id="d">{escape(about)}</desc>', STYLE, card, *body, "</svg>", ""])


def label(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text{mark} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


# ---- rooms


def arrows() -> dict[str, set[str]]:
    """The table of tests/static/test_layers.py: each room, and those that it may import from."""
    path = ROOT / "tests/static/test_layers.py"
    spec = importlib.util.spec_from_file_location("layers", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return t.cast("dict[str, set[str]]", module.ARROWS)


def floors(table: Mapping[str, set[str]], inside: Sequence[str]) -> list[list[str]]:
    """The rooms of one side, by how many rooms they stand above the ground; rooms that import each other stand side by side."""
    rooms = [room for room in table if room.split("/")[0] in inside]
    level: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in level:
            level[room] = 1 + max((of(below) for below in table[room] if below in rooms and room not in table[below]), default=-1)
        return level[room]

    for room in rooms:
        of(room)
    return [[room for room in rooms if level[room] == number] for number in sorted(set(level.values()), reverse=True)]


def rooms_picture() -> str:
    table = arrows()
    body: list[str] = []
    tallest, x = 0.0, 20.0
    for title, inside, columns in (
        ("On the controller: plugin_utils", CONTROLLER_SIDE, 3),
        ("On each host: module_utils", HOST_SIDE, 3),
    ):
        body.append(label(x, 34, title, "h"))
        y = 50.0
        for row in floors(table, inside):
            for at in range(0, len(row), columns):
                for column, room in enumerate(row[at : at + columns]):
                    left = x + column * 136
                    body.append(f'<rect class="box" x="{left:.0f}" y="{y:.0f}" width="128" height="30" rx="4"/>')
                    body.append(label(left + 64, y + 20, room.removeprefix("_").replace("/", " / "), "", "middle"))
                y += 36
            y += 12
        tallest = max(tallest, y)
        x += columns * 136 + 30
    pairs = sorted(
        {tuple(sorted((room, other))) for room in table for other in table[room] if other != room and room in table.get(other, ())}
    )
    mutual = "".join(f" {one.split('/')[-1]} and {other.split('/')[-1]} also know each other." for one, other in pairs)
    body.append(label(20, tallest + 14, f"A room imports only from rooms below it, which a test of every import sees to.{mutual}", "q"))
    return svg(
        x - 10,
        tallest + 32,
        "The rooms of the collection",
        "Rooms of the controller and of the hosts, each above those that it imports from",
        body,
    )


# ---- relays


def named(name: str) -> t.Any:
    """A filter of the collection."""
    module = importlib.import_module(f"ansible_collections.basecast.fleet.plugins.filter.{name}")
    return module.FilterModule().filters()[name]


def plan_text() -> str:
    """The plan that docs/plan.md explains."""
    rates = {("kvm1", "kvm2"): 940, ("kvm1", "kvm3"): 300, ("kvm1", "kvm4"): 200}
    hosts = [f"kvm{number}" for number in range(1, 5)]
    links = [{"from": a, "to": b, "mbps": rates.get((min(a, b), max(a, b)), 600)} for a in hosts for b in hosts if a != b]
    matrix = named("deployment_matrix")(links, SIZE)
    return str(named("relay_plan_text")(named("relay_plan")(matrix, ["kvm1"], mode="staged", size_bytes=SIZE), matrix))


def plan(mode: str) -> dict[str, t.Any]:
    hosts = [f"kvm{number}" for number in range(1, HOSTS + 1)]
    links = [{"from": a, "to": b, "mbps": MBPS} for a in hosts for b in hosts if a != b]
    matrix = named("deployment_matrix")(links, SIZE)
    return t.cast("dict[str, t.Any]", named("relay_plan")(matrix, ["kvm1"], mode=mode, size_bytes=SIZE))


def moves(made: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    return sorted((move for stage in made["stages"] for move in stage), key=lambda move: (move["start_s"], move["end_s"], move["to"]))


def timeline_picture() -> str:
    plans = {
        "Star: kvm1 sends to one host after the other": [
            {"from": "kvm1", "to": f"kvm{n + 2}", "start_s": n * SIZE * 8 / MBPS / 1e6, "end_s": (n + 1) * SIZE * 8 / MBPS / 1e6}
            for n in range(HOSTS - 1)
        ],
        "Staged relay: each host serves once it has the base": moves(plan("staged")),
        "Cut-through relay: each chunk goes on as soon as it is verified": moves(plan("cut_through")),
    }
    latest = max(move["end_s"] for found in plans.values() for move in found)
    left, width, y = 70.0, 600.0, 30.0
    body = []
    for number, (title, found) in enumerate(plans.items()):
        ends = max(move["end_s"] for move in found)
        body += [label(20, y, title, "h"), label(left + width, y, f"all after {ends:.0f} s", "q", "end")]
        y += 10
        for move in found:
            start, end = (left + width * move[key] / latest for key in ("start_s", "end_s"))
            body.append(label(left - 8, y + 13, move["to"], "q", "end"))
            kind, wide = "two" if number == 0 else "bar", end - start
            body.append(f'<rect class="{kind}" x="{start:.1f}" y="{y + 2:.1f}" width="{wide:.1f}" height="14" rx="2"/>')
            body.append(label(start + 4, y + 13, f"from {move['from']}", "on"))
            y += 19
        y += 24
    for tick in range(0, int(latest) + 1, 20):
        at = left + width * tick / latest
        body += [
            f'<line class="grid" x1="{at:.1f}" y1="{y - 20:.1f}" x2="{at:.1f}" y2="{y - 14:.1f}"/>',
            label(at, y, f"{tick} s", "q", "middle"),
        ]
    about = f"When each of {HOSTS - 1} hosts receives {SIZE // 2**30} GiB over links of {MBPS} Mbit/s, by a star and by two relay plans"
    return svg(left + width + 20, y + 14, "One base, seven hosts, three ways", about, body)


def tree_picture() -> str:
    made = plan("staged")
    children: dict[str, list[str]] = {}
    for move in moves(made):
        children.setdefault(move["from"], []).append(move["to"])
    when = {move["to"]: move["end_s"] for move in moves(made)} | dict.fromkeys(made["sources"], 0.0)
    place: dict[str, tuple[float, float]] = {}
    free = 0

    def put(host: str, depth: int) -> None:
        nonlocal free
        for child in children.get(host, []):
            put(child, depth + 1)
        if host in children:
            x = sum(place[child][0] for child in children[host]) / len(children[host])
        else:
            x, free = 70.0 + 130 * free, free + 1
        place[host] = (x, 40.0 + 84 * depth)

    for source in made["sources"]:
        put(source, 0)
    body = []
    for host, below in children.items():
        for child in below:
            (x, y), (to_x, to_y) = place[host], place[child]
            body.append(
                f'<path class="line" d="M{x:.1f} {y + 34:.1f}C{x:.1f} {y + 58:.1f} {to_x:.1f} {to_y - 24:.1f} {to_x:.1f} {to_y:.1f}"/>'
            )
    for host, (x, y) in place.items():
        body.append(f'<rect class="box" x="{x - 50:.1f}" y="{y:.1f}" width="100" height="34" rx="4"/>')
        body.append(label(x, y + 15, host, "h", "middle"))
        body.append(label(x, y + 29, f"has it at {when[host]:.0f} s" if when[host] else "holds the base", "q", "middle"))
    width, height = max(x for x, _y in place.values()) + 70, max(y for _x, y in place.values()) + 60
    return svg(width, height, "A staged relay as a tree", "Which host receives the base from which", body)


PICTURES = {"rooms.svg": rooms_picture, "relay-timeline.svg": timeline_picture, "relay-tree.svg": tree_picture}


def main() -> int:
    stale = []
    FOLDER.mkdir(exist_ok=True)
    for name, drawn in PICTURES.items():
        path, text = FOLDER / name, drawn()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                path.write_text(text)
    if stale:
        print(f"{'out of date, make docs draws them' if '--check' in sys.argv[1:] else 'drawn'}: {', '.join(stale)}")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
