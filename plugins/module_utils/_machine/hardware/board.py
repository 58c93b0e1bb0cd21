# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The board of a machine: firmware, TPM, machine type, watchdog, and what libvirt does with the machine as a whole."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from .key import Group, Key, Offers, Place, Problems, child, there

BIOS, UEFI, UEFI_SECURE = "bios", "uefi", "uefi_secure"
NVRAM_PATTERN = r"nvram-uefi(_secure)?\.fd"

# Parts whose state is on the host and not in the machine's disks.
TPM_STATE, NVRAM_STATE = "a TPM", "firmware variables"

_Q35 = "q35"
# Boards without PCI, to which a machine's disks and cards cannot be connected, and names that are not boards of their own.
_UNFIT_BOARDS = ("isapc", "microvm", "none", "x-remote", "xenfv", "xenpv")
# Watchdogs by what they are connected to: PCI, ISA, and the mainframe itself.
_WATCHDOGS = {"x86_64": ("i6300esb", "ib700"), "s390x": ("diag288",)}
_OTHER_WATCHDOGS = ("i6300esb",)


# --- firmware ------------------------------------------------------------------------------------


def nvram_name(firmware: str) -> str:
    """The file of a machine's firmware variables. Those of one firmware are of no use to another, so each has its own."""
    return f"nvram-{firmware}.fd"


def nvram_of(root: ET.Element) -> str | None:
    return (root.findtext("./os/nvram") or "").strip() or None


def _write_firmware(root: ET.Element, value: str, place: Place) -> None:
    if value == BIOS:
        return
    secure = value == UEFI_SECURE
    system = there(root, "os")
    kind = there(system, "type")
    if kind.get("machine") is None and place.arch == "x86_64":
        kind.set("machine", _Q35)  # the board that OVMF is made for
    system.set("firmware", "efi")
    features = child(system, "firmware")
    for name in ("enrolled-keys", "secure-boot"):
        child(features, "feature", enabled="yes" if secure else "no", name=name)
    # Among the machine's own files; libvirt copies the firmware's template there at the first start.
    child(system, "nvram", f"{place.directory}/{nvram_name(value)}")
    if secure and place.arch == "x86_64":
        child(there(root, "features"), "smm", state="on")


def _read_firmware(root: ET.Element) -> str:
    loader = root.find("./os/loader")
    if root.find("./os[@firmware='efi']") is None and (loader is None or loader.get("type") != "pflash"):
        return BIOS
    asked = root.find("./os/firmware/feature[@name='secure-boot']")
    secure = (loader is not None and loader.get("secure") == "yes") or (asked is not None and asked.get("enabled") == "yes")
    return UEFI_SECURE if secure else UEFI


def _lacks_firmware(value: str, offers: Offers, group: Group) -> Problems:
    if value not in offers.get("firmware", [value]):
        what = "UEFI firmware with Secure Boot" if value == UEFI_SECURE else "UEFI firmware"
        yield f"has no {what} for machines; install OVMF (the package ovmf, on EL edk2-ovmf)"


FIRMWARE = Key(
    "firmware",
    {
        "enum": [BIOS, UEFI, UEFI_SECURE],
        "description": "a firmware is bios, uefi or uefi_secure (UEFI that starts signed systems only)",
    },
    BIOS,
    _write_firmware,
    _read_firmware,
    _lacks_firmware,
)


# --- TPM ---------------------------------------------------------------------------------------------


def _write_tpm(root: ET.Element, value: str, place: Place) -> None:
    tpm = child(there(root, "devices"), "tpm", model="tpm-crb" if place.arch == "x86_64" else "tpm-tis")
    child(tpm, "backend", type="emulator", version=value)


def _read_tpm(root: ET.Element) -> str | None:
    backend = root.find("./devices/tpm/backend")
    return None if backend is None else backend.get("version", "another")


def _lacks_tpm(value: str, offers: Offers, group: Group) -> Problems:
    if value not in offers.get("tpm", [value]):
        yield f"cannot emulate a TPM {value}; install swtpm (the packages swtpm and swtpm-tools)"


TPM = Key("tpm", {"enum": ["2.0"], "description": "a TPM has the version 2.0"}, None, _write_tpm, _read_tpm, _lacks_tpm)


# --- machine type --------------------------------------------------------------------------------------


def _write_machine_type(root: ET.Element, value: str, place: Place) -> None:
    there(there(root, "os"), "type").set("machine", value)


def machine_family(root: ET.Element) -> str | None:
    """libvirt turns pc into pc-i440fx-7.2 when it defines a domain."""
    kind = root.find("./os/type")
    name = None if kind is None else kind.get("machine")
    if name is None:
        return None
    if name.startswith("pc-q35-"):
        return _Q35
    return "pc" if name.startswith("pc-i440fx-") else name


