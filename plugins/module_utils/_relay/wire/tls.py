# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""TLS contexts from PEM strings that never touch a disk, and identity by the run's certificates."""

from __future__ import annotations

import os
import ssl
import time
import typing as t
from urllib.parse import quote, unquote

from ..errors import ClockDiffers, EncryptionMismatch, RelayError, WrongIdentity

URI_SCHEME = "basecast:"


def uri_of(host: str) -> str:
    """The subject alternative name of a host: its inventory name, quoted."""
    return URI_SCHEME + quote(host, safe="")


# The controller makes certificates valid from so long before its own time.
MARGIN_S = 86_400.0

# What both sides say in the handshake that they will do after it.
ENCRYPTED, PLAIN = "basecast-encrypted", "basecast-plain"


class Contexts(t.NamedTuple):
    """:param encryption: False: TLS ends when both sides have shown who they are, and plain bytes follow.
    :param made_at: what the controller's clock said when it made the certificates, in seconds since 1970.
    """

    server: ssl.SSLContext
    client: ssl.SSLContext
    encryption: bool = True
    made_at: float = 0.0


def contexts(ca: str, certificate: str, key: str, encryption: bool = True, clock: t.Callable[[], float] = time.time) -> Contexts:
    """Contexts for both roles: TLS 1.3 only, both sides show a certificate of this run's authority.

    :raises RelayError: they cannot be used; ClockDiffers: not at what this host takes for the time.
    """
    made = []
    made_at = 0.0
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        # Hosts are known by inventory names in a URI, which is compared by hand (identity()).
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([ENCRYPTED if encryption else PLAIN])
        try:
            context.load_verify_locations(cadata=ca)
            made_at = _check_clock(context, clock())
            _load(context, certificate + "\n" + key)
        except ClockDiffers:
            raise
        except (ssl.SSLError, ValueError, OSError) as error:
            raise RelayError(f"The run's credentials cannot be used: {error}") from None
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        made.append(context)
    return Contexts(made[0], made[1], encryption, made_at)


def _check_clock(context: ssl.SSLContext, now: float) -> float:
    """When the authority was made, by the controller's clock. :raises ClockDiffers:"""
    (authority,) = context.get_ca_certs() or [{}]
    if "notBefore" not in authority or "notAfter" not in authority:
        raise ValueError("the authority has no dates")
    first = ssl.cert_time_to_seconds(str(authority["notBefore"]))
    last = ssl.cert_time_to_seconds(str(authority["notAfter"]))
    if not first <= now <= last:
        told = clocks(first + MARGIN_S, now)
        raise ClockDiffers(f"The certificates of this run are not valid by this host's clock. {told}", ahead_s=now - first - MARGIN_S)
    return first + MARGIN_S


def clocks(made_at: float, now: float) -> str:
    """Both clocks, the difference, and what to do."""
    ahead = now - made_at
    hours = f"{abs(ahead) / 3600:.1f} h {'ahead' if ahead > 0 else 'behind'}"
    return (
        f"It says {_utc(now)}; the controller's said {_utc(made_at)} when it made them: this host is {hours}. "
        "Set both clocks (chronyd or systemd-timesyncd) and run again."
    )


def _utc(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s since 1970"


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
