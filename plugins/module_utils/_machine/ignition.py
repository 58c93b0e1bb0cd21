# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether Ignition will understand a configuration: it stops the guest's first boot at what it does not know."""

from __future__ import annotations

import json
import re
import typing as t

from .user_data import password_problems, strange_characters

_VERSION = re.compile(r"[23]\.[0-9]{1,2}\.[0-9]{1,2}(-[a-z]+)?")
_SECTIONS = ("networkd", "passwd", "storage", "systemd")
_BUTANE = "it is Butane, not Ignition; 'butane --strict FILE' makes Ignition of it"


def ignition_problems(value: t.Any) -> list[str]:
    """What is wrong with it, as parts of sentences; empty when nothing was found.

    :param value: a mapping, or a text of JSON. Contents may be secret: only names of keys are told.
    """
    if isinstance(value, str):
        strange = strange_characters(value)
        if strange:
            return [strange]
        try:
            parsed = json.loads(value)
        except RecursionError:
            return ["it is nested too deep"]
        except ValueError as error:
            if re.search(r"^variant:", value, re.MULTILINE):
                return [_BUTANE]
            line = getattr(error, "lineno", None)
            return [f"{f'line {line}: ' if line else ''}it is not JSON, as Ignition's configuration is"]
        return list(_config(parsed))
    return list(_config(value))


def _config(config: t.Any) -> t.Iterator[str]:
    if not isinstance(config, dict):
        yield "an Ignition configuration is a mapping, or its text in JSON"
        return
    about = config.get("ignition")
    if "variant" in config and about is None:
        yield _BUTANE
        return
    version = about.get("version") if isinstance(about, dict) else None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        yield "ignition.version: missing, or not a version of the specification such as 3.4.0 (in quotes)"
    for name in _SECTIONS:
        if not isinstance(config.get(name, {}), dict):
            yield f"{name}: a mapping is expected"
    passwd = config.get("passwd")
    users = passwd.get("users") if isinstance(passwd, dict) else None
    for number, user in enumerate(users if isinstance(users, list) else ()):
        if isinstance(user, dict):
            yield from password_problems(f"passwd.users[{number}].passwordHash", user.get("passwordHash"))
