# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether cloudbase-init will understand what it is told. What it does not know it passes over in silence."""

from __future__ import annotations

import re
import typing as t

from .user_data import cloud_config_of, mime_parts, strange_characters, user_data_problems

# First lines by which cloudbase-init tells scripts apart, and MIME.
_KNOWN = re.compile(
    r"#ps1(_sysnative|_x86)?\s|rem cmd\s|#!|<(powershell|script)>|(content-type|mime-version)[ \t]*:|-----BEGIN ", re.IGNORECASE
)
_SECRET_KEYS = ("passwd", "plain_text_passwd", "hashed_passwd", "password")
_NO_PASSWORD = "a password is not accepted, as Windows takes no hash of one; give keys or certificates"


def cloudbase_problems(user_data: t.Any) -> list[str]:
    """What is wrong with it, as parts of sentences; empty when nothing was found. Contents may be secret: only names of keys are told."""
    config = user_data
    if isinstance(user_data, str) and user_data.strip():
        strange = strange_characters(user_data)
        if strange:
            return [strange]
        begin = user_data.lstrip()
        if not begin.startswith("#cloud-config"):
            if user_data.startswith("\ufeff") or not _KNOWN.match(begin):
                return [
                    "its first line is not one that cloudbase-init knows (such as #ps1_sysnative, rem cmd or #cloud-config), and it is not"
                    " a MIME message"
                ]
            # Of the parts, cloud-config alone can be looked into.
            configs = [content for kind, content in mime_parts(begin) if kind == "text/cloud-config"]
            return [f"{place}: {problem}" for place, problem in _configs(configs)]
        config, problem = cloud_config_of(user_data)
        if problem:
            return [problem]
    if not isinstance(config, dict):
        return user_data_problems(user_data)
    users = config.get("users")
    places = [("", config), *((f"users[{at}].", user) for at, user in enumerate(users if isinstance(users, list) else ()))]
    found = [f"{place}{key}: {_NO_PASSWORD}" for place, one in places if isinstance(one, dict) for key in _SECRET_KEYS if key in one]
    if "chpasswd" in config:
        found.append(f"chpasswd: {_NO_PASSWORD}")
    return found or user_data_problems(config)


def _configs(texts: t.Sequence[str]) -> t.Iterator[tuple[str, str]]:
    for number, text in enumerate(texts, 1):
        config, problem = cloud_config_of(text)
        for found in [problem] if problem else cloudbase_problems(config) if isinstance(config, dict) else ():
            yield f"cloud-config {number}", found


def meta_data_problems(meta_data: t.Mapping[str, t.Any]) -> list[str]:
    more = meta_data.get("meta")
    places = [("", meta_data), *([("meta.", more)] if isinstance(more, dict) else [])]
    return [f"{place}admin_pass: {_NO_PASSWORD} (public_keys, meta.admin_cert0)" for place, one in places if "admin_pass" in one]
