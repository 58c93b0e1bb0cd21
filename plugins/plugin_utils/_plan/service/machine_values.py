# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""Texts of a manifest that differ from machine to machine: ``{{ machine.name }}`` and a few more names, and nothing else of a template.

What a guest itself reads may have the same braces. So user data is filled in only where it names the machine or the manifest asks for
it, and then each pair of braces is either one of the names or stands between ``{% raw %}`` and ``{% endraw %}``.
"""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence

Path = tuple[str | int, ...]
Values = Mapping[str, str]
CloudInit = Mapping[str, t.Any]

# What stays the same for as long as the machine is there; its host does not, as machines move.
LASTING = ("machine.name", "machine.number", "machine.group", "service", "tenant")
NAMES = (*LASTING, "host")
# Of a card's address, which is chosen where nothing else is known.
OF_ADDRESS = ("machine.name", "machine.number")

# Parts of a customization that reach the guest: those of cloud-init, and those of others.
PARTS = ("user_data", "vendor_data", "meta_data", "network_config")
_MORE_PARTS = ("config", "network_data")

_OPENING = re.compile(r"\{%-?\s*raw\s*-?%\}|\{\{")
_ENDRAW = re.compile(r"\{%-?\s*endraw\s*-?%\}")
_NAMES_MACHINE = re.compile(r"\{\{\s*machine\.")
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.]{0,40}")


def number_of(machine: str) -> int:
    """Machines are called GROUP-NUMBER."""
    return int(machine.rpartition("-")[2])


def values_of(machine: str, group: str, manifest: Mapping[str, t.Any], host: str) -> dict[str, str]:
    return {
        "machine.name": machine,
        "machine.number": str(number_of(machine)),
        "machine.group": group,
        "host": host,
        "service": str(manifest["service"]),
        "tenant": str(manifest["tenant"]),
    }


def as_variables() -> dict[str, t.Any]:
    """Each name as a variable that stands for itself, for what fills in a text before."""
    found: dict[str, t.Any] = {}
    for name in NAMES:
        top, _dot, inner = name.partition(".")
        text = f"{{{{ {name} }}}}"
        found[top] = {**found.get(top, {}), inner: text} if inner else text
    return found


def sample_of(group: str, manifest: Mapping[str, t.Any]) -> dict[str, str]:
    """Values of a machine that may come to be, to judge what a template becomes."""
    return values_of(f"{group}-1", group, {"service": manifest["service"], "tenant": manifest.get("tenant", "default")}, "host-1")


class _Token(t.NamedTuple):
    """Braces of a text.

    :param raw: what stands between raw and endraw; name: what stands in braces. Both are None for braces that nothing closes.
    """

    start: int
    end: int
    raw: str | None = None
    name: str | None = None


def _tokens(text: str) -> Iterator[_Token]:
    """In one pass, whatever the text: what closes nothing here closes nothing later."""
    at, raw_ends = 0, True
    while (opening := _OPENING.search(text, at)) is not None:
        start, at = opening.span()
        if opening[0] == "{{":
            end = text.find("}}", at)
            if end < 0:
                yield _Token(start, at)
                return
            yield _Token(start, end + 2, name=text[at:end].strip())
            at = end + 2
        elif raw_ends:
            ending = _ENDRAW.search(text, at)
            raw_ends = ending is not None
            if ending is not None:
                yield _Token(start, ending.end(), raw=text[at : ending.start()])
                at = ending.end()


def filled(text: str, values: Values) -> str:
    """The text of one machine; it has no mistakes by then."""
    pieces, at = [], 0
    for token in _tokens(text):
        as_it_is = text[token.start : token.end]
        pieces += [text[at : token.start], token.raw if token.raw is not None else values.get(token.name or "", as_it_is)]
        at = token.end
    return "".join([*pieces, text[at:]])


def mistakes(text: str, names: Sequence[str] = NAMES) -> Iterator[str]:
    """What of the text cannot be filled in, as sentences. What stands in braces may be secret: no more than a name is shown."""
    several, line, counted = "\n" in text.strip("\n"), 1, 0
    for token in _tokens(text):
        if token.raw is not None or token.name in names:
            continue
        line, counted = line + text.count("\n", counted, token.start), token.start
        at = f"line {line}: " if several else ""
        inner = token.name or ""
        if token.name is None:
            shown = "'{{' without '}}'"
        else:
            shown = f"'{{{{ {inner} }}}}'" if _PLAIN_NAME.fullmatch(inner) else "what stands in '{{ }}'"
        near = difflib.get_close_matches(inner, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        known = f"{', '.join(names[:-1])} and {names[-1]} are filled in"
        yield f"{at}{shown} is not accepted; {hint}{known}, braces for the guest stand between {{% raw %}} and {{% endraw %}}"


def is_filled_in(cloud_init: CloudInit) -> bool:
    """Whether its texts are filled in: as the manifest says, or because one of them names the machine."""
    said = cloud_init.get("templates")
    return bool(said) if said is not None else any(_NAMES_MACHINE.search(text) for _path, text in _texts(cloud_init))


def seed_mistakes(cloud_init: CloudInit) -> Iterator[tuple[Path, str]]:
    """What cannot be filled in, each with its path within cloud_init."""
    if not is_filled_in(cloud_init):
        return
    for path, text in _texts(cloud_init):
        for problem in mistakes(text):
            yield path, problem
    for path, key in _keys(cloud_init):
        if "{{" in key:
            yield path, "a key is not filled in; only values are"


def left_alone(cloud_init: CloudInit) -> Iterator[tuple[Path, str]]:
    """Names that would be filled in and are not, as no text names the machine; the first of each text."""
    if is_filled_in(cloud_init) or cloud_init.get("templates") is not None:
        return
    for path, text in _texts(cloud_init):
        name = next((token.name for token in _tokens(text) if token.name in NAMES), None)
        if name is not None:
            yield path, f"'{{{{ {name} }}}}' is left to the guest; write templates: true beside it to fill it in, or templates: false"


def seed_of(cloud_init: CloudInit, values: Values) -> dict[str, t.Any]:
    """The parts for the guest of one machine."""
    parts = {key: cloud_init.get(key) for key in (*PARTS, *(key for key in _MORE_PARTS if key in cloud_init))}
    return {key: _filled_in(value, values) for key, value in parts.items()} if is_filled_in(cloud_init) else parts


def hardware_mistakes(group: Mapping[str, t.Any]) -> Iterator[tuple[Path, str]]:
    """What cannot be filled in of a group's hardware, each with its path within the group."""
    texts: list[tuple[Path, str]] = [(("description",), group.get("description") or "")]
    texts += [(("xml", index, "add"), fragment["add"]) for index, fragment in enumerate(group.get("xml") or ())]
    for path, text in texts:
        yield from ((path, problem) for problem in mistakes(text, LASTING))
    for at, device in enumerate(group.get("host_devices") or ()):
        yield from ((("host_devices", at, "pci"), problem) for problem in mistakes(device.get("pci") or "", OF_ADDRESS))
    for at, share in enumerate(group.get("shares") or ()):
        yield from ((("shares", at, "source"), problem) for problem in _path_mistakes(share["source"]))
    for at, disk in enumerate(group.get("disks") or ()):
        for inner, part in (("block",), disk), (("volume", "path"), disk.get("volume") or {}):
            text = part.get(inner[-1]) or ""
            yield from ((("disks", at, *inner), problem) for problem in _path_mistakes(text))


