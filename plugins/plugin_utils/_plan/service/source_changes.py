# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Whether the source that a manifest names is what a held base was imported from.

A base with a ``sha256`` in the manifest is what the manifest says, whatever its source is now; that is compared elsewhere.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ....module_utils._urls import compression_of, public_checksum, public_url
from ..placement import Observed


def shown(source: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A source without what is secret in it, as a plan has it: that is shown, kept and sent. The manifest has the whole of it."""
    hidden = bool(source.get("secret"))

    return {
        **source,
        "url": public_url(source["url"], hidden) if source.get("url") else None,
        "mirrors": [public_url(url, hidden) for url in source.get("mirrors") or []],
        "checksum": public_checksum(source["checksum"], hidden) if source.get("checksum") else None,
    }


Source = Mapping[str, t.Any]  # of a base of the manifest


def is_packed(source: Source) -> bool:
    """Whether a file is compressed: then its size and its digest are not the image's."""
    if str(source.get("url") or "").startswith("oci://"):
        return True
    return compression_of(source.get("path") or source.get("url") or "", source.get("compression") or "auto") != "none"


def recorded(held: Sequence[Mapping[str, t.Any]]) -> dict[str, t.Any] | None:
    """What is known of the source of a base, from what its holders tell.

    ``digests``: of all files that gave the base, its own first. ``sizes``: of these files; empty if one is not known.
    ``url``: without its query, with the ``etag`` and ``last_modified`` of then. ``checksum``: of the file as it came; empty
    where another tenant has imported the base, whose file is not told of.
    """
    if not held:
        return None
    one = held[0]
    origin = one.get("imported_from") or {}
    checksum = str(origin.get("checksum") or "")
    own = [one["sha256"], one.get("source_sha256") or one["sha256"]]
    further = [sha256 for base in held for sha256 in base.get("sources") or [] if sha256 not in own]
    hidden = origin.get("kind") == "hidden"
    size = origin.get("size_bytes") or (one["size_bytes"] if own[0] == own[1] and not hidden else None)
    sizes = [] if further or not size else list(dict.fromkeys([size, one["size_bytes"]]))
    return {
        "digests": list(dict.fromkeys([*own, *further, *([checksum[7:]] if checksum.startswith("sha256:") else [])])),
        "sizes": sizes,
        "url": origin.get("name") if origin.get("kind") == "url" else None,
        "etag": origin.get("etag"),
        "last_modified": origin.get("last_modified"),
        "checksum": checksum or ("" if hidden else f"sha256:{own[1]}"),
    }


def place_to_look(base: Mapping[str, t.Any], hosts: Observed) -> dict[str, t.Any] | None:
    """Where the source of a base is looked at, None where it is not.

    ``{"on": host or None for the controller, "pool", "digest": whether its digest is wanted, "size_bytes": only if it has this size}``
    """
    source, known = base["source"], base["recorded"]
    if source["kind"] == "machine":
        return None  # it goes on writing; what was captured is what it had then
    if base["import_on"]:
        on = None if source["kind"] == "controller" else base["import_on"]
        digest = on is None and bool(base["wanted_sha256"]) and not is_packed(source)
        return {"on": on, "pool": source["pool"] or base["import_pool"], "digest": digest, "size_bytes": None}
    if known is None or base["wanted_sha256"] or _tells_nothing(known, source):
        return None
    on = source["host"]
    if source["kind"] == "url" and not on:
        on = next((host for host in base["holders"] if (hosts.get(host) or {}).get("reachable")), None)
    if source["kind"] != "controller" and not (hosts.get(on or "") or {}).get("reachable"):
        return None
    pool = source["pool"] or base["holders"].get(on or "") or "default"
    size = known["sizes"][0] if len(known["sizes"]) == 1 else None
    return {"on": on, "pool": pool, "digest": source["kind"] != "url", "size_bytes": size}


def _tells_nothing(known: Mapping[str, t.Any], source: Source) -> bool:
    """Whether the packed file of then is not known: the image's digest says nothing of it."""
    return not known["checksum"] and is_packed(source)


def difference(base: Mapping[str, t.Any], file: Mapping[str, t.Any]) -> tuple[str, str]:
    """(problem, note) of a source as it is now; both empty if nothing is known to differ."""
    known: Mapping[str, t.Any] | None = base["recorded"]
    if base["wanted_sha256"] or known is None or not file.get("isreg") or _tells_nothing(known, base["source"]):
        return "", ""
    place, where = _where(base)
    if _floats(base["source"]):
        return "", _list_says(base, known, file)
    size, sha256 = file.get("size"), file.get("sha256") or file.get("checksum")
    if size is not None and known["sizes"] and int(size) not in known["sizes"]:
        now, then = f"has {size} bytes", f"a file of {known['sizes'][0]} bytes"
    elif sha256 and sha256 not in known["digests"]:
        now, then = f"is {sha256}", " or ".join(known["digests"][1:] or known["digests"])
    else:
        return "", _server_says(base, known, file)
    return f"{place}: {where} {now}, but {base['title']} was imported from {then}; another content needs another version", ""


def _floats(source: Mapping[str, t.Any]) -> bool:
    """Whether what a list of checksums or a registry tells decides what the file is."""
    url = str(source.get("url") or "")
    return "://" in (source.get("checksum") or "") or (url.startswith("oci://") and "@" not in url)


def _list_says(base: Mapping[str, t.Any], known: Mapping[str, t.Any], file: Mapping[str, t.Any]) -> str:
    """A note where a list of checksums tells another one than at its first use: the base stays what it was."""
    now, then = file.get("listed"), known["checksum"]
    if not now or not then or now == then:
        return ""
    who = base["source"].get("checksum") or base["source"]["url"]
    return (
        f"{base['place']}.source: {who} tells {now} now, but {base['title']} was imported from {then} and"
        " stays what it is; to take the new file, give it a version of its own"
    )


def checksum_problem(base: Mapping[str, t.Any], known: Mapping[str, t.Any] | None) -> str:
    """Where the manifest gives a checksum that is not that of the file from which a held base was imported."""
    url = str(base["source"].get("url") or "")
    given = url.partition("@")[2] if url.startswith("oci://") else str(base["source"].get("checksum") or "").lower()
    if known is None or not known["checksum"] or not given or "://" in given:
        return ""
    names = {64: "sha256", 96: "sha384", 128: "sha512"}
    wanted = given if ":" in given else f"{names[len(given)]}:{given}"
    if wanted.partition(":")[0] != known["checksum"].partition(":")[0] or wanted == known["checksum"]:
        return ""
    return (
        f"{base['place']}.source: the manifest says {wanted}, but {base['title']} was imported from a file with"
        f" {known['checksum']}; another content needs another version"
    )


def _server_says(base: Mapping[str, t.Any], known: Mapping[str, t.Any], file: Mapping[str, t.Any]) -> str:
    """A note on a file at a URL that may be another one; only fetching it could tell."""
    url = str(base["source"]["url"] or "")
    if not url or url != str(known["url"] or ""):
        return ""
    place, where = _where(base)
    for what, key in (("ETag", "etag"), ("Last-Modified", "last_modified")):
        before, after = known[key], file.get(key)
        if before and after:
            if before == after:
                return ""
            return (
                f"{place}: the {what} of {where} was {before} when {base['title']} was imported, and is {after} now;"
                " if its content is another one, it needs another version"
            )
    return ""


def _where(base: Mapping[str, t.Any]) -> tuple[str, str]:
    source = base["source"]
    if source["kind"] == "url":
        return f"{base['place']}.source.url", str(source["url"])
    if source["kind"] == "controller":
        return f"{base['place']}.source.controller", f"{source['path']} of the controller"
    return f"{base['place']}.source.path", f"{source['path']} on {source['host']}"
