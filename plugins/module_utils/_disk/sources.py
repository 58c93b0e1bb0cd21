# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""From where a base disk may be taken. Who writes a manifest does not administer the host: a path or a URL in it must not
give them a file, or an answer of a service, that only the host's root can have.
"""

from __future__ import annotations

import errno
import fnmatch
import html
import ipaddress
import os
import re
import stat
import typing as t
import urllib.parse

from .._errors import FleetError, InvalidOption
from .._text import clean
from . import file_io
from .errors import UnsafePath
from .store import Store

UPLOADS = ".incoming"
_DEFINITIONS = ("/run/libvirt/qemu", "/etc/libvirt/qemu")
_DISK = re.compile(r"<source\s[^>]*?\b(?:file|dev)=(['\"])(/[^'\"]*)\1")
_SHARE = re.compile(r"<source\s[^>]*?\bdir=(['\"])(/[^'\"]*)\1")
_LARGEST_DEFINITION = 1 << 26
Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SHARED = ipaddress.ip_network("100.64.0.0/10")

# Where clouds answer their machines, with credentials among other things, beside the link-local addresses.
_METADATA: list[Address] = [
    ipaddress.ip_address(text)
    for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:42::42", "fd00:ec2::23", "fd00:ec2::254", "fd20:ce::254")
]

# Older Pythons take these for public.
_RESERVED = [
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "100::/64", "2001::/23", "3fff::/20", "5f00::/16", "fec0::/10")
]


class SourceRefused(FleetError):
    kind = "source_refused"


class DefinitionUnread(FleetError):
    """What a domain has is not known, and must not be taken for nothing."""

    kind = "definition_unread"

    def __init__(self) -> None:
        # Without its name: the asking tenant may be another one.
        super().__init__(
            "A domain's definition cannot be read, so nobody knows what the domain has; the host's administrator finds it in"
            f" {' or '.join(_DEFINITIONS)} (xmllint --noout), and mends or removes it."
        )


class Rules(t.NamedTuple):
    """What an administrator allows.

    :param dirs: directories with images, a relative one is resolved against each pool; the pools themselves when empty.
    :param hosts: names, ``*.names``, addresses and networks from which anything may be fetched, whatever their address.
    """

    dirs: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def checked_rules(dirs: t.Sequence[str], hosts: t.Sequence[str]) -> Rules:
    for path in dirs:
        if not path or "\0" in path or (not os.path.isabs(path) and ".." in path.split("/")):
            raise InvalidOption("source_dirs", path, "a directory is an absolute path, or one below the pools")
    for host in hosts:
        # A star elsewhere, as in 10.0.0.*, would be a name such as 10.0.0.example.org as well.
        name = host[2:] if host.startswith("*.") else "" if host == "*" else host
        if not host or (any(c in name for c in "/:@ *?[") and _network(host) is None):
            raise InvalidOption("source_hosts", host, "a name, *.name, an address or a network such as 10.0.0.0/8 is accepted")
    return Rules(tuple(dirs), tuple(hosts))


def true_path(descriptor: int, name: str) -> str:
    """Where an open file really lies, all links resolved, whatever has been renamed since it was opened by name.

    :raises SourceRefused: this host has another file at that place, or none: it was removed, or it belongs to another file
        tree, such as a container's, which was reached through /proc.
    """
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    try:
        same = os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        same = False
    if not same:
        raise SourceRefused(f"src: {name} has no place in this host's own file tree; give the path of a file that has one.", path=name)
    return path


def open_source(path: str, stores: t.Mapping[str, Store], rules: Rules, follow: bool = True) -> tuple[int, str]:
    """A file that may become a base disk, open for reading, and where it really lies. What is refused is not even opened.

    :param path: absolute, as the user knows it.
    :param follow: whether its last component may be a symbolic link; ELOOP if not.
    :raises FileNotFoundError: it is not there, in a directory from which images are taken. OSError:
    :raises SourceRefused: see ``check_path``, also where nothing is. UnsafePath: it is no regular file.
    """
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except ValueError as error:
        raise InvalidOption("src", path, f"a path is expected ({error})")
    except OSError:  # whatever it is: of other places not even that is told
        _check_place(os.path.realpath(path), path, stores, rules)
        raise
    try:
        mode = os.fstat(place).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        true = check_path(place, path, stores, rules)
        if not stat.S_ISREG(mode):
            raise UnsafePath(f"src: {path} is not a regular file.", path=path)
        return file_io.reopen(place), true
    finally:
        os.close(place)


def check_path(descriptor: int, name: str, stores: t.Mapping[str, Store], rules: Rules) -> str:
    """The true path of an open file that may become a base disk.

    :param name: as the user knows it.
    :raises SourceRefused: it lies outside of what is allowed, or belongs to a machine or to the store.
    """
    path = true_path(descriptor, name)
    for store in stores.values():
        root = os.path.realpath(store.pool_path)
        if _is_below(path, os.path.join(root, "machines")):
            raise SourceRefused(f"src: {name} belongs to a machine (it is {path}); machines' files are never imported.", path=name)
        inside = os.path.relpath(path, os.path.join(root, "bases")).split(os.sep) if _is_below(path, os.path.join(root, "bases")) else []
        if inside and (len(inside) != 3 or inside[0] != UPLOADS):
            raise SourceRefused(f"src: {name} is a file of the base store (it is {path}); name its base disk instead.", path=name)
    status = os.fstat(descriptor)
    owner = _machine_of(status, stores)
    if owner:
        raise SourceRefused(f"src: {name} is a disk of {owner}; machines' files are never imported.", path=name)
    if not inside and is_of_store(status, stores):
        raise SourceRefused(f"src: {name} is a file of the base store, seen through another mount; name its base disk instead.", path=name)
    _check_place(path, name, stores, rules)
    return path


def _check_place(path: str, name: str, stores: t.Mapping[str, Store], rules: Rules) -> None:
    """Whether images are taken from where a path leads, all links resolved."""
    allowed = directories(stores, rules)
    if not any(_is_below(path, directory) for directory in allowed):
        really = "" if os.path.normpath(name) == path else f" (it is {path})"
        raise SourceRefused(
            f"src: {name}{really} lies outside of the directories from which this host takes images: {', '.join(allowed)}. "
            "Put it there, or add its directory to source_dirs (the host variable basecast_source_dirs).",
            path=name,
            allowed=allowed,
        )


def directories(stores: t.Mapping[str, Store], rules: Rules) -> list[str]:
    """Directories from which images may be taken, links resolved."""
    wanted = rules.dirs or (".",)
    found = []
    for directory in wanted:
        if os.path.isabs(directory):
            found.append(os.path.realpath(directory))
        else:
            found += [os.path.realpath(os.path.join(store.pool_path, directory)) for store in stores.values()]
    return list(dict.fromkeys(found))


def _machine_of(status: os.stat_result, stores: t.Mapping[str, Store]) -> str:
    """Whose disk a file is, whatever name it was reached by; empty where it is nobody's."""
    path = is_of_machine(status, stores)
    if path:
        return f"a machine ({path})"
    for definition, path in libvirt_disks():
        if identity(path) == (status.st_dev, status.st_ino):
            return f"the domain {definition}"
    return ""


