# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""A run in a few lines that can be pasted into a ticket: which run, what there is, what is missing and why, what to try."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ..relay.text import duration, plural, size
from .wrapped_text import wrapped

Data = Mapping[str, t.Any]

MOST_PROBLEMS, MOST_NAMES, MOST_EVENTS, MOST_COMMANDS = 10, 8, 10, 4


def ticket(report: Data) -> list[str]:
    """Lines of at most 100 columns where names allow it.

    :param report: as deploy_report makes it, with what run_details and problems_of add.
    """
    commands = list(dict.fromkeys(command for problem in report["problems"] for command in problem["try"]))[:MOST_COMMANDS]
    lines = [line for indent, text in _told(report) for line in wrapped(text, indent)]
    return [*lines, *(["Next:"] if commands else []), *(f"  {command}" for command in commands)]


def _told(report: Data) -> Iterator[tuple[str, str]]:
    """(indent, text) of each paragraph. Commands stay on one line, so that they can be copied."""
    what = "plan" if report["kind"] == "plan" else "check of a deployment" if report["predicted"] else "deployment"
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(report["began_at"]))
    version = f" {report['version']}" if report.get("version") else ""
    yield "", f"basecast.fleet{version}, {what} of {report['service']} (tenant {report['tenant']}), run {report['run']}, {began}"
    there = len(report["machines"]) - len(report["missing"])
    verb = "would be" if report["predicted"] else "are"
    took = "" if report["kind"] == "plan" else f" after {duration(report['took_s'])}"
    yield "", f"{there} of {len(report['machines'])} machines {verb} there{took}."
    traffic = report["traffic"]
    if traffic["minimum_bytes"]:
        yield "", _crossed(traffic["received_bytes"], traffic["minimum_bytes"])
    for relay in report["relays"]:
        yield from _relay(relay, report)
    for problem in report["problems"][:MOST_PROBLEMS]:
        yield "", f"{problem['host'] or 'Problem'}: {problem['title']}" + (f" ({_few(problem['machines'])})" if problem["machines"] else "")
        yield "  ", problem["cause"]
    if len(report["problems"]) > MOST_PROBLEMS:
        yield "", f"and {len(report['problems']) - MOST_PROBLEMS} more causes"
    for event in report["events"][-MOST_EVENTS:]:
        yield "", f"{duration(event['at_s'])}: {event['text']}"


def _crossed(received: int | None, minimum: int) -> str:
    if received is None:
        return f"{size(minimum)} is the least that has to cross the network."
    if received < minimum:
        return f"{size(received)} crossed the network, less than the {size(minimum)} that were planned."
    return f"{size(received)} crossed the network; the least possible is {size(minimum)}."


def _relay(relay: Data, report: Data) -> Iterator[tuple[str, str]]:
    first = relay["first"] or {}
    told = []
    if relay["ended_s"] is not None:
        told = [f"last host after {duration(relay['ended_s'])}", f"{duration(relay['moving_s'])} after the first transfer began"]
    if first.get("predicted_s") is not None and not first["assumed"]:
        known = not first.get("estimated_links")
        bound = f", lower bound {duration(first['lower_bound_s'])}" if known else " (links of the plan were estimated)"
        told.append(f"predicted {'' if known else '~'}{duration(first['predicted_s'])}{bound}")
    hosts = plural(len(relay["targets"]), "host")
    yield "", f"Relay of {relay['base']}, {size(relay['size_bytes'])} to {hosts}{': ' if told else ''}{', '.join(told)}."


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
