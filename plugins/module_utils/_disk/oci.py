# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Disks in registries of container images: the file below /disk in a layer, as KubeVirt's containerDisks have it.

Everything is taken by digest: the manifest by the one that was asked for or that a tag has now, a layer by the manifest's.
"""

from __future__ import annotations

import hashlib
import platform
import re
import tarfile
import typing as t
import urllib.parse

from .._errors import FleetError, InvalidOption
from .._text import clean
from .._untrusted import Malformed, Value, read
from . import download
from .checksum import Checksum
from .errors import NoSpace
from .server_access import Credential
from .unpack import Sink, Undecodable, UnpackingSink
from .web import DownloadFailed, Opened, Terms

SCHEME = "oci"
_LARGEST = 4 << 20
_MOST_LAYERS = 128
_DOCKER_HUB = ("docker.io", "registry-1.docker.io")
_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'([a-z]+)="([^"]*)"')
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_PACKED = ("gzip", "zstd", "bzip2", "xz")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64"}
_TAR_BLOCK = 512
# In all layers together; a header takes time although it unpacks to nothing that would fill the pool.
_MOST_FILES = 1_000_000


class Reference(t.NamedTuple):
    """``oci://registry/repository:tag@digest``; a tag, a digest, or both."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def address(self) -> str:
        host = _DOCKER_HUB[1] if self.registry == _DOCKER_HUB[0] else self.registry
        return f"https://{host}/v2/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{SCHEME}://{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def is_reference(url: str) -> bool:
    return url.strip().lower().startswith(f"{SCHEME}://")


def parse_reference(url: str) -> Reference:
    """:raises InvalidOption:"""
    accepted = "oci://registry/repository:tag, or with @sha256:… at its end, is expected"
    front, _mark, digest = url.strip().partition("@")
    registry, _mark, path = front[len(SCHEME) + 3 :].partition("/")
    repository, tagged, tag = path.partition(":")
    try:
        place = urllib.parse.urlsplit(f"//{registry}")
        host, _port = place.hostname, place.port
    except ValueError:
        host = None
    sound = host and "@" not in registry and _NAME.fullmatch(repository) and (_TAG.fullmatch(tag) if tagged else True)
    if not sound or (digest and not _DIGEST.fullmatch(digest)) or len(url) > 1000 or re.search(r"[?#\s]", url.strip()):
        raise InvalidOption("url", clean(url, 200), accepted)
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


class Layer(t.NamedTuple):
    digest: str
    compression: str


class Image(t.NamedTuple):
    """:param checksum: of the manifest that was asked for: an index, where there are several platforms."""

    checksum: Checksum
    layers: tuple[Layer, ...]
    terms: Terms


def look_up(reference: Reference, terms: Terms) -> Image:
    """The layers of an image, top first, with the terms on which the registry gives them.

    :raises DownloadFailed, Undecodable:
    """
    terms = _admitted(reference, terms._replace(pinned=True))
    text = _manifest(reference, reference.digest or reference.tag, terms)
    checksum = Checksum("sha256", hashlib.sha256(text).hexdigest())
    document = _read(reference, text)
    try:
        if "manifests" in document.mapping():
            document = _read(reference, _manifest(reference, _platform(reference, document), terms))
        layers = [_layer(one) for one in document["layers"].items(_MOST_LAYERS)]
    except Malformed as error:
        raise Undecodable(f"{reference}: its manifest is not one of an image: {error.message}.", url=str(reference)) from None
    return Image(checksum, tuple(reversed(layers)), terms)


def fetch_disk(reference: Reference, image: Image, sink: Sink, limit: int) -> str:
    """Write the disk of the topmost layer that has one into a sink; the name of its file.

    :param limit: how many bytes a layer may be unpacked to.
    """
    files = _Files()
    for layer in image.layers:
        disk = _DiskOfTar(sink, str(reference), limit, files)
        hashing = _Digest(disk if layer.compression == "none" else UnpackingSink(layer.compression, str(reference), disk))
        try:
            download.fetch(f"{reference.address}/blobs/{layer.digest}", hashing, image.terms)
        finally:
            hashing.close()
        if hashing.digest != layer.digest:
            raise DownloadFailed(f"{reference}: the layer {layer.digest} came with the digest {hashing.digest}; nothing was kept.")
        if disk.found:
            return disk.found
        sink.restart()
    raise Undecodable(
        f"{reference}: none of its {len(image.layers)} layers has a file in /disk; a containerDisk has its image there.", url=str(reference)
    )


# -- the registry


