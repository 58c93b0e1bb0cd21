# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Names that become part of a path, a domain name or a host name: one rule for all of them."""

from __future__ import annotations

import re
import typing as t

from ._errors import InvalidOption

NAME_RULE = "letters, digits, '.', '_' and '-', at most 63, the first a letter or digit"
HOST_LABEL_RULE = "lower-case letters, digits and '-', at most 50, the first and last a letter or digit"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def is_name(value: t.Any) -> bool:
    return isinstance(value, str) and _NAME.match(value) is not None


def is_host_label(value: t.Any) -> bool:
    return isinstance(value, str) and _HOST_LABEL.match(value) is not None


def is_sha256(value: t.Any) -> bool:
    return isinstance(value, str) and _SHA256.match(value) is not None


def check_name(option: str, value: t.Any) -> str:
    """The value, or InvalidOption: it must not be able to leave its directory."""
    if not is_name(value):
        raise InvalidOption(option, value, f"a name has {NAME_RULE}")
    return value


#: Stands for a digest that only the real run can tell, in check mode.
UNKNOWN_SHA256 = "0" * 64


def check_sha256(option: str, value: t.Any) -> str:
    if not is_sha256(value):
        raise InvalidOption(option, value, "a SHA-256 digest has 64 lower-case hexadecimal digits")
    return value
