# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a service on this host is meant to be, kept between runs: one small JSON file per service."""

from __future__ import annotations

import os
import typing as t

from .._disk import file_io, lock
from .._disk.safe_directory import SafeDirectory
from .._errors import FleetError
from .._names import check_name, is_name
from .._untrusted import Malformed, read
from .files import SECRET_MODE, make_directory

_SUFFIX = ".json"
_LARGEST = 64 * 1024 * 1024
_PRIVATE_MODE = 0o700
_PATIENCE_S = 30.0


class Remembered(t.NamedTuple):
    """
    :param changed: whether the record says something else now.
    :param refused: why it does not, empty if it says what was asked for.
    :param before: what it said.
    """

    changed: bool
    refused: str
    before: dict[str, t.Any]


class RecordUnreadable(FleetError):
    """There is a record, and what it says cannot be known."""

    kind = "record_unreadable"


class ServiceRecords:
    """Records of one tenant.

    :param state_dir: such as /var/lib/basecast.
    """

    def __init__(self, state_dir: str, tenant: str) -> None:
        self._state_dir = state_dir
        self._parts = ("services", check_name("tenant", tenant))
        self._directory = os.path.join(state_dir, *self._parts)

    def read(self, service: str) -> dict[str, t.Any] | None:
        """None where there is no record.

        :raises RecordUnreadable: why it cannot be read, and what to do.
        """
        name = self._name(service)
        path = os.path.join(self._directory, name)
        try:
            with self._open() as directory:
                return read(directory.read(name, _LARGEST), "it", max_bytes=_LARGEST).mapping()
        except FileNotFoundError:
            return None
        except Malformed as error:
            raise RecordUnreadable(
                f"The record {path} cannot be used: {error.problem}. Remove it, and deploy the service again.", path=path
            )
        except FleetError as error:
            raise RecordUnreadable(f"The record {path} cannot be read: {error.message}", path=path)
        except OSError as error:
            raise RecordUnreadable(f"The record {path} cannot be read: {error.strerror}.", path=path)

    def read_all(self) -> tuple[dict[str, dict[str, t.Any]], dict[str, str]]:
        """The records by service, and why others cannot be read."""
        records, unreadable = {}, {}
        for service in self.services():
            try:
                record = self.read(service)
            except RecordUnreadable as error:
                unreadable[service] = error.message
                continue
            if record is not None:
                records[service] = record
        return records, unreadable

    def services(self) -> list[str]:
        try:
            with self._open() as directory:
                names = directory.names()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RecordUnreadable(f"The records in {self._directory} cannot be listed: {error.strerror}.", path=self._directory)
        services = (name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX))
        return sorted(service for service in services if is_name(service))

    def write(self, service: str, record: t.Mapping[str, t.Any]) -> None:
        """Replaces the record, but for what it remembers of numbers of machines where that is newer: it may have come since the
        new record was planned."""
        make_directory(self._state_dir)
        with self._open(make=True) as directory, self._locked():
            kept = self._newer_scaled(service, record)
            new = {**record, "scaled": kept} if kept else record
            directory.replace(self._name(service), file_io.json_bytes(new), SECRET_MODE)

    def remember(self, service: str, expected: int, scaled: t.Mapping[str, t.Any], check: bool = False) -> Remembered:
        """Set how many machines groups have from now on, unless another run has changed it since.

        :param expected: the generation that was seen, 0 where nothing was remembered.
        :param check: only tell what would become of it.
        """
        absent = Remembered(False, f"There is no record of {service} on this host; deploy it first.", {})
        if self.read(service) is None:
            return absent
        with self._open() as directory, self._locked():
            record = self.read(service)
            if record is None:  # the service was removed meanwhile
                return absent
            before = scaled_of(record) or {}
            found = before.get("generation") or 0
            if before == scaled:
                return Remembered(False, "", before)
            # A host that was away when they were changed has older ones, and catches up.
            if found > expected:
                return Remembered(
                    False,
                    f"The numbers of machines of {service} have been changed since they were looked at (generation {found},"
                    f" expected {expected}). Nothing was changed; run it again.",
                    before,
                )
            if not check:
                directory.replace(self._name(service), file_io.json_bytes({**record, "scaled": dict(scaled)}), SECRET_MODE)
            return Remembered(True, "", before)

    def _locked(self) -> lock.Lock:
        return lock.take(self._directory, "the services' records", wait_s=_PATIENCE_S)

    def _newer_scaled(self, service: str, record: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
        try:
            before = scaled_of(self.read(service))
        except RecordUnreadable:  # it is about to be replaced
            return None
        return before if before and before["generation"] > (scaled_of(record) or {"generation": -1})["generation"] else None

    def remove(self, service: str) -> bool:
        try:
            with self._open() as directory, self._locked():
                return directory.remove(self._name(service))
        except FileNotFoundError:
            return False

    def _open(self, make: bool = False) -> SafeDirectory:
        return SafeDirectory.open(self._state_dir, *self._parts, make=make, mode=_PRIVATE_MODE)

    @staticmethod
    def _name(service: str) -> str:
        return check_name("service", service) + _SUFFIX


def tenants_of(state_dir: str) -> list[str]:
    """Tenants that have a record on this host."""
    directory = os.path.join(state_dir, "services")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RecordUnreadable(f"The records in {directory} cannot be listed: {error.strerror}.", path=directory)
    return sorted(name for name in names if is_name(name))


def scaled_of(record: t.Mapping[str, t.Any] | None) -> dict[str, t.Any] | None:
    """The numbers of machines that a record remembers; None if it has none, or none in this format."""
    found = (record or {}).get("scaled")
    if not isinstance(found, dict) or not isinstance(found.get("generation"), int) or not isinstance(found.get("groups"), dict):
        return None
    return dict(found)
