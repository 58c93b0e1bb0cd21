# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""References in Markdown: the manifest from its schema, the settings from the roles' argument specs."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import typing as t
from pathlib import Path

import yaml

Schema = dict[str, t.Any]

MANIFEST = """\
# Manifest reference

Every key of a manifest, generated from the schema by which manifests are checked
([service.schema.json](schemas/service.schema.json)). [Deploying a service](deploy.md) shows a whole manifest and says what the keys do
together.

"""
TUNING = """\
# Tuning: every setting

Every variable of the playbooks, generated from the argument specs by which they are checked. Set them where Ansible takes variables from:
the inventory for hosts and groups, `-e` for one run.

"""
# Settings by what they are for: the first word after ``basecast_`` (or the whole name) decides.
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "What is deployed": ("", ("manifest", "plan_file", "fleet", "skip_bad_hosts", "fail_on_drift", "differencing", "quotas")),
    "Placement": (
        "[Placement](placement.md) says what they do together.",
        ("labels", "maintenance", "cpu_overcommit", "memory_overcommit", "pool_overcommit", "pool_labels", "site"),
    ),
    "Hosts": (
        "",
        ("pools", "source_dirs", "source_hosts", "repair", "domain_type", "host_network", "host_network_range", "libvirt_uri", "state_dir",
         "runtime_dir"),
    ),
    "The data network, and limits": (
        "Relay traffic keeps to these, and plans know them. A host whose network must stay free gets `basecast_rate_mbps`, one with "
        "busy disks `basecast_io_idle`.",
        ("address", "port_range", "rate_mbps", "link_mbps", "streams", "nice", "io_idle", "site_limits", "compression", "encryption"),
    ),
    "The relay's plan": (
        "[Planning](planning.md) and [measuring](measuring.md) say how.",
        ("links", "relay_mode", "relay_strategy", "relay_contention", "relays", "paths", "show_paths", "links_max_age_s", "probe_least",
         "size_bytes"),
    ),
    "The watch over a relay": (
        "",
        ("ask_timeout_s", "relay_poll_s", "relay_retry_s", "relay_measure_s", "watch_settings", "relay_patience_s", "on_cancel",
         "part_timeout_s", "relay_linger_s"),
    ),
    "Time limits": (
        "What takes longer has failed. Raise them where hosts or storage are slow.",
        ("step_timeout_s", "claim_ttl_s", "import_timeout_s", "relay_timeout_s", "boot_timeout_s", "shutdown_timeout_s",
         "migration_timeout_s", "migrations_at_once"),
    ),
    "Pruning": ("[Pruning](prune.md) says how they work together.", ("prune_",)),
    "Files that runs write": ("", ("plan_file", "place_file", "report_file", "status_", "links_file", "matrix_file")),
}  # fmt: skip


