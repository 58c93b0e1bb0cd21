# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.
"""Processors and memory of a machine: model and topology, and on which processors, nodes and pages of the host they are."""

from __future__ import annotations

import difflib
import re
import typing as t
import xml.etree.ElementTree as ET

from .key import Group, Key, Offers, Place, Problems, child, there, whole

_END = r"$(?!\n)"
SET_PATTERN = r"^\^?[0-9]{1,4}(-[0-9]{1,4})?(,\^?[0-9]{1,4}(-[0-9]{1,4})?)*" + _END
_SET = {"type": "string", "pattern": SET_PATTERN}
_CPUS = {**_SET, "description": "processors of the host are numbers and ranges such as 0-3,8 or 0-7,^2"}
_NODES = {**_SET, "description": "NUMA nodes of the host are numbers and ranges such as 0 or 0-1"}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 4096, "description": "a whole number from 1 to 4096 is wanted"}

# Models that follow the host.
MODES = ("host-passthrough", "host-model", "maximum")
PAGES_KIB = {"2M": 2048, "16M": 16 << 10, "64K": 64, "1G": 1 << 20}


def _bits_of(text: str) -> int:
    """A bit for each number of a set, so that a long text with many long runs takes no time."""
    found = 0
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\^?)([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        if match is not None:
            first, last = int(match[2]), int(match[3] or match[2])
            run = ((1 << max(0, last - first + 1)) - 1) << first
            found = found & ~run if match[1] else found | run
    return found


def numbers_of(text: str) -> list[int]:
    """The numbers of a set such as ``0-3,^2,8``, in order."""
    found = _bits_of(text)
    return [number for number in range(found.bit_length()) if found >> number & 1]


def in_short(numbers: t.Iterable[int]) -> str:
    """As libvirt writes it: ``0-2,8``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] + 1 == number:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def set_mistake(text: str) -> str | None:
    """What libvirt would refuse of a set whose form is right."""
    runs = [re.fullmatch(r"([0-9]+)-([0-9]+)", part.strip("^")) for part in text.split(",")]
    wrong = next((run for run in runs if run is not None and int(run[1]) > int(run[2])), None)
    if wrong is not None:
        return f"{wrong[0]} runs backwards; write {wrong[2]}-{wrong[1]}"
    return None if _bits_of(text) else f"{text!r} leaves no number; a set begins with what is in it, such as 0-7,^2"


def _set_of(element: ET.Element | None, name: str) -> str | None:
    """A set as an attribute says it, in the one form in which sets are compared."""
    text = None if element is None else element.get(name)
    return None if text is None else in_short(numbers_of(text))


# --- processors ------------------------------------------------------------------------------------


def _write_cpu(root: ET.Element, value: t.Mapping[str, t.Any], place: Place) -> None:
    cpu = there(root, "cpu")
    model = value.get("model")
    if model in MODES:
        cpu.attrib = {"mode": model, "check": "partial" if model == "host-model" else "none"}
        if model == "host-passthrough":
            cpu.set("migratable", "on")
    elif model is not None:
        cpu.attrib = {"mode": "custom", "match": "exact", "check": "partial"}
        child(cpu, "model", model, fallback="forbid")
    topology = value.get("topology")
    if topology is not None:
        counts = {name: str(topology.get(name, 1)) for name in ("sockets", "cores", "threads")}
        child(cpu, "topology", sockets=counts["sockets"], dies="1", cores=counts["cores"], threads=counts["threads"])
    if value.get("pin") is not None:
        there(root, "vcpu").set("placement", "static")
        there(root, "vcpu").set("cpuset", value["pin"])
    for number, cpus in enumerate(value.get("pins") or ()):
        child(there(root, "cputune"), "vcpupin", vcpu=str(number), cpuset=cpus)
    if value.get("emulator_pin") is not None:
        child(there(root, "cputune"), "emulatorpin", cpuset=value["emulator_pin"])


def _read_cpu(root: ET.Element) -> dict[str, t.Any]:
    cpu, topology = root.find("cpu"), root.find("./cpu/topology")
    mode = None if cpu is None else cpu.get("mode", "custom")
    pins = {pin.get("vcpu", ""): _set_of(pin, "cpuset") for pin in root.iterfind("./cputune/vcpupin")}
    return {
        "model": root.findtext("./cpu/model") if mode == "custom" else mode,
        "topology": None if topology is None else {key: whole(topology.get(key), 1) for key in ("sockets", "cores", "threads")},
        "pin": _set_of(root.find("vcpu"), "cpuset"),
        "pins": [pins[name] for name in sorted(pins, key=whole)],
        "emulator_pin": _set_of(root.find("./cputune/emulatorpin"), "cpuset"),
    }


def _lacks_cpu(value: t.Mapping[str, t.Any], offers: Offers, group: Group) -> Problems:
    model, known = value.get("model"), offers.get("cpu_models")
    if model is not None and known is not None and model not in known:
        near = difflib.get_close_matches(model, known, n=3)
        hint = f"; near are {', '.join(near)}" if near else ""
        yield f"cannot give machines the CPU model {model!r}{hint} (virsh domcapabilities lists those that are usable)"
    cpus = offers.get("cpus")
    wanted = [value.get("pin"), value.get("emulator_pin"), *(value.get("pins") or ())]
    missing = {number for text in wanted if text for number in numbers_of(text)} - set(cpus if cpus is not None else range(10**4))
    if missing:
        yield f"has no processor {in_short(missing)}; it has {in_short(cpus or ())}"


CPU = Key(
    "cpu",
    {
        "type": "object",
        "description": "cpu is a mapping of model, topology, pin, pins and emulator_pin",
        "examples": ["{model: host-model}"],
        "properties": {
            "model": {
                "type": "string",
                "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}" + _END,
                "description": "a CPU model is host-passthrough, host-model, maximum, or a name that libvirt knows, such as EPYC",
            },
            "topology": {
                "type": "object",
                "description": "a topology is a mapping of sockets, cores and threads",
                "examples": ["{sockets: 1, cores: 2, threads: 2}"],
                "properties": {"sockets": _COUNT, "cores": _COUNT, "threads": _COUNT},
                "additionalProperties": False,
            },
            "pin": _CPUS,
            "pins": {
                "type": "array",
                "minItems": 1,
                "items": _CPUS,
                "description": "a list with the host's processors for each virtual CPU is wanted",
                "examples": ["['2', '3']"],
            },
            "emulator_pin": _CPUS,
        },
        "additionalProperties": False,
    },
    None,
    _write_cpu,
    _read_cpu,
    _lacks_cpu,
)


# --- memory ----------------------------------------------------------------------------------------


def _write_memory(root: ET.Element, value: t.Mapping[str, t.Any], place: Place) -> None:
    if value.get("at_start_mib") is not None:
        child(root, "currentMemory", str(value["at_start_mib"]), unit="MiB")
    if value.get("balloon") is False:
        there(there(root, "devices"), "memballoon").attrib = {"model": "none"}
    pages = value.get("hugepages")
    if pages is not None:
        huge = child(there(root, "memoryBacking"), "hugepages")
        if pages != "default":
            child(huge, "page", size=str(PAGES_KIB[pages]), unit="KiB")
    if value.get("nodes") is not None:
        child(there(root, "numatune"), "memory", mode=value.get("nodes_mode", "strict"), nodeset=value["nodes"])
    for number, cell in enumerate(value.get("cells") or ()):
        numa = there(there(root, "cpu"), "numa")
        child(numa, "cell", id=str(number), cpus=cell["cpus"], memory=str(cell["memory_mib"]), unit="MiB")
        if cell.get("node") is not None:
            child(there(root, "numatune"), "memnode", cellid=str(number), mode="strict", nodeset=str(cell["node"]))


def _kib(text: str | None, unit: str | None) -> int:
    scale = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "k": 1, "KB": 1, "MiB": 1024, "M": 1024, "GiB": 1 << 20, "G": 1 << 20}
    return int(whole(text) * scale.get(unit or "KiB", 1))


def hugepages_of(root: ET.Element) -> str | None:
    """The size of the pages that its memory has; None where these are not huge."""
    backing = root.find("memoryBacking")
    if backing is None or backing.find("hugepages") is None:
        return None
    page = backing.find("./hugepages/page")
    if page is None:
        return "default"
    size = _kib(page.get("size"), page.get("unit"))
    return next((name for name, kib in PAGES_KIB.items() if kib == size), f"{size}K")


def _read_memory(root: ET.Element) -> dict[str, t.Any]:
    current, balloon, nodes = root.find("currentMemory"), root.find("./devices/memballoon"), root.find("./numatune/memory")
    tied = {one.get("cellid"): one.get("nodeset", "") for one in root.iterfind("./numatune/memnode")}
    cells = []
    for cell in root.iterfind("./cpu/numa/cell"):
        node = tied.get(cell.get("id"))
        memory = _kib(cell.get("memory"), cell.get("unit")) // 1024
        cells.append(
            {"cpus": _set_of(cell, "cpus"), "memory_mib": memory, **({"node": whole(node)} if re.fullmatch(r"[0-9]+", node or "") else {})}
        )
    return {
        "at_start_mib": None if current is None else _kib((current.text or "").strip(), current.get("unit")) // 1024,
        "balloon": balloon is None or balloon.get("model") != "none",
        "hugepages": hugepages_of(root),
        "nodes": _set_of(nodes, "nodeset"),
        "nodes_mode": None if nodes is None else nodes.get("mode", "strict"),
        "cells": cells,
    }


def _lacks_memory(value: t.Mapping[str, t.Any], offers: Offers, group: Group) -> Problems:
    pages, reserved = value.get("hugepages"), offers.get("hugepages_mib")
    if pages is not None and reserved is not None:
        there_is = max(reserved.values(), default=0) if pages == "default" else reserved.get(pages, 0)
        kind = "huge pages" if pages == "default" else f"huge pages of {pages}"
        if there_is < group["memory_mib"]:
            yield f"has reserved {there_is} MiB of {kind}, a machine needs {group['memory_mib']}; reserve more (vm.nr_hugepages)"
    nodes = offers.get("nodes")
    cells = [str(cell["node"]) for cell in value.get("cells") or () if cell.get("node") is not None]
    wanted = {number for text in [value.get("nodes"), *cells] if text for number in numbers_of(text)}
    missing = wanted - set(nodes if nodes is not None else wanted)
    if missing:
        yield f"has no NUMA node {in_short(missing)}; it has {in_short(nodes or ())}"


_MIB = {"type": "integer", "minimum": 16, "maximum": 2**30, "description": "a whole number of MiB from 16 to 1073741824 is wanted"}

MEMORY = Key(
    "memory",
    {
        "type": "object",
        "description": "memory is a mapping of at_start_mib, balloon, hugepages, nodes, nodes_mode and cells",
        "examples": ["{hugepages: 2M}"],
        "properties": {
            "at_start_mib": _MIB,
            "balloon": {"type": "boolean", "description": "true (its memory can be changed while it runs) or false is expected"},
            "hugepages": {
                "enum": ["default", *PAGES_KIB],
                "description": "the size of huge pages is default (the host's), 64K, 2M, 16M or 1G",
            },
            "nodes": _NODES,
            "nodes_mode": {
                "enum": ["strict", "preferred", "interleave"],
                "description": "memory is taken from the nodes strict (from no other), preferred or interleave",
            },
            "cells": {
                "type": "array",
                "minItems": 1,
                "description": "a list of the guest's NUMA nodes is wanted",
                "examples": ["[{cpus: 0-1, memory_mib: 512}, {cpus: 2-3, memory_mib: 512}]"],
                "items": {
                    "type": "object",
                    "description": "a node of the guest is a mapping of cpus, memory_mib and node",
                    "examples": ["{cpus: 0-1, memory_mib: 512}"],
                    "properties": {
                        "cpus": {**_SET, "description": "virtual CPUs are numbers and ranges such as 0-3"},
                        "memory_mib": _MIB,
                        "node": {
                            "type": "integer",
                            "minimum": 0,
                            "maximum": 1023,
                            "description": "the number of a NUMA node of the host is wanted",
                        },
                    },
                    "required": ["cpus", "memory_mib"],
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    },
    None,
    _write_memory,
    _read_memory,
    _lacks_memory,
)

KEYS = (CPU, MEMORY)


def _sets(cpu: t.Mapping[str, t.Any], memory: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str, str]]:
    """Each set of numbers: the key that it belongs to, its path, its text."""
    for name in ("pin", "emulator_pin"):
        if cpu.get(name) is not None:
            yield "cpu", name, cpu[name]
    for at, text in enumerate(cpu.get("pins") or ()):
        yield "cpu", f"pins[{at}]", text
    if memory.get("nodes") is not None:
        yield "memory", "nodes", memory["nodes"]
    for at, cell in enumerate(memory.get("cells") or ()):
        yield "memory", f"cells[{at}].cpus", cell["cpus"]


def processor_mistakes(machine: Group) -> t.Iterator[tuple[str, str]]:
    """What does not fit the number of CPUs and the memory: key and sentence.

    :param machine: the same keys, with ``cpus`` and ``memory_mib``.
    """
    cpu, memory, cpus, memory_mib = machine.get("cpu") or {}, machine.get("memory") or {}, machine["cpus"], machine["memory_mib"]
    topology = cpu.get("topology")
    if topology is not None:
        product = topology.get("sockets", 1) * topology.get("cores", 1) * topology.get("threads", 1)
        if product != cpus:
            yield "cpu", f"topology: it has {product} CPUs, and cpus is {cpus}; sockets x cores x threads has to be cpus"
    for key, path, text in _sets(cpu, memory):
        wrong = set_mistake(text)
        if wrong is not None:
            yield key, f"{path}: {wrong}"
    if len(cpu.get("pins") or ()) > cpus:
        yield "cpu", f"pins: {len(cpu['pins'])} entries for {cpus} CPUs; give one for each virtual CPU at most"
    if (memory.get("at_start_mib") or 0) > memory_mib:
        yield "memory", f"at_start_mib: {memory['at_start_mib']} is more than memory_mib, which is {memory_mib}"
    if memory.get("balloon") is False and memory.get("at_start_mib") not in (None, memory_mib):
        yield "memory", "at_start_mib: without a balloon a machine has all of its memory from the start; leave it out"
    if memory.get("nodes_mode") is not None and memory.get("nodes") is None:
        yield "memory", "nodes_mode: it says how memory is taken from nodes; give nodes as well"
    cells = memory.get("cells") or ()
    if cells:
        total = sum(cell["memory_mib"] for cell in cells)
        if total != memory_mib:
            yield "memory", f"cells: they have {total} MiB, and memory_mib is {memory_mib}"
        named: list[int] = []
        for cell in cells:
            named += numbers_of(cell["cpus"])
            if len(named) > cpus:
                break  # that is wrong already, however many follow
        if sorted(named) != list(range(cpus)):
            yield "memory", f"cells: each virtual CPU from 0 to {cpus - 1} has to stand in one cell; they name {in_short(named)}"
    if memory.get("nodes_mode") == "interleave" and any(cell.get("node") is not None for cell in cells):
        yield "memory", "nodes_mode: cells that name a node need strict, or no nodes_mode"
