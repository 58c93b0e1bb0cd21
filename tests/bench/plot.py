# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Draws results: `plot.py results.json plot.svg`. Runs in an environment of its own, which has matplotlib."""

from __future__ import annotations

import json
import statistics
import sys
import typing as t

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

OWN, OTHER, FAILED, LIMIT = "#1b6ca8", "#9aa5b1", "#d9d9d9", "#b3261e"

# Longer bars are cut, so that the short ones can be told apart; the figure stands beside each.
LONGEST = 12.0

WHAT = {
    "spread": "time over the physical limit (file size / link rate)",
    "sites": "time over the physical limit (file size / rate of the link between the sites)",
    "kill": "time over the same tool's undisturbed time",
    "single": "GB/s",
    "deploy": "seconds since the command",
}

# Of the phases of a deployment, in their order.
SHADES = ("#0b3c5d", "#1b6ca8", "#6fa8d0", "#c9b458", "#9aa5b1")


def value(kind: str, result: dict[str, t.Any]) -> float | None:
    """Length of a bar; None for a tool that did not do its work."""
    runs = result["runs"]
    if not runs or any(run["seconds"] is None for run in runs):
        return None
    seconds = statistics.median(run["seconds"] for run in runs)
    if kind == "single":
        return result["size_bytes"] / seconds / 1e9
    if kind == "kill":
        return statistics.median(run["seconds"] / run["undisturbed_s"] for run in runs)
    return seconds / result["limit_s"]


def draw(axes: t.Any, scenario: dict[str, t.Any]) -> None:
    kind = scenario["kind"]
    bars = [(result, value(kind, result)) for result in scenario["results"] if not result["missing"]]
    bars.sort(key=lambda bar: (bar[1] is None, -bar[1] if kind == "single" and bar[1] else bar[1] or 0.0))
    longest = max((min(length, LONGEST) for _result, length in bars if length), default=1.0)
    for place, (result, length) in enumerate(bars):
        own = result["tool"].startswith("relay")
        if length is None:
            axes.barh(place, longest * 0.02, color=FAILED)
            label = "files missing or truncated"
        else:
            axes.barh(place, min(length, LONGEST), color=OWN if own else OTHER)
            label = f"{length:.2f}" + (" (bar cut)" if length > LONGEST else "")
        shown = min(length, LONGEST) if length else longest * 0.02
        axes.text(shown + longest * 0.01, place, label, va="center", fontsize=8, color=LIMIT if length is None else "black")
    if kind != "single":
        axes.axvline(1.0, color=LIMIT, linewidth=1)
    axes.set_yticks(range(len(bars)), [result["title"] for result, _length in bars], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.2)
    axes.set_title(scenario["title"], fontsize=10, loc="left")
    axes.set_xlabel(WHAT[kind], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def draw_phases(axes: t.Any, scenario: dict[str, t.Any]) -> None:
    """A bar for each deployment, cut into its phases."""
    told = [result for result in scenario["results"] if result["runs"]]
    names = list(dict.fromkeys(name for result in told for name in result["runs"][0]["phases"]))
    for place, result in enumerate(told):
        run, at = result["runs"][0], 0.0
        for name, shade in zip(names, SHADES, strict=False):
            seconds = run["phases"].get(name, 0.0)
            axes.barh(place, seconds, left=at, color=shade, label=name if not place else None)
            at += seconds
        failed = run["seconds"] is None
        axes.text(at, place, " failed" if failed else f" {at:.1f}", va="center", fontsize=8, color=LIMIT if failed else "black")
    axes.set_yticks(range(len(told)), [result["title"] for result in told], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.legend(fontsize=7, loc="lower right", frameon=False)
    axes.set_title(scenario["title"], fontsize=10, loc="left")
    axes.set_xlabel(WHAT["deploy"], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def main(source: str, target: str) -> None:
    with open(source, encoding="utf-8") as file:
        found = json.load(file)
    scenarios = [one for one in found["scenarios"] if one["kind"] in WHAT]
    if not scenarios:
        return
    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["svg.hashsalt"] = "basecast.fleet"
    heights = [1.2 + 0.26 * len(one["results"]) for one in scenarios]
    figure, all_axes = plt.subplots(len(scenarios), 1, figsize=(8, sum(heights)), height_ratios=heights, squeeze=False)
    for axes, scenario in zip(all_axes[:, 0], scenarios, strict=True):
        (draw_phases if scenario["kind"] == "deploy" else draw)(axes, scenario)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
