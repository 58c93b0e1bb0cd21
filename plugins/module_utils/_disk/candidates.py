# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""What a host has before it imports: the sources that a manifest names, and files that are already what is wanted."""

from __future__ import annotations

import os
import stat
import time
import typing as t

from .._errors import FleetError, InvalidOption
from .._text import clean
from .._urls import check_url, compression_of, expired, file_name
from . import checksum, download, file_io, filesystem, import_record, in_use, oci, server_access, sources, transfer, unpack
from .download import DownloadFailed, Terms
from .errors import UnsafePath
from .inspection import inspect
from .server_access import Access
from .sources import Rules
from .store import Store

_DEPTH = 5
_MOST_FILES = 100_000
# How long a server may stay silent that is only asked, in seconds.
_ASK_S = 10.0


class Wanted(t.NamedTuple):
    """A base disk that the host may have under another name; ``image_format`` where it is known."""

    sha256: str
    size_bytes: int
    image_format: str | None = None


class Source(t.NamedTuple):
    """``size_bytes`` is None where it is not known, ``problem`` why the host would refuse to import from there.

    ``sha256`` is empty where it was not asked for, or cannot be told; ``etag`` and ``last_modified`` are a server's,
    ``listed`` is what a list of checksums tells now.

    :param compression: of the file, whose size is not the image's then.
    """

    there: bool
    size_bytes: int | None
    problem: str
    note: str
    sha256: str = ""
    etag: str = ""
    last_modified: str = ""
    listed: str = ""
    compression: str = "none"

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "isreg": self.there,
            "size": self.size_bytes,
            "problem": self.problem,
            "note": self.note,
            "sha256": self.sha256 or None,
            "etag": self.etag or None,
            "last_modified": self.last_modified or None,
            "listed": self.listed or None,
            "compression": self.compression,
        }


class Web(t.NamedTuple):
    """What an import would be given beside a URL; see ``import_request.Request``."""

    url: str
    mirrors: tuple[str, ...] = ()
    checksum: str | None = None
    compression: str = "auto"
    secret: bool = False
    access: Access = server_access.NONE


class Digest(t.NamedTuple):
    """Whether the digest of a file is asked for.

    :param size_bytes: only of a file of this size; another size says enough.
    :param remember: write down what was read.
    """

    size_bytes: int | None = None
    remember: bool = True


def look_at_path(
    stores: t.Mapping[str, Store], pool: str, path: str, rules: Rules, digest: Digest | None = None, compression: str = "auto"
) -> Source:
    """A file on the host, opened and judged as an import does it."""
    kind = compression_of(path, compression)
    found = _look_at_path(stores, pool, path, rules, digest)._replace(compression=kind)
    return found if found.problem or not found.there else _with_unpacker(found, kind, path)


def _with_unpacker(found: Source, kind: str, name: str) -> Source:
    try:
        unpack.check_unpacker(kind, name)
    except FleetError as error:
        return found._replace(problem=error.message)
    return found


def _look_at_path(stores: t.Mapping[str, Store], pool: str, path: str, rules: Rules, digest: Digest | None) -> Source:
    full = path if os.path.isabs(path) else os.path.join(stores[pool].pool_path, path)
    try:
        descriptor, true = sources.open_source(full, stores, rules)
    except (FileNotFoundError, NotADirectoryError):
        return Source(False, None, "", "there is no such file")
    except UnsafePath:
        return Source(False, None, "", "it is not a regular file")
    except InvalidOption as error:
        return Source(False, None, error.message, "")
    except FleetError as error:
        return Source(True, None, error.message, "")
    except OSError as error:
        return Source(True, None, "", clean(error, 200))
    try:
        status = os.fstat(descriptor)
        in_use.refuse_open(descriptor, full, "imported", readers=False)
        sha256 = ""
        if digest is not None and digest.size_bytes in (None, status.st_size):
            sha256 = _digest_of(stores, descriptor, true, digest.remember)
    except FleetError as error:
        return Source(True, None, error.message, "")
    except OSError as error:
        return Source(True, None, "", clean(error, 200))
    finally:
        os.close(descriptor)
    return Source(True, status.st_size, "", "", sha256)


def look_at_url(stores: t.Mapping[str, Store], pool: str, web: Web, rules: Rules, digest: Digest | None = None) -> Source:
    """What the first server that answers says of the file. One that says nothing, or cannot be asked now, is no problem yet."""
    if oci.is_reference(web.url):
        return _look_at_image(web, rules)
    try:
        if check_url(web.url, secret=web.secret).startswith("file:"):
            return look_at_path(stores, pool, sources.file_of_url(web.url, rules), rules, digest, web.compression)
        wanted = checksum.parse(web.checksum, web.secret) if web.checksum is not None else checksum.Wanted()
        for number, mirror in enumerate(web.mirrors):
            check_url(mirror, f"mirrors[{number}]", ("http", "https"), web.secret)
    except FleetError as error:
        return Source(True, None, error.message, "")
    terms = Terms(rules, web.access, timeout_s=_ASK_S, secret=web.secret)
    kind = compression_of(file_name(web.url), web.compression)
    found = _with_unpacker(_ask_first(web, terms)._replace(compression=kind), kind, terms.public(web.url))
    if not wanted.url or found.problem:
        return found
    try:
        text = download.read_text(wanted.url, terms, checksum.LARGEST_LIST)
        listed = checksum.find(text, file_name(web.url), terms.public(wanted.url), wanted.algorithm)
    except DownloadFailed as error:
        return found._replace(note=" ".join(filter(None, [found.note, error.message])))
    except FleetError as error:
        return found._replace(problem=error.message)
    except OSError as error:
        return found._replace(note=" ".join(filter(None, [found.note, clean(error, 200)])))
    return found._replace(listed=str(listed))


