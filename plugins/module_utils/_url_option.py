# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""URLs as options: their queries may be secret, as those of signed URLs are."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._disk.download import public_url, secrets_of


def hide_query(module: AnsibleModule, option: str, url: str, params: dict[str, t.Any] | None = None) -> None:
    """Show only the public part of a URL in the result's ``invocation``, and its query nowhere.

    The option is declared no_log. AnsibleModule would hide the whole URL wherever it occurs, also where its public part is
    what a base disk is known by.

    :param params: where the option stands, when it is a suboption.
    """
    (module.params if params is None else params)[option] = public_url(url)
    module.no_log_values.discard(url)
    module.no_log_values.update(secrets_of(url))
