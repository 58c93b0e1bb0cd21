# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Variables of a host, as the argument specs of the roles describe them: typed, with defaults, and none unknown.

A role's argument spec checks variables and does not set them, and it ignores misspelt names. Here the spec of the role
``settings`` is the source of the values as well.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import re
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load

from ..module_utils._machine.hardware.cards import KIND_NAMES
from ..module_utils._machine.hardware.processor import SET_PATTERN, set_mistake

PREFIX = "basecast_"
# Variables without the prefix; all others lose theirs.
KEYS = {"manifest": "manifest", "plan_file": "saved_plan_file"}
ROLES = Path(__file__).resolve().parents[2] / "roles"

_SHORTEST_NAME = 5

Options = Mapping[str, Mapping[str, t.Any]]

_NOUNS = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number of at least 0",
    "int": "a whole number of at least 0",
    "list": "a list",
    "str": "text",
}


def reader(loader: t.Any) -> Callable[[str], t.Any]:
    """Reads a YAML file. Its strings may be templates: defaults of the spec depend on other variables of the host."""
    # An ansible-core that is too old gets as far as the task that refuses it.
    if "trusted_as_template" not in inspect.signature(loader.load_from_file).parameters:
        return t.cast("Callable[[str], t.Any]", loader.load_from_file)
    return functools.partial(loader.load_from_file, trusted_as_template=True)


def plain(path: str) -> t.Any:
    """What a YAML file says, in a tenth of the time that Ansible's loader takes: no value of it can be a template."""
    return yaml_load(Path(path).read_bytes())


def options_of(role: str, load: Callable[[str], t.Any] = plain, roles: Path = ROLES) -> dict[str, Mapping[str, t.Any]]:
    """The options of all entry points of a role.

    :param load: reads a YAML file.
    """
    specs = load(str(roles / role / "meta" / "argument_specs.yml"))["argument_specs"]
    return {name: option for entry in specs.values() for name, option in (entry.get("options") or {}).items()}


@functools.cache
def known_names(roles: Path = ROLES) -> frozenset[str]:
    """Every variable that some role knows: what a user can set, and what roles hand on to each other."""
    return frozenset(name for role in sorted(roles.iterdir()) if role.is_dir() for name in options_of(role.name, roles=roles))


def unknown_names(names: Iterable[str], known: Collection[str], settable: Collection[str], host: str) -> list[str]:
    """A sentence for each variable that looks like one of ours and is not."""
    sentences = []
    for name in sorted(name for name in names if name.startswith(PREFIX) and name not in known):
        candidates = [other.removeprefix(PREFIX) for other in settable if other.startswith(PREFIX)]
        near = difflib.get_close_matches(name.removeprefix(PREFIX), candidates, n=1)
        advice = f"did you mean {PREFIX}{near[0]}?" if near else "ansible-doc -t role basecast.fleet.settings lists the variables"
        sentences.append(f"{name}: unknown variable of {host}; {advice}")
    return sentences


def misspelt_names(given: Iterable[str], known: Collection[str]) -> list[str]:
    """A sentence for each extra variable that is nearly one of those without the prefix: it would be passed over.

    Short names are nearly the same as too many others.
    """
    ours = [name for name in known if not name.startswith(PREFIX) and len(name) >= _SHORTEST_NAME]
    sentences = []
    for name in sorted(set(given) - set(known)):
        near = difflib.get_close_matches(name, ours, n=1, cutoff=0.8)
        if near:
            sentences.append(f"{name}: unknown variable; did you mean {near[0]}?")
    return sentences


def read(options: Options, value_of: Callable[[str], t.Any], host: str) -> tuple[dict[str, t.Any], list[str]]:
    """The settings by their names without prefix, and a sentence for each value that cannot be used.

    :param value_of: the value of a variable, or None if it is not set.
    """
    settings: dict[str, t.Any] = {}
    sentences = []
    for name, option in options.items():
        value = value_of(name)
        given = option.get("default") if value is None else value
        try:
            converted = None if given is None else convert(given, option)
            settings[key_of(name)] = _CHECKS[name](converted) if name in _CHECKS and converted is not None else converted
        except ValueError as error:
            sentences.append(f"{name}: invalid value {given!r} of {host}; expected {error}")
    return settings, sentences


def key_of(name: str) -> str:
    """The name of a variable among the settings."""
    return KEYS.get(name) or name.removeprefix(PREFIX)


def convert(value: t.Any, option: Mapping[str, t.Any]) -> t.Any:
    """The value with the option's type. :raises ValueError: with what is expected."""
    kind = option.get("type", "str")
    if kind == "raw":
        return value
    noun = " or ".join(map(str, option["choices"])) if "choices" in option else _NOUNS[kind]
    if (isinstance(value, bool) and kind != "bool") or (kind == "str" and not isinstance(value, (str, int, float))):
        raise ValueError(noun)
    checked = {key: option[key] for key in ("type", "choices", "elements") if key in option}
    result = ArgumentSpecValidator({"value": checked}).validate({"value": value})
    if result.error_messages:
        raise ValueError(noun)
    converted = result.validated_parameters["value"]
    if kind in {"int", "float"} and not (math.isfinite(converted) and converted >= 0):
        raise ValueError(noun)
    return converted


