# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

from hypothesis import settings

# How long an example takes says more of what else the machine does. `make test-all` tries more of them.
settings.register_profile("unit", deadline=None, max_examples=100 if os.environ.get("BASECAST_THOROUGH") else 40)
settings.load_profile("unit")
