# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The one bridge between AnsibleModule and the code that does the work."""

from __future__ import annotations

import os
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._errors import LONGEST, FleetError, InvalidOption
from ._names import check_name
from ._text import clean, clean_data

DEFAULT_POOLS = {"default": "/var/lib/libvirt/images"}


def run_module(work: t.Callable[[AnsibleModule], t.Mapping[str, t.Any]], exact: t.Collection[str] = (), **spec: t.Any) -> None:
    """Run a module whose work is one function from AnsibleModule to its result.

    Texts in results, warnings and errors may come from other parties, so all of them are made fit for a terminal.

    :param work: returns what goes to exit_json; raises FleetError for what the user has to know.
    :param exact: keys of the result that must come back as they were stored, to the last control character.
    :param spec: arguments of AnsibleModule.
    """
    module = AnsibleModule(**spec)
    warn, fail = module.warn, module.fail_json
    module.warn = lambda warning, *rest, **named: warn(clean(warning), *rest, **named)
    module.fail_json = lambda msg, **named: fail(clean(msg, LONGEST), **clean_data(named))
    try:
        result = work(module)
    except FleetError as error:
        module.fail_json(msg=error.message, failure=error.fields)
    except Exception as error:  # the user gets a sentence, -vvv the traceback
        module.fail_json(
            msg=f"Unexpected {type(error).__name__}: {error}. This is a defect; -vvv shows where.",
            failure={"kind": "unexpected"},
            exception=traceback.format_exc(),
        )
    module.exit_json(**{key: value if key in exact else clean_data(value) for key, value in result.items()})


def check_absolute(params: t.Mapping[str, t.Any], *options: str) -> None:
    """:raises InvalidOption: one of these options is no absolute path."""
    for option in options:
        if not os.path.isabs(params[option]):
            raise InvalidOption(option, params[option], "an absolute path is needed")


def check_seconds(params: t.Mapping[str, t.Any], *options: str) -> None:
    """:raises InvalidOption: one of these options is no time: NaN, infinite or negative."""
    for option in options:
        if not 0 <= params[option] < float("inf"):
            raise InvalidOption(option, params[option], "a number of seconds is needed, 0 or more")


def pools_argument() -> dict[str, t.Any]:
    """Argument spec of the option ``pools``; its documentation is the fragment ``_pools``."""
    return {"pools": {"type": "dict", "default": dict(DEFAULT_POOLS)}}


def checked_pools(pools: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Pools by name; every path absolute and normalised."""
    checked: dict[str, str] = {}
    if not pools:
        raise InvalidOption("pools", pools, "at least one pool is needed, as name: /absolute/path")
    for name, path in pools.items():
        check_name("pools", name)
        if not isinstance(path, str) or not os.path.isabs(path):
            raise InvalidOption(f"pools.{name}", path, "a pool is an absolute path of a directory")
        checked[name] = os.path.normpath(path)
    return checked


def pool_path(pools: t.Mapping[str, str], name: str, option: str = "pool") -> str:
    """The path of a pool that the user named."""
    if name not in pools:
        raise InvalidOption(option, name, f"this host's pools are: {', '.join(sorted(pools))}")
    return pools[name]