def _path_mistakes(text: str) -> Iterator[str]:
    """Of a path on the host. No guest reads it, and what stands in raw would hide from the schema that it leads upwards."""
    yield from mistakes(text, OF_ADDRESS)
    if any(token.raw is not None for token in _tokens(text)):
        yield f"{{% raw %}} is not accepted in a path of the host; {' and '.join(OF_ADDRESS)} are filled in, and all else stands as it is"


def hardware_of(hardware: Mapping[str, t.Any], values: Values) -> dict[str, t.Any]:
    """What a group says of its hardware, for one machine."""
    found = dict(hardware)
    if "description" in found:
        found["description"] = filled(found["description"], values)
    if "host_devices" in found:
        found["host_devices"] = [{kind: filled(text, values) for kind, text in device.items()} for device in found["host_devices"]]
    if "shares" in found:
        found["shares"] = [{**share, "source": filled(share["source"], values)} for share in found["shares"]]
    if "xml" in found:
        found["xml"] = [{**fragment, "add": filled(fragment["add"], values)} for fragment in found["xml"]]
    return found


def _filled_in(value: object, values: Values) -> t.Any:
    if isinstance(value, str):
        return filled(value, values)
    if isinstance(value, Mapping):
        return {key: _filled_in(item, values) for key, item in value.items()}
    return [_filled_in(item, values) for item in value] if isinstance(value, list) else value


def _texts(cloud_init: CloudInit) -> Iterator[tuple[Path, str]]:
    for key in (*PARTS, *_MORE_PARTS):
        yield from _below(cloud_init.get(key), (key,))


def _below(value: object, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _below(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _below(item, (*path, index))


def _keys(cloud_init: CloudInit) -> Iterator[tuple[Path, str]]:
    def keys(value: object, path: Path) -> Iterator[tuple[Path, str]]:
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield (*path, key), key
                yield from keys(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from keys(item, (*path, index))

    for part in (*PARTS, *_MORE_PARTS):
        yield from keys(cloud_init.get(part), (part,))
