# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Options of modules that fetch images: what of them is secret, and how it stays so."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._disk.server_access import Access, checked_access, secrets, split_user
from ._urls import public_checksum, public_url, secrets_of, split_checksum

#: Names of the options that ``taken_access`` reads.
SERVER_OPTIONS = ("auth", "ca_file", "proxy")


def server_arguments() -> dict[str, t.Any]:
    """Argument spec of the options of the fragment ``_servers``."""
    auth = {
        "host": {"type": "str", "required": True},
        "username": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "token": {"type": "str", "no_log": True},
        "plain_http": {"type": "bool", "default": False},
    }
    return {
        "auth": {"type": "list", "elements": "dict", "default": [], "options": auth, "no_log": True},
        "ca_file": {"type": "str"},
        "proxy": {"type": "str", "no_log": True},
    }


def hide_url(module: AnsibleModule, url: str, params: dict[str, t.Any], option: str = "url", secret: bool = False) -> None:
    """Show only the public part of a URL in the result's ``invocation``, and its query nowhere.

    The option is declared no_log. AnsibleModule would hide the whole URL wherever it occurs, also where its public part is
    what a base disk is known by.

    :param params: where the option stands.
    :param secret: its path is hidden like its query.
    """
    params[option] = public_url(url, secret)
    module.no_log_values.discard(url)
    module.no_log_values.update(secrets_of(url, secret))


def hide_urls(module: AnsibleModule, params: dict[str, t.Any]) -> None:
    """The same of all options of a source that are URLs, or may be: ``url``, ``mirrors`` and ``checksum``."""
    secret = bool(params.get("secret"))
    if params.get("url") is not None:
        hide_url(module, params["url"], params, secret=secret)
    shown = []
    for mirror in params.get("mirrors") or []:
        module.no_log_values.discard(mirror)
        module.no_log_values.update(secrets_of(mirror, secret))
        shown.append(public_url(mirror, secret))
    if params.get("mirrors"):
        params["mirrors"] = shown
    text = params.get("checksum")
    if text is not None:
        module.no_log_values.discard(text)
        module.no_log_values.update(secrets_of(split_checksum(text)[1], secret))
        params["checksum"] = public_checksum(text, secret)


def taken_access(module: AnsibleModule, ca: str | None = None) -> Access:
    """What the options say, and no trace of what is secret in it in anything that the module returns."""
    params = module.params
    auth, proxy = params["auth"], params["proxy"]
    given = [dict(one) for one in auth]
    for one in auth:
        # Only what is wrong with the options themselves was told with all of them hidden.
        module.no_log_values.difference_update(str(value) for value in one.values())
        for key in ("password", "token"):
            if one[key] is not None:
                one[key] = "(hidden)"
    module.no_log_values.update(secrets(given, proxy))
    if proxy is not None:
        module.no_log_values.discard(proxy)
        params["proxy"] = public_url(split_user(proxy)[1])
    return checked_access(given, params["ca_file"], ca, proxy)