def _look_at_image(web: Web, rules: Rules) -> Source:
    try:
        image = oci.look_up(oci.parse_reference(web.url), Terms(rules, web.access, timeout_s=_ASK_S))
        for layer in image.layers:
            unpack.check_unpacker(layer.compression, web.url)
    except DownloadFailed as error:
        return Source(True, None, "", error.message)
    except FleetError as error:
        return Source(True, None, error.message, "")
    except OSError as error:
        return Source(True, None, "", clean(error, 200))
    return Source(True, None, "", "", listed=str(image.checksum))


def _ask_first(web: Web, terms: Terms) -> Source:
    """What is said of the first URL of which there is no problem; else what is wrong with each of them."""
    problems: list[str] = []
    notes: list[str] = []
    for url in (web.url, *web.mirrors):
        end = expired(url, time.time())
        if end:
            problems.append(f"{terms.public(url)}: {end}.")
            continue
        try:
            answer = download.ask(url, terms)
        except DownloadFailed as error:
            notes.append(error.message)
        except FleetError as error:
            problems.append(error.message)
        except OSError as error:
            notes.append(clean(error, 200))
        else:
            size = answer.length if answer.length >= 0 else None
            return Source(True, size, "", "", etag=answer.etag, last_modified=answer.last_modified)
    # A server that does not answer now may do so later.
    return Source(True, None, "" if notes else " ".join(problems), " ".join(notes))


def find(stores: t.Mapping[str, Store], wanted: t.Sequence[Wanted], rules: Rules, remember: bool = True) -> list[dict[str, t.Any]]:
    """Files that can become what is wanted as they are, the first of each: {"sha256", "path", "size_bytes"}.

    Only files of a wanted size are read, each of them once: what it was found to be is remembered with its identity and its
    times.

    :param remember: write down what was read.
    """
    by_size: dict[int, dict[str, Wanted]] = {}
    for item in wanted:
        by_size.setdefault(item.size_bytes, {})[item.sha256] = item
    found: dict[str, dict[str, t.Any]] = {}
    for path in _files(stores, rules):
        size = _size(path)
        wishes = {sha256: item for sha256, item in by_size.get(size, {}).items() if sha256 not in found}
        if not wishes:
            continue
        digest = _digest(stores, path, rules, remember, wishes)
        if digest:
            found[digest] = {"sha256": digest, "path": path, "size_bytes": size}
    return [found[sha256] for sha256 in sorted(found)]


def _size(path: str) -> int:
    try:
        status = os.lstat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _files(stores: t.Mapping[str, Store], rules: Rules) -> t.Iterator[str]:
    closed = {os.path.join(os.path.realpath(store.pool_path), name) for store in stores.values() for name in ("bases", "machines")}
    left = _MOST_FILES
    for root in sources.directories(stores, rules):
        for directory, names, files in os.walk(root):
            depth = os.path.relpath(directory, root).count(os.sep) + (directory != root)
            names[:] = sorted(
                name for name in names if depth < _DEPTH and not name.startswith(".") and os.path.join(directory, name) not in closed
            )
            for name in sorted(files):
                left -= 1
                if left < 0:
                    return
                yield os.path.join(directory, name)


def _digest(stores: t.Mapping[str, Store], path: str, rules: Rules, remember: bool, wishes: t.Mapping[str, Wanted]) -> str:
    """Which of the wishes a file is; empty for another one, and one that is not to be imported or is being written."""
    try:
        descriptor = file_io.open_regular(path)
    except (OSError, FleetError):
        return ""
    try:
        sources.check_path(descriptor, path, stores, rules)
        sha256 = _digest_of(stores, descriptor, path, remember)
        # What would be converted, or has a parent, can become other bytes.
        kept = sha256 in wishes and inspect(path, descriptor, wishes[sha256].image_format, None).keep
        return sha256 if kept else ""
    except (OSError, FleetError):
        return ""
    finally:
        os.close(descriptor)


def _digest_of(stores: t.Mapping[str, Store], descriptor: int, path: str, remember: bool) -> str:
    """Of an open file, from memory where it is the same still; empty if it was written meanwhile.

    :param path: where it really lies.
    """
    status = os.fstat(descriptor)
    for store in stores.values():
        known = import_record.file_digest(store, path, status)
        if known is not None:
            return known
    with in_use.reading(descriptor, path, "read"):
        digest = transfer.hash_open(descriptor)[0]
    after = os.fstat(descriptor)
    if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
        return ""
    if remember:
        _remember(stores, path, status, digest)
    return digest


def _remember(stores: t.Mapping[str, Store], path: str, status: os.stat_result, digest: str) -> None:
    """In the first pool that takes it; where none does, the file is read again next time."""
    for store in stores.values():
        if filesystem.is_writable(store.pool_path):
            store.prepare()
            import_record.remember_file(store, path, status, digest)
            return