def is_of_machine(status: os.stat_result, stores: t.Mapping[str, Store]) -> str:
    """The path among machines' files under which a file is one of them; empty where it is none."""
    # By its identity, since hard links and bind mounts give a file further names.
    files = _files(os.path.join(store.pool_path, "machines") for store in stores.values())
    return next((path for path in files if identity(path) == (status.st_dev, status.st_ino)), "")


def is_of_store(status: os.stat_result, stores: t.Mapping[str, Store]) -> bool:
    """Whether a file that does not lie below a store is one of its files all the same, as behind a bind mount. What has been
    imported as a hard link is its user's file too, and has two names."""
    if status.st_nlink > 1:
        return False
    same = (status.st_dev, status.st_ino)
    return any(identity(path) == same for path in _files((store.directory for store in stores.values()), leave_out=UPLOADS))


def _files(directories: t.Iterable[str], leave_out: str = "") -> t.Iterator[str]:
    for top in directories:
        for directory, names, files in os.walk(top):
            names[:] = [name for name in names if name != leave_out]
            for file in files:
                yield os.path.join(directory, file)


def libvirt_disks() -> t.Iterator[tuple[str, str]]:
    """(domain, path) of every disk that libvirt's own definitions name, of machines that run and those that do not. They are
    read from its files: that takes no connection, and holds also while its daemon is down. :raises DefinitionUnread:"""
    return _named_by(_DISK)