def _admitted(reference: Reference, terms: Terms) -> Terms:
    """The terms with what the registry wants to be shown. It says itself who gives out its tokens."""
    url = f"{reference.address}/manifests/{reference.digest or reference.tag}"
    request = terms.request(url, Accept=", ".join((*_INDEXES, *_MANIFESTS)))
    request.method = "HEAD"
    own = terms.access.credential(url)
    # Credentials are shown to who gives out tokens; the registry itself may take them for something else.
    asking = terms if own is None or own.token is not None else terms._replace(access=terms.access.without(own))
    challenge = ""
    try:
        with Opened(request, asking):
            return asking
    except DownloadFailed as error:
        challenge = str(error.fields.get("challenge") or "")[:4096]
        basic = challenge.lower().startswith("basic") and own is not None
        if (own is not None and own.token is not None) or not (basic or challenge.lower().startswith("bearer ")):
            raise
        if basic:
            return terms
    said = dict(_CHALLENGE.findall(challenge))
    realm = said.get("realm", "")
    try:
        service = urllib.parse.urlsplit(realm)
    except ValueError:
        service = urllib.parse.urlsplit("")
    if service.scheme != "https":
        raise DownloadFailed(f"{reference}: the registry names {clean(realm, 200) or 'nobody'} for its tokens; an https URL is expected.")
    query = {key: said[key] for key in ("service", "scope") if key in said}
    query.setdefault("scope", f"repository:{reference.repository}:pull")
    place = f"{realm}{'&' if '?' in realm else '?'}{urllib.parse.urlencode(query)}"
    # A registry that nobody has credentials for is a stranger: with those for another server it would get a token for that one,
    # and is trusted with internal addresses no more than a redirect is.
    shown = terms.access._replace(credentials=() if own is None else (own._replace(host=service.netloc),))
    named = urllib.parse.urlsplit(url).hostname if own is None else None
    text = download.read_text(place, terms._replace(access=shown, named=named), 1 << 20)
    try:
        answer = read(text, "the registry's token")
        found = next((answer[key].text(1 << 16) for key in ("token", "access_token") if answer.get(key) is not None), "")
    except FleetError:
        found = ""
    if not found or not found.isascii() or not found.isprintable():
        raise DownloadFailed(
            f"{reference}: the registry's token service gives no token; check the credentials for it (basecast_source_auth).",
            url=str(reference),
        )
    host = urllib.parse.urlsplit(reference.address).netloc
    return terms._replace(access=terms.access.adding(Credential(host, token=found, is_public=own is None)))


def _manifest(reference: Reference, wanted: str, terms: Terms) -> bytes:
    request = terms.request(f"{reference.address}/manifests/{wanted}", Accept=", ".join((*_INDEXES, *_MANIFESTS)))
    text = download.read_bytes(request, terms, str(reference), _LARGEST)
    found = f"sha256:{hashlib.sha256(text).hexdigest()}"
    if ":" in wanted and found != wanted:
        raise DownloadFailed(f"{reference}: the registry gives a manifest with the digest {found} instead of {wanted}.", url=str(reference))
    return text


def _read(reference: Reference, text: bytes) -> Value:
    try:
        return read(text, f"{reference}: its manifest")
    except FleetError as error:
        raise Undecodable(f"{error.message}.", url=str(reference)) from None


def _platform(reference: Reference, index: Value) -> str:
    """The digest of the manifest for this host's processors."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    has: list[str] = []
    for one in index["manifests"].items(_MOST_LAYERS):
        described = one.get("platform")
        kind = described["architecture"].text(64) if described is not None else machine
        system = described["os"].text(64) if described is not None else "linux"
        if (kind, system) == (machine, "linux"):
            return _digest(one["digest"])
        has.append(f"{system}/{kind}")
    there = clean(", ".join(has), 300) or "none"
    raise Undecodable(f"{reference}: none of its images is for linux/{machine}, they are for {there}.", url=str(reference))


def _digest(value: Value) -> str:
    if not _DIGEST.fullmatch(value.text(80)):
        raise value.wrong("a sha256 digest")
    return value.text(80)


def _layer(value: Value) -> Layer:
    kind = value["mediaType"].text(200)
    return Layer(_digest(value["digest"]), next((name for name in _PACKED if name in kind), "none"))


class _Digest:
    """Hashes what goes through."""

    def __init__(self, target: Sink) -> None:
        self._target = target
        self._hasher = hashlib.sha256()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"

    def expect(self, length: int) -> None:
        self._target.expect(length)

    def write(self, block: bytes) -> None:
        self._hasher.update(block)
        self._target.write(block)

    def finish(self) -> None:
        self._target.finish()

    def restart(self) -> None:
        self._hasher = hashlib.sha256()
        self._target.restart()

    def close(self) -> None:
        self._target.close()


class _Files:
    """How many entries an image's layers had so far."""

    count = 0


