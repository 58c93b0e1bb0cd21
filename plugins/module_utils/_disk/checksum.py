# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Checksums of files as they are downloaded: given, or looked up in a publisher's list (SHA256SUMS, NAME.sha256 and the like)."""

from __future__ import annotations

import difflib
import posixpath
import re
import typing as t

from .._errors import FleetError, InvalidOption
from .._text import clean
from .._urls import check_url

# By the number of hexadecimal digits.
_ALGORITHMS = {64: "sha256", 96: "sha384", 128: "sha512"}
LARGEST_LIST = 4 << 20
_MOST_LINES = 50_000

_GNU = re.compile(r"\\?([0-9A-Fa-f]{64,128})(?:[ \t]+\*?|\t)(\S.*)")
_BSD = re.compile(r"\\?(SHA-?256|SHA2-256|SHA-?384|SHA2-384|SHA-?512|SHA2-512) ?\((.+)\) ?= ?([0-9A-Fa-f]{64,128})", re.IGNORECASE)
_ALONE = re.compile(r"[0-9A-Fa-f]{64,128}")
_ACCEPTED = "sha256:DIGEST (or sha384:, sha512:), or the http or https URL of a list of checksums such as SHA256SUMS is expected"


class ChecksumMissing(FleetError):
    kind = "checksum_missing"


class Checksum(t.NamedTuple):
    """Of a file as it is downloaded, before it is unpacked."""

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"


class Wanted(t.NamedTuple):
    """What a user gave: the checksum itself, or where it is to be found. Exactly one of both is set.

    :param algorithm: that was asked for; empty for whichever the list has.
    """

    checksum: Checksum | None = None
    url: str = ""
    algorithm: str = ""


def parse(text: str, secret: bool = False) -> Wanted:
    """:param secret: paths of URLs are not shown. :raises InvalidOption:"""
    head, mark, rest = text.strip().partition(":")
    algorithm = head.lower() if mark and head.lower() in _ALGORITHMS.values() else ""
    value = rest.strip() if algorithm else text.strip()
    if "://" in value:
        return Wanted(url=check_url(value, "checksum", ("http", "https"), secret), algorithm=algorithm)
    found = _checksum(value)
    if found is None or (algorithm and algorithm != found.algorithm):
        raise InvalidOption("checksum", clean(text, 200), _ACCEPTED)
    return Wanted(found)


def _checksum(text: str) -> Checksum | None:
    algorithm = _ALGORITHMS.get(len(text)) if _ALONE.fullmatch(text) else None
    return Checksum(algorithm, text.lower()) if algorithm else None


def find(text: str, name: str, place: str, algorithm: str = "") -> Checksum:
    """The checksum of a file in a list.

    :param name: of the file, without directories.
    :param place: of the list, for messages.
    :raises ChecksumMissing: the list has none, or several that contradict each other.
    """
    named: dict[str, list[Checksum]] = {}
    alone: list[Checksum] = []
    for line in text.lstrip("\ufeff").splitlines()[:_MOST_LINES]:
        entry = _entry(line.strip())
        if entry is None:
            continue
        said, checksum = entry
        if said == "-":  # of what came through a pipe
            said = None
        if algorithm and checksum.algorithm != algorithm:
            continue
        if said is None:
            alone.append(checksum)
        else:
            named.setdefault(said, []).append(checksum)
    own = named.get(name, [])
    if not own and not named and len(set(alone)) == 1:
        own = alone  # NAME.sha256 with nothing but the digest
    wanted = f"a {algorithm} checksum" if algorithm else "a SHA-2 checksum"
    if not own:
        near = difflib.get_close_matches(name, named, n=3, cutoff=0.5)
        has = f"; it has those of {', '.join(clean(one, 100) for one in near)}" if near else "; it has no file with a name like that"
        raise ChecksumMissing(f"checksum: {place} does not tell {wanted} of {clean(name, 200)}{has}.", place=place, name=name)
    for kind in ("sha256", "sha512", "sha384"):
        digests = {one for one in own if one.algorithm == kind}
        if len(digests) > 1:
            raise ChecksumMissing(f"checksum: {place} tells {len(digests)} different {kind} checksums of {clean(name, 200)}.", place=place)
        if digests:
            return digests.pop()
    raise AssertionError(own)


def _entry(line: str) -> tuple[str | None, Checksum] | None:
    bsd = _BSD.fullmatch(line)
    if bsd is not None:
        checksum, name = _checksum(bsd.group(3)), bsd.group(2)
        if checksum is None or checksum.algorithm[-3:] != bsd.group(1)[-3:]:
            return None
    else:
        gnu = _GNU.fullmatch(line)
        if gnu is None:
            alone = _checksum(line)
            return (None, alone) if alone else None
        checksum, name = _checksum(gnu.group(1)), gnu.group(2)
        if checksum is None:
            return None
    if line.startswith("\\"):  # coreutils writes names with line ends like that
        name = re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match.group(1), match.group(1)), name)
    return posixpath.basename(name), checksum
