# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every error text is read by a test: words of it that hardly any other text has stand in one.

That a text stands in a test does not prove that the test provokes it, so this finds what was forgotten, and no more.
"""

from __future__ import annotations

import collections
import functools
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.basecast.fleet.tests.static.test_docs import texts

pytestmark = pytest.mark.timeout(180)  # all sources and tests are read
ROOT = Path(__file__).resolve().parents[2]
WORD = re.compile(r"[A-Za-z0-9_.=-]*[A-Za-z0-9]")
TOGETHER = 3  # words in a row tell one text from others
RARE = 2  # texts may have them

# Texts that no test reads, by reason. Shorten it; add to it only with a reason.
UNREAD: dict[str, tuple[str, ...]] = {
    "between hosts, while one dies or lies": (
        "… was to move between pools, and this host no longer has the pool ….",
        "Not every machine went through: …",
        "Not needed any more.",
        "Other rounds are being measured on this host; collect them first.",
        "The certificates of this run are not valid by this host's clock. …",
        "The connection ended within a message.",
        "The connection to … broke: ….",
        "The connection to … was refused: …",
        "The file … of … became shorter while it was read.",
        "The node is being stopped.",
        "The target's QEMU does not offer the machine type … for … (…); choose another host, or install the QEMU that the source has.",
        "The time for measuring was over.",
        "Unexpected … while storing chunk …: …",
        "What has come as … has … parent; expected the opposite.",
        "… does not leave this host; run again.",
        "… has left this turn out.",
        "… has … bytes, the base ….",
        "… is not expected here; run again.",
        "… is not on this host any more; run again.",
        "… of … has arrived damaged on …; migrate it again.",
        "… has … bytes on …; at most … are taken. Shorten it, or copy the disk without its snapshots (qemu-img convert).",
        "… ports from … to … were tried, and none is free on … of both hosts.",
        "… runs with other disks than its definition names; nothing was removed. Compare them (virsh domblklist, and with --inactive),"
        " put the definition right (virsh edit), and run again.",
        "…: the TLS handshake failed: ….",
    ),
    "files of the store that somebody else changed, or that changed meanwhile": (
        "Another process writes to …; end it, and try again.",
        "The base disk … in pool … is still needed by ….",
        "The base disk … in pool … is still not usable: ….",
        "The base disk … in pool … was changed while it was mended.",
        "The base disk … was published but cannot be used: ….",
        "The base disk … was removed while it was looked at; run the import again.",
        "The chain under the disk … has more than … layers; flatten it.",
        "The chunk list ends after … of … bytes.",
        "The copy of … has the SHA-256 digest none, it has vanished, but … was asked for; nothing was kept.",
        "The program … is not on this host; install the package ….",
        "metadata: … is not accepted; it lacks …",
        "method: … cannot be hard linked into pool … (…); that needs one file system. Set method to auto.",
        "method: … cannot be reflinked into pool … (file system …); set method to auto or copy, or use XFS or Btrfs for source and pool.",
        "references: … is not accepted; to add a reference, sha256 is needed",
        "references: … is not accepted; with expected: true, each entry needs a pool",
        "something follows its end",
        "the chain under … has more than … layers",
        "url: … is not accepted; mirrors and checksum belong to http and https; of a file give sha256",
        "… cannot be imported: ….",
        "… changed while it was read; import it when no program writes it.",
        "… is a symbolic link or a file where a directory is expected; remove it.",
        "… is a symbolic link where a file of the store is expected; remove it.",
        "… is damaged or cut off: qemu-img check finds ….",
        "… is no … image although format says so; its content looks like ….",
        "… is not a hold of a run; remove it.",
        "… is …, not a regular file; remove it.",
        "… was replaced while it was imported.",
        "…, which says what a writer will need, cannot be used: …. Remove it.",
        "…: a layer is of no use: /disk has several files, … and …; one is expected; nothing was kept.",
        "…: more came than the … bytes that were announced.",
        "…: qemu-img ended with …: its answer cannot be understood: …",
        "…: qemu-img ended with …: …",
        "…: qemu-img's answer cannot be understood: …",
        "…: the registry's token service gives no token.",
        "…: the transfer broke off … times; nothing was kept.",
        "…: the transfer broke off; nothing was kept.",
        "…: the transfer ended after … of … bytes.",
        "…: the transfer ended after … of … bytes; nothing was kept.",
    ),
    "of a job on a host": (
        "The claims in … cannot be read: ….",
        "references: … is not accepted; each needs sha256 and pool",
        "virt-sysprep could not seal …: …",
    ),
    "of the controller": (
        "fleet: invalid value …; expected hosts, or nothing",
        "live: … is off; it can only move with live=false, or without live",
        "watch: invalid state: …; expected what the filter relay_watch returns",
        "… is not accepted; a network such as 198.51.100.0/24 is expected",
        "…: … has a domain … or one with its UUID already; undefine or rename it",
        "…: … is not UTF-8 text (byte …); save it as UTF-8",
        "…: … stands twice; names are unique here",
        "…: …; expected a file",
    ),
    "lines of a play, around texts that are read": (
        "Not measured: …",
        "The plan in … cannot be run:",
        "… The plan above says why.",
        "… The result above says why.",
        "…. No machine was touched.",
        "…: capture the disk: …",
    ),
    "never said: what is missing is expected to be a list or a mapping first": (
        "…: missing; expected at most … entries",
        "…: missing; expected at most … keys",
    ),
}


def in_a_row(text: str, number: int) -> list[str]:
    """Runs of so many words between values."""
    pieces = [WORD.findall(piece) for piece in text.split("…")]
    return [" ".join(words[at : at + number]) for words in pieces for at in range(len(words) - number + 1)]


@functools.cache
def what_tests_say() -> str:
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path.parent != ROOT / "tests/static" and "output" not in path.parts]
    return "\n".join(" ".join(WORD.findall(path.read_text())) for path in paths)


def unread(known: t.Iterable[str]) -> list[str]:
    shared = collections.Counter(run for text in known for run in set(in_a_row(text, TOGETHER)))
    found = []
    for text in known:
        telling = [run for run in in_a_row(text, TOGETHER) if shared[run] <= RARE] or in_a_row(text, 2) or WORD.findall(text)
        if not any(run in what_tests_say() for run in telling):
            found.append(text)
    return found


def test_every_error_text_is_read_by_a_test() -> None:
    excused = {text for texts_ in UNREAD.values() for text in texts_}
    assert sorted(set(unread([one.text for one in texts()])) - excused) == []


def test_texts_that_a_test_reads_are_not_excused() -> None:
    found = set(unread([one.text for one in texts()]))
    assert not [text for texts_ in UNREAD.values() for text in texts_ if text not in found]


def test_a_text_that_no_test_reads_is_found() -> None:
    new = "the moon over … is full tonight"
    assert unread([new]) == [new]
    assert unread(["…: the file must hold JSON (…)"]) == []