class _DiskOfTar:
    """Takes a tar apart as it comes, and hands on the one file below /disk."""

    def __init__(self, target: Sink, name: str, limit: int, files: _Files) -> None:
        self._target, self._name, self._limit, self._files = target, name, limit, files
        self._begin()

    def _begin(self) -> None:
        self._buffer = bytearray()
        self._left = self._padding = self._total = 0
        self._taking = self._ended = False
        self._long = ""
        self._size: int | None = None  # that is told before a header, which has no place for one of 8 GiB
        self._collecting: bytearray | None = None
        self._kind = b""
        self.found = ""

    def expect(self, length: int) -> None:
        """How large the disk is stands in the tar."""

    def write(self, block: bytes) -> None:
        self._total += len(block)
        if self._total > self._limit:
            raise NoSpace(f"{self._name} has more than the {self._limit} bytes that may be written to the pool; nothing was kept.")
        self._buffer += block
        while self._buffer and not self._ended:
            if self._left:
                piece = bytes(self._buffer[: self._left])
                del self._buffer[: len(piece)]
                self._left -= len(piece)
                if self._taking:
                    self._target.write(piece)
                elif self._collecting is not None:
                    self._collecting += piece
                if not self._left:
                    self._end_of_entry()
            elif self._padding:
                count = min(self._padding, len(self._buffer))
                del self._buffer[:count]
                self._padding -= count
            elif len(self._buffer) >= _TAR_BLOCK:
                head = bytes(self._buffer[:_TAR_BLOCK])
                del self._buffer[:_TAR_BLOCK]
                self._header(head)
            else:
                return
        if self._ended:
            self._buffer.clear()  # what follows the end is padding

    def _header(self, head: bytes) -> None:
        if head == bytes(_TAR_BLOCK):
            self._ended = True
            return
        self._files.count += 1
        if self._files.count > _MOST_FILES:
            raise self._wrong(f"the layers have more than {_MOST_FILES} files")
        try:
            entry = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise self._wrong(f"it is not a tar archive ({clean(error, 100)})") from None
        self._kind = entry.type
        size = entry.size if entry.isreg() or entry.type in (b"x", b"L", b"K", b"g", b"S") else 0
        if entry.type not in (b"x", b"L", b"K", b"g"):
            size, self._size = (size if self._size is None or not entry.isreg() else self._size), None
        if size < 0:
            raise self._wrong("it is not a tar archive (the size of a file is negative)")
        self._left, self._padding = size, -size % _TAR_BLOCK
        self._taking, self._collecting = False, None
        if entry.type in (b"x", b"L"):
            if size > 1 << 20:
                raise self._wrong("a name in it is too long")
            self._collecting = bytearray()
            return
        if entry.type in (b"g", b"K"):
            return
        name, self._long = (self._long or entry.name), ""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if len(parts) != 2 or parts[0] != "disk" or parts[1].startswith(".wh.") or entry.isdir():
            return
        if not entry.isreg() or entry.issparse():
            raise self._wrong(f"{clean(name, 200)} in it is a link or a device")
        if self.found:
            raise self._wrong(f"/disk has several files, {clean(self.found, 100)} and {clean(parts[1], 100)}; one is expected")
        self.found = parts[1]
        self._taking = True
        self._target.expect(size)

    def _end_of_entry(self) -> None:
        if self._collecting is None:
            return
        text = self._collecting.rstrip(b"\0").decode("utf-8", "surrogateescape")
        if self._kind == b"L":
            self._long = text
        else:
            found = re.search(r"(?:^|\n)[0-9]+ path=([^\n]*)\n", text + "\n")
            self._long = found.group(1) if found else ""
            told = re.search(r"(?:^|\n)[0-9]+ size=([0-9]{1,18})\n", text + "\n")
            self._size = int(told.group(1)) if told else None
            if "GNU.sparse" in text:
                raise self._wrong("a file in it is sparse, which is not read")
        self._collecting = None

    def _wrong(self, what: str) -> Undecodable:
        return Undecodable(f"{self._name}: a layer cannot be used: {what}; nothing was kept.", name=self._name)

    def finish(self) -> None:
        if self._left or self._padding or (self._buffer and not self._ended):
            raise self._wrong("it ends early")
        if self.found:
            self._target.finish()

    def restart(self) -> None:
        self._begin()
        self._target.restart()

    def close(self) -> None:
        """The target is its maker's."""