# --- values whose form no type describes ---------------------------------------------------------


def _labels(value: t.Any) -> list[str]:
    """Labels as texts: a mapping's as ``key=value``."""
    if isinstance(value, Mapping) and all(_is_text(item) for item in value.values()):
        return [f"{key}={item}" for key, item in value.items()]
    if isinstance(value, list) and all(_is_text(item) for item in value):
        return [str(item) for item in value]
    raise ValueError("a list of texts, or a mapping of them")


def _is_text(value: t.Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


def _pool_labels(value: Mapping[str, t.Any]) -> dict[str, list[str]]:
    try:
        return {str(pool): _labels(labels) for pool, labels in value.items()}
    except ValueError as error:
        raise ValueError(f"a mapping of pools, each with {error}") from error


def _ratio(value: t.Any) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise ValueError("a number above 0")
    return found


def _pool_ratios(value: t.Any) -> float | dict[str, float]:
    try:
        return {str(pool): _ratio(ratio) for pool, ratio in value.items()} if isinstance(value, Mapping) else _ratio(value)
    except ValueError as error:
        raise ValueError(f"{error}, or a mapping of pools with one each") from error


_QUOTA = ("machines", "cpus", "memory_mib", "disk_gib")


def _quotas(value: Mapping[str, t.Any]) -> dict[str, dict[str, float]]:
    expected = f"a mapping of tenants, each with numbers of at least 0 for some of {', '.join(_QUOTA)}"
    found: dict[str, dict[str, float]] = {}
    for tenant, limits in value.items():
        if not isinstance(limits, Mapping) or set(limits) - set(_QUOTA):
            raise ValueError(expected)
        try:
            # None is what an empty value of YAML is.
            given = {str(what): "" if limit is None else limit for what, limit in limits.items()}
            found[str(tenant)] = {what: convert(limit, {"type": "float"}) for what, limit in given.items()}
        except ValueError as error:
            raise ValueError(expected) from error
    return found


_GRANTED_NUMBERS = ("cpus", "nodes")


def _grants(value: Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    expected = (
        f"a mapping of tenants, or * for all, each with lists of names for {', '.join(KIND_NAMES)}, and numbers such as 0-3,8, or *,"
        f" for {' and '.join(_GRANTED_NUMBERS)}"
    )
    found: dict[str, dict[str, t.Any]] = {}
    for tenant, given in value.items():
        if not isinstance(given, Mapping) or set(given) - {*KIND_NAMES, *_GRANTED_NUMBERS}:
            raise ValueError(expected)
        if not all(_is_list_of_names(granted) if what in KIND_NAMES else _is_set_of_numbers(granted) for what, granted in given.items()):
            raise ValueError(expected)
        found[str(tenant)] = {what: granted if what in KIND_NAMES else str(granted) for what, granted in given.items()}
    return found


def _is_list_of_names(granted: object) -> bool:
    return isinstance(granted, list) and all(isinstance(name, str) for name in granted)


def _is_set_of_numbers(granted: object) -> bool:
    if isinstance(granted, bool) or not isinstance(granted, (str, int)):
        return False
    text = str(granted)
    return text == "*" or (re.match(SET_PATTERN, text) is not None and set_mistake(text) is None)


def _link_rates(value: Mapping[str, t.Any]) -> dict[str, float]:
    try:
        return {str(host): convert("" if rate is None else rate, {"type": "float"}) for host, rate in value.items()}
    except ValueError as error:
        raise ValueError("a mapping of hosts to 10^6 bit/s, each a number of at least 0") from error


def _site_limits(value: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A limit under a misspelt key would be none."""
    expected = "sites: {SITE: {up_mbps, down_mbps}} and between: [[SITE, SITE, mbps]], with numbers above 0"
    sites, between = value.get("sites") or {}, value.get("between") or []
    whole = isinstance(sites, Mapping) and all(isinstance(one, Mapping) and not set(one) - _SITE_RATES for one in sites.values())
    rows = isinstance(between, list) and all(isinstance(row, list) and len(row) == 3 for row in between)
    if set(value) - {"sites", "between"} or not whole or not rows:
        raise ValueError(expected)
    try:
        return {
            "sites": {str(site): {what: _ratio(rate) for what, rate in one.items()} for site, one in sites.items()},
            "between": [[str(one), str(other), _ratio(rate)] for one, other, rate in between],
        }
    except ValueError as error:
        raise ValueError(expected) from error


_SITE_RATES = {"up_mbps", "down_mbps"}

_CHECKS: dict[str, Callable[[t.Any], t.Any]] = {
    "basecast_cpu_overcommit": _ratio,
    "basecast_grants": _grants,
    "basecast_labels": _labels,
    "basecast_link_mbps": _link_rates,
    "basecast_memory_overcommit": _ratio,
    "basecast_pool_labels": _pool_labels,
    "basecast_pool_overcommit": _pool_ratios,
    "basecast_quotas": _quotas,
    "basecast_site_limits": _site_limits,
}