def libvirt_shares() -> t.Iterator[tuple[str, str]]:
    """(domain, path) of every directory that they share with the host, in the same way."""
    return _named_by(_SHARE)


def _named_by(pattern: re.Pattern[str]) -> t.Iterator[tuple[str, str]]:
    for domain, text in libvirt_definitions():
        for match in pattern.finditer(text):
            yield domain, html.unescape(match.group(2))


def libvirt_definitions() -> t.Iterator[tuple[str, str]]:
    """(domain, XML) of every domain that libvirt keeps, and once more of those that run. :raises DefinitionUnread:"""
    for directory in _DEFINITIONS:
        try:
            names = sorted(name for name in os.listdir(directory) if name.endswith(".xml"))
        except OSError:
            continue
        for name in names:
            try:
                text = file_io.read_file(os.path.join(directory, name), _LARGEST_DEFINITION).decode("utf-8", "replace")
            except FileNotFoundError:
                continue  # it has just been removed
            except (OSError, FleetError) as error:
                raise DefinitionUnread from error
            yield clean(name[:-4], 100), text


def identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def file_of_url(url: str, rules: Rules) -> str:
    """The path in a ``file:`` URL; such URLs are off unless directories are listed."""
    parts = urllib.parse.urlsplit(url)
    if not rules.dirs:
        raise InvalidOption(
            "url", clean(url, 200), "file: is accepted once source_dirs (the host variable basecast_source_dirs) lists directories"
        )
    path = urllib.parse.unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not os.path.isabs(path) or "\0" in path:
        raise InvalidOption("url", clean(url, 200), "a file URL is file:///absolute/path")
    return os.path.normpath(path)


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")


# -- addresses


def is_listed(host: str, address: Address | None, rules: Rules) -> bool:
    name = host.lower().rstrip(".")
    for entry in rules.hosts:
        network = _network(entry)
        if network is not None:
            if address is not None and address.version == network.version and address in network:
                return True
        elif fnmatch.fnmatchcase(name, entry.lower().rstrip(".")):
            return True
    return False


def address_problem(host: str, address: Address, rules: Rules, named: bool) -> str:
    """Why nothing is fetched from the address; empty when it may be.

    :param named: the manifest itself names this host, a redirect does not.
    """
    if is_listed(host, address, rules):
        return ""
    kind = kind_of(address)
    if kind == "public" or (kind == "private" and named):
        return ""
    return f"{clean(host, 200)} has the {kind} address {address}"


def kind_of(address: Address) -> str:
    """public, private (of a local network), or what else it is: never reached unless listed."""
    inner = _inner(address)
    if inner is not None:
        return kind_of(inner)
    if address in _METADATA:
        return "cloud metadata"
    if address.is_unspecified or address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.version == 4 and address in _SHARED:
        return "private"
    if address.is_private and not address.is_reserved:
        return "private" if _is_site(address) else "reserved"
    return "reserved" if address.is_reserved or _is_in(address, _RESERVED) else "public"


_SITE = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")]


def _is_site(address: Address) -> bool:
    return _is_in(address, _SITE)


def _is_in(address: Address, networks: t.Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None
