# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a service on this host is meant to be, kept between runs: one small JSON file per service."""

from __future__ import annotations

import json
import os
import typing as t

from .._disk import filesystem
from .._errors import FleetError
from .._names import check_name, is_name
from .files import SECRET_MODE, make_directory, read_tail

_SUFFIX = ".json"
_LARGEST = 64 * 1024 * 1024


class ServiceRecords:
    """Records of one tenant.

    :param state_dir: such as /var/lib/basecast.
    """

    def __init__(self, state_dir: str, tenant: str) -> None:
        self._directory = os.path.join(state_dir, "services", check_name("tenant", tenant))

    def read(self, service: str) -> dict[str, t.Any] | None:
        path = self._path(service)
        if not os.path.exists(path):
            return None
        try:
            data = json.loads(read_tail(path, _LARGEST))
        except ValueError as error:
            raise FleetError(f"The record {path} is no JSON ({error}). Remove it, and deploy the service again.", path=path)
        if not isinstance(data, dict):
            raise FleetError(f"The record {path} is no mapping. Remove it, and deploy the service again.", path=path)
        return data

    def read_all(self) -> dict[str, dict[str, t.Any]]:
        records = {}
        for service in self.services():
            record = self.read(service)
            if record is not None:
                records[service] = record
        return records

    def services(self) -> list[str]:
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        services = (name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX))
        return sorted(service for service in services if is_name(service))

    def write(self, service: str, record: t.Mapping[str, t.Any]) -> None:
        make_directory(self._directory)
        filesystem.replace_file(self._path(service), filesystem.json_bytes(record), SECRET_MODE)

    def remove(self, service: str) -> bool:
        return filesystem.remove_file(self._path(service))

    def _path(self, service: str) -> str:
        return os.path.join(self._directory, check_name("service", service) + _SUFFIX)
