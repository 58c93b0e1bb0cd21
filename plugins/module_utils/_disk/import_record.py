# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What an earlier import learnt about its source, so that an unchanged one is not read again.

<pool>/bases/.imports/<key>.json
"""

from __future__ import annotations

import hashlib
import os
import time
import typing as t

from .._errors import FleetError
from .._names import is_sha256
from .._untrusted import Value
from . import file_io
from .store import Store
from .validators import MAX_VALIDATOR, Validators

FORMAT = 1
_LARGEST = 64 * 1024

#: A file that was written this recently may be written again without its time stamp showing it.
_SETTLED_NS = 2 * 10**9

_STAT_KEYS = ("device", "inode", "size", "mtime_ns", "ctime_ns")


def _path(store: Store, subject: str) -> str:
    key = hashlib.sha256(subject.encode("utf-8", "surrogateescape")).hexdigest()
    return os.path.join(store.directory, ".imports", f"{key}.json")


def _read(store: Store, subject: str) -> Value | None:
    """None where there is no record, or none that can be used: the source is then read again."""
    try:
        data = file_io.read_value(_path(store, subject), _LARGEST)
        if data["format"].integer() != FORMAT:
            return None
        data["source_sha256"].digest()
    except (OSError, FleetError):
        return None
    return data


def _write(store: Store, subject: str, data: t.Mapping[str, t.Any]) -> None:
    path = _path(store, subject)
    file_io.ensure_directory(os.path.dirname(path))
    file_io.replace_file(path, file_io.json_bytes({"format": FORMAT, **data}), 0o600)


def _stat(status: os.stat_result) -> dict[str, int]:
    values = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return dict(zip(_STAT_KEYS, values))


def file_digest(store: Store, path: str, status: os.stat_result) -> str | None:
    """Digest of a file that has not been touched since it was read."""
    data = _read(store, f"file:{path}")
    if data is None or any(data.raw.get(key) != value for key, value in _stat(status).items()):
        return None
    return data["source_sha256"].digest()


def remember_file(store: Store, path: str, status: os.stat_result, sha256: str) -> None:
    """Nothing is remembered of a file that has only just been written."""
    if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
        _write(store, f"file:{path}", {"path": path, "source_sha256": sha256, **_stat(status)})


def packed_digest(store: Store, kind: str, path: str, status: os.stat_result) -> str | None:
    """Digest of what a compressed file that has not been touched since was unpacked to."""
    data = _read(store, f"packed:{kind}:{path}")
    if data is None or any(data.raw.get(key) != value for key, value in _stat(status).items()):
        return None
    return data["source_sha256"].digest()


def remember_packed(store: Store, kind: str, path: str, status: os.stat_result, sha256: str) -> None:
    if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
        _write(store, f"packed:{kind}:{path}", {"path": path, "source_sha256": sha256, **_stat(status)})


def checksum_digest(store: Store, checksum: str, kind: str) -> str | None:
    """Digest of the image that a file of this checksum holds."""
    data = _read(store, f"checksum:{kind}:{checksum}")
    return data["source_sha256"].digest() if data is not None else None


def remember_checksum(store: Store, checksum: str, kind: str, sha256: str) -> None:
    _write(store, f"checksum:{kind}:{checksum}", {"source_sha256": sha256, "checksum": checksum})


def _of_url(url: str, kind: str) -> str:
    return f"url:{url}" if kind == "none" else f"url:{kind}:{url}"


def url_digest(store: Store, url: str, kind: str = "none") -> tuple[str, Validators] | None:
    """Digest of what the URL gave last time, and by what the server can tell whether it still does."""
    data = _read(store, _of_url(url, kind))
    if data is None:
        return None
    try:
        validators = Validators(data["etag"].text(MAX_VALIDATOR), data["last_modified"].text(MAX_VALIDATOR), data["length"].integer(-1))
    except FleetError:
        return None
    return data["source_sha256"].digest(), validators


def remember_url(store: Store, url: str, validators: Validators, sha256: str, kind: str = "none") -> None:
    if validators.etag or validators.last_modified:
        _write(store, _of_url(url, kind), {"source_sha256": sha256, **validators._asdict()})


def base_of_source(store: Store, sha256: str) -> str | None:
    """Digest of the base that a source of this digest was converted to, where another source gave the same bytes first
    and stands in base.json."""
    data = _read(store, f"source:{sha256}")
    found = data.raw.get("sha256") if data is not None else None
    return found if is_sha256(found) else None


def remember_source(store: Store, source_sha256: str, sha256: str) -> None:
    _write(store, f"source:{source_sha256}", {"source_sha256": source_sha256, "sha256": sha256})


def sources_of(store: Store) -> dict[str, list[str]]:
    """By base, the digests of further sources that were converted to the same bytes, as far as this pool knows."""
    directory = os.path.join(store.directory, ".imports")
    found: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return {}
    for name in names:
        try:
            data = file_io.read_value(os.path.join(directory, name), _LARGEST)
        except (OSError, FleetError):
            continue
        base, source = (data.raw.get(key) if isinstance(data.raw, dict) else None for key in ("sha256", "source_sha256"))
        if is_sha256(base) and is_sha256(source):
            found.setdefault(str(base), []).append(str(source))
    return found
