# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""The only file that knows qemu-img: its arguments, its JSON, its exit codes.

The format is always given (-f), so qemu-img never probes. Callers have read an image's header before and know that
it names no other file; where an image is read by itself, its backing file is switched off on top of that.
"""

from __future__ import annotations

import json
import typing as t

from .._text import clean
from .._untrusted import Malformed, read
from .errors import DamagedImage, DiskBusy, NoSpace, ToolFailed, UnsupportedImage
from .packages import package
from .room import Room
from .runner import Runner, limited, require_program

#: qemu-img's names of the formats that an import understands.
FORMATS = ("raw", "qcow2", "vmdk", "vpc", "vhdx")

# A hostile image may ask for any amount of memory or time; an honest one of some terabytes stays below these.
_MEMORY_MIB = 4096
_INSPECT_CPU_S = 60
_CHECK_CPU_S = 1800

_CHECK_LEAKS = 3
_CHECK_UNSUPPORTED = 63


class ImageInfo(t.NamedTuple):
    image_format: str
    virtual_size_bytes: int
    backing: str | None
    backing_format: str | None


class CheckResult(t.NamedTuple):
    """``problem`` is empty for a sound image; leaks (unused space) are none."""

    problem: str
    leaks: int


def parse_info(text: str) -> ImageInfo:
    """`qemu-img info --output=json` without its backing chain. Malformed for anything else."""
    data = read(text, "the output of qemu-img info")
    backing, backing_format = data.get("backing-filename"), data.get("backing-filename-format")
    return ImageInfo(
        image_format=data["format"].text(64),
        virtual_size_bytes=data["virtual-size"].integer(),
        backing=backing.text(4096) if backing is not None else None,
        backing_format=backing_format.text(64) if backing_format is not None else None,
    )


def parse_check(code: int, text: str, errors: str, names: t.Mapping[str, str] | None = None) -> CheckResult:
    """`qemu-img check --output=json` with its exit code."""
    if code == _CHECK_UNSUPPORTED:
        return CheckResult("", 0)
    found: dict[str, int] = {}
    try:
        data = read(text, "the output of qemu-img check")
        for key in ("leaks", "corruptions", "check-errors"):
            count = data.get(key)
            found[key] = count.integer() if count is not None else 0
    except Malformed:
        found = {}  # it ended early; the exit code and the last line of its errors tell why
    leaks = found.get("leaks", 0)
    if code in (0, _CHECK_LEAKS):
        return CheckResult("", leaks)
    counts = [f"{found[key]} {word}" for key, word in (("corruptions", "corruptions"), ("check-errors", "errors")) if found.get(key)]
    detail = _last_line(errors, names)
    return CheckResult(": ".join(filter(None, [", ".join(counts), detail])) or f"exit code {code}", leaks)


def _last_line(errors: str, names: t.Mapping[str, str] | None = None) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    if not lines:
        return ""
    text = lines[-1].replace("qemu-img: ", "", 1)
    for spoken, name in (names or {}).items():
        text = text.replace(spoken, name)
    return clean(text, 400)


def _names(name: str, path: str, image_format: str) -> dict[str, str]:
    """How qemu-img speaks of a file, and what the user calls it."""
    return {_alone(path, image_format): name, path: name} if name else {}


def _alone(path: str, image_format: str) -> str:
    """A file name that makes qemu read this one file and nothing that its header may name."""
    node: dict[str, t.Any] = {"driver": image_format, "file": {"driver": "file", "filename": path}}
    if image_format in ("qcow2", "vmdk"):
        node["backing"] = None
    return "json:" + json.dumps(node)


class QemuImg:
    """Every path is absolute: a name with a colon before the first slash would be a protocol to qemu."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def _run(self, arguments: t.Sequence[str], cpu_s: int = 0) -> tuple[int, str, str]:
        program = require_program("qemu-img", package("qemu-img"))
        return self._runner(limited([program, *arguments], _MEMORY_MIB, cpu_s))

    def _do(self, attempt: str, arguments: t.Sequence[str], cpu_s: int = 0, names: t.Mapping[str, str] | None = None) -> str:
        code, output, errors = self._run(arguments, cpu_s)
        if code != 0:
            raise _failure(attempt, code, errors, names)
        return output

    def info(self, path: str, image_format: str) -> ImageInfo:
        """Read a header; the image and what it names stay unopened as far as the format allows."""
        text = self._do(f"Looking at {path}", ["info", "--output=json", _alone(path, image_format)], cpu_s=_INSPECT_CPU_S)
        try:
            return parse_info(text)
        except Malformed as error:
            raise UnsupportedImage(f"{path}: qemu-img's answer cannot be understood: {error}", path=path)

    def check_unused(self, path: str, image_format: str) -> None:
        """DiskBusy when a running machine has the image open (qemu's own lock)."""
        self._do(f"Looking whether {path} is in use", ["info", "--output=json", "-f", image_format, path], _INSPECT_CPU_S)

    def check(self, path: str, image_format: str, name: str = "") -> CheckResult:
        """Check an image's own structure; raw images have none.

        :param name: what the user calls the file.
        """
        if image_format == "raw":
            return CheckResult("", 0)
        arguments = ["check", "--output=json", _alone(path, image_format)]
        return parse_check(*self._run(arguments, cpu_s=_CHECK_CPU_S), names=_names(name, path, image_format))

    def convert(self, source: str, source_format: str, destination: str, destination_format: str, room: Room, name: str = "") -> None:
        """Write a new image with the content of an image without parent. Zeros stay unallocated.

        :param room: of the pool in which the new image lies.
        """
        attempt = f"Converting {name or source} from {source_format} to {destination_format}"
        names = _names(name, source, source_format)
        image = [_alone(source, source_format)]
        with room.promise(self._measure(attempt, image, destination_format, names), attempt, [destination]):
            self._do(attempt, ["convert", "-q", "-O", destination_format, *image, destination], names=names)

    def flatten(self, source: str, source_format: str, destination: str, destination_format: str, room: Room) -> None:
        """Write a new image with the content of a store's image and its parents."""
        attempt, image = f"Copying {source} with its parents", ["-f", source_format, source]
        with room.promise(self._measure(attempt, image, destination_format), attempt, [destination]):
            self._do(attempt, ["convert", "-q", *image[:2], "-O", destination_format, source, destination])

    def drop_backing(self, path: str, room: Room) -> None:
        """Copy what lies under a differencing disk into it. It has its parent until all is there, so this can be interrupted."""
        attempt = f"Flattening {path}"
        with room.promise(self._measure(attempt, ["-f", "qcow2", path], "qcow2"), attempt, [path]):
            self._do(attempt, ["rebase", "-q", "-f", "qcow2", "-b", "", path])

    def measure(self, source: str, source_format: str) -> int:
        """The most that a qcow2 image with the content of an image and its parents has, also while a machine has that open."""
        return self._measure(f"Measuring {source}", ["-U", "-f", source_format, source], "qcow2")

    def _measure(self, attempt: str, image: t.Sequence[str], destination_format: str, names: t.Mapping[str, str] | None = None) -> int:
        text = self._do(attempt, ["measure", "--output=json", "-O", destination_format, *image], _CHECK_CPU_S, names)
        try:
            return read(text, "the output of qemu-img measure")["required"].integer()
        except Malformed as error:
            raise ToolFailed(attempt, "qemu-img", 0, f"its answer cannot be understood: {error}")

    def create_overlay(self, path: str, backing: str, backing_format: str, size_bytes: int) -> None:
        """A differencing disk. ``backing`` is what its header is to say; it is not opened."""
        self._do(
            f"Creating the differencing disk {path}",
            ["create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", backing_format, path, str(size_bytes)],
        )

    def create(self, path: str, size_bytes: int) -> None:
        self._do(f"Creating the disk {path}", ["create", "-q", "-f", "qcow2", path, str(size_bytes)])

    def resize(self, path: str, image_format: str, size_bytes: int) -> None:
        """Grow a disk; shrinking is refused by qemu-img itself."""
        self._do(f"Growing the disk {path}", ["resize", "-q", "-f", image_format, path, str(size_bytes)])

    def set_backing(self, path: str, backing: str, backing_format: str, name: str = "") -> None:
        """Change only the name of the parent in a qcow2 image; neither parent is opened."""
        self._do(
            f"Setting the parent of {name or path}",
            ["rebase", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", backing_format, path],
            names=_names(name, path, "qcow2"),
        )


def _failure(
    attempt: str, code: int, errors: str, names: t.Mapping[str, str] | None = None
) -> DamagedImage | DiskBusy | NoSpace | ToolFailed:
    detail = _last_line(errors, names)
    if "No space left on device" in errors or "Disk quota exceeded" in errors:
        return NoSpace(f"{attempt}: no space left; nothing incomplete was kept. Free some in the pool, and run again.", detail=detail)
    if "Failed to get" in errors and "lock" in errors:
        return DiskBusy(f"{attempt}: a running machine or another program has it open ({detail}).", detail=detail)
    if code < 0 or code > 128:
        return DamagedImage(
            f"{attempt}: qemu-img was ended by a signal ({code}), probably by the limits set for hostile images. Check the image"
            " (qemu-img check) and convert it where it was made, and import the result.",
            code=code,
            detail=detail,
        )
    return ToolFailed(attempt, "qemu-img", code, detail)
