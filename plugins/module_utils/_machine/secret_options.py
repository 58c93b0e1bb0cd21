# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Options whose values must not show up anywhere."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule


def take_secret(module: AnsibleModule, option: str) -> t.Any:
    """The value of an option that is declared no_log, and no trace of it in the result's ``invocation``.

    AnsibleModule hides every string of such an option wherever it occurs in the result. For structures that hold
    names as well as secrets this would blank out names in the result; here no value is ever part of the result.
    """
    value = module.params[option]
    module.params[option] = "(hidden)"
    module.no_log_values.clear()
    return value
