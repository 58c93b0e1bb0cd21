# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a key of a machine's hardware is: everything that the collection knows of it stands in one row of a table."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass

Offers = t.Mapping[str, t.Any]
Group = t.Mapping[str, t.Any]
Problems = t.Iterator[str]


class Place(t.NamedTuple):
    """Where a machine is to be.

    :param directory: the machine's own.
    """

    directory: str
    arch: str
    domain_type: str


def _lacks_nothing(value: t.Any, offers: Offers, group: Group) -> Problems:
    return iter(())


@dataclass(frozen=True)
class Key:
    """
    :param name: in the manifest and among the options of the module machine.
    :param schema: JSON Schema of its value, without alternatives; ``description`` completes "… is not accepted; <description>".
    :param usual: what a machine has of which nothing is said; None where the host decides. The domain's XML says it without the key.
    :param write: puts the value into a domain's XML.
    :param read: the value that a domain has, in the form in which a manifest gives it.
    :param lacks: what a host needs and does not have, as the end of a sentence that begins with its name.
        It also gets ``cpus`` and ``memory_mib`` of the machine.
    :param of_machine: whether a manifest says it of the machine, and not of each disk.
    """

    name: str
    schema: t.Mapping[str, t.Any]
    usual: t.Any
    write: t.Callable[[ET.Element, t.Any, Place], None]
    read: t.Callable[[ET.Element], t.Any]
    lacks: t.Callable[[t.Any, Offers, Group], Problems] = _lacks_nothing
    of_machine: bool = True


def child(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def there(parent: ET.Element, tag: str) -> ET.Element:
    """The child of that name, made where there is none."""
    found = parent.find(tag)
    return ET.SubElement(parent, tag) if found is None else found


def whole(text: str | None, otherwise: int = 0) -> int:
    """A number in the XML of a domain, in which others write as well."""
    return int(text) if text is not None and re.fullmatch(r"\s*[0-9]{1,15}\s*", text, re.ASCII) else otherwise


# --- a schema, where no library knows it -----------------------------------------------------------

_TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
_KINDS = {"string": "str", "integer": "int", "boolean": "bool", "object": "dict", "array": "list"}


def argument(schema: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The schema as the argument spec of a module."""
    if "enum" in schema:
        return {"type": "str", "choices": list(schema["enum"])}
    found: dict[str, t.Any] = {"type": _KINDS[schema["type"]]}
    if "properties" in schema:
        needed = schema.get("required", ())
        found["options"] = {
            name: {**argument(one), **({"required": True} if name in needed else {})} for name, one in schema["properties"].items()
        }
    if "items" in schema:
        inner = argument(schema["items"])
        found["elements"] = inner["type"]
        found.update({key: value for key, value in inner.items() if key != "type"})
    return found


def mistakes(schema: t.Mapping[str, t.Any], value: t.Any, path: str) -> t.Iterator[tuple[str, t.Any, str]]:
    """Where a value is not as its schema says: path, value, what is accepted."""
    kind = schema.get("type")
    wrong = kind is not None and (not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool)))
    if not wrong and isinstance(value, dict):
        known = schema.get("properties", {})
        for name in schema.get("required", ()):
            if value.get(name) is None:
                yield f"{path}.{name}", None, f"it is needed: {known[name]['description']}"
        for name, inner in value.items():
            if name in known:
                yield from mistakes(known[name], inner, f"{path}.{name}")
    elif not wrong and isinstance(value, list):
        for at, inner in enumerate(value):
            yield from mistakes(schema["items"], inner, f"{path}[{at}]")
        wrong = len(value) < schema.get("minItems", 0)
    elif not wrong:
        wrong = (
            ("enum" in schema and value not in schema["enum"])
            or ("pattern" in schema and re.search(schema["pattern"], value) is None)
            or value in ("",)
            or (kind == "integer" and not schema.get("minimum", value) <= value <= schema.get("maximum", value))
        )
    if wrong:
        yield path, value, schema["description"]


def given(options: t.Any) -> t.Any:
    """Options without those that were left out, which a module has as None."""
    if isinstance(options, t.Mapping):
        return {key: given(value) for key, value in options.items() if value is not None}
    if isinstance(options, list):
        return [given(one) for one in options]
    return options
