# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""TLS contexts from PEM strings that never touch a disk, and identity by the run's certificates."""

from __future__ import annotations

import os
import ssl
import typing as t
from urllib.parse import quote, unquote

from ..errors import EncryptionMismatch, RelayError, WrongIdentity

URI_SCHEME = "basecast:"


def uri_of(host: str) -> str:
    """The subject alternative name of a host: its inventory name, quoted."""
    return URI_SCHEME + quote(host, safe="")


# What both sides say in the handshake that they will do after it.
ENCRYPTED, PLAIN = "basecast-encrypted", "basecast-plain"


class Contexts(t.NamedTuple):
    """:param encryption: False: TLS ends when both sides have shown who they are, and plain bytes follow."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    encryption: bool = True


def contexts(ca: str, certificate: str, key: str, encryption: bool = True) -> Contexts:
    """Contexts for both roles: TLS 1.3 only, both sides show a certificate of this run's authority."""
    made = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        # Hosts are known by inventory names in a URI, which is compared by hand (identity()).
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([ENCRYPTED if encryption else PLAIN])
        try:
            context.load_verify_locations(cadata=ca)
            _load(context, certificate + "\n" + key)
        except (ssl.SSLError, ValueError, OSError) as error:
            raise RelayError(f"The run's credentials cannot be used: {error}") from None
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        made.append(context)
    return Contexts(made[0], made[1], encryption)


def agree(connection: ssl.SSLSocket, encryption: bool, peer: str) -> None:
    """After the handshake: both sides go on in the same way.

    :raises EncryptionMismatch: the peer was started otherwise; OSError: the connection broke.
    """
    wanted = ENCRYPTED if encryption else PLAIN
    if connection.selected_alpn_protocol() != wanted:
        ours, theirs = ("encrypts", "does not") if encryption else ("does not encrypt", "does")
        raise EncryptionMismatch(
            f"This host {ours}, and {peer} {theirs}: all hosts of a run need the same setting of encryption.", peer=peer
        )
    if not encryption:
        # From here on it is a plain socket: each side has told the other that its TLS ends.
        connection.unwrap()


def _load(context: ssl.SSLContext, pem: str) -> None:
    # OpenSSL takes a private key from a path only; this one leads to memory.
    descriptor = os.memfd_create("credentials", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem.encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise ValueError("the key must not be encrypted")


def identity(stream: ssl.SSLSocket) -> str:
    """The inventory name in the peer's certificate, which the handshake has verified."""
    certificate = stream.getpeercert() or {}
    names = [
        str(value)
        for kind, value in t.cast("t.Iterable[tuple[str, str]]", certificate.get("subjectAltName", ()))
        if kind == "URI" and str(value).startswith(URI_SCHEME)
    ]
    if len(names) != 1:
        raise WrongIdentity("The peer's certificate names no host of a run.")
    return unquote(names[0][len(URI_SCHEME) :])
