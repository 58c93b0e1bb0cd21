# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What the modules that talk to a relay node share."""

from __future__ import annotations

import contextlib
import typing as t

from ._errors import FleetError, InvalidOption
from ._names import check_name
from ._relay.errors import ControlFailed, RelayError
from ._relay.node.run_directory import RunDirectory
from ._text import clean

RUN: dict[str, t.Any] = {"run": {"type": "str", "required": True}, "runtime_dir": {"type": "str", "default": "/run/basecast"}}


@contextlib.contextmanager
def node_of_run(runtime_dir: str, run: str) -> t.Iterator[RunDirectory]:
    """The place of this host's node of a run; what goes wrong with it becomes the user's sentence."""
    check_name("run", run)
    runtime = RunDirectory(runtime_dir, run)
    try:
        yield runtime
    except ControlFailed:
        raise FleetError(_gone(runtime, run), run=run)
    except RelayError as error:
        fields = {key: value for key, value in error.fields.items() if key != "kind"}
        raise FleetError(error.message, **fields)
    except OSError as error:
        raise FleetError(f"The relay node of the run {run}: {error}", run=run) from error


def _gone(runtime: RunDirectory, run: str) -> str:
    """Why no node answers, as far as it can be known, and what to do."""
    ended = runtime.read_ending().get("ended")
    if ended:
        why = f"It has ended: {clean(ended, 300)}."
    elif runtime.log_tail():
        why = f"It died; its last words: {clean(runtime.log_tail(), 1000)}"
    else:
        why = "It was never started here, was stopped, or the host was restarted since."
    return (
        f"The relay node of the run {run} is not running on this host. {why} "
        "Deploy again: chunks that have arrived are kept, and only the missing ones are fetched."
    )


def checked_peers(peers: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """The option ``peers``: {host: {"address", "port"}}; other keys are left out."""
    for host, at in peers.items():
        if not isinstance(at, dict) or not at.get("address") or not isinstance(at.get("port"), int):
            raise InvalidOption(f"peers.{host}", at, "a peer is {address, port}")
    return {host: {"address": str(at["address"]), "port": at["port"]} for host, at in peers.items()}


def answer(node: dict[str, t.Any], changed: bool = False) -> dict[str, t.Any]:
    """The module's result from what the node said of itself, and of the fleet."""
    of_fleet = {key: node.pop(key) for key in ("fleet", "fleet_settled") if key in node}
    return {"changed": changed, "node": node, **of_fleet}


def look(runtime: RunDirectory, fleet: bool = False) -> dict[str, t.Any]:
    """The module's result in check mode: what there is at this moment."""
    try:
        return answer(runtime.ask("progress", fleet=fleet))
    except ControlFailed:
        return {"changed": False, "node": {}}