def _read_machine_type(root: ET.Element) -> str | None:
    return machine_family(root)


def is_fit_board(machine_type: str) -> bool:
    return machine_type not in _UNFIT_BOARDS


def watchdogs_of(arch: str) -> tuple[str, ...]:
    """Models that a machine of an architecture can have; libvirt lists none."""
    return _WATCHDOGS.get(arch, _OTHER_WATCHDOGS)


def _lacks_machine_type(value: str, offers: Offers, group: Group) -> Problems:
    known = offers.get("machine_types", [value])
    if value not in known:
        short = [name for name in known if "-" not in name]
        yield f"has no machine type {value!r}; it has {', '.join(short)} and versions of them (virsh capabilities)"


MACHINE_TYPE = Key(
    "machine_type",
    {
        "type": "string",
        "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$(?!\n)",
        "description": "a machine type is a name such as q35, pc or virt",
    },
    None,
    _write_machine_type,
    _read_machine_type,
    _lacks_machine_type,
)


# --- the machine as a whole --------------------------------------------------------------------------


def _write_nothing(root: ET.Element, value: t.Any, place: Place) -> None:
    """libvirt keeps it beside the domain's XML."""


AUTOSTART = Key(
    "autostart",
    {"type": "boolean", "description": "true (the machine starts when its host does) or false is expected"},
    True,
    _write_nothing,
    lambda root: None,
)


def _write_on_crash(root: ET.Element, value: str, place: Place) -> None:
    there(root, "on_crash").text = value


# Nothing that writes the memory to the host: a guest could do it again and again, here and with its watchdog, until a disk is full.
ON_CRASH = Key(
    "on_crash",
    {
        "enum": ["restart", "destroy", "preserve"],
        "description": "what happens when the guest crashes is restart, destroy or preserve",
    },
    "restart",
    _write_on_crash,
    # libvirt's own default is not ours.
    lambda root: root.findtext("on_crash") or "destroy",
)


def _write_description(root: ET.Element, value: str, place: Place) -> None:
    child(root, "description", value)


DESCRIPTION = Key(
    "description",
    {
        "type": "string",
        "pattern": r"^[^\x00-\x1f\x7f]{1,500}$(?!\n)",
        "description": "a description is a line of at most 500 characters",
    },
    None,
    _write_description,
    lambda root: root.findtext("description"),
)


def _write_watchdog(root: ET.Element, value: t.Mapping[str, str], place: Place) -> None:
    child(there(root, "devices"), "watchdog", model=value.get("model", "i6300esb"), action=value.get("action", "reset"))


def _read_watchdog(root: ET.Element) -> dict[str, t.Any] | None:
    for element in root.iterfind("./devices/watchdog"):
        if element.get("model") != "itco":  # a part of each q35 board, which newer versions of libvirt tell
            return {"model": element.get("model"), "action": element.get("action", "reset")}
    return None


def _lacks_watchdog(value: t.Mapping[str, str], offers: Offers, group: Group) -> Problems:
    model, known = value.get("model", "i6300esb"), offers.get("watchdogs")
    if known is not None and model not in known:
        yield f"cannot give machines the watchdog {model}; its machines can have {', '.join(known)} (watchdog: {{model: …}})"


WATCHDOG = Key(
    "watchdog",
    {
        "type": "object",
        "description": "a watchdog is a mapping of action and model",
        "examples": ["{action: reset}"],
        "properties": {
            "action": {
                "enum": ["reset", "shutdown", "poweroff", "pause", "inject-nmi", "none"],
                "description": "what the watchdog does is reset, shutdown, poweroff, pause, inject-nmi or none",
            },
            "model": {"enum": ["i6300esb", "ib700", "diag288"], "description": "a watchdog is an i6300esb, ib700 (ISA) or diag288 (s390x)"},
        },
        "additionalProperties": False,
    },
    None,
    _write_watchdog,
    _read_watchdog,
    _lacks_watchdog,
)

# The machine type first: firmware only chooses one where none is given.
KEYS = (MACHINE_TYPE, FIRMWARE, TPM, AUTOSTART, ON_CRASH, WATCHDOG, DESCRIPTION)


def board_mistakes(hardware: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    """What does not go together: key and sentence."""
    machine_type = str(hardware.get("machine_type") or _Q35)
    if not is_fit_board(machine_type):
        yield "machine_type", f"{machine_type!r} has no PCI bus for a machine's disks and cards; use q35, pc, virt or a version of these"
    if hardware.get("firmware") == UEFI_SECURE and (machine_type == "pc" or machine_type.startswith("pc-i440fx")):
        yield "firmware", f"'uefi_secure' is not accepted with the machine type {machine_type}; it needs q35, or leave machine_type out"
