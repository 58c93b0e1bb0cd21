# Copyright (c) 2026, basecast.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection; may change at any time.

"""Certificates that exist for one run: an authority in memory, and a leaf for each host."""

from __future__ import annotations

import datetime
import typing as t
from urllib.parse import quote

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    CRYPTOGRAPHY_ERROR: ImportError | None = error
else:
    CRYPTOGRAPHY_ERROR = None

URI_SCHEME = "basecast:"

# Hosts' clocks differ.
MARGIN = datetime.timedelta(days=1)


def uri_of(host: str) -> str:
    """The subject alternative name of a host: its inventory name, quoted."""
    return URI_SCHEME + quote(host, safe="")


def make_certificates(run: str, hosts: t.Iterable[str], valid_s: float, now: datetime.datetime) -> dict[str, dict[str, str]]:
    """PEM strings for each host: {host: {"ca", "certificate", "key"}}. The authority's key is forgotten.

    :param valid_s: the run's limit; the certificates are valid from a day before ``now`` to a day after the limit.
    """
    not_before = now - MARGIN
    not_after = now + datetime.timedelta(seconds=valid_s) + MARGIN
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("basecast run", run)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    authority = (
        _builder(authority_name, authority_name, authority_key, not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    ca = authority.public_bytes(serialization.Encoding.PEM).decode()
    made = {}
    for host in hosts:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            _builder(_name("basecast host", host), authority_name, key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri_of(host))]), critical=False)
            .add_extension(authority_id, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        made[host] = {
            "ca": ca,
            "certificate": leaf.public_bytes(serialization.Encoding.PEM).decode(),
            "key": key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
        }
    return made


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _name(kind: str, name: str) -> x509.Name:
    # A common name has at most 64 characters; what counts is the subject alternative name.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{kind} {name}"[:64])])