def _readmes() -> t.Any:
    """The generator of the roles' READMEs: argument specs are shown in one way."""
    path = Path(__file__).resolve().parents[1] / "role-readmes"
    loader = importlib.machinery.SourceFileLoader("role_readmes", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def group_of(name: str) -> str:
    short = name.removeprefix("basecast_")
    if name == "basecast_plan_file":
        return "Files that runs write"
    for group, (_about, members) in GROUPS.items():
        if any(short == member or (member.endswith("_") and short.startswith(member)) for member in members):
            return group
    return "Further settings"


def settings(roles: Path) -> str:
    readmes = _readmes()
    options = yaml.safe_load((roles / "settings/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    grouped: dict[str, dict[str, t.Any]] = {}
    for name, option in options.items():
        grouped.setdefault(group_of(name), {})[name] = option
    lines = [TUNING]
    for group in [*GROUPS, "Further settings"]:
        if group in grouped:
            about = GROUPS.get(group, ("", ()))[0]
            lines += [f"## {group}", "", *([about, ""] if about else []), *readmes.table(grouped[group]), ""]
    lines += ["## Settings of single playbooks", "", "What a playbook takes beside these stands with its role.", ""]
    for folder in sorted(path.parent.parent for path in roles.glob("*/meta/argument_specs.yml") if path.parent.parent.name != "settings"):
        specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text())["argument_specs"]
        asked = {n: o for n, o in specs.get("main", {}).get("options", {}).items() if not n.startswith(("basecast_", "__"))}
        if asked:
            lines += [f"### {folder.name}", "", *readmes.table(asked), ""]
    return "\n".join(lines)


def manifest(schema_file: Path) -> str:
    schema = json.loads(schema_file.read_text())
    top = dict(schema["properties"])
    lines = [MANIFEST, "## The manifest itself", "", *_table(top, schema.get("required", []), ""), ""]
    for key, value in top.items():
        _section(lines, key, value, 2)
    return "\n".join(lines) + "\n"


def _section(lines: list[str], path: str, schema: Schema, level: int) -> None:
    """A heading and a table for each mapping below a key, depth first."""
    for where, one in _mappings(path, schema):
        lines += [f"{'#' * min(level, 4)} `{where}`", ""]
        lines += [f"{_capital(one['description'])}.", ""] if one.get("description") else []
        properties = one.get("properties", {})
        lines += [*_table(properties, one.get("required", []), where), ""]
        for example in one.get("examples", [])[:1]:
            lines += ["```yaml", yaml.safe_dump(_example(where, example), sort_keys=False).rstrip(), "```", ""]
        for key, value in properties.items():
            _section(lines, f"{where}.{key}", value, level + 1)


def _example(where: str, example: t.Any) -> dict[str, t.Any]:
    """As it stands in a manifest: what is one of a list, in a list."""
    key = where.split(" ", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1]
    return {key.removesuffix("[]"): [example] if key.endswith("[]") else example}


def _mappings(path: str, schema: Schema) -> t.Iterator[tuple[str, Schema]]:
    if schema.get("properties"):
        yield path, schema
    if isinstance(schema.get("items"), dict):
        yield from _mappings(f"{path}[]", schema["items"])
    for kind in ("oneOf", "anyOf"):
        forms = [one for one in schema.get(kind, []) if one.get("properties")]
        for form in forms:
            name = path if len(forms) == 1 else f"{path} with {' and '.join(form.get('required', []))}"
            yield name, form


def _table(properties: Schema, required: t.Sequence[str], _where: str) -> list[str]:
    lines = ["| key | value | meaning |", "|---|---|---|"]
    for key, value in properties.items():
        must = " (required)" if key in required else ""
        lines.append(f"| `{key}`{must} | {_cell(kind_of(value))} | {_cell(_meaning(value))} |")
    return lines


def kind_of(schema: Schema) -> str:
    """A value in a few words, such as ``integer, 1 to 4096``."""
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    forms = [kind_of(one) for kind in ("oneOf", "anyOf") for one in schema.get(kind, []) if one.get("type") or "enum" in one]
    if forms:
        return ", or ".join(dict.fromkeys(forms))
    kind = schema.get("type", "any")
    words = {"object": "mapping", "array": "list", "boolean": "`true` or `false`", "string": "text"}
    kinds = [words.get(one, one) for one in ([kind] if isinstance(kind, str) else kind)]
    text = " or ".join(kinds)
    if kind == "array" and isinstance(schema.get("items"), dict):
        text = "list of " + re.sub(r"^(mapping|text|integer|number)\b", r"\1s", kind_of(schema["items"]))
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low is not None or high is not None:
        above = "above " if "exclusiveMinimum" in schema else ""
        ends = f"{above}{low} to {high}" if None not in (low, high) else f"at least {low}" if high is None else f"at most {high}"
        text += f", {ends}"
    return text


def _meaning(schema: Schema) -> str:
    """What a key means; a value that begins it stays as it is written."""
    text = str(schema.get("description", ""))
    return _capital(text) if text.partition(" ")[0] not in schema.get("enum", ()) else _sentence(text)


def _sentence(text: str) -> str:
    """A description, without what makes it part of a message."""
    return re.sub(r" (?:is|are) (?:wanted|expected|needed)$", "", text)


def _capital(text: str) -> str:
    """A description as a cell or sentence: in messages it says what is wanted."""
    text = _sentence(text)
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
