# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Seed images on a host: made when missing, made anew when their content is to change, else left alone."""

from __future__ import annotations

import json
import os
import secrets
import typing as t
from dataclasses import dataclass

from .._disk import filesystem
from .files import SECRET_MODE, check_pool, make_directory
from .iso import Runner, find_tool, write_iso
from .seed import SeedWish, seed_digest, seed_files, seed_outline

IMAGE = "seed.iso"
RECORD = "seed.json"


@dataclass(frozen=True)
class SeedRecord:
    """What the file ``seed.json`` says about the image beside it."""

    digest: str
    token: str | None  # None: this seed asks for no report
    hostname: str
    instance_id: str
    outline: t.Mapping[str, t.Any]


def read_record(directory: str) -> SeedRecord | None:
    """None where there is no record, or none that can be used."""
    try:
        with open(os.path.join(directory, RECORD), encoding="utf-8") as file:
            data = json.load(file)
        return SeedRecord(
            digest=data["digest"],
            token=data["token"],
            hostname=data["hostname"],
            instance_id=data["instance_id"],
            outline=data["outline"],
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


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
        directory = wish.owner.directory(wish.pool_path)
        image = os.path.join(directory, IMAGE)
        digest = seed_digest(wish)
        found = read_record(directory)
        shown_before = None if found is None else {"digest": found.digest, **found.outline}
        # A record without its image is that of an interrupted run.
        present = found is not None and os.path.exists(image)
        if present and found is not None and found.digest == digest:
            action = "none"
        else:
            action = "updated" if present else "created"
            # A record may be from a seed without a report.
            token = (found.token if found else None) or secrets.token_hex(16)
            if not self._check:
                self._write(directory, image, wish, digest, token)
            else:
                find_tool()
        result = {
            "machine": wish.owner.machine,
            "path": image,
            "instance_id": wish.owner.instance_id,
            "digest": digest,
            "action": action,
        }
        return result, shown_before, {"digest": digest, **seed_outline(wish)}

    def _write(self, directory: str, image: str, wish: SeedWish, digest: str, token: str) -> None:
        make_directory(directory)
        new = os.path.join(directory, ".new-" + IMAGE)
        filesystem.remove_file(new)
        # The tool would make it readable for all; an existing file keeps its mode.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE))
        try:
            write_iso(new, seed_files(wish, token), self._run)
            os.chmod(new, SECRET_MODE)
            handle = os.open(new, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            os.rename(new, image)
        finally:
            filesystem.remove_file(new)
        filesystem.sync_directory(directory)
        record = {
            "format": 1,
            "digest": digest,
            "token": token if wish.report else None,
            "hostname": wish.hostname,
            "instance_id": wish.owner.instance_id,
            "outline": seed_outline(wish),
        }
        # Last: only a complete image has a record.
        filesystem.replace_file(os.path.join(directory, RECORD), filesystem.json_bytes(record), SECRET_MODE)
