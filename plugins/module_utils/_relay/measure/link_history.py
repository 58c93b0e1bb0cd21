# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host knows of the links that leave it, kept between runs: one small JSON file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing as t

from ..._untrusted import MAX_BYTES, Malformed, Value, read

FORMAT = 1
NAME = "links.json"

# Of a larger fleet the links measured last are kept.
MAX_LINKS = 4096

_MAX_POOLS = 1000
_MAX_NAME = 255

# A measurement from the future says that the clock was set back; how old it is cannot be told.
CLOCK_SPARE_S = 60.0

Row = t.Dict[str, t.Any]


def slowest(disks: t.Mapping[str, t.Mapping[str, float]]) -> dict[str, float]:
    """``disk_write_mbps`` and ``disk_read_mbps`` of the slowest pool, as far as they were measured."""
    rates = {}
    for key in ("write_mbps", "read_mbps"):
        known = [disk[key] for disk in disks.values() if key in disk]
        if known:
            rates[f"disk_{key}"] = min(known)
    return rates


def _link(row: Value) -> Row:
    texts = {key: row[key].text(_MAX_NAME) for key in ("from", "to", "by")}
    return {**texts, **{key: row[key].number() for key in ("mbps", "latency_s", "at")}}


def _disk(rates: Value) -> Row:
    return {key: value.number() for key, value in rates.entries(_MAX_POOLS).items()}


class LinkHistory:
    """Links by their receiver, with when and how each was measured, and what was measured of the host's disks.

    :param state_dir: such as /var/lib/basecast.
    """

    def __init__(self, state_dir: str) -> None:
        self._directory = state_dir
        self._path = os.path.join(state_dir, NAME)

    def read(self, now: float) -> Row:
        """``{"links": [{"from", "to", "mbps", "latency_s", "by", "age_s"}], "disk_write_mbps", "disk_read_mbps", "disks_age_s"}``.

        The oldest link first; the disk rates are those of the slowest pool, and missing if none was measured.

        Whatever cannot be read counts as never measured.

        :param now: seconds since the epoch.
        """
        kept = self._load()
        links = [{**row, "age_s": max(0.0, now - row["at"])} for row in kept["links"] if row["at"] <= now + CLOCK_SPARE_S]
        for row in links:
            row["age_s"] = round(row["age_s"], 1)
            del row["at"]
        return {"links": links, **slowest(kept["disks"]), "disks_age_s": round(max(0.0, now - kept["disks_at"]), 1)}

    def note(
        self,
        rows: t.Sequence[Row],
        by: str,
        now: float,
        disks: t.Mapping[str, t.Any] | None = None,
        at_least: bool = False,
    ) -> None:
        """Keep newly measured links, and forget what was known of the same.

        :param rows: ``{"from", "to", "mbps", "latency_s"}``; a row without a latency leaves the known one.
        :param by: ``probe`` or ``transfer``.
        :param at_least: the links may be quicker than measured: a row that is slower than what is known is left out.
        """
        if not rows and not disks:
            return
        os.makedirs(self._directory, mode=0o755, exist_ok=True)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            kept = self._load()
            links = {(row["from"], row["to"]): row for row in kept["links"]}
            for row in rows:
                before = links.get((row["from"], row["to"]), {})
                if at_least and before.get("mbps", 0.0) > row["mbps"]:
                    continue
                links.pop((row["from"], row["to"]), None)
                links[row["from"], row["to"]] = {
                    "from": row["from"],
                    "to": row["to"],
                    "mbps": row["mbps"],
                    "latency_s": row.get("latency_s", before.get("latency_s", 0.0)),
                    "by": by,
                    "at": round(now, 1),
                }
            kept["links"] = list(links.values())[-MAX_LINKS:]
            if disks:
                kept["disks"], kept["disks_at"] = dict(disks), round(now, 1)
            self._write(kept)
        finally:
            os.close(descriptor)

    def read_with(self, probed: t.Mapping[str, t.Any], now: float) -> Row:
        """The same with what a probe has just found instead of what was known of the same links and disks."""
        kept = self.read(now)
        found = {(row["from"], row["to"]) for row in probed["links"]}
        links = [row for row in kept["links"] if (row["from"], row["to"]) not in found]
        kept["links"] = links + [{**row, "by": "probe", "age_s": 0.0} for row in probed["links"]]
        return {**kept, **slowest(probed["disks"]), "disks_age_s": 0.0} if probed["disks"] else kept

    def _load(self) -> Row:
        empty: Row = {"format": FORMAT, "links": [], "disks": {}, "disks_at": 0.0}
        try:
            with open(self._path, "rb") as file:
                kept = read(file.read(MAX_BYTES + 1), self._path)
            if kept["format"].integer() != FORMAT:
                return empty
            return {
                "format": FORMAT,
                "links": [_link(row) for row in kept["links"].items(MAX_LINKS)],
                "disks": {pool: _disk(rates) for pool, rates in kept["disks"].entries(_MAX_POOLS).items()},
                "disks_at": kept["disks_at"].number(),
            }
        except (OSError, Malformed):
            return empty

    def _write(self, kept: Row) -> None:
        temporary = f"{self._path}.{os.getpid()}"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(kept, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
