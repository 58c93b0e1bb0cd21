# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection; may change at any time.

"""One step of a watch over a running relay."""

from __future__ import annotations

from .recover import decide
from .state import Actions, Event, News, Watch
from .watch import look


def step(watch: Watch, event: Event) -> tuple[Watch, Actions]:
    """The watch after an event, and what is to be done about it.

    News end with whom to ask and what to measure, answers with new plans and parts where those are called for.

    :raises FleetError: if what is left cannot be planned.
    """
    return look(watch, event) if isinstance(event, News) else decide(watch, event)
