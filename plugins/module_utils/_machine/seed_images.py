# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Seed images on a host: made when missing, made anew when their content is to change, else left alone."""

from __future__ import annotations

import os
import secrets
import tempfile
import typing as t

from .._disk import file_io
from .._untrusted import Malformed
from .files import SECRET_MODE, check_pool, open_machine_directory
from .iso import CONFIG_DRIVE_ID, VOLUME_ID, Runner, find_tool, write_iso
from .media import CLOUDBASE, IGNITION, RECORD
from .seed import SeedWish, seed_digest, seed_files, seed_outline
from .seed_records import SeedRecord, record_in


class SeedImages:
    """
    :param run: runs the ISO tool.
    :param check: predict only.
    """

    def __init__(self, run: Runner, check: bool = False) -> None:
        self._run = run
        self._check = check

    def ensure(self, wish: SeedWish) -> tuple[dict[str, t.Any], dict[str, t.Any] | None, dict[str, t.Any]]:
        """Make one image what it should be.

        :returns: what happened, and what may be shown of the seed before and after.
        """
        check_pool(wish.pool_path)
        path = wish.owner.directory(wish.pool_path)
        digest = seed_digest(wish)
        found, present = _found(path, wish.image)
        shown_before = None if found is None else {"digest": found.digest, **found.outline}
        if present and found is not None and found.digest == digest:
            action = "none"
        else:
            action = "updated" if present else "created"
            # A record may be from a seed without a report.
            token = (found.token if found else None) or secrets.token_hex(16)
            if not self._check:
                self._write(path, wish, digest, token)
            elif wish.kind != IGNITION:
                find_tool()
        result = {
            "machine": wish.owner.machine,
            "path": os.path.join(path, wish.image),
            "instance_id": wish.owner.instance_id,
            "digest": digest,
            "action": action,
        }
        return result, shown_before, {"digest": digest, **seed_outline(wish)}

    def _write(self, path: str, wish: SeedWish, digest: str, token: str) -> None:
        record = {
            "format": 1,
            "digest": digest,
            "token": token if wish.reports else None,
            "hostname": wish.hostname,
            "instance_id": wish.owner.instance_id,
            "outline": seed_outline(wish),
        }
        content = self._content(wish, token)
        with open_machine_directory(path, make=True) as directory:
            directory.replace(wish.image, content, SECRET_MODE)
            # Last: only a complete image has a record.
            directory.replace(RECORD, file_io.json_bytes(record), SECRET_MODE)

    def _content(self, wish: SeedWish, token: str) -> bytes:
        files = seed_files(wish, token)
        if wish.kind == IGNITION:
            return files[wish.image]
        # The ISO tool knows nothing but paths, so it writes where nobody else can plant anything.
        with tempfile.TemporaryDirectory(prefix="basecast-seed-") as private:
            image = os.path.join(private, wish.image)
            write_iso(image, files, self._run, volume_id=CONFIG_DRIVE_ID if wish.kind == CLOUDBASE else VOLUME_ID)
            return file_io.read_file(image)


def _found(path: str, image: str) -> tuple[SeedRecord | None, bool]:
    """The record, and whether the image is there too: a record alone is that of an interrupted run."""
    try:
        with open_machine_directory(path) as directory:
            try:
                found = record_in(directory)
            except Malformed:
                return None, False
            return found, found is not None and directory.has(image)
    except FileNotFoundError:
        return None, False
