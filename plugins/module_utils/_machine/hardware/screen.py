# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""What people see of a machine: its screen, and its serial console."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .key import Group, Key, Offers, Place, Problems, child, there

NONE, SOCKET, PORT = "none", "socket", "port"
FILE, TERMINAL = "file", "terminal"

_LOCAL = "127.0.0.1"


# --- graphics ----------------------------------------------------------------------------------------


def _write_graphics(root: ET.Element, value: t.Mapping[str, str], place: Place) -> None:
    kind = value.get("type", "vnc")
    if kind == NONE:
        return
    devices = there(root, "devices")
    if value.get("listen", SOCKET) == SOCKET:
        child(child(devices, "graphics", type=kind), "listen", type="socket")
    else:
        graphics = child(devices, "graphics", type=kind, autoport="yes", listen=_LOCAL)
        child(graphics, "listen", type="address", address=_LOCAL)
    # What every firmware can show, where a board has it at all.
    child(child(devices, "video"), "model", type="vga" if place.arch == "x86_64" else "virtio")


def _read_graphics(root: ET.Element) -> dict[str, t.Any]:
    graphics = root.find("./devices/graphics")
    if graphics is None:
        return {"type": NONE}
    listen = graphics.find("listen")
    kind = None if listen is None else listen.get("type")
    address = graphics.get("listen") or (listen.get("address") if listen is not None else None)
    if kind == "address" or (kind is None and address is not None):
        kind = PORT if address == _LOCAL else f"port of {address}"
    return {"type": graphics.get("type"), "listen": kind}


def _lacks_graphics(value: t.Mapping[str, str], offers: Offers, group: Group) -> Problems:
    kind, known = value.get("type", "vnc"), offers.get("graphics")
    if kind != NONE and known is not None and kind not in known:
        yield f"cannot give machines graphics of the type {kind}; it can give {', '.join(known) or 'none'}"


GRAPHICS = Key(
    "graphics",
    {
        "type": "object",
        "description": "graphics is a mapping of type and listen",
        "examples": ["{type: vnc}"],
        "properties": {
            "type": {"enum": ["vnc", "spice", NONE], "description": "graphics are vnc, spice or none"},
            "listen": {
                "enum": [SOCKET, PORT],
                "description": "graphics listen on a socket, which only administrators of the host can open, or on a port of 127.0.0.1",
            },
        },
        "additionalProperties": False,
    },
    {"type": NONE},
    _write_graphics,
    _read_graphics,
    _lacks_graphics,
)


# --- serial console ----------------------------------------------------------------------------------


def serial(root: ET.Element, port: int) -> ET.Element | None:
    for element in root.iterfind("./devices/serial"):
        target = element.find("target")
        if target is not None and target.get("port") == str(port):
            return element
    return None


def log_of(element: ET.Element) -> tuple[ET.Element, str] | None:
    """The element and the attribute that name the file in which everything is kept that a serial port or console says."""
    log, source = element.find("log"), element.find("source")
    if log is not None:
        return log, "file"
    return (source, "path") if source is not None and element.get("type") == "file" else None


def serial_path(root: ET.Element, port: int) -> str | None:
    element = serial(root, port)
    found = None if element is None else log_of(element)
    return None if found is None else found[0].get(found[1])


def _write_console(root: ET.Element, value: str, place: Place) -> None:
    element, path = serial(root, 0), serial_path(root, 0)
    if value == FILE or element is None or path is None:
        return
    source = element.find("source")
    if source is not None:
        element.remove(source)
    element.set("type", "pty")
    child(element, "log", file=path, append="off")  # as a file is at each start


def _read_console(root: ET.Element) -> str | None:
    element = serial(root, 0)
    return None if element is None else {"file": FILE, "pty": TERMINAL}.get(element.get("type", ""), element.get("type"))


CONSOLE = Key(
    "console",
    {
        "enum": [FILE, TERMINAL],
        "description": "a console is a file (the log alone) or a terminal (virsh console opens it, and the log is kept)",
    },
    FILE,
    _write_console,
    _read_console,
)

KEYS = (GRAPHICS, CONSOLE)
